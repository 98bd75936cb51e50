//! Event packages served: RFC 3856, RFC 4235 and RFC 3842.

/// An event package.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Package {
    /// `presence`
    Presence,
    /// `dialog`
    Dialog,
    /// `message-summary`
    MessageSummary,
}

impl Package {
    /// All packages.
    pub const ALL: [Self; 3] = [Self::Presence, Self::Dialog, Self::MessageSummary];

    /// Its name in an Event header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Dialog => "dialog",
            Self::MessageSummary => "message-summary",
        }
    }

    /// The package of this name; names are compared exactly.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|package| package.name().as_bytes() == name)
    }
}
