//! The scanner: what it reads, what it refuses and where.

use lampfield_wire::{
    CSeq, Framing, HeaderName, Message, NameAddr, Via, next_frame, response_key, split_uri,
};

const SUBSCRIBE: &[u8] =
    b"\r\n\r\nSUBSCRIBE sip:2000@[2001:db8::10]:5070;transport=udp SIP/2.0\r\n\
v : SIP/2.0/UDP 192.0.2.7:5062;rport;branch=z9hG4bK1, SIP / 2.0 / TCP [::1]: 5060 ;branch=b2\r\n\
f:\r\n \"Alice, \\\"A\\\"\"\r\n\t<sip:alice@example.com>;tag=a1\r\n\
TO: sip:2000@example.com;x=1\r\n\
i: call-1\r\n\
cseq:\t7  SUBSCRIBE\r\n\
Accept: application/pidf+xml, application/xpidf+xml\r\n\
ACCEPT: application/dialog-info+xml;q=0.5\r\n\
o: presence;id=3\r\n\
l: 4\r\n\
\r\nbodyrest";

#[test]
fn an_unusually_written_request_is_read_completely() {
    let message = Message::scan(SUBSCRIBE, Framing::Stream).unwrap();
    assert_eq!(message.method(), Some(&b"SUBSCRIBE"[..]));
    assert_eq!(message.body(), b"body");
    assert_eq!(message.len(), SUBSCRIBE.len() - 4);

    let vias: Vec<_> = message.values(HeaderName::Via).map(|v| Via::parse(v).unwrap()).collect();
    assert_eq!(vias.len(), 2);
    assert_eq!((vias[0].port, vias[0].rport), (Some(5062), Some(None)));
    assert_eq!((vias[1].host, vias[1].port), (&b"[::1]"[..], Some(5060)));
    assert_eq!(vias[1].branch, Some(&b"b2"[..]));

    let from = NameAddr::parse(message.header(HeaderName::From).unwrap()).unwrap();
    assert_eq!(from.display, b"Alice, \\\"A\\\"");
    assert_eq!((from.uri, from.tag()), (&b"sip:alice@example.com"[..], Some(&b"a1"[..])));
    let to = NameAddr::parse(message.header(HeaderName::To).unwrap()).unwrap();
    assert_eq!(
        (to.uri, to.param("X"), to.tag()),
        (&b"sip:2000@example.com"[..], Some(&b"1"[..]), None)
    );

    let cseq = CSeq::parse(message.header(HeaderName::CSeq).unwrap()).unwrap();
    assert_eq!((cseq.number, cseq.method), (7, &b"SUBSCRIBE"[..]));
    assert_eq!(message.values(HeaderName::Accept).count(), 3);
    let uri = split_uri(message.request_uri().unwrap()).unwrap();
    assert_eq!((uri.user, uri.host, uri.port), (&b"2000"[..], &b"[2001:db8::10]"[..], Some(5070)));
}

#[test]
fn the_fast_path_and_the_scanner_read_the_same_key() {
    let answer = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;x;Branch=z9hG4bKq;rport=5\r\n\
        Content-Length: 0\r\n\r\n";
    let key = response_key(answer).unwrap();
    let message = Message::scan(answer, Framing::Datagram).unwrap();
    let via = Via::parse(message.header(HeaderName::Via).unwrap()).unwrap();
    assert_eq!((Some(key.status), Some(key.branch)), (message.status(), via.branch));
    let in_body = b"SIP/2.0 200 OK\r\n\r\nVia: SIP/2.0/UDP h;branch=body\r\nX: y\r\n";
    assert_eq!(response_key(in_body), None);
    let second_is_plain = b"SIP/2.0 200 OK\r\nVia : SIP/2.0/UDP h;branch=top\r\n\
        Via: SIP/2.0/UDP h;branch=below\r\n\r\n";
    assert_eq!(response_key(second_is_plain), None);
    assert!(next_frame(answer).is_ok());
}
