//! List bodies: every recorded list NOTIFY, and what multipart and RLMI must refuse.

use std::collections::HashSet;

use lampfield_wire::{
    DialogInfoFacts, FactsError, Framing, HeaderError, HeaderName, InstanceState, Message,
    Multipart, MultipartError, Part, PidfFacts, RlmiFacts, RlmiName, XpidfFacts,
};

use crate::captures::folder;

/// A list body with everything in it, checked to belong together.
struct List {
    rlmi: RlmiFacts,
    /// Per member its URI and what its part says; members of lists below are in their place.
    lamps: Vec<(String, String)>,
    nested: Vec<List>,
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// What one leaf document says, and whom it is about.
fn lamp(part: &Part<'_>) -> (String, String) {
    if part.is("application/pidf+xml") {
        let facts = PidfFacts::parse(part.body).unwrap();
        let digium = facts.digium.filter(|digium| digium.kind != "not_set");
        let supplement = digium.map(|d| format!(" {},{},{}", d.kind, d.subtype, d.message));
        (facts.entity, facts.note.unwrap() + &supplement.unwrap_or_default())
    } else if part.is("application/xpidf+xml") {
        let facts = XpidfFacts::parse(part.body).unwrap();
        (facts.presentity, facts.substatus)
    } else {
        assert!(part.is("Application/Dialog-Info+XML"), "{:?}", part.content_type.map(text));
        let facts = DialogInfoFacts::parse(part.body).unwrap();
        (facts.entity, facts.dialogs[0].state.clone())
    }
}

fn read_list(multipart: &Multipart<'_>, body: &[u8], is_final: bool) -> List {
    assert_eq!(multipart.root_type, Some(&b"application/rlmi+xml"[..]));
    let parts: Vec<Part<'_>> = multipart.parts(body).collect::<Result<_, _>>().unwrap();
    assert!(multipart.is_root(0, &parts[0]) && parts[0].is("application/rlmi+xml"));
    for part in &parts {
        assert_eq!(part.content_length, Some(part.body.len()));
    }
    let rlmi = RlmiFacts::parse(parts[0].body).unwrap();
    let (mut lamps, mut nested, mut cids) = (Vec::new(), Vec::new(), HashSet::new());
    assert_eq!(parts.len(), rlmi.resources.len() + 1, "{}", rlmi.uri);
    for resource in &rlmi.resources {
        let [instance] = resource.instances.as_slice() else { panic!("{}", resource.uri) };
        let state = if is_final { InstanceState::Terminated } else { InstanceState::Active };
        assert_eq!((instance.state, instance.id.len()), (state, 5));
        let cid = instance.cid.as_deref().unwrap();
        assert!(cids.insert(cid.to_owned()), "{cid} twice");
        let named: Vec<_> =
            parts.iter().filter(|part| part.content_id == Some(cid.as_bytes())).collect();
        let [part] = named.as_slice() else { panic!("{} parts with {cid}", named.len()) };
        if part.is("multipart/related") {
            let inner = multipart.nested(part).unwrap();
            nested.push(read_list(&inner, part.body, is_final));
            lamps.extend_from_slice(&nested.last().unwrap().lamps);
        } else {
            let (entity, lamp) = lamp(part);
            assert_eq!(entity, resource.uri);
            lamps.push((entity, lamp));
        }
    }
    List { rlmi, lamps, nested }
}

/// The recorded list NOTIFYs: name of the capture, the list.
fn recorded() -> Vec<(String, List)> {
    let read = |(name, bytes): (String, Vec<u8>)| {
        let message = Message::scan(&bytes, Framing::Stream).unwrap();
        let content_type = message.header(HeaderName::ContentType).unwrap();
        let multipart = Multipart::from_content_type(content_type).unwrap();
        let list = read_list(&multipart, message.body(), name.contains("-final"));
        (name, list)
    };
    folder("lists").into_iter().map(read).collect()
}

#[test]
fn every_recorded_list_holds_together() {
    let lists = recorded();
    assert_eq!(lists.len(), 45);
    for (name, list) in lists {
        // The name of a capture: trace, list, version, full or partial, more.
        let told: Vec<&str> = name.split('-').collect();
        let (user, version) = (told[1], told[2][1..].parse().unwrap());
        let rlmi = &list.rlmi;
        assert_eq!(rlmi.uri, format!("sip:{user}@127.0.0.1:5070"), "{name}");
        assert_eq!((rlmi.version, rlmi.is_full), (version, told[3] == "full"), "{name}");
        assert_eq!(rlmi.names, [RlmiName { lang: None, text: user.to_owned() }], "{name}");
        assert_eq!(rlmi.cid, None, "{name}");
        let member_count = match (rlmi.is_full, user) {
            (false, "plb5") => 3,
            (false, _) | (true, "plloop") => 1,
            (true, "plbad") => 2,
            (true, "plnest") => 6,
            (true, "pl20") => 20,
            (true, "pl50" | "dl50") => 50,
            (true, _) => 5,
        };
        assert_eq!(list.lamps.len(), member_count, "{name}");
        for resource in &rlmi.resources {
            let user = resource.uri.strip_prefix("sip:").unwrap().split('@').next().unwrap();
            assert_eq!(resource.names[0].text, user, "{name}");
        }
    }
}

#[test]
fn recorded_changes_tell_the_changed_lamps() {
    let lists = recorded();
    for (name, want) in [
        ("10-pl5-v01-partial", "lamp2 On the phone"),
        ("10-pl5-v02-partial", "lamp1 Ringing"),
        ("10-pl5-v03-partial", "lamp3 On the phone"),
        (
            "10-pl5-v04-full",
            "lamp0 Ready, lamp1 Ringing, lamp2 On the phone, lamp3 On the phone, lamp4 Ready",
        ),
        ("10-pl5-v01-partial-2", "lamp1 Ready away,at-home,sick"),
        (
            "10-pl5-v00-full-4",
            "lamp0 online, lamp1 online, lamp2 online, lamp3 online, lamp4 online",
        ),
        ("10-dl5-v01-partial", "lamp2 confirmed"),
        ("10-dl5-v02-partial", "lamp2 terminated"),
        ("10-plbad-v00-full", "lamp0 Ready, lamp1 Ready"),
        ("10-plloop-v00-full", "lamp0 Ready"),
        ("10-plnest-v01-partial", "lamp2 On the phone"),
        (
            "10-plnest-v03-full-final",
            "lamp0 Ready, lamp1 Ready, lamp2 Ready, lamp3 Ready, lamp4 Ready, 2000 Unavailable",
        ),
        ("11-plb5-v01-partial", "lamp1 Ready, lamp2 Ringing, lamp3 On the phone"),
        ("12-pl50-v01-partial", "lamp2 On the phone"),
    ] {
        let (_, list) = lists.iter().find(|(found, _)| found == name).unwrap();
        let lamp = |(uri, lamp): &(String, String)| {
            format!("{} {lamp}", uri.strip_prefix("sip:").unwrap().split('@').next().unwrap())
        };
        assert_eq!(list.lamps.iter().map(lamp).collect::<Vec<_>>().join(", "), want, "{name}");
    }
    let (_, outer) = lists.iter().find(|(name, _)| name == "10-plnest-v02-partial").unwrap();
    let [inner] = outer.nested.as_slice() else { panic!("one list below") };
    assert_eq!((inner.rlmi.version, inner.rlmi.is_full), (2, false));
}

/// The bodies of the parts, or the first error.
fn split<'a>(content_type: &'a str, body: &'a str) -> Result<Vec<&'a str>, MultipartError> {
    let multipart = Multipart::from_content_type(content_type.as_bytes())?;
    multipart.parts(body.as_bytes()).map(|part| Ok(text(part?.body))).collect()
}

#[test]
fn parts_are_cut_at_delimiter_lines_only() {
    for (body, want) in [
        ("--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", &["one", "two"][..]),
        ("\r\n--b\r\n\r\none\r\n--b--", &["one"]),
        ("preamble\r\n--b\r\n\r\none\r\n--b--\r\nepilogue\r\n--b\r\n\r\nno\r\n--b--", &["one"]),
        ("--b \t\r\n\r\none\r\n--b-- \r\n", &["one"]),
        ("--b\r\nA: b\r\n\r\none\r\n--b--", &["one"]),
        ("--b\r\nA: b\r\n--b--", &[""]),
        ("--b\r\n\r\n\r\n--b--", &[""]),
        ("--b\r\n\r\n--b--", &[""]),
        ("--b\r\n--b--", &[""]),
        ("--b\r\n\r\n\r\n\r\n--b--", &["\r\n"]),
        // Inside a line, at the start of a longer line, or behind another line end: content.
        (
            "--b\r\n\r\na --b\r\n--bc\r\n--b-\r\n--b\r\n\r\n2\r\n--b--",
            &["a --b\r\n--bc\r\n--b-", "2"],
        ),
        ("--b\r\n\r\na\n--b\r\nb\r\n--b\nc\r\n--b--", &["a\n--b\r\nb\r\n--b\nc"]),
        ("--b\r\n\r\na\r\n --b--\r\n--b--", &["a\r\n --b--"]),
        // LF alone all the way.
        ("\n--b\nA: b\n\none\n\n--b\n\ntwo\n--b--\n", &["one\n", "two"]),
    ] {
        let got = split("multipart/mixed;boundary=b", body);
        assert_eq!(got.as_deref(), Ok(want), "{body:?}");
    }
}

#[test]
fn the_content_type_of_a_multipart_is_read_or_refused_by_name() {
    let body = "--=_a/b:1\r\n\r\none\r\n--=_a/b:1--";
    for content_type in [
        "multipart/related;type=\"application/rlmi+xml\";boundary=\"=_a/b:1\"",
        "Multipart/Mixed ; BOUNDARY = =_a/b:1",
        "multipart/mixed;x=\"boundary=no;\";\r\n boundary=\"=_a/b:1\"",
    ] {
        assert_eq!(split(content_type, body).as_deref(), Ok(&["one"][..]), "{content_type}");
    }
    let no_type = HeaderError { what: "media type is not type/subtype", at: 0 };
    let boundary = |what| MultipartError::Boundary { what };
    let long = format!("multipart/mixed;boundary={}", "b".repeat(71));
    for (content_type, want) in [
        ("application/pidf+xml;boundary=b", MultipartError::NotMultipart),
        ("multipart", MultipartError::ContentType(no_type)),
        ("multipart/related", boundary("is missing in Content-Type")),
        ("multipart/related;boundary", boundary("is empty")),
        ("multipart/related;boundary=\"\"", boundary("is empty")),
        ("multipart/related;boundary=\"a \"", boundary("ends in a blank")),
        ("multipart/related;boundary=a;boundary=a", boundary("is given twice")),
        ("multipart/related;boundary=\"a\\b\"", boundary("has a byte that is not allowed")),
        (long.as_str(), boundary("is longer than 70 bytes")),
    ] {
        assert_eq!(split(content_type, body), Err(want), "{content_type}");
    }
    let content_type = b"multipart/related;boundary=b;start=\"<root@h>\"";
    let multipart = Multipart::from_content_type(content_type).unwrap();
    let body = b"--b\r\nContent-ID: <leaf@h>\r\n\r\n1\r\n--b\r\ncontent-id:\r\n <root@h>\r\n\r\n2\r\n--b--";
    let roots = multipart.parts(body).map(Result::unwrap).enumerate();
    let roots: Vec<bool> = roots.map(|(index, part)| multipart.is_root(index, &part)).collect();
    assert_eq!(roots, [false, true]);
}

#[test]
fn broken_multipart_bodies_are_refused_by_name() {
    let head = |head: &str| format!("--b\r\n\r\n\r\n--b\r\n{head}\r\n\r\nx\r\n--b--");
    let at = 14;
    for (body, want) in [
        (String::new(), MultipartError::NoPart),
        ("--b--\r\n".to_owned(), MultipartError::NoPart),
        ("--c\r\n\r\n--c--".to_owned(), MultipartError::NoPart),
        ("--b\r\n\r\none\r\n".to_owned(), MultipartError::Unclosed { at: 5 }),
        ("--b\r\n\r\none\r\n--b".to_owned(), MultipartError::Unclosed { at: 5 }),
        ("--b".to_owned(), MultipartError::NoPart),
        // The first delimiter decides what a line end is.
        ("--b\r\n\r\none\r\n--b--\n".to_owned(), MultipartError::Unclosed { at: 5 }),
        ("--b\n\none\n--b--\r\n".to_owned(), MultipartError::Unclosed { at: 4 }),
        (head("no colon"), MultipartError::HeaderLine { at }),
        (head(" folded: first"), MultipartError::HeaderLine { at }),
        (head(": no name"), MultipartError::HeaderLine { at }),
        (head("A: b\nB: c"), MultipartError::HeaderLine { at }),
        (head("Content-Length: 1x"), MultipartError::ContentLength { at }),
        (head("Content-Length: -1"), MultipartError::ContentLength { at }),
        (
            head("Content-ID: <a>\r\nContent-Id: <a>"),
            MultipartError::DuplicateHeader { name: "Content-ID", at: at + 17 },
        ),
        (
            head("Content-Length: 1\r\nContent-Length: 1"),
            MultipartError::DuplicateHeader { name: "Content-Length", at: at + 19 },
        ),
        (head(&"A: b\r\n".repeat(17)), MultipartError::HeadTooLarge { at }),
        (head(&format!("A: {}", "b".repeat(2048))), MultipartError::HeadTooLarge { at }),
        ("--b\r\n\r\n".repeat(1_025) + "--b--", MultipartError::TooManyParts { at: 1_024 * 7 + 5 }),
    ] {
        let got = split("multipart/mixed;boundary=b", &body);
        let shown: String = body.chars().take(60).collect();
        assert_eq!(got, Err(want), "{shown:?}");
    }
    let multipart = Multipart::from_content_type(b"multipart/mixed;boundary=b").unwrap();
    let mut parts = multipart.parts(b"--b\r\nbroken\r\n--b\r\n\r\n\r\n--b--");
    assert!(parts.next().unwrap().is_err() && parts.next().is_none(), "nothing after an error");
}

#[test]
fn nesting_ends_at_its_bound() {
    let content_type = b"multipart/mixed;boundary=b";
    let part = Part { content_type: Some(content_type), ..Part::default() };
    let mut multipart = Multipart::from_content_type(content_type).unwrap();
    for _ in 1..8 {
        multipart = multipart.nested(&part).unwrap();
    }
    assert_eq!(multipart.nested(&part), Err(MultipartError::TooDeep));
    assert_eq!(multipart.nested(&Part::default()), Err(MultipartError::NotMultipart));
}

#[test]
fn schema_valid_rlmi_is_read() {
    // Every element and attribute of RFC 4662 section 5, and what must be passed over.
    let document = br#"<?xml version="1.0"?>
<l:list xmlns:l="urn:ietf:params:xml:ns:rlmi" xmlns:x="urn:x" uri="sip:friends@example.com"
  x:version="7" version=" 4294967295 " fullState="1" cid="meta@example.com" x:more="1">
 <l:name xml:lang="en">Work &amp; <x:b>no</x:b>play </l:name><l:name xml:lang="de">Arbeit</l:name>
 <x:list uri="sip:no@example.com"><l:resource uri="sip:no@example.com"/></x:list>
 <l:resource uri="sip:bob@example.com"><l:name>Bob</l:name>
  <l:instance id="a" state="active" cid="bob@example.com"><x:y/></l:instance>
  <l:instance id="b" state="pending"/>
  <l:instance id="c" state="terminated" reason="noresource"/></l:resource>
 <l:resource uri="tel:+1201"/>
</l:list>"#;
    let facts = RlmiFacts::parse(document).unwrap();
    assert_eq!((facts.uri.as_str(), facts.version), ("sip:friends@example.com", u32::MAX));
    assert_eq!((facts.is_full, facts.cid.as_deref()), (true, Some("meta@example.com")));
    let name = |lang: &str, text: &str| RlmiName { lang: Some(lang.into()), text: text.into() };
    assert_eq!(facts.names, [name("en", "Work & play"), name("de", "Arbeit")]);
    let [bob, other] = facts.resources.as_slice() else { panic!("two members") };
    assert_eq!((bob.uri.as_str(), bob.names[0].text.as_str()), ("sip:bob@example.com", "Bob"));
    let instances: Vec<_> = bob
        .instances
        .iter()
        .map(|i| (i.id.as_str(), i.state.as_str(), i.reason.as_deref(), i.cid.as_deref()))
        .collect();
    assert_eq!(
        instances,
        [
            ("a", "active", None, Some("bob@example.com")),
            ("b", "pending", None, None),
            ("c", "terminated", Some("noresource"), None),
        ]
    );
    assert_eq!((other.uri.as_str(), other.names.len(), other.instances.len()), ("tel:+1201", 0, 0));
}

#[test]
fn rlmi_without_what_it_needs_is_refused_by_name() {
    let list = "uri=\"sip:l@h\" version=\"0\" fullState=\"true\"";
    let resource = "<resource uri=\"sip:a@h\">";
    for (attributes, inside, what) in [
        ("version=\"0\" fullState=\"true\"", String::new(), "uri of list"),
        ("uri=\" \" version=\"0\" fullState=\"true\"", String::new(), "uri of list"),
        ("uri=\"sip:l@h\" fullState=\"true\"", String::new(), "version of list"),
        ("uri=\"u\" version=\"-1\" fullState=\"true\"", String::new(), "version of list"),
        ("uri=\"u\" version=\"4294967296\" fullState=\"true\"", String::new(), "version of list"),
        ("uri=\"u\" version=\"0\"", String::new(), "fullState of list"),
        ("uri=\"u\" version=\"0\" fullState=\"True\"", String::new(), "fullState of list"),
        (list, "<resource/>".to_owned(), "uri of resource"),
        (list, format!("{resource}<instance state=\"active\"/></resource>"), "id of instance"),
        (list, format!("{resource}<instance id=\"1\"/></resource>"), "state of instance"),
        (
            list,
            format!("{resource}<instance id=\"1\" state=\"done\"/></resource><resource/>"),
            "state of instance",
        ),
    ] {
        let document =
            format!("<list xmlns=\"urn:ietf:params:xml:ns:rlmi\" {attributes}>{inside}</list>");
        let want = Err(FactsError::Missing { what });
        assert_eq!(RlmiFacts::parse(document.as_bytes()), want, "{document}");
    }
    let other = format!("<list {list}/>");
    let want = FactsError::WrongRoot { expected: "RLMI list" };
    assert_eq!(RlmiFacts::parse(other.as_bytes()), Err(want));
}
