//! The stage of the benchmarks: one shard, and watchers that answer. No network, no executor.
#![forbid(unsafe_code)]

pub mod crowd;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lampfield_core::command::Command;
use lampfield_core::config::{Config, Endpoint, EndpointId, Identify, Network, Tenant};
use lampfield_core::dialplan::{Dialplan, Hint};
use lampfield_core::flow::{ConnectionId, Flow, Transport};
use lampfield_core::placement::{Placement, ShardId, TenantId};
use lampfield_core::state::DeviceState;
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};

const TENANT: TenantId = TenantId(0);

/// One shard, one extension, and watchers that answer everything, each a next hop of its own.
#[derive(Debug)]
pub struct Stage {
    shard: Shard,
    now: Time,
    out: Outputs,
    changes: usize,
    watcher_count: usize,
}

fn config() -> Config {
    let mut dialplan = Dialplan::default();
    let hint = Hint::parse("Custom:lamp", "bench:1").expect("a hint");
    dialplan.add_hint(TENANT, "hints", "1000", hint).expect("an extension");
    let endpoint = Endpoint {
        name: "phones".into(),
        tenant: TENANT,
        context: "hints".into(),
        allow_subscribe: true,
        ..Endpoint::default()
    };
    let everybody = Network { address: Ipv4Addr::UNSPECIFIED.into(), prefix: 0 };
    Config {
        tenants: vec![Tenant { name: "bench".into(), domain: None }],
        endpoints: vec![endpoint],
        identify: Identify { networks: vec![(everybody, EndpointId(0))], ..Identify::default() },
        dialplan,
        ..Config::default()
    }
}

fn flow(watcher: usize) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().expect("an address"),
        peer: SocketAddr::from(([10, 0, (watcher >> 8) as u8, watcher as u8], 5060)),
        connection: ConnectionId::default(),
    }
}

impl Stage {
    /// Subscribes the watchers, and answers their first NOTIFYs.
    pub fn new(watcher_count: usize) -> Self {
        let shard = Shard::new(ShardSetup {
            id: ShardId(0),
            placement: Placement::new(1),
            config: Arc::new(config()),
            seed: 1,
            unix_at_zero_ms: 0,
            durable: false,
        });
        let now = Time::from_secs(1);
        let mut stage = Self { shard, now, out: Outputs::default(), changes: 0, watcher_count };
        stage.run();
        for watcher in 0..watcher_count {
            let flow = flow(watcher);
            let request = format!(
                "SUBSCRIBE sip:1000@example.com SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {peer};branch=z9hG4bKs{watcher}\r\nMax-Forwards: 70\r\n\
                 From: <sip:w{watcher}@example.com>;tag=f{watcher}\r\n\
                 To: <sip:1000@example.com>\r\nCall-ID: c{watcher}\r\nCSeq: 1 SUBSCRIBE\r\n\
                 Contact: <sip:w{watcher}@{peer}>\r\nEvent: presence\r\n\
                 Accept: application/pidf+xml\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n",
                peer = flow.peer
            );
            let input = Input::Message { flow, bytes: request.as_bytes() };
            stage.shard.handle(input, stage.now, &mut stage.out);
            stage.run();
            stage.answer();
        }
        stage
    }

    /// Goes on until nothing is due.
    fn run(&mut self) {
        while self.shard.next_deadline().is_some_and(|at| at <= self.now) {
            self.shard.handle(Input::Tick, self.now, &mut self.out);
        }
    }

    /// Changes the lamp; returns how long telling everybody took.
    pub fn change(&mut self) -> Duration {
        self.now = self.now + Duration::from_millis(1);
        self.changes += 1;
        let state = [DeviceState::NotInUse, DeviceState::InUse][self.changes % 2];
        let command = Command::SetDevice { tenant: TENANT, device: "Custom:lamp".into(), state };
        let begun = Instant::now();
        self.shard.handle(Input::Command(command), self.now, &mut self.out);
        self.run();
        let took = begun.elapsed();
        assert_eq!(self.out.messages().len(), self.watcher_count);
        took
    }

    /// Answers every NOTIFY that went out; returns how long the shard took to read the answers.
    pub fn answer(&mut self) -> Duration {
        let answers: Vec<(Flow, String)> = self
            .out
            .messages()
            .filter(|(_, bytes)| bytes.starts_with(b"NOTIFY"))
            .map(|(flow, bytes)| (flow, ok_to(&String::from_utf8_lossy(bytes))))
            .collect();
        self.out.clear();
        let begun = Instant::now();
        for (flow, bytes) in &answers {
            let input = Input::Message { flow: *flow, bytes: bytes.as_bytes() };
            self.shard.handle(input, self.now, &mut self.out);
        }
        let took = begun.elapsed();
        assert_eq!(self.shard.in_flight_count(), 0);
        self.out.clear();
        took
    }
}

/// A 200 to a request.
fn ok_to(request: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.lines().take_while(|line| !line.is_empty());
    let lines = lines.filter(|line| copied.iter().any(|name| line.starts_with(name)));
    let head: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("SIP/2.0 200 OK\r\n{head}Content-Length: 0\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_reaches_every_watcher() {
        let mut stage = Stage::new(100);
        for _ in 0..2 {
            stage.change();
            assert_eq!(stage.out.messages().len(), 100);
            stage.answer();
        }
    }
}
