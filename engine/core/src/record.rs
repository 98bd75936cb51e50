//! What survives a restart: records the core asks the store to keep, and gets back at start.

/// A key and its new value. The store keeps the last value of every key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The key: kind byte, then the name.
    pub key: Box<[u8]>,
    /// The value; `None` deletes the key.
    pub value: Option<Box<[u8]>>,
}
