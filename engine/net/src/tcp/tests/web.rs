//! WebSocket, with a peer that writes and reads frames by hand.

use super::*;
use crate::tcp::WebOrigins;

const OK: &str = "HTTP/1.1 101 Switching Protocols\r\n";

/// Header lines of an upgrade that is right.
const LINES: [&str; 6] = [
    "Host: pbx.example.com:8088",
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: chat, sip",
];

fn upgrade(lines: &[&str]) -> String {
    format!("GET /ws HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"))
}

fn host(origins: WebOrigins) -> Host {
    let options = StreamOptions { web_socket: Some(origins), ..StreamOptions::default() };
    Host::with(StreamLimits::default(), options)
}

/// A client's frame: masked, as RFC 6455 section 5.3 demands.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// What the host answers to `lines`, up to the end of the head.
fn answer(host: &mut Host, client: &mut TcpStream, request: &str) -> String {
    client.write_all(request.as_bytes()).expect("written");
    for _ in 0..20 {
        host.turn(Duration::from_millis(1));
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// A client whose upgrade has been agreed to.
fn upgraded(host: &mut Host) -> TcpStream {
    let mut client = host.client();
    let head = answer(host, &mut client, &upgrade(&LINES));
    assert!(head.starts_with(OK), "{head}");
    client
}

#[test]
fn an_upgrade_to_sip_is_agreed_to_and_any_other_is_not() {
    let mut host = host(WebOrigins::SameHost);
    let mut client = host.client();
    let head = answer(&mut host, &mut client, &upgrade(&LINES)).to_ascii_lowercase();
    // The key and what is answered to it are those of RFC 6455 section 1.3.
    for line in [
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: sip",
        "upgrade: websocket",
        "connection: upgrade",
    ] {
        assert!(head.contains(line), "{line}\n{head}");
    }
    let without = |name: &str| {
        let lines: Vec<&str> = LINES.into_iter().filter(|line| !line.starts_with(name)).collect();
        upgrade(&lines)
    };
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
    let refused = [
        (without("Upgrade"), "400"),
        (without("Connection"), "400"),
        (without("Sec-WebSocket-Key"), "400"),
        (without("Sec-WebSocket-Version"), "400"),
        (without("Sec-WebSocket-Protocol"), "400"),
        (upgrade(&LINES).replace("chat, sip", "chat"), "400"),
        (upgrade(&LINES).replace("GET ", "POST "), "400"),
        (upgrade(&LINES).replace("HTTP/1.1", "HTTP/1.0"), "400"),
        (String::from_utf8_lossy(MESSAGE).into_owned(), "400"),
        (
            upgrade(&LINES).replace("Upgrade: w", "Origin: https://evil.example\r\nUpgrade: w"),
            "403",
        ),
        (long, "431"),
    ];
    for (request, status) in &refused {
        let mut client = host.client();
        let head = answer(&mut host, &mut client, request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{head}");
        assert_eq!(client.read(&mut [0]).expect("the end"), 0, "closed behind it");
    }
    host.until("one is left", |host| host.table.connection_count() == 1);
    let counts = host.table.counts();
    assert_eq!(counts.upgrade_refused_count, refused.len() as u64);
    assert_eq!((counts.closed_by_peer_count, counts.broken_count), (0, 0));
    assert!(host.got.is_empty());
}

#[test]
fn pages_of_other_hosts_connect_only_if_they_are_listed() {
    let listed = WebOrigins::Listed(vec!["https://phone.example.com".to_owned()]);
    for (origins, origin, is_taken) in [
        (WebOrigins::SameHost, "https://pbx.example.com", true),
        (WebOrigins::SameHost, "http://PBX.example.com:8080", true),
        (WebOrigins::SameHost, "https://pbx.example.com.evil.example", false),
        (WebOrigins::SameHost, "null", false),
        (listed.clone(), "https://phone.example.com", true),
        (listed.clone(), "http://phone.example.com", false),
        (listed, "https://pbx.example.com", false),
        (WebOrigins::Any, "https://evil.example", true),
    ] {
        let mut host = host(origins.clone());
        let mut client = host.client();
        let line = format!("Origin: {origin}");
        let lines: Vec<&str> = LINES.into_iter().chain([line.as_str()]).collect();
        let head = answer(&mut host, &mut client, &upgrade(&lines));
        assert_eq!(head.starts_with(OK), is_taken, "{origins:?} {origin}");
    }
}

#[test]
fn messages_arrive_however_they_are_framed_and_cut() {
    let mut host = host(WebOrigins::SameHost);
    let (first, rest) = MESSAGE.split_at(11);
    let mut stream = upgrade(&LINES).into_bytes();
    for frame in [
        frame(TEXT, MESSAGE),
        frame(BINARY, MESSAGE),
        frame(PING, b"are you there"),
        frame(PONG, b""),
        // In two parts, with a ping between them.
        frame(TEXT & 0x0F, first),
        frame(PING, b""),
        frame(0x80, rest),
        frame(TEXT, b"\r\n\r\n"),
        frame(TEXT, b"\r\n"),
        frame(TEXT, MESSAGE),
    ] {
        stream.extend_from_slice(&frame);
    }
    for piece in [1, 5, 64, 10_000] {
        host.got.clear();
        let mut client = host.client();
        for bytes in stream.chunks(piece) {
            client.write_all(bytes).expect("written");
            host.turn(Duration::from_millis(1));
        }
        host.until("the messages", |host| host.got.len() == 4);
        assert!(host.got.iter().all(|(_, bytes)| bytes == MESSAGE));
        let head = answer(&mut host, &mut client, "");
        assert!(head.starts_with(OK), "{head}");
        let mut replies = vec![PONG, 13];
        replies.extend_from_slice(b"are you there");
        replies.extend_from_slice(&[PONG, 0, TEXT, 2, b'\r', b'\n']);
        assert_eq!(read(&mut client, replies.len()), replies);
    }
}

#[test]
fn what_is_sent_is_framed_as_text_or_as_bytes() {
    let mut host = host(WebOrigins::SameHost);
    let mut client = upgraded(&mut host);
    let peer = client.local_addr().expect("bound");
    let long = vec![b'x'; 70_000];
    for (message, head) in [
        (&b"short"[..], &[TEXT, 5][..]),
        (&[0xFF; 200][..], &[BINARY, 126, 0, 200][..]),
        (&long[..], &[TEXT, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70][..]),
    ] {
        host.send(1, peer, message);
        assert_eq!(read(&mut client, head.len()), head);
        assert_eq!(read(&mut client, message.len()), message);
    }
    // A browser that has gone cannot be connected to.
    drop(client);
    host.until("the end", |host| host.table.connection_count() == 0);
    host.send(1, peer, b"nobody");
    let counts = host.table.counts();
    assert_eq!((counts.connect_failed_count, counts.message_dropped_count), (1, 1));
}

#[test]
fn a_peer_that_breaks_the_rules_is_told_why_and_closed() {
    for (what, bytes, code) in [
        ("no mask", vec![TEXT, 2, b'h', b'i'], 1002_u16),
        ("a reserved bit", frame(0xC1, b"hi"), 1002),
        ("an unknown kind", frame(0x83, b"hi"), 1002),
        ("a long ping", frame(PING, &[0; 126]), 1002),
        ("a ping in parts", frame(0x09, b"hi"), 1002),
        ("no beginning", frame(0x80, b"hi"), 1002),
        ("a second beginning", [frame(0x01, b"hi"), frame(TEXT, b"hi")].concat(), 1002),
        ("too long", vec![TEXT, 0xFF, 0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4], 1009),
        (
            "a length beyond all",
            vec![TEXT, 0xFF, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4],
            1009,
        ),
        (
            "too long in parts",
            [frame(0x01, &[0; 60_000]), frame(0x80, &[0; 60_000])].concat(),
            1009,
        ),
    ] {
        let mut host = host(WebOrigins::SameHost);
        let mut client = upgraded(&mut host);
        client.write_all(&bytes).expect("written");
        host.until(what, |host| host.table.connection_count() == 0);
        let mut told = vec![CLOSE, 2];
        told.extend_from_slice(&code.to_be_bytes());
        assert_eq!(read(&mut client, 4), told, "{what}");
        let counts = host.table.counts();
        assert_eq!((counts.broken_count, counts.closed_by_peer_count), (1, 0), "{what}");
        assert!(host.got.is_empty(), "{what}");
    }
}

#[test]
fn a_close_is_answered_with_its_own_code() {
    let mut host = host(WebOrigins::SameHost);
    let mut client = upgraded(&mut host);
    client.write_all(&frame(CLOSE, b"\x03\xE9going")).expect("written");
    host.until("the end", |host| host.table.connection_count() == 0);
    assert_eq!(read(&mut client, 4), [CLOSE, 2, 3, 0xE9]);
    let counts = host.table.counts();
    assert_eq!((counts.closed_by_peer_count, counts.broken_count), (1, 0));
}
