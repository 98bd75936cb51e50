//! Content-Encoding, the read side: bodies that arrive compressed.
//!
//! `deflate` is a zlib stream (RFC 1950), but some senders put the bare deflate stream (RFC 1951)
//! there; both are read. `gzip` is RFC 1952, one member. Memory for the output grows up to the
//! limit and never beyond; work is bounded by input and limit, whatever the stream promises.

use std::borrow::Cow;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use thiserror::Error;

use crate::chars::trim;

/// Why a body was not decoded.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum EncodingError {
    /// Decoded it is larger than the caller takes.
    #[error("decoded body is larger than {bytes_max} bytes")]
    TooLarge {
        /// The caller's limit.
        bytes_max: usize,
    },
    /// No such stream, cut short, a wrong checksum, or bytes behind its end.
    #[error("compressed body is damaged")]
    Corrupt,
    /// Another encoding, or several. Answer: 415 with [`ACCEPTED_ENCODINGS`].
    #[error("content encoding is unknown")]
    UnknownEncoding,
}

/// Value of Accept-Encoding for what [`decode_content`] reads.
pub const ACCEPTED_ENCODINGS: &str = "deflate, gzip, identity";

/// Output bytes reserved first; lists are small.
const FIRST_BYTES: usize = 1024;

/// Undoes a Content-Encoding value (`None`: no such header). `identity` gives the body itself.
///
/// # Errors
///
/// [`EncodingError`]; the limit holds for bodies that are not compressed as well.
pub fn decode_content<'a>(
    encoding: Option<&[u8]>,
    body: &'a [u8],
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>, EncodingError> {
    let encoding = encoding.map_or(&b"identity"[..], trim);
    let is = |names: &[&str]| names.iter().any(|n| encoding.eq_ignore_ascii_case(n.as_bytes()));
    if is(&["deflate"]) {
        return inflate(body, bytes_max).map(Cow::Owned);
    }
    if is(&["gzip", "x-gzip"]) {
        return gunzip(body, bytes_max).map(Cow::Owned);
    }
    match encoding {
        _ if !is(&["identity", ""]) => Err(EncodingError::UnknownEncoding),
        _ if body.len() > bytes_max => Err(EncodingError::TooLarge { bytes_max }),
        _ => Ok(Cow::Borrowed(body)),
    }
}

/// Reads a zlib stream, or a bare deflate stream where there is none.
fn inflate(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, EncodingError> {
    let is_zlib = matches!(body, [method, flags, ..]
        if method & 0x8F == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0);
    if is_zlib {
        // A bare stream may begin with the same two bytes by chance.
        match inflate_whole(body, true, bytes_max) {
            Err(EncodingError::Corrupt) => {}
            decided => return decided,
        }
    }
    inflate_whole(body, false, bytes_max)
}

fn inflate_whole(body: &[u8], zlib: bool, bytes_max: usize) -> Result<Vec<u8>, EncodingError> {
    match inflate_start(body, zlib, bytes_max)? {
        (output, []) => Ok(output),
        _ => Err(EncodingError::Corrupt),
    }
}

/// Reads the stream a body starts with; the output, and what stands behind the stream.
fn inflate_start(
    body: &[u8],
    zlib: bool,
    bytes_max: usize,
) -> Result<(Vec<u8>, &[u8]), EncodingError> {
    let mut stream = Decompress::new(zlib);
    let mut output = Vec::new();
    let mut rest = body;
    loop {
        if output.len() == output.capacity() {
            let step = output.len().max(FIRST_BYTES).min(bytes_max - output.len());
            output.reserve_exact(step);
        }
        let before = (stream.total_in(), stream.total_out());
        let is_full = output.len() == bytes_max;
        let status = if is_full {
            // The end of the stream may still be to come, but no byte of output.
            stream.decompress(rest, &mut [0], FlushDecompress::None)
        } else {
            stream.decompress_vec(rest, &mut output, FlushDecompress::None)
        };
        let status = status.map_err(|_| EncodingError::Corrupt)?;
        if output.len() > bytes_max || is_full && stream.total_out() > before.1 {
            return Err(EncodingError::TooLarge { bytes_max });
        }
        rest = &rest[(stream.total_in() - before.0) as usize..];
        match status {
            Status::StreamEnd => return Ok((output, rest)),
            _ if before == (stream.total_in(), stream.total_out()) => {
                return Err(EncodingError::Corrupt);
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, EncodingError> {
    let deflated = skip_gzip_head(body).ok_or(EncodingError::Corrupt)?;
    let (output, tail) = inflate_start(deflated, false, bytes_max)?;
    let mut crc = Crc::new();
    crc.update(&output);
    let want = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()];
    if tail == want.as_flattened() { Ok(output) } else { Err(EncodingError::Corrupt) }
}

/// RFC 1952 section 2.3; the checksum of the head, which nobody writes, is not checked.
fn skip_gzip_head(body: &[u8]) -> Option<&[u8]> {
    let [0x1F, 0x8B, 8, flags, _, _, _, _, _, _, rest @ ..] = body else { return None };
    let has = |bit: u8| flags & bit != 0;
    let mut rest = rest;
    if flags & 0xE0 != 0 {
        return None;
    }
    if has(4) {
        let [low, high, after @ ..] = rest else { return None };
        rest = after.get(usize::from(u16::from_le_bytes([*low, *high]))..)?;
    }
    for text in [8, 16] {
        if has(text) {
            rest = &rest[memchr::memchr(0, rest)? + 1..];
        }
    }
    if has(2) { rest.get(2..) } else { Some(rest) }
}
