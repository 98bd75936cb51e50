//! Message borders: on a stream, in a datagram, and that both readers agree.

use lampfield_wire::{Frame, Framing, Message, ScanError, next_frame};

use crate::captures::{asterisk, every_message};

const MINIMAL: &str = "NOTIFY sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n";

/// Cuts a whole stream into frames; the messages' bytes.
fn cut(mut stream: &[u8]) -> Result<Vec<&[u8]>, ScanError> {
    let mut messages = Vec::new();
    loop {
        let bytes = match next_frame(stream)? {
            Frame::NeedMore => return Ok(messages),
            Frame::KeepAlive { bytes } | Frame::Blank { bytes } => bytes,
            Frame::Message { bytes } => {
                messages.push(&stream[..bytes]);
                bytes
            }
        };
        stream = &stream[bytes..];
    }
}

#[test]
fn a_stream_may_break_at_every_byte() {
    let one = asterisk("notify-pidf-inuse");
    let two = asterisk("subscribe-200");
    let stream = [b"\r\n\r\n\r\n", &one[..], b"\r\n\r\n", &two[..]].concat();
    for split in 0..=stream.len() {
        let mut buffer = Vec::new();
        let mut messages = Vec::new();
        for part in [&stream[..split], &stream[split..]] {
            buffer.extend_from_slice(part);
            loop {
                let bytes = match next_frame(&buffer).unwrap() {
                    Frame::NeedMore => break,
                    Frame::KeepAlive { bytes } | Frame::Blank { bytes } => bytes,
                    Frame::Message { bytes } => {
                        messages.push(buffer[..bytes].to_vec());
                        bytes
                    }
                };
                buffer.drain(..bytes);
            }
        }
        assert!(messages == [one.clone(), two.clone()], "split at {split}");
        assert_eq!(buffer, b"", "split at {split}");
    }
}

#[test]
fn keep_alives_are_told_from_stray_line_ends() {
    for (buffer, want) in [
        ("", Frame::NeedMore),
        ("\r", Frame::NeedMore),
        ("\r\n", Frame::NeedMore),
        ("\r\n\r", Frame::NeedMore),
        ("\r\n\r\n", Frame::KeepAlive { bytes: 4 }),
        ("\r\n\r\n\r\n\r\n", Frame::KeepAlive { bytes: 4 }),
        ("\r\nSIP", Frame::Blank { bytes: 2 }),
        ("SIP/2.0 200 OK\r\nl: 1\r\n\r\n", Frame::NeedMore),
        ("SIP/2.0 200 OK\r\nl: 1\r\n\r\nxy", Frame::Message { bytes: 25 }),
    ] {
        assert_eq!(next_frame(buffer.as_bytes()), Ok(want), "{buffer:?}");
    }
}

#[test]
fn a_stream_without_one_certain_length_is_closed() {
    for (headers, want) in [
        ("", "no Content-Length on a stream"),
        ("l: 3\r\nContent-Length: 3\r\n", "second Content-Length header"),
        ("Content-Length: 0\r\nContent-Length: 30\r\n", "second Content-Length header"),
        ("Content-Length: 3, 3\r\n", "Content-Length is not a number"),
        ("Content-Length: +3\r\n", "Content-Length is not a number"),
        ("Content-Length: -1\r\n", "Content-Length is not a number"),
        ("Content-Length: 0x3\r\n", "Content-Length is not a number"),
        ("Content-Length: 3\r\n 0\r\n", "Content-Length is not a number"),
        ("Content-Length:\r\n", "Content-Length is not a number"),
        ("Content-Length: 65536\r\n", "message is larger"),
        ("Content-Length: 18446744073709551619\r\n", "message is larger"),
        ("Content-Length\u{b}: 3\r\n", "header line without"),
        ("Content-Length: 3\n\r\n", "bare CR or LF"),
        ("X: a\rContent-Length: 3\r\n", "bare CR or LF"),
        ("X: a\nContent-Length: 3\r\n", "bare CR or LF"),
    ] {
        let stream = format!("{MINIMAL}{headers}\r\nabcdef");
        let framed = next_frame(stream.as_bytes()).map_err(|error| error.to_string());
        assert!(framed.as_ref().is_err_and(|e| e.starts_with(want)), "{headers:?}: {framed:?}");
        let scanned = Message::scan(stream.as_bytes(), Framing::Stream);
        assert!(scanned.is_err(), "{headers:?}: the scanner takes what the framer refuses");
    }
}

#[test]
fn a_length_is_read_in_every_spelling() {
    for header in ["l:3", "L : 3 ", "CONTENT-LENGTH\t:\r\n 3", "content-length: 003"] {
        let stream = format!("{MINIMAL}{header}\r\n\r\nabcdef");
        let message = Message::scan(stream.as_bytes(), Framing::Stream).unwrap();
        assert_eq!(message.body(), b"abc", "{header}");
        assert_eq!(next_frame(stream.as_bytes()), Ok(Frame::Message { bytes: message.len() }));
    }
}

#[test]
fn a_datagram_takes_what_is_there_or_what_is_announced() {
    for (length, body, want) in [
        ("", "abc", Ok("abc")),
        ("", "", Ok("")),
        ("l: 2\r\n", "abc", Ok("ab")),
        ("l: 3\r\n", "abc", Ok("abc")),
        ("l: 4\r\n", "abc", Err("body has 3 of 4 announced bytes")),
    ] {
        let datagram = format!("{MINIMAL}{length}\r\n{body}");
        match (Message::scan(datagram.as_bytes(), Framing::Datagram), want) {
            (Ok(message), Ok(want)) => assert_eq!(message.body(), want.as_bytes(), "{length}"),
            (Err(error), Err(want)) => assert!(error.to_string().starts_with(want), "{error}"),
            (got, want) => panic!("{length:?} {body:?}: {got:?}, not {want:?}"),
        }
    }
}

#[test]
fn bounds_hold_and_say_so() {
    let endless_head = format!("{MINIMAL}X: {}", "a".repeat(20_000));
    assert_eq!(next_frame(endless_head.as_bytes()), Err(ScanError::HeadTooLarge));
    let endless_line = "A".repeat(20_000);
    assert_eq!(next_frame(endless_line.as_bytes()), Err(ScanError::HeadTooLarge));
    let large = format!("{MINIMAL}Content-Length: 65500\r\n\r\n");
    assert_eq!(next_frame(large.as_bytes()), Err(ScanError::MessageTooLarge));
    let method = format!("{} sip:a@b SIP/2.0\r\nl: 0\r\n\r\n", "A".repeat(65));
    assert_eq!(next_frame(method.as_bytes()), Err(ScanError::MethodTooLong { at: 0 }));
    let headers = format!("{MINIMAL}{}\r\n", "Accept: a/b\r\n".repeat(256));
    let refused = Message::scan(headers.as_bytes(), Framing::Datagram).map(|_| ());
    assert!(matches!(refused, Err(ScanError::TooManyHeaders { .. })), "{refused:?}");
    let headers = format!("{MINIMAL}{}\r\n", "Accept: a/b\r\n".repeat(255));
    assert!(Message::scan(headers.as_bytes(), Framing::Datagram).is_ok());
}

#[test]
fn the_framer_and_the_scanner_agree_on_every_capture() {
    for (name, bytes) in every_message() {
        let framed = next_frame(&bytes);
        let scanned = Message::scan(&bytes, Framing::Stream);
        match (framed, scanned) {
            (Ok(Frame::Message { bytes }), Ok(message)) => {
                assert_eq!(bytes, message.len(), "{name}")
            }
            (Ok(Frame::NeedMore), Err(ScanError::ShortBody { .. })) => {}
            (Err(framed), Err(scanned)) => assert_eq!(framed, scanned, "{name}"),
            (framed, scanned) => panic!("{name}: {framed:?} against {scanned:?}"),
        }
    }
}

#[test]
fn captures_back_to_back_come_apart_again() {
    let originals: Vec<_> = every_message()
        .into_iter()
        .filter(|(name, _)| name.starts_with("asterisk-"))
        .map(|(_, bytes)| bytes)
        .collect();
    let stream = originals.concat();
    assert_eq!(cut(&stream).unwrap(), originals);
}
