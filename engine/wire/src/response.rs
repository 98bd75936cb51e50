//! Response fast path: status and top branch, without scanning the whole message.
//!
//! A fan-out engine reads mostly 200 answers to its own NOTIFYs. Our branch names the slot that
//! waits for the answer, so nothing else in the message needs reading. Whatever is unusual
//! (folding, several Vias on a line, quotes, other versions) gives `None`, and the caller scans.

use memchr::{memchr, memchr2};

use crate::chars::parse_decimal;
use crate::limits::RESPONSE_VIA_LINE_MAX;
use crate::name::HeaderName;

/// What an answer to our own request is recognised by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResponseKey<'a> {
    /// Status code, 100 to 699.
    pub status: u16,
    /// Branch of the top Via, not empty.
    pub branch: &'a [u8],
}

/// Reads status and top branch; `None` if this is no response or anything about it is unusual.
///
/// A key is never different from what [`crate::Message`] and [`crate::Via`] read from the same
/// bytes. That the rest of the message is well formed is not checked.
pub fn response_key(bytes: &[u8]) -> Option<ResponseKey<'_>> {
    // How nearly every answer begins, compared at once.
    if let Some(rest) = bytes.strip_prefix(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/") {
        return Some(ResponseKey { status: 200, branch: via_branch(rest)? });
    }
    let (version, rest) = bytes.split_at_checked(8)?;
    if version != b"SIP/2.0 " {
        return None;
    }
    let (code, rest) = rest.split_at_checked(3)?;
    let status = u16::try_from(parse_decimal(code, 699)?).ok().filter(|&status| status >= 100)?;
    if !matches!(rest.first()?, b' ' | b'\r') {
        return None;
    }
    let (_, mut rest) = split_line(rest)?;
    for _ in 0..RESPONSE_VIA_LINE_MAX {
        let (line, after) = split_line(rest)?;
        if line.is_empty() {
            return None;
        }
        if let Some(value) = via_value(line) {
            let value = &rest[line.len() - value.len()..];
            return Some(ResponseKey { status, branch: via_branch(value)? });
        }
        // A blank in front of the colon may be that of a Via this would pass over.
        let colon = memchr(b':', line)?;
        if matches!(line[..colon].last()?, b' ' | b'\t') {
            return None;
        }
        rest = after;
    }
    None
}

/// The branch of a Via value that begins here, and ends with its line.
fn via_branch(bytes: &[u8]) -> Option<&[u8]> {
    let (value, after) = split_line(bytes)?;
    let is_folded = matches!(after.first()?, b' ' | b'\t');
    if is_folded { None } else { branch(value) }
}

/// Line without its CRLF, and what follows.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr2(b'\r', b'\n', bytes)?;
    let after = bytes[end..].strip_prefix(b"\r\n")?;
    Some((&bytes[..end], after))
}

/// Value of a Via line written without blanks before the colon.
fn via_value(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = match line {
        [_, b':', ..] => line.split_at(1),
        _ => line.split_at_checked(3)?,
    };
    let value = value.strip_prefix(b":")?;
    (HeaderName::from_bytes(name) == HeaderName::Via).then_some(value)
}

/// Whether bytes are printable, and none begins a quote, a comment or another value. Sixteen are
/// looked at in some instructions; the last sixteen once more rather than one by one.
fn are_plain(bytes: &[u8]) -> bool {
    let is_plain = |byte: u8| {
        let is_graphic = byte.wrapping_sub(b'!') <= b'~' - b'!';
        is_graphic & (byte != b',') & (byte != b'"') & (byte != b'<') & (byte != b'\\')
    };
    let all = |some: &[u8; 16]| some.iter().fold(true, |all, &byte| all & is_plain(byte));
    match bytes.last_chunk() {
        Some(last) => bytes.as_chunks().0.iter().all(all) && all(last),
        None => bytes.iter().all(|&byte| is_plain(byte)),
    }
}

/// Value of the first `branch` parameter of a plain Via value.
fn branch(value: &[u8]) -> Option<&[u8]> {
    let (sent_by, params) = value.split_at(memchr(b';', value)?);
    let params = &params[1..];
    if sent_by.contains(&b',') || !are_plain(params) {
        return None;
    }
    let mut rest = Some(params);
    while let Some(params) = rest {
        let end = memchr(b';', params);
        let param = &params[..end.unwrap_or(params.len())];
        let is_branch = param.get(..6).is_some_and(|name| name.eq_ignore_ascii_case(b"branch"))
            && matches!(param.get(6), None | Some(b'='));
        if is_branch {
            return param.get(7..).filter(|branch| !branch.is_empty());
        }
        rest = end.map(|end| &params[end + 1..]);
    }
    None
}
