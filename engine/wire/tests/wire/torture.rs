//! The torture messages of RFC 4475 and RFC 5118, each with its verdict.

use lampfield_wire::{
    Essentials, Framing, HeaderName, Message, NameAddr, Via, host_address, split_uri,
};

use crate::captures::folder;

/// Start of the verdict on each message of RFC 4475, in the RFC's order. `ok` means that the
/// message is well formed for this crate; what an application refuses (unknown extensions, a bad
/// date, Max-Forwards of zero) is not decided here.
const RFC_4475: &[(&str, &str)] = &[
    // 3.1.1, valid.
    ("wsinv", "ok: INVITE"),
    ("intmeth", "ok: !interesting-Method0123456789_*+`.%indeed'~"),
    ("esc01", "ok: INVITE"),
    ("escnull", "ok: REGISTER"),
    ("esc02", "ok: RE%47IST%45R"),
    ("lwsdisp", "ok: OPTIONS"),
    ("longreq", "ok: INVITE"),
    ("dblreq", "ok: REGISTER"),
    ("semiuri", "ok: OPTIONS"),
    ("transports", "ok: OPTIONS"),
    ("mpart01", "ok: MESSAGE"),
    ("unreason", "ok: 200 with 74 bytes of reason"),
    ("noreason", "ok: 100 with 0 bytes of reason"),
    // 3.1.2, invalid.
    ("badinv01", "admit: Via: protocol name missing"),
    ("clerr", "scan: body has 154 of 9999 announced bytes"),
    ("ncl", "scan: Content-Length is not a number"),
    ("scalar02", "admit: CSeq: sequence number missing or not below 2^31"),
    // Its numbers stand in headers a client reads: see `overlarge_scalars_of_a_response`.
    ("scalarlg", "ok: 503"),
    ("quotbal", "admit: To: quoted display name is not closed"),
    ("ltgtruri", "scan: request-URI"),
    ("lwsruri", "scan: request-URI"),
    ("lwsstart", "scan: request-URI"),
    ("trws", "scan: start line"),
    // Headers in the request-URI: an element may ignore them.
    ("escruri", "ok: INVITE"),
    ("baddate", "ok: INVITE"),
    // The Contact needs brackets: see `a_contact_with_a_question_mark_needs_brackets`.
    ("regbadct", "ok: REGISTER"),
    ("badaspec", "admit: To: white space, bracket, quote or control byte in a URI"),
    ("baddn", "admit: From: display name needs quotes"),
    ("badvers", "scan: SIP version is not 2.0"),
    ("mismatch01", "admit: CSeq method differs"),
    ("mismatch02", "admit: CSeq method differs"),
    ("bigcode", "scan: start line"),
    // 3.2 and 3.3, transaction and application layer.
    ("badbranch", "admit: branch of the top Via is empty"),
    ("insuf", "admit: From header is missing"),
    ("unkscm", "ok: OPTIONS to another scheme"),
    ("novelsc", "ok: OPTIONS to another scheme"),
    ("unksm2", "ok: REGISTER"),
    ("bext01", "ok: OPTIONS"),
    ("invut", "ok: INVITE"),
    ("regaut01", "ok: REGISTER"),
    ("multi01", "scan: second CSeq header"),
    ("mcl01", "scan: second Content-Length header"),
    ("bcast", "ok: 200"),
    ("zeromf", "ok: OPTIONS"),
    ("cparam01", "ok: REGISTER"),
    ("cparam02", "ok: REGISTER"),
    ("regescrt", "ok: REGISTER"),
    ("sdp01", "ok: INVITE"),
    // 3.4, RFC 2543: no branch, no tag, no Max-Forwards.
    ("inv2543", "ok: INVITE"),
];

const RFC_5118: &[(&str, &str)] = &[
    ("ipv6-good", "ok: REGISTER"),
    ("ipv6-bad", "uri: port is not between 1 and 65535"),
    ("port-ambiguous", "ok: REGISTER"),
    ("port-unambiguous", "ok: REGISTER"),
    ("via-received-param-with-delim", "ok: BYE"),
    ("via-received-param-no-delim", "ok: OPTIONS"),
    // The RFC's own body is 17 bytes shorter than its Content-Length.
    ("ipv6-in-sdp", "scan: body has 251 of 268 announced bytes"),
    ("mult-ip-in-header", "ok: BYE"),
    ("mult-ip-in-sdp", "ok: INVITE"),
    ("ipv4-mapped-ipv6", "ok: INVITE"),
    ("ipv6-bug-abnf-3-colons", "ok: OPTIONS"),
    ("ipv6-correct-abnf-2-colons", "ok: OPTIONS"),
];

/// What becomes of one datagram: the error of the first layer that refuses it, or what it is.
fn verdict(datagram: &[u8]) -> String {
    let message = match Message::scan(datagram, Framing::Datagram) {
        Ok(message) => message,
        Err(error) => return format!("scan: {error}"),
    };
    if let (Some(status), Some(reason)) = (message.status(), message.reason()) {
        return format!("ok: {status} with {} bytes of reason", reason.len());
    }
    let essentials = match Essentials::read(&message) {
        Ok(essentials) => essentials,
        Err(error) => return format!("admit: {error}"),
    };
    let method = String::from_utf8_lossy(essentials.method);
    match split_uri(message.request_uri().unwrap()) {
        Ok(uri) if uri.is_sip() => format!("ok: {method}"),
        Ok(_) => format!("ok: {method} to another scheme"),
        Err(error) => format!("uri: {error}"),
    }
}

fn bytes_of(folder_name: &str, name: &str) -> Vec<u8> {
    folder(folder_name).into_iter().find(|(stem, _)| stem == name).unwrap().1
}

#[test]
fn every_torture_message_gets_its_verdict() {
    for (folder_name, verdicts) in [("rfc4475", RFC_4475), ("rfc5118", RFC_5118)] {
        let messages = folder(folder_name);
        assert_eq!(messages.len(), verdicts.len(), "{folder_name}: one verdict per message");
        for (name, bytes) in messages {
            let want = verdicts.iter().find(|(listed, _)| *listed == name).map(|(_, want)| *want);
            let got = verdict(&bytes);
            assert!(want.is_some_and(|want| got.starts_with(want)), "{name}: {got}, not {want:?}");
        }
    }
}

#[test]
fn a_short_tortuous_invite_keeps_every_value() {
    let bytes = bytes_of("rfc4475", "wsinv");
    let message = Message::scan(&bytes, Framing::Datagram).unwrap();
    let essentials = Essentials::read(&message).unwrap();
    assert_eq!(essentials.from.display, b"J Rosenberg \\\\\\\"");
    assert_eq!(essentials.from.tag(), Some(&b"98asjd8"[..]));
    assert_eq!(essentials.to.uri, b"sip:vivekg@chair-dnrc.example.com");
    assert_eq!(essentials.to.tag(), Some(&b"1918181833n"[..]));
    assert_eq!((essentials.cseq, essentials.max_forwards), (9, Some(68)));
    assert_eq!(essentials.via.branch, Some(&b"390skdjuw"[..]));

    let vias: Vec<_> = message.values(HeaderName::Via).map(|v| Via::parse(v).unwrap()).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!((vias[1].transport, vias[1].host), (&b"TCP"[..], &b"spindle.example.com"[..]));
    assert_eq!((vias[2].host, vias[2].port), (&b"192.168.255.111"[..], None));
    let routes: Vec<_> = message.values(HeaderName::Route).collect();
    assert_eq!(routes.len(), 1);
    let contact = NameAddr::parse(message.header(HeaderName::Contact).unwrap()).unwrap();
    assert_eq!(contact.display, b"Quoted string \\\"\\\"");
    assert_eq!(contact.param("newparam"), Some(&b"newvalue"[..]));
    assert_eq!(message.body().len(), 150);
}

#[test]
fn a_second_request_behind_a_datagram_is_cut_off() {
    let bytes = bytes_of("rfc4475", "dblreq");
    let message = Message::scan(&bytes, Framing::Datagram).unwrap();
    assert_eq!((message.body(), message.len()), (&b""[..], bytes.len()));
    assert!(message.len() > 700, "the second request is in the datagram");
}

#[test]
fn a_contact_with_a_question_mark_needs_brackets() {
    for (name, is_readable) in [("regbadct", false), ("regescrt", true), ("cparam01", true)] {
        let bytes = bytes_of("rfc4475", name);
        let message = Message::scan(&bytes, Framing::Datagram).unwrap();
        let contact = NameAddr::parse(message.header(HeaderName::Contact).unwrap());
        assert_eq!(contact.is_ok(), is_readable, "{name}: {contact:?}");
    }
}

#[test]
fn overlarge_scalars_of_a_response_are_refused_or_saturate() {
    let bytes = bytes_of("rfc4475", "scalarlg");
    let message = Message::scan(&bytes, Framing::Datagram).unwrap();
    let cseq = lampfield_wire::CSeq::parse(message.header(HeaderName::CSeq).unwrap());
    assert!(cseq.is_err(), "{cseq:?}");
    let retry_after = message.header(HeaderName::RetryAfter).unwrap();
    assert_eq!(lampfield_wire::parse_expires(retry_after), Some(u32::MAX));
}

#[test]
fn a_received_address_is_read_with_and_without_brackets() {
    let want: std::net::IpAddr = "2001:db8::9:255".parse().unwrap();
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let bytes = bytes_of("rfc5118", name);
        let message = Message::scan(&bytes, Framing::Datagram).unwrap();
        let via = Via::parse(message.header(HeaderName::Via).unwrap()).unwrap();
        assert_eq!(host_address(via.received.unwrap()), Some(want), "{name}");
    }
}

#[test]
fn an_ambiguous_port_belongs_to_the_address() {
    for (name, host, port) in [
        ("port-ambiguous", &b"[2001:db8::10:5070]"[..], None),
        ("port-unambiguous", b"[2001:db8::10]", Some(5070)),
    ] {
        let bytes = bytes_of("rfc5118", name);
        let message = Message::scan(&bytes, Framing::Datagram).unwrap();
        let uri = split_uri(message.request_uri().unwrap()).unwrap();
        assert_eq!((uri.host, uri.port), (host, port), "{name}");
    }
}
