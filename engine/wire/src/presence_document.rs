//! PIDF, the publisher's side: everything a presence document says of a presentity, tuple by tuple
//! and person by person, as an event state compositor needs it to put several together.
//!
//! [`crate::PidfFacts`] is what a watcher takes from a document; a compositor may not stop at the
//! first tuple. Reads RFC 3863, 4479 and 4480, what Asterisk publishes (a person without an id, the
//! Digium tuple) and chan_sip's person namespace. Unknown elements are passed over.

use crate::facts::{FactsError, FirstText, owned};
use crate::limits::{
    PRESENCE_ACTIVITY_COUNT_MAX, PRESENCE_PERSON_COUNT_MAX, PRESENCE_TUPLE_COUNT_MAX,
};
use crate::pidf::{Basic, DIGIUM_TUPLE_ID, DigiumPresence, tag_of};
use crate::xml::{XmlElement, XmlVisitor, visit};

/// One presence document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PresenceDocument {
    /// Whose presence.
    pub entity: String,
    /// The tuples in order, the Digium one left out. No id comes twice.
    pub tuples: Vec<TupleFacts>,
    /// The persons in order. No id comes twice.
    pub persons: Vec<PersonFacts>,
    /// First note of the document itself.
    pub note: Option<String>,
    /// The Digium supplement, if present.
    pub digium: Option<DigiumPresence>,
}

/// A tuple: one way to reach the presentity.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TupleFacts {
    /// Its id; empty if it has none.
    pub id: String,
    /// Its basic status, if it has one.
    pub basic: Option<Basic>,
    /// Its first note.
    pub note: Option<String>,
}

/// A person (RFC 4479).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PersonFacts {
    /// Its id; empty if it has none, as in what Asterisk writes.
    pub id: String,
    /// Local names of its RPID activities, in order.
    pub activities: Vec<String>,
    /// Its first note, else the first note of its activities.
    pub note: Option<String>,
}

impl PresenceDocument {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no XML, another document, no entity, a basic status that is neither `open`
    /// nor `closed`, an id that comes twice, or too many parts.
    pub fn parse(document: &[u8]) -> Result<PresenceDocument, FactsError> {
        let mut visitor = Visitor::default();
        visit(document, &mut visitor)?;
        let Visitor { entity: Some(entity), tuples, persons, note, digium, digium_message, .. } =
            visitor
        else {
            return Err(FactsError::WrongRoot { expected: "presence" });
        };
        if let Some((what, max)) = visitor.overflow {
            return Err(FactsError::TooMany { what, max });
        }
        if entity.is_empty() {
            return Err(FactsError::Missing { what: "presence entity" });
        }
        let tuples = tuples.into_iter().map(TupleDraft::finish).collect::<Result<Vec<_>, _>>()?;
        let persons: Vec<_> = persons.into_iter().map(PersonDraft::finish).collect();
        refuse_twice("tuple id", tuples.iter().map(|tuple| tuple.id.as_str()))?;
        refuse_twice("person id", persons.iter().map(|person| person.id.as_str()))?;
        let message = digium_message.take().unwrap_or_default();
        let digium = digium.map(|digium| DigiumPresence { message, ..digium });
        Ok(PresenceDocument { entity, tuples, persons, note: note.take(), digium })
    }
}

/// An id names one thing. Counts are bounded, so comparing each with each costs little.
pub(crate) fn refuse_twice<'a>(
    what: &'static str,
    ids: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), FactsError> {
    let mut rest = ids.clone();
    for id in ids {
        rest.next();
        if !id.is_empty() && rest.clone().any(|other| other == id) {
            return Err(FactsError::Twice { what });
        }
    }
    Ok(())
}

#[derive(Default)]
struct TupleDraft {
    id: String,
    basic: FirstText,
    note: FirstText,
}

impl TupleDraft {
    fn finish(self) -> Result<TupleFacts, FactsError> {
        // baresip has no opinion of itself until somebody gives it one, and says so.
        let basic = self.basic.take().filter(|basic| basic != "unknown");
        let basic = Basic::parse(basic.as_deref())?;
        Ok(TupleFacts { id: self.id, basic, note: self.note.take() })
    }
}

#[derive(Default)]
struct PersonDraft {
    id: String,
    activities: Vec<String>,
    note: FirstText,
    activities_note: FirstText,
}

impl PersonDraft {
    fn finish(self) -> PersonFacts {
        let note = self.note.take().or(self.activities_note.take());
        PersonFacts { id: self.id, activities: self.activities, note }
    }
}

/// Which tuple the reader is in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Tuple,
    Digium,
}

#[derive(Default)]
struct Visitor {
    /// `None` until the root is one of a presence document.
    entity: Option<String>,
    tuples: Vec<TupleDraft>,
    persons: Vec<PersonDraft>,
    place: Place,
    note: FirstText,
    digium: Option<DigiumPresence>,
    digium_message: FirstText,
    overflow: Option<(&'static str, usize)>,
}

impl Visitor {
    /// Where text at this path belongs.
    fn text_at(&mut self, path: &[&'static str]) -> Option<&mut FirstText> {
        let (tuple, person) = (self.tuples.last_mut(), self.persons.last_mut());
        match (path, self.place) {
            (["presence", "note"], _) => Some(&mut self.note),
            (["presence", "tuple", "note"], Place::Tuple) => tuple.map(|tuple| &mut tuple.note),
            (["presence", "tuple", "status", "basic"], Place::Tuple) => {
                tuple.map(|tuple| &mut tuple.basic)
            }
            (["presence", "tuple", "status", "digium_presence"], Place::Digium) => {
                Some(&mut self.digium_message)
            }
            (["presence", "person", "note"], _) => person.map(|person| &mut person.note),
            (["presence", "person", "activities", "note"], _) => {
                person.map(|person| &mut person.activities_note)
            }
            _ => None,
        }
    }

    fn open_tuple(&mut self, id: Option<&str>) {
        self.place = match id {
            Some(DIGIUM_TUPLE_ID) => Place::Digium,
            _ => Place::Tuple,
        };
        if self.place == Place::Digium {
            return;
        }
        // The newest keeps its place, so that no text lands in another one.
        if self.tuples.len() >= PRESENCE_TUPLE_COUNT_MAX {
            self.overflow = Some(("tuples", PRESENCE_TUPLE_COUNT_MAX));
            self.tuples.pop();
        }
        self.tuples.push(TupleDraft { id: owned(id), ..TupleDraft::default() });
    }

    fn open_person(&mut self, id: Option<&str>) {
        if self.persons.len() >= PRESENCE_PERSON_COUNT_MAX {
            self.overflow = Some(("persons", PRESENCE_PERSON_COUNT_MAX));
            self.persons.pop();
        }
        self.persons.push(PersonDraft { id: owned(id), ..PersonDraft::default() });
    }

    fn add_activity(&mut self, name: &str) {
        let Some(person) = self.persons.last_mut() else { return };
        if person.activities.len() >= PRESENCE_ACTIVITY_COUNT_MAX {
            self.overflow = Some(("activities", PRESENCE_ACTIVITY_COUNT_MAX));
            return;
        }
        person.activities.push(name.to_owned());
    }
}

impl XmlVisitor for Visitor {
    fn tag(&self, element: &XmlElement) -> &'static str {
        tag_of(element)
    }

    fn start(&mut self, path: &[&'static str], element: &XmlElement) {
        match path {
            ["presence"] => self.entity = Some(owned(element.attribute("entity"))),
            ["presence", "tuple"] => self.open_tuple(element.attribute("id")),
            ["presence", "person"] => self.open_person(element.attribute("id")),
            // In chan_sip's documents the activities stand inside a status of the person.
            ["presence", "person", "activities", _]
            | ["presence", "person", _, "activities", _]
                if element.local != "note" =>
            {
                self.add_activity(&element.local);
            }
            ["presence", "tuple", "status", "digium_presence"] if self.place == Place::Digium => {
                self.digium.get_or_insert_with(|| DigiumPresence::of(element));
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
