//! dialog-info: one dialog, always full state.
//!
//! Dialect `asterisk` keeps that product's order (the parties before the state while it rings,
//! after it on hold) and its attribute `pvalue`; dialect `rfc` puts the state first and says
//! `pval`, as the schema wants.
//! Source: RFC 4235 section 4, `reference/states.md` section 6.3, trace 03.

use super::display::{Dialog, Display, STATES};
use super::template::{Piece, Template, Value};
use super::{Shown, View};
use crate::config::Dialect;

const IDENTITY: [Piece<'static>; 5] = [
    Piece::Markup("\n  <local>\n   <identity>"),
    Piece::Entity,
    Piece::Markup("</identity>\n   <target uri=\""),
    Piece::Entity,
    Piece::Markup("\" />\n  </local>"),
];
const EARLY: &str = "\n  <state>early</state>";
const CONFIRMED: &str = "\n  <state>confirmed</state>";

/// The value of the one slot: everything that follows the dialog's id.
pub(super) fn value(view: &View<'_>, shown: &Shown<'_>) -> Value<'static> {
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
            value.push(Piece::Markup(match view.dialect {
                Dialect::Asterisk => {
                    "\">\n    <param pname=\"+sip.rendering\" pvalue=\"no\" />\n   </target>"
                }
                Dialect::Rfc => {
                    "\">\n    <param pname=\"+sip.rendering\" pval=\"no\" />\n   </target>"
                }
            }));
            value.push(Piece::Markup("\n  </local>"));
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
    let len_in = |state| out.len_of(&value(view, &Shown { state, ..*shown }));
    let width = STATES.map(len_in).into_iter().max().unwrap_or(0);
    out.slot(width, &value(view, shown)).markup("\n </dialog>\n</dialog-info>\n");
    out
}
