//! rsip as a second reader, within what it understands.
//!
//! It refuses compact names, folding, unknown methods, IPv6 and `tel:` request-URIs, and ignores
//! Content-Length, so it is asked only about messages without those. Where both read a message,
//! start line, every header value and the body must be the same.

use lampfield_wire::{Framing, HeaderName, Message};
use rsip::headers::UntypedHeader;
use rsip::message::{HasHeaders, HeadersExt, SipMessage};

use crate::captures::folder;

/// Values of all headers as rsip sees them, in order.
fn rsip_values(message: &SipMessage) -> Vec<String> {
    let value = |header: &rsip::Header| {
        header.to_string().split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    message.headers().iter().filter_map(value).collect()
}

fn compare(name: &str, bytes: &[u8]) {
    let message = Message::scan(bytes, Framing::Datagram).unwrap();
    let other = SipMessage::try_from(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    match &other {
        SipMessage::Request(request) => {
            assert_eq!(message.method(), Some(request.method.to_string().as_bytes()), "{name}");
            assert_eq!(message.request_uri(), Some(request.uri.to_string().as_bytes()), "{name}");
        }
        SipMessage::Response(response) => {
            assert_eq!(message.status(), Some(response.status_code.code()), "{name}");
        }
    }
    let ours: Vec<_> = message
        .header_lines()
        .map(|(_, _, value)| String::from_utf8_lossy(value).into_owned())
        .collect();
    assert_eq!(ours, rsip_values(&other), "{name}");
    assert_eq!(message.body(), other.body().as_slice(), "{name}");
    let call_id = other.call_id_header().unwrap().value();
    assert_eq!(message.header(HeaderName::CallId), Some(call_id.as_bytes()), "{name}");
    let via = other.via_header().unwrap().value();
    assert_eq!(message.header(HeaderName::Via), Some(via.as_bytes()), "{name}");
}

#[test]
fn rsip_reads_every_asterisk_capture_the_same() {
    for (name, bytes) in folder("") {
        if name.starts_with("asterisk-") {
            compare(&name, &bytes);
        }
    }
}

#[test]
fn rsip_reads_generated_messages_the_same() {
    let mut random = fastrand::Rng::with_seed(3);
    for case in 0..2_000 {
        let mut text = if random.bool() {
            format!(
                "SUBSCRIBE sip:{}@host{}:5060 SIP/2.0\r\n",
                word(&mut random),
                random.u16(1..99)
            )
        } else {
            format!(
                "SIP/2.0 {} {}\r\n",
                [200, 202, 404, 489][random.usize(0..4)],
                word(&mut random)
            )
        };
        let names = ["Via", "From", "To", "Call-ID", "CSeq", "Contact", "X-Other", "User-Agent"];
        for name in names {
            let blanks = " ".repeat(random.usize(0..3));
            let value = match name {
                "CSeq" => format!("{} SUBSCRIBE", random.u32(1..1 << 31)),
                _ => format!("<sip:{}@h>;tag={}", word(&mut random), word(&mut random)),
            };
            text.push_str(&format!("{name}:{blanks}{value}\r\n"));
        }
        let body = word(&mut random);
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        compare(&format!("case {case}: {text}"), text.as_bytes());
    }
}

fn word(random: &mut fastrand::Rng) -> String {
    (0..random.usize(1..20)).map(|_| random.alphanumeric()).collect()
}
