//! Writing AMI messages: header lines that end in CRLF, and an empty line.

use std::fmt::{Display, Write};

use super::super::node::{escape_of, one_line};

/// Text of replies and events, appended message by message.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    text: String,
}

impl Messages {
    /// Appends a header. Line ends inside `value` are escaped, so nothing that a client set can
    /// end the line or the message.
    pub(crate) fn header(&mut self, name: &str, value: &str) -> &mut Self {
        self.line(&[name, ": ", &one_line(value)])
    }

    /// Appends a header with a value that is known to be a number or the like.
    pub(crate) fn figure(&mut self, name: &str, value: impl Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{name}: {value}\r\n");
        self
    }

    /// Appends a header whose value is free text in the C escapes that Asterisk uses in some
    /// events: control characters, quotes, backslash and question mark.
    pub(crate) fn escaped(&mut self, name: &str, value: &str) -> &mut Self {
        self.line(&[name, ": ", &escape_c(value)])
    }

    /// Ends a message.
    pub(crate) fn end(&mut self) {
        self.text.push_str("\r\n");
    }

    /// What was written so far.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Forgets what was written, and keeps the memory unless it is much.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(64 * 1024);
    }

    fn line(&mut self, parts: &[&str]) -> &mut Self {
        parts.iter().for_each(|part| self.text.push_str(part));
        self.text.push_str("\r\n");
        self
    }
}

fn escape_c(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match u8::try_from(c).ok().and_then(escape_of) {
            Some(escape) => escaped.extend(['\\', escape]),
            None if matches!(c, '\\' | '\'' | '"' | '?') => escaped.extend(['\\', c]),
            None => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_ends_its_line() {
        for (value, plain, escaped) in [
            ("Sick, out", "Sick, out", "Sick, out"),
            ("a\r\nEvent: x\r\n\r\n", r"a\r\nEvent: x\r\n\r\n", r"a\r\nEvent: x\r\n\r\n"),
            (r#"it's "C:\" ?"#, r#"it's "C:\" ?"#, r#"it\'s \"C:\\\" \?"#),
            ("\0\u{7}\u{8}\t\u{b}\u{c}ä", r"\0\a\b\t\v\fä", r"\0\a\b\t\v\fä"),
        ] {
            let mut messages = Messages::default();
            messages.header("P", value).escaped("E", value).end();
            assert_eq!(messages.as_str(), format!("P: {plain}\r\nE: {escaped}\r\n\r\n"));
        }
    }
}
