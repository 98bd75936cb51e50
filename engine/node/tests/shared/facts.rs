//! What a message says, apart from how it says it.

use std::collections::BTreeMap;

use lampfield_wire::header::CSeq;
use lampfield_wire::{
    DialogInfoFacts, Event, Framing, HeaderName, Message, Multipart, NameAddr, Part, PidfFacts,
    RlmiFacts, RlmiResource, SubscriptionState, Via, XpidfFacts, find_param,
};

/// The facts of a message by name, in words.
pub(crate) type Facts = BTreeMap<String, String>;

/// Reads a message and its body.
pub(crate) fn facts(bytes: &[u8]) -> Facts {
    let message = Message::scan(bytes, Framing::Datagram)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)));
    let mut facts = Facts::new();
    let mut tell = |name: &str, value: String| {
        facts.insert(name.to_owned(), value);
    };
    match message.status() {
        Some(status) => tell("status", status.to_string()),
        None => {
            tell("method", text(message.method().unwrap_or_default()));
            tell("request URI", text(message.request_uri().unwrap_or_default()));
        }
    }
    for (name, spelled, value) in message.header_lines() {
        match name {
            HeaderName::From | HeaderName::To => {
                let party = NameAddr::parse(value).expect("a name-addr");
                let spelled = text(spelled);
                tell(&spelled, without_port(&text(party.uri)));
                tell(&format!("{spelled} as written"), text(party.uri));
                tell(&format!("{spelled} tag"), text(party.tag().unwrap_or_default()));
            }
            HeaderName::Via => tell("Via", via(value, message.is_request())),
            HeaderName::CSeq => {
                tell("CSeq method", text(CSeq::parse(value).expect("a CSeq").method));
            }
            HeaderName::Event => {
                let event = Event::parse(value).expect("an event");
                tell("Event", text(event.package));
                tell("Event id", format!("{:?}", event.id.map(text)));
            }
            HeaderName::SubscriptionState => {
                let state = SubscriptionState::parse(value).expect("a state");
                tell("Subscription-State", text(state.state));
                tell("Subscription-State expires", format!("{:?}", state.expires));
                tell("Subscription-State reason", format!("{:?}", state.reason.map(text)));
            }
            HeaderName::ContentLength => assert_eq!(text(value), message.body().len().to_string()),
            HeaderName::WwwAuthenticate => challenge(&text(value), &mut tell),
            HeaderName::ContentType => tell("Content-Type", without_boundary(value)),
            _ => tell(&text(spelled), text(value)),
        }
    }
    if !message.body().is_empty() {
        let media_type = text(message.header(HeaderName::ContentType).expect("a Content-Type"));
        match Multipart::from_content_type(media_type.as_bytes()) {
            Ok(multipart) => list(&multipart, message.body(), &mut tell),
            Err(_) => document(&media_type, message.body(), &mut tell),
        }
    }
    facts
}

/// The facts of a list's body, and behind each member's name those of its document. Every part is
/// named once, by its `cid`.
fn list(multipart: &Multipart<'_>, body: &[u8], tell: &mut dyn FnMut(&str, String)) {
    let parts: Result<Vec<Part<'_>>, _> = multipart.parts(body).collect();
    let parts = parts.unwrap_or_else(|error| panic!("{error}: {}", text(body)));
    let (root, parts) = parts.split_first().expect("a root");
    assert!(root.is("application/rlmi+xml") && root.content_id.is_some(), "{root:?}");
    let rlmi = RlmiFacts::parse(root.body).expect("RLMI");
    let names: Vec<String> = rlmi.names.iter().map(|name| name.text.clone()).collect();
    tell("list uri", rlmi.uri);
    tell("list version", rlmi.version.to_string());
    tell("list is full", rlmi.is_full.to_string());
    tell("list name", names.join(", "));
    tell("list cid", format!("{:?}", rlmi.cid));
    let uris: Vec<&str> = rlmi.resources.iter().map(|resource| &*resource.uri).collect();
    tell("resources", uris.join(" "));
    // In the order of the parts: an instance without one takes none.
    let mut parts = parts.iter();
    for resource in &rlmi.resources {
        member(multipart, resource, &mut parts, tell);
    }
    assert_eq!(parts.next(), None, "a part that no instance names");
}

/// The facts of a member, each behind its name.
fn member<'p, 'b: 'p>(
    multipart: &Multipart<'b>,
    resource: &RlmiResource,
    parts: &mut impl Iterator<Item = &'p Part<'b>>,
    tell: &mut dyn FnMut(&str, String),
) {
    let user = resource.uri.trim_start_matches("sip:").split('@').next().unwrap_or_default();
    let mut tell = |name: &str, value: String| tell(&format!("{user}: {name}"), value);
    let names: Vec<&str> = resource.names.iter().map(|name| &*name.text).collect();
    tell("name", names.join(", "));
    tell("instances", resource.instances.len().to_string());
    for instance in &resource.instances {
        assert!(!instance.id.is_empty(), "{instance:?}");
        tell("instance id", instance.id.clone());
        tell("instance state", instance.state.as_str().to_owned());
        tell("instance reason", format!("{:?}", instance.reason));
        let Some(cid) = &instance.cid else {
            tell("part", "none".to_owned());
            continue;
        };
        let part = parts.next().expect("a part for every cid");
        assert_eq!(part.content_id, Some(cid.as_bytes()), "in the order of the members");
        let content_type = part.content_type.expect("a Content-Type");
        tell("part", without_boundary(content_type));
        tell("part says its length", part.content_length.is_some().to_string());
        match multipart.nested(part) {
            Ok(inner) => list(&inner, part.body, &mut tell),
            Err(_) => document(&text(content_type), part.body, &mut tell),
        }
    }
}

/// What the parts of a list say their lengths are, is what they are.
pub(crate) fn check_lengths(message: &Message<'_>) {
    fn check(multipart: &Multipart<'_>, body: &[u8]) {
        for part in multipart.parts(body) {
            let part = part.expect("a part");
            assert_eq!(part.content_length.unwrap_or(part.body.len()), part.body.len(), "{part:?}");
            if let Ok(inner) = multipart.nested(&part) {
                check(&inner, part.body);
            }
        }
    }
    let content_type = message.header(HeaderName::ContentType).unwrap_or_default();
    if let Ok(multipart) = Multipart::from_content_type(content_type) {
        check(&multipart, message.body());
    }
}

/// A content type; every body has a boundary of its own.
fn without_boundary(content_type: &[u8]) -> String {
    let content_type = text(content_type);
    let params = content_type.split(';').filter(|param| !param.trim().starts_with("boundary="));
    params.collect::<Vec<_>>().join(";")
}

/// The facts of a document, element by element.
fn document(media_type: &str, body: &[u8], tell: &mut dyn FnMut(&str, String)) {
    match media_type {
        "application/pidf+xml" => {
            let facts = PidfFacts::parse(body).expect("PIDF");
            tell("entity", facts.entity);
            tell("tuple id", facts.tuple_id);
            tell("tuples", facts.tuple_count.to_string());
            tell("basic", format!("{:?}", facts.basic));
            tell("note", format!("{:?}", facts.note));
            tell("activities", facts.activities.join(" "));
            tell("contact", format!("{:?}", facts.contact));
            tell("digium", format!("{:?}", facts.digium));
        }
        "application/xpidf+xml" | "application/cpim-pidf+xml" => {
            let facts = XpidfFacts::parse(body).expect("XPIDF");
            tell("presentity", facts.presentity);
            tell("atom", format!("{} {}", facts.atom_id, facts.atom_unique_id));
            tell("address", facts.address);
            tell("document status", format!("{} {}", facts.status, facts.substatus));
        }
        "application/dialog-info+xml" => {
            let facts = DialogInfoFacts::parse(body).expect("dialog-info");
            tell("version", facts.version.to_string());
            tell("is full", facts.is_full.to_string());
            tell("entity", facts.entity);
            tell("dialogs", facts.dialogs.len().to_string());
            for dialog in facts.dialogs {
                tell("dialog id", dialog.id);
                tell("dialog state", dialog.state);
                tell("direction", dialog.direction);
                tell("rendering", dialog.rendering_no.to_string());
                tell("call", format!("{:?}", (dialog.call_id, dialog.local_tag)));
                tell("local", format!("{:?}", dialog.local));
                tell("remote", format!("{:?}", dialog.remote));
            }
        }
        other => panic!("no reader for {other}"),
    }
}

/// Of a response everything, of a request what does not name its transaction.
fn via(value: &[u8], is_request: bool) -> String {
    let via = Via::parse(value).expect("a Via");
    let head = format!("{} {}:{:?}", text(via.transport), text(via.host), via.port);
    let branch = text(via.branch.unwrap_or_default());
    if is_request {
        assert!(branch.starts_with("z9hG4bK"), "{branch}");
        return head;
    }
    format!("{head} rport={:?} received={:?} {branch}", via.rport, via.received.map(text))
}

fn challenge(value: &str, tell: &mut dyn FnMut(&str, String)) {
    let params = value.strip_prefix("Digest ").expect("a digest challenge").replace(", ", ",");
    let params = format!(";{}", params.replace(',', ";"));
    let param = |name| text(find_param(params.as_bytes(), name).unwrap_or_default());
    for name in ["realm", "algorithm", "qop"] {
        tell(&format!("challenge {name}"), param(name).trim_matches('"').to_owned());
    }
    assert!(param("nonce").len() > 16, "{value}");
}

/// A SIP URI without the port of its host.
fn without_port(uri: &str) -> String {
    match uri.rsplit_once(':') {
        Some((rest, port)) if port.parse::<u16>().is_ok() && rest != "sip" => rest.to_owned(),
        _ => uri.to_owned(),
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
