//! Who publishes, and what the stories ask of the world afterwards.

use std::net::SocketAddr;

use lampfield_wire::HeaderName;

use super::world::{Received, SERVER, World};

/// Somebody who publishes about one extension in one package.
pub(super) struct Publisher {
    pub(super) address: SocketAddr,
    pub(super) exten: String,
    pub(super) event: String,
    pub(super) content_type: String,
    pub(super) from_user: String,
    /// Header lines of its own, CRLF included.
    pub(super) extra: String,
    pub(super) cseq: u32,
    pub(super) entity_tag: String,
    pub(super) arrives_at: u8,
}

impl Publisher {
    pub(super) fn new(host: u8, exten: &str, event: &str) -> Self {
        let content_type = match event {
            "dialog" => "application/dialog-info+xml",
            "asterisk-devicestate" | "asterisk-mwi" => "application/json",
            "message-summary" => "application/simple-message-summary",
            _ => "application/pidf+xml",
        };
        Self {
            address: SocketAddr::from(([192, 0, 2, host], 5080)),
            exten: exten.into(),
            event: event.into(),
            content_type: content_type.into(),
            from_user: "p".into(),
            extra: String::new(),
            cseq: 0,
            entity_tag: String::new(),
            arrives_at: host,
        }
    }

    pub(super) fn request(
        &mut self,
        entity_tag: &str,
        expires: Option<u32>,
        body: &str,
    ) -> Vec<u8> {
        self.cseq += 1;
        let Self { address, exten, event, content_type, from_user, extra, cseq, .. } = &*self;
        let header = |name: &str, value: &str| match value {
            "" => String::new(),
            value => format!("{name}: {value}\r\n"),
        };
        let if_match = header("SIP-If-Match", entity_tag);
        let content_type = if body.is_empty() { "" } else { content_type.as_str() };
        let content_type = header("Content-Type", content_type);
        let event_line = header("Event", event);
        let expires = expires.map(|s| format!("Expires: {s}\r\n")).unwrap_or_default();
        let length = body.len();
        format!(
            "PUBLISH sip:{exten}@{SERVER} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};branch=z9hG4bK-{exten}-{event}-{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{from_user}@{SERVER}>;tag=t{address}\r\nTo: <sip:{exten}@{SERVER}>\r\n\
             Call-ID: pub-{address}-{exten}-{event}\r\nCSeq: {cseq} PUBLISH\r\n{event_line}{if_match}{expires}{extra}\
             {content_type}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    pub(super) fn send(&self, world: &mut World, request: &[u8]) -> Received {
        world.datagram(self.address, request, self.arrives_at);
        let mut got = world.take(self.address);
        assert_eq!(got.len(), 1, "one answer");
        got.remove(0)
    }

    /// Publishes, and takes the new entity-tag over.
    pub(super) fn publish(
        &mut self,
        world: &mut World,
        expires: Option<u32>,
        body: &str,
    ) -> Received {
        let request = self.request(&self.entity_tag.clone(), expires, body);
        let answer = self.send(world, &request);
        if answer.status() == 200 {
            self.entity_tag = answer.header(HeaderName::SipEtag);
            assert!(!self.entity_tag.is_empty());
        }
        answer
    }
}

pub(super) fn presence(exten: &str, basic: &str, more: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:d='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:{exten}@h'>\
         <tuple id='t'><status><basic>{basic}</basic></status></tuple>{more}</presence>"
    )
}

pub(super) fn dialog(exten: &str, id: &str, state: &str) -> String {
    format!(
        "<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info' state='partial' entity='sip:{exten}@h'>\
         <dialog id='{id}' direction='recipient'><state>{state}</state></dialog></dialog-info>"
    )
}

/// The words that tell documents apart, in the newest one a phone got.
pub(super) fn shows(got: &[Received]) -> &'static str {
    let body = got.last().map(Received::body).unwrap_or_default();
    let phone = ["Ringing", "On the phone", "Unavailable", "Ready"];
    let mut words = ["early", "confirmed", "terminated"].into_iter().chain(phone);
    words.find(|word| body.contains(&format!(">{word}<"))).unwrap_or("nothing")
}

pub(super) fn counters(world: &World, name: &str) -> u64 {
    let is_it = |row: &(&str, u64)| row.0 == name;
    world.stats(|stats| stats.counters.rows().find(is_it).map_or(0, |row| row.1))
}
