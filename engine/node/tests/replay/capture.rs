//! Reading a capture: headings, console commands with their output, SIP messages with their
//! addresses and times.

use std::net::SocketAddr;
use std::time::Duration;

/// What happened at one point of a capture.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A heading.
    Title(String),
    /// A console command and what it printed.
    Command { command: String, output: String },
    /// A message.
    Message(Captured),
}

/// A captured SIP message.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// From the watcher to the server.
    pub(crate) is_sent: bool,
    /// The watcher's address.
    pub(crate) watcher: SocketAddr,
    /// Time of day.
    pub(crate) at: Duration,
    /// Lines of the head.
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
}

impl Captured {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = |line: &'_ str| line.strip_prefix(name)?.strip_prefix(": ").map(str::len);
        let found = self.head.iter().find_map(|line| Some(&line[line.len() - value(line)?..]));
        found.unwrap_or_default()
    }

    /// What tells a NOTIFY from all others: its dialog and its number there.
    pub(crate) fn key(&self) -> (String, u32) {
        let cseq = self.header("CSeq").split(' ').next().unwrap_or_default();
        (self.header("Call-ID").to_owned(), cseq.parse().expect("a CSeq"))
    }

    /// The same NOTIFY with another number.
    pub(crate) fn renumbered(&self, number: u32) -> Self {
        let mut ours = self.clone();
        for line in ours.head.iter_mut().filter(|line| line.starts_with("CSeq: ")) {
            *line = format!("CSeq: {number} NOTIFY");
        }
        ours
    }

    /// The message as it goes over the wire. Its length is that of its body, which differs from
    /// the captured one when ports do.
    pub(crate) fn bytes(&self, swap: impl Fn(&str) -> String) -> Vec<u8> {
        let body = swap(&self.body);
        let mut text = String::new();
        for line in self.head.iter().filter(|line| !line.starts_with("Content-Length:")) {
            text.push_str(&swap(line));
            text.push_str("\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        text.into_bytes()
    }
}

/// Reads a capture.
pub(crate) fn parse(text: &str) -> Vec<Step> {
    let lines: Vec<&str> = text.lines().collect();
    let is_mark = |line: &&str| {
        line.starts_with("##### ") || line.starts_with("$ asterisk ") || line.starts_with("----- ")
    };
    let places: Vec<usize> = (0..lines.len()).filter(|at| is_mark(&lines[*at])).collect();
    let ends = places.iter().skip(1).copied().chain([lines.len()]);
    places.iter().zip(ends).map(|(&at, end)| step(lines[at], &lines[at + 1..end])).collect()
}

fn step(mark: &str, rest: &[&str]) -> Step {
    if let Some(title) = mark.strip_prefix("##### ") {
        return Step::Title(title.to_owned());
    }
    if let Some(command) = mark.strip_prefix("$ asterisk -rx \"") {
        let command = command.strip_suffix('"').expect("a closing quote").to_owned();
        return Step::Command { command, output: rest.join("\n").trim_end().to_owned() };
    }
    let words: Vec<&str> = mark.split(' ').collect();
    let is_sent = words[2] == "SEND";
    let watcher = if is_sent { words[3] } else { words[5] };
    let head: Vec<String> =
        rest.iter().take_while(|line| !line.is_empty()).map(|line| (*line).to_owned()).collect();
    let body = rest[head.len()..].join("\n").trim().to_owned();
    let body = if body.is_empty() { body } else { body + "\n" };
    Step::Message(Captured {
        is_sent,
        watcher: watcher.parse().expect("an address"),
        at: time_of_day(words[1]),
        head,
        body,
    })
}

fn time_of_day(text: &str) -> Duration {
    let parts: Vec<f64> = text.split(':').map(|part| part.parse().expect("a number")).collect();
    Duration::from_secs_f64(parts[0] * 3600.0 + parts[1] * 60.0 + parts[2])
}
