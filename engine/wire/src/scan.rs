//! One borrowed pass over a SIP message: start line, header spans, body.
//!
//! This is the only whole-message parser of the engine. It allocates nothing (up to 32 headers),
//! checks no UTF-8 and gives out slices of the input; typed values are read from those slices by
//! [`crate::header`] when somebody needs them. Source: RFC 3261 section 7 and 25.1.
//!
//! **Line ends are CRLF, nothing else.** A bare LF or a bare CR anywhere in the head refuses the
//! message: a reader that takes a bare LF for a line end and one that does not would see
//! different headers, and on a stream different message borders. RFC 3261 allows neither.
//!
//! **Folding.** A line that starts with a blank continues the value before it; values are given
//! out as they stand, with the CRLF and blanks inside. A line of blanks only is such a
//! continuation and does not end the head.

use memchr::{memchr, memchr2};
use smallvec::SmallVec;
use thiserror::Error;

use crate::chars::{is_token, is_token_str, parse_decimal, trim};
use crate::limits::{
    HEAD_BYTES_MAX, HEADER_COUNT_INLINE, HEADER_COUNT_MAX, HEADER_NAME_BYTES_MAX,
    MESSAGE_BYTES_MAX, METHOD_BYTES_MAX,
};
use crate::list::split_list;
use crate::name::HeaderName;

/// How the end of a message is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// One message per datagram: Content-Length is optional, bytes after it are cut off, and
    /// fewer bytes than it announces are an error (RFC 3261 section 18.3).
    Datagram,
    /// Content-Length is mandatory and exact; what follows belongs to the next message.
    Stream,
}

/// Why a message was refused, and at which byte of the input.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ScanError {
    /// The input ends inside the head. On a stream, more bytes may complete it.
    #[error("the head is not ended by an empty line (input ends at byte {at})")]
    Incomplete {
        /// Length of the input.
        at: usize,
    },
    /// Fewer body bytes than Content-Length announces. On a stream, more may come.
    #[error("body has {present} of {announced} announced bytes (starts at byte {at})")]
    ShortBody {
        /// Where the body starts.
        at: usize,
        /// Content-Length.
        announced: usize,
        /// Body bytes in the input.
        present: usize,
    },
    /// CR without LF, or LF without CR.
    #[error("bare CR or LF at byte {at}")]
    BareLineEnd {
        /// The offending byte.
        at: usize,
    },
    /// Neither `METHOD uri SIP/2.0` nor `SIP/2.0 code reason`, single spaces between.
    #[error("start line is neither a request nor a status line (byte {at})")]
    StartLine {
        /// Where it stops making sense.
        at: usize,
    },
    /// Well-formed start line of another protocol version (answer: 505).
    #[error("SIP version is not 2.0 (byte {at})")]
    Version {
        /// Start of the version.
        at: usize,
    },
    /// Method name longer than [`METHOD_BYTES_MAX`].
    #[error("method is longer than {METHOD_BYTES_MAX} bytes (byte {at})")]
    MethodTooLong {
        /// Start of the method.
        at: usize,
    },
    /// Request-URI in angle brackets, with white space, or empty.
    #[error("request-URI is empty, bracketed or has white space or control bytes (byte {at})")]
    RequestUri {
        /// Start of the URI.
        at: usize,
    },
    /// A header line without a token and a colon at its start.
    #[error("header line without a valid name and colon (byte {at})")]
    HeaderLine {
        /// Where it stops making sense.
        at: usize,
    },
    /// Second copy of a header that may appear only once.
    #[error("second {} header (byte {at})", name.as_str())]
    DuplicateHeader {
        /// Which header.
        name: HeaderName,
        /// Start of the second copy.
        at: usize,
    },
    /// More than [`HEADER_COUNT_MAX`] header lines.
    #[error("more than {HEADER_COUNT_MAX} headers (byte {at})")]
    TooManyHeaders {
        /// Start of the first one too many.
        at: usize,
    },
    /// Content-Length is not one decimal number.
    #[error("Content-Length is not a number (byte {at})")]
    ContentLength {
        /// Start of its value.
        at: usize,
    },
    /// Content-Length is missing on a stream.
    #[error("no Content-Length on a stream (head ends at byte {at})")]
    NoContentLength {
        /// Where the body would start.
        at: usize,
    },
    /// Head over [`HEAD_BYTES_MAX`].
    #[error("head is larger than {HEAD_BYTES_MAX} bytes")]
    HeadTooLarge,
    /// Message over [`MESSAGE_BYTES_MAX`] (answer: 513).
    #[error("message is larger than {MESSAGE_BYTES_MAX} bytes")]
    MessageTooLarge,
}

/// A scanned message; everything borrows from the input.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    head: Head<'a>,
    body: &'a [u8],
    consumed: usize,
}

impl<'a> Message<'a> {
    /// Scans one message; line ends in front of it (keep-alives) are skipped.
    ///
    /// # Errors
    ///
    /// [`ScanError`]: nothing of the input can be trusted; on a stream the connection must be
    /// closed, because the start of the next message is unknown.
    pub fn scan(bytes: &'a [u8], framing: Framing) -> Result<Message<'a>, ScanError> {
        let head = Head::scan(bytes)?;
        let (body_bytes, at) = (bytes.len() - head.end, head.end);
        let length = head.body_length(framing)?.unwrap_or(body_bytes);
        if at - head.start + length > MESSAGE_BYTES_MAX {
            return Err(ScanError::MessageTooLarge);
        }
        let body = bytes[at..].get(..length).ok_or(ScanError::ShortBody {
            at,
            announced: length,
            present: body_bytes,
        })?;
        let consumed = match framing {
            Framing::Datagram => bytes.len(),
            Framing::Stream => at + length,
        };
        Ok(Message { head, body, consumed })
    }

    /// Whether the start line is a request line.
    pub fn is_request(&self) -> bool {
        matches!(self.head.start_line, StartLine::Request { .. })
    }

    /// Method of a request, byte for byte (methods are case-sensitive).
    pub fn method(&self) -> Option<&'a [u8]> {
        match self.head.start_line {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Status { .. } => None,
        }
    }

    /// Request-URI of a request: printable, not empty, without brackets; otherwise unchecked.
    pub fn request_uri(&self) -> Option<&'a [u8]> {
        match self.head.start_line {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Status { .. } => None,
        }
    }

    /// Status code of a response, 100 to 699.
    pub fn status(&self) -> Option<u16> {
        match self.head.start_line {
            StartLine::Status { code, .. } => Some(code),
            StartLine::Request { .. } => None,
        }
    }

    /// Reason phrase of a response; may be empty.
    pub fn reason(&self) -> Option<&'a [u8]> {
        match self.head.start_line {
            StartLine::Status { reason, .. } => Some(reason),
            StartLine::Request { .. } => None,
        }
    }

    /// Value of the first header line of that name, trimmed; folds inside it are kept.
    pub fn header(&self, name: HeaderName) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// Value of every header line of that name, in order.
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.head.bytes;
        self.head.spans.iter().filter(move |span| span.name == name).map(|span| span.value(bytes))
    }

    /// Items of the comma lists of every header line of that name, in order.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.headers(name).flat_map(split_list)
    }

    /// Whether a token is in the comma lists of that header, in any letter case. For option tags,
    /// event packages and methods, which carry no parameters.
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Every header line: what it is, its name as spelled, its trimmed value.
    pub fn header_lines(&self) -> impl Iterator<Item = (HeaderName, &'a [u8], &'a [u8])> {
        let bytes = self.head.bytes;
        self.head.spans.iter().map(move |span| (span.name, span.spelling(bytes), span.value(bytes)))
    }

    /// Body bytes; empty without a body.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Input bytes this message took, skipped line ends included. On a stream the next message
    /// starts there; a datagram is taken whole.
    #[expect(clippy::len_without_is_empty, reason = "a message is never empty")]
    pub fn len(&self) -> usize {
        self.consumed
    }
}

/// The scanned head, shared with the stream framer so that the two cannot disagree.
#[derive(Clone, Debug)]
pub(crate) struct Head<'a> {
    /// Input from the start line on, which span offsets count from.
    bytes: &'a [u8],
    start_line: StartLine<'a>,
    spans: SmallVec<[HeaderSpan; HEADER_COUNT_INLINE]>,
    content_length: Option<usize>,
    /// Input bytes skipped in front of the start line.
    pub(crate) start: usize,
    /// Input offset behind the empty line.
    pub(crate) end: usize,
}

impl<'a> Head<'a> {
    pub(crate) fn scan(input: &'a [u8]) -> Result<Head<'a>, ScanError> {
        let start = leading_line_ends(input);
        let bytes = &input[start..];
        let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let mut lines = Lines { bytes: window, at: 0 };
        let scanned = Self::scan_lines(bytes, &mut lines).map_err(|error| error.moved(start));
        match scanned {
            Ok(head) => Ok(Head { start, end: start + head.end, ..head }),
            Err(ScanError::Incomplete { .. }) if window.len() == HEAD_BYTES_MAX => {
                Err(ScanError::HeadTooLarge)
            }
            Err(error) => Err(error),
        }
    }

    /// Body length the framing demands; `None` takes what is there.
    pub(crate) fn body_length(&self, framing: Framing) -> Result<Option<usize>, ScanError> {
        match (framing, self.content_length) {
            (Framing::Stream, None) => Err(ScanError::NoContentLength { at: self.end }),
            (_, length) => Ok(length),
        }
    }

    fn scan_lines(bytes: &'a [u8], lines: &mut Lines<'a>) -> Result<Head<'a>, ScanError> {
        let (line_start, line_end) = lines.next_line()?;
        let start_line = StartLine::parse(&bytes[line_start..line_end])?;
        let mut head = Head {
            bytes,
            start_line,
            spans: SmallVec::new(),
            content_length: None,
            start: 0,
            end: 0,
        };
        let mut seen = 0_u64;
        loop {
            let (line_start, mut line_end) = lines.next_line()?;
            if line_start == line_end {
                head.end = lines.at;
                return Ok(head);
            }
            while lines.next_is_folded()? {
                line_end = lines.next_line()?.1;
            }
            if head.spans.len() == HEADER_COUNT_MAX {
                return Err(ScanError::TooManyHeaders { at: line_start });
            }
            let span = HeaderSpan::parse(bytes, line_start, line_end)?;
            if span.name.is_single() {
                let bit = 1 << span.name as u8;
                if seen & bit != 0 {
                    return Err(ScanError::DuplicateHeader { name: span.name, at: line_start });
                }
                seen |= bit;
            }
            if span.name == HeaderName::ContentLength {
                head.content_length = Some(content_length(span.value(bytes), line_start)?);
            }
            head.spans.push(span);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum StartLine<'a> {
    Request { method: &'a [u8], uri: &'a [u8] },
    Status { code: u16, reason: &'a [u8] },
}

impl<'a> StartLine<'a> {
    fn parse(line: &'a [u8]) -> Result<StartLine<'a>, ScanError> {
        let Some(space) = memchr(b' ', line) else { return Err(ScanError::StartLine { at: 0 }) };
        let (word, rest) = (&line[..space], &line[space + 1..]);
        match version(word) {
            Some(true) => Self::parse_status(rest, space + 1),
            Some(false) => Err(ScanError::Version { at: 0 }),
            None => Self::parse_request(word, rest),
        }
    }

    /// `rest` is `code SP reason`; a missing space behind the code is let pass.
    fn parse_status(rest: &'a [u8], at: usize) -> Result<StartLine<'a>, ScanError> {
        let (code, reason) = rest.split_at(rest.len().min(3));
        let code = match parse_decimal(code, 699) {
            Some(code @ 100..) => code as u16,
            _ => return Err(ScanError::StartLine { at }),
        };
        match reason {
            [] => Ok(StartLine::Status { code, reason }),
            [b' ', reason @ ..] => Ok(StartLine::Status { code, reason }),
            _ => Err(ScanError::StartLine { at }),
        }
    }

    fn parse_request(method: &'a [u8], rest: &'a [u8]) -> Result<StartLine<'a>, ScanError> {
        if method.len() > METHOD_BYTES_MAX {
            return Err(ScanError::MethodTooLong { at: 0 });
        }
        if !is_token_str(method) {
            return Err(ScanError::StartLine { at: 0 });
        }
        let at = method.len() + 1;
        let Some(space) = memchr::memrchr(b' ', rest) else {
            return Err(ScanError::StartLine { at });
        };
        let (uri, word) = (&rest[..space], &rest[space + 1..]);
        match version(word) {
            Some(true) => {}
            Some(false) => return Err(ScanError::Version { at: at + space + 1 }),
            None => return Err(ScanError::StartLine { at: at + space + 1 }),
        }
        let printable = |byte: &u8| !matches!(byte, 0..=b' ' | 0x7F | b'<' | b'>' | b'"');
        if uri.is_empty() || !uri.iter().all(printable) {
            return Err(ScanError::RequestUri { at });
        }
        Ok(StartLine::Request { method, uri })
    }
}

/// One header line as offsets from the start line; 10 bytes, so that 32 of them stay in a few
/// cache lines.
#[derive(Clone, Copy, Debug)]
struct HeaderSpan {
    line_start: u16,
    value_start: u16,
    value_end: u16,
    name_bytes: u8,
    name: HeaderName,
}

impl HeaderSpan {
    fn parse(bytes: &[u8], start: usize, end: usize) -> Result<HeaderSpan, ScanError> {
        let line = &bytes[start..end];
        let name_bytes = line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len());
        let blanks =
            line[name_bytes..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let colon = name_bytes + blanks;
        if name_bytes == 0 || name_bytes > HEADER_NAME_BYTES_MAX || line.get(colon) != Some(&b':') {
            return Err(ScanError::HeaderLine { at: start + colon });
        }
        let value = trim(&line[colon + 1..]);
        // The slice keeps its place in the line; white space was cut at both ends only.
        let lead = line[colon + 1..].iter().take_while(|&&byte| crate::chars::is_lws(byte)).count();
        let value_start = start + colon + 1 + if value.is_empty() { 0 } else { lead };
        Ok(HeaderSpan {
            line_start: start as u16,
            value_start: value_start as u16,
            value_end: (value_start + value.len()) as u16,
            name_bytes: name_bytes as u8,
            name: HeaderName::from_bytes(&line[..name_bytes]),
        })
    }

    fn spelling<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.line_start);
        &bytes[start..start + usize::from(self.name_bytes)]
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[usize::from(self.value_start)..usize::from(self.value_end)]
    }
}

/// Walks CRLF-ended lines.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Lines<'_> {
    /// Bounds of the next line without its CRLF.
    fn next_line(&mut self) -> Result<(usize, usize), ScanError> {
        let start = self.at;
        let incomplete = ScanError::Incomplete { at: self.bytes.len() };
        let length = memchr2(b'\r', b'\n', &self.bytes[start..]).ok_or(incomplete)?;
        let end = start + length;
        match (self.bytes[end], self.bytes.get(end + 1)) {
            (b'\r', Some(b'\n')) => {
                self.at = end + 2;
                Ok((start, end))
            }
            (b'\r', None) => Err(incomplete),
            _ => Err(ScanError::BareLineEnd { at: end }),
        }
    }

    fn next_is_folded(&self) -> Result<bool, ScanError> {
        match self.bytes.get(self.at) {
            Some(b' ' | b'\t') => Ok(true),
            Some(_) => Ok(false),
            None => Err(ScanError::Incomplete { at: self.bytes.len() }),
        }
    }
}

impl ScanError {
    /// The same error seen from an input that starts `by` bytes earlier.
    fn moved(mut self, by: usize) -> ScanError {
        match &mut self {
            ScanError::Incomplete { at }
            | ScanError::ShortBody { at, .. }
            | ScanError::BareLineEnd { at }
            | ScanError::StartLine { at }
            | ScanError::Version { at }
            | ScanError::MethodTooLong { at }
            | ScanError::RequestUri { at }
            | ScanError::HeaderLine { at }
            | ScanError::DuplicateHeader { at, .. }
            | ScanError::TooManyHeaders { at }
            | ScanError::ContentLength { at }
            | ScanError::NoContentLength { at } => *at += by,
            ScanError::HeadTooLarge | ScanError::MessageTooLarge => {}
        }
        self
    }
}

/// Whether a word is a SIP version at all, and then whether it is 2.0.
pub(crate) fn version(word: &[u8]) -> Option<bool> {
    let (name, number) = word.split_at_checked(4)?;
    if !name.eq_ignore_ascii_case(b"SIP/") {
        return None;
    }
    let dot = memchr(b'.', number)?;
    let digits = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    (digits(&number[..dot]) && digits(&number[dot + 1..])).then_some(number == b"2.0")
}

/// Bytes of the CRLFs in front of a message.
fn leading_line_ends(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

fn content_length(value: &[u8], at: usize) -> Result<usize, ScanError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(ScanError::ContentLength { at });
    }
    match parse_decimal(value, MESSAGE_BYTES_MAX as u32) {
        Some(length) => Ok(length as usize),
        None => Err(ScanError::MessageTooLarge),
    }
}
