//! A crowd of watchers for measurements of memory and of cost per NOTIFY at scale: up to some
//! millions, written as phones write them, straight into one shard.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::command::Command;
use lampfield_core::config::{Config, Endpoint, EndpointId, Identify, Network, Tenant};
use lampfield_core::dialplan::{Dialplan, Hint};
use lampfield_core::flow::{ConnectionId, Flow, Transport};
use lampfield_core::list::{List, ListItem};
use lampfield_core::package::Package;
use lampfield_core::placement::{Placement, ShardId, TenantId};
use lampfield_core::state::DeviceState;
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};

use crate::meter::Meter;

const TENANT: TenantId = TenantId(0);
const DOMAIN: &str = "pbx.example.com";
const TAG_BYTES: usize = 21;

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
    /// Extensions there are: 10000000, 10000001, …
    pub extension_count: usize,
    /// Devices of each extension.
    pub device_count: usize,
    /// Members of each list; 0 for watchers of single extensions.
    pub member_count: usize,
    /// Lists there are: list0, list1, …
    pub list_count: usize,
    /// Watchers of one extension that subscribe one after the other.
    pub row: usize,
    /// How watchers reach the shard.
    pub paths: Paths,
}

impl Default for Plan {
    /// One extension with one device, watched by phones at addresses of their own.
    fn default() -> Self {
        Self {
            extension_count: 1,
            device_count: 1,
            member_count: 0,
            list_count: 0,
            row: 1,
            paths: Paths::Phones(1),
        }
    }
}

/// One shard and its watchers, who answer everything.
#[derive(Debug)]
pub struct Crowd {
    shard: Shard,
    plan: Plan,
    now: Time,
    out: Outputs,
    request: String,
    answers: Answers,
    /// Those that are being handed in.
    answering: Answers,
    change_count: usize,
    request_count: u32,
    tags: Vec<[u8; TAG_BYTES]>,
    last_tag: Option<[u8; TAG_BYTES]>,
}

fn exten(at: usize) -> String {
    format!("{}", 10_000_000 + at)
}

fn device(extension: usize, at: usize) -> String {
    format!("Custom:d{extension}-{at}")
}

fn config(plan: Plan) -> Config {
    let mut config = Config {
        tenants: vec![Tenant { name: "crowd".into(), ..Tenant::default() }],
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
    config.limits.hop_window_initial = u32::from(u16::MAX);
    config.limits.hop_window_max = u32::from(u16::MAX);
    let mut dialplan = Dialplan::default();
    for at in 0..plan.extension_count {
        let devices: Vec<String> = (0..plan.device_count).map(|of| device(at, of)).collect();
        let hint = Hint::parse(&devices.join("&"), "crowd").expect("a hint");
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
            answers: Answers::default(),
            answering: Answers::default(),
            change_count: 0,
            request_count: 0,
            tags: Vec::new(),
            last_tag: None,
        };
        crowd.run(&mut Meter::off());
        crowd
    }

    /// Room for what is noted of so many watchers, so that it does not count as theirs.
    pub fn expect(&mut self, count: usize) {
        self.tags.reserve_exact(count.saturating_sub(self.tags.len()));
        self.tags.resize(count, [0; TAG_BYTES]);
    }

    /// Subscribes watchers `first..end`, one every 10 µs, and answers their first NOTIFYs. The
    /// answers are not measured.
    pub fn subscribe(&mut self, first: usize, end: usize, meter: &mut Meter) {
        if self.tags.len() < end {
            self.expect(end);
        }
        for watcher in first..end {
            self.send_subscribe(watcher, 3600, None, meter);
            self.tags[watcher] = self.last_tag.take().expect("a 200 to a SUBSCRIBE");
            self.answer(&mut Meter::off());
        }
    }

    /// Watchers `first..end` refresh. Their answers are not measured.
    pub fn refresh(&mut self, first: usize, end: usize, meter: &mut Meter) {
        self.send_again(first, end, 3600, meter);
    }

    /// Watchers `first..end` leave. Their answers are not measured.
    pub fn unsubscribe(&mut self, first: usize, end: usize, meter: &mut Meter) {
        self.send_again(first, end, 0, meter);
    }

    fn send_again(&mut self, first: usize, end: usize, expires_s: u32, meter: &mut Meter) {
        for watcher in first..end {
            let tag = self.tags[watcher];
            self.send_subscribe(watcher, expires_s, Some(tag), meter);
            self.answer(&mut Meter::off());
        }
    }

    fn send_subscribe(
        &mut self,
        watcher: usize,
        expires_s: u32,
        tag: Option<[u8; TAG_BYTES]>,
        meter: &mut Meter,
    ) {
        self.now = self.now + Duration::from_micros(10);
        self.request_count += 1;
        self.write_subscribe(watcher, expires_s, tag);
        let flow = flow(self.plan.paths, watcher);
        let Self { shard, request, now, out, .. } = self;
        meter.measure(|| {
            shard.handle(Input::Message { flow, bytes: request.as_bytes() }, *now, out);
        });
        self.run(meter);
    }

    fn write_subscribe(&mut self, watcher: usize, expires_s: u32, tag: Option<[u8; TAG_BYTES]>) {
        let peer = address(self.plan.paths, watcher);
        let uri = match self.plan.list_count {
            0 => {
                let extension = watcher / self.plan.row % self.plan.extension_count;
                format!("sip:{}@{DOMAIN}", exten(extension))
            }
            count => format!("sip:list{}@{DOMAIN}", watcher % count),
        };
        let mixed = (watcher as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let cseq = self.request_count;
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
        if let Some(tag) = tag {
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
    }

    /// Goes on until nothing is due; what is said is taken away after every turn, as a node does.
    fn run(&mut self, meter: &mut Meter) {
        self.take_out();
        while self.shard.next_deadline().is_some_and(|at| at <= self.now) {
            self.tick(meter);
            self.take_out();
        }
    }

    fn tick(&mut self, meter: &mut Meter) {
        let Self { shard, now, out, .. } = self;
        meter.measure(|| shard.handle(Input::Tick, *now, out));
    }

    /// Takes what the shard has said: NOTIFYs are to be answered, a 200 names a tag.
    fn take_out(&mut self) {
        for (flow, bytes) in self.out.messages() {
            if bytes.starts_with(b"NOTIFY") {
                self.answers.push(flow, bytes);
            } else if let Some(tag) = to_tag_of(bytes) {
                self.last_tag = Some(tag);
            }
        }
        self.out.clear();
    }

    /// Time passes. Returns how many NOTIFYs that brought; they are not answered yet.
    pub fn pass(&mut self, time: Duration, meter: &mut Meter) -> usize {
        let before = self.answers.count;
        self.now = self.now + time;
        self.tick(meter);
        self.run(meter);
        self.answers.count - before
    }

    /// A turn in which nothing happens, 1 ms later.
    pub fn idle(&mut self, meter: &mut Meter) {
        self.now = self.now + Duration::from_millis(1);
        let Self { shard, now, out, .. } = self;
        let deadline = meter.measure(|| {
            shard.handle(Input::Tick, *now, out);
            shard.next_deadline()
        });
        assert!(deadline.is_none_or(|at| at > *now) && out.is_empty(), "it is idle");
    }

    /// Changes the first device of an extension; returns how many NOTIFYs that brought.
    pub fn change(&mut self, extension: usize, meter: &mut Meter) -> usize {
        let before = self.answers.count;
        self.now = self.now + Duration::from_millis(1);
        self.change_count += 1;
        let state = [DeviceState::NotInUse, DeviceState::InUse][self.change_count % 2];
        let device = device(extension, 0).into();
        let command = Command::SetDevice { tenant: TENANT, device, state };
        let Self { shard, now, out, .. } = self;
        meter.measure(|| shard.handle(Input::Command(command), *now, out));
        self.run(meter);
        self.answers.count - before
    }

    /// Answers all NOTIFYs that went out, and what follows from that.
    pub fn answer(&mut self, meter: &mut Meter) {
        while self.answers.count > 0 {
            std::mem::swap(&mut self.answers, &mut self.answering);
            let Self { shard, now, out, answering, .. } = self;
            meter.measure(|| {
                for (flow, bytes) in &answering.texts[..answering.count] {
                    shard.handle(Input::Message { flow: *flow, bytes }, *now, out);
                }
            });
            self.answering.count = 0;
            self.run(meter);
        }
    }

    /// The answers to all NOTIFYs so far are lost.
    pub fn lose_answers(&mut self) {
        self.answers.count = 0;
    }

    /// The shard's own figures.
    pub fn stats(&self) -> lampfield_core::stats::Stats {
        self.shard.stats()
    }
}

/// 200s to be handed in. Their memory is used again, so that it is not counted with the shard's.
#[derive(Debug, Default)]
struct Answers {
    texts: Vec<(Flow, Vec<u8>)>,
    count: usize,
}

impl Answers {
    fn push(&mut self, flow: Flow, notify: &[u8]) {
        if self.texts.len() == self.count {
            self.texts.push((flow, Vec::with_capacity(512)));
        }
        let (to, answer) = &mut self.texts[self.count];
        *to = flow;
        write_ok(notify, answer);
        self.count += 1;
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
fn to_tag_of(response: &[u8]) -> Option<[u8; TAG_BYTES]> {
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
            let plan =
                Plan { extension_count: 10, member_count, list_count, paths, ..Plan::default() };
            let (mut crowd, off) = (Crowd::new(plan), &mut Meter::off());
            crowd.subscribe(0, 100, off);
            assert_eq!(crowd.stats().subscription_count, 100);
            assert_eq!(crowd.stats().list_member_count, list_count.min(1) as u64 * 400);
            for _ in 0..2 {
                assert_eq!(crowd.change(0, off), if list_count > 0 { 40 } else { 10 });
                crowd.answer(off);
                assert_eq!(crowd.stats().in_flight_count, 0);
            }
            crowd.refresh(0, 50, off);
            assert_eq!(crowd.stats().counters.subscription_refreshed, 50);
            crowd.unsubscribe(0, 100, off);
            assert_eq!(crowd.stats().subscription_count, 0);
        }
    }

    #[test]
    fn lost_answers_bring_the_same_notifys_again() {
        let (mut crowd, off) = (Crowd::new(Plan::default()), &mut Meter::off());
        crowd.subscribe(0, 100, off);
        assert_eq!(crowd.change(0, off), 100);
        crowd.lose_answers();
        assert_eq!(crowd.pass(Duration::from_millis(500), off), 100);
        crowd.answer(off);
        crowd.idle(off);
        assert_eq!(crowd.stats().in_flight_count, 0);
    }
}
