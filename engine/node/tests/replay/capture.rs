//! Reading a capture: headings, console commands with their output, SIP messages with their
//! addresses and times, requests to the manager interface and what came back.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ami_client::{self, header_of};

/// What happened at one point of a capture.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A heading.
    Title(String),
    /// A console command and what it printed.
    Command { command: String, output: String },
    /// A SIP message.
    Message(Captured),
    /// A manager's client was let in.
    Greeted,
    /// What it asked.
    Asked(String),
    /// What came then: a reply, and events in any order.
    Heard(Vec<ami_client::Message>),
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
    let is_mark = |line: &str| {
        line.starts_with("##### ") || line.starts_with("$ asterisk ") || line.starts_with("----- ")
    };
    let places: Vec<usize> = (0..lines.len()).filter(|at| is_mark(lines[*at])).collect();
    let ends = places.iter().skip(1).copied().chain([lines.len()]);
    places.iter().zip(ends).flat_map(|(&at, end)| read(lines[at], &lines[at + 1..end])).collect()
}

/// The steps that a mark and the lines below it are.
fn read(mark: &str, rest: &[&str]) -> Vec<Step> {
    if let Some(title) = mark.strip_prefix("##### ") {
        // Below one heading are replies without their requests.
        return [vec![Step::Title(title.to_owned())], heard(rest)].concat();
    }
    match mark {
        "----- AMI SEND" => vec![Step::Asked(rest.join("\r\n").trim_end().to_owned())],
        "----- AMI RECV" => heard(rest),
        _ => vec![step(mark, rest)],
    }
}

/// A banner, then messages that end with an empty line.
fn heard(lines: &[&str]) -> Vec<Step> {
    let mut steps = Vec::new();
    let lines = match lines.split_first() {
        Some((first, rest)) if first.starts_with("Asterisk Call Manager/") => {
            steps.push(Step::Greeted);
            rest
        }
        _ => lines,
    };
    let blocks = lines.split(|line| line.is_empty()).filter(|block| !block.is_empty());
    let messages: Vec<ami_client::Message> =
        blocks.map(|block| block.iter().map(|line| header_of(line)).collect()).collect();
    if !messages.is_empty() {
        steps.push(Step::Heard(messages));
    }
    steps
}

fn step(mark: &str, rest: &[&str]) -> Step {
    if let Some(command) = mark.strip_prefix("$ asterisk -rx \"") {
        let command = command.strip_suffix('"').expect("a closing quote").to_owned();
        // An empty line ends it.
        let output = rest.split_last().map_or(rest, |(_, output)| output);
        return Step::Command { command, output: output.join("\n") + "\n" };
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
