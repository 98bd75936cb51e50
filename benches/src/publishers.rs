//! Publishers around one shard: each says what it knows of an extension of its own (RFC 3903).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::config::{
    Config, Endpoint, EndpointId, Identify, Network, PublishScope, Tenant,
};
use lampfield_core::dialplan::Hint;
use lampfield_core::flow::{ConnectionId, Flow, Transport};
use lampfield_core::placement::{Placement, ShardId, TenantId};
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};
use lampfield_wire::{Framing, HeaderName, Message};

use crate::meter::Meter;

const TENANT: TenantId = TenantId(0);
const DOMAIN: &str = "pbx.example.com";
const PEER: &str = "192.0.2.9:5060";

/// One shard and its publishers, all behind one proxy.
#[derive(Debug)]
pub struct Publishers {
    shard: Shard,
    now: Time,
    out: Outputs,
    request: String,
    request_count: u32,
    /// By publisher; 0 for one that has not published.
    entity_tags: Vec<u128>,
}

fn config() -> Config {
    let publications =
        lampfield_core::config::Publications { unhinted: true, ..Default::default() };
    let everybody = Network { address: Ipv4Addr::UNSPECIFIED.into(), prefix: 0 };
    let mut config = Config {
        tenants: vec![Tenant {
            name: "publishers".into(),
            publications: Some(publications),
            ..Tenant::default()
        }],
        endpoints: vec![Endpoint {
            name: "proxy".into(),
            tenant: TENANT,
            context: "hints".into(),
            allow_publish: PublishScope::Any,
            ..Endpoint::default()
        }],
        user_agent: "Lampfield".into(),
        ..Config::default()
    };
    // There must be the context; none of its extensions is published.
    let hint = Hint::parse("Custom:door", "publishers").expect("a hint");
    config.dialplan.add_hint(TENANT, "hints", "door", hint).expect("an extension");
    config.identify = Identify { networks: vec![(everybody, EndpointId(0))], ..config.identify };
    config
}

impl Publishers {
    /// A shard and `count` publishers, who have said nothing yet.
    pub fn new(count: usize) -> Self {
        let shard = Shard::new(ShardSetup {
            id: ShardId(0),
            placement: Placement::new(1),
            config: Arc::new(config()),
            seed: 1,
            unix_at_zero_ms: 1_700_000_000_000,
            durable: false,
        });
        Self {
            shard,
            now: Time::from_secs(1),
            out: Outputs::default(),
            request: String::new(),
            request_count: 0,
            entity_tags: vec![0; count],
        }
    }

    /// Publications the shard holds.
    pub fn count(&self) -> u64 {
        self.shard.stats().publication_count
    }

    /// Publishers `first..end` say something new: their first word, or a changed one.
    pub fn publish(&mut self, first: usize, end: usize, meter: &mut Meter) {
        for publisher in first..end {
            self.now = self.now + Duration::from_micros(10);
            self.request_count += 1;
            self.write(publisher);
            let flow = Flow {
                transport: Transport::Udp,
                local: SocketAddr::from(([198, 51, 100, 1], 5060)),
                peer: PEER.parse().expect("an address"),
                connection: ConnectionId::default(),
            };
            let Self { shard, request, now, out, .. } = self;
            meter.measure(|| {
                shard.handle(Input::Message { flow, bytes: request.as_bytes() }, *now, out);
            });
            self.entity_tags[publisher] = self.entity_tag();
            self.out.clear();
        }
    }

    /// Time passes: answers are forgotten.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        while self.shard.next_deadline().is_some_and(|at| at <= self.now) {
            self.shard.handle(Input::Tick, self.now, &mut self.out);
            self.out.clear();
        }
        self.shard.handle(Input::Tick, self.now, &mut self.out);
        self.out.clear();
    }

    /// What the answer calls the publication.
    fn entity_tag(&self) -> u128 {
        let (_, answer) = self.out.messages().next().expect("an answer");
        let answer = Message::scan(answer, Framing::Datagram).expect("a message");
        let status = answer.status();
        assert_eq!(status, Some(200), "{}", self.request);
        let tag = answer.header(HeaderName::SipEtag).expect("an entity-tag");
        let tag = std::str::from_utf8(tag).expect("digits");
        u128::from_str_radix(tag, 16).expect("hexadecimal digits")
    }

    fn write(&mut self, publisher: usize) {
        let (cseq, user) = (self.request_count, 10_000_000 + publisher);
        let basic = ["open", "closed"][cseq as usize % 2];
        let body = format!(
            "<?xml version=\"1.0\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
             entity=\"sip:{user}@{DOMAIN}\">\n <tuple id=\"t{user}\">\n  <status><basic>{basic}\
             </basic></status>\n  <contact>sip:{user}@{DOMAIN}</contact>\n </tuple>\n</presence>\n"
        );
        self.request.clear();
        let text = &mut self.request;
        let _ = write!(
            text,
            "PUBLISH sip:{user}@{DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {PEER};branch=z9hG4bK{user:x}{cseq:x}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{DOMAIN}>;tag={user:x}\r\nTo: <sip:{user}@{DOMAIN}>\r\n\
             Call-ID: {user:x}-publication@{DOMAIN}\r\nCSeq: {cseq} PUBLISH\r\nEvent: presence\r\n\
             Expires: 3600\r\n"
        );
        if self.entity_tags[publisher] > 0 {
            let _ = write!(text, "SIP-If-Match: {:032x}\r\n", self.entity_tags[publisher]);
        }
        let _ = write!(
            text,
            "Content-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
}
