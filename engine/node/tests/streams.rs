//! A node and SIP over TCP: a peer that stops reading is told the newest when it reads again, each
//! dialog in order, and nobody else waits for it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lampfield::config::{AmiConfig, AmiUser, Listen, NodeConfig};
use lampfield::run::Node;
use lampfield_core::config::{Config, Endpoint, EndpointId, Identify, Network, Tenant};
use lampfield_core::dialplan::{Dialplan, Hint};
use lampfield_core::flow::Transport;
use lampfield_core::placement::TenantId;

/// Dialogs of the peer that stops: their NOTIFYs together are more than the kernel keeps for it.
const DIALOG_COUNT: usize = 8000;

fn start(shard_count: u8) -> Node {
    let mut dialplan = Dialplan::default();
    let hint = Hint::parse("Custom:lamp1", "test:1").expect("a hint");
    dialplan.add_hint(TenantId(0), "hints", "lamp1", hint).expect("an extension");
    let phones = Endpoint {
        name: "phones".into(),
        context: "hints".into(),
        allow_subscribe: true,
        ..Endpoint::default()
    };
    let local = Network { address: IpAddr::from([127, 0, 0, 0]), prefix: 8 };
    let core = Config {
        tenants: vec![Tenant::default()],
        endpoints: vec![phones],
        identify: Identify { networks: vec![(local, EndpointId(0))], ..Identify::default() },
        dialplan,
        ..Config::default()
    };
    let user = AmiUser {
        name: "lab".to_owned(),
        secret: "lab".to_owned(),
        write: u64::MAX >> 1,
        ..AmiUser::default()
    };
    let any = ([127, 0, 0, 1], 0).into();
    let socket = format!("lampfield-streams-{shard_count}-{}.sock", std::process::id());
    let config = NodeConfig {
        core: Arc::new(core),
        listen: vec![Listen::plain(Transport::Tcp, any)],
        shard_count: Some(shard_count),
        ami: Some(AmiConfig { bind: Some(any), users: vec![user], ..AmiConfig::default() }),
        mirrors: Vec::new(),
        console_socket: std::env::temp_dir().join(socket),
        state_dir: None,
        syncs_always: false,
        user: None,
        core_dumps: false,
    };
    Node::start(config, Arc::new(|_| anyhow::bail!("no files"))).expect("the node starts")
}

/// A SIP peer with one connection and many dialogs.
struct Peer {
    stream: BufReader<TcpStream>,
    name: &'static str,
    address: SocketAddr,
    /// By Call-ID: the last CSeq and body.
    told: HashMap<String, (u32, String)>,
    notify_count: usize,
}

impl Peer {
    fn connect(server: SocketAddr, name: &'static str) -> Self {
        let stream = TcpStream::connect(server).expect("connected");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let address = stream.local_addr().expect("bound");
        let stream = BufReader::new(stream);
        Self { stream, name, address, told: HashMap::new(), notify_count: 0 }
    }

    fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("written");
    }

    /// Makes dialogs, and answers what they are told.
    fn subscribe(&mut self, count: usize) {
        let Self { name, address, .. } = *self;
        for number in 0..count {
            self.write(&format!(
                "SUBSCRIBE sip:lamp1@{address} SIP/2.0\r\n\
                 Via: SIP/2.0/TCP {address};branch=z9hG4bK-{name}-{number};rport\r\n\
                 From: <sip:w@{address}>;tag=t{number}\r\nTo: <sip:lamp1@{address}>\r\n\
                 Call-ID: {name}-{number}\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: 70\r\n\
                 Contact: <sip:w@{address};transport=tcp>\r\nEvent: presence\r\n\
                 Expires: 600\r\nContent-Length: 0\r\n\r\n"
            ));
            while self.told.len() <= number {
                self.take();
            }
        }
    }

    /// Reads one message; answers it if it is a NOTIFY.
    fn take(&mut self) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let length = self.stream.read_line(&mut head).expect("a line");
            assert!(length > 0, "{}: closed after {head:?}", self.name);
        }
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
        };
        let length = header("Content-Length").trim().parse().expect("a number");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the body");
        if head.starts_with("SIP/2.0") {
            assert!(head.starts_with("SIP/2.0 200"), "{head}");
            return;
        }
        let cseq = header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("CSeq");
        let body = String::from_utf8(body).expect("text");
        self.notify_count += 1;
        let before = self.told.insert(header("Call-ID"), (cseq, body));
        assert!(before.is_none_or(|(before, _)| before < cseq), "older or twice: {head}");
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"]
            .map(|name| format!("{name}: {}\r\n", header(name)));
        self.write(&format!("SIP/2.0 200 OK\r\n{}Content-Length: 0\r\n\r\n", copied.concat()));
    }

    /// Reads until every dialog shows `text`.
    fn until_all_show(&mut self, text: &str) {
        let shows = |peer: &Self| peer.told.values().filter(|(_, b)| b.contains(text)).count();
        while shows(self) < self.told.len() {
            (0..200.min(self.told.len() - shows(self))).for_each(|_| self.take());
        }
    }
}

struct Ami(BufReader<TcpStream>);

impl Ami {
    fn login(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let mut ami = Self(BufReader::new(stream));
        ami.0.read_line(&mut String::new()).expect("a banner");
        ami.action("Action: Login\r\nUsername: lab\r\nSecret: lab\r\nEvents: off\r\n\r\n");
        ami
    }

    fn action(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("written");
        let mut reply = String::new();
        while !reply.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut reply).expect("a reply") > 0, "closed after {reply:?}");
        }
        assert!(reply.starts_with("Response: Success"), "{reply}");
    }

    fn set(&mut self, state: &str) {
        let variable = "Variable: DEVICE_STATE(Custom:lamp1)";
        self.action(&format!("Action: Setvar\r\n{variable}\r\nValue: {state}\r\n\r\n"));
    }
}

#[test]
fn a_peer_that_stops_reading_hears_the_newest_later_and_delays_nobody() {
    const CHANGES: [(&str, &str); 5] = [
        ("INUSE", "On the phone"),
        ("RINGING", "Ringing"),
        ("INUSE", "On the phone"),
        ("RINGING", "Ringing"),
        ("ONHOLD", "On hold"),
    ];
    for shard_count in [1, 2] {
        let node = start(shard_count);
        let mut ami = Ami::login(node.ami().expect("AMI is served"));
        let server = node.bound()[0].address;
        // With two shards the kernel chooses which of them holds a connection; one has all watchers.
        let mut stopped = Peer::connect(server, "stopped");
        stopped.subscribe(DIALOG_COUNT);
        let mut others = ["a", "b", "c", "d"].map(|name| Peer::connect(server, name));
        others.iter_mut().for_each(|other| other.subscribe(2));

        let before = stopped.notify_count;
        for (state, shown) in CHANGES {
            let start = Instant::now();
            ami.set(state);
            others.iter_mut().for_each(|other| other.until_all_show(shown));
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        }
        stopped.until_all_show("On hold");
        let told = stopped.notify_count - before;
        println!("{told} NOTIFYs for {DIALOG_COUNT} dialogs, {shard_count} shards");
        assert!(told < DIALOG_COUNT * 2, "{told} NOTIFYs: older ones were kept for it");
        ami.set("NOT_INUSE");
        stopped.until_all_show("Ready");
        node.stop().expect("a clean end");
    }
}
