//! NOTIFY bodies: one generator per content type, rendered once and patched on change.
//!
//! A [`Body`] is shared by all watchers of one [`View`]. Every part that depends on the state is a
//! slot of fixed width, padded with blanks where white space means nothing, so that a change of
//! state patches some bytes and leaves the length alone. Only the free texts of the Digium
//! supplement can outgrow their slot; then the document is rendered anew.
//!
//! The two dialects say the same in different shapes: `asterisk` keeps the element order, names
//! and indentation of that product's traffic (padding apart), `rfc` is valid against the schemas
//! of RFC 3863, 4235, 4479 and 4480. Each format's module says where they differ.
//!
//! Waiting messages are lines of text (`message_summary`): nothing there is padded or patched.
//!
//! All other texts are XML-escaped, characters that XML cannot carry are replaced by U+FFFD, and a text
//! ends at 1023 bytes, counted after escaping.

mod dialog_info;
mod display;
mod message_summary;
mod pidf;
mod template;
mod text;
mod xpidf;

use template::{Misfit, Template, Value};

use crate::config::Dialect;
use crate::state::{Call, ExtensionState, Messages, Presence};

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
    /// RFC 3842.
    MessageSummary,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] =
        [Self::Pidf, Self::Xpidf, Self::CpimPidf, Self::DialogInfo, Self::MessageSummary];

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Pidf => "application/pidf+xml",
            Self::Xpidf => "application/xpidf+xml",
            Self::CpimPidf => "application/cpim-pidf+xml",
            Self::DialogInfo => "application/dialog-info+xml",
            Self::MessageSummary => "application/simple-message-summary",
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
    /// Show one dialog at most (dialog-info only).
    pub single_dialog: bool,
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
    /// Its calls, if they are told (dialog-info only).
    pub calls: &'a [Call],
    /// Its mailboxes; `None` if it has none.
    pub mailboxes: Option<ShownMailboxes<'a>>,
}

/// What is shown of mailboxes.
#[derive(Clone, Copy, Debug)]
pub struct ShownMailboxes<'a> {
    /// The messages in all of them.
    pub messages: Messages,
    /// The extension to call for them.
    pub voicemail_extension: Option<&'a str>,
}

/// What [`Body::update`] had to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Update {
    /// Nothing: the document already said so.
    Unchanged,
    /// Patched in place; the length is what it was.
    Patched,
    /// Rendered anew, because a text outgrew its slot or left too much of it unused.
    Rendered,
}

impl Update {
    /// Whether the document says something else now.
    pub const fn changed(self) -> bool {
        !matches!(self, Self::Unchanged)
    }
}

/// First line of every document.
const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A rendered body, shared by all watchers of one [`View`]. Two things differ per watcher and are
/// put in while it is copied out: the document version (fixed width) and the watcher's own URI
/// (Asterisk's XPIDF and PIDF name it).
#[derive(Clone, Debug)]
pub struct Body {
    template: Template,
    /// Counts changes; XPIDF shows it.
    serial: u32,
}

impl Body {
    /// Renders the document.
    pub fn render(view: &View<'_>, shown: &Shown<'_>) -> Self {
        let template = match view.format {
            Format::Pidf => pidf::render(view, shown),
            Format::Xpidf | Format::CpimPidf => xpidf::render(view, shown),
            Format::DialogInfo => dialog_info::render(view, shown),
            Format::MessageSummary => message_summary::render(view, shown),
        };
        Self { template, serial: 0 }
    }

    /// Brings the document up to date, by patching if every value fits its slot, else anew.
    /// `view` must be the one the body was rendered for. The version does not count as a change.
    pub fn update(&mut self, view: &View<'_>, shown: &Shown<'_>) -> Update {
        let patched = match view.format {
            Format::Pidf => self.patch(pidf::values(view, shown)),
            Format::Xpidf | Format::CpimPidf => self.patch(xpidf::values(view, shown)),
            Format::DialogInfo => self.patch([dialog_info::value(view, shown)]),
            Format::MessageSummary => return self.replace(message_summary::render(view, shown)),
        };
        match patched {
            Ok(false) => Update::Unchanged,
            Ok(true) => {
                self.serial = self.serial.wrapping_add(1);
                self.template.set_serial(self.serial);
                Update::Patched
            }
            Err(Misfit) => {
                *self = Self { serial: self.serial, ..Self::render(view, shown) };
                Update::Rendered
            }
        }
    }

    /// Length in bytes when written for a watcher whose escaped URI is `watcher_uri`.
    pub fn len_for(&self, watcher_uri: &[u8]) -> usize {
        self.template.len_for(watcher_uri)
    }

    /// Appends the document as one watcher gets it. `watcher_uri` arrives escaped. No allocation
    /// beyond `out`'s growth.
    pub fn write_for(&self, version: u32, watcher_uri: &[u8], out: &mut Vec<u8>) {
        self.template.write_for(version, watcher_uri, out);
    }

    /// As [`Body::len_for`], without padding: a list's NOTIFY has no use for documents of equal
    /// length.
    pub fn dense_len_for(&self, watcher_uri: &[u8]) -> usize {
        self.template.dense_len_for(watcher_uri)
    }

    /// As [`Body::write_for`], without padding.
    pub fn write_dense_for(&self, version: u32, watcher_uri: &[u8], out: &mut Vec<u8>) {
        self.template.write_dense_for(version, watcher_uri, out);
    }

    fn replace(&mut self, template: Template) -> Update {
        if self.template.is_same(&template) {
            return Update::Unchanged;
        }
        self.template = template;
        Update::Rendered
    }

    fn patch<'a>(&mut self, values: impl IntoIterator<Item = Value<'a>>) -> Result<bool, Misfit> {
        let mut changed = false;
        for (index, value) in values.into_iter().enumerate() {
            changed |= self.template.patch(index, &value)?;
        }
        Ok(changed)
    }
}

/// `text` escaped for XML.
pub(crate) fn escaped(text: &str) -> Box<str> {
    let mut out = String::with_capacity(text.len());
    text::escape(text, |piece| out.push_str(piece));
    out.into()
}

/// Appends `text` escaped for XML, as [`Body::write_for`] wants the watcher's URI.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    text::escape(text, |piece| out.extend_from_slice(piece.as_bytes()));
}
