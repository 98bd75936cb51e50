//! Multipart bodies, the read side: parts as slices of the body.
//!
//! Source: RFC 2046 section 5.1, RFC 2387 for `multipart/related`. A delimiter is a whole line:
//! two dashes, the boundary, nothing else but blanks; RFC 2046 also lets a reader match the start
//! of a line only, but then an inner boundary that begins like the outer one ends the outer part.
//! The line end of the first delimiter is the line end of all: CRLF, or LF alone from senders
//! that know no better. Deciding once keeps two readers from seeing different borders.
//!
//! A part's Content-Length is told, never believed: MIME does not know it, Asterisk writes it.
//! Preamble and epilogue are passed over. Nothing is copied, every body is gone through once.

use memchr::memmem::Finder;
use thiserror::Error;

use crate::chars::{is_token_str, parse_decimal, trim};
use crate::header::{HeaderError, MediaType};
use crate::limits::{
    BOUNDARY_BYTES_MAX, MESSAGE_BYTES_MAX, MULTIPART_DEPTH_MAX, PART_COUNT_MAX,
    PART_HEAD_BYTES_MAX, PART_HEADER_COUNT_MAX,
};
use crate::list::{split_params, unquote};

/// Why a multipart body was refused, and at which byte of the body.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum MultipartError {
    /// Content-Type cannot be read.
    #[error("Content-Type: {0}")]
    ContentType(#[from] HeaderError),
    /// Content-Type is another one.
    #[error("Content-Type is not multipart")]
    NotMultipart,
    /// No usable boundary in Content-Type.
    #[error("boundary {what}")]
    Boundary {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Deeper than [`MULTIPART_DEPTH_MAX`].
    #[error("multipart bodies are nested deeper than {MULTIPART_DEPTH_MAX}")]
    TooDeep,
    /// Not one delimiter that opens a part.
    #[error("no line opens the first part")]
    NoPart,
    /// The body ends inside a part.
    #[error("the closing delimiter is missing (last part starts at byte {at})")]
    Unclosed {
        /// Start of the last part.
        at: usize,
    },
    /// More than [`PART_COUNT_MAX`] parts.
    #[error("more than {PART_COUNT_MAX} parts (byte {at})")]
    TooManyParts {
        /// Start of the first one too many.
        at: usize,
    },
    /// Header lines of one part over [`PART_HEADER_COUNT_MAX`] or [`PART_HEAD_BYTES_MAX`].
    #[error(
        "a part has more than {PART_HEADER_COUNT_MAX} headers or {PART_HEAD_BYTES_MAX} bytes of \
         them (byte {at})"
    )]
    HeadTooLarge {
        /// Start of the part.
        at: usize,
    },
    /// Not a header line.
    #[error("broken header line in a part (byte {at})")]
    HeaderLine {
        /// Start of the line.
        at: usize,
    },
    /// A header that describes the part twice.
    #[error("second {name} in a part (byte {at})")]
    DuplicateHeader {
        /// Which header.
        name: &'static str,
        /// Start of the second copy.
        at: usize,
    },
    /// Content-Length of a part is not a number.
    #[error("Content-Length of a part is not a number (byte {at})")]
    ContentLength {
        /// Start of the line.
        at: usize,
    },
}

/// What the Content-Type of a multipart body says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Multipart<'a> {
    /// The whole media type, `multipart/related` and its parameters.
    pub media_type: MediaType<'a>,
    /// `type`: the media type of the root part.
    pub root_type: Option<&'a [u8]>,
    /// `start`: Content-ID of the root part, brackets off.
    pub start: Option<&'a [u8]>,
    boundary: &'a [u8],
    depth: usize,
}

impl<'a> Multipart<'a> {
    /// Reads a Content-Type value; the boundary may be quoted or bare.
    ///
    /// A bare boundary may hold what needs quotes by the letter (`=`, `/`...), as senders write.
    ///
    /// # Errors
    ///
    /// Another media type; a boundary that is missing, doubled, too long or no boundary.
    pub fn from_content_type(value: &'a [u8]) -> Result<Multipart<'a>, MultipartError> {
        let media_type = MediaType::parse(value)?;
        let is_multipart = media_type
            .essence
            .split_at_checked(10)
            .is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(b"multipart/"));
        if !is_multipart {
            return Err(MultipartError::NotMultipart);
        }
        let mut boundary = None;
        for (name, value) in split_params(media_type.params) {
            if name.eq_ignore_ascii_case(b"boundary")
                && boundary.replace(unquote(value.unwrap_or_default())).is_some()
            {
                return Err(MultipartError::Boundary { what: "is given twice" });
            }
        }
        let param = |name| media_type.param(name).filter(|value: &&[u8]| !value.is_empty());
        Ok(Multipart {
            media_type,
            root_type: param("type"),
            start: param("start").map(without_brackets),
            boundary: check_boundary(boundary)?,
            depth: 1,
        })
    }

    /// Reads the Content-Type of a part that is itself a multipart body.
    ///
    /// Readers that follow nesting come through here, so that it ends at
    /// [`MULTIPART_DEPTH_MAX`].
    ///
    /// # Errors
    ///
    /// [`MultipartError::TooDeep`], and those of [`Multipart::from_content_type`].
    pub fn nested(&self, part: &Part<'a>) -> Result<Multipart<'a>, MultipartError> {
        let content_type = part.content_type.ok_or(MultipartError::NotMultipart)?;
        let inner = Self::from_content_type(content_type)?;
        if self.depth == MULTIPART_DEPTH_MAX {
            return Err(MultipartError::TooDeep);
        }
        Ok(Multipart { depth: self.depth + 1, ..inner })
    }

    /// The parts of a body, in order. After an error nothing more comes.
    pub fn parts(&self, body: &'a [u8]) -> Parts<'a> {
        let dashes = Finder::new(b"\n--");
        Parts { body, boundary: self.boundary, dashes, place: Place::Preamble, part_count: 0 }
    }

    /// Whether the part at that index is the root: the one `start` names, else the first.
    pub fn is_root(&self, index: usize, part: &Part<'_>) -> bool {
        match self.start {
            Some(start) => part.content_id == Some(start),
            None => index == 0,
        }
    }
}

/// One part; everything borrows from the body. Values are trimmed, folds inside are kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Part<'a> {
    /// Content-ID without its brackets, as RLMI and `start` name it.
    pub content_id: Option<&'a [u8]>,
    /// Content-Type; without one it is plain text (RFC 2046 section 5.1).
    pub content_type: Option<&'a [u8]>,
    /// Content-Transfer-Encoding; SIP parts are `binary` or `8bit`.
    pub transfer_encoding: Option<&'a [u8]>,
    /// Content-Disposition.
    pub disposition: Option<&'a [u8]>,
    /// Content-Length as written; it may disagree with the body.
    pub content_length: Option<usize>,
    /// The bytes between the empty line and the line end in front of the next delimiter.
    pub body: &'a [u8],
}

impl Part<'_> {
    /// Whether Content-Type is `media_type`, in any letter case, whatever its parameters.
    pub fn is(&self, media_type: &str) -> bool {
        self.content_type
            .and_then(|value| MediaType::parse(value).ok())
            .is_some_and(|found| found.is(media_type))
    }
}

/// See [`Multipart::parts`].
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    body: &'a [u8],
    boundary: &'a [u8],
    /// Finds where delimiters can be: hardly a line of XML starts like one.
    dashes: Finder<'static>,
    place: Place,
    part_count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Preamble,
    /// Behind a delimiter that opened a part.
    Part {
        start: usize,
        line_end: LineEnd,
    },
    Done,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LineEnd {
    CrLf,
    Lf,
}

impl LineEnd {
    const fn bytes(self) -> usize {
        match self {
            LineEnd::CrLf => 2,
            LineEnd::Lf => 1,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Delimiter {
    /// End of what stands before it; its leading line end belongs to the delimiter.
    content_end: usize,
    /// Start of what stands behind it.
    next: usize,
    line_end: LineEnd,
    is_closing: bool,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, MultipartError>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.next_part().transpose()?;
        if part.is_err() {
            self.place = Place::Done;
        }
        Some(part)
    }
}

impl std::iter::FusedIterator for Parts<'_> {}

impl<'a> Parts<'a> {
    fn next_part(&mut self) -> Result<Option<Part<'a>>, MultipartError> {
        let (start, line_end) = match self.place {
            Place::Done => return Ok(None),
            Place::Part { start, line_end } => (start, line_end),
            Place::Preamble => match self.find_delimiter(0, None) {
                Some(Delimiter { next, line_end, is_closing: false, .. }) => (next, line_end),
                _ => return Err(MultipartError::NoPart),
            },
        };
        if self.part_count == PART_COUNT_MAX {
            return Err(MultipartError::TooManyParts { at: start });
        }
        self.part_count += 1;
        let delimiter = self
            .find_delimiter(start, Some(line_end))
            .ok_or(MultipartError::Unclosed { at: start })?;
        self.place = match delimiter.is_closing {
            true => Place::Done,
            false => Place::Part { start: delimiter.next, line_end },
        };
        read_part(self.body, start, delimiter.content_end, line_end).map(Some)
    }

    /// The first delimiter line at or behind `from`, which is the start of a line.
    fn find_delimiter(&self, from: usize, wanted: Option<LineEnd>) -> Option<Delimiter> {
        // In front of the first line under search stands the start of the body or a delimiter.
        let mut start = Some(from);
        let mut before = None;
        while let Some(at) = start {
            let line = line_at(self.body, at);
            let fits_before = |line_end| before.is_none_or(|before| before == line_end);
            if let Some(is_closing) = self.delimiter(line.text)
                && let Some(line_end) = line.line_end.or(wanted).or(before)
                && wanted.is_none_or(|wanted| wanted == line_end)
                && fits_before(line_end)
                && (is_closing || line.line_end.is_some())
            {
                let content_end = match before {
                    Some(_) => at - line_end.bytes(),
                    None => at,
                };
                return Some(Delimiter { content_end, next: line.next, line_end, is_closing });
            }
            start = self.next_candidate(at);
            before = start.map(|start| match self.body[from..start] {
                [.., b'\r', b'\n'] => LineEnd::CrLf,
                _ => LineEnd::Lf,
            });
        }
        None
    }

    /// The next line behind `from` that starts like a delimiter.
    fn next_candidate(&self, from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            let dashes = from + self.dashes.find(self.body.get(from..)?)?;
            let start = dashes + 1;
            if self.body[start + 2..].starts_with(self.boundary) {
                return Some(start);
            }
            from = start;
        }
    }

    /// Whether a line is a delimiter, and then whether it closes the last part.
    fn delimiter(&self, line: &[u8]) -> Option<bool> {
        let rest = line.strip_prefix(b"--")?.strip_prefix(self.boundary)?;
        let (is_closing, padding) = match rest.strip_prefix(b"--") {
            Some(padding) => (true, padding),
            None => (false, rest),
        };
        padding.iter().all(|byte| matches!(byte, b' ' | b'\t')).then_some(is_closing)
    }
}

struct Line<'a> {
    text: &'a [u8],
    /// `None`: the bytes end instead.
    line_end: Option<LineEnd>,
    next: usize,
}

fn line_at(bytes: &[u8], start: usize) -> Line<'_> {
    let rest = &bytes[start..];
    let Some(length) = memchr::memchr(b'\n', rest) else {
        return Line { text: rest, line_end: None, next: bytes.len() };
    };
    let next = start + length + 1;
    match rest[..length].strip_suffix(b"\r") {
        Some(text) => Line { text, line_end: Some(LineEnd::CrLf), next },
        None => Line { text: &rest[..length], line_end: Some(LineEnd::Lf), next },
    }
}

/// Reads header lines up to an empty line or the end of the part; the rest is its body.
fn read_part(
    body: &[u8],
    start: usize,
    end: usize,
    line_end: LineEnd,
) -> Result<Part<'_>, MultipartError> {
    let bytes = &body[..end];
    let mut part = Part::default();
    let (mut at, mut header_count) = (start, 0);
    while at < end {
        let line_start = at;
        let mut line = line_at(bytes, at);
        if line.text.is_empty() {
            part.body = &bytes[line.next..];
            break;
        }
        let is_fold = |next: usize| matches!(bytes.get(next), Some(b' ' | b'\t'));
        let mut line_ends_fit = line.line_end.is_none_or(|found| found == line_end);
        while line.line_end.is_some() && is_fold(line.next) {
            line = line_at(bytes, line.next);
            line_ends_fit &= line.line_end.is_none_or(|found| found == line_end);
        }
        at = line.next;
        header_count += 1;
        if header_count > PART_HEADER_COUNT_MAX || at - start > PART_HEAD_BYTES_MAX {
            return Err(MultipartError::HeadTooLarge { at: start });
        }
        if !line_ends_fit {
            return Err(MultipartError::HeaderLine { at: line_start });
        }
        read_header(&mut part, &bytes[line_start..at], line_start)?;
    }
    Ok(part)
}

fn read_header<'a>(part: &mut Part<'a>, line: &'a [u8], at: usize) -> Result<(), MultipartError> {
    let broken = MultipartError::HeaderLine { at };
    let colon = memchr::memchr(b':', line).ok_or(broken)?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    let name = name.trim_ascii_end();
    if !is_token_str(name) {
        return Err(broken);
    }
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if is("Content-Length") {
        let length = parse_decimal(value, MESSAGE_BYTES_MAX as u32);
        let length = length.ok_or(MultipartError::ContentLength { at })?;
        let name = "Content-Length";
        return match part.content_length.replace(length as usize) {
            Some(_) => Err(MultipartError::DuplicateHeader { name, at }),
            None => Ok(()),
        };
    }
    let fields = [
        ("Content-ID", &mut part.content_id),
        ("Content-Type", &mut part.content_type),
        ("Content-Transfer-Encoding", &mut part.transfer_encoding),
        ("Content-Disposition", &mut part.disposition),
    ];
    for (name, field) in fields {
        if is(name) {
            let value = if name == "Content-ID" { without_brackets(value) } else { value };
            return match field.replace(value) {
                Some(_) => Err(MultipartError::DuplicateHeader { name, at }),
                None => Ok(()),
            };
        }
    }
    Ok(())
}

fn without_brackets(value: &[u8]) -> &[u8] {
    match value {
        [b'<', inner @ .., b'>'] => inner,
        _ => value,
    }
}

/// RFC 2046 section 5.1.1: 1 to 70 `bchars`, no blank at the end.
fn check_boundary(boundary: Option<&[u8]>) -> Result<&[u8], MultipartError> {
    let refuse = |what| Err(MultipartError::Boundary { what });
    let Some(boundary) = boundary else { return refuse("is missing in Content-Type") };
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    match boundary.last() {
        None => refuse("is empty"),
        Some(_) if boundary.len() > BOUNDARY_BYTES_MAX => refuse("is longer than 70 bytes"),
        Some(_) if !boundary.iter().all(is_allowed) => refuse("has a byte that is not allowed"),
        Some(b' ') => refuse("ends in a blank"),
        Some(_) => Ok(boundary),
    }
}
