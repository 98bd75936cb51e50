//! NOTIFY bodies: one generator per content type, rendered once and patched on change.

use crate::config::Dialect;
use crate::state::{ExtensionState, Presence};

/// A body format. XPIDF and CPIM-PIDF are one document under two names.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Format {
    /// RFC 3863.
    Pidf,
    /// The Microsoft ancestor of PIDF, as Asterisk writes it.
    Xpidf,
    /// The same document under its other name.
    CpimPidf,
    /// RFC 4235.
    DialogInfo,
}

impl Format {
    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Pidf => "application/pidf+xml",
            Self::Xpidf => "application/xpidf+xml",
            Self::CpimPidf => "application/cpim-pidf+xml",
            Self::DialogInfo => "application/dialog-info+xml",
        }
    }
}

/// What does not change for a group of watchers: together with the state it decides the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct View<'a> {
    /// The document's kind.
    pub format: Format,
    /// Its shape.
    pub dialect: Dialect,
    /// With the Digium supplement (PIDF only).
    pub digium: bool,
    /// Show in-use-and-ringing as `early` (dialog-info only).
    pub early_inuse_ringing: bool,
    /// The extension, as subscribed.
    pub exten: &'a str,
    /// URI of the presentity.
    pub entity: &'a str,
}

/// What the document shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// State of the extension.
    pub state: ExtensionState,
    /// Presence of the extension.
    pub presence: &'a Presence,
}

/// A rendered body, shared by all watchers of one [`View`]. Two things differ per watcher and are
/// put in while it is copied out: the document version (fixed width) and the watcher's own URI
/// (XPIDF and Asterisk's PIDF name it).
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Vec<u8>,
}

impl Body {
    /// Renders the document.
    pub fn render(view: &View<'_>, shown: &Shown<'_>) -> Self {
        let _ = (view, shown);
        Self { bytes: Vec::new() }
    }

    /// Brings the document up to date, by patching if every value fits its slot, else anew.
    /// True if a byte changed (the version does not count).
    pub fn update(&mut self, view: &View<'_>, shown: &Shown<'_>) -> bool {
        let new = Self::render(view, shown);
        let changed = new.bytes != self.bytes;
        *self = new;
        changed
    }

    /// Length in bytes when written for a watcher whose escaped URI is `watcher_uri`.
    pub fn len_for(&self, watcher_uri: &[u8]) -> usize {
        let _ = watcher_uri;
        self.bytes.len()
    }

    /// Appends the document as one watcher gets it. No allocation beyond `out`'s growth.
    pub fn write_for(&self, version: u32, watcher_uri: &[u8], out: &mut Vec<u8>) {
        let _ = (version, watcher_uri);
        out.extend_from_slice(&self.bytes);
    }
}
