//! The body readers: captured Asterisk documents, schema-valid ones, and refused ones.

use lampfield_wire::{
    Basic, DialogInfoFacts, FactsError, Framing, Message, PidfFacts, XmlEvent, XmlProblem,
    XmlReader, XpidfFacts, push_xml,
};

use crate::captures::asterisk;

fn body(capture: &str) -> Vec<u8> {
    let bytes = asterisk(capture);
    Message::scan(&bytes, Framing::Datagram).unwrap().body().to_vec()
}

#[test]
fn asterisk_pidf_tells_the_lamp() {
    for (capture, basic, note, is_on_the_phone) in [
        ("notify-pidf-idle", Basic::Open, "Ready", false),
        ("notify-pidf-inuse", Basic::Open, "On the phone", true),
        ("notify-pidf-ringing", Basic::Open, "Ringing", true),
        ("notify-pidf-onhold", Basic::Open, "On hold", true),
        ("notify-pidf-unavailable", Basic::Closed, "Unavailable", false),
        ("notify-pidf-terminated", Basic::Open, "Ready", false),
    ] {
        let facts = PidfFacts::parse(&body(capture)).unwrap();
        assert_eq!(facts.entity, "sip:lamp0@127.0.0.1:5070", "{capture}");
        assert_eq!(facts.tuple_id, "lamp0", "{capture}");
        assert_eq!(facts.contact.as_deref(), Some("sip:w1@127.0.0.1"), "{capture}");
        assert_eq!(
            (facts.basic, facts.note.as_deref(), facts.is_on_the_phone()),
            (Some(basic), Some(note), is_on_the_phone),
            "{capture}"
        );
        assert_eq!((facts.digium, facts.tuple_count), (None, 1), "{capture}");
    }
}

#[test]
fn asterisk_digium_tuple_is_told_apart() {
    for (capture, kind, subtype, message, note) in [
        ("notify-digium-not-set", "not_set", "", "", "Ready"),
        ("notify-digium-subtype-message", "not_set", "sub type", "a message", "Ready"),
        ("notify-digium-available", "available", "", "", "Ready"),
        ("notify-digium-escaped", "away", "<s&'t>", "<b>R&D 'x' \u{e9}", "Ready"),
        ("notify-digium-device-change", "away", "<s&'t>", "<b>R&D 'x' \u{e9}", "On the phone"),
    ] {
        let facts = PidfFacts::parse(&body(capture)).unwrap();
        let digium = facts.digium.clone().unwrap();
        assert_eq!(
            (digium.kind.as_str(), digium.subtype.as_str(), digium.message.as_str()),
            (kind, subtype, message),
            "{capture}"
        );
        assert_eq!((facts.tuple_id.as_str(), facts.note.as_deref()), ("lamp0", Some(note)));
    }
}

#[test]
fn schema_valid_and_chan_sip_pidf_are_read() {
    let rfc = br#"<?xml version="1.0" encoding="UTF-8"?>
<pr:presence xmlns:pr="urn:ietf:params:xml:ns:pidf" xmlns:d="urn:ietf:params:xml:ns:pidf:data-model"
  xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" entity="pres:2000@example.com">
 <pr:tuple id="t1"><pr:status><pr:basic> closed </pr:basic></pr:status>
  <pr:contact priority="0.8">sip:2000@example.com</pr:contact><pr:note xml:lang="en">Out &#x26; about</pr:note>
 </pr:tuple>
 <pr:tuple id="t2"><pr:status><pr:basic>open</pr:basic></pr:status></pr:tuple>
 <d:person id="p1"><r:activities><r:note>n</r:note><r:meeting/><r:on-the-phone/></r:activities>
  <d:note>person</d:note></d:person>
</pr:presence>"#;
    let facts = PidfFacts::parse(rfc).unwrap();
    assert_eq!((facts.tuple_id.as_str(), facts.basic), ("t1", Some(Basic::Closed)));
    assert_eq!(facts.note.as_deref(), Some("Out & about"));
    assert_eq!(facts.activities, ["meeting", "on-the-phone"]);
    assert_eq!((facts.tuple_count, facts.is_on_the_phone()), (2, true));

    let chan_sip = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n\
<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \nxmlns:pp=\"urn:ietf:params:xml:ns:pidf:person\"\n\
xmlns:ep=\"urn:ietf:params:xml:ns:pidf:rpid:rpid-person\"\nentity=\"sip:6002@h\">\n\
<pp:person><status>\n<ep:activities><ep:busy/></ep:activities>\n</status></pp:person>\n\
<note>On the phone</note>\n<tuple id=\"6002\">\n<contact priority=\"1\">sip:6002@h</contact>\n\
<status><basic>open</basic></status>\n</tuple>\n<tuple id=\"digium-presence\">\n<status>\n\
<digium_presence type=\"unavailable\" subtype=\"\"></digium_presence>\n</status>\n</tuple>\n\
</presence>\n";
    let facts = PidfFacts::parse(chan_sip).unwrap();
    assert_eq!((facts.activities, facts.basic), (vec!["busy".to_owned()], Some(Basic::Open)));
    assert_eq!(facts.digium.unwrap().kind, "unavailable");
}

#[test]
fn asterisk_xpidf_tells_the_lamp_under_both_types() {
    for (capture, status, substatus) in [
        ("notify-xpidf-open", "open", "online"),
        ("notify-xpidf-inuse", "inuse", "onthephone"),
        ("notify-xpidf-closed", "closed", "offline"),
        ("notify-cpim-open", "open", "online"),
    ] {
        let facts = XpidfFacts::parse(&body(capture)).unwrap();
        assert_eq!(facts.presentity, "sip:lamp0@127.0.0.1:5070", "{capture}");
        assert_eq!(facts.address, "sip:w1@127.0.0.1;user=ip", "{capture}");
        assert_eq!(
            (facts.atom_id.as_str(), facts.status.as_str(), facts.substatus.as_str()),
            ("lamp0", status, substatus),
            "{capture}"
        );
    }
}

#[test]
fn asterisk_dialog_info_tells_the_lamp() {
    for (capture, version, state, direction, is_held) in [
        ("notify-dialog-terminated", 0, "terminated", "", false),
        ("notify-dialog-confirmed", 1, "confirmed", "", false),
        ("notify-dialog-early", 3, "early", "recipient", false),
        ("notify-dialog-hold", 5, "confirmed", "", true),
    ] {
        let facts = DialogInfoFacts::parse(&body(capture)).unwrap();
        assert_eq!((facts.version, facts.is_full), (version, true), "{capture}");
        assert_eq!(facts.entity, "sip:lamp0@127.0.0.1:5070", "{capture}");
        let [dialog] = facts.dialogs.as_slice() else { panic!("{capture}: one dialog") };
        assert_eq!(
            (dialog.id.as_str(), dialog.state.as_str(), dialog.direction.as_str()),
            ("lamp0", state, direction),
            "{capture}"
        );
        assert_eq!(dialog.rendering_no, is_held, "{capture}");
    }
    let early = DialogInfoFacts::parse(&body("notify-dialog-early")).unwrap();
    assert_eq!(early.dialogs[0].local.identity, "sip:lamp0@127.0.0.1:5070");
}

#[test]
fn schema_valid_dialog_info_is_read() {
    let document = br#"<?xml version="1.0"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="17" state="partial" entity="sip:2000@example.com">
 <dialog id="as7d900as8" call-id="a84b4c76e66710" local-tag="1928301774" remote-tag="456248" direction="initiator">
  <state event="rejected" code="486">terminated</state><duration>274</duration>
  <local><identity display="Two &quot;K&quot;">sip:2000@example.com</identity>
   <target uri="sip:2000@h1"><param pname="+sip.rendering" pval="no"/><param pname="x" pval="no"/></target></local>
  <remote><identity> sip:3000@example.com </identity><target uri="sip:3000@h2"/></remote>
 </dialog>
 <dialog id="second"><state>trying</state></dialog>
</dialog-info>"#;
    let facts = DialogInfoFacts::parse(document).unwrap();
    assert_eq!((facts.version, facts.is_full, facts.dialogs.len()), (17, false, 2));
    let first = &facts.dialogs[0];
    assert_eq!((first.state.as_str(), first.direction.as_str()), ("terminated", "initiator"));
    assert_eq!(first.call_id.as_deref(), Some("a84b4c76e66710"));
    assert_eq!(
        (first.local_tag.as_deref(), first.remote_tag.as_deref()),
        (Some("1928301774"), Some("456248"))
    );
    assert_eq!((first.local.display.as_str(), first.rendering_no), ("Two \"K\"", true));
    assert_eq!(
        (first.remote.identity.as_str(), first.remote.target.as_str()),
        ("sip:3000@example.com", "sip:3000@h2")
    );
    assert_eq!((facts.dialogs[1].state.as_str(), facts.dialogs[1].rendering_no), ("trying", false));
}

#[test]
fn another_or_incomplete_document_is_refused_by_name() {
    let pidf = "urn:ietf:params:xml:ns:pidf";
    for (document, want) in [
        (
            "<presence entity=\"sip:a@b\"/>".to_owned(),
            FactsError::WrongRoot { expected: "PIDF presence" },
        ),
        (format!("<presence xmlns=\"{pidf}\"/>"), FactsError::Missing { what: "presence entity" }),
        (
            format!(
                "<presence xmlns=\"{pidf}\" entity=\"sip:a@b\"><tuple id=\"1\"><status>\
                 <basic>maybe</basic></status></tuple></presence>"
            ),
            FactsError::Missing { what: "basic status" },
        ),
    ] {
        assert_eq!(PidfFacts::parse(document.as_bytes()), Err(want), "{document}");
    }
    let no_state = "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"1\" \
                    state=\"full\" entity=\"sip:a@b\"><dialog id=\"1\"/></dialog-info>";
    let want = FactsError::Missing { what: "dialog state" };
    assert_eq!(DialogInfoFacts::parse(no_state.as_bytes()), Err(want));
    assert!(XpidfFacts::parse(b"<presence/>").is_err());
}

/// Reads a document to its end; the elements and text it had.
fn read(document: &[u8]) -> Result<String, XmlProblem> {
    let mut reader = XmlReader::new(document).map_err(|error| error.problem)?;
    let mut seen = String::new();
    loop {
        match reader.next_event().map_err(|error| error.problem)? {
            XmlEvent::Start(element) => {
                seen.push_str(&format!("<{}|{}", element.namespace, element.local));
                for attribute in &element.attributes {
                    seen.push_str(&format!(
                        " {}|{}={}",
                        attribute.namespace, attribute.local, attribute.value
                    ));
                }
                seen.push('>');
            }
            XmlEvent::Text(text) => seen.push_str(text),
            XmlEvent::End => seen.push_str("</>"),
            XmlEvent::Done => return Ok(seen),
        }
    }
}

#[test]
fn the_guard_refuses_what_is_no_xml_document() {
    use XmlProblem as P;
    let deep = |count: usize| "<a>".repeat(count) + &"</a>".repeat(count);
    let attributes = |count: usize| {
        let list: String = (0..count).map(|n| format!(" a{n}=\"\"")).collect();
        format!("<r{list}/>")
    };
    for (document, want) in [
        ("<r>a&lt;&#65;&#x42;<![CDATA[<c>]]></r>".to_owned(), Ok("<|r>a<AB<c></>")),
        ("\u{FEFF}<?xml version='1.0'?><!-- c --><r/>\n".to_owned(), Ok("<|r></>")),
        ("<p:r xmlns:p='u' p:x='1' x='2'/>".to_owned(), Ok("<u|r u|x=1 |x=2></>")),
        ("<r x='a\nb&#10;c'/>".to_owned(), Ok("<|r |x=a b\nc></>")),
        ("<!DOCTYPE r><r/>".to_owned(), Err(P::Doctype)),
        (
            "<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><r>&x;</r>".to_owned(),
            Err(P::Doctype),
        ),
        ("<r>&x;</r>".to_owned(), Err(P::Entity)),
        ("<r x='&x;'/>".to_owned(), Err(P::Entity)),
        ("<r>&nbsp;</r>".to_owned(), Err(P::Entity)),
        ("<r>&#0;</r>".to_owned(), Err(P::Entity)),
        ("<r>&#1;</r>".to_owned(), Err(P::IllegalCharacter)),
        ("<r x='&#xFFFE;'/>".to_owned(), Err(P::IllegalCharacter)),
        ("<r>\0</r>".to_owned(), Err(P::IllegalCharacter)),
        (String::new(), Err(P::NotOneRoot)),
        ("  <!-- only --> ".to_owned(), Err(P::NotOneRoot)),
        ("<r/><r/>".to_owned(), Err(P::NotOneRoot)),
        ("<r/>text".to_owned(), Err(P::NotOneRoot)),
        ("text<r/>".to_owned(), Err(P::NotOneRoot)),
        ("<r/>&amp;".to_owned(), Err(P::NotOneRoot)),
        ("<r>".to_owned(), Err(P::NotOneRoot)),
        ("<r></q>".to_owned(), Err(P::NotWellFormed)),
        ("</r>".to_owned(), Err(P::NotWellFormed)),
        ("<r".to_owned(), Err(P::NotWellFormed)),
        ("<r>a ]]> b</r>".to_owned(), Err(P::NotWellFormed)),
        ("<r x='<'/>".to_owned(), Err(P::NotWellFormed)),
        ("<r x/>".to_owned(), Err(P::NotWellFormed)),
        ("<r><!-- a -- b --></r>".to_owned(), Err(P::NotWellFormed)),
        ("<1/>".to_owned(), Err(P::NotWellFormed)),
        ("<r> <?xml version='1.0'?></r>".to_owned(), Err(P::LateDeclaration)),
        ("<p:r/>".to_owned(), Err(P::UndeclaredPrefix)),
        ("<r p:x='1'/>".to_owned(), Err(P::UndeclaredPrefix)),
        ("<r x='1' x='2'/>".to_owned(), Err(P::DuplicateAttribute)),
        ("<r xmlns:a='u' xmlns:b='u' a:x='1' b:x='2'/>".to_owned(), Err(P::DuplicateAttribute)),
        (deep(65), Err(P::TooDeep)),
        (attributes(65), Err(P::TooManyAttributes)),
        (format!("<r>{}</r>", "<a/>".repeat(10_000)), Err(P::TooManyEvents)),
        (format!("<r>{}</r>", " ".repeat(65_536)), Err(P::TooLarge)),
    ] {
        let got = read(document.as_bytes());
        let shown: String = document.chars().take(70).collect();
        assert_eq!(got.as_ref().map(String::as_str), want.as_ref().copied(), "{shown}");
    }
    assert!(read(deep(64).as_bytes()).is_ok());
    assert!(read(attributes(64).as_bytes()).is_ok());
    assert_eq!(read(b"<r>\xff</r>"), Err(P::NotUtf8));
}

#[test]
fn escaped_text_reads_back_as_itself() {
    let mut random = fastrand::Rng::with_seed(7);
    for case in 0..2_000 {
        let text: String = (0..random.usize(0..40)).map(|_| random.char('\0'..'\u{2FF}')).collect();
        let mut document = b"<r x=\"".to_vec();
        push_xml(&mut document, text.as_bytes());
        document.extend_from_slice(b"\">");
        push_xml(&mut document, text.as_bytes());
        document.extend_from_slice(b"</r>");
        let legal: String = text
            .chars()
            .map(|c| if c < ' ' && !matches!(c, '\t' | '\n' | '\r') { '\u{FFFD}' } else { c })
            .collect();
        assert_eq!(read(&document), Ok(format!("<|r |x={legal}>{legal}</>")), "case {case}");
    }
}
