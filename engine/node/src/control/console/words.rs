//! Taking a command line apart.

/// Words of one line. No command takes more.
const WORD_COUNT_MAX: usize = 32;

/// Splits a line at blanks. Double quotes keep blanks together; a backslash protects a quote, a
/// blank or another backslash, and is itself before anything else, so `\,` reaches the command.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' if !in_quotes => {
                words.extend(word.take());
                if words.len() == WORD_COUNT_MAX {
                    return words;
                }
            }
            '"' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            '\\' => {
                let protected = chars.next_if(|c| matches!(c, '"' | ' ' | '\\'));
                word.get_or_insert_default().push(protected.unwrap_or('\\'));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks_and_a_backslash_before_a_comma_stays() {
        for (line, want) in [
            ("presencestate  list ", &["presencestate", "list"][..]),
            (
                r#"change x "Away,up stairs,eating lunch""#,
                &["change", "x", "Away,up stairs,eating lunch"],
            ),
            (r"change x away,a\,b\ c", &["change", "x", r"away,a\,b c"]),
            (r#"a "" b\"c\\ "#, &["a", "", r#"b"c\"#]),
            (r#"a "open end"#, &["a", "open end"]),
            (r"a\", &[r"a\"]),
            ("\t ", &[]),
        ] {
            assert_eq!(split(line), want, "{line}");
        }
        assert_eq!(split(&"x ".repeat(100_000)).len(), WORD_COUNT_MAX);
    }
}
