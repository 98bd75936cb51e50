//! Captured conversations with the manager interface: replies and events, header by header.
//!
//! Not compared: values of times, and the order of events and of rows of lists, which an Asterisk
//! leaves open.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::ami_client::{Client, Message, value};
use crate::deviations::{ABSENT, Difference, reason_of};
use crate::driver::Driver;

/// Headers whose values are times.
const TIMES: [&str; 3] = ["Timestamp", "Uptime", "LastReload"];

/// What tells the events after one request apart.
const SUBJECTS: [&str; 5] = ["Presentity", "Device", "Exten", "Callid", "Variable"];

impl Driver<'_> {
    /// Connects a client; the one before it has heard everything that was captured.
    pub(crate) fn connect(&mut self) {
        self.leave_manager();
        self.manager = Some(Client::connect(self.lab.ami));
    }

    pub(crate) fn ask(&mut self, request: &str) {
        let client = self.manager.as_mut().expect("a client");
        client.send(format!("{request}\r\n\r\n").as_bytes());
    }

    /// Waits for what was captured, but for what we leave out on purpose, and compares it.
    pub(crate) fn hear(&mut self, captured: &[Message]) {
        let mut want = named(captured);
        let names: Vec<String> = want.keys().cloned().collect();
        for name in names {
            let title = self.title.as_str();
            let left_out = Difference { title, name: "message", want: &name, got: ABSENT };
            if let Some(reason) = reason_of(&left_out) {
                self.met.insert(reason);
                want.remove(&name);
            }
        }
        let client = self.manager.as_mut().expect("a client");
        let next = |_| client.message().expect("what was captured comes");
        let got: Vec<Message> = (0..want.len()).map(next).collect();
        assert_eq!(got[0][0].0, "Response", "the reply comes first: {got:?}");
        let got = named(&got);
        for (name, got) in &got {
            match want.get(name) {
                Some(want) => self.compare_messages(want, got),
                None => self.differ("message", ABSENT, name),
            }
        }
    }

    fn compare_messages(&mut self, want: &Message, got: &Message) {
        let names = |message: &Message| -> Vec<String> {
            message.iter().map(|(name, _)| name.clone()).collect()
        };
        let (theirs, ours) = (names(want).join(", "), names(got).join(", "));
        self.differ_unless_equal("headers", &theirs, &ours);
        for ((name, want), (_, got)) in want.iter().zip(got) {
            if !(TIMES.contains(&&**name) && got.parse::<f64>().is_ok()) {
                self.differ_unless_equal(name, want, got);
            }
        }
    }

    /// Ends the client; nothing came that was not captured.
    pub(crate) fn leave_manager(&mut self) {
        let Some(mut client) = self.manager.take() else { return };
        // A server that refused a login has closed the connection.
        let _ = client.stream.write_all(b"Action: Ping\r\n\r\n");
        if let Some(message) = client.message() {
            assert_eq!(value(&message, "Ping"), "Pong", "not captured: {message:?}");
        }
    }
}

/// Messages by what they are about.
fn named(messages: &[Message]) -> BTreeMap<String, Message> {
    let mut all = BTreeMap::new();
    for message in messages {
        let subject = SUBJECTS.iter().map(|name| value(message, name)).find(|v| !v.is_empty());
        let name = match value(message, "Event") {
            "" => "the reply".to_owned(),
            event => format!("{event} {}", subject.unwrap_or_default()).trim_end().to_owned(),
        };
        let before = all.insert(name, message.clone());
        assert!(before.is_none(), "twice: {message:?}");
    }
    all
}
