//! What a document says, as one line of text: read from a body, or derived from the truth.
//!
//! Source of the table: `reference/states.md` section 6, written down a second time here.

use lampfield_core::body::Format;
use lampfield_core::state::{Presence, PresenceState};

/// Bytes of a text in a document, after escaping.
const TEXT_BYTES_MAX: usize = 1023;

/// How one watcher sees its extension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) format: Format,
    pub(crate) digium: bool,
    pub(crate) early: bool,
}

/// What a watcher of `look` must be told of an extension in `state` (Asterisk's number).
pub(crate) fn expected(look: Look, state: i32, presence: &Presence) -> String {
    let call = matches!(state, 1 | 2 | 8 | 9 | 16);
    match look.format {
        Format::Pidf => {
            let basic = if state == 4 { "closed" } else { "open" };
            let note = match state {
                1 | 2 => "On the phone",
                4 => "Unavailable",
                8 | 9 => "Ringing",
                16 => "On hold",
                _ => "Ready",
            };
            let mut facts = format!("{basic} {note} call={call}");
            if look.digium {
                let token = match presence.state {
                    PresenceState::NotSet => "not_set",
                    PresenceState::Unavailable => "unavailable",
                    PresenceState::Available => "available",
                    PresenceState::Away => "away",
                    PresenceState::Xa => "xa",
                    PresenceState::Chat => "chat",
                    PresenceState::Dnd => "dnd",
                };
                let (subtype, message) = (cut(&presence.subtype), cut(&presence.message));
                facts += &format!(" digium={token},{subtype},{message}");
            }
            facts
        }
        Format::Xpidf | Format::CpimPidf => {
            let status = if call { "inuse" } else { ["open", "closed"][usize::from(state == 4)] };
            let substatus =
                if call { "onthephone" } else { ["online", "offline"][usize::from(state == 4)] };
            format!("{status} {substatus}")
        }
        Format::DialogInfo => {
            let rings = state == 8 || state == 9 && look.early;
            let dialog =
                if rings { "early" } else { ["terminated", "confirmed"][usize::from(call)] };
            format!("{dialog} incoming={rings} held={}", state == 16)
        }
        Format::MessageSummary => "no watcher asks for messages".into(),
    }
}

/// What a body says.
pub(crate) fn read(format: Format, body: &str) -> Result<String, String> {
    let part = |start: &str, end: &str| {
        between(body, start, end).ok_or_else(|| format!("no {start}… in {body:?}"))
    };
    match format {
        Format::Pidf => {
            let call = body.contains("rpid:on-the-phone");
            let (basic, note) = (part("<basic>", "<")?, part("<note>", "<")?);
            let mut facts = format!("{basic} {note} call={call}");
            if body.contains("<digium_presence") {
                let element = part("<digium_presence", "</status>")?;
                let token = between(element, "type=\"", "\"").unwrap_or("?");
                let subtype = between(element, "subtype=\"", "\"").unwrap_or("");
                let message = between(element, "\">", "</").unwrap_or("");
                facts += &format!(" digium={token},{},{}", plain(subtype), plain(message));
            }
            Ok(facts)
        }
        Format::Xpidf | Format::CpimPidf => {
            Ok(format!("{} {}", part("<status status=\"", "\"")?, part("substatus=\"", "\"")?))
        }
        Format::DialogInfo => {
            let incoming = body.contains("direction=\"recipient\"");
            let held = body.contains("+sip.rendering");
            Ok(format!("{} incoming={incoming} held={held}", part("<state>", "<")?))
        }
        Format::MessageSummary => Err("messages nobody asked for".into()),
    }
}

/// The version of a dialog-info document.
pub(crate) fn version(body: &str) -> Option<u32> {
    between(body.split_once("<dialog-info")?.1, "version=\"", "\"")?.parse().ok()
}

/// The version of the outermost list of a NOTIFY.
pub(crate) fn list_version(body: &str) -> Option<u32> {
    between(body.split_once("<list xmlns=")?.1, "version=\"", "\"")?.parse().ok()
}

/// Members that a list's NOTIFY shows, ended ones too.
pub(crate) fn member_count(body: &str) -> usize {
    let nested_count = body.matches("<list xmlns=").count().saturating_sub(1);
    body.matches("<resource ").count().saturating_sub(nested_count)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}

fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The simulated texts grow by `<` and `&` only, or are long and plain.
fn cut(text: &str) -> &str {
    &text[..text.len().min(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use lampfield_core::body::{Body, Shown, View};
    use lampfield_core::config::Dialect;
    use lampfield_core::state::ExtensionState;

    use super::*;

    const STATES: [ExtensionState; 7] = [
        ExtensionState::Idle,
        ExtensionState::InUse,
        ExtensionState::Busy,
        ExtensionState::Unavailable,
        ExtensionState::Ringing,
        ExtensionState::InUseRinging,
        ExtensionState::OnHold,
    ];

    #[test]
    fn what_is_read_from_a_body_is_what_the_table_expects() {
        let presence = Presence {
            state: PresenceState::Away,
            subtype: "a <b> & c".into(),
            message: "x".repeat(1100).into(),
        };
        let formats = [Format::Pidf, Format::Xpidf, Format::CpimPidf, Format::DialogInfo];
        let dialects = [Dialect::Rfc, Dialect::Asterisk];
        for (format, dialect) in formats.into_iter().flat_map(|f| dialects.map(|d| (f, d))) {
            for (state, flag) in STATES.into_iter().flat_map(|s| [(s, false), (s, true)]) {
                let view = View {
                    format,
                    dialect,
                    digium: flag,
                    early_inuse_ringing: flag,
                    single_dialog: false,
                    exten: "100",
                    entity: "sip:100@node",
                };
                let mut body = Vec::new();
                Body::render(
                    &view,
                    &Shown { state, presence: &presence, mailboxes: None, calls: &[] },
                )
                .write_for(7, b"sip:w", &mut body);
                let body = String::from_utf8(body).expect("text");
                let look = Look { format, digium: flag, early: flag };
                assert_eq!(read(format, &body), Ok(expected(look, state.number(), &presence)));
                let wanted = (format == Format::DialogInfo).then_some(7);
                assert_eq!(version(&body), wanted);
            }
        }
    }
}
