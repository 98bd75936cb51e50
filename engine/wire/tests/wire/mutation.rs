//! Seeded mutations of the captures through every reader: no panic, no slow case, and what is
//! accepted keeps its promises.
//!
//! `LAMPFIELD_MUTATIONS=1000000 cargo test -p lampfield-wire mutation` runs more cases;
//! `LAMPFIELD_SEED` starts elsewhere. A failure names seed and case.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use lampfield_wire::{
    AmiReader, CSeq, ContentDisposition, DialogInfoFacts, EncodingError, Essentials, Event, Frame,
    Framing, HeaderName, MediaType, Message, Multipart, NameAddr, PidfFacts, PresenceDocument,
    Rate, ResourceLists, RlmiFacts, RlsServices, SubscriptionState, SuppressIfMatch, UserBuffer,
    Via, Warning, XpidfFacts, canonical_uri, decode_content, decode_user, escape_log, host_address,
    limits, next_frame, parse_expires, push_header, push_xml, response_key, split_list,
    split_params, split_uri,
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
    b"\r\n--bhtos\r\n",
    b"\r\n--bhtos--\r\n",
    b"\n--bhtos\n",
    b"--",
    b"Content-ID: <a@b>\r\n",
    b"Content-Type: multipart/related;boundary=bhtos\r\n\r\n",
    b"<list>",
    b"</list>",
    b"<entry uri='sip:a@b'/>",
    b"<display-name>",
    b"<resource uri='sip:a@b'>",
    b"<instance id='1' state='active'/>",
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
    if let Ok(essentials) = Essentials::read(&message) {
        let supports = |name| message.has_token(name, "eventlist");
        let either = supports(HeaderName::Supported) || supports(HeaderName::Require);
        assert_eq!(essentials.supports_eventlist, either);
        let body = essentials.body;
        assert_eq!(body.encoding, message.header(HeaderName::ContentEncoding));
        assert_eq!(body.content_type, message.header(HeaderName::ContentType));
        let _ = body.decode(1 << 16).map(|decoded| assert!(decoded.len() <= 1 << 16));
    }
    if let Some(content_type) = message.header(HeaderName::ContentType)
        && let Ok(multipart) = Multipart::from_content_type(content_type)
    {
        read_multipart(&multipart, message.body());
    }
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
    let _ = Event::parse(value).map(|event| event.rates());
    let _ = SubscriptionState::parse(value).map(|state| state.rates());
    let _ = SubscriptionState::parse(value).map(|state| assert!(!state.state.is_empty()));
    let _ = MediaType::parse(value);
    let _ = Multipart::from_content_type(value);
    let _ = ContentDisposition::parse(value).map(|disposition| disposition.is_optional());
    let _ = SuppressIfMatch::parse(value).map(|condition| condition.matches(b"a"));
    let _ = Warning::parse(value).map(|warning| assert!((100..1_000).contains(&warning.code)));
    if let Ok(rate) = Rate::parse(value) {
        assert!((11..=10_000_000_000_000).contains(&rate.interval_ms()));
        assert_eq!(Rate::parse(rate.to_string().as_bytes()), Ok(rate), "rate spelled differently");
    }
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
    if let Ok(presence) = PresenceDocument::parse(document) {
        assert!(presence.tuples.len() <= limits::PRESENCE_TUPLE_COUNT_MAX);
        assert!(presence.persons.len() <= limits::PRESENCE_PERSON_COUNT_MAX);
        assert_eq!(PidfFacts::parse(document).map(|facts| facts.entity), Ok(presence.entity));
    }
    if let Ok(info) = DialogInfoFacts::parse_published(document) {
        assert!(info.dialogs.len() <= limits::DIALOG_COUNT_MAX);
        assert!(
            !info.entity.is_empty() && info.dialogs.iter().all(|dialog| !dialog.state.is_empty())
        );
    }
    if let Ok(facts) = RlmiFacts::parse(document) {
        let mut instances = facts.resources.iter().flat_map(|resource| &resource.instances);
        assert!(!facts.uri.is_empty() && instances.all(|instance| !instance.id.is_empty()));
    }
    if let Ok(lists) = ResourceLists::parse(document) {
        let entries = lists.flat_entries();
        assert!(entries.len() <= limits::LIST_ITEM_COUNT_MAX);
        assert!(entries.iter().all(|entry| !entry.uri.is_empty()));
    }
    let _ = RlsServices::parse(document);
    let mut escaped = Vec::new();
    push_xml(&mut escaped, document);
    assert!(escaped.len() <= document.len() * 6 && str::from_utf8(&escaped).is_ok());
}

/// Parts lie in the body in order, do not overlap, and are themselves read to the bound of depth.
fn read_multipart(multipart: &Multipart<'_>, body: &[u8]) {
    let (mut at, mut part_count) = (body.as_ptr() as usize, 0);
    let end = at + body.len();
    for part in multipart.parts(body) {
        let Ok(part) = part else { break };
        part_count += 1;
        if !part.body.is_empty() {
            let start = part.body.as_ptr() as usize;
            assert!(at <= start && start + part.body.len() <= end, "parts overlap");
            at = start + part.body.len();
        }
        match multipart.nested(&part) {
            Ok(inner) => read_multipart(&inner, part.body),
            Err(_) => read_document(part.body),
        }
    }
    assert!(part_count <= limits::PART_COUNT_MAX);
}

/// Decodes under a small and a large limit; the larger one only adds what did not fit.
fn read_encoded(bytes: &[u8], random: &mut fastrand::Rng) {
    for encoding in ["deflate", "gzip"] {
        let decode = |bytes_max| decode_content(Some(encoding.as_bytes()), bytes, bytes_max);
        let bytes_max = random.usize(0..4_096);
        match (decode(bytes_max), decode(1 << 20)) {
            (Ok(small), Ok(large)) => {
                assert!(small == large && small.len() <= bytes_max, "limit changes the output");
            }
            (Err(EncodingError::TooLarge { .. }), Ok(large)) => assert!(large.len() > bytes_max),
            (small, large) => assert!(large.is_err() && small.is_err(), "limit hides an error"),
        }
    }
}

fn compress(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let level = Compression::new(random.u32(0..10));
    let written = match random.u8(0..3) {
        0 => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        1 => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        _ => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
    };
    written.unwrap()
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

/// What cases start from.
struct Corpus {
    messages: Vec<Vec<u8>>,
    sessions: Vec<Vec<u8>>,
    /// Bodies of list NOTIFYs, all with the same outer boundary.
    lists: Vec<Vec<u8>>,
    documents: Vec<Vec<u8>>,
}

const LIST_TYPE: &[u8] = b"multipart/related;type=\"application/rlmi+xml\";boundary=bhtos";

impl Corpus {
    fn load() -> Corpus {
        let bytes = |files: Vec<(String, Vec<u8>)>| files.into_iter().map(|(_, bytes)| bytes);
        let mut documents = vec![
            br#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="pres:a@b"
                xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
                xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><note>n</note>
                <tuple id="t1"><status><basic>open</basic></status><note>m</note></tuple>
                <tuple id="digium-presence"><status><digium_presence type="away" subtype="s">x
                </digium_presence></status></tuple><dm:person id="p"><r:activities><r:note>k</r:note>
                <r:meeting/><r:away/></r:activities><dm:note>l</dm:note></dm:person></presence>"#
                .to_vec(),
            br#"<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" state="partial"
                entity="sip:a@b"><dialog id="c.0a" call-id="c" local-tag="t" remote-tag="u"
                direction="recipient"><state>early</state><remote><identity display="X">sip:x@y
                </identity><target uri="sip:x@y"/></remote></dialog></dialog-info>"#
                .to_vec(),
            br#"<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="a">
                <display-name>A</display-name><entry uri="sip:a@b"/><entry uri="tel:1"/>
                <list><entry-ref ref="c"/></list><external anchor="http://d"/></list>
                </resource-lists>"#
                .to_vec(),
            br#"<rls-services xmlns="urn:ietf:params:xml:ns:rls-services"
                xmlns:l="urn:ietf:params:xml:ns:resource-lists"><service uri="sip:a@b"><list>
                <l:entry uri="sip:c@d"/></list><packages><package>presence</package></packages>
                </service><service uri="sip:e@f"><resource-list>http://g</resource-list></service>
                </rls-services>"#
                .to_vec(),
        ];
        let mut lists = Vec::new();
        // The largest ones cost time and show nothing new.
        for message in bytes(folder("lists")).filter(|bytes| bytes.len() < 6_000) {
            let message = Message::scan(&message, Framing::Stream).unwrap();
            let content_type = message.header(HeaderName::ContentType).unwrap();
            let boundary = content_type.rsplit(|&byte| byte == b'=').next().unwrap();
            let multipart = Multipart::from_content_type(content_type).unwrap();
            documents
                .extend(multipart.parts(message.body()).map(|part| part.unwrap().body.to_vec()));
            let body = String::from_utf8_lossy(message.body());
            lists.push(body.replace(str::from_utf8(boundary).unwrap(), "bhtos").into_bytes());
        }
        Corpus {
            messages: bytes(every_message()).collect(),
            sessions: bytes(folder("ami")).collect(),
            lists,
            documents,
        }
    }

    /// Runs one case; how long the readers took.
    fn run(&self, random: &mut fastrand::Rng) -> Duration {
        let pick = |from: &[Vec<u8>], random: &mut fastrand::Rng| {
            let mut bytes = from[random.usize(0..from.len())].clone();
            mutate(&mut bytes, from, random);
            bytes
        };
        match random.u8(0..16) {
            0..2 => {
                let bytes = pick(&self.sessions, random);
                timed(|| read_ami(&bytes, random))
            }
            2 => {
                let document = &self.documents[random.usize(0..self.documents.len())];
                let mut bytes = compress(document, random);
                if random.u8(0..4) > 0 {
                    mutate(&mut bytes, &self.lists, random);
                }
                timed(|| read_encoded(&bytes, random))
            }
            3..5 => {
                let bytes = pick(&self.lists, random);
                let multipart = Multipart::from_content_type(LIST_TYPE).unwrap();
                timed(|| read_multipart(&multipart, &bytes))
            }
            5..7 => {
                let bytes = pick(&self.documents, random);
                timed(|| read_document(&bytes))
            }
            _ => self.run_message(random),
        }
    }

    fn run_message(&self, random: &mut fastrand::Rng) -> Duration {
        let mut bytes = self.messages[random.usize(0..self.messages.len())].clone();
        if random.bool()
            && let Some(head) = memchr::memmem::find(&bytes, b"\r\n\r\n")
        {
            bytes.drain(..head + 4);
            mutate(&mut bytes, &self.messages, random);
            return timed(|| {
                read_document(&bytes);
                read_value(&bytes);
            });
        }
        mutate(&mut bytes, &self.messages, random);
        timed(|| read_message(&bytes))
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

#[test]
fn mutated_bytes_never_panic_and_accepted_ones_keep_their_promises() {
    let case_count = from_environment("LAMPFIELD_MUTATIONS").unwrap_or(20_000);
    let seed = from_environment("LAMPFIELD_SEED").unwrap_or(1);
    let corpus = Corpus::load();
    let mut running = Running { seed, case: 0 };
    let mut slowest = Duration::ZERO;
    for case in 0..case_count {
        running.case = case;
        // A seed of its own per case, so that one case can be run alone.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1 << 32).wrapping_add(case));
        slowest = slowest.max(corpus.run(&mut random));
        assert!(slowest < CASE_TIME_MAX, "seed {seed}, case {case} took {slowest:?}");
    }
    println!("{case_count} cases, seed {seed}, slowest {slowest:?}");
}
