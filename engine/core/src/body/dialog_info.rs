//! dialog-info, always full state: one dialog for the state, or the calls if somebody tells them.
//!
//! Dialect `asterisk` keeps that product's order (the parties before the state while it rings,
//! after it on hold) and its attribute `pvalue`; dialect `rfc` puts the state first and says
//! `pval`, as the schema wants.
//! Source: RFC 4235 section 4, `reference/states.md` section 6.3, trace 03.

use super::display::{Dialog, Display, STATES};
use super::template::{Piece, Template, Value};
use super::{Shown, View};
use crate::config::Dialect;
use crate::state::{Call, Direction, ExtensionState, sum_of};

const IDENTITY: [Piece<'static>; 5] = [
    Piece::Markup("\n  <local>\n   <identity>"),
    Piece::Entity,
    Piece::Markup("</identity>\n   <target uri=\""),
    Piece::Entity,
    Piece::Markup("\" />\n  </local>"),
];
const EARLY: &str = "\n  <state>early</state>";
const CONFIRMED: &str = "\n  <state>confirmed</state>";

/// The value of the one slot: everything that follows the (first) dialog's id.
pub(super) fn value<'a>(view: &View<'_>, shown: &Shown<'a>) -> Value<'a> {
    let mut value = Value::new();
    for (n, call) in calls(view, shown).enumerate() {
        if n > 0 {
            // Several observers may call theirs the same.
            let id = Piece::Hex(call.id.wrapping_add(n as u64));
            value.extend([Piece::Markup("\n </dialog>\n <dialog id=\""), id, Piece::Markup("\"")]);
        }
        push_call(view, call, &mut value);
    }
    if value.is_empty() { state_alone(view, shown) } else { value }
}

/// The calls to show: first the one that shows what the extension's state shows. None if their sum
/// is another state: then something else is busy, too, of which nothing is known.
fn calls<'a>(view: &View<'_>, shown: &Shown<'a>) -> impl Iterator<Item = &'a Call> {
    let calls = match sum_of(shown.calls) == Some(shown.state) {
        true => shown.calls,
        false => &[],
    };
    let display = |state| Display::of(state, view.early_inuse_ringing).dialog;
    let shows_it = |call: &Call| dialog_of(call) == display(shown.state);
    let first = calls.iter().position(shows_it).unwrap_or(0);
    let count_max = if view.single_dialog { 1 } else { usize::MAX };
    let others = calls.iter().enumerate().filter(move |(n, _)| *n != first).map(|(_, call)| call);
    calls.get(first).into_iter().chain(others).take(count_max)
}

fn dialog_of(call: &Call) -> Dialog {
    Display::of(ExtensionState::from_devices(call.state), false).dialog
}

fn push_call<'a>(view: &View<'_>, call: &'a Call, value: &mut Value<'a>) {
    let dialog = dialog_of(call);
    value.push(Piece::Escaped(&call.ids));
    value.push(Piece::Markup(match call.direction {
        Some(Direction::Initiator) => " direction=\"initiator\">",
        Some(Direction::Recipient) => " direction=\"recipient\">",
        None if dialog == Dialog::Early => " direction=\"recipient\">",
        None => ">",
    }));
    value.push(Piece::Markup(if dialog == Dialog::Early { EARLY } else { CONFIRMED }));
    let [begin, entity, between, target, end] = IDENTITY;
    value.extend([begin, entity, between, target]);
    match dialog {
        Dialog::Held => value.extend([
            Piece::Markup("\">"),
            Piece::Markup(not_rendered(view.dialect)),
            Piece::Markup("\n  </local>"),
        ]),
        _ => value.push(end),
    }
    value.push(Piece::Escaped(&call.remote));
}

/// What a held call's target says, up to its end.
const fn not_rendered(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Asterisk => "\n    <param pname=\"+sip.rendering\" pvalue=\"no\" />\n   </target>",
        Dialect::Rfc => "\n    <param pname=\"+sip.rendering\" pval=\"no\" />\n   </target>",
    }
}

/// A state of which no calls are known.
fn state_alone<'a>(view: &View<'_>, shown: &Shown<'a>) -> Value<'a> {
    let mut value = Value::new();
    match Display::of(shown.state, view.early_inuse_ringing).dialog {
        Dialog::Terminated => value.push(Piece::Markup(">\n  <state>terminated</state>")),
        Dialog::Early => {
            value.push(Piece::Markup(" direction=\"recipient\">"));
            match view.dialect {
                Dialect::Asterisk => {
                    value.extend(IDENTITY);
                    value.push(Piece::Markup(EARLY));
                }
                Dialect::Rfc => {
                    value.push(Piece::Markup(EARLY));
                    value.extend(IDENTITY);
                }
            }
        }
        Dialog::Confirmed => value.extend([">", CONFIRMED].map(Piece::Markup)),
        Dialog::Held => {
            value.extend([">", CONFIRMED, "\n  <local>\n   <target uri=\""].map(Piece::Markup));
            value.push(Piece::Entity);
            let end = ["\">", not_rendered(view.dialect), "\n  </local>"];
            value.extend(end.map(Piece::Markup));
        }
    }
    value
}

/// Renders the document.
pub(super) fn render(view: &View<'_>, shown: &Shown<'_>) -> Template {
    let mut out = Template::new();
    out.markup(super::PROLOG);
    out.markup("<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"").version();
    out.markup(" state=\"full\" entity=\"").entity(view.entity);
    out.markup("\">\n <dialog id=\"").text(view.exten).markup("\"");
    if calls(view, shown).next().is_some() {
        out.free_slot(&value(view, shown));
    } else {
        let len_in = |state| out.len_of(&state_alone(view, &Shown { state, ..*shown }));
        let width = STATES.map(len_in).into_iter().max().unwrap_or(0);
        out.slot(width, &value(view, shown));
    }
    out.markup("\n </dialog>\n</dialog-info>\n");
    out
}
