//! baresip: what its contact list shows, and what it publishes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::is_asked_for;
use crate::stage::{PATIENCE, Running, Stage, UNHINTED};

/// A baresip with one account, and what it says.
pub(crate) struct Phone {
    pub(crate) process: Running,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
    control: String,
}

impl Phone {
    /// `user` at the stage's node, watching `contacts`.
    fn start(stage: &Stage, user: &str, parameters: &str, contacts: std::ops::Range<u32>) -> Self {
        Self::start_by(stage, ("udp", &stage.sip), user, parameters, contacts)
    }

    /// The same by another transport, at the address where the node serves that.
    pub(crate) fn start_by(
        stage: &Stage,
        (transport, address): (&str, &str),
        user: &str,
        parameters: &str,
        contacts: std::ops::Range<u32>,
    ) -> Self {
        let (modules, control) = ("/usr/lib/baresip/modules", free_tcp_address());
        let config = format!(
            "poll_method epoll\nsip_listen 127.0.0.1:0\nsip_verify_server no\nmodule_path {modules}\n\
             module account.so\nmodule contact.so\nmodule presence.so\nmodule ctrl_tcp.so\n\
             ctrl_tcp_listen {control}\n"
        );
        stage.write(&format!("{user}/config"), &config);
        let silent = if parameters.contains("regint") { "" } else { ";regint=0" };
        let account = format!("<sip:{user}@{address};transport={transport}>{silent}{parameters}\n");
        stage.write(&format!("{user}/accounts"), &account);
        let contact = |exten| {
            format!("\"Lamp{exten}\" <sip:{exten}@{address};transport={transport}>;presence=p2p\n")
        };
        stage.write(&format!("{user}/contacts"), &contacts.map(contact).collect::<String>());

        let mut command = Command::new("baresip");
        command.arg("-f").arg(stage.path(user)).args(["-t", "120"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Running::start(&mut command, "baresip-core");
        let output = BufReader::new(process.0.stdout.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { process, lines, said: Vec::new(), control }
    }

    /// Waits until its contact has changed, which must be as said.
    pub(crate) fn shows_change(&mut self, from: &str, to: &str, after: &str) {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("after {after} baresip never showed {to}, but said {:#?}", self.said);
            };
            let line = without_colours(&line);
            self.said.push(line.clone());
            if line.contains("changed status") {
                let change = format!("changed status from {from} to {to}");
                assert!(line.contains(&change), "after {after}: {line}");
                return;
            }
        }
    }

    /// Has it run a command.
    fn runs(&self, command: &str) {
        let mut control = TcpStream::connect(&self.control).expect("its module ctrl_tcp");
        let call = format!("{{\"command\":\"{command}\"}}");
        write!(control, "{}:{call},", call.len()).expect("written");
        control.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut answer = [0; 4096];
        let length = control.read(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.contains("\"ok\":true"), "{command}: {answer}");
    }
}

fn free_tcp_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn baresip_shows_what_the_extension_does() {
    if !is_asked_for() {
        return;
    }
    let stage = Stage::new("baresip", 2);
    let mut phone = Phone::start(&stage, "watcher", "", 10_000..10_001);
    stage.wait_for_subscriptions(1);
    let mut shown = "Online";
    for (state, want) in
        [("INUSE", "Busy"), ("NOT_INUSE", "Online"), ("UNAVAILABLE", "Offline"), ("INUSE", "Busy")]
    {
        stage.set_device("Custom:lamp10000", state);
        phone.shows_change(shown, want, state);
        shown = want;
    }
    // Asked to end, it unsubscribes.
    phone.process.asks_to_end("INT");
    stage.wait_for_subscriptions(0);
}

#[test]
fn baresip_publishes_and_another_one_sees_it() {
    if !is_asked_for() {
        return;
    }
    let stage = Stage::configured("baresip-publishes", 2, UNHINTED);
    let mut watcher = Phone::start(&stage, "watcher", "", 1006..1007);
    stage.wait_for_subscriptions(1);
    let publisher = Phone::start(&stage, "1006", ";pubint=60", 0..0);
    stage.wait_for_counter("publication_created", 1);
    for (command, from, to) in [
        ("presence_online", "Offline", "Online"),
        ("presence_offline", "Online", "Offline"),
        ("presence_online", "Offline", "Online"),
    ] {
        publisher.runs(command);
        watcher.shows_change(from, to, command);
    }
    // It takes back what it published.
    publisher.process.asks_to_end("INT");
    watcher.shows_change("Online", "Offline", "its end");
}

/// Registered users are devices of hints.
const REGISTERED: &str = r#"
[[context]]
name = "default"
[[hint_range]]
context = "default"
range = "2000..=2099"
hint = "PJSIP/{exten}"
[[endpoint]]
name = "phones"
context = "default"
match = ["127.0.0.0/8"]
allow_register = "any"
"#;

#[test]
fn baresip_registers_and_its_lamp_says_so() {
    if !is_asked_for() {
        return;
    }
    let stage = Stage::configured("baresip-registers", 2, REGISTERED);
    let mut watcher = Phone::start(&stage, "watcher", "", 2007..2008);
    stage.wait_for_subscriptions(1);
    let phone = Phone::start(&stage, "2007", ";regint=60", 0..0);
    watcher.shows_change("Offline", "Online", "its REGISTER");
    let registrations = stage.console("registrations");
    assert!(registrations.contains("PJSIP/2007 "), "{registrations}");
    // Asked to end, it takes its contact back.
    phone.process.asks_to_end("INT");
    watcher.shows_change("Online", "Offline", "its end");
    stage.wait_for_counter("contact_removed", 1);
}

#[test]
fn baresip_reads_notifies_that_are_padded_into_trains() {
    if !is_asked_for() {
        return;
    }
    let stage = Stage::new("baresip-trains", 1);
    let lamps = 10_000..10_100;
    let mut phone = Phone::start(&stage, "watcher", "", lamps.clone());
    stage.wait_for_subscriptions(lamps.len());
    let devices: Vec<String> = lamps.map(|exten| format!("Custom:lamp{exten}")).collect();
    for (state, from, to) in [("INUSE", "Online", "Busy"), ("NOT_INUSE", "Busy", "Online")] {
        stage.set_devices(devices.iter().map(String::as_str), state);
        for _ in &devices {
            phone.shows_change(from, to, state);
        }
    }
    let net = stage.console("net");
    let line = net.lines().find(|line| line.starts_with("datagram_out_in_trains"));
    let count = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count > 20), "{net}");
    stage.wait_for_counter("notify_acked", 300);
}

/// Removes the escape sequences of a terminal: `ESC [ parameters letter`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find(|c: char| c.is_ascii_alphabetic()).map_or("", |at| &part[at + 1..]);
        text.push_str(rest);
    }
    text
}
