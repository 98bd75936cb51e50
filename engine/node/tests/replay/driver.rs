//! Holds a captured conversation with a node: sends what was sent, expects what came.
//!
//! Ports, and the tags that the server chose, are ours; they are swapped in everything that is
//! sent and in everything that is expected. Numbers of NOTIFYs are compared by their distance
//! from the first of the dialog.

use std::collections::{BTreeSet, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lampfield_wire::header::CSeq;
use lampfield_wire::{Framing, HeaderName, Message};

use crate::ami_client::Client;
use crate::capture::{Captured, Step};
use crate::deviations::{Difference, reason_of};
use crate::facts::{check_lengths, facts, text};
use crate::lab::Lab;
use crate::phone::answer_to;

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing comes after a command that nobody was told of.
const QUIET: Duration = Duration::from_millis(40);

/// A NOTIFY that came, for its answer and its repetitions.
struct Notify {
    bytes: Vec<u8>,
    came_at: Instant,
    captured_at: Duration,
}

/// A conversation under way.
pub(crate) struct Driver<'l> {
    pub(crate) lab: &'l mut Lab,
    pub(crate) trace: &'static str,
    /// The client of the manager interface.
    pub(crate) manager: Option<Client>,
    /// Captured seconds per second of ours.
    scale: u32,
    sockets: HashMap<SocketAddr, UdpSocket>,
    swaps: Vec<(String, String)>,
    notifies: HashMap<(String, u32), Notify>,
    /// What came before its turn: dialogs of several shards have no order among them.
    early: Vec<(SocketAddr, Vec<u8>)>,
    /// First captured and first own CSeq of a dialog.
    pub(crate) first_numbers: HashMap<String, (u32, u32)>,
    /// The deliberate differences that were met.
    pub(crate) met: BTreeSet<&'static str>,
    pub(crate) title: String,
}

impl<'l> Driver<'l> {
    pub(crate) fn new(lab: &'l mut Lab, trace: &'static str, scale: u32) -> Self {
        let node_port = format!(":{}", lab.address.port());
        Self {
            lab,
            trace,
            manager: None,
            scale,
            sockets: HashMap::new(),
            swaps: vec![(":5070".to_owned(), node_port)],
            notifies: HashMap::new(),
            early: Vec::new(),
            first_numbers: HashMap::new(),
            met: BTreeSet::new(),
            title: String::new(),
        }
    }

    /// Holds the conversation; `at_title` may prepare what a heading announces.
    pub(crate) fn run(&mut self, steps: &[Step], at_title: impl Fn(&Lab, &str)) {
        for (place, step) in steps.iter().enumerate() {
            match step {
                Step::Title(title) => {
                    self.title.clone_from(title);
                    at_title(self.lab, title);
                }
                Step::Command { command, output } => {
                    self.command(command, output);
                    let is_answered = |step: &Step| matches!(step, Step::Message(m) if !m.is_sent);
                    if !steps.get(place + 1).is_some_and(is_answered) {
                        self.expect_quiet();
                    }
                }
                Step::Message(message) if message.is_sent => self.send(message),
                Step::Message(message) => self.receive(message),
                Step::Greeted => self.connect(),
                Step::Asked(request) => self.ask(request),
                Step::Heard(messages) => self.hear(messages),
            }
        }
        self.expect_quiet();
    }

    fn send(&mut self, message: &Captured) {
        let bytes = if message.head[0].starts_with("SIP/2.0 ") {
            self.answer(message)
        } else {
            // Opens the socket, so that its port is known.
            self.socket(message.watcher);
            message.bytes(|text| self.swap(text))
        };
        let address = self.lab.address;
        self.socket(message.watcher).send_to(&bytes, address).expect("sent");
    }

    /// The captured answer to the NOTIFY that we got in place of the captured one.
    fn answer(&self, message: &Captured) -> Vec<u8> {
        let notify = self.notifies.get(&message.key()).expect("what is answered has come");
        let request = Message::scan(&notify.bytes, Framing::Datagram).expect("a NOTIFY");
        answer_to(&request, &message.head[0])
    }

    fn receive(&mut self, message: &Captured) {
        let got = self.datagram(message);
        let is_notify = message.head[0].starts_with("NOTIFY ");
        if is_notify && let Some(first) = self.notifies.get(&message.key()) {
            assert_eq!(text(&got), text(&first.bytes), "{} {}: again", self.trace, self.title);
            let (ours, theirs) = (first.came_at.elapsed(), message.at - first.captured_at);
            let least = (theirs / self.scale).mul_f64(0.9);
            assert!(ours >= least, "came again after {ours:?}, not {theirs:?}/{}", self.scale);
            return;
        }
        self.learn_tag(message, &got);
        self.compare(message, &got);
        if is_notify {
            self.count(message, &got);
            let (came_at, captured_at) = (Instant::now(), message.at);
            self.notifies.insert(message.key(), Notify { bytes: got, came_at, captured_at });
        }
    }

    fn datagram(&mut self, message: &Captured) -> Vec<u8> {
        let place = format!("{} at {:?}, {}", self.trace, message.at, self.title);
        let call_id = message.header("Call-ID");
        let is_it = |got: &[u8]| {
            let got = Message::scan(got, Framing::Datagram).expect("SIP");
            text(got.header(HeaderName::CallId).unwrap_or_default()) == call_id
        };
        let is_early =
            |(watcher, got): &(SocketAddr, Vec<u8>)| *watcher == message.watcher && is_it(got);
        if let Some(at) = self.early.iter().position(is_early) {
            return self.early.remove(at).1;
        }
        loop {
            let mut buffer = vec![0; 65536];
            match self.socket(message.watcher).recv(&mut buffer) {
                Ok(length) => buffer.truncate(length),
                Err(error) => {
                    let early = self.early.len();
                    panic!("{place}: {error}, expected {}; {early} of others", message.head[0])
                }
            }
            if is_it(&buffer) {
                return buffer;
            }
            self.early.push((message.watcher, buffer));
        }
    }

    /// The tag that the server chose, where it was not sent before.
    fn learn_tag(&mut self, message: &Captured, got: &[u8]) {
        let tag = |to: &str| to.split(";tag=").nth(1).map(str::to_owned);
        let Some(captured) = tag(message.header("To")) else { return };
        let scanned = Message::scan(got, Framing::Datagram).expect("SIP");
        let ours = tag(&text(scanned.header(HeaderName::To).unwrap_or_default()));
        let is_chosen = captured.len() == 36 || captured.starts_with("z9hG4bK");
        let known =
            self.swaps.iter().any(|(theirs, _)| theirs.strip_prefix(";tag=") == Some(&captured));
        if is_chosen && !known && scanned.status().is_some() {
            let ours = ours.expect("a tag in To");
            self.swaps.push((format!(";tag={captured}"), format!(";tag={ours}")));
        }
    }

    /// Compares what came with what was captured.
    fn compare(&mut self, message: &Captured, got: &[u8]) {
        let want = facts(&message.bytes(|text| self.swap(text)));
        check_lengths(&Message::scan(got, Framing::Datagram).expect("SIP"));
        let got = facts(got);
        let names: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
        for name in names {
            let absent = "(absent)".to_owned();
            let (want, got) = (want.get(name).unwrap_or(&absent), got.get(name).unwrap_or(&absent));
            if want != got && !is_near(name, want, got) {
                self.differ(name, want, got);
            }
        }
    }

    /// A NOTIFY of a dialog has the number after that of the one before.
    fn count(&mut self, message: &Captured, got: &[u8]) {
        let scanned = Message::scan(got, Framing::Datagram).expect("SIP");
        let cseq = CSeq::parse(scanned.header(HeaderName::CSeq).unwrap_or_default());
        let ours = cseq.expect("a CSeq").number;
        let (call_id, theirs) = message.key();
        let first = *self.first_numbers.entry(call_id).or_insert((theirs, ours));
        assert_eq!(ours - first.1, theirs - first.0, "{} {}: CSeq", self.trace, self.title);
    }

    pub(crate) fn differ(&mut self, name: &str, want: &str, got: &str) {
        let (trace, title) = (self.trace, self.title.as_str());
        let difference = Difference { title, name, want, got };
        match reason_of(&difference) {
            Some(reason) => {
                self.met.insert(reason);
            }
            None => panic!("{trace}, {title}: {name} is {got:?}, captured {want:?}"),
        }
    }

    /// Nothing comes to any watcher.
    pub(crate) fn expect_quiet(&self) {
        self.expect_quiet_for(QUIET);
    }

    /// As [`Driver::expect_quiet`], for so long.
    pub(crate) fn expect_quiet_for(&self, time: Duration) {
        assert!(self.early.is_empty(), "{} {}: something came too much", self.trace, self.title);
        for socket in self.sockets.values() {
            socket.set_read_timeout(Some(time)).expect("set");
            let mut buffer = [0; 65536];
            if let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                panic!("{}, {}: nothing was to come, but {text}", self.trace, self.title);
            }
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
        }
    }

    /// The socket that stands for a captured address.
    fn socket(&mut self, captured: SocketAddr) -> &UdpSocket {
        self.sockets.entry(captured).or_insert_with(|| {
            let socket = UdpSocket::bind((captured.ip(), 0)).expect("a loopback address");
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
            let port = socket.local_addr().expect("bound").port();
            for lead in [":", "rport="] {
                self.swaps.push((format!("{lead}{}", captured.port()), format!("{lead}{port}")));
            }
            socket
        })
    }

    /// A captured text with our ports and tags: in one pass, as ours may look like captured ones.
    fn swap(&self, text: &str) -> String {
        let (mut swapped, mut rest) = (String::new(), text);
        while let Some(c) = rest.chars().next() {
            let found = self.swaps.iter().find(|(theirs, _)| rest.starts_with(theirs.as_str()));
            match found {
                Some((theirs, ours)) => {
                    swapped.push_str(ours);
                    rest = &rest[theirs.len()..];
                }
                None => {
                    swapped.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        swapped
    }
}

/// Whether a remaining time is the captured one but for what our test ran faster: a captured
/// conversation took seconds where ours takes milliseconds.
fn is_near(name: &str, want: &str, got: &str) -> bool {
    let number = |text: &str| text.strip_prefix("Some(")?.strip_suffix(')')?.parse().ok();
    name == "Subscription-State expires" && are_near(number(want), number(got))
}

/// As [`is_near`], of seconds.
pub(crate) fn are_near(want: Option<u32>, got: Option<u32>) -> bool {
    matches!((want, got), (Some(want), Some(got)) if want <= got + 5 && got <= want + 30)
}
