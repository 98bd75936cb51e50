//! What a message says, apart from how it says it.

use std::collections::BTreeMap;

use lampfield_wire::header::CSeq;
use lampfield_wire::{
    DialogInfoFacts, Event, Framing, HeaderName, Message, NameAddr, PidfFacts, SubscriptionState,
    Via, XpidfFacts, find_param,
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
            _ => tell(&text(spelled), text(value)),
        }
    }
    if !message.body().is_empty() {
        let media_type = text(message.header(HeaderName::ContentType).expect("a Content-Type"));
        document(&media_type, message.body(), &mut tell);
    }
    facts
}

/// The facts of a document, element by element.
fn document(media_type: &str, body: &[u8], tell: &mut impl FnMut(&str, String)) {
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

fn challenge(value: &str, tell: &mut impl FnMut(&str, String)) {
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
