//! The console: captured commands of a real Asterisk, ours, and the socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lampfield_core::command::SubscriptionRow;
use lampfield_core::state::{DeviceState, ExtensionState};

use crate::console_client::Console;
use crate::harness::{Client, Message, Node, Shards, ami_config, value};

const CAPTURE: &str = include_str!("../captures/cli.txt");

/// The command of a line of the capture, if it is one.
pub(crate) fn command(line: &str) -> Option<&str> {
    line.strip_prefix("$ asterisk -rx \"")?.strip_suffix('"')
}

/// The subscriptions that Asterisk had in the capture. `pl5` was a resource list.
pub(crate) fn captured_subscriptions() -> Vec<SubscriptionRow> {
    let row = |exten: &str, call_id: &str, expires_s, acknowledged: Option<ExtensionState>| {
        SubscriptionRow {
            endpoint: "watcher".into(),
            exten: exten.into(),
            context: "hints".into(),
            event: "presence".into(),
            content_type: "application/pidf+xml",
            call_id: call_id.into(),
            watcher: "sip:w1@127.0.0.1".into(),
            next_hop: "udp:127.0.0.1:46368".into(),
            expires_s,
            state: "ACTIVE",
            cseq: 30_602,
            acknowledged,
            in_flight: acknowledged.is_none(),
            acknowledged_age_ms: acknowledged.map(|_| 1500),
            extension_state: ExtensionState::Idle,
        }
    };
    vec![
        row("lamp0", "519ef875991f@lab", 491, Some(ExtensionState::Idle)),
        row("lamp0", "ed43b081d300@lab", 599, None),
        row("pl5", "ea3c0117a38f@lab", 599, None),
    ]
}

/// Compared without order of lines: Asterisk lists hints in the order of its hash table.
const UNSORTED: [&str; 2] = ["core show hints", "core show hint lamp1"];

#[test]
fn captured_commands_print_what_asterisk_prints() {
    let node = captured_node();
    let mut console = Console::open(&node.socket);
    let chunks: Vec<&str> = CAPTURE.split("\n$ asterisk -rx \"").skip(1).collect();
    for (place, chunk) in chunks.iter().enumerate() {
        let (command, mut want) = chunk.split_once("\"\n").unwrap();
        if place == chunks.len() - 1 {
            want = want.strip_suffix('\n').unwrap();
        }
        let got = console.run(command).0;
        if UNSORTED.contains(&command) {
            assert_eq!(sorted_lines(&got), sorted_lines(want), "{command}");
        } else {
            assert_eq!(got, want, "{command}");
        }
        if command == "core show hints" {
            // The capture goes on with more watchers.
            let mut model = node.model.lock().unwrap();
            model.watchers.extend([("lamp0".to_owned(), 3), ("lamp1".to_owned(), 1)]);
        }
    }
    assert!(chunks.len() >= 20);
    drop(console);
    node.stop();
}

#[test]
fn real_shards_print_the_same_states_and_explain_them() {
    let node = Node::start_real(ami_config());
    set_captured_states(&node);
    let mut console = Console::open(&node.socket);
    let mut compared_count = 0;
    for chunk in CAPTURE.split("\n$ asterisk -rx \"").skip(1) {
        let (command, want) = chunk.split_once("\"\n").unwrap();
        // Nobody watches anything here, and extensions of patterns do not stay.
        let comparable = command.starts_with("presencestate") || command.starts_with("devstate");
        if comparable || command == "core show hint 2000" {
            assert_eq!(console.run(command).0, want, "{command}");
            compared_count += 1;
        }
    }
    assert!(compared_count >= 12);
    console.run("devstate change Custom:m1 RINGING");
    console.run("devstate change Custom:m2 BUSY");
    console.run("devstate list");
    console.run("devstate list");
    let (text, ok) = console.run("explain multi");
    assert!(ok, "{text}");
    assert!(text.contains("2 together are RINGINUSE"), "{text}");
    assert!(text.contains("multi@hints shows InUse&Ringing (9)"), "{text}");
    assert!(text.contains("s ago"), "{text}");
    let (text, ok) = console.run("explain 7742");
    assert!(ok && text.contains("Custom:p7742"), "{text}");
    for (command, want) in
        [("shards", "all"), ("counters", "source_changed"), ("net", "turn"), ("reload", "read")]
    {
        let (text, ok) = console.run(command);
        assert!(ok && text.contains(want), "{command}: {text}");
    }
    drop(console);
    node.stop();
}

#[test]
fn ami_command_prints_the_same_line_by_line() {
    let node = captured_node();
    let mut client = Client::login(&node, "lab", "off");
    let reply = client.ask("Action: Command\r\nActionID: 3\r\nCommand: core show hint lamp0");
    let row = "lamp0@hints                   : Custom:lamp0,CustomPresence:lamp0                   \
               \u{20}         State:Idle            Presence:not_set         Watchers  1";
    let want: Message = [
        ("Response", "Success"),
        ("ActionID", "3"),
        ("Message", "Command output follows"),
        ("Output", row),
        ("Output", "1 hint matching extension lamp0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(reply, want);
    for (command, response, message) in [
        ("nonsense", "Error", "Command output follows"),
        ("presencestate change SIP:x away", "Error", "Command output follows"),
        ("module  load x", "Error", "Command blacklisted"),
        ("", "Error", "No command provided"),
    ] {
        let reply = client.ask(&format!("Action: Command\r\nCommand: {command}"));
        assert_eq!((value(&reply, "Response"), value(&reply, "Message")), (response, message));
    }
    node.stop();
}

#[test]
fn our_commands_tell_what_is_going_on() {
    let node = captured_node();
    node.model.lock().unwrap().reloads = 0;
    let mut console = Console::open(&node.socket);
    for (command, ok, want) in [
        ("core show version", true, "Lampfield "),
        ("core show uptime", true, "System uptime: "),
        ("subscriptions", true, "3 subscriptions, 3 shown"),
        ("subscriptions list 1", true, "3 subscriptions, 1 shown"),
        ("subscriptions list x", false, "Usage: subscriptions list"),
        ("subscriptions show 519ef875991f@lab", true, "Acknowledged    : Idle 1.500 s ago"),
        ("subscriptions show nosuch", false, "There is no subscription with Call-ID 'nosuch'"),
        ("pjsip show subscription inbound nosuch", false, "There is no subscription"),
        ("shards", true, "NOTIFY"),
        ("counters", true, "notify_sent"),
        ("source set PJSIP/2000 RINGING", true, "Reported PJSIP/2000 as RINGING"),
        ("core show hint 2000", true, "State:Ringing "),
        ("source set pjsip/2000 inuse", true, "Reported pjsip/2000 as INUSE"),
        ("core show hint 2000@h", true, "State:InUse "),
        ("source set nothing INUSE", false, "'nothing' is of no known provider"),
        ("source set PJSIP/2000 bogus", false, "Usage: source set"),
        ("devstate change Custom:m1 RINGING", true, "Changing m1 to RINGING"),
        ("devstate change Custom:m2 ONHOLD", true, "Changing m2 to ONHOLD"),
        (
            "explain multi",
            true,
            "2 together are RINGINUSE, because one rings beside one that is in use, held or busy: \
             extension state InUse&Ringing",
        ),
        ("explain multi@hints", true, "multi@hints shows InUse&Ringing (9), presence not_set"),
        ("explain lamp0", true, "acknowledged Idle 1.500 s ago"),
        ("explain 2000", true, "1 m 1 s ago"),
        ("explain 7799", false, "nobody has watched it yet"),
        ("explain nosuch", false, "There is no hint for 'nosuch'"),
        ("explain lamp0@nowhere", false, "There is no hint for 'lamp0' in 'nowhere'"),
        (r"presencestate change CustomPresence:bob away,a\,b", true, "Changing bob to away"),
        ("presencestate list", true, "--- Subtype: 'a,b'"),
        ("presencestate change CustomPresence:bob away,a,b,c", false, "`c` is not an option"),
        ("presencestate change CustomPresence:bob away,?,,e", false, "is not base64"),
        ("tenants", true, "* default"),
        ("tenant nobody", false, "There is no tenant 'nobody'"),
        ("tenant default", true, "Tenant default"),
        ("help devstate change", true, "Usage: devstate change <device> <state>"),
        ("help", true, "Why a lamp shows what it shows"),
        ("reload", true, "Configuration read and handed to all shards"),
        ("core show hint", false, "Usage: core show hint <exten>"),
        ("", true, ""),
    ] {
        // A change takes its way from the source's shard to the extension's.
        let end = Instant::now() + Duration::from_secs(5);
        let (text, went_well) = loop {
            let (text, went_well) = console.run(command);
            if text.contains(want) || Instant::now() > end {
                break (text, went_well);
            }
        };
        assert!(text.contains(want), "{command}: {text}");
        assert_eq!(went_well, ok, "{command}: {text}");
    }
    // Both shards got the configuration; a Stats query behind it makes sure they took it.
    console.run("counters");
    assert_eq!(node.model.lock().unwrap().reloads, 2);
    drop(console);
    node.stop();
}

#[test]
fn lines_are_completed_by_words_and_names() {
    let node = captured_node();
    let mut console = Console::open(&node.socket);
    for (line, want) in [
        ("dev", &["devstate"][..]),
        ("devstate ", &["change", "list"]),
        ("devstate change Custom:m", &["Custom:m1", "Custom:m2"]),
        ("presencestate change CustomPresence:p", &["CustomPresence:ponly"]),
        ("explain lamp99", &["lamp99@hints"]),
        ("source set MWI", &[]),
        ("nothing ", &[]),
    ] {
        let (text, _) = console.ask("complete", line);
        assert_eq!(text.lines().filter(|l| !l.is_empty()).collect::<Vec<_>>(), want, "{line}");
    }
    drop(console);
    node.stop();
}

#[test]
fn the_socket_is_private_and_stale_ones_are_replaced() {
    let node = captured_node();
    let mode = std::fs::metadata(&node.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A second node may not take the socket of a running one.
    let refused = Node::start_at(ami_config(), node.socket.clone(), Shards::Model);
    assert!(refused.err().unwrap().contains("another node is running there"));
    // Two clients at once, one of them talking nonsense.
    let mut good = Console::open(&node.socket);
    let mut bad = UnixStream::connect(&node.socket).unwrap();
    bad.write_all(b"bogus\n").unwrap();
    let mut text = String::new();
    assert_eq!(BufReader::new(bad).read_line(&mut text).unwrap(), 0);
    let mut long = UnixStream::connect(&node.socket).unwrap();
    // The server may close before all of it is sent.
    let _ = long.write_all(&[b'x'; 100_000]);
    let ended = BufReader::new(long).read_line(&mut text);
    assert!(ended.is_err() || text.is_empty());
    assert!(good.run("core show version").1);
    let socket = node.socket.clone();
    drop(good);
    node.stop();
    // What a killed node leaves behind does not stop the next one.
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let node = Node::start_at(ami_config(), socket, Shards::Model).unwrap();
    let mut console = Console::open(&node.socket);
    assert!(console.run("core show version").1);
    assert_eq!(console.run("core stop now"), ("The node is stopping\n".to_owned(), true));
    node.stop();
}

/// A node in the state of the captures.
fn captured_node() -> Node {
    let node = Node::start(ami_config());
    set_captured_states(&node);
    node.touch("7701");
    node.touch("7703");
    let mut model = node.model.lock().unwrap();
    model.watchers.insert("lamp0".to_owned(), 1);
    model.subscriptions = captured_subscriptions();
    drop(model);
    node
}

fn set_captured_states(node: &Node) {
    for lamp in 0..8 {
        node.set_device(&format!("Custom:lamp{lamp}"), DeviceState::NotInUse);
    }
    node.set_device("Custom:m1", DeviceState::NotInUse);
    node.set_device("Custom:m2", DeviceState::NotInUse);
    node.set_device("Custom:p7701", DeviceState::InUse);
    node.set_presence("CustomPresence:bob", "away");
    node.set_presence("CustomPresence:lamp0", "NOT_SET");
    node.set_presence("CustomPresence:lamp1", "not_set");
    node.set_presence("CustomPresence:ponly", "dnd,,busy");
    node.settle();
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}
