//! Seeded mutations of the captures through every reader: no panic, no slow case, and what is
//! accepted keeps its promises.
//!
//! `LAMPFIELD_MUTATIONS=1000000 cargo test -p lampfield-wire mutation` runs more cases;
//! `LAMPFIELD_SEED` starts elsewhere. A failure names seed and case.

use std::time::{Duration, Instant};

use lampfield_wire::{
    AmiReader, CSeq, DialogInfoFacts, Essentials, Event, Frame, Framing, HeaderName, MediaType,
    Message, NameAddr, PidfFacts, SubscriptionState, UserBuffer, Via, XpidfFacts, canonical_uri,
    decode_user, escape_log, host_address, next_frame, parse_expires, push_header, push_xml,
    response_key, split_list, split_params, split_uri,
};

use crate::captures::{every_message, folder};

/// Far above what any case takes, low enough to catch work that grows with the square.
const CASE_TIME_MAX: Duration = Duration::from_secs(2);

const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\r\n",
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"%",
    b"%00",
    b"@",
    b"[",
    b"]",
    b"[:::1]",
    b"*",
    b"?",
    b"=",
    b"/",
    b"l: 99999999999999999999\r\n",
    b"Content-Length: -1\r\n",
    b"Via: SIP/2.0/UDP a;branch=x\r\n",
    b"From: <sip:a@b>\r\n",
    b"SIP/2.0 ",
    b";branch=",
    b"4294967296",
    b"2147483648",
    b"<a>",
    b"</a>",
    b"<a/>",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"&b;",
    b"&#0;",
    b"&#x110000;",
    b"]]>",
    b"<![CDATA[",
    b"<!--",
    b"<?x?>",
    b" xmlns:q='u'",
    b"q:",
    b"Action: x\r\n",
    b"ActionID:",
];

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(0..=bytes.len());
        let end = (at + random.usize(0..40)).min(bytes.len());
        match random.u8(0..9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let copy = bytes[at..end].repeat(random.usize(1..60));
                bytes.splice(at..at, copy);
            }
            5 => {
                let other = &others[random.usize(0..others.len())];
                let cut = random.usize(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[cut..]);
            }
            6 if random.u8(0..16) == 0 => {
                let token = TOKENS[random.usize(0..TOKENS.len())];
                bytes.splice(at..at, token.repeat(random.usize(1..3_000)));
            }
            _ => {
                let token = TOKENS[random.usize(0..TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
        }
    }
}

fn read_message(bytes: &[u8]) {
    match next_frame(bytes) {
        Ok(Frame::Message { bytes: length }) => {
            let message = Message::scan(&bytes[..length], Framing::Stream).unwrap();
            assert_eq!(message.len(), length, "framer and scanner disagree");
        }
        Ok(Frame::KeepAlive { bytes: length } | Frame::Blank { bytes: length }) => {
            assert!((1..=bytes.len()).contains(&length));
        }
        Ok(Frame::NeedMore) | Err(_) => {}
    }
    let key = response_key(bytes);
    let Ok(message) = Message::scan(bytes, Framing::Datagram) else { return };
    assert_eq!(message.len(), bytes.len());
    if let Some(key) = key {
        assert_eq!(message.status(), Some(key.status));
        let top = message.values(HeaderName::Via).next().expect("the key came from a Via");
        if let Ok(via) = Via::parse(top) {
            assert_eq!(via.branch, Some(key.branch), "fast path and scanner disagree");
        }
    }
    let _ = Essentials::read(&message);
    if let Some(uri) = message.request_uri() {
        read_uri(uri);
    }
    for (name, spelled, value) in message.header_lines() {
        assert_eq!(HeaderName::from_bytes(spelled), name);
        for item in split_list(value).chain([value]) {
            read_value(item);
        }
    }
    read_document(message.body());
}

fn read_value(value: &[u8]) {
    if let Ok(address) = NameAddr::parse(value) {
        let _ = (address.tag(), address.params().count());
        read_uri(address.uri);
    }
    if let Ok(via) = Via::parse(value) {
        let _ = (host_address(via.host), via.received.and_then(host_address));
    }
    let _ = CSeq::parse(value).map(|cseq| assert!(cseq.number < 1 << 31));
    let _ = Event::parse(value).map(|event| assert!(!event.package.is_empty()));
    let _ = SubscriptionState::parse(value).map(|state| assert!(!state.state.is_empty()));
    let _ = MediaType::parse(value);
    let _ = (parse_expires(value), split_params(value).count());

    let mut line = Vec::new();
    push_header(&mut line, "X", value);
    assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1, "header injection");
    assert!(!escape_log(value).to_string().contains(['\n', '\r', '\0', '\x1b']));
}

fn read_uri(uri: &[u8]) {
    if let Ok(parts) = split_uri(uri) {
        let mut buffer = UserBuffer::new();
        assert!(decode_user(parts.user, &mut buffer).len() <= parts.user.len());
        assert!(!parts.is_sip() || !parts.host.is_empty());
    }
    if let Ok(spelled) = canonical_uri(uri) {
        assert_eq!(canonical_uri(spelled.as_bytes()), Ok(spelled.clone()), "not canonical");
    }
}

fn read_document(document: &[u8]) {
    let _ = PidfFacts::parse(document);
    let _ = XpidfFacts::parse(document);
    let _ = DialogInfoFacts::parse(document);
    let mut escaped = Vec::new();
    push_xml(&mut escaped, document);
    assert!(escaped.len() <= document.len() * 6 && str::from_utf8(&escaped).is_ok());
}

/// Reads a stream in one piece and in two; the messages may not depend on the split.
fn read_ami(bytes: &[u8], random: &mut fastrand::Rng) {
    for reader in [AmiReader::for_server(), AmiReader::for_client()] {
        let split = random.usize(0..=bytes.len());
        let mut whole = Vec::new();
        let mut parts = Vec::new();
        let (mut one, mut two) = (reader.clone(), reader);
        let mut input = bytes;
        while let Some(message) = one.read(&mut input) {
            whole.push(message);
        }
        for mut input in [&bytes[..split], &bytes[split..]] {
            while let Some(message) = two.read(&mut input) {
                parts.push(message);
            }
        }
        assert!(whole == parts, "AMI messages depend on the split");
    }
}

/// Shows which case was running when something panicked.
struct Running {
    seed: u64,
    case: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("LAMPFIELD_SEED={} failed in case {}", self.seed, self.case);
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn mutated_bytes_never_panic_and_accepted_ones_keep_their_promises() {
    let case_count = from_environment("LAMPFIELD_MUTATIONS").unwrap_or(20_000);
    let seed = from_environment("LAMPFIELD_SEED").unwrap_or(1);
    let messages: Vec<_> = every_message().into_iter().map(|(_, bytes)| bytes).collect();
    let sessions: Vec<_> = folder("ami").into_iter().map(|(_, bytes)| bytes).collect();
    let mut running = Running { seed, case: 0 };
    let mut slowest = Duration::ZERO;
    for case in 0..case_count {
        running.case = case;
        // A seed of its own per case, so that one case can be run alone.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1 << 32).wrapping_add(case));
        let started;
        if random.u8(0..8) == 0 {
            let mut bytes = sessions[random.usize(0..sessions.len())].clone();
            mutate(&mut bytes, &sessions, &mut random);
            started = Instant::now();
            read_ami(&bytes, &mut random);
        } else {
            let mut bytes = messages[random.usize(0..messages.len())].clone();
            if random.bool()
                && let Some(head) = memchr::memmem::find(&bytes, b"\r\n\r\n")
            {
                bytes.drain(..head + 4);
                mutate(&mut bytes, &messages, &mut random);
                started = Instant::now();
                read_document(&bytes);
                read_value(&bytes);
            } else {
                mutate(&mut bytes, &messages, &mut random);
                started = Instant::now();
                read_message(&bytes);
            }
        }
        slowest = slowest.max(started.elapsed());
        assert!(slowest < CASE_TIME_MAX, "seed {seed}, case {case} took {slowest:?}");
    }
    println!("{case_count} cases, seed {seed}, slowest {slowest:?}");
}
