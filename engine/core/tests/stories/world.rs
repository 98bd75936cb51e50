//! A tiny vocabulary: a world of shards under virtual time, and phones that talk SIP to it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::command::{Answer, Command, Event, Query, Reply};
use lampfield_core::config::{Config, Dialect, Endpoint, EndpointId, Identify, Network, Tenant};
use lampfield_core::dialplan::{Dialplan, Globals, Hint, Template};
use lampfield_core::flow::{ConnectionId, Flow, Transport};
use lampfield_core::limits::Limits;
use lampfield_core::mesh::ShardMessage;
use lampfield_core::placement::{Placement, ShardId, TenantId};
use lampfield_core::record::Record;
use lampfield_core::state::{DeviceState, parse_presence_write};
use lampfield_core::stats::Stats;
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};
use lampfield_wire::{Framing, HeaderName, Message, NameAddr};

pub(crate) const T: TenantId = TenantId(0);
/// Address of the world.
pub(crate) const SERVER: &str = "192.0.2.1:5060";

/// Shards, and everything they said that nobody has looked at yet.
pub(crate) struct World {
    shards: Vec<Shard>,
    mesh: VecDeque<(ShardId, ShardId, ShardMessage)>,
    pub(crate) placement: Placement,
    pub(crate) now: Time,
    sent: VecDeque<(Flow, Vec<u8>)>,
    pub(crate) events: Vec<Event>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) records: Vec<Record>,
}

/// A dialplan of the shape of the traces: lamps, a pattern, presence only, device only, several.
pub(crate) fn dialplan() -> Dialplan {
    let mut plan = Dialplan::default();
    let mut add = |exten: &str, text: &str| {
        let hint = Hint::parse(text, "test:1").expect("a hint");
        plan.add_hint(T, "hints", exten, hint).expect("an extension");
    };
    for n in 0..10 {
        add(&format!("lamp{n}"), &format!("Custom:lamp{n},CustomPresence:lamp{n}"));
    }
    add("multi", "Custom:m1&Custom:m2");
    add("ponly", ",CustomPresence:ponly");
    add("2000", "PJSIP/2000,CustomPresence:2000");
    let template = "Custom:p${EXTEN},CustomPresence:p${EXTEN}";
    let template = Template::parse(template, &Globals::default(), "test:2").expect("a template");
    plan.add_pattern(T, "hints", "_77XX", template).expect("a pattern");
    plan
}

/// Phones at 192.0.2.0/24 speak `dialect`; 198.51.100.0/24 may not subscribe; 203.0.113.0/24 sees
/// early while in use; nobody else is known.
pub(crate) fn config(dialect: Dialect) -> Config {
    let endpoint = |name: &str, allow_subscribe, notify_early_inuse_ringing| Endpoint {
        name: name.into(),
        tenant: T,
        context: "hints".into(),
        allow_subscribe,
        sub_min_expiry_s: 5,
        notify_early_inuse_ringing,
        single_dialog: false,
        dialect,
        ..Endpoint::default()
    };
    let network = |text: &str| Network { address: text.parse().expect("an address"), prefix: 24 };
    Config {
        tenants: vec![Tenant { name: "test".into(), ..Tenant::default() }],
        endpoints: vec![
            endpoint("phones", true, false),
            endpoint("mute", false, false),
            endpoint("early", true, true),
        ],
        identify: Identify {
            networks: vec![
                (network("192.0.2.0"), EndpointId(0)),
                (network("198.51.100.0"), EndpointId(1)),
                (network("203.0.113.0"), EndpointId(2)),
            ],
            ..Identify::default()
        },
        dialplan: dialplan(),
        user_agent: "lampfield-test".into(),
        dialect,
        realm: "asterisk".into(),
        limits: Limits { expires_jitter_percent: 0, ..Limits::default() },
        ..Config::default()
    }
}

impl World {
    pub(crate) fn new(shard_count: u8, dialect: Dialect) -> Self {
        Self::with(shard_count, config(dialect), 0)
    }

    pub(crate) fn with(shard_count: u8, config: Config, unix_at_zero_ms: u64) -> Self {
        let (placement, config) = (Placement::new(shard_count), Arc::new(config));
        let shard = |id| {
            Shard::new(ShardSetup {
                id,
                placement: placement.clone(),
                config: Arc::clone(&config),
                seed: 42,
                unix_at_zero_ms,
                durable: true,
            })
        };
        let mut world = Self {
            shards: placement.shards().map(shard).collect(),
            mesh: VecDeque::new(),
            placement: placement.clone(),
            now: Time::from_nanos(1),
            sent: VecDeque::new(),
            events: Vec::new(),
            replies: Vec::new(),
            records: Vec::new(),
        };
        world.run();
        for shard in placement.shards() {
            world.input(shard, Input::Command(Command::ListenEvents(true)));
        }
        world
    }

    /// Hands one input to one shard, and the mesh what it says to the others.
    pub(crate) fn input(&mut self, shard: ShardId, input: Input<'_>) {
        let mut out = Outputs::default();
        self.shards[usize::from(shard.0)].handle(input, self.now, &mut out);
        self.sent.extend(out.messages().map(|(flow, bytes)| (flow, bytes.to_vec())));
        self.mesh.extend(out.to_shards.drain(..).map(|(to, message)| (shard, to, message)));
        self.events.append(&mut out.events);
        self.records.append(&mut out.records);
        self.replies.append(&mut out.replies);
    }

    /// Runs until nothing is due now.
    pub(crate) fn run(&mut self) {
        loop {
            if let Some((from, to, message)) = self.mesh.pop_front() {
                self.input(to, Input::Shard { from, message });
                continue;
            }
            let due = |shard: &Shard| shard.next_deadline().is_some_and(|at| at <= self.now);
            let Some(at) = self.shards.iter().position(due) else { return };
            self.input(ShardId(at as u8), Input::Tick);
        }
    }

    /// Delivers one message between shards: the oldest of one pair of them, whichever `pick` hits.
    /// False when none is under way.
    pub(crate) fn deliver_one(&mut self, pick: usize) -> bool {
        if self.mesh.is_empty() {
            return false;
        }
        let (from, to, _) = self.mesh[pick % self.mesh.len()];
        let of_pair = |(f, t, _): &(ShardId, ShardId, ShardMessage)| (*f, *t) == (from, to);
        let at = self.mesh.iter().position(of_pair);
        if let Some((from, to, message)) = at.and_then(|at| self.mesh.remove(at)) {
            self.input(to, Input::Shard { from, message });
        }
        true
    }

    /// Whether a tick is due now.
    pub(crate) fn is_due(&self) -> bool {
        self.shards.iter().filter_map(Shard::next_deadline).any(|at| at <= self.now)
    }

    /// Lets time pass, stopping at every deadline.
    pub(crate) fn pass(&mut self, by: Duration) {
        let until = self.now + by;
        self.run();
        while let Some(next) = self.shards.iter().filter_map(Shard::next_deadline).min()
            && next <= until
        {
            self.now = next.max(self.now);
            self.run();
        }
        self.now = until;
        self.run();
    }

    pub(crate) fn set_device(&mut self, device: &str, state: DeviceState) {
        let owner = self.placement.shard_of_source(T, device);
        let device = device.into();
        self.input(owner, Input::Command(Command::SetDevice { tenant: T, device, state }));
        self.run();
    }

    pub(crate) fn set_presence(&mut self, presentity: &str, written: &str) {
        let owner = self.placement.shard_of_source(T, presentity);
        let presence = parse_presence_write(written).expect("a presence").presence;
        let (presentity, written) = (presentity.into(), written.into());
        let command = Command::SetPresence { tenant: T, presentity, presence, written };
        self.input(owner, Input::Command(command));
        self.run();
    }

    pub(crate) fn command(&mut self, command: &Command) {
        for shard in self.placement.shards() {
            self.input(shard, Input::Command(command.clone()));
        }
        self.run();
    }

    /// Asks every shard.
    pub(crate) fn ask(&mut self, query: &Query) -> Vec<Answer> {
        for shard in self.placement.shards() {
            self.input(shard, Input::Query { id: 1, query: query.clone() });
        }
        self.run();
        self.replies.drain(..).map(|reply| reply.answer).collect()
    }

    /// Counters and gauges of all shards, added up.
    pub(crate) fn stats(&self, of: impl Fn(&Stats) -> u64) -> u64 {
        self.shards.iter().map(|shard| of(&shard.stats())).sum()
    }

    /// Sends bytes from an address to a shard's socket, whichever the kernel would pick.
    pub(crate) fn datagram(&mut self, from: SocketAddr, bytes: &[u8], arrives_at: u8) {
        self.arrive(from, bytes, arrives_at);
        self.run();
    }

    /// The same, and nothing else has its turn yet.
    pub(crate) fn arrive(&mut self, from: SocketAddr, bytes: &[u8], arrives_at: u8) {
        let flow = Flow {
            transport: Transport::Udp,
            local: SERVER.parse().expect("an address"),
            peer: from,
            connection: Default::default(),
        };
        let shard = ShardId(arrives_at % self.placement.shard_count());
        self.input(shard, Input::Message { flow, bytes });
    }

    /// Sends bytes over a TCP connection to the first shard.
    pub(crate) fn stream(&mut self, from: SocketAddr, serial: u32, bytes: &[u8]) {
        self.stream_by(Transport::Tcp, from, serial, bytes);
    }

    /// Sends bytes over a connection of any kind to the first shard.
    pub(crate) fn stream_by(
        &mut self,
        transport: Transport,
        from: SocketAddr,
        serial: u32,
        bytes: &[u8],
    ) {
        let connection = ConnectionId { shard: 0, serial };
        let local = SERVER.parse().expect("an address");
        let flow = Flow { transport, local, peer: from, connection };
        self.input(ShardId(0), Input::Message { flow, bytes });
        self.run();
    }

    /// The connection the last message to an address went along.
    pub(crate) fn last_connection(&self, to: SocketAddr) -> Option<u32> {
        let last = self.sent.iter().rfind(|(flow, _)| flow.peer == to);
        last.map(|(flow, _)| flow.connection.serial)
    }

    /// By what the last message to an address went.
    pub(crate) fn last_transport(&self, to: SocketAddr) -> Option<Transport> {
        let last = self.sent.iter().rfind(|(flow, _)| flow.peer == to);
        last.map(|(flow, _)| flow.transport)
    }

    /// Takes everything sent to an address, oldest first.
    pub(crate) fn take(&mut self, to: SocketAddr) -> Vec<Received> {
        let (mine, others) = self.sent.drain(..).partition(|(flow, _)| flow.peer == to);
        self.sent = others;
        let mine: VecDeque<(Flow, Vec<u8>)> = mine;
        mine.into_iter().map(|(_, bytes)| Received(bytes)).collect()
    }
}

/// A message a phone received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Received(pub(crate) Vec<u8>);

impl Received {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::scan(&self.0, Framing::Datagram).expect("the server sends whole messages")
    }

    pub(crate) fn header(&self, name: HeaderName) -> String {
        let value = self.message().header(name).unwrap_or_default().to_vec();
        String::from_utf8(value).expect("text")
    }

    pub(crate) fn status(&self) -> u16 {
        self.message().status().unwrap_or_default()
    }

    pub(crate) fn cseq(&self) -> u32 {
        self.header(HeaderName::CSeq).split(' ').next().and_then(|n| n.parse().ok()).expect("CSeq")
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8(self.message().body().to_vec()).expect("text")
    }

    pub(crate) fn state(&self) -> String {
        self.header(HeaderName::SubscriptionState)
    }

    pub(crate) fn to_tag(&self) -> String {
        let to = self.header(HeaderName::To);
        let tag = NameAddr::parse(to.as_bytes()).expect("To").tag().expect("a tag").to_vec();
        String::from_utf8(tag).expect("text")
    }
}

/// A phone with one dialog.
pub(crate) struct Phone {
    pub(crate) address: SocketAddr,
    pub(crate) contact: String,
    pub(crate) call_id: String,
    pub(crate) exten: String,
    pub(crate) event: String,
    pub(crate) accept: String,
    pub(crate) user_agent: String,
    /// Header lines of its own, CRLF included.
    pub(crate) extra: String,
    pub(crate) body: Vec<u8>,
    pub(crate) cseq: u32,
    /// Our tag, once it has one.
    pub(crate) to_tag: String,
    /// The shard its datagrams arrive at.
    pub(crate) arrives_at: u8,
}

impl Phone {
    /// A phone at `192.0.2.HOST:5070` that wants to watch `exten`.
    pub(crate) fn new(host: u8, exten: &str) -> Self {
        let address = SocketAddr::from(([192, 0, 2, host], 5070));
        Self {
            address,
            contact: format!("<sip:w@{address}>"),
            call_id: format!("call-{host}-{exten}"),
            exten: exten.into(),
            event: "presence".into(),
            accept: String::new(),
            user_agent: "phone/1".into(),
            extra: String::new(),
            body: Vec::new(),
            cseq: 0,
            to_tag: String::new(),
            arrives_at: host,
        }
    }

    pub(crate) fn watching_dialogs(mut self) -> Self {
        self.event = "dialog".into();
        self
    }

    /// The next SUBSCRIBE of its dialog.
    pub(crate) fn request(&mut self, expires: Option<u32>) -> Vec<u8> {
        self.cseq += 1;
        let Self { address, contact, call_id, exten, event, user_agent, extra, cseq, .. } = self;
        let accept = match &*self.accept {
            "" => String::new(),
            accept => format!("Accept: {accept}\r\n"),
        };
        let to_tag = match &*self.to_tag {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let event = if event.is_empty() { String::new() } else { format!("Event: {event}\r\n") };
        let expires = expires.map(|s| format!("Expires: {s}\r\n")).unwrap_or_default();
        let contact =
            if contact.is_empty() { String::new() } else { format!("Contact: {contact}\r\n") };
        let length = self.body.len();
        let user = if exten.is_empty() { String::new() } else { format!("{exten}@") };
        let head = format!(
            "SUBSCRIBE sip:{user}{SERVER} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};branch=z9hG4bK-{call_id}-{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:w@{SERVER}>;tag=t{call_id}\r\nTo: <sip:{user}{SERVER}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} SUBSCRIBE\r\n{contact}{event}{accept}{expires}{extra}\
             User-Agent: {user_agent}\r\nContent-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends a SUBSCRIBE and answers what comes back: the response, and the NOTIFYs.
    pub(crate) fn subscribe(
        &mut self,
        world: &mut World,
        expires: Option<u32>,
    ) -> (Received, Vec<Received>) {
        let request = self.request(expires);
        world.datagram(self.address, &request, self.arrives_at);
        let mut got = self.listen(world);
        let at = got.iter().position(|m| !m.message().is_request()).expect("a response");
        let response = got.remove(at);
        if response.status() == 200 {
            self.to_tag = response.to_tag();
        }
        (response, got)
    }

    /// Takes what has come and answers every NOTIFY with 200, until nothing more comes.
    pub(crate) fn listen(&mut self, world: &mut World) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let got = world.take(self.address);
            if got.is_empty() {
                return all;
            }
            for message in got.iter().filter(|m| m.message().is_request()) {
                self.answer(world, message, "200 OK", "");
            }
            all.extend(got);
        }
    }

    /// Answers one NOTIFY.
    pub(crate) fn answer(&self, world: &mut World, notify: &Received, status: &str, extra: &str) {
        let answer = self.response(notify, status, extra);
        world.datagram(self.address, &answer, self.arrives_at.wrapping_add(1));
    }

    /// An answer to a NOTIFY.
    pub(crate) fn response(&self, notify: &Received, status: &str, extra: &str) -> Vec<u8> {
        let header = |name: HeaderName| format!("{}: {}\r\n", name.as_str(), notify.header(name));
        use HeaderName::*;
        let copied: String = [Via, From, To, CallId, CSeq].map(header).concat();
        format!("SIP/2.0 {status}\r\n{copied}{extra}Content-Length: 0\r\n\r\n").into_bytes()
    }
}
