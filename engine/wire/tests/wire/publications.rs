//! What publishers write: presence and dialog documents, as an event state compositor reads them.

use lampfield_wire::{
    Basic, DialogInfoFacts, FactsError, Framing, Message, PresenceDocument, XmlProblem, limits,
};

use crate::captures::asterisk;

const HEAD: &str = "<presence xmlns='urn:ietf:params:xml:ns:pidf' \
     xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
     xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:2000@example.com'>";

fn presence(inner: &str) -> Result<PresenceDocument, FactsError> {
    PresenceDocument::parse(format!("{HEAD}{inner}</presence>").as_bytes())
}

fn dialogs(attributes: &str, inner: &str) -> Result<DialogInfoFacts, FactsError> {
    let document = format!(
        "<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info' {attributes}>{inner}</dialog-info>"
    );
    DialogInfoFacts::parse_published(document.as_bytes())
}

#[test]
fn every_tuple_and_person_is_told_apart() {
    let document = presence(
        "<tuple id='t1'><status><basic> open </basic></status><note>one</note><note>two</note></tuple>\
         <tuple id='t2'><status><basic>closed</basic></status></tuple><tuple id='t3'><status/></tuple>\
         <note>all</note>\
         <dm:person id='p1'><r:activities><r:note>why</r:note><r:meeting/><r:on-the-phone/>\
         </r:activities></dm:person>\
         <dm:person id='p2'><r:activities><r:away/></r:activities><dm:note>gone</dm:note></dm:person>",
    )
    .unwrap();
    let tuples: Vec<_> =
        document.tuples.iter().map(|t| (&*t.id, t.basic, t.note.as_deref())).collect();
    let want = [
        ("t1", Some(Basic::Open), Some("one")),
        ("t2", Some(Basic::Closed), None),
        ("t3", None, None),
    ];
    assert_eq!(tuples, want);
    let persons: Vec<_> = document
        .persons
        .iter()
        .map(|p| (&*p.id, p.activities.join("+"), p.note.as_deref()))
        .collect();
    let want = [
        ("p1", "meeting+on-the-phone".to_owned(), Some("why")),
        ("p2", "away".to_owned(), Some("gone")),
    ];
    assert_eq!(persons, want);
    assert_eq!((document.note.as_deref(), document.digium), (Some("all"), None));
}

#[test]
fn what_asterisk_publishes_is_what_it_notifies() {
    let bytes = asterisk("notify-digium-device-change");
    let message = Message::scan(&bytes, Framing::Datagram).unwrap();
    let document = PresenceDocument::parse(message.body()).unwrap();
    assert_eq!(document.entity, "sip:lamp0@127.0.0.1:5070");
    assert_eq!((document.tuples.len(), document.tuples[0].basic), (1, Some(Basic::Open)));
    assert_eq!(document.persons[0].id, "", "Asterisk's person has no id");
    assert_eq!(document.persons[0].activities, ["on-the-phone"]);
    assert_eq!(document.note.as_deref(), Some("On the phone"));
    let digium = document.digium.unwrap();
    assert_eq!((&*digium.kind, &*digium.subtype), ("away", "<s&'t>"));
}

#[test]
fn a_presence_document_that_cannot_be_put_together_with_others_is_refused() {
    let twice = |what| Err(FactsError::Twice { what });
    let many = |what, max| Err(FactsError::TooMany { what, max });
    let tuples = |count: usize| {
        let one = |n| format!("<tuple id='t{n}'><status/></tuple>");
        (0..count).map(one).collect::<String>()
    };
    let (max, person_max) = (limits::PRESENCE_TUPLE_COUNT_MAX, limits::PRESENCE_PERSON_COUNT_MAX);
    let activity_max = limits::PRESENCE_ACTIVITY_COUNT_MAX;
    let activities = |count| {
        let inner = "<r:away/>".repeat(count);
        format!("<dm:person><r:activities>{inner}</r:activities></dm:person>")
    };
    for (inner, want) in [
        ("<tuple id='a'/><tuple id='a'/>".to_owned(), twice("tuple id")),
        ("<dm:person id='a'/><dm:person id='a'/>".to_owned(), twice("person id")),
        (
            "<tuple id='a'><status><basic>ajar</basic></status></tuple>".to_owned(),
            Err(FactsError::Missing { what: "basic status" }),
        ),
        (tuples(max + 1), many("tuples", max)),
        ("<dm:person/>".repeat(person_max + 1), many("persons", person_max)),
        (activities(activity_max + 1), many("activities", activity_max)),
    ] {
        assert_eq!(presence(&inner), want, "{inner:.80}");
    }
    for inner in [
        String::new(),
        "<tuple/><tuple/>".to_owned(),
        "<dm:person/><dm:person/>".to_owned(),
        "<tuple id='a'/><dm:person id='a'/>".to_owned(),
        tuples(max),
        activities(activity_max),
    ] {
        assert!(presence(&inner).is_ok(), "{inner:.80}");
    }
}

#[test]
fn foreign_deep_and_huge_documents_are_refused() {
    let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
    for (document, want) in [
        ("<presence entity='sip:a@b'/>".to_owned(), "root element is not presence"),
        ("<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info'/>".to_owned(), "root element"),
        ("<presence xmlns='urn:ietf:params:xml:ns:pidf'/>".to_owned(), "presence entity"),
        (format!("{HEAD}{deep}</presence>"), "nested deeper"),
        (format!("{HEAD}{}</presence>", " ".repeat(70_000)), "larger than"),
        (format!("{HEAD}<note>"), "not exactly one closed root"),
        (format!("<!DOCTYPE presence>{HEAD}</presence>"), "DOCTYPE"),
        (String::new(), "not exactly one closed root"),
    ] {
        let error = PresenceDocument::parse(document.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(want), "{error} instead of {want}: {document:.60}");
    }
    let deep = dialogs("entity='sip:a@b'", &deep).unwrap_err();
    assert!(matches!(deep, FactsError::Xml(error) if error.problem == XmlProblem::TooDeep));
}

#[test]
fn a_proxys_dialogs_are_read_without_version_and_state() {
    let one = "<dialog id='c.0a' call-id='c' local-tag='l' remote-tag='r' direction='recipient'>\
               <state> early </state><remote><identity display='Bob'>sip:bob@h</identity></remote></dialog>";
    for (attributes, version, is_full) in [
        ("entity='sip:2000@h'", 0, true),
        ("entity='sip:2000@h' state='partial'", 0, false),
        ("entity='sip:2000@h' version='7' state='full'", 7, true),
    ] {
        let info = dialogs(attributes, one).unwrap();
        assert_eq!((info.version, info.is_full), (version, is_full), "{attributes}");
        let dialog = &info.dialogs[0];
        assert_eq!(
            (&*dialog.id, &*dialog.state, &*dialog.direction),
            ("c.0a", "early", "recipient")
        );
        assert_eq!((&*dialog.remote.identity, &*dialog.remote.display), ("sip:bob@h", "Bob"));
    }
    let missing = |what| FactsError::Missing { what };
    let entity = "entity='sip:a@b'";
    let max = limits::DIALOG_COUNT_MAX;
    let many: String =
        (0..=max).map(|n| format!("<dialog id='{n}'><state>early</state></dialog>")).collect();
    for (attributes, inner, want) in [
        ("entity=''", one, missing("dialog-info entity")),
        ("entity='sip:a@b' version='x'", one, missing("dialog-info version")),
        ("entity='sip:a@b' state='some'", one, missing("dialog-info state")),
        (entity, "<dialog id='a'><state>odd</state></dialog>", missing("dialog state")),
        (entity, "<dialog id='a'/>", missing("dialog state")),
        (entity, &format!("{one}{one}"), FactsError::Twice { what: "dialog id" }),
        (entity, &many, FactsError::TooMany { what: "dialogs", max }),
    ] {
        assert_eq!(dialogs(attributes, inner), Err(want), "{attributes} {inner:.60}");
    }
}

#[test]
fn kamailio_says_trying_with_a_capital_and_names_the_other_side_in_the_target() {
    let facts = dialogs(
        "version='0' state='full' entity='sip:1@h'",
        "<dialog id='a' direction='initiator'><state>Trying</state><remote>\
         <identity>sip:2@h</identity><target display='Bob' uri='sip:2@h:5'/></remote></dialog>\
         <dialog id='b'><state>early</state><remote><identity display='Ann'>sip:3@h</identity>\
         <target display='3' uri='sip:3@h:5'/></remote></dialog>",
    )
    .unwrap();
    let rows: Vec<_> =
        facts.dialogs.iter().map(|d| (&*d.state, &*d.remote.display, &*d.remote.target)).collect();
    assert_eq!(rows, [("trying", "Bob", "sip:2@h:5"), ("early", "Ann", "sip:3@h:5")]);
}

#[test]
fn baresip_publishes_a_status_it_does_not_know() {
    let document = presence(
        "<dm:person id='p4159'><r:activities/></dm:person>\
         <tuple id='t4109'><status><basic>unknown</basic></status></tuple>",
    )
    .unwrap();
    assert_eq!((document.tuples[0].basic, document.persons.len()), (None, 1));
}
