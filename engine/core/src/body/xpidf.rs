//! XPIDF, the ancestor of PIDF that Microsoft's clients read, under both of its media types.
//!
//! `atomid` must differ from one document to the next: a hash of what was shown first, and a
//! count of changes. The address is the watcher's in dialect `asterisk` and the presentity's in
//! dialect `rfc`; nothing else differs.
//! Source: `reference/states.md` section 6.3, trace 02.

use super::display::Display;
use super::template::{Piece, Template, Value};
use super::{Shown, View};
use crate::config::Dialect;

const STATUS_BYTES: usize = "closed\" />".len();
const SUBSTATUS_BYTES: usize = "onthephone\" />".len();

/// The values of both slots.
pub(super) fn values<'a>(view: &View<'_>, shown: &Shown<'_>) -> [Value<'a>; 2] {
    let display = Display::of(shown.state, view.early_inuse_ringing);
    [display.status, display.substatus]
        .map(|token| Value::from_iter([Piece::Markup(token), Piece::Markup("\" />")]))
}

/// Renders the document.
pub(super) fn render(view: &View<'_>, shown: &Shown<'_>) -> Template {
    let [status, substatus] = values(view, shown);
    let mut out = Template::new();
    out.markup(super::PROLOG).markup("<presence>\n <presentity uri=\"").entity(view.entity);
    out.markup(";method=SUBSCRIBE\" />\n <atom atomid=\"").markup(&digest(view, shown));
    out.serial(0).markup("\" id=\"").text(view.exten).markup("\">\n  <address uri=\"");
    match view.dialect {
        Dialect::Asterisk => out.watcher(),
        Dialect::Rfc => out.text(view.entity),
    };
    out.markup(";user=ip\" priority=\"0.80000\">\n   <status status=\"");
    out.slot(STATUS_BYTES, &status).markup("\n   <msnsubstatus substatus=\"");
    out.slot(SUBSTATUS_BYTES, &substatus).markup("\n  </address>\n </atom>\n</presence>\n");
    out
}

/// FNV-1a: stable from build to build, and nothing here needs to resist an attacker.
fn digest(view: &View<'_>, shown: &Shown<'_>) -> String {
    let state = [0xff, shown.state as u8];
    let bytes = view.entity.bytes().chain([0xff]).chain(view.exten.bytes()).chain(state);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("a{hash:016x}-")
}
