//! A node of two shards: what was set and answered is seen by whatever is asked next, on any
//! connection; and changes that come together are not made one at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use lampfield::config::{AmiConfig, AmiUser, Listen, NodeConfig};
use lampfield::run::Node;
use lampfield_core::config::{Config, Tenant};
use lampfield_core::dialplan::{Dialplan, Globals, Hint, Template};
use lampfield_core::flow::Transport;
use lampfield_core::placement::TenantId;

const T: TenantId = TenantId(0);
const LAMP_COUNT: usize = 10;

fn start(name: &str) -> Node {
    let mut dialplan = Dialplan::default();
    for lamp in 0..LAMP_COUNT {
        let hint = Hint::parse(&format!("Custom:lamp{lamp},CustomPresence:lamp{lamp}"), "test:1");
        let hint = hint.expect("a hint");
        dialplan.add_hint(T, "hints", &format!("lamp{lamp}"), hint).expect("an extension");
    }
    // Nobody watches these: they come and go with every question.
    let template = Template::parse("Custom:p${EXTEN}", &Globals::default(), "test:2");
    dialplan.add_pattern(T, "hints", "_77XX", template.expect("a template")).expect("a pattern");
    let user = AmiUser {
        name: "lab".to_owned(),
        secret: "lab".to_owned(),
        write: u64::MAX >> 1,
        ..AmiUser::default()
    };
    let ami = AmiConfig {
        bind: Some(([127, 0, 0, 1], 0).into()),
        users: vec![user],
        ..AmiConfig::default()
    };
    let bind = ([127, 0, 0, 1], 0).into();
    let listen = Listen::plain(Transport::Udp, bind);
    let socket = format!("lampfield-{name}-{}.sock", std::process::id());
    let config = NodeConfig {
        core: Arc::new(Config { tenants: vec![Tenant::default()], dialplan, ..Config::default() }),
        listen: vec![listen],
        shard_count: Some(2),
        ami: Some(ami),
        mirrors: Vec::new(),
        console_socket: std::env::temp_dir().join(socket),
        state_dir: None,
        syncs_always: false,
        user: None,
        core_dumps: false,
    };
    Node::start(config, Arc::new(|_| anyhow::bail!("no files"))).expect("the node starts")
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn login(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let mut client = Self(BufReader::new(stream));
        client.0.read_line(&mut String::new()).expect("a banner");
        client.send("Action: Login\r\nUsername: lab\r\nSecret: lab\r\nEvents: off\r\n\r\n");
        assert!(client.reply().starts_with("Response: Success"));
        client
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("written");
    }

    fn reply(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut text).expect("a reply") > 0, "closed after {text:?}");
        }
        text
    }
}

fn set(exten: &str, device: &str, round: usize) -> (String, String) {
    let (token, shown) = [("INUSE", "Status: 1\r\n"), ("NOT_INUSE", "Status: 0\r\n")][round % 2];
    let variable = format!("Variable: DEVICE_STATE(Custom:{device})\r\nValue: {token}\r\n");
    let set = format!("Action: Setvar\r\nActionID: s{exten}-{round}\r\n{variable}\r\n");
    (set, shown.to_owned())
}

fn ask(exten: &str, round: usize) -> String {
    let id = format!("ActionID: q{exten}-{round}\r\n");
    format!("Action: ExtensionState\r\n{id}Context: hints\r\nExten: {exten}\r\n\r\n")
}

fn names(at: usize) -> (String, String) {
    match at % 2 {
        0 => (format!("lamp{}", at % LAMP_COUNT), format!("lamp{}", at % LAMP_COUNT)),
        _ => (format!("77{:02}", at % 100), format!("p77{:02}", at % 100)),
    }
}

#[test]
fn a_state_that_was_set_is_never_old_on_another_connection() {
    let node = start("applied");
    let address = node.ami().expect("AMI is served");
    let (mut setter, mut asker) = (Client::login(address), Client::login(address));
    for round in 0..1000 {
        // The same few names, in both of their states.
        let (exten, device) = names(round / 2 % 20);
        let (set, shown) = set(&exten, &device, round);
        setter.send(&set);
        let reply = setter.reply();
        assert!(reply.contains("Message: Variable Set\r\n"), "{reply}");
        asker.send(&ask(&exten, round));
        let reply = asker.reply();
        assert!(reply.contains(&shown), "round {round}, {set}{reply}");
    }
    node.stop().expect("a clean end");
}

#[test]
fn requests_that_come_together_are_answered_in_order_and_see_what_was_set_before() {
    let node = start("together");
    let mut client = Client::login(node.ami().expect("AMI is served"));
    for round in 0..20 {
        let mut requests = String::new();
        let mut want = Vec::new();
        for at in 0..50 {
            let (exten, device) = names(at);
            let (set, shown) = set(&exten, &device, round);
            requests.push_str(&set);
            want.push((format!("ActionID: s{exten}-{round}\r\n"), "Variable Set".to_owned()));
            if at % 10 == 9 {
                requests.push_str("Action: Setvar\r\nVariable: HINT(x)\r\nValue: 1\r\n\r\n");
                want.push(("Variable not set".to_owned(), "Reason: `HINT`".to_owned()));
                requests.push_str(&ask(&exten, round));
                want.push((format!("ActionID: q{exten}-{round}\r\n"), shown));
            }
        }
        client.send(&requests);
        for (id, text) in want {
            let reply = client.reply();
            assert!(reply.contains(&id) && reply.contains(&text), "{id}{text}\n{reply}");
        }
    }
    // What crossed from one shard to the other is counted on both sides, and nothing waits.
    client.send("Action: Command\r\nCommand: net\r\n\r\n");
    let reply = client.reply();
    let figure = |name: &str| -> Vec<u64> {
        let line = reply.lines().find_map(|line| line.strip_prefix("Output: ")?.strip_prefix(name));
        let words = line.unwrap_or_else(|| panic!("no {name} in {reply}")).split_whitespace();
        words.map(|word| word.parse().expect("a number")).collect()
    };
    let (out, taken) = (figure("mesh_message_out "), figure("mesh_message_in "));
    assert!(out[0] > 0 && out[0] == out[1] + out[2], "{out:?}");
    assert_eq!([out[0], out[1], out[2]], [taken[0], taken[2], taken[1]]);
    assert_eq!(figure("mesh_waiting "), [0, 0, 0]);
    node.stop().expect("a clean end");
}
