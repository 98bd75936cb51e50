//! A crowd of watchers for measurements of memory and of cost per NOTIFY at scale: up to some
//! millions, written as phones write them, straight into one shard.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lampfield_core::command::Command;
use lampfield_core::config::{Config, Endpoint, EndpointId, Identify, Network, Tenant};
use lampfield_core::dialplan::{Dialplan, Hint};
use lampfield_core::flow::{ConnectionId, Flow, Transport};
use lampfield_core::list::{List, ListItem};
use lampfield_core::package::Package;
use lampfield_core::placement::{Placement, ShardId, TenantId};
use lampfield_core::state::DeviceState;
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};

const TENANT: TenantId = TenantId(0);
const DOMAIN: &str = "pbx.example.com";

/// How watchers reach the shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Paths {
    /// All through one proxy, which records its route.
    Edge,
    /// So many watchers at each address.
    Phones(usize),
}

/// What a crowd watches, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Extensions there are: 10000000, 10000001, …, with one device each.
    pub extension_count: usize,
    /// Members of each list; 0 for watchers of single extensions.
    pub member_count: usize,
    /// Lists there are: list0, list1, …
    pub list_count: usize,
    /// How watchers reach the shard.
    pub paths: Paths,
}

/// One shard and its watchers, who answer everything.
#[derive(Debug)]
pub struct Crowd {
    shard: Shard,
    plan: Plan,
    now: Time,
    out: Outputs,
    request: String,
    answers: Vec<(Flow, Vec<u8>)>,
    change_count: usize,
    tags: Vec<[u8; 21]>,
}

fn exten(at: usize) -> String {
    format!("{}", 10_000_000 + at)
}

fn config(plan: Plan) -> Config {
    let mut config = Config {
        tenants: vec![Tenant { name: "crowd".into(), domain: None }],
        endpoints: vec![Endpoint {
            name: "phones".into(),
            tenant: TENANT,
            context: "hints".into(),
            allow_subscribe: true,
            ..Endpoint::default()
        }],
        user_agent: "Lampfield".into(),
        ..Config::default()
    };
    let everybody = Network { address: Ipv4Addr::UNSPECIFIED.into(), prefix: 0 };
    config.identify = Identify { networks: vec![(everybody, EndpointId(0))], ..config.identify };
    config.limits.notify_per_turn_max = usize::MAX;
    config.limits.hop_window_initial = u32::from(u16::MAX);
    config.limits.hop_window_max = u32::from(u16::MAX);
    let mut dialplan = Dialplan::default();
    for at in 0..plan.extension_count {
        let hint = Hint::parse(&format!("Custom:d{at}"), "crowd").expect("a hint");
        dialplan.add_hint(TENANT, "hints", &exten(at), hint).expect("an extension");
    }
    config.dialplan = dialplan;
    for at in 0..plan.list_count {
        // Neighbouring lists overlap, as those of a department do.
        let first = at * plan.member_count / 2;
        let items = (first..first + plan.member_count)
            .map(|member| ListItem::parse(&exten(member % plan.extension_count)));
        let list = List {
            name: format!("list{at}").into(),
            package: Package::Dialog,
            items: items.collect(),
            full_state: false,
            batch_interval: Duration::ZERO,
            display_names: false,
            origin: "crowd".into(),
        };
        config.lists.add(TENANT, list).expect("a list");
    }
    config
}

impl Crowd {
    /// The shard and what is configured; nobody watches yet.
    pub fn new(plan: Plan) -> Self {
        let shard = Shard::new(ShardSetup {
            id: ShardId(0),
            placement: Placement::new(1),
            config: Arc::new(config(plan)),
            seed: 1,
            unix_at_zero_ms: 0,
            durable: false,
        });
        let mut crowd = Self {
            shard,
            plan,
            now: Time::from_secs(1),
            out: Outputs::default(),
            request: String::new(),
            answers: Vec::new(),
            change_count: 0,
            tags: Vec::new(),
        };
        crowd.run();
        crowd
    }

    /// Subscribes watchers `first..end`, two a turn of 20 µs, and answers their first NOTIFYs.
    pub fn subscribe(&mut self, first: usize, end: usize) {
        self.tags.reserve_exact(end.saturating_sub(self.tags.len()));
        for watcher in first..end {
            self.now = self.now + Duration::from_micros(10);
            self.send_subscribe(watcher, None);
            let tag = self.out.messages().find_map(|(_, bytes)| to_tag_of(bytes));
            self.tags.push(tag.expect("a 200 to a SUBSCRIBE"));
            self.answer();
        }
    }

    /// Watchers `first..end` leave.
    pub fn unsubscribe(&mut self, first: usize, end: usize) {
        for watcher in first..end {
            self.now = self.now + Duration::from_micros(10);
            let tag = self.tags[watcher];
            self.send_subscribe(watcher, Some(tag));
            self.answer();
        }
    }

    fn send_subscribe(&mut self, watcher: usize, leaves: Option<[u8; 21]>) {
        let (flow, peer) = (flow(self.plan.paths, watcher), address(self.plan.paths, watcher));
        let uri = match self.plan.list_count {
            0 => format!("sip:{}@{DOMAIN}", exten(watcher % self.plan.extension_count)),
            count => format!("sip:list{}@{DOMAIN}", watcher % count),
        };
        let (cseq, expires_s) = if leaves.is_some() { (2, 0) } else { (1, 3600) };
        let mixed = (watcher as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.request.clear();
        let text = &mut self.request;
        let _ = write!(
            text,
            "SUBSCRIBE {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {peer};branch=z9hG4bK{mixed:016x}{cseq}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@{DOMAIN}>;tag={tag:010x}\r\nTo: <{uri}>",
            user = 20_000_000 + watcher,
            tag = mixed >> 24,
        );
        if let Some(tag) = leaves {
            let _ = write!(text, ";tag={}", String::from_utf8_lossy(&tag));
        }
        if self.plan.paths == Paths::Edge {
            text.push_str("\r\nRecord-Route: <sip:192.0.2.9;lr>");
        }
        if self.plan.list_count > 0 {
            text.push_str("\r\nSupported: eventlist");
        }
        let _ = write!(
            text,
            "\r\nCall-ID: {:016x}-{:08x}-{:010x}\r\nCSeq: {cseq} SUBSCRIBE\r\n\
             Contact: <sip:{user}@{peer}>\r\nEvent: dialog\r\n\
             Accept: application/dialog-info+xml{lists}\r\n\
             Expires: {expires_s}\r\nContent-Length: 0\r\n\r\n",
            mixed.rotate_left(11),
            watcher,
            mixed >> 20,
            user = 20_000_000 + watcher,
            lists = match self.plan.list_count {
                0 => "",
                _ => ", application/rlmi+xml, multipart/related",
            },
        );
        let input = Input::Message { flow, bytes: self.request.as_bytes() };
        self.shard.handle(input, self.now, &mut self.out);
        self.run();
    }

    /// Goes on until nothing is due.
    fn run(&mut self) {
        while self.shard.next_deadline().is_some_and(|at| at <= self.now) {
            self.shard.handle(Input::Tick, self.now, &mut self.out);
        }
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.shard.handle(Input::Tick, self.now, &mut self.out);
        self.run();
        self.answer();
    }

    /// Changes the device of an extension; returns how long telling its watchers took, and how
    /// many NOTIFYs that were.
    pub fn change(&mut self, extension: usize) -> (Duration, usize) {
        self.now = self.now + Duration::from_millis(1);
        self.change_count += 1;
        let state = [DeviceState::NotInUse, DeviceState::InUse][self.change_count % 2];
        let device = format!("Custom:d{extension}").into();
        let command = Command::SetDevice { tenant: TENANT, device, state };
        let begun = Instant::now();
        self.shard.handle(Input::Command(command), self.now, &mut self.out);
        self.run();
        (begun.elapsed(), self.out.messages().len())
    }

    /// Answers all NOTIFYs that went out, and what follows from that; returns how long the shard
    /// took for the answers.
    pub fn answer(&mut self) -> Duration {
        let mut took = Duration::ZERO;
        loop {
            let mut count = 0;
            for (flow, bytes) in self.out.messages() {
                if !bytes.starts_with(b"NOTIFY") {
                    continue;
                }
                if self.answers.len() == count {
                    self.answers.push((flow, Vec::with_capacity(512)));
                }
                let (to, answer) = &mut self.answers[count];
                (*to, count) = (flow, count + 1);
                write_ok(bytes, answer);
            }
            self.out.clear();
            if count == 0 {
                return took;
            }
            let begun = Instant::now();
            for (flow, bytes) in &self.answers[..count] {
                let input = Input::Message { flow: *flow, bytes };
                self.shard.handle(input, self.now, &mut self.out);
            }
            self.run();
            took += begun.elapsed();
        }
    }

    /// The shard's own figures.
    pub fn stats(&self) -> lampfield_core::stats::Stats {
        self.shard.stats()
    }
}

fn address(paths: Paths, watcher: usize) -> SocketAddr {
    let phone = match paths {
        Paths::Edge => watcher,
        Paths::Phones(count) => watcher / count,
    };
    SocketAddr::from(([10, (phone >> 16) as u8, (phone >> 8) as u8, phone as u8], 5060))
}

fn flow(paths: Paths, watcher: usize) -> Flow {
    let peer = match paths {
        Paths::Edge => SocketAddr::from(([192, 0, 2, 9], 5060)),
        Paths::Phones(_) => address(paths, watcher),
    };
    let local = SocketAddr::from(([192, 0, 2, 1], 5060));
    Flow { transport: Transport::Udp, local, peer, connection: ConnectionId::default() }
}

/// The To-tag of a 200 to a SUBSCRIBE.
fn to_tag_of(response: &[u8]) -> Option<[u8; 21]> {
    let text = std::str::from_utf8(response).ok()?.strip_prefix("SIP/2.0 200")?;
    let to = text.lines().find(|line| line.starts_with("To:"))?;
    to.rsplit_once(";tag=")?.1.as_bytes().try_into().ok()
}

/// Writes the 200 to a request.
fn write_ok(request: &[u8], out: &mut Vec<u8>) {
    const COPIED: [&[u8]; 5] = [b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"];
    out.clear();
    out.extend_from_slice(b"SIP/2.0 200 OK\r\n");
    for line in request.split_inclusive(|byte| *byte == b'\n') {
        if line == b"\r\n" {
            break;
        }
        if COPIED.iter().any(|name| line.starts_with(name)) {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_comes_is_told_and_goes() {
        for (list_count, paths) in
            [(0, Paths::Edge), (0, Paths::Phones(2)), (5, Paths::Edge), (5, Paths::Phones(1))]
        {
            let member_count = if list_count > 0 { 4 } else { 0 };
            let plan = Plan { extension_count: 10, member_count, list_count, paths };
            let mut crowd = Crowd::new(plan);
            crowd.subscribe(0, 100);
            assert_eq!(crowd.stats().subscription_count, 100);
            assert_eq!(crowd.stats().list_member_count, list_count.min(1) as u64 * 400);
            assert_eq!(crowd.change(0).1, if list_count > 0 { 40 } else { 10 });
            crowd.answer();
            crowd.unsubscribe(0, 100);
            assert_eq!(crowd.stats().subscription_count, 0);
        }
    }
}
