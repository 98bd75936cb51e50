//! simple-message-summary: lines of text, not XML.
//!
//! A phone may read these lines with the simplest of means, so they hold no padding: the document is
//! rendered anew when its counts change, which is as often as somebody leaves a message. Dialect
//! `rfc` leaves out the counts of a mailbox of which nobody counted them; an Asterisk always has
//! the line, and never counts urgent ones.
//! Source: RFC 3842 section 5.2, `reference/states.md` section 6.3.

use lampfield_wire::MessageCounts;

use super::template::Template;
use super::{Shown, View};
use crate::admission::escape_user;
use crate::config::Dialect;
use crate::state::Messages;

/// Renders the document.
pub(super) fn render(view: &View<'_>, shown: &Shown<'_>) -> Template {
    let mut out = Template::new();
    let Messages { is_waiting, counts } =
        shown.mailboxes.map(|mailboxes| mailboxes.messages).unwrap_or_default();
    out.markup("Messages-Waiting: ").markup(if is_waiting { "yes" } else { "no" }).markup("\r\n");
    if let Some(extension) = shown.mailboxes.and_then(|mailboxes| mailboxes.voicemail_extension) {
        out.markup("Message-Account: ").markup(&account(view, extension)).markup("\r\n");
    }
    let MessageCounts { new, old, urgent_new, urgent_old } = counts;
    let (urgent_new, urgent_old) = match view.dialect {
        Dialect::Asterisk => (0, 0),
        Dialect::Rfc => (urgent_new, urgent_old),
    };
    let is_counted = !is_waiting || counts != MessageCounts::default();
    if is_counted || view.dialect == Dialect::Asterisk {
        out.markup(&format!("Voice-Message: {new}/{old} ({urgent_new}/{urgent_old})\r\n"));
    }
    out
}

/// The URI to call for the messages: that of the presentity with another user.
fn account(view: &View<'_>, extension: &str) -> String {
    let (scheme, rest) = view.entity.split_once(':').unwrap_or(("sip", view.entity));
    let user = [view.exten.into(), escape_user(view.exten)];
    let rest = user.iter().find_map(|user| rest.strip_prefix(user.as_str())).unwrap_or(rest);
    format!("{scheme}:{}{rest}", escape_user(extension))
}
