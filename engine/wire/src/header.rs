//! Typed values of single headers, read from a scanned slice without allocation.
//!
//! Each parser takes one value as [`crate::Message::header`] or [`crate::Message::values`] gives
//! it, folds included. Source: RFC 3261 section 20 and 25.1, RFC 6665 section 8.4.

use thiserror::Error;

use crate::chars::{is_lws, is_token, is_token_str, parse_decimal, quoted_end, trim};
use crate::limits::CSEQ_MAX;
use crate::list::{SplitParams, find_param, split_params};

/// Why a header value or a URI was refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{what} at byte {at} of the value")]
pub struct HeaderError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, counted from the start of the value.
    pub at: usize,
}

pub(crate) const fn refuse<T>(what: &'static str, at: usize) -> Result<T, HeaderError> {
    Err(HeaderError { what, at })
}

/// From, To, Contact, Route and Record-Route values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameAddr<'a> {
    /// Display name without its quotes; escapes inside stay.
    pub display: &'a [u8],
    /// The URI without brackets; `*` for a wildcard Contact.
    pub uri: &'a [u8],
    /// Raw header parameters, from the first semicolon on; empty without.
    pub params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads `"Name" <uri>;params`, `Name <uri>;params` or `uri;params`.
    ///
    /// Without brackets everything behind the first semicolon belongs to the header, and a
    /// question mark is refused (RFC 3261 section 20.10).
    ///
    /// # Errors
    ///
    /// Unbalanced quotes or brackets, an empty URI, free text behind the brackets.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let lead = value.iter().take_while(|&&byte| is_lws(byte)).count();
        if value.get(lead) == Some(&b'"') {
            let Some(end) = quoted_end(value, lead) else {
                return refuse("quoted display name is not closed", lead);
            };
            let blanks = value[end..].iter().take_while(|&&byte| is_lws(byte)).count();
            if value.get(end + blanks) != Some(&b'<') {
                return refuse("display name without a URI in brackets", end);
            }
            return Self::parse_bracketed(&value[lead + 1..end - 1], value, end + blanks);
        }
        let free = memchr::memchr3(b'<', b'"', b';', value);
        match free {
            Some(at) if value[at] == b'<' => {
                let display = trim(&value[..at]);
                let odd = |byte: &u8| matches!(byte, b',' | b'>' | 0x7F) || *byte < b' ';
                if display.iter().any(|byte| odd(byte) && !is_lws(*byte)) {
                    return refuse("display name needs quotes", 0);
                }
                Self::parse_bracketed(display, value, at)
            }
            Some(at) if value[at] == b'"' => refuse("quote inside a display name or URI", at),
            _ => Self::parse_bare(value, free.unwrap_or(value.len())),
        }
    }

    /// Header parameter of that name, in any letter case; `Some(b"")` for a flag, quotes off.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        find_param(self.params, name)
    }

    /// Every header parameter with its raw value.
    pub fn params(&self) -> SplitParams<'a> {
        split_params(self.params)
    }

    /// The dialog tag; `None` if missing or empty.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.param("tag").filter(|tag| !tag.is_empty())
    }

    /// Whether this is `Contact: *`.
    pub fn is_wildcard(&self) -> bool {
        self.uri == b"*"
    }

    fn parse_bracketed(
        display: &'a [u8],
        value: &'a [u8],
        open: usize,
    ) -> Result<Self, HeaderError> {
        let Some(length) = memchr::memchr(b'>', &value[open..]) else {
            return refuse("opening bracket without a closing one", open);
        };
        let close = open + length;
        let uri = &value[open + 1..close];
        check_uri_bytes(uri, open + 1)?;
        let params = trim(&value[close + 1..]);
        if !matches!(params.first(), None | Some(b';')) {
            return refuse("text behind the closing bracket", close + 1);
        }
        Ok(NameAddr { display, uri, params })
    }

    fn parse_bare(value: &'a [u8], semicolon: usize) -> Result<Self, HeaderError> {
        let uri = trim(&value[..semicolon]);
        check_uri_bytes(uri, 0)?;
        if let Some(at) = uri.iter().position(|byte| matches!(byte, b'?' | b',')) {
            return refuse("a URI with question mark or comma needs brackets", at);
        }
        Ok(NameAddr { display: b"", uri, params: &value[semicolon..] })
    }
}

/// A Via value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`..., as spelled.
    pub transport: &'a [u8],
    /// Host of sent-by; IPv6 with its brackets.
    pub host: &'a [u8],
    /// Port of sent-by.
    pub port: Option<u16>,
    /// Transaction branch; `None` if missing or empty.
    pub branch: Option<&'a [u8]>,
    /// `Some(None)`: asked for (RFC 3581); `Some(Some(port))`: filled in.
    pub rport: Option<Option<u16>>,
    /// Source address a server filled in, IPv6 with or without brackets (RFC 5118 section 4.5).
    pub received: Option<&'a [u8]>,
    /// Raw parameters, from the first semicolon on.
    pub params: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads one Via value (`SIP/2.0/UDP host:port;params`, white space around `/` and `:`).
    ///
    /// # Errors
    ///
    /// Another protocol or version, a broken host or port, a `rport` that is no port.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let mut cursor = Cursor { value, at: 0 };
        let protocol = cursor.token("protocol name missing")?;
        cursor.separator(b'/', "no slash behind the protocol name")?;
        let version = cursor.token("protocol version missing")?;
        if !protocol.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return refuse("protocol is not SIP/2.0", 0);
        }
        cursor.separator(b'/', "no slash behind the version")?;
        let transport = cursor.token("transport missing")?;
        let before_host = cursor.at;
        cursor.skip_lws();
        if cursor.at == before_host {
            return refuse("no white space behind the transport", before_host);
        }
        let rest = &value[cursor.at..];
        let semicolon = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (host, port) = crate::uri::split_host_port(&rest[..semicolon], cursor.at)?;
        let params = &rest[semicolon..];
        let mut via =
            Via { transport, host, port, branch: None, rport: None, received: None, params };
        let at = cursor.at + semicolon;
        for (name, value) in split_params(params) {
            if name.eq_ignore_ascii_case(b"branch") && via.branch.is_none() {
                via.branch = Some(value.unwrap_or_default());
            } else if name.eq_ignore_ascii_case(b"received") && via.received.is_none() {
                via.received = value;
            } else if name.eq_ignore_ascii_case(b"rport") && via.rport.is_none() {
                via.rport = Some(parse_rport(value.unwrap_or_default(), at)?);
            }
        }
        via.branch = via.branch.filter(|branch| !branch.is_empty());
        Ok(via)
    }
}

/// A CSeq value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CSeq<'a> {
    /// Sequence number, at most [`CSEQ_MAX`].
    pub number: u32,
    /// Method, byte for byte.
    pub method: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Reads `number method`.
    ///
    /// # Errors
    ///
    /// A number of 2^31 or more, no method, text behind it.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let value = trim(value);
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let Some(number) = parse_decimal(&value[..digits], CSEQ_MAX) else {
            return refuse("sequence number missing or not below 2^31", 0);
        };
        let method = trim(&value[digits..]);
        if method.len() == value.len() - digits {
            return refuse("no white space behind the sequence number", digits);
        }
        if !is_token_str(method) {
            return refuse("method is not a token", digits);
        }
        Ok(CSeq { number, method })
    }
}

/// An Event value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event<'a> {
    /// Package with its templates, e.g. `presence.winfo`; compared exactly.
    pub package: &'a [u8],
    /// `id` parameter, part of the subscription's identity.
    pub id: Option<&'a [u8]>,
    /// Raw parameters, from the first semicolon on.
    pub params: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads `package[.template];id=token;params`.
    ///
    /// # Errors
    ///
    /// The package is not a token.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let value = trim(value);
        let (package, params) = split_at_semicolon(value);
        if !is_token_str(package) {
            return refuse("event package is not a token", 0);
        }
        Ok(Event { package, id: find_param(params, "id"), params })
    }

    /// Parameter of that name, in any letter case; `Some(b"")` for a flag.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        find_param(self.params, name)
    }
}

/// A Subscription-State value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubscriptionState<'a> {
    /// `active`, `pending`, `terminated` or an extension, as spelled.
    pub state: &'a [u8],
    /// Seconds left.
    pub expires: Option<u32>,
    /// Why it ended.
    pub reason: Option<&'a [u8]>,
    /// Seconds to wait before trying again.
    pub retry_after: Option<u32>,
    /// Raw parameters, from the first semicolon on.
    pub params: &'a [u8],
}

impl<'a> SubscriptionState<'a> {
    /// Reads `state;expires=n;reason=token;retry-after=n`; unreadable numbers count as missing.
    ///
    /// # Errors
    ///
    /// The state is not a token.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (state, params) = split_at_semicolon(trim(value));
        if !is_token_str(state) {
            return refuse("subscription state is not a token", 0);
        }
        Ok(SubscriptionState {
            state,
            expires: find_param(params, "expires").and_then(parse_expires),
            reason: find_param(params, "reason"),
            retry_after: find_param(params, "retry-after").and_then(parse_expires),
            params,
        })
    }
}

/// A media type of Accept, Content-Type and the like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MediaType<'a> {
    /// `type/subtype` without white space around; compared without letter case.
    pub essence: &'a [u8],
    /// Raw parameters, from the first semicolon on.
    pub params: &'a [u8],
}

impl<'a> MediaType<'a> {
    /// Reads `type/subtype;params`.
    ///
    /// # Errors
    ///
    /// Type or subtype is not a token.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (essence, params) = split_at_semicolon(trim(value));
        let tokens = |(kind, subtype): (&[u8], &[u8])| is_token_str(kind) && is_token_str(subtype);
        let split = memchr::memchr(b'/', essence).map(|at| (&essence[..at], &essence[at + 1..]));
        if !split.is_some_and(tokens) {
            return refuse("media type is not type/subtype", 0);
        }
        Ok(MediaType { essence, params })
    }

    /// Whether this is `media_type`, in any letter case.
    pub fn is(&self, media_type: &str) -> bool {
        self.essence.eq_ignore_ascii_case(media_type.as_bytes())
    }

    /// Parameter of that name, in any letter case, quotes off.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        find_param(self.params, name)
    }
}

/// A Content-Disposition value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentDisposition<'a> {
    /// What the body is for: `render`, `recipient-list`...; compared without letter case.
    pub kind: &'a [u8],
    /// Raw parameters, from the first semicolon on.
    pub params: &'a [u8],
}

impl<'a> ContentDisposition<'a> {
    /// Reads `kind;params`.
    ///
    /// # Errors
    ///
    /// The kind is not a token.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (kind, params) = split_at_semicolon(trim(value));
        if !is_token_str(kind) {
            return refuse("disposition is not a token", 0);
        }
        Ok(ContentDisposition { kind, params })
    }

    /// Whether this is `kind`, in any letter case.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
    }

    /// Whether a receiver that does not understand the body may pass over it; by default it must
    /// refuse the message (RFC 3261 section 20.11).
    pub fn is_optional(&self) -> bool {
        find_param(self.params, "handling")
            .is_some_and(|handling| handling.eq_ignore_ascii_case(b"optional"))
    }
}

/// A Warning value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Warning<'a> {
    /// Code, 100 to 999.
    pub code: u16,
    /// Who warns: host, host and port, or a name.
    pub agent: &'a [u8],
    /// The text without its quotes; escapes inside stay.
    pub text: &'a [u8],
}

impl<'a> Warning<'a> {
    /// Reads `code agent "text"`.
    ///
    /// # Errors
    ///
    /// Another code than three digits, no agent, text that is not quoted or has more behind it.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let mut cursor = Cursor { value, at: 0 };
        let code = match parse_decimal(cursor.token("warning code missing")?, 999) {
            Some(code @ 100..) => code as u16,
            _ => return refuse("warning code is not three digits", 0),
        };
        cursor.skip_lws();
        let start = cursor.at;
        let rest = &value[start..];
        let length = rest.iter().position(|&byte| is_lws(byte)).unwrap_or(rest.len());
        let agent = &rest[..length];
        if agent.is_empty() || agent.contains(&b'"') {
            return refuse("warning agent missing", start);
        }
        cursor.at += length;
        cursor.skip_lws();
        let (text_at, end) = (cursor.at, value.get(cursor.at).copied());
        let end = end.filter(|&byte| byte == b'"').and_then(|_| quoted_end(value, text_at));
        match end {
            Some(end) if trim(&value[end..]).is_empty() => {
                Ok(Warning { code, agent, text: &value[text_at + 1..end - 1] })
            }
            _ => refuse("warning text is not one quoted string", text_at),
        }
    }
}

/// Reads delta-seconds; longer digit strings than fit give `u32::MAX`, anything else `None`.
pub fn parse_expires(value: &[u8]) -> Option<u32> {
    let digits = trim(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(parse_decimal(digits, u32::MAX).unwrap_or(u32::MAX))
}

fn parse_rport(value: &[u8], at: usize) -> Result<Option<u16>, HeaderError> {
    if value.is_empty() {
        return Ok(None);
    }
    match parse_decimal(value, u32::from(u16::MAX)) {
        Some(port) => Ok(Some(port as u16)),
        None => refuse("rport is not a port", at),
    }
}

fn split_at_semicolon(value: &[u8]) -> (&[u8], &[u8]) {
    let (head, params) = value.split_at(memchr::memchr(b';', value).unwrap_or(value.len()));
    (trim(head), params)
}

fn check_uri_bytes(uri: &[u8], at: usize) -> Result<(), HeaderError> {
    if uri.is_empty() {
        return refuse("URI is empty", at);
    }
    match uri.iter().position(|byte| matches!(byte, 0..=b' ' | 0x7F | b'<' | b'>' | b'"')) {
        Some(offset) => refuse("white space, bracket, quote or control byte in a URI", at + offset),
        None => Ok(()),
    }
}

struct Cursor<'a> {
    value: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn skip_lws(&mut self) {
        while self.value.get(self.at).is_some_and(|&byte| is_lws(byte)) {
            self.at += 1;
        }
    }

    fn token(&mut self, missing: &'static str) -> Result<&'a [u8], HeaderError> {
        self.skip_lws();
        let start = self.at;
        while self.value.get(self.at).is_some_and(|&byte| is_token(byte)) {
            self.at += 1;
        }
        if start == self.at { refuse(missing, start) } else { Ok(&self.value[start..self.at]) }
    }

    fn separator(&mut self, separator: u8, missing: &'static str) -> Result<(), HeaderError> {
        self.skip_lws();
        if self.value.get(self.at) != Some(&separator) {
            return refuse(missing, self.at);
        }
        self.at += 1;
        Ok(())
    }
}
