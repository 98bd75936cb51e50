//! Appends SIP heads and XML text to a caller's buffer, without formatting machinery.
//!
//! The buffer only ever grows by appending; a [`Slot`] reserves a fixed width to be filled later
//! (Content-Length before the body is known, a body template's field), so that patching a value
//! never moves a byte.

use core::fmt;

use crate::chars::trim;
use crate::limits::LOG_TEXT_BYTES_MAX;

/// Width of a Content-Length slot: the message bound has five digits.
pub const CONTENT_LENGTH_WIDTH: usize = 5;

/// Appends a decimal number.
pub fn push_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a decimal number.
pub fn push_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `Name: value` and CRLF.
pub fn push_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push_value(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `Name: number` and CRLF.
pub fn push_header_u32(out: &mut Vec<u8>, name: &str, number: u32) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push_u32(out, number);
    out.extend_from_slice(b"\r\n");
}

/// Appends a header value on one line: every CR and LF, as in a folded value that is echoed,
/// becomes a blank, so that no value can start a header of its own.
pub fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    let mut rest = trim(value);
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b' ');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends a quoted string: quotes and backslashes are escaped, CR, LF and NUL become blanks.
pub fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\r' | b'\n' | 0 => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Appends `Content-Length: ` with an empty slot, and CRLF.
pub fn push_content_length_slot(out: &mut Vec<u8>) -> Slot {
    out.extend_from_slice(b"Content-Length: ");
    let slot = Slot::push(out, CONTENT_LENGTH_WIDTH);
    out.extend_from_slice(b"\r\n");
    slot
}

/// A fixed number of bytes, filled with blanks until a value is written over them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    start: usize,
    width: usize,
}

/// A value was wider than its slot; the slot keeps what it had.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("value of {value_bytes} bytes does not fit a slot of {width} bytes")]
pub struct SlotTooNarrow {
    /// Length of the value.
    pub value_bytes: usize,
    /// Width of the slot.
    pub width: usize,
}

impl Slot {
    /// Appends `width` blanks to be filled later.
    pub fn push(out: &mut Vec<u8>, width: usize) -> Slot {
        let start = out.len();
        out.resize(start + width, b' ');
        Slot { start, width }
    }

    /// Writes a number, right aligned.
    ///
    /// # Errors
    ///
    /// [`SlotTooNarrow`]: nothing was changed.
    pub fn fill_number(&self, out: &mut [u8], number: u32) -> Result<(), SlotTooNarrow> {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        let blanks = self.blanks(digits.len())?;
        let (padding, field) = self.field(out).split_at_mut(blanks);
        padding.fill(b' ');
        field.copy_from_slice(digits);
        Ok(())
    }

    /// Writes text, left aligned, blanks behind it.
    ///
    /// # Errors
    ///
    /// [`SlotTooNarrow`]: nothing was changed.
    pub fn fill_text(&self, out: &mut [u8], text: &[u8]) -> Result<(), SlotTooNarrow> {
        self.blanks(text.len())?;
        let (field, padding) = self.field(out).split_at_mut(text.len());
        field.copy_from_slice(text);
        padding.fill(b' ');
        Ok(())
    }

    /// Where the slot starts in its buffer.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Bytes it takes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The same slot in a copy of the buffer that starts `by` bytes later.
    pub fn moved(&self, by: usize) -> Slot {
        Slot { start: self.start + by, width: self.width }
    }

    fn blanks(&self, value_bytes: usize) -> Result<usize, SlotTooNarrow> {
        self.width.checked_sub(value_bytes).ok_or(SlotTooNarrow { value_bytes, width: self.width })
    }

    fn field<'b>(&self, out: &'b mut [u8]) -> &'b mut [u8] {
        &mut out[self.start..self.start + self.width]
    }
}

/// Appends text so that it is the same text inside an XML 1.0 element or attribute.
///
/// The five special characters become entities and tab, CR and LF character references (white
/// space in an attribute would otherwise be normalised). Characters that XML 1.0 cannot carry at
/// all, and bytes that are no UTF-8, become U+FFFD. At most six bytes come out of one.
pub fn push_xml(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        push_xml_str(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
        }
    }
}

const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

fn push_xml_str(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let (replacement, width): (&[u8], usize) = match byte {
            b'<' => (b"&lt;", 1),
            b'>' => (b"&gt;", 1),
            b'&' => (b"&amp;", 1),
            b'"' => (b"&quot;", 1),
            b'\'' => (b"&apos;", 1),
            b'\t' => (b"&#9;", 1),
            b'\n' => (b"&#10;", 1),
            b'\r' => (b"&#13;", 1),
            0..=0x1F => (REPLACEMENT, 1),
            // U+FFFE and U+FFFF are the only longer characters outside XML's Char.
            0xEF if matches!(bytes[at..], [_, 0xBF, 0xBE | 0xBF, ..]) => (REPLACEMENT, 3),
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..at]);
        out.extend_from_slice(replacement);
        copied = at + width;
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// Text from outside as it may stand in one log line; see [`escape_log`].
#[derive(Clone, Copy, Debug)]
pub struct EscapeLog<'a> {
    text: &'a [u8],
}

/// Shows bytes from outside without letting them forge, hide or reorder log lines.
///
/// Control characters (C1 and Unicode line ends and direction marks included), backslashes and
/// bytes that are no UTF-8 are written as escapes; text behind [`LOG_TEXT_BYTES_MAX`] bytes is
/// left out, and said so.
pub fn escape_log(text: &[u8]) -> EscapeLog<'_> {
    EscapeLog { text }
}

impl fmt::Display for EscapeLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.text[..self.text.len().min(LOG_TEXT_BYTES_MAX)];
        for chunk in shown.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '\r' => f.write_str("\\r")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    _ if is_unsafe_in_log(character) => {
                        write!(f, "\\u{{{:x}}}", u32::from(character))?;
                    }
                    _ => fmt::Write::write_char(f, character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        match self.text.len() - shown.len() {
            0 => Ok(()),
            left_out => write!(f, "...(+{left_out} bytes)"),
        }
    }
}

fn is_unsafe_in_log(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
        || matches!(character, '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_fill_slots_without_moving_bytes() {
        let mut out = b"X: y\r\n".to_vec();
        let slot = push_content_length_slot(&mut out);
        out.extend_from_slice(b"\r\n");
        let length = out.len();
        for (number, want) in
            [(0, Ok("    0")), (512, Ok("  512")), (65_535, Ok("65535")), (100_000, Err("65535"))]
        {
            let result = slot.fill_number(&mut out, number);
            assert_eq!(result.is_ok(), want.is_ok(), "{number}");
            let text = format!("X: y\r\nContent-Length: {}\r\n\r\n", want.unwrap_or("65535"));
            assert_eq!(str::from_utf8(&out), Ok(text.as_str()), "{number}");
            assert_eq!(out.len(), length, "{number}");
        }
        assert_eq!(slot.fill_text(&mut out, b"ab"), Ok(()));
        assert!(out.ends_with(b": ab   \r\n\r\n"));
        let too_long = SlotTooNarrow { value_bytes: 6, width: 5 };
        assert_eq!(slot.fill_text(&mut out, b"abcdef"), Err(too_long));
    }

    #[test]
    fn a_value_stays_on_its_line() {
        for (value, want) in [
            (&b"plain"[..], &b"H: plain\r\n"[..]),
            (b" a\r\n\tb ", b"H: a  \tb\r\n"),
            (b"x\r\nEvil: 1", b"H: x  Evil: 1\r\n"),
            (b"x\nEvil: 1\r", b"H: x Evil: 1\r\n"),
        ] {
            let mut out = Vec::new();
            push_header(&mut out, "H", value);
            assert_eq!(out, want);
        }
    }

    #[test]
    fn a_quoted_string_ends_where_we_end_it() {
        let mut out = Vec::new();
        push_quoted(&mut out, b"a\"b\\c\r\nd\0");
        assert_eq!(out, b"\"a\\\"b\\\\c  d \"");
    }

    #[test]
    fn xml_text_is_escaped_and_illegal_characters_are_replaced() {
        for (text, want) in [
            (&b"plain text"[..], "plain text"),
            (b"<a b=\"c\" d='e'>&amp;", "&lt;a b=&quot;c&quot; d=&apos;e&apos;&gt;&amp;amp;"),
            (b"1\r\n2\t3", "1&#13;&#10;2&#9;3"),
            (b"nul \0 esc \x1b del \x7f", "nul \u{FFFD} esc \u{FFFD} del \x7f"),
            ("Gr\u{fc}\u{df}e \u{1F600} \u{FFFD}".as_bytes(), "Gr\u{fc}\u{df}e \u{1F600} \u{FFFD}"),
            ("\u{FFFE}x\u{FFFF}".as_bytes(), "\u{FFFD}x\u{FFFD}"),
            (b"latin \xfc1 end \xe2\x82", "latin \u{FFFD}1 end \u{FFFD}"),
        ] {
            let mut out = Vec::new();
            push_xml(&mut out, text);
            assert_eq!(str::from_utf8(&out), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn a_log_line_cannot_be_forged() {
        for (text, want) in [
            ("Bob\r\n2026-01-01 ERROR x".as_bytes(), "Bob\\r\\n2026-01-01 ERROR x"),
            (b"a\x1b[2Kb\x08\x00", "a\\u{1b}[2Kb\\u{8}\\u{0}"),
            (b"\\n \xff", "\\\\n \\xff"),
            ("x\u{2028}y\u{202e}z\u{85}".as_bytes(), "x\\u{2028}y\\u{202e}z\\u{85}"),
        ] {
            assert_eq!(escape_log(text).to_string(), want);
        }
        let long = escape_log(&[b'a'; LOG_TEXT_BYTES_MAX + 7]).to_string();
        assert!(long.ends_with("aaa...(+7 bytes)"));
    }
}
