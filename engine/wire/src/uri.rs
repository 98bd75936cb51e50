//! SIP and tel URIs split in place, without allocation.
//!
//! [`split_uri`] serves admission, where every byte comes from outside and most requests need
//! only user, host and port. Source: RFC 3261 section 19.1, RFC 5118 for IPv6.

use core::net::{IpAddr, Ipv6Addr};

use smallvec::SmallVec;

use crate::chars::{parse_decimal, trim};
use crate::header::{HeaderError, refuse};
use crate::list::find_param;

/// A URI cut at its separators; everything is raw, escapes included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UriParts<'a> {
    /// Scheme as spelled.
    pub scheme: &'a [u8],
    /// User part without the password (of a `tel:` URI the number); may be empty.
    pub user: &'a [u8],
    /// Password behind the user.
    pub password: Option<&'a [u8]>,
    /// Host name or address, IPv6 in brackets; empty for other schemes than `sip` and `sips`.
    pub host: &'a [u8],
    /// Port, if written.
    pub port: Option<u16>,
    /// Raw parameters, from the first semicolon on.
    pub params: &'a [u8],
    /// Raw headers behind the question mark.
    pub headers: &'a [u8],
}

impl<'a> UriParts<'a> {
    /// Whether the scheme is `sip` or `sips`; only then is there a host.
    pub fn is_sip(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"sip") || self.is_sips()
    }

    /// Whether the scheme is `sips`.
    pub fn is_sips(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"sips")
    }

    /// URI parameter of that name, in any letter case; `Some(b"")` for a flag such as `lr`.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        find_param(self.params, name)
    }
}

/// Room for a decoded user part; longer ones go to the heap (bounded by the head's size).
pub type UserBuffer = SmallVec<[u8; 64]>;

/// Splits a URI.
///
/// `sip:` and `sips:` URIs are cut and checked completely; of `tel:` number and parameters; of
/// any other scheme only the scheme is given (the caller answers 416).
///
/// # Errors
///
/// No scheme, white space or control bytes, a broken escape, host, port or IPv6 address.
pub fn split_uri(uri: &[u8]) -> Result<UriParts<'_>, HeaderError> {
    check_bytes(uri)?;
    let Some(colon) = memchr::memchr(b':', uri) else { return refuse("URI without a scheme", 0) };
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.first().is_some_and(u8::is_ascii_alphabetic) || !scheme.iter().all(letters) {
        return refuse("URI scheme is malformed", 0);
    }
    let mut parts = UriParts {
        scheme,
        user: b"",
        password: None,
        host: b"",
        port: None,
        params: b"",
        headers: b"",
    };
    if parts.is_sip() {
        split_sip(&mut parts, rest, colon + 1)?;
    } else if scheme.eq_ignore_ascii_case(b"tel") {
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        (parts.user, parts.params) = rest.split_at(end);
        if parts.user.is_empty() {
            return refuse("tel URI without a number", colon + 1);
        }
    }
    Ok(parts)
}

/// Undoes `%XX` escapes of a user part; comes back unchanged, and uncopied, without any.
pub fn decode_user<'b>(user: &'b [u8], buffer: &'b mut UserBuffer) -> &'b [u8] {
    if memchr::memchr(b'%', user).is_none() {
        return user;
    }
    buffer.clear();
    let mut rest = user;
    while let [first, tail @ ..] = rest {
        match escape_value(rest) {
            Some(byte) => {
                buffer.push(byte);
                rest = &rest[3..];
            }
            None => {
                buffer.push(*first);
                rest = tail;
            }
        }
    }
    buffer
}

/// Reads a host that is an address: IPv4, or IPv6 with or without brackets; `None` for a name.
pub fn host_address(host: &[u8]) -> Option<IpAddr> {
    let bare = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(host);
    if memchr::memchr(b':', bare).is_some() {
        return parse_ipv6(bare).map(IpAddr::V6);
    }
    str::from_utf8(host).ok()?.parse().ok().map(IpAddr::V4)
}

/// Splits `host[:port]` (white space around the colon allowed, as in Via); IPv6 keeps brackets.
pub(crate) fn split_host_port(
    host_port: &[u8],
    at: usize,
) -> Result<(&[u8], Option<u16>), HeaderError> {
    let host_port = trim(host_port);
    let (host, rest) = if host_port.first() == Some(&b'[') {
        let Some(close) = memchr::memchr(b']', host_port) else {
            return refuse("IPv6 address without a closing bracket", at);
        };
        check_ipv6(&host_port[1..close], at)?;
        host_port.split_at(close + 1)
    } else {
        let end = memchr::memchr(b':', host_port).unwrap_or(host_port.len());
        let (host, rest) = host_port.split_at(end);
        check_host_name(trim(host), at)?;
        (trim(host), rest)
    };
    let rest = trim(rest);
    let Some(port) = rest.strip_prefix(b":") else {
        return if rest.is_empty() { Ok((host, None)) } else { refuse("text behind the host", at) };
    };
    match parse_decimal(trim(port), u32::from(u16::MAX)) {
        Some(port @ 1..) => Ok((host, Some(port as u16))),
        _ => refuse("port is not between 1 and 65535", at + host.len()),
    }
}

fn split_sip<'a>(parts: &mut UriParts<'a>, rest: &'a [u8], at: usize) -> Result<(), HeaderError> {
    let mut host_at = at;
    let mut rest = rest;
    if let Some(separator) = memchr::memchr(b'@', rest) {
        let user_info = &rest[..separator];
        let colon = memchr::memchr(b':', user_info);
        parts.user = &user_info[..colon.unwrap_or(user_info.len())];
        parts.password = colon.map(|colon| &user_info[colon + 1..]);
        if parts.user.is_empty() {
            return refuse("empty user before the at sign", at);
        }
        rest = &rest[separator + 1..];
        host_at += separator + 1;
        if memchr::memchr(b'@', rest).is_some() {
            return refuse("second at sign", host_at);
        }
    }
    let question = memchr::memchr(b'?', rest).unwrap_or(rest.len());
    parts.headers = rest.get(question + 1..).unwrap_or_default();
    let before_headers = &rest[..question];
    let semicolon = memchr::memchr(b';', before_headers).unwrap_or(question);
    parts.params = &before_headers[semicolon..];
    let host_port = &before_headers[..semicolon];
    (parts.host, parts.port) = split_host_port(host_port, host_at)?;
    Ok(())
}

fn check_bytes(uri: &[u8]) -> Result<(), HeaderError> {
    for (at, &byte) in uri.iter().enumerate() {
        match byte {
            0..=b' ' | 0x7F | b'<' | b'>' | b'"' => {
                return refuse("white space, bracket, quote or control byte in a URI", at);
            }
            b'%' if escape_value(&uri[at..]).is_none() => {
                return refuse("percent sign without two hex digits", at);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Underscores and a trailing dot are let pass; everything else as RFC 3261's `hostname`.
fn check_host_name(host: &[u8], at: usize) -> Result<(), HeaderError> {
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || !host.iter().all(letters) {
        return refuse("host is empty or not a host name", at);
    }
    Ok(())
}

fn check_ipv6(address: &[u8], at: usize) -> Result<(), HeaderError> {
    match parse_ipv6(address) {
        Some(_) => Ok(()),
        None => refuse("not an IPv6 address", at),
    }
}

/// Tolerates one colon too many before an embedded IPv4 address, which RFC 3261's grammar asks
/// for by mistake (RFC 5118 section 4.10).
fn parse_ipv6(address: &[u8]) -> Option<Ipv6Addr> {
    const ADDRESS_BYTES_MAX: usize = 48;
    if address.len() > ADDRESS_BYTES_MAX {
        return None;
    }
    let Some(at) = memchr::memmem::find(address, b":::") else {
        return str::from_utf8(address).ok()?.parse().ok();
    };
    let mut mended = [0; ADDRESS_BYTES_MAX];
    let (before, after) = (&address[..at], &address[at + 1..]);
    let end = before.len() + after.len();
    mended[..at].copy_from_slice(before);
    mended[at..end].copy_from_slice(after);
    str::from_utf8(&mended[..end]).ok()?.parse().ok()
}

fn escape_value(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}
