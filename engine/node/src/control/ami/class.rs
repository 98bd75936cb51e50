//! Classes of events and actions: what a user may hear and do.
//!
//! Source: `reference/ami.md` section 3.

/// Calls and states.
pub const CALL: u64 = 0x2;
/// The node itself.
pub const SYSTEM: u64 = 0x1;
/// Console commands.
pub const COMMAND: u64 = 0x10;
/// Events of clients for clients.
pub const USER: u64 = 0x40;
/// Variables.
pub const DIALPLAN: u64 = 0x800;
/// Lists and figures.
pub const REPORTING: u64 = 0x200;
/// Every class.
pub const ALL: u64 = u64::MAX >> 1;

/// Names by bit, in the order in which `Privilege:` lists them.
const NAMES: [(u64, &str); 20] = [
    (SYSTEM, "system"),
    (CALL, "call"),
    (0x4, "log"),
    (0x8, "verbose"),
    (COMMAND, "command"),
    (0x20, "agent"),
    (USER, "user"),
    (0x80, "config"),
    (0x100, "dtmf"),
    (REPORTING, "reporting"),
    (0x400, "cdr"),
    (DIALPLAN, "dialplan"),
    (0x1000, "originate"),
    (0x2000, "agi"),
    (0x4000, "hookresponse"),
    (0x8000, "cc"),
    (0x1_0000, "aoc"),
    (0x2_0000, "test"),
    (0x4_0000, "security"),
    (0x4000_0000, "message"),
];

/// Reads a list of class names, as in `read = call,system`. Blanks around names are skipped.
///
/// # Errors
///
/// The first name that is none.
pub fn parse_names(text: &str) -> Result<u64, String> {
    let mut mask = 0;
    for name in text.split(',').map(str::trim) {
        mask |= match name {
            n if n.eq_ignore_ascii_case("all") => ALL,
            n if n.eq_ignore_ascii_case("none") => 0,
            n => match NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(n)) {
                Some((bit, _)) => *bit,
                None => return Err(name.to_owned()),
            },
        };
    }
    Ok(mask)
}

/// Reads the value of `Events:` or `EventMask:`: a number, a word of truth, or class names.
pub fn parse_event_mask(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let is = |word: &&str| text.eq_ignore_ascii_case(word);
    if ["off", "no", "false"].iter().any(is) {
        return Some(0);
    }
    if ["on", "yes", "true"].iter().any(is) {
        return Some(ALL);
    }
    parse_names(text).ok()
}

/// The names of these classes.
pub fn names(classes: u64) -> String {
    let names = NAMES.iter().filter(|(bit, _)| classes & bit != 0);
    names.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

/// The text of `Privilege:` for an event of these classes.
pub fn privilege(classes: u64) -> String {
    format!("{},all", names(classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_read_as_numbers_words_and_names() {
        for (text, want) in [
            ("on", Some(ALL)),
            ("YES", Some(ALL)),
            ("off", Some(0)),
            ("0", Some(0)),
            ("3", Some(3)),
            ("call", Some(CALL)),
            ("call, system", Some(CALL | SYSTEM)),
            ("all", Some(ALL)),
            ("none", Some(0)),
            ("", None),
            ("bogus", None),
            ("call,bogus", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(parse_event_mask(text), want, "{text}");
        }
    }

    #[test]
    fn privileges_name_the_classes_and_end_in_all() {
        for (classes, want) in [
            (CALL, "call,all"),
            (SYSTEM, "system,all"),
            (CALL | REPORTING, "call,reporting,all"),
            (DIALPLAN, "dialplan,all"),
        ] {
            assert_eq!(privilege(classes), want);
        }
    }
}
