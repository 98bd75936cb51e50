//! Fixtures of the micro-benchmarks: messages as phones send them, and a shard with watchers.
#![forbid(unsafe_code)]

use std::sync::Arc;

use lampfield_core::command::Command;
use lampfield_core::config::{Config, Dialect, Endpoint, EndpointId, Identify, Network, Tenant};
use lampfield_core::dialplan::Hint;
use lampfield_core::flow::{Flow, Transport};
use lampfield_core::limits::Limits;
use lampfield_core::placement::{Placement, ShardId, TenantId};
use lampfield_core::state::DeviceState;
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};
use lampfield_wire::{Framing, HeaderName, Message};

/// A SUBSCRIBE of watcher `n` to extension 1000.
pub fn subscribe(n: u32) -> Vec<u8> {
    format!(
        "SUBSCRIBE sip:1000@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.77:5060;branch=z9hG4bK-{n:08x};rport\r\nMax-Forwards: 70\r\n\
         From: \"Desk {n}\" <sip:w{n}@example.org>;tag=from{n:08x}\r\nTo: <sip:1000@example.org>\r\n\
         Call-ID: bench-{n:08x}@192.0.2.77\r\nCSeq: 1 SUBSCRIBE\r\n\
         Contact: <sip:w{n}@192.0.2.77:5060>\r\nEvent: dialog\r\n\
         Accept: application/dialog-info+xml, application/pidf+xml\r\nExpires: 3600\r\n\
         Supported: replaces, eventlist\r\nUser-Agent: Yealink SIP-T46S 66.86.0.15\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, SUBSCRIBE, REFER, INFO\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The 200 that answers a NOTIFY.
pub fn answer(notify: &[u8]) -> Vec<u8> {
    let message = Message::scan(notify, Framing::Datagram).expect("a NOTIFY of ours");
    let mut out = b"SIP/2.0 200 OK\r\n".to_vec();
    use HeaderName::*;
    for name in [Via, From, To, CallId, CSeq] {
        lampfield_wire::push_header(
            &mut out,
            name.as_str(),
            message.header(name).unwrap_or_default(),
        );
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    out
}

/// A shard with one extension, watched by `watcher_count` phones behind one edge.
#[derive(Debug)]
pub struct Watched {
    shard: Shard,
    now: Time,
    out: Outputs,
    rings: bool,
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: ([192, 0, 2, 1], 5060).into(),
        peer: ([192, 0, 2, 77], 5060).into(),
        connection: Default::default(),
    }
}

fn config() -> Config {
    let tenant = TenantId(0);
    let mut config = Config {
        tenants: vec![Tenant { name: "bench".into(), domain: None }],
        endpoints: vec![Endpoint {
            name: "edge".into(),
            tenant,
            context: "hints".into(),
            subscribe_context: None,
            allow_subscribe: true,
            sub_min_expiry_s: 0,
            notify_early_inuse_ringing: false,
            rewrite_contact: false,
            dialect: Dialect::Rfc,
            auth: None,
        }],
        limits: Limits {
            hop_window_initial: 1 << 20,
            hop_window_max: 1 << 20,
            ..Limits::default()
        },
        ..Config::default()
    };
    let network = Network { address: [192, 0, 2, 0].into(), prefix: 24 };
    config.identify = Identify { networks: vec![(network, EndpointId(0))], ..Identify::default() };
    let hint = Hint::parse("Custom:desk", "bench").expect("a hint");
    config.dialplan.add_hint(tenant, "hints", "1000", hint).expect("an extension");
    config
}

impl Watched {
    /// Subscribes the watchers, and answers their first NOTIFYs.
    pub fn new(watcher_count: u32) -> Self {
        let setup = ShardSetup {
            id: ShardId(0),
            placement: Placement::new(1),
            config: Arc::new(config()),
            seed: 7,
            unix_at_zero_ms: 0,
            durable: false,
        };
        let now = Time::from_secs(1);
        let mut watched =
            Self { shard: Shard::new(setup), now, out: Outputs::default(), rings: false };
        for n in 0..watcher_count {
            watched.input(Input::Message { flow: flow(), bytes: &subscribe(n) });
            watched.answer_all();
        }
        let held = watched.shard.stats().subscription_count;
        assert_eq!(held, u64::from(watcher_count), "everybody is in");
        watched
    }

    /// Changes the lamp, sends every NOTIFY and takes every answer. How many there were.
    pub fn change(&mut self) -> usize {
        self.rings = !self.rings;
        let state = if self.rings { DeviceState::Ringing } else { DeviceState::NotInUse };
        let device = "Custom:desk".into();
        self.input(Input::Command(Command::SetDevice { tenant: TenantId(0), device, state }));
        let mut sent_count = self.answer_all();
        while self.shard.next_deadline() == Some(Time::ZERO) {
            self.input(Input::Tick);
            sent_count += self.answer_all();
        }
        sent_count
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.handle(input, self.now, &mut self.out);
    }

    /// Answers what was sent, until nothing more is.
    fn answer_all(&mut self) -> usize {
        let mut sent_count = 0;
        loop {
            let notifies = self.out.messages().filter(|(_, bytes)| bytes.starts_with(b"NOTIFY"));
            let answers: Vec<Vec<u8>> = notifies.map(|(_, bytes)| answer(bytes)).collect();
            self.out.clear();
            if answers.is_empty() {
                return sent_count;
            }
            sent_count += answers.len();
            for bytes in answers {
                self.input(Input::Message { flow: flow(), bytes: &bytes });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_reaches_every_watcher() {
        let mut watched = Watched::new(100);
        assert_eq!([watched.change(), watched.change()], [100, 100]);
    }
}
