//! The fields every request must have, typed and checked together.
//!
//! The scanner vouches for the shape of a message; this is the next layer: mandatory headers
//! present and readable, CSeq method equal to the request's, every Via readable. Only what passes
//! here may create state. What a list subscription needs besides is picked up on the way, raw:
//! whether it may be broken is for those to say who serve lists.
//!
//! Source: RFC 3261 sections 8.1.1 and 8.2, RFC 4475 for what must fail.

use thiserror::Error;

use crate::body::Body;
use crate::chars::{is_lws, parse_decimal};
use crate::header::{CSeq, HeaderError, NameAddr, Via};
use crate::list::split_list;
use crate::name::HeaderName;
use crate::scan::Message;

/// Start of every branch a client of RFC 3261 makes; alone it identifies nothing.
pub const BRANCH_COOKIE: &[u8] = b"z9hG4bK";

/// Why a request may not create state. Answer: 400, with this text for the log.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum AdmitError {
    /// Not a request at all.
    #[error("message is not a request")]
    NotRequest,
    /// A mandatory header is missing or empty.
    #[error("{} header is missing or empty", .0.as_str())]
    Missing(HeaderName),
    /// A mandatory header cannot be read.
    #[error("{}: {error}", name.as_str())]
    Header {
        /// Which header.
        name: HeaderName,
        /// What is wrong with it.
        error: HeaderError,
    },
    /// CSeq names another method than the request line.
    #[error("CSeq method differs from the request's")]
    MethodMismatch,
    /// The top branch is the cookie and nothing else.
    #[error("branch of the top Via is empty behind its cookie")]
    EmptyBranch,
}

/// The mandatory fields of a request.
#[derive(Clone, Copy, Debug)]
pub struct Essentials<'a> {
    /// Method of request line and CSeq.
    pub method: &'a [u8],
    /// Topmost Via. Without a branch it comes from an RFC 2543 client.
    pub via: Via<'a>,
    /// From; its tag may be missing (RFC 2543).
    pub from: NameAddr<'a>,
    /// To.
    pub to: NameAddr<'a>,
    /// Call-ID, compared byte for byte.
    pub call_id: &'a [u8],
    /// CSeq number.
    pub cseq: u32,
    /// Max-Forwards; `None` if missing (RFC 2543).
    pub max_forwards: Option<u8>,
    /// Whether Supported or Require has `eventlist` (RFC 4662 section 4.1).
    pub supports_eventlist: bool,
    /// Suppress-If-Match, raw; see [`crate::SuppressIfMatch`].
    pub suppress_if_match: Option<&'a [u8]>,
    /// The body and what describes it.
    pub body: Body<'a>,
}

impl<'a> Essentials<'a> {
    /// Reads and checks the mandatory fields.
    ///
    /// # Errors
    ///
    /// [`AdmitError`]: the first field that is missing or wrong.
    pub fn read(message: &Message<'a>) -> Result<Essentials<'a>, AdmitError> {
        let method = message.method().ok_or(AdmitError::NotRequest)?;
        let cseq = typed(message, HeaderName::CSeq, CSeq::parse)?;
        if cseq.method != method {
            return Err(AdmitError::MethodMismatch);
        }
        let via = read_vias(message)?;
        if via.branch == Some(BRANCH_COOKIE) {
            return Err(AdmitError::EmptyBranch);
        }
        let extras = Extras::read(message);
        Ok(Essentials {
            method,
            via,
            from: typed(message, HeaderName::From, NameAddr::parse)?,
            to: typed(message, HeaderName::To, NameAddr::parse)?,
            call_id: typed(message, HeaderName::CallId, parse_call_id)?,
            cseq: cseq.number,
            max_forwards: match message.header(HeaderName::MaxForwards) {
                Some(_) => Some(typed(message, HeaderName::MaxForwards, parse_max_forwards)?),
                None => None,
            },
            supports_eventlist: extras.supports_eventlist,
            suppress_if_match: extras.suppress_if_match,
            body: extras.body,
        })
    }
}

/// The optional headers, all found in one walk over the header lines.
#[derive(Default)]
struct Extras<'a> {
    supports_eventlist: bool,
    suppress_if_match: Option<&'a [u8]>,
    body: Body<'a>,
}

impl<'a> Extras<'a> {
    fn read(message: &Message<'a>) -> Extras<'a> {
        let mut extras = Extras::default();
        extras.body.bytes = message.body();
        for (name, _, value) in message.header_lines() {
            let field = match name {
                HeaderName::Supported | HeaderName::Require => {
                    let is_eventlist = |tag: &[u8]| tag.eq_ignore_ascii_case(b"eventlist");
                    extras.supports_eventlist |= split_list(value).any(is_eventlist);
                    continue;
                }
                HeaderName::SuppressIfMatch => &mut extras.suppress_if_match,
                HeaderName::ContentType => &mut extras.body.content_type,
                HeaderName::ContentEncoding => &mut extras.body.encoding,
                HeaderName::ContentDisposition => &mut extras.body.disposition,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        extras
    }
}

fn typed<'a, T>(
    message: &Message<'a>,
    name: HeaderName,
    parse: impl Fn(&'a [u8]) -> Result<T, HeaderError>,
) -> Result<T, AdmitError> {
    let value = message.header(name).filter(|value| !value.is_empty());
    let value = value.ok_or(AdmitError::Missing(name))?;
    parse(value).map_err(|error| AdmitError::Header { name, error })
}

/// Reads every Via, since answers must carry them all, and gives the topmost.
fn read_vias<'a>(message: &Message<'a>) -> Result<Via<'a>, AdmitError> {
    let mut top = None;
    for value in message.values(HeaderName::Via) {
        let via = Via::parse(value)
            .map_err(|error| AdmitError::Header { name: HeaderName::Via, error })?;
        top.get_or_insert(via);
    }
    top.ok_or(AdmitError::Missing(HeaderName::Via))
}

fn parse_call_id(value: &[u8]) -> Result<&[u8], HeaderError> {
    match value.iter().position(|&byte| is_lws(byte) || byte.is_ascii_control()) {
        Some(at) => Err(HeaderError { what: "white space or control byte", at }),
        None => Ok(value),
    }
}

fn parse_max_forwards(value: &[u8]) -> Result<u8, HeaderError> {
    match parse_decimal(value, 255) {
        Some(hops) => Ok(hops as u8),
        None => Err(HeaderError { what: "not a number from 0 to 255", at: 0 }),
    }
}
