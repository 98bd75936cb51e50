//! Bugs that bit other SIP servers, as far as they are about bytes. Each test is named after the
//! class of the bug and sends what would have triggered it.

use lampfield_wire::{
    CSeq, DialogInfoFacts, Essentials, Framing, HeaderName, Message, NameAddr, ScanError, Via,
    escape_log, parse_expires, push_xml, response_key, split_list,
};

const HEAD: &str = "SUBSCRIBE sip:2000@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
    From: <sip:a@h>;tag=1\r\nTo: <sip:2000@h>\r\nCall-ID: c\r\nCSeq: 1 SUBSCRIBE\r\n";

fn scan(text: &str) -> Result<Message<'_>, ScanError> {
    Message::scan(text.as_bytes(), Framing::Datagram)
}

/// CVE-2018-7284: more Accept values than an array had room for.
#[test]
fn ten_thousand_accept_values_are_counted_or_refused() {
    let list = "a/b,".repeat(3_000);
    let text = format!("{HEAD}Accept: {list}\r\n\r\n");
    assert_eq!(scan(&text).unwrap().values(HeaderName::Accept).count(), 3_000);
    let text = format!("{HEAD}{}\r\n", "Accept: a/b\r\n".repeat(10_000));
    let refused = scan(&text).map(|_| ());
    assert!(matches!(refused, Err(ScanError::TooManyHeaders { .. })), "{refused:?}");
}

/// CVE-2017-9372: a CSeq method longer than its buffer.
#[test]
fn an_overlong_cseq_method_is_only_a_mismatch() {
    let text = HEAD.replace("1 SUBSCRIBE", &format!("1 {}", "M".repeat(9_000)));
    let text = format!("{text}\r\n");
    let refused = Essentials::read(&scan(&text).unwrap()).map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "CSeq method differs from the request's");
}

/// Kamailio 24030e5899: sequence numbers of 2^31 and more.
#[test]
fn a_sequence_number_of_2_to_the_31_is_refused() {
    for (value, want) in [
        ("2147483647 SUBSCRIBE", Some(2_147_483_647)),
        ("2147483648 SUBSCRIBE", None),
        ("4294967297 SUBSCRIBE", None),
        ("99999999999999999999999 SUBSCRIBE", None),
        ("-1 SUBSCRIBE", None),
        ("SUBSCRIBE", None),
        ("1", None),
        ("1SUBSCRIBE", None),
        ("1 SUB SCRIBE", None),
    ] {
        assert_eq!(CSeq::parse(value.as_bytes()).ok().map(|cseq| cseq.number), want, "{value}");
    }
}

/// CVE-2020-27507: duplicate headers, with an overlong tag.
#[test]
fn a_second_copy_of_a_single_header_refuses_the_message() {
    let long_tag = format!("f: <sip:a@h>;tag={}", "t".repeat(4_000));
    for line in [
        long_tag.as_str(),
        "From: <sip:a@h>;tag=1",
        "t: <sip:2000@h>",
        "i: c",
        "CSEQ: 1 SUBSCRIBE",
        "o: presence\r\nEvent: presence",
        "Expires: 1\r\nexpires : 1",
        "Max-Forwards: 70\r\nMAX-FORWARDS: 70",
        "c: a/b\r\nContent-Type: a/b",
        "l: 0\r\nContent-Length: 0",
    ] {
        let text = format!("{HEAD}{line}\r\n\r\n");
        let refused = scan(&text).map(|_| ());
        assert!(matches!(refused, Err(ScanError::DuplicateHeader { .. })), "{line}: {refused:?}");
    }
}

/// CVE-2020-28361: a header that one reader sees and another does not.
#[test]
fn a_header_name_has_one_reading() {
    for line in
        ["P-Asserted-Identity\u{b}: x", "X\0Y: x", "\u{a0}Event: x", ": x", "Event", "E(v: x"]
    {
        let text = format!("{HEAD}{line}\r\n\r\n");
        let refused = scan(&text).map(|_| ());
        assert!(matches!(refused, Err(ScanError::HeaderLine { .. })), "{line:?}: {refused:?}");
    }
    for line in ["Event \t: presence", "EVENT:presence", "o :\r\n presence"] {
        let text = format!("{HEAD}{line}\r\n\r\n");
        let event = scan(&text).unwrap().header(HeaderName::Event);
        assert_eq!(event, Some(&b"presence"[..]), "{line:?}");
    }
    let folded_first = "SUBSCRIBE sip:2000@h SIP/2.0\r\n Via: x\r\n\r\n";
    assert!(matches!(scan(folded_first), Err(ScanError::HeaderLine { .. })));
}

/// CVE-2018-8828, CVE-2023-27598: a branch or Via that passes one check and breaks the next.
#[test]
fn a_long_branch_or_odd_via_is_read_or_refused_whole() {
    let branch = "z9hG4bK".to_owned() + &"b".repeat(5_000);
    let value = format!("SIP/2.0/UDP h;branch={branch};rport");
    assert_eq!(Via::parse(value.as_bytes()).unwrap().branch, Some(branch.as_bytes()));
    let answer = format!("SIP/2.0 200 OK\r\nVia: {value}\r\n\r\n");
    assert_eq!(response_key(answer.as_bytes()).unwrap().branch, branch.as_bytes());
    for value in [
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ;branch=x",
        "SIP/2.0 UDP h",
        "SIP/3.0/UDP h",
        "SIP/2.0/UDPh",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:65536",
        "SIP/2.0/UDP h:-1",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP [::g]",
        "SIP/2.0/UDP h h",
        "SIP/2.0/UDP h;rport=x",
        "SIP/2.0/UDP h:1:2",
        "",
    ] {
        assert!(Via::parse(value.as_bytes()).is_err(), "{value}");
    }
}

/// CVE-2023-27599, CVE-2023-28099: a To or address that reaches an assertion.
#[test]
fn a_malformed_address_is_an_error_that_says_where() {
    for (value, want) in [
        ("", "URI is empty at byte 0 of the value"),
        ("<>", "URI is empty at byte 1 of the value"),
        ("\"a", "quoted display name is not closed at byte 0 of the value"),
        ("\"a\\", "quoted display name is not closed at byte 0 of the value"),
        ("\"a\" sip:x@y", "display name without a URI in brackets at byte 3 of the value"),
        ("a <sip:x@y", "opening bracket without a closing one at byte 2 of the value"),
        ("<sip:x@y> z", "text behind the closing bracket at byte 9 of the value"),
        ("a, b <sip:x@y>", "display name needs quotes at byte 0 of the value"),
        ("sip:x@y?z=1", "a URI with question mark or comma needs brackets at byte 7 of the value"),
        (
            "<sip:x y@z>",
            "white space, bracket, quote or control byte in a URI at byte 6 of the value",
        ),
        ("sip:\"x\"@y", "quote inside a display name or URI at byte 4 of the value"),
    ] {
        let refused = NameAddr::parse(value.as_bytes()).unwrap_err();
        assert_eq!(refused.to_string(), want, "{value}");
    }
}

/// FreeSWITCH 49f39c074a: a display name of 60 KiB into 512 bytes.
#[test]
fn a_huge_display_name_is_borrowed_or_refused_by_the_head_bound() {
    let name = "n".repeat(15_000);
    let value = format!("\"{name}\" <sip:a@h>;tag=1");
    assert_eq!(NameAddr::parse(value.as_bytes()).unwrap().display, name.as_bytes());
    let text = format!("{HEAD}Contact: \"{}\" <sip:a@h>\r\n\r\n", "n".repeat(60_000));
    assert_eq!(scan(&text).map(|_| ()), Err(ScanError::HeadTooLarge));
}

/// Asterisk 67360eb671: control characters in a display name forge log lines.
#[test]
fn a_display_name_cannot_forge_a_log_line() {
    let value = b"\"Bob\x1b[31m\x07\" <sip:b@h>";
    let display = NameAddr::parse(value).unwrap().display;
    assert_eq!(escape_log(display).to_string(), "Bob\\u{1b}[31m\\u{7}");
}

/// OpenSIPS 8f1be98346: escaping made a display name longer than its buffer.
#[test]
fn escaping_grows_by_six_at_most_and_into_the_whole_text() {
    let mut out = Vec::new();
    push_xml(&mut out, &b"\"".repeat(10_000));
    assert_eq!(out, b"&quot;".repeat(10_000));
}

/// CVE-2022-24763, PJSIP 12306eaf9: endless or deeply nested XML.
#[test]
fn nested_xml_is_refused_in_bounded_time() {
    let open = "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" \
                state=\"full\" entity=\"sip:a@b\">";
    for document in [
        format!("{open}{}", "<dialog>".repeat(8_000)),
        format!("{open}{}", "<".repeat(60_000)),
        format!("{open}{}", "<!-- ".repeat(12_000)),
        format!("{open}{}", "&amp;".repeat(12_000)),
        format!("{open}<dialog {}/></dialog-info>", "a=\"\" ".repeat(12_000)),
        format!(
            "{open}<dialog {}/></dialog-info>",
            (0..3_000).map(|n| format!("xmlns:p{n}='u' ")).collect::<String>()
        ),
    ] {
        assert!(document.len() < 65_536, "the size bound may not be what refuses it");
        let started = std::time::Instant::now();
        assert!(DialogInfoFacts::parse(document.as_bytes()).is_err());
        assert!(started.elapsed() < std::time::Duration::from_secs(2));
    }
}

/// Kamailio 794, 795: a dialog without an id.
#[test]
fn a_dialog_without_an_id_is_read() {
    let document = b"<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" \
        state=\"full\" entity=\"sip:a@b\"><dialog><state>early</state></dialog></dialog-info>";
    let facts = DialogInfoFacts::parse(document).unwrap();
    assert_eq!((facts.dialogs[0].id.as_str(), facts.dialogs[0].state.as_str()), ("", "early"));
}

/// PJSIP 46af81856: refresh timers from extreme Expires.
#[test]
fn expires_saturates_and_never_wraps() {
    for (value, want) in [
        ("0", Some(0)),
        (" 3600 ", Some(3600)),
        ("4294967295", Some(u32::MAX)),
        ("4294967296", Some(u32::MAX)),
        ("99999999999999999999999999", Some(u32::MAX)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("3600;x", None),
    ] {
        assert_eq!(parse_expires(value.as_bytes()), want, "{value}");
    }
}

/// GHSA-589g-qgf8-m6mx and relatives: one value as large as the message.
#[test]
fn a_list_of_nothing_but_separators_is_walked_once() {
    let commas = b",".repeat(60_000);
    assert_eq!(split_list(&commas).count(), 0);
    let quotes = b"\"".repeat(59_999);
    assert_eq!(split_list(&quotes).count(), 1);
    let brackets = b"<".repeat(60_000);
    assert_eq!(split_list(&brackets).count(), 1);
}
