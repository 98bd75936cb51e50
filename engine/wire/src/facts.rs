//! What the document readers share: namespaces, errors, text collecting.

use thiserror::Error;

use crate::xml::XmlError;

pub(crate) const NS_PIDF: &str = "urn:ietf:params:xml:ns:pidf";
pub(crate) const NS_CPIM_PIDF: &str = "urn:ietf:params:xml:ns:cpim-pidf";
pub(crate) const NS_DIALOG_INFO: &str = "urn:ietf:params:xml:ns:dialog-info";
pub(crate) const NS_RLMI: &str = "urn:ietf:params:xml:ns:rlmi";
pub(crate) const NS_RESOURCE_LISTS: &str = "urn:ietf:params:xml:ns:resource-lists";
pub(crate) const NS_RLS_SERVICES: &str = "urn:ietf:params:xml:ns:rls-services";
/// What the prefix `xml` means everywhere.
pub(crate) const NS_XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Why no facts could be read from a body.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FactsError {
    /// Not acceptable as XML at all.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// XML, but the root is another document's.
    #[error("root element is not {expected}")]
    WrongRoot {
        /// The element this document type starts with.
        expected: &'static str,
    },
    /// A mandatory part is missing or unreadable.
    #[error("{what} is missing or unreadable")]
    Missing {
        /// Which part.
        what: &'static str,
    },
    /// An id that names two things.
    #[error("{what} appears twice")]
    Twice {
        /// Which id.
        what: &'static str,
    },
    /// More of something than is kept.
    #[error("document has more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

/// Text that is filled once: a later element of the same path does not add to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstText {
    text: Option<String>,
    is_closed: bool,
}

impl FirstText {
    /// An element that holds this text opens.
    pub(crate) fn open(&mut self) {
        self.is_closed = self.text.is_some();
        self.text.get_or_insert_default();
    }

    pub(crate) fn push(&mut self, text: &str) {
        if let (false, Some(kept)) = (self.is_closed, &mut self.text) {
            kept.push_str(text);
        }
    }

    /// The text without surrounding white space; `None` if no element opened.
    pub(crate) fn take(self) -> Option<String> {
        self.text.map(|text| text.trim().to_owned())
    }
}

pub(crate) fn owned(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}
