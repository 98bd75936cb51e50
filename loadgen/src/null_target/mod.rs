//! `lampload null-target`: the least a presence server can do, to find the generator's own
//! ceiling, and a server that errs on demand, to prove that the generator notices.
//!
//! It answers SUBSCRIBE with 200 and a NOTIFY, and a `SET exten STATE` datagram or a PUBLISH with
//! a NOTIFY to each watcher of that extension, alone or in the lists of a scenario. It keeps no
//! timers: nothing is retransmitted, nothing expires.

mod lists;

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use lampfield_net::sys::{BatchSocket, Datagram, ReceiveBatch, SocketOptions, wait_readable};
use lampfield_wire::{Framing, HeaderName, Message, NameAddr, parse_expires};

use self::lists::{Lists, Membership, Telling};
use crate::document;
use crate::lamp::{self, BodyFormat, DeviceState, Lamp};
use crate::limits::NULL_WATCHER_COUNT_MAX;
use crate::outcome::{LoadError, Outcome};
use crate::request::{put, write_answer};
use crate::units::parse_duration;

/// `lampload null-target`.
#[derive(Args, Clone, Debug)]
pub struct NullTargetArgs {
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Ends by itself after this time.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    run_for: Duration,
    /// Serve the lists of this scenario file; lists in requests are always served.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// Change a value of that scenario, as `lampload run --set` does.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Do something wrong in every n-th NOTIFY of a change, or whole list: KIND:N.
    #[arg(long, value_parser = parse_fault)]
    fault: Option<(Fault, u64)>,
    /// Wait this long before the NOTIFYs of each change.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    delay: Duration,
    /// Do not answer every n-th SUBSCRIBE, as if it had been lost.
    #[arg(long)]
    ignore: Option<u64>,
    /// Refuse every SUBSCRIBE with this code.
    #[arg(long)]
    refuse: Option<u16>,
}

/// What to do wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Fault {
    /// Do not send it.
    Skip,
    /// Send another state than the one set.
    Lie,
    /// Send it again as a new request.
    Twice,
    /// Send it again with the same CSeq on another branch.
    ReuseCseq,
    /// Send it with a CSeq lower than the last.
    LowerCseq,
    /// Send a body that is no XML.
    Garbage,
    /// End the subscription instead.
    Terminate,
    /// List: skip a version.
    VersionGap,
    /// List: use the last version again.
    VersionBack,
    /// List: name a part that is not there.
    BadCid,
    /// List: tell of somebody else, too.
    Stranger,
    /// List: name the member twice.
    NamedTwice,
    /// List: give the member's instance a new id.
    NewInstance,
    /// List: send the member's document alone.
    NoList,
    /// Whole list: say that it is partial.
    NotFull,
    /// Whole list: leave the last member out.
    DropMember,
    /// Whole list: spread it over several versions, which is right.
    Split,
}

impl Fault {
    /// Whether it is one of whole lists, not of changes.
    fn is_of_whole_lists(self) -> bool {
        matches!(self, Fault::NotFull | Fault::DropMember | Fault::Split)
    }
}

#[derive(Debug)]
struct Subscriber {
    extension: String,
    target_uri: String,
    from: String,
    to: String,
    call_id: String,
    event: String,
    format: BodyFormat,
    peer: SocketAddr,
    /// CSeq header of the newest SUBSCRIBE.
    asked: Vec<u8>,
    cseq: u32,
    version: u32,
    active: bool,
    /// The list, if it watches one.
    membership: Option<Membership>,
}

#[derive(Debug, Default)]
struct Target {
    subscribers: Vec<Subscriber>,
    by_call_id: HashMap<Vec<u8>, usize>,
    watchers: HashMap<String, Vec<usize>>,
    lists: Lists,
    states: HashMap<String, DeviceState>,
    entity_tags: HashMap<String, String>,
    local: String,
    refuse: Option<u16>,
    ignore: Option<u64>,
    subscribe_count: u64,
    fault: Option<(Fault, u64)>,
    change_notify_count: u64,
    whole_list_count: u64,
    branch_count: u64,
    out: Vec<u8>,
    ends: Vec<(SocketAddr, usize)>,
}

/// Runs `lampload null-target` until its time is over.
///
/// # Errors
///
/// The address cannot be used.
pub fn run(args: &NullTargetArgs) -> Result<Outcome, LoadError> {
    let broken = |error: std::io::Error| {
        LoadError::Setup(format!("null-target at {}: {error}", args.listen))
    };
    let options =
        SocketOptions { receive_buffer_bytes: 32 << 20, gro: true, ..SocketOptions::default() };
    let socket = BatchSocket::bind(args.listen, &options).map_err(broken)?;
    println!("listening on {}", socket.local_addr());
    std::io::stdout().flush().map_err(broken)?;
    let mut target = Target {
        local: socket.local_addr().to_string(),
        refuse: args.refuse,
        ignore: args.ignore,
        fault: args.fault,
        lists: match &args.scenario {
            Some(path) => Lists::of_file(path, &args.sets)?,
            None => Lists::default(),
        },
        ..Target::default()
    };
    let mut batch = ReceiveBatch::new(64, 65_536);
    let end = Instant::now() + args.run_for;
    while Instant::now() < end {
        if !wait_readable(socket.as_fd(), Duration::from_millis(100)).map_err(broken)? {
            continue;
        }
        while socket.receive(&mut batch).map_err(broken)? > 0 {
            for datagram in batch.datagrams() {
                if !args.delay.is_zero() && datagram.bytes.starts_with(b"SET ") {
                    std::thread::sleep(args.delay);
                }
                target.take(datagram.peer, datagram.bytes);
                target.flush(&socket);
            }
        }
    }
    Ok(Outcome::Ok)
}

impl Target {
    fn take(&mut self, peer: SocketAddr, bytes: &[u8]) {
        if let Some(command) = bytes.strip_prefix(b"SET ") {
            let answer = self.set(&String::from_utf8_lossy(command));
            self.out.extend_from_slice(answer.as_bytes());
            self.end_datagram(peer);
            return;
        }
        let Ok(message) = Message::scan(bytes, Framing::Datagram) else {
            return;
        };
        match message.method() {
            // An answer to one of our NOTIFYs.
            None => {}
            Some(b"SUBSCRIBE") => self.subscribe(peer, &message),
            Some(b"PUBLISH") => self.publish(peer, &message),
            Some(_) => {
                write_answer(&message, 405, Some("null"), &mut self.out);
                self.end_datagram(peer);
            }
        }
    }

    fn set(&mut self, command: &str) -> String {
        let Some((extension, token)) = command.trim().split_once(' ') else {
            return "ERR expected SET exten STATE".into();
        };
        let Some(state) = DeviceState::from_token(token) else {
            return format!("ERR no state {token}");
        };
        // As Lampfield: a change that changes nothing sends nothing.
        if self.states.insert(extension.to_owned(), state) != Some(state) {
            let watchers = self.watchers.get(extension).cloned().unwrap_or_default();
            for index in watchers {
                self.notify_change(index, extension, state);
            }
        }
        "OK".into()
    }

    /// Takes a state by PUBLISH; the entity-tag is the number of publications taken so far.
    fn publish(&mut self, peer: SocketAddr, message: &Message<'_>) {
        let uri = message.request_uri().and_then(|uri| uri.strip_prefix(b"sip:"));
        let user = uri.and_then(|uri| uri.split(|byte| *byte == b'@').next()).unwrap_or_default();
        let extension = String::from_utf8_lossy(user).into_owned();
        let if_match = message
            .header_lines()
            .find(|(_, spelling, _)| spelling.eq_ignore_ascii_case(b"SIP-If-Match"))
            .map(|(_, _, value)| String::from_utf8_lossy(value).into_owned());
        let content_type = message.header(HeaderName::ContentType).unwrap_or_default();
        let state = match lamp::read(content_type, message.body()).map(|read| read.lamp) {
            Some(Lamp::Idle) => DeviceState::NotInUse,
            Some(Lamp::Busy) => DeviceState::InUse,
            Some(Lamp::Ringing) => DeviceState::Ringing,
            Some(Lamp::Hold) => DeviceState::OnHold,
            Some(Lamp::Offline) => DeviceState::Unavailable,
            Some(Lamp::Other) | None => return self.answer_publish(peer, message, 400, ""),
        };
        let known = self.entity_tags.get(&extension).cloned();
        if if_match.is_some() && if_match != known {
            return self.answer_publish(peer, message, 412, "");
        }
        let entity_tag = format!("e{}", self.branch_count);
        self.branch_count += 1;
        self.entity_tags.insert(extension.clone(), entity_tag.clone());
        self.answer_publish(peer, message, 200, &format!("SIP-ETag: {entity_tag}\r\n"));
        self.set(&format!("{extension} {}", state.token()));
    }

    fn answer_publish(&mut self, peer: SocketAddr, message: &Message<'_>, code: u16, more: &str) {
        write_answer(message, code, Some("null"), &mut self.out);
        self.add_headers(more);
        self.end_datagram(peer);
    }

    /// Puts headers before the Content-Length and the empty line that end an answer.
    fn add_headers(&mut self, more: &str) {
        const END: &str = "Content-Length: 0\r\n\r\n";
        let length = self.out.len() - END.len();
        self.out.truncate(length);
        self.out.extend_from_slice(more.as_bytes());
        self.out.extend_from_slice(END.as_bytes());
    }

    fn subscribe(&mut self, peer: SocketAddr, message: &Message<'_>) {
        self.subscribe_count += 1;
        if self.ignore.is_some_and(|every| self.subscribe_count.is_multiple_of(every)) {
            return;
        }
        if let Some(code) = self.refuse {
            write_answer(message, code, Some("null"), &mut self.out);
            self.end_datagram(peer);
            return;
        }
        let Some((index, created)) = self.subscriber(peer, message) else {
            write_answer(message, 400, Some("null"), &mut self.out);
            self.end_datagram(peer);
            return;
        };
        let expires_s = message.header(HeaderName::Expires).and_then(parse_expires).unwrap_or(3600);
        let tag = created.then(|| format!("n{index}"));
        write_answer(message, 200, tag.as_deref(), &mut self.out);
        let requires = if self.subscribers[index].membership.is_some() {
            "Require: eventlist\r\n"
        } else {
            ""
        };
        let local = &self.local;
        self.add_headers(&format!("Contact: <sip:{local}>\r\nExpires: {expires_s}\r\n{requires}"));
        self.end_datagram(peer);
        let subscriber = &mut self.subscribers[index];
        let asked = message.header(HeaderName::CSeq).unwrap_or_default();
        if subscriber.asked == asked {
            // Sent again because our answer was late; its NOTIFY is on the way.
            return;
        }
        subscriber.asked = asked.to_vec();
        subscriber.active = expires_s > 0;
        if subscriber.membership.is_some() {
            return self.notify_whole(index);
        }
        let state = self.state(&self.subscribers[index].extension);
        self.notify(index, state, None);
    }

    fn state(&self, extension: &str) -> DeviceState {
        self.states.get(extension).copied().unwrap_or(DeviceState::NotInUse)
    }

    /// The fault of the n-th event, if it is one of these.
    fn fault_of(&self, count: u64, of_whole_lists: bool) -> Option<Fault> {
        let (fault, every) = self.fault?;
        let it_is = fault.is_of_whole_lists() == of_whole_lists && count.is_multiple_of(every);
        it_is.then_some(fault)
    }

    /// The subscription of a SUBSCRIBE, and whether it is new.
    fn subscriber(&mut self, peer: SocketAddr, message: &Message<'_>) -> Option<(usize, bool)> {
        let call_id = message.header(HeaderName::CallId)?;
        if let Some(index) = self.by_call_id.get(call_id) {
            let to = NameAddr::parse(message.header(HeaderName::To)?).ok()?;
            return Some((*index, to.tag().is_none()));
        }
        if self.subscribers.len() >= NULL_WATCHER_COUNT_MAX {
            return None;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let uri = message.request_uri()?.strip_prefix(b"sip:")?;
        let extension = text(uri.split(|byte| *byte == b'@').next()?);
        let contact = NameAddr::parse(message.header(HeaderName::Contact)?).ok()?;
        let accept = text(message.header(HeaderName::Accept).unwrap_or_default());
        let format = match accept.as_str() {
            accept if accept.contains("application/dialog-info") => BodyFormat::DialogInfo,
            accept if accept.contains("application/xpidf") => BodyFormat::Xpidf,
            _ => BodyFormat::Pidf,
        };
        let index = self.subscribers.len();
        self.subscribers.push(Subscriber {
            target_uri: text(contact.uri),
            from: format!("{};tag=n{index}", text(message.header(HeaderName::To)?)),
            to: text(message.header(HeaderName::From)?),
            call_id: text(call_id),
            event: text(message.header(HeaderName::Event)?),
            format,
            peer,
            asked: Vec::new(),
            cseq: 0,
            version: 0,
            active: true,
            membership: self.lists.find(&extension, message),
            extension: extension.clone(),
        });
        self.by_call_id.insert(call_id.to_vec(), index);
        match &self.subscribers[index].membership {
            None => self.watchers.entry(extension).or_default().push(index),
            Some(membership) => membership.members.iter().for_each(|member| {
                self.watchers.entry(member.clone()).or_default().push(index);
            }),
        }
        Some((index, true))
    }

    /// One NOTIFY of a change, right or wrong.
    fn notify_change(&mut self, index: usize, extension: &str, state: DeviceState) {
        if !self.subscribers[index].active {
            return;
        }
        self.change_notify_count += 1;
        let fault = self.fault_of(self.change_notify_count, false);
        let mut tell = |state, fault| match &self.subscribers[index].membership {
            None => self.notify(index, state, fault),
            Some(membership) => {
                let place = membership.members.iter().position(|member| member == extension);
                let told = [(place.unwrap_or(0), state)];
                self.notify_members(index, &told, false, fault);
            }
        };
        match fault {
            Some(Fault::Skip) => {}
            Some(Fault::Lie) => tell(DeviceState::OnHold, None),
            Some(Fault::Twice) => {
                tell(state, None);
                tell(state, None);
            }
            Some(Fault::ReuseCseq) => {
                tell(state, None);
                self.subscribers[index].cseq -= 1;
                self.notify(index, state, None);
            }
            Some(Fault::Terminate) => {
                self.subscribers[index].active = false;
                self.notify(index, state, None);
            }
            Some(Fault::NoList) => self.notify(index, state, None),
            _ => tell(state, fault),
        }
    }

    /// The whole list, in as many NOTIFYs as it takes.
    fn notify_whole(&mut self, index: usize) {
        let Some(membership) = &self.subscribers[index].membership else {
            return;
        };
        self.whole_list_count += 1;
        let fault = self.fault_of(self.whole_list_count, true);
        let chunks = membership.chunks(fault);
        for (number, places) in chunks.into_iter().enumerate() {
            let Some(membership) = &self.subscribers[index].membership else {
                return;
            };
            let told = places.map(|place| (place, self.state(&membership.members[place])));
            let told: Vec<(usize, DeviceState)> = told.collect();
            let full = number == 0 && fault != Some(Fault::NotFull);
            self.notify_members(index, &told, full, fault);
        }
    }

    fn notify_members(
        &mut self,
        index: usize,
        members: &[(usize, DeviceState)],
        full: bool,
        fault: Option<Fault>,
    ) {
        let subscriber = &mut self.subscribers[index];
        let Some(membership) = &mut subscriber.membership else {
            return;
        };
        match fault {
            Some(Fault::VersionGap) => membership.version += 1,
            Some(Fault::VersionBack) => membership.version = membership.version.saturating_sub(1),
            _ => {}
        }
        let telling = Telling {
            list: &subscriber.extension,
            membership,
            members,
            full,
            format: subscriber.format,
            fault,
            number: self.branch_count,
        };
        let (content_type, body) = telling.write();
        membership.version += 1;
        self.send_notify(index, &content_type, &body, fault);
    }

    fn notify(&mut self, index: usize, state: DeviceState, fault: Option<Fault>) {
        let subscriber = &mut self.subscribers[index];
        subscriber.version += 1;
        let name = &subscriber.extension;
        let entity = format!("sip:{name}@null");
        let (content_type, body) =
            document::write(subscriber.format, state, name, &entity, subscriber.version);
        self.send_notify(index, content_type, &body, fault);
    }

    fn send_notify(&mut self, index: usize, content_type: &str, body: &str, fault: Option<Fault>) {
        self.branch_count += 1;
        let subscriber = &mut self.subscribers[index];
        subscriber.cseq += 1;
        let Subscriber { target_uri, from, to, call_id, event, .. } = &*subscriber;
        let body = if fault == Some(Fault::Garbage) { "no XML" } else { body };
        let cseq = if fault == Some(Fault::LowerCseq) { 0 } else { subscriber.cseq };
        let active = subscriber.active;
        let word = if active { "active;expires=3600" } else { "terminated;reason=timeout" };
        let requires = if subscriber.membership.is_some() { "Require: eventlist\r\n" } else { "" };
        let (local, branch, body_bytes) = (&self.local, self.branch_count, body.len());
        put(
            &mut self.out,
            format_args!(
                "NOTIFY {target_uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKn{branch}\r\n\
                 Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
                 CSeq: {cseq} NOTIFY\r\nContact: <sip:{local}>\r\nEvent: {event}\r\n\
                 {requires}Subscription-State: {word}\r\nContent-Type: {content_type}\r\n\
                 Content-Length: {body_bytes}\r\n\r\n{body}"
            ),
        );
        let peer = subscriber.peer;
        self.end_datagram(peer);
    }

    fn end_datagram(&mut self, peer: SocketAddr) {
        self.ends.push((peer, self.out.len()));
    }

    fn flush(&mut self, socket: &BatchSocket) {
        let mut start = 0;
        let datagrams: Vec<Datagram<'_>> = self
            .ends
            .iter()
            .map(|(peer, end)| {
                let datagram = Datagram::new(*peer, &self.out[start..*end]);
                start = *end;
                datagram
            })
            .collect();
        let mut done = 0;
        while done < datagrams.len() {
            let sent = socket.send(&datagrams[done..]);
            done += sent;
            if sent == 0 {
                let _ =
                    lampfield_net::sys::wait_writable(socket.as_fd(), Duration::from_millis(10));
            }
        }
        drop(datagrams);
        self.ends.clear();
        self.out.clear();
    }
}

fn parse_fault(text: &str) -> Result<(Fault, u64), String> {
    let expected = || format!("{text:?} is not KIND:N, as in skip:10");
    let (kind, every) = text.split_once(':').ok_or_else(expected)?;
    let every = every.parse::<u64>().ok().filter(|every| *every > 0).ok_or_else(expected)?;
    Ok((Fault::from_str(kind, true).map_err(|why| format!("{kind:?}: {why}"))?, every))
}
