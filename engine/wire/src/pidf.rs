//! PIDF, the read side: what a watcher learns from `application/pidf+xml`.
//!
//! Reads documents after RFC 3863, 4479 and 4480 in schema order, and those Asterisk writes
//! (note before the tuples, person without id, the extra Digium tuple; chan_sip's own person
//! namespace). Unknown elements are passed over.

use crate::facts::{FactsError, FirstText, NS_CPIM_PIDF, NS_PIDF, owned};
use crate::xml::{XmlElement, XmlVisitor, visit};

/// Tuple id under which Digium phones get presence states.
pub const DIGIUM_TUPLE_ID: &str = "digium-presence";

/// Basic status of a tuple.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Basic {
    /// Ready to be reached.
    Open,
    /// Not to be reached.
    Closed,
}

impl Basic {
    /// Reads the text of a `basic` element, if there is one.
    pub(crate) fn parse(text: Option<&str>) -> Result<Option<Self>, FactsError> {
        match text {
            None => Ok(None),
            Some("open") => Ok(Some(Self::Open)),
            Some("closed") => Ok(Some(Self::Closed)),
            Some(_) => Err(FactsError::Missing { what: "basic status" }),
        }
    }
}

/// The Digium supplement.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DigiumPresence {
    /// Presence state, `type` attribute.
    pub kind: String,
    /// Subtype; empty if there is none.
    pub subtype: String,
    /// Message; empty if there is none.
    pub message: String,
}

impl DigiumPresence {
    /// Reads the attributes; the message is the element's text.
    pub(crate) fn of(element: &XmlElement) -> Self {
        Self {
            kind: owned(element.attribute("type")),
            subtype: owned(element.attribute("subtype")),
            message: String::new(),
        }
    }
}

const NS_RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// Lampfield's own documents give the supplement a namespace.
const NS_OUR_DIGIUM: &str = "urn:lampfield:digium";

/// The elements that presence documents are read for, whatever namespace a server puts them in.
pub(crate) fn tag_of(element: &XmlElement) -> &'static str {
    let local = element.local.as_str();
    match element.namespace.as_str() {
        NS_PIDF | NS_CPIM_PIDF => match local {
            "presence" => "presence",
            "tuple" => "tuple",
            "status" => "status",
            "basic" => "basic",
            "note" => "note",
            "contact" => "contact",
            "digium_presence" => "digium_presence",
            _ => "",
        },
        "urn:ietf:params:xml:ns:pidf:data-model" => match local {
            "person" => "person",
            "note" => "note",
            _ => "",
        },
        NS_RPID => match local {
            "activities" => "activities",
            "note" => "note",
            _ => "",
        },
        NS_OUR_DIGIUM if local == "digium_presence" => "digium_presence",
        // chan_sip's namespaces, which no RFC knows.
        "urn:ietf:params:xml:ns:pidf:person" if local == "person" => "person",
        "urn:ietf:params:xml:ns:pidf:rpid:rpid-person" if local == "activities" => "activities",
        // Asterisk's own supplement is in no namespace where the document has a prefix.
        "" if local == "digium_presence" => "digium_presence",
        _ => "",
    }
}

/// The facts of one PIDF document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PidfFacts {
    /// Presentity.
    pub entity: String,
    /// Id of the first tuple that is not the Digium one.
    pub tuple_id: String,
    /// Basic status of that tuple.
    pub basic: Option<Basic>,
    /// First note of the document, else of that tuple, else of the person.
    pub note: Option<String>,
    /// Local names of the person's RPID activities, in order.
    pub activities: Vec<String>,
    /// Contact of that tuple.
    pub contact: Option<String>,
    /// The Digium supplement, if present.
    pub digium: Option<DigiumPresence>,
    /// Tuples in the document, the Digium one included.
    pub tuple_count: usize,
}

impl PidfFacts {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no XML, another document, or no entity.
    pub fn parse(document: &[u8]) -> Result<PidfFacts, FactsError> {
        let mut visitor = Visitor::default();
        visit(document, &mut visitor)?;
        if !visitor.is_pidf {
            return Err(FactsError::WrongRoot { expected: "PIDF presence" });
        }
        let mut facts = visitor.facts;
        if facts.entity.is_empty() {
            return Err(FactsError::Missing { what: "presence entity" });
        }
        facts.basic = Basic::parse(visitor.basic.take().as_deref())?;
        let notes = [visitor.root_note, visitor.tuple_note, visitor.person_note];
        facts.note = notes.into_iter().find_map(FirstText::take);
        facts.contact = visitor.contact.take();
        if let Some(digium) = &mut facts.digium {
            digium.message = visitor.digium_message.take().unwrap_or_default();
        }
        Ok(facts)
    }

    /// Whether the person is on the phone.
    pub fn is_on_the_phone(&self) -> bool {
        self.activities.iter().any(|activity| activity == "on-the-phone")
    }
}

/// Which tuple the reader is in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Tuple {
    #[default]
    Other,
    First,
    Digium,
}

#[derive(Default)]
struct Visitor {
    facts: PidfFacts,
    is_pidf: bool,
    has_first_tuple: bool,
    tuple: Tuple,
    basic: FirstText,
    root_note: FirstText,
    tuple_note: FirstText,
    person_note: FirstText,
    contact: FirstText,
    digium_message: FirstText,
}

impl Visitor {
    /// Where text at this path belongs.
    fn text_at(&mut self, path: &[&'static str]) -> Option<&mut FirstText> {
        Some(match (path, self.tuple) {
            (["presence", "note"], _) => &mut self.root_note,
            (["presence", "person", "note"], _) => &mut self.person_note,
            (["presence", "tuple", "note"], Tuple::First) => &mut self.tuple_note,
            (["presence", "tuple", "contact"], Tuple::First) => &mut self.contact,
            (["presence", "tuple", "status", "basic"], Tuple::First) => &mut self.basic,
            (["presence", "tuple", "status", "digium_presence"], Tuple::Digium) => {
                &mut self.digium_message
            }
            _ => return None,
        })
    }

    fn open_tuple(&mut self, id: Option<&str>) {
        self.facts.tuple_count += 1;
        self.tuple = match id {
            Some(DIGIUM_TUPLE_ID) => Tuple::Digium,
            _ if self.has_first_tuple => Tuple::Other,
            _ => {
                self.has_first_tuple = true;
                self.facts.tuple_id = owned(id);
                Tuple::First
            }
        };
    }
}

impl XmlVisitor for Visitor {
    fn tag(&self, element: &XmlElement) -> &'static str {
        match (element.namespace.as_str(), element.local.as_str()) {
            // Watchers know the supplement as Asterisk writes it, and no notes on activities.
            (NS_RPID, "note") | (NS_OUR_DIGIUM | "", _) => "",
            _ => tag_of(element),
        }
    }

    fn start(&mut self, path: &[&'static str], element: &XmlElement) {
        match path {
            ["presence"] => {
                self.is_pidf = true;
                self.facts.entity = owned(element.attribute("entity"));
            }
            ["presence", "tuple"] => self.open_tuple(element.attribute("id")),
            // In chan_sip's documents the activities stand inside a status of the person.
            ["presence", "person", "activities", _]
            | ["presence", "person", _, "activities", _]
                if element.local != "note" =>
            {
                self.facts.activities.push(element.local.clone());
            }
            ["presence", "tuple", "status", "digium_presence"] if self.tuple == Tuple::Digium => {
                self.facts.digium.get_or_insert_with(|| DigiumPresence::of(element));
            }
            _ => {}
        }
        if let Some(text) = self.text_at(path) {
            text.open();
        }
    }

    fn text(&mut self, path: &[&'static str], text: &str) {
        if let Some(kept) = self.text_at(path) {
            kept.push(text);
        }
    }
}
