//! AMI messages: an incremental reader for servers and clients, and writers.
//!
//! A message is lines `Name: value` ended by an empty line; CRLF and bare LF both end a line.
//! Header names have no letter case, the colon follows the name directly, and the first
//! occurrence wins. Source: the AMI reference, section 1 (framing) and 6 (escaping in events).

use std::borrow::Cow;

use thiserror::Error;

use crate::limits::{
    AMI_ANSWER_BYTES_MAX, AMI_ANSWER_LINE_BYTES_MAX, AMI_ANSWER_LINE_COUNT_MAX, AMI_LINE_BYTES_MAX,
    AMI_LINE_COUNT_MAX, AMI_NEWS_BYTES_MAX, AMI_NEWS_LINE_BYTES_MAX, AMI_NEWS_LINE_COUNT_MAX,
};

/// Start of the line a server sends first, without an empty line behind it.
pub const BANNER_PREFIX: &str = "Asterisk Call Manager/";

/// Why a message was refused. The text is what the server answers; the session goes on.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum AmiError {
    /// A line over the bound.
    #[error("Failed to parse message: line too long")]
    LineTooLong,
    /// More lines, or on the client side more bytes, than the bound.
    #[error("Too many lines in message or allocation failure")]
    TooManyLines,
}

/// One whole message: a request, an answer or an event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AmiMessage {
    lines: Vec<String>,
}

impl AmiMessage {
    /// Value of the first header of that name, in any letter case; blanks before it are cut,
    /// blanks behind it belong to it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name, |_| true)
    }

    /// Value of the first header of that name that is not empty.
    pub fn get_non_empty(&self, name: &str) -> Option<&str> {
        self.find(name, |value| !value.is_empty())
    }

    /// The requested action.
    pub fn action(&self) -> Option<&str> {
        self.get_non_empty("Action")
    }

    /// Every header in order; lines without a colon are left out.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name, value.trim_start_matches(|c: char| c <= ' ')))
        })
    }

    /// Every line as it came, without line ends.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether there was nothing before the empty line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn find(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Option<&str> {
        self.headers()
            .find(|(found, value)| found.eq_ignore_ascii_case(name) && wanted(value))
            .map(|(_, value)| value)
    }
}

/// Cuts a byte stream into messages, holding at most one message in memory.
#[derive(Clone, Debug)]
pub struct AmiReader {
    side: Side,
    line: Vec<u8>,
    message: AmiMessage,
    message_bytes: usize,
    error: Option<AmiError>,
    line_is_too_long: bool,
    banner: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Server,
    Client,
    Follower,
}

impl AmiReader {
    /// Reads requests, with the server's bounds; a lone empty line is an empty message.
    pub fn for_server() -> AmiReader {
        AmiReader::new(Side::Server)
    }

    /// Reads answers and events, with wide bounds; the banner and lone empty lines are skipped.
    pub fn for_client() -> AmiReader {
        AmiReader::new(Side::Client)
    }

    /// Reads events and short answers as a client, with narrow bounds: for who stays connected to
    /// a server that others fill.
    pub fn for_follower() -> AmiReader {
        AmiReader::new(Side::Follower)
    }

    /// Takes bytes off the front of `input` up to the end of one message.
    ///
    /// `None`: all of `input` was taken and the message is not complete yet. An error reports a
    /// message that was refused as a whole; the next call reads on behind it. Bytes that are no
    /// UTF-8 become U+FFFD.
    pub fn read(&mut self, input: &mut &[u8]) -> Option<Result<AmiMessage, AmiError>> {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (line, rest) = input.split_at(end + 1);
            *input = rest;
            self.append(line);
            if let Some(done) = self.end_line() {
                return Some(done);
            }
        }
        let rest = std::mem::take(input);
        self.append(rest);
        None
    }

    /// The server's first line, once a client has read it.
    pub fn banner(&self) -> Option<&str> {
        self.banner.as_deref()
    }

    fn new(side: Side) -> AmiReader {
        AmiReader {
            side,
            line: Vec::new(),
            message: AmiMessage::default(),
            message_bytes: 0,
            error: None,
            line_is_too_long: false,
            banner: None,
        }
    }

    fn line_bytes_max(&self) -> usize {
        match self.side {
            Side::Server => AMI_LINE_BYTES_MAX,
            Side::Client => AMI_ANSWER_LINE_BYTES_MAX,
            Side::Follower => AMI_NEWS_LINE_BYTES_MAX,
        }
    }

    /// Keeps at most one line's worth of bytes, whatever comes.
    fn append(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > self.line_bytes_max() {
            self.line_is_too_long = true;
            self.line.clear();
        }
        if !self.line_is_too_long {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) -> Option<Result<AmiMessage, AmiError>> {
        if std::mem::take(&mut self.line_is_too_long) {
            self.line.clear();
            self.error.get_or_insert(AmiError::LineTooLong);
            return None;
        }
        let bytes = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.is_empty() {
            self.line.clear();
            return self.end_message();
        }
        let line = String::from_utf8_lossy(bytes).into_owned();
        self.line.clear();
        self.keep(line);
        None
    }

    fn keep(&mut self, line: String) {
        let is_first = self.message.is_empty() && self.error.is_none() && self.banner.is_none();
        if self.side != Side::Server && is_first && line.starts_with(BANNER_PREFIX) {
            self.banner = Some(line);
            return;
        }
        let (line_count_max, bytes_max) = match self.side {
            Side::Server => (AMI_LINE_COUNT_MAX, AMI_LINE_COUNT_MAX * AMI_LINE_BYTES_MAX * 3),
            Side::Client => (AMI_ANSWER_LINE_COUNT_MAX, AMI_ANSWER_BYTES_MAX),
            Side::Follower => (AMI_NEWS_LINE_COUNT_MAX, AMI_NEWS_BYTES_MAX),
        };
        self.message_bytes += line.len();
        if self.message.lines.len() == line_count_max || self.message_bytes > bytes_max {
            self.error.get_or_insert(AmiError::TooManyLines);
        }
        if self.error.is_none() {
            self.message.lines.push(line);
        }
    }

    fn end_message(&mut self) -> Option<Result<AmiMessage, AmiError>> {
        let message = std::mem::take(&mut self.message);
        self.message_bytes = 0;
        match self.error.take() {
            Some(error) => Some(Err(error)),
            None if message.is_empty() && self.side != Side::Server => None,
            None => Some(Ok(message)),
        }
    }
}

/// Appends one message to a buffer: first line, headers, and the empty line at [`Self::end`].
#[derive(Debug)]
pub struct AmiWriter<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> AmiWriter<'o> {
    /// Starts an answer (`Response: Success`, `Error`...) that echoes a non-empty action id.
    pub fn response(out: &'o mut Vec<u8>, kind: &str, action_id: Option<&str>) -> AmiWriter<'o> {
        AmiWriter { out }.header("Response", kind).action_id(action_id)
    }

    /// Starts an event; `privilege` is left out in list members.
    pub fn event(out: &'o mut Vec<u8>, name: &str, privilege: Option<&str>) -> AmiWriter<'o> {
        let writer = AmiWriter { out }.header("Event", name);
        match privilege {
            Some(privilege) => writer.header("Privilege", privilege),
            None => writer,
        }
    }

    /// Starts a request.
    pub fn action(out: &'o mut Vec<u8>, name: &str) -> AmiWriter<'o> {
        AmiWriter { out }.header("Action", name)
    }

    /// Adds `ActionID`, if there is one.
    #[must_use]
    pub fn action_id(self, action_id: Option<&str>) -> AmiWriter<'o> {
        match action_id {
            Some(id) if !id.is_empty() => self.header("ActionID", id),
            _ => self,
        }
    }

    /// Adds a header as it is; only CR and LF, which would start another line, are written as
    /// `\r` and `\n`.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> AmiWriter<'o> {
        self.line(name, &escape_line_ends(value))
    }

    /// Adds a header with its value C-escaped, as events carry free text.
    #[must_use]
    pub fn header_escaped(self, name: &str, value: &str) -> AmiWriter<'o> {
        self.line(name, &c_escape(value))
    }

    /// Adds a header with a number.
    #[must_use]
    pub fn header_i64(self, name: &str, number: i64) -> AmiWriter<'o> {
        self.line(name, itoa::Buffer::new().format(number))
    }

    /// Ends the message.
    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn line(self, name: &str, value: &str) -> AmiWriter<'o> {
        for part in [escape_line_ends(name).as_ref(), ": ", value, "\r\n"] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self
    }
}

/// Writes the characters C has escapes for as two characters: `\a \b \t \n \v \f \r \\ \' \" \?`.
pub fn c_escape(text: &str) -> Cow<'_, str> {
    escape_with(text, c_escape_letter)
}

/// Undoes [`c_escape`]; an unknown escape stays as it is.
pub fn c_unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        let Some(letter) = characters.next() else {
            plain.push('\\');
            break;
        };
        match ESCAPES.iter().find(|(_, escape)| *escape == letter) {
            Some((raw, _)) => plain.push(*raw),
            None => plain.extend(['\\', letter]),
        }
    }
    Cow::Owned(plain)
}

const ESCAPES: [(char, char); 11] = [
    ('\x07', 'a'),
    ('\x08', 'b'),
    ('\t', 't'),
    ('\n', 'n'),
    ('\x0B', 'v'),
    ('\x0C', 'f'),
    ('\r', 'r'),
    ('\\', '\\'),
    ('\'', '\''),
    ('"', '"'),
    ('?', '?'),
];

fn c_escape_letter(character: char) -> Option<char> {
    ESCAPES.iter().find(|(raw, _)| *raw == character).map(|(_, letter)| *letter)
}

fn escape_line_ends(text: &str) -> Cow<'_, str> {
    escape_with(text, |character| match character {
        '\r' => Some('r'),
        '\n' => Some('n'),
        _ => None,
    })
}

fn escape_with(text: &str, letter: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.contains(|character| letter(character).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match letter(character) {
            Some(letter) => escaped.extend(['\\', letter]),
            None => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}
