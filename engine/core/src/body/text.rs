//! Text into XML: escaped, cleaned of what XML cannot carry, cut at a bound.
//!
//! Source: XML 1.0 sections 2.2 (`Char`) and 2.4, `reference/states.md` section 6.2.

/// Bytes of one text in a document at most, counted after escaping (Asterisk's own bound).
pub(super) const TEXT_BYTES_MAX: usize = 1023;

/// Stands for a character that XML 1.0 does not allow.
const REPLACEMENT: &str = "\u{fffd}";

/// Hands `emit` the escaped pieces of `text` until the next would pass [`TEXT_BYTES_MAX`].
///
/// Every piece is a run of plain characters or one entity, so a cut never splits either.
pub(super) fn escape(text: &str, mut emit: impl FnMut(&str)) {
    let mut room = TEXT_BYTES_MAX;
    let mut rest = text;
    while !rest.is_empty() && room > 0 {
        let plain = rest.find(needs_escape).unwrap_or(rest.len());
        let run = floor_char_boundary(rest, plain.min(room));
        emit(&rest[..run]);
        room -= run;
        if run < plain {
            return;
        }
        let Some(special) = rest[plain..].chars().next() else { return };
        let entity = replacement(special);
        if entity.len() > room {
            return;
        }
        emit(entity);
        room -= entity.len();
        rest = &rest[plain + special.len_utf8()..];
    }
}

/// Length of `text` as [`escape`] writes it.
pub(super) fn escaped_len(text: &str) -> usize {
    let mut len = 0;
    escape(text, |piece| len += piece.len());
    len
}

/// White space other than the blank is escaped too: a parser would turn it into a blank inside an
/// attribute value.
fn needs_escape(c: char) -> bool {
    matches!(c, '<' | '>' | '&' | '"' | '\'' | '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

fn replacement(c: char) -> &'static str {
    match c {
        '<' => "&lt;",
        '>' => "&gt;",
        '&' => "&amp;",
        '"' => "&quot;",
        '\'' => "&apos;",
        '\t' => "&#9;",
        '\n' => "&#10;",
        '\r' => "&#13;",
        _ => REPLACEMENT,
    }
}

fn floor_char_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        escape(text, |piece| out.push_str(piece));
        assert_eq!(escaped_len(text), out.len());
        out
    }

    #[test]
    fn special_characters_become_entities_and_illegal_ones_a_replacement() {
        for (text, want) in [
            ("", ""),
            ("lunch", "lunch"),
            ("<s&'t>", "&lt;s&amp;&apos;t&gt;"),
            ("\"\t\r\n", "&quot;&#9;&#13;&#10;"),
            ("a\0b\x1b\u{ffff}é", "a\u{fffd}b\u{fffd}\u{fffd}é"),
        ] {
            assert_eq!(escaped(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_cut_never_splits_a_character_or_an_entity() {
        for (text, want_len) in [
            ("x".repeat(1023), 1023),
            ("x".repeat(61_440), 1023),
            ("é".repeat(61_440), 1022),
            ("\"".repeat(61_440), 1020),
            (format!("{}&", "x".repeat(1018)), 1023),
            (format!("{}&", "x".repeat(1019)), 1019),
            (format!("{}é", "x".repeat(1022)), 1022),
        ] {
            let out = escaped(&text);
            assert_eq!(out.len(), want_len);
            assert!(!out.contains('&') || out.ends_with(';'));
        }
    }
}
