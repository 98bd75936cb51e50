//! XPIDF, the read side: what a watcher learns from `application/xpidf+xml`.
//!
//! A document from before PIDF, without a namespace, still asked for by older phones; Asterisk
//! sends the same one as `application/cpim-pidf+xml`. Source: the states reference, section 6.

use crate::facts::{FactsError, owned};
use crate::xml::{XmlElement, XmlVisitor, visit};

/// The facts of one XPIDF document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct XpidfFacts {
    /// Presentity URI, without the `;method=SUBSCRIBE` it is written with.
    pub presentity: String,
    /// `id` of the first atom.
    pub atom_id: String,
    /// `atomid` of the first atom.
    pub atom_unique_id: String,
    /// URI of the first address.
    pub address: String,
    /// `open`, `inuse`, `closed`.
    pub status: String,
    /// `online`, `onthephone`, `offline`.
    pub substatus: String,
}

impl XpidfFacts {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no XML, another document, or no status.
    pub fn parse(document: &[u8]) -> Result<XpidfFacts, FactsError> {
        let mut visitor = Visitor::default();
        visit(document, &mut visitor)?;
        if !visitor.is_xpidf {
            return Err(FactsError::WrongRoot { expected: "XPIDF presence" });
        }
        if visitor.facts.status.is_empty() {
            return Err(FactsError::Missing { what: "status" });
        }
        Ok(visitor.facts)
    }
}

#[derive(Default)]
struct Visitor {
    facts: XpidfFacts,
    is_xpidf: bool,
    atom_count: usize,
}

impl XmlVisitor for Visitor {
    fn tag(&self, element: &XmlElement) -> &'static str {
        match (element.namespace.as_str(), element.local.as_str()) {
            ("", "presence") => "presence",
            ("", "presentity") => "presentity",
            ("", "atom") => "atom",
            ("", "address") => "address",
            ("", "status") => "status",
            ("", "msnsubstatus") => "msnsubstatus",
            _ => "",
        }
    }

    fn start(&mut self, path: &[&'static str], element: &XmlElement) {
        match path {
            ["presence"] => self.is_xpidf = true,
            ["presence", "presentity"] => {
                let uri = element.attribute("uri").unwrap_or_default();
                let uri = uri.strip_suffix(";method=SUBSCRIBE").unwrap_or(uri);
                self.facts.presentity = uri.to_owned();
            }
            ["presence", "atom"] => {
                self.atom_count += 1;
                if self.atom_count == 1 {
                    self.facts.atom_id = owned(element.attribute("id"));
                    self.facts.atom_unique_id = owned(element.attribute("atomid"));
                }
            }
            ["presence", "atom", rest @ ..] if self.atom_count == 1 => {
                let (field, attribute) = match rest {
                    ["address"] => (&mut self.facts.address, "uri"),
                    ["address", "status"] => (&mut self.facts.status, "status"),
                    ["address", "msnsubstatus"] => (&mut self.facts.substatus, "substatus"),
                    _ => return,
                };
                if field.is_empty() {
                    *field = owned(element.attribute(attribute));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, _path: &[&'static str], _text: &str) {}
}
