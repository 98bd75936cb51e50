//! Event packages served: RFC 3856 and RFC 4235.

/// An event package.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Package {
    /// `presence`
    Presence,
    /// `dialog`
    Dialog,
}

impl Package {
    /// All packages.
    pub const ALL: [Self; 2] = [Self::Presence, Self::Dialog];

    /// Its name in an Event header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Dialog => "dialog",
        }
    }

    /// The package of this name; names are compared exactly.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|package| package.name().as_bytes() == name)
    }
}
