//! Datagrams that do not scan, but look like a request: what is left is enough for an answer.
//!
//! A peer that hears 400 can correct itself; one that hears nothing sends again for 32 seconds.
//! RFC 3261 section 16.3 asks for an answer, section 8.2.6 says what it repeats: Via, From, To,
//! Call-ID and CSeq. Where one of them is missing, or the Via cannot be read, nobody is answered.

use lampfield_wire::limits::{HEAD_BYTES_MAX, HEADER_COUNT_MAX, METHOD_BYTES_MAX};
use lampfield_wire::{HeaderName, NameAddr, ScanError, Via, split_list};

use crate::respond::Answer;

/// What is put together in place of a request that does not scan: it scans, and has the header
/// lines that an answer repeats. `None` if they are not all there, and for responses and ACK.
pub(crate) fn salvage(bytes: &[u8]) -> Option<Vec<u8>> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let head = &bytes[start..bytes.len().min(start + HEAD_BYTES_MAX)];
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
    let method = method_of(lines.next()?)?;
    let mut request = [method, b" sip:x SIP/2.0\r\n"].concat();
    let mut seen = [false; 5];
    for line in lines.take(HEADER_COUNT_MAX).take_while(|line| !line.is_empty()) {
        let Some((at, value)) = wanted(line) else { continue };
        // One Via that is left out would send the answer elsewhere.
        if !is_readable(WANTED[at], value) {
            return None;
        }
        // A second Via belongs to the route of the answer; a second one of the others is a fault.
        if std::mem::replace(&mut seen[at], true) && at > 0 {
            continue;
        }
        let name = WANTED[at].as_str().as_bytes();
        request.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    }
    request.extend_from_slice(b"\r\n");
    seen.iter().all(|seen| *seen).then_some(request)
}

/// The answer to a request that does not scan.
pub(crate) fn refusal(error: &ScanError) -> Answer {
    let (status, reason) = match error {
        ScanError::Version { .. } => (505, "Version Not Supported"),
        ScanError::MessageTooLarge | ScanError::HeadTooLarge => (513, "Message Too Large"),
        _ => (400, "Bad Request"),
    };
    Answer::new(status, reason).warning(error)
}

const WANTED: [HeaderName; 5] =
    [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

/// The method of what looks like a request line, and not like that of an ACK.
fn method_of(line: &[u8]) -> Option<&[u8]> {
    let method = line.split(|byte| *byte == b' ').next()?;
    let is_method = (1..=METHOD_BYTES_MAX).contains(&method.len())
        && method.iter().all(u8::is_ascii_uppercase)
        && method != b"ACK";
    let version = line.rsplit(|byte| *byte == b' ').next()?;
    (is_method && version.starts_with(b"SIP/")).then_some(method)
}

/// A header line that an answer repeats: which one, and its value.
fn wanted(line: &[u8]) -> Option<(usize, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(line[..colon].trim_ascii());
    let at = WANTED.iter().position(|wanted| *wanted == name)?;
    Some((at, line[colon + 1..].trim_ascii()))
}

fn is_readable(name: HeaderName, value: &[u8]) -> bool {
    let is_clean = !value.iter().any(|byte| matches!(byte, b'\r' | 0));
    is_clean
        && match name {
            HeaderName::Via => {
                let mut values = split_list(value).peekable();
                values.peek().is_some() && values.all(|value| Via::parse(value).is_ok())
            }
            HeaderName::From | HeaderName::To => NameAddr::parse(value).is_ok(),
            _ => !value.is_empty(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampfield_wire::{Framing, Message};

    const WHOLE: &str = "SUBSCRIBE sip:x@h SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
        Via: SIP/2.0/UDP i\r\nf: <sip:a@b>;tag=1\r\nTo: <sip:x@h>\r\ni: c\r\nCSeq: 1 SUBSCRIBE\r\n\
        Event presence\r\n\r\n";

    #[test]
    fn a_request_with_all_that_an_answer_repeats_is_salvaged_and_nothing_else() {
        for (from, to, want) in [
            ("", "", true),
            ("\r\n", "\n", true),
            ("SIP/2.0\r\nv", "SIP/3.0\r\nv", true),
            ("To: <sip:x@h>", "To: <sip:x@h>\r\nTo: <sip:y@h>", true),
            ("SUBSCRIBE sip:x@h", "ACK sip:x@h", false),
            ("SUBSCRIBE sip:x@h SIP/2.0", "SIP/2.0 200 OK", false),
            ("SUBSCRIBE sip:x@h SIP/2.0", "GET / HTTP/1.1", false),
            ("SIP/2.0/UDP h", "nonsense", false),
            ("f: ", "x: ", false),
            ("To: ", "To ", false),
            ("i: c", "i: ", false),
            ("CSeq", "Seq", false),
            ("<sip:x@h>", "<sip:x", false),
        ] {
            let bytes = WHOLE.replacen(from, to, if from == "\r\n" { 100 } else { 1 });
            let salvaged = salvage(bytes.as_bytes());
            let scanned = salvaged.as_deref().map(|s| Message::scan(s, Framing::Datagram));
            assert!(scanned.as_ref().is_none_or(Result::is_ok), "{scanned:?}");
            let vias = scanned.and_then(Result::ok).map(|m| m.headers(HeaderName::Via).count());
            assert!(!want || vias >= Some(1), "{vias:?} of {bytes}");
            assert_eq!(salvaged.is_some(), want, "{bytes}");
        }
        assert!(salvage(b"").is_none() && salvage(b"\r\n\r\n").is_none());
    }
}
