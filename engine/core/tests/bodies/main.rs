//! NOTIFY bodies against the traffic of a real Asterisk, against the RFCs' schemas, and against
//! themselves: a patched document equals a rendered one.

mod calls;
mod schema;
mod xml;

use lampfield_core::body::{Body, Format, Shown, Update, View};
use lampfield_core::config::Dialect;
use lampfield_core::state::{ExtensionState, Presence, PresenceState};
use proptest::prelude::*;
use xml::Element;

const CAPTURES: &str = include_str!("../captures/bodies.txt");
const WATCHER: &str = "sip:w1@127.0.0.1";
const ENTITY: &str = "sip:lamp0@127.0.0.1:5070";
const STATES: [ExtensionState; 7] = [
    ExtensionState::Idle,
    ExtensionState::InUse,
    ExtensionState::Busy,
    ExtensionState::Unavailable,
    ExtensionState::Ringing,
    ExtensionState::InUseRinging,
    ExtensionState::OnHold,
];
const FORMATS: [Format; 4] = [Format::Pidf, Format::Xpidf, Format::CpimPidf, Format::DialogInfo];

fn view(format: Format, dialect: Dialect, digium: bool) -> View<'static> {
    let (exten, entity) = ("lamp0", ENTITY);
    View {
        format,
        dialect,
        digium,
        early_inuse_ringing: false,
        single_dialog: false,
        exten,
        entity,
    }
}

fn presence(state: PresenceState, subtype: &str, message: &str) -> Presence {
    Presence { state, subtype: subtype.into(), message: message.into() }
}

fn text(body: &Body, version: u32) -> String {
    let mut out = Vec::new();
    body.write_for(version, WATCHER.as_bytes(), &mut out);
    assert_eq!(out.len(), body.len_for(WATCHER.as_bytes()));
    String::from_utf8(out).expect("documents are UTF-8")
}

/// Without padding, and with the part of XPIDF that differs every time masked.
fn squeezed(document: &str) -> String {
    let mut out = String::new();
    for line in document.lines() {
        let mut line = line.trim_end().to_owned();
        while let Some(at) = line.find("\"  ") {
            line.remove(at + 1);
        }
        if let Some((before, after)) = line.split_once("atomid=\"") {
            let after = after.split_once('"').expect("closing quote").1;
            line = format!("{before}atomid=\"\"{after}");
        }
        out += &line;
        out.push('\n');
    }
    out
}

#[test]
fn dialect_asterisk_writes_what_a_real_asterisk_wrote() {
    let mut count = 0;
    for capture in CAPTURES.split("==\t").skip(1) {
        let (heading, document) = capture.split_once('\n').expect("a heading and a document");
        let [format, exten, state, early, version, token, subtype, message] =
            heading.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("eight fields wanted: {heading}")
        };
        let formats = match format {
            "pidf" => &[Format::Pidf][..],
            "xpidf" => &[Format::Xpidf, Format::CpimPidf],
            _ => &[Format::DialogInfo],
        };
        let said = PresenceState::from_token(token);
        let presence = presence(said.unwrap_or_default(), subtype, message);
        let state = STATES.into_iter().find(|s| format!("{s:?}") == state).expect("a state");
        for format in formats {
            let body = Body::render(
                &View {
                    exten,
                    entity: &format!("sip:{exten}@127.0.0.1:5070"),
                    early_inuse_ringing: early == "early",
                    single_dialog: false,
                    ..view(*format, Dialect::Asterisk, said.is_some())
                },
                &Shown { state, presence: &presence, mailboxes: None, calls: &[] },
            );
            let version = version.parse().expect("a version");
            assert_eq!(
                squeezed(&text(&body, version)).trim_end(),
                squeezed(document).trim_end(),
                "{heading}"
            );
            count += 1;
        }
    }
    assert_eq!(count, 48, "captures are missing");
}

#[test]
fn dialect_rfc_snapshots() {
    let mut all = String::new();
    for (format, digium) in [
        (Format::Pidf, false),
        (Format::Pidf, true),
        (Format::Xpidf, false),
        (Format::DialogInfo, false),
    ] {
        for state in STATES {
            let away = presence(PresenceState::Away, "lunch", "R&D");
            let shown = Shown { state, presence: &away, mailboxes: None, calls: &[] };
            let body = Body::render(&view(format, Dialect::Rfc, digium), &shown);
            all += &format!("== {format:?} {state:?}\n{}", squeezed(&text(&body, 7)));
        }
    }
    insta::assert_snapshot!("dialect_rfc", all);
}

/// What a document says, whatever its shape.
fn facts(document: &str) -> Vec<String> {
    let root = Element::parse(document);
    let mut facts = vec![root.name.clone(), root.attribute("entity").to_owned()];
    let mut add = |name: &str, of: &dyn Fn(&Element) -> String| {
        facts.push(name.to_owned());
        facts.extend(root.all(name).into_iter().map(of));
    };
    for name in ["note", "basic", "state", "identity"] {
        add(name, &|element| element.text.clone());
    }
    for name in ["activities", "on-the-phone", "msnsubstatus", "presentity"] {
        add(name, &|element| format!("{:?}", element.attributes));
    }
    add("status", &|element| element.attribute("status").to_owned());
    add("target", &|element| element.attribute("uri").to_owned());
    add("dialog", &|element| format!("{:?}", element.attributes));
    add("param", &|element| element.attribute("pval").to_owned() + element.attribute("pvalue"));
    add("digium_presence", &|element| format!("{:?} {}", element.attributes, element.text));
    facts
}

#[test]
fn both_dialects_say_the_same_and_dialect_rfc_is_valid() {
    let dnd = presence(PresenceState::Dnd, "in a <meeting>", "until \"4\"");
    for format in FORMATS {
        for (state, digium) in STATES.into_iter().flat_map(|s| [(s, false), (s, true)]) {
            let shown = Shown { state, presence: &dnd, mailboxes: None, calls: &[] };
            let document = |dialect| text(&Body::render(&view(format, dialect, digium), &shown), 3);
            let rfc = document(Dialect::Rfc);
            assert_eq!(facts(&document(Dialect::Asterisk)), facts(&rfc), "{format:?} {state:?}");
            if matches!(format, Format::Pidf | Format::DialogInfo) {
                let checked = schema::check(&Element::parse(&rfc));
                assert_eq!(checked, Ok(()), "{rfc}");
            }
        }
    }
}

#[test]
fn the_schema_check_refuses_what_dialect_asterisk_does_differently() {
    for (format, state) in
        [(Format::Pidf, ExtensionState::Idle), (Format::DialogInfo, ExtensionState::OnHold)]
    {
        let shown = Shown { state, presence: &Presence::default(), mailboxes: None, calls: &[] };
        let document = text(&Body::render(&view(format, Dialect::Asterisk, false), &shown), 0);
        assert!(schema::check(&Element::parse(&document)).is_err(), "{document}");
    }
}

#[test]
fn extension_names_of_any_kind_make_valid_documents() {
    for exten in ["1000", "*21", "#9", "a b", "é<&>\"'", "_x", "\u{1}\u{ffff}", &"\"".repeat(80)] {
        for format in [Format::Pidf, Format::DialogInfo] {
            let entity = format!("sip:{}@example.com", exten.replace(' ', "%20"));
            let view = View { exten, entity: &entity, ..view(format, Dialect::Rfc, true) };
            let shown = Shown {
                state: ExtensionState::Ringing,
                presence: &Presence::default(),
                mailboxes: None,
                calls: &[],
            };
            let document = text(&Body::render(&view, &shown), 0);
            assert_eq!(schema::check(&Element::parse(&document)), Ok(()), "{document}");
        }
    }
}

/// A display name of 60 KiB that grows six-fold by escaping: every text stops at its bound.
#[test]
fn long_texts_are_cut_and_the_document_stays_well_formed() {
    for long in ["\"".repeat(61_440), "é".repeat(61_440), "]]>&'".repeat(12_288)] {
        let presence = presence(PresenceState::Chat, &long, &long);
        for (format, dialect) in
            FORMATS.into_iter().flat_map(|f| [(f, Dialect::Rfc), (f, Dialect::Asterisk)])
        {
            let view = View { exten: &long, entity: &long, ..view(format, dialect, true) };
            let shown = Shown {
                state: ExtensionState::Ringing,
                presence: &presence,
                mailboxes: None,
                calls: &[],
            };
            let document = text(&Body::render(&view, &shown), 0);
            Element::parse(&document);
            assert!(document.len() < 8 * 1024, "{} bytes", document.len());
        }
    }
}

#[test]
fn xpidf_documents_of_one_body_never_share_an_atomid() {
    let view = view(Format::Xpidf, Dialect::Asterisk, false);
    let quiet = Presence::default();
    let shown = |state| Shown { state, presence: &quiet, mailboxes: None, calls: &[] };
    let atomid = |body: &Body| {
        let root = Element::parse(&text(body, 0));
        root.all("atom")[0].attribute("atomid").to_owned()
    };
    let mut body = Body::render(&view, &shown(ExtensionState::Idle));
    let mut seen = std::collections::BTreeSet::from([atomid(&body)]);
    for state in [ExtensionState::InUse, ExtensionState::Idle].repeat(20) {
        assert_eq!(body.update(&view, &shown(state)), Update::Patched);
        assert!(seen.insert(atomid(&body)), "{seen:?}");
        assert_eq!(body.update(&view, &shown(state)), Update::Unchanged);
        assert!(!seen.insert(atomid(&body)));
    }
}

#[test]
fn a_text_that_outgrows_its_slot_or_leaves_it_empty_renders_anew() {
    let view = view(Format::Pidf, Dialect::Asterisk, true);
    let away = |text: &str| presence(PresenceState::Away, "", text);
    let first = away("");
    let idle = ExtensionState::Idle;
    let mut body =
        Body::render(&view, &Shown { state: idle, presence: &first, mailboxes: None, calls: &[] });
    for (message, want) in [
        ("", Update::Unchanged),
        ("lunch", Update::Patched),
        (&"x".repeat(100), Update::Rendered),
        (&"x".repeat(110), Update::Patched),
        (&"y".repeat(900), Update::Rendered),
        (&"y".repeat(800), Update::Patched),
        ("", Update::Rendered),
        ("", Update::Unchanged),
    ] {
        let presence = away(message);
        let length = body.len_for(b"");
        let shown = Shown { state: idle, presence: &presence, mailboxes: None, calls: &[] };
        assert_eq!(body.update(&view, &shown), want, "{}", message.len());
        assert_eq!(want != Update::Rendered, body.len_for(b"") == length);
        assert_eq!(squeezed(&text(&body, 0)), squeezed(&text(&Body::render(&view, &shown), 0)));
    }
}

fn any_presence() -> impl Strategy<Value = Presence> {
    let text = prop_oneof![Just(String::new()), ".{0,20}", "[<&\"]{0,400}", ".{0,300}"];
    (0_usize..7, text.clone(), text).prop_map(|(state, subtype, message)| {
        presence(PresenceState::ALL[state], &subtype, &message)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn patching_equals_rendering(
        format in 0_usize..4,
        rfc in any::<bool>(),
        digium in any::<bool>(),
        early in any::<bool>(),
        steps in prop::collection::vec((0_usize..7, any_presence()), 1..12),
    ) {
        let dialect = if rfc { Dialect::Rfc } else { Dialect::Asterisk };
        let view = View { early_inuse_ringing: early, ..view(FORMATS[format], dialect, digium) };
        let quiet = Presence::default();
        let mut before = Shown { state: ExtensionState::Idle, presence: &quiet, mailboxes: None, calls: &[] };
        let mut body = Body::render(&view, &before);
        for (state, presence) in &steps {
            let shown = Shown { state: STATES[*state], presence, mailboxes: None, calls: &[] };
            let length = body.len_for(b"");
            let update = body.update(&view, &shown);
            let fresh = squeezed(&text(&Body::render(&view, &shown), 5));
            let stale = squeezed(&text(&Body::render(&view, &before), 5));
            prop_assert_eq!(&squeezed(&text(&body, 5)), &fresh);
            prop_assert_eq!(update.changed(), stale != fresh);
            prop_assert!(update == Update::Rendered || body.len_for(b"") == length);
            Element::parse(&text(&body, u32::MAX));
            before = shown;
        }
    }
}
