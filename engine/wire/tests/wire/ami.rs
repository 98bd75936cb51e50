//! AMI framing: the captured session, the bounds, and what is written.

use lampfield_wire::ami::{c_escape, c_unescape};
use lampfield_wire::{AmiError, AmiMessage, AmiReader, AmiWriter};

use crate::captures::folder;

fn read_all(mut reader: AmiReader, mut bytes: &[u8]) -> Vec<Result<AmiMessage, AmiError>> {
    std::iter::from_fn(|| reader.read(&mut bytes)).collect()
}

fn capture(name: &str) -> Vec<u8> {
    folder("ami").into_iter().find(|(stem, _)| stem == name).unwrap().1
}

#[test]
fn a_captured_session_is_read_on_both_sides() {
    let requests = read_all(AmiReader::for_server(), &capture("asterisk-ami-requests"));
    let requests: Vec<_> = requests.into_iter().map(Result::unwrap).collect();
    assert_eq!(requests.len(), 24);
    assert_eq!(requests[0].action(), Some("Login"));
    assert_eq!(requests[8].get("value"), Some("away,at home,Sick with flu. Out until the 18th"));

    let mut reader = AmiReader::for_client();
    let bytes = capture("asterisk-ami-answers");
    let mut input = &bytes[..];
    let mut answers = Vec::new();
    while let Some(answer) = reader.read(&mut input) {
        answers.push(answer.unwrap());
    }
    assert_eq!(reader.banner(), Some("Asterisk Call Manager/11.0.0"));
    let success = |answer: &&AmiMessage| answer.get("Response") == Some("Success");
    assert_eq!(answers.iter().filter(success).count(), 24);
    let event = answers.iter().find(|a| a.get("Event") == Some("PresenceStateChange")).unwrap();
    assert_eq!(event.get("Presentity"), Some("CustomPresence:bob"));
    assert_eq!((event.get("Subtype"), event.get_non_empty("Subtype")), (Some(""), None));
}

#[test]
fn headers_are_found_as_the_reference_does() {
    for (request, name, want) in [
        ("Action: a\r\naction: b\r\n\r\n", "ACTION", Some("a")),
        ("Action:\nAction: b\n\n", "Action", Some("")),
        ("Value:   two  \r\n\r\n", "Value", Some("two  ")),
        ("Value : x\r\n\r\n", "Value", None),
        ("no colon\r\nValue: x:y\r\n\r\n", "Value", Some("x:y")),
    ] {
        let messages = read_all(AmiReader::for_server(), request.as_bytes());
        let [Ok(message)] = messages.as_slice() else { panic!("{request:?}: {messages:?}") };
        assert_eq!(message.get(name), want, "{request:?}");
    }
    let messages = read_all(AmiReader::for_server(), b"Action:\nAction: b\n\n\r\n");
    assert_eq!(messages[0].as_ref().unwrap().action(), Some("b"));
    assert!(messages[1].as_ref().unwrap().is_empty(), "a lone empty line is a message to a server");
}

#[test]
fn a_refused_message_does_not_harm_the_next() {
    let line = |length: usize| format!("X: {}\r\n", "a".repeat(length - 5));
    for (request, want) in [
        (line(1024), None),
        (line(1025), Some(AmiError::LineTooLong)),
        (line(100_000), Some(AmiError::LineTooLong)),
        (line(10).repeat(128), None),
        (line(10).repeat(129), Some(AmiError::TooManyLines)),
        (line(10).repeat(5_000), Some(AmiError::TooManyLines)),
    ] {
        let stream = format!("{request}\r\nAction: Ping\r\n\r\n");
        for chunk_bytes in [1, 7, 1024, stream.len()] {
            let mut reader = AmiReader::for_server();
            let mut messages = Vec::new();
            for mut chunk in stream.as_bytes().chunks(chunk_bytes) {
                while let Some(message) = reader.read(&mut chunk) {
                    messages.push(message);
                }
            }
            assert_eq!(messages.len(), 2, "{want:?} in chunks of {chunk_bytes}");
            assert_eq!(messages[0].as_ref().err(), want.as_ref(), "chunks of {chunk_bytes}");
            assert_eq!(messages[1].as_ref().unwrap().action(), Some("Ping"));
        }
    }
    assert_eq!(AmiError::LineTooLong.to_string(), "Failed to parse message: line too long");
}

#[test]
fn a_follower_reads_less_than_a_client_and_goes_on_behind_it() {
    let line = |length: usize| format!("X: {}\r\n", "a".repeat(length - 5));
    for (event, want) in [
        (line(8 * 1024), None),
        (line(8 * 1024 + 1), Some(AmiError::LineTooLong)),
        (line(10).repeat(256), None),
        (line(10).repeat(257), Some(AmiError::TooManyLines)),
        (line(1024).repeat(65), Some(AmiError::TooManyLines)),
    ] {
        let stream = format!("Asterisk Call Manager/9\r\n{event}\r\n\r\nEvent: Shutdown\r\n\r\n");
        let messages = read_all(AmiReader::for_follower(), stream.as_bytes());
        assert_eq!(messages.len(), 2, "{want:?}");
        assert_eq!(messages[0].as_ref().err(), want.as_ref());
        assert_eq!(messages[1].as_ref().unwrap().get("Event"), Some("Shutdown"));
    }
}

#[test]
fn written_messages_keep_their_frame() {
    let mut out = Vec::new();
    AmiWriter::response(&mut out, "Success", Some("a\r\n\r\n7"))
        .header("Message", "two\r\nlines")
        .header_i64("Status", -1)
        .end();
    AmiWriter::event(&mut out, "PresenceStateChange", Some("call,all"))
        .header_escaped("Message", "a\n\"b\"\\c\u{e9}")
        .action_id(Some(""))
        .end();
    insta::assert_snapshot!(String::from_utf8(out.clone()).unwrap().replace("\r\n", "\n"), @r#"
    Response: Success
    ActionID: a\r\n\r\n7
    Message: two\r\nlines
    Status: -1

    Event: PresenceStateChange
    Privilege: call,all
    Message: a\n\"b\"\\cé
    "#);
    let messages = read_all(AmiReader::for_client(), &out);
    assert_eq!(messages.len(), 2);
    let message = messages[1].as_ref().unwrap().get("Message").unwrap();
    assert_eq!(c_unescape(message), "a\n\"b\"\\c\u{e9}");
}

#[test]
fn c_escapes_read_back() {
    for (text, want) in [
        ("plain", "plain"),
        ("\x07\x08\t\n\x0b\x0c\r", "\\a\\b\\t\\n\\v\\f\\r"),
        ("\\'\"?", "\\\\\\'\\\"\\?"),
    ] {
        assert_eq!(c_escape(text), want);
        assert_eq!(c_unescape(want), text);
    }
    assert_eq!(c_unescape("\\q \\"), "\\q \\");
}
