//! PIDF with the activities of RPID, and the Digium supplement.
//!
//! Dialect `asterisk` keeps that product's order (note, tuple, person without id, Digium tuple
//! with an element in no namespace) and names the watcher as contact. Dialect `rfc` is valid
//! against the schemas: tuples, then the note, then a person with an id; the Digium element has a
//! namespace, and the contact is the presentity.
//! Source: RFC 3863 section 4.4, RFC 4479 section 4, RFC 4480 section 5.2, `reference/digium.md`
//! section 2, traces 01 and 04.

use super::display::{Display, STATES};
use super::template::{Piece, Template, Value};
use super::{Shown, View};
use crate::config::Dialect;

/// The namespace of `digium_presence` in dialect `rfc`.
const DIGIUM_NAMESPACE: &str = "urn:lampfield:digium";

const ACTIVITY: &str = "\n  <rpid:activities>\n   <rpid:on-the-phone />\n  </rpid:activities>\n";

/// The changing parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Slot {
    Note,
    Basic,
    Person,
    Digium,
}

/// In the order of the document.
const ASTERISK: [Slot; 4] = [Slot::Note, Slot::Basic, Slot::Person, Slot::Digium];
const RFC: [Slot; 4] = [Slot::Basic, Slot::Digium, Slot::Note, Slot::Person];
const RFC_PLAIN: [Slot; 3] = [Slot::Basic, Slot::Note, Slot::Person];

fn slots(view: &View<'_>) -> &'static [Slot] {
    match (view.dialect, view.digium) {
        (Dialect::Asterisk, true) => &ASTERISK,
        (Dialect::Asterisk, false) => &ASTERISK[..3],
        (Dialect::Rfc, true) => &RFC,
        (Dialect::Rfc, false) => &RFC_PLAIN,
    }
}

/// The values of every slot.
pub(super) fn values<'a>(
    view: &View<'_>,
    shown: &Shown<'a>,
) -> impl Iterator<Item = Value<'a>> + use<'a> {
    let display = Display::of(shown.state, view.early_inuse_ringing);
    let shown = *shown;
    slots(view).iter().map(move |slot| value(*slot, &display, &shown))
}

fn value<'a>(slot: Slot, display: &Display, shown: &Shown<'a>) -> Value<'a> {
    let mut value = Value::new();
    match slot {
        Slot::Note => value.extend([Piece::Markup(display.note), Piece::Markup("</note>")]),
        Slot::Basic => {
            value.push(Piece::Markup(if display.open { "open</basic>" } else { "closed</basic>" }));
        }
        // Follows `<dm:person` or its last attribute.
        Slot::Person if display.on_the_phone => {
            value.extend([">", ACTIVITY, " </dm:person>"].map(Piece::Markup));
        }
        Slot::Person => value.push(Piece::Markup(" />")),
        Slot::Digium => {
            let presence = shown.presence;
            value.push(Piece::Markup(presence.state.token()));
            if !presence.subtype.is_empty() {
                value.push(Piece::Markup("\" subtype=\""));
                value.push(Piece::Text(&presence.subtype));
            }
            if presence.message.is_empty() {
                value.push(Piece::Markup("\" />"));
            } else {
                value.push(Piece::Markup("\">"));
                value.push(Piece::Text(&presence.message));
                value.push(Piece::Markup("</digium_presence>"));
            }
        }
    }
    value
}

/// Renders the document.
pub(super) fn render(view: &View<'_>, shown: &Shown<'_>) -> Template {
    let mut template = Template::new();
    match view.dialect {
        Dialect::Asterisk => asterisk(view, shown, &mut template),
        Dialect::Rfc => rfc(view, shown, &mut template),
    }
    template
}

fn asterisk(view: &View<'_>, shown: &Shown<'_>, out: &mut Template) {
    out.markup(super::PROLOG).markup("<presence entity=\"").entity(view.entity).markup(concat!(
        "\" xmlns=\"urn:ietf:params:xml:ns:pidf\"",
        " xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\"",
        " xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\">\n <note>"
    ));
    slot(Slot::Note, view, shown, out);
    out.markup("\n <tuple id=\"").text(view.exten).markup("\">\n  <status>\n   <basic>");
    slot(Slot::Basic, view, shown, out);
    out.markup("\n  </status>\n  <contact priority=\"1\">").watcher();
    out.markup("</contact>\n </tuple>\n <dm:person");
    slot(Slot::Person, view, shown, out);
    if view.digium {
        out.markup("\n <tuple id=\"digium-presence\">\n  <status>\n   <digium_presence type=\"");
        slot(Slot::Digium, view, shown, out);
        out.markup("\n  </status>\n </tuple>");
    }
    out.markup("\n</presence>\n");
}

fn rfc(view: &View<'_>, shown: &Shown<'_>, out: &mut Template) {
    let id = xml_id(view.exten);
    out.markup(super::PROLOG).markup(concat!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"",
        " xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\"",
        " xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\""
    ));
    out.entity(view.entity).markup("\">\n <tuple id=\"t-").text(&id);
    out.markup("\">\n  <status>\n   <basic>");
    slot(Slot::Basic, view, shown, out);
    out.markup("\n  </status>\n  <contact priority=\"1\">").text(view.entity);
    out.markup("</contact>\n </tuple>");
    if view.digium {
        out.markup("\n <tuple id=\"digium-presence\">\n  <status>\n   <digium_presence xmlns=\"");
        out.markup(DIGIUM_NAMESPACE).markup("\" type=\"");
        slot(Slot::Digium, view, shown, out);
        out.markup("\n  </status>\n </tuple>");
    }
    out.markup("\n <note>");
    slot(Slot::Note, view, shown, out);
    out.markup("\n <dm:person id=\"p-").text(&id).markup("\"");
    slot(Slot::Person, view, shown, out);
    out.markup("\n</presence>\n");
}

/// Appends a slot wide enough for every state.
fn slot(slot: Slot, view: &View<'_>, shown: &Shown<'_>, out: &mut Template) {
    let value_of = |state| value(slot, &Display::of(state, view.early_inuse_ringing), shown);
    if slot == Slot::Digium {
        out.free_slot(&value_of(shown.state));
    } else {
        let width = STATES.map(|state| out.len_of(&value_of(state))).into_iter().max();
        out.slot(width.unwrap_or(0), &value_of(shown.state));
    }
}

/// An extension as part of an XML name: what a name may not hold is written as `_` and hex.
fn xml_id(exten: &str) -> String {
    let mut id = String::with_capacity(exten.len());
    for c in exten.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' => id.push(c),
            _ => id.push_str(&format!("_{:x}", u32::from(c))),
        }
    }
    id
}
