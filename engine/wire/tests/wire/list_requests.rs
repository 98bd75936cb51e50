//! What a watcher sends to a list server: lists in documents, compressed bodies, conditions.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use lampfield_wire::{
    Body, ContentDisposition, EncodingError, Essentials, Event, FactsError, Framing, HeaderName,
    ListItem, Message, Rate, ResourceList, ResourceLists, RlsServices, ServiceMembers,
    SubscriptionState, SuppressIfMatch, Warning, decode_content, parse_entity_tag,
};

const LISTS: &str = "xmlns=\"urn:ietf:params:xml:ns:resource-lists\"";

/// Shape of a list: `name(display)[item item ...]`.
fn shape(list: &ResourceList) -> String {
    let show = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let item = |item: &ListItem| match item {
        ListItem::Entry(entry) => format!("{}({})", entry.uri, show(&entry.display_name)),
        ListItem::List(list) => shape(list),
        ListItem::EntryRef { path, display_name } => format!("ref:{path}({})", show(display_name)),
        ListItem::External { anchor, display_name } => {
            format!("at:{}({})", show(anchor), show(display_name))
        }
    };
    let items: Vec<_> = list.items.iter().map(item).collect();
    format!("{}({})[{}]", show(&list.name), show(&list.display_name), items.join(" "))
}

fn flat(document: &str) -> Result<Vec<String>, FactsError> {
    let lists = ResourceLists::parse(document.as_bytes())?;
    Ok(lists.flat_entries().into_iter().map(|entry| entry.uri.clone()).collect())
}

#[test]
fn every_element_of_a_resource_list_is_read() {
    let document = format!(
        "<?xml version=\"1.0\"?><resource-lists {LISTS} xmlns:x=\"urn:x\">\
         <x:list><entry uri=\"sip:no@h\"/></x:list>\
         <list name=\"friends\"><display-name xml:lang=\"en\"> Fri&amp;ends <x:b>no</x:b></display-name>\
         <display-name>again</display-name>\
         <entry uri=\" sip:bill@example.com \"><display-name>Bill Doe</display-name><x:entry/></entry>\
         <entry-ref ref=\"resource-lists/users/a/index/~~/b\"><display-name>B</display-name></entry-ref>\
         <list name=\"close\"><entry uri=\"sip:joe@example.com\"/><display-name>late</display-name>\
         <list/></list>\
         <external anchor=\"http://xcap.example.org/c\"><display-name>C</display-name></external>\
         <external/><x:y><entry uri=\"sip:no@h\"/></x:y></list>\
         <list name=\"\"><entry uri=\"tel:+1201\"/></list><entry uri=\"sip:no@h\"/></resource-lists>"
    );
    let lists = ResourceLists::parse(document.as_bytes()).unwrap();
    assert_eq!(
        lists.lists.iter().map(shape).collect::<Vec<_>>(),
        [
            "friends(Fri&ends)[sip:bill@example.com(Bill Doe) \
             ref:resource-lists/users/a/index/~~/b(B) \
             close(late)[sip:joe@example.com(-) -(-)[]] at:http://xcap.example.org/c(C) at:-(-)]",
            "(-)[tel:+1201(-)]",
        ]
    );
    assert_eq!(flat(&document).unwrap(), ["sip:bill@example.com", "tel:+1201"]);
}

#[test]
fn a_flat_list_holds_each_member_once() {
    for (entries, want) in [
        // RFC 5367 figure 1.
        (
            &["sip:bill@example.com", "sip:joe@example.org", "sip:ted@example.net"][..],
            &["sip:bill@example.com", "sip:joe@example.org", "sip:ted@example.net"][..],
        ),
        (&["sip:a@h", "SIP:a@H", "sip:%61@h"], &["sip:a@h"]),
        (
            &["sip:a@h", "sips:a@h", "sip:A@h", "sip:a@h:5060"],
            &["sip:a@h", "sips:a@h", "sip:A@h", "sip:a@h:5060"],
        ),
        (
            &["pres:a@h", "pres:a@h", "no uri at all", "no uri at all"],
            &["pres:a@h", "no uri at all"],
        ),
        (&[], &[]),
    ] {
        let entries: String = entries.iter().map(|uri| format!("<entry uri=\"{uri}\"/>")).collect();
        let document = format!("<resource-lists {LISTS}><list>{entries}</list></resource-lists>");
        assert_eq!(flat(&document).unwrap(), want, "{document}");
    }
}

#[test]
fn lists_that_are_broken_or_too_large_are_refused_by_name() {
    let document = |inside: &str| format!("<resource-lists {LISTS}>{inside}</resource-lists>");
    let deep = |count: usize| document(&("<list>".repeat(count) + &"</list>".repeat(count)));
    let many =
        |count: usize| document(&format!("<list>{}</list>", "<entry uri='a'/>".repeat(count)));
    for (text, want) in [
        (format!("<list {LISTS}/>"), FactsError::WrongRoot { expected: "resource-lists" }),
        ("<resource-lists/>".to_owned(), FactsError::WrongRoot { expected: "resource-lists" }),
        (document("<list><entry/></list>"), FactsError::Missing { what: "uri of entry" }),
        (document("<list><entry uri=' '/></list>"), FactsError::Missing { what: "uri of entry" }),
        (document("<list><entry-ref/></list>"), FactsError::Missing { what: "ref of entry-ref" }),
        (deep(9), FactsError::TooMany { what: "lists inside lists", max: 8 }),
        (many(2_048), FactsError::TooMany { what: "list items", max: 2_048 }),
    ] {
        let shown: String = text.chars().take(120).collect();
        assert_eq!(ResourceLists::parse(text.as_bytes()), Err(want), "{shown}");
    }
    assert!(ResourceLists::parse(deep(8).as_bytes()).is_ok());
    assert!(ResourceLists::parse(many(2_047).as_bytes()).is_ok());
}

#[test]
fn rls_services_are_read_or_refused_by_name() {
    let document = |inside: &str| {
        format!(
            "<rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\" \
             xmlns:rl=\"urn:ietf:params:xml:ns:resource-lists\">{inside}</rls-services>"
        )
    };
    let two = document(
        "<service uri=\"sip:friends@example.com\"><list name=\"friends\">\
         <rl:entry uri=\"sip:bob@example.com\"><rl:display-name>Bob</rl:display-name></rl:entry>\
         <rl:list><rl:entry uri=\"sip:joe@example.com\"/></rl:list></list>\
         <packages><package> presence </package><package>dialog</package></packages></service>\
         <service uri=\"sip:other@example.com\">\
         <resource-list> http://xcap.example.com/a </resource-list></service>",
    );
    let services = RlsServices::parse(two.as_bytes()).unwrap().services;
    let [friends, other] = services.as_slice() else { panic!("two services") };
    let ServiceMembers::List(list) = &friends.members else { panic!("a list") };
    let want = "friends(-)[sip:bob@example.com(Bob) -(-)[sip:joe@example.com(-)]]";
    assert_eq!((friends.uri.as_str(), shape(list).as_str()), ("sip:friends@example.com", want));
    assert_eq!(friends.packages, ["presence", "dialog"]);
    let elsewhere = ServiceMembers::Elsewhere("http://xcap.example.com/a".to_owned());
    assert_eq!((other.members.clone(), other.packages.len()), (elsewhere, 0));
    for (inside, what) in [
        ("<service><list/></service>", "uri of service"),
        ("<service uri=\"sip:a@h\"/>", "list of service"),
        ("<service uri=\"sip:a@h\"><rl:external/></service>", "list of service"),
        ("<service uri=\"sip:a@h\"><resource-list/></service>", "list of service"),
        ("<service uri=\"sip:a@h\"><list><rl:entry/></list></service>", "uri of entry"),
    ] {
        let got = RlsServices::parse(document(inside).as_bytes());
        assert_eq!(got, Err(FactsError::Missing { what }), "{inside}");
    }
    let other = RlsServices::parse(b"<rls-services/>");
    assert_eq!(other, Err(FactsError::WrongRoot { expected: "rls-services" }));
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_bodies_come_back_whole() {
    for size in [0, 1, 1_023, 1_024, 1_025, 40_000] {
        let body: Vec<u8> = (0..size).map(|n| (n * n / 7) as u8).collect();
        for (encoding, encoded) in [
            (Some(&b"deflate"[..]), zlib(&body)),
            (Some(b" DEFLATE "), raw(&body)),
            (Some(b"gzip"), gzip(&body)),
            (Some(b"x-gzip"), gzip(&body)),
            (Some(b"identity"), body.clone()),
            (None, body.clone()),
        ] {
            let decode = |bytes_max| decode_content(encoding, &encoded, bytes_max);
            let shown = encoding.map(String::from_utf8_lossy);
            for bytes_max in [size, size + 1, 65_536] {
                assert_eq!(decode(bytes_max).as_deref(), Ok(&body[..]), "{shown:?} {size}");
            }
            if let Some(bytes_max) = size.checked_sub(1) {
                let want = Err(EncodingError::TooLarge { bytes_max });
                assert_eq!(decode(bytes_max), want, "{shown:?} {size}");
                assert_eq!(decode(0), Err(EncodingError::TooLarge { bytes_max: 0 }));
            }
        }
    }
    let mut named = gzip(b"named");
    named[3] = 4 | 8 | 16 | 2;
    named.splice(10..10, *b"\x03\0abcname\0comment\0\0\0");
    assert_eq!(decode_content(Some(b"gzip"), &named, 9).as_deref(), Ok(&b"named"[..]));
}

#[test]
fn damaged_and_unknown_encodings_are_refused_by_name() {
    let body = b"<resource-lists/>".repeat(20);
    for (encoding, whole) in
        [("deflate", zlib(&body)), ("deflate", raw(&body)), ("gzip", gzip(&body))]
    {
        let refused = |bytes: &[u8], what: &str| {
            let got = decode_content(Some(encoding.as_bytes()), bytes, 4_096);
            assert_eq!(got, Err(EncodingError::Corrupt), "{encoding}, {what}");
        };
        for length in 0..whole.len() {
            refused(&whole[..length], &format!("cut to {length}"));
        }
        refused(&[&whole[..], b"\0"].concat(), "more behind");
        refused(&body, "not compressed");
    }
    for (encoding, mut encoded) in [("deflate", zlib(&body)), ("gzip", gzip(&body))] {
        // A wrong checksum.
        let at = encoded.len() - if encoding == "gzip" { 8 } else { 4 };
        encoded[at] ^= 1;
        let got = decode_content(Some(encoding.as_bytes()), &encoded, 4_096);
        assert_eq!(got, Err(EncodingError::Corrupt), "{encoding}");
    }
    for encoding in ["br", "deflate, gzip", "compress", "deflate;q=1"] {
        let got = decode_content(Some(encoding.as_bytes()), &body, 4_096);
        assert_eq!(got, Err(EncodingError::UnknownEncoding), "{encoding}");
    }
}

#[test]
fn a_decompression_bomb_costs_its_limit_only() {
    let bomb = zlib(&vec![0; 64 << 20]);
    assert!(bomb.len() < 80_000, "a thousand times smaller");
    let started = std::time::Instant::now();
    for _ in 0..100 {
        let got = decode_content(Some(b"deflate"), &bomb, 65_536);
        assert_eq!(got, Err(EncodingError::TooLarge { bytes_max: 65_536 }));
    }
    // Whole, it takes some ten milliseconds each time; to the limit, a tenth of one.
    assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn rates_are_read_exactly_or_refused() {
    for (text, want) in [
        ("1", Some((1_000, "1"))),
        ("0.1", Some((10_000, "0.1"))),
        ("3.0", Some((334, "3"))),
        ("99.9999999999", Some((11, "99.9999999999"))),
        ("0.0000000001", Some((10_000_000_000_000, "0.0000000001"))),
        (" 00.50 ", Some((2_000, "0.5"))),
        ("0", None),
        ("0.0", None),
        ("100", None),
        ("1.", None),
        (".5", None),
        ("-1", None),
        ("1.00000000001", None),
        ("1.5x", None),
        ("1e1", None),
        ("", None),
    ] {
        let got = Rate::parse(text.as_bytes()).ok();
        let got = got.map(|rate| (rate.interval_ms(), rate.to_string()));
        assert_eq!(got.as_ref().map(|(ms, text)| (*ms, text.as_str())), want, "{text:?}");
    }
    let rate = |text: &str| Rate::parse(text.as_bytes()).ok();
    let event = Event::parse(b"presence;id=1;Max-Rate=0.2;min-rate=x;adaptive-min-rate=5").unwrap();
    let rates = event.rates();
    assert_eq!((rates.max, rates.min, rates.adaptive_min), (rate("0.2"), None, rate("5")));
    let state = SubscriptionState::parse(b"active;expires=60;min-rate=0.5").unwrap();
    assert_eq!((state.rates().max, state.rates().min), (None, rate("0.5")));
}

#[test]
fn conditions_dispositions_and_warnings_are_read_or_refused() {
    use SuppressIfMatch as S;
    for (value, want, matches) in [
        ("*", Some(S::Any), true),
        (" a1b2 ", Some(S::Tag(b"a1b2")), true),
        ("A1B2", Some(S::Tag(b"A1B2")), false),
        ("", None, false),
        ("a b", None, false),
        ("\"a1b2\"", None, false),
    ] {
        let got = S::parse(value.as_bytes()).ok();
        assert_eq!(got, want, "{value}");
        assert_eq!(got.is_some_and(|found| found.matches(b"a1b2")), matches, "{value}");
    }
    assert_eq!(parse_entity_tag(b" dx200xyz ").ok(), Some(&b"dx200xyz"[..]));
    assert!(parse_entity_tag(b"*,").is_err() && parse_entity_tag(b"").is_err());

    for (value, kind, is_optional) in [
        ("recipient-list", Some("Recipient-List"), false),
        ("Render ; handling=Optional;x", Some("render"), true),
        ("session;handling=\"optional\"", Some("session"), true),
        ("", None, false),
        ("a b", None, false),
    ] {
        let got = ContentDisposition::parse(value.as_bytes()).ok();
        assert_eq!(got.is_some(), kind.is_some(), "{value}");
        if let (Some(got), Some(kind)) = (got, kind) {
            assert_eq!((got.is(kind), got.is_optional()), (true, is_optional), "{value}");
        }
    }

    for (value, want) in [
        ("399 h:5060 \"Broken \\\"Via\\\"\"", Some((399, "h:5060", "Broken \\\"Via\\\""))),
        ("301 isi.edu  \"\"", Some((301, "isi.edu", ""))),
        ("39 h \"t\"", None),
        ("1000 h \"t\"", None),
        ("399 \"t\"", None),
        ("399 h t", None),
        ("399 h \"t", None),
        ("399 h \"t\" more", None),
        ("399", None),
        ("", None),
    ] {
        let got = Warning::parse(value.as_bytes()).ok();
        let got = got.map(|w| (w.code, w.agent, w.text));
        let want = want.map(|(code, agent, text)| (code, agent.as_bytes(), text.as_bytes()));
        assert_eq!(got, want, "{value}");
    }
}

/// A SUBSCRIBE with the mandatory headers, more of them, and a body.
fn subscribe(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "SUBSCRIBE sip:rls@example.org SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
         From: <sip:a@h>;tag=1\r\nTo: <sip:rls@example.org>\r\nCall-ID: c\r\nCSeq: 1 SUBSCRIBE\r\n\
         Event: presence\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn a_list_in_a_request_is_found_and_decoded() {
    let list =
        format!("<resource-lists {LISTS}><list><entry uri=\"sip:a@b\"/></list></resource-lists>");
    let headers = "k: 100rel\r\nSupported: replaces, EventList\r\n\
        Require: recipient-list-subscribe\r\nSuppress-If-Match: a1\r\n\
        c: application/resource-lists+xml;charset=utf-8\r\ne: deflate\r\n\
        Content-Disposition: recipient-list\r\n";
    let bytes = subscribe(headers, &zlib(list.as_bytes()));
    let message = Message::scan(&bytes, Framing::Datagram).unwrap();
    let essentials = Essentials::read(&message).unwrap();
    assert!(essentials.supports_eventlist);
    assert!(message.has_token(HeaderName::Require, "Recipient-List-Subscribe"));
    assert!(!message.has_token(HeaderName::Require, "eventlist"));
    assert_eq!(essentials.suppress_if_match, Some(&b"a1"[..]));
    let body = essentials.body;
    assert!(body.is("application/resource-lists+xml") && body.is_meant_as("recipient-list"));
    assert!(!body.is_empty() && !body.is("application/pidf+xml") && !body.is_meant_as("render"));
    assert_eq!(body.decode(4_096).as_deref(), Ok(list.as_bytes()));
    assert_eq!(body.decode(9), Err(EncodingError::TooLarge { bytes_max: 9 }));

    for (headers, want) in [
        ("", false),
        ("Supported:\r\n", false),
        ("Supported: eventlists, event, list\r\n", false),
        ("Require: eventlist\r\n", true),
    ] {
        let bytes = subscribe(headers, b"");
        let message = Message::scan(&bytes, Framing::Datagram).unwrap();
        let essentials = Essentials::read(&message).unwrap();
        assert_eq!(essentials.supports_eventlist, want, "{headers}");
        assert_eq!((essentials.body, essentials.suppress_if_match), (Body::default(), None));
    }
}
