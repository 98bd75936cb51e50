//! Finds message borders in a byte stream (TCP, TLS).
//!
//! Uses the scanner's own head, so the border and the scanned Content-Length are one thing: two
//! readers that disagree about a length are how a second request is smuggled behind a first.
//! Keep-alives: RFC 5626 section 3.5.1 and 4.4.1.

use crate::limits::MESSAGE_BYTES_MAX;
use crate::scan::{Framing, Head, ScanError};

/// What the front of a stream buffer holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame {
    /// Nothing complete yet: read more.
    NeedMore,
    /// A CRLFCRLF ping; drop these bytes and answer one CRLF.
    KeepAlive {
        /// Always 4.
        bytes: usize,
    },
    /// A stray CRLF in front of a message (or a pong); drop it, answer nothing.
    Blank {
        /// Always 2.
        bytes: usize,
    },
    /// A whole message; its first `bytes` bytes scan with [`Framing::Stream`].
    Message {
        /// Length of head and body.
        bytes: usize,
    },
}

/// Looks at the front of what was read from a stream.
///
/// The caller drops the bytes of each frame and asks again. A buffer of
/// [`MESSAGE_BYTES_MAX`] + 4 bytes always gets an answer other than [`Frame::NeedMore`].
///
/// # Errors
///
/// The stream is broken for good: the connection must be closed, since no later border can be
/// trusted. [`ScanError::Incomplete`] and [`ScanError::ShortBody`] are never returned.
pub fn next_frame(buffer: &[u8]) -> Result<Frame, ScanError> {
    match buffer {
        [b'\r', b'\n', b'\r', b'\n', ..] => return Ok(Frame::KeepAlive { bytes: 4 }),
        [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Ok(Frame::NeedMore),
        [b'\r', b'\n', ..] => return Ok(Frame::Blank { bytes: 2 }),
        _ => {}
    }
    let head = match Head::scan(buffer) {
        Ok(head) => head,
        Err(ScanError::Incomplete { .. }) => return Ok(Frame::NeedMore),
        Err(error) => return Err(error),
    };
    let bytes = head.end + head.body_length(Framing::Stream)?.unwrap_or_default();
    if bytes > MESSAGE_BYTES_MAX {
        return Err(ScanError::MessageTooLarge);
    }
    Ok(if buffer.len() < bytes { Frame::NeedMore } else { Frame::Message { bytes } })
}
