//! What survives a restart: records the core asks the store to keep, and gets back at start.

use crate::keep::{
    KIND_DEVICE, KIND_LIST, KIND_MAILBOX, KIND_PRESENCE, KIND_SUBSCRIPTION, read_source_key,
};
use crate::layout::Reader;
use crate::placement::TenantId;
use crate::publication::{KIND_PUBLICATION, KIND_TOLD};
use crate::registrar::KIND_REGISTRATION;

/// A key and its new value. The store keeps the last value of every key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The key: kind byte, then the name.
    pub key: Box<[u8]>,
    /// The value; `None` deletes the key.
    pub value: Option<Box<[u8]>>,
}

impl Record {
    /// What it keeps, in a word; `None` if it is nothing of the core's.
    pub fn kind(&self) -> Option<&'static str> {
        Some(match *self.key.first()? {
            KIND_DEVICE => "device",
            KIND_PRESENCE => "presence",
            KIND_MAILBOX => "mailbox",
            KIND_REGISTRATION => "registration",
            KIND_SUBSCRIPTION => "subscription",
            KIND_LIST => "list-subscription",
            KIND_PUBLICATION => "publication",
            KIND_TOLD => "told-by-server",
            _ => return None,
        })
    }

    /// Tenant and name of the source it is of, if it is of one.
    pub fn source(&self) -> Option<(TenantId, &str)> {
        let mut key = Reader::new(&self.key);
        match key.u8()? {
            KIND_DEVICE | KIND_PRESENCE | KIND_MAILBOX | KIND_REGISTRATION => read_source_key(key),
            _ => None,
        }
    }
}
