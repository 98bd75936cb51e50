//! Checks of everything the node sends, from the outside: it knows packets, not shards.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lampfield_core::Time;

use crate::facts;
use crate::phone::TRANSACTION;
use crate::sip::{self, Sip};

/// Every document is bounded, so every message is, but for lists: they have a bound of their own.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// How long an answer may take inside the node: mesh, turns, a late tick.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// What the packets say so far.
#[derive(Debug)]
pub(crate) struct Audit {
    /// By Call-ID and the node's tag.
    dialogs: HashMap<(String, String), DialogLog>,
    /// SUBSCRIBEs handed to the node, by branch: until when an answer must come.
    asked: BTreeMap<String, Time>,
    /// Bytes that addresses nobody vouches for may still get.
    strangers: HashMap<IpAddr, usize>,
    /// Least distance between NOTIFYs of changes, by Call-ID.
    paces: HashMap<String, Duration>,
    reloaded_at: Option<Time>,
    /// Bytes of a list's NOTIFY that shows more than one member.
    list_bytes_max: usize,
}

/// How long something may be owed that a reload made so: a NOTIFY in flight, and a pause.
const OWED_MAX: Duration = Duration::from_secs(70);
/// How long a request takes inside the node.
const INSIDE_MAX: Duration = Duration::from_millis(100);

/// One dialog's NOTIFYs.
#[derive(Debug, Default)]
struct DialogLog {
    cseq: u32,
    version: Option<u32>,
    /// Version of the next NOTIFY of a list, while nothing intervenes.
    next_version: Option<u32>,
    /// Last NOTIFY that began to tell a list from the start.
    full_at: Option<Time>,
    /// Last SUBSCRIBE inside the dialog.
    asked_at: Option<Time>,
    in_flight: Option<InFlight>,
    /// NOTIFYs in a row whose transaction ended without an answer.
    unanswered_count: u32,
    is_terminated: bool,
    /// The node died before the end was acknowledged: it may tell it once more.
    may_end_again: bool,
    /// When a record about it was last made: it was accepted, refreshed or ended.
    kept_at: Option<Time>,
    /// When the node may forget it.
    expires_at: Option<Time>,
    /// Why the node may have forgotten it before.
    excuse: Option<&'static str>,
}

#[derive(Debug)]
struct InFlight {
    branch: String,
    bytes: Vec<u8>,
    sent_at: Time,
    is_answered: bool,
    /// When it was answered with 2xx.
    acked_at: Option<Time>,
}

impl Audit {
    pub(crate) fn new(list_bytes_max: usize) -> Self {
        Self {
            dialogs: HashMap::new(),
            asked: BTreeMap::new(),
            strangers: HashMap::new(),
            paces: HashMap::new(),
            reloaded_at: None,
            list_bytes_max,
        }
    }

    /// A watcher wants its NOTIFYs of changes this far apart, or its list does.
    pub(crate) fn expect_pace(&mut self, call_id: &str, pace: Duration) {
        if pace > Duration::ZERO {
            self.paces.insert(call_id.to_owned(), pace);
        }
    }

    /// The node is told of another configuration.
    pub(crate) fn reloaded(&mut self, now: Time) {
        self.reloaded_at = Some(now);
    }

    /// A packet is handed to the node.
    pub(crate) fn incoming(
        &mut self,
        peer: SocketAddr,
        is_stranger: bool,
        bytes: &[u8],
        now: Time,
    ) {
        if is_stranger {
            *self.strangers.entry(peer.ip()).or_default() += bytes.len();
            return;
        }
        let Ok(message) = Sip::parse(bytes) else { return };
        match message.code() {
            Some(code) if code >= 200 => self.answered(code, &message, now),
            None if message.method() == Some("SUBSCRIBE") => {
                self.asked.insert(message.branch().to_owned(), now + ANSWER_MAX);
                let key = (message.header("Call-ID").to_owned(), message.tag("To").to_owned());
                if let Some(log) = self.dialogs.get_mut(&key) {
                    log.asked_at = Some(now);
                }
                if message.header("Expires") == "0"
                    && let Some(log) = self.dialogs.get_mut(&key)
                {
                    log.excuse = Some("unsubscribed");
                }
            }
            _ => {}
        }
    }

    fn answered(&mut self, code: u16, answer: &Sip<'_>, now: Time) {
        let key = (answer.header("Call-ID").to_owned(), answer.tag("From").to_owned());
        let Some(log) = self.dialogs.get_mut(&key) else { return };
        let Some(in_flight) = &mut log.in_flight else { return };
        if in_flight.branch != answer.branch() {
            return;
        }
        if code < 300 && !in_flight.is_answered {
            in_flight.acked_at = Some(now);
        }
        in_flight.is_answered = true;
        log.unanswered_count = 0;
        if log.is_terminated {
            log.kept_at = Some(now);
        }
        if code >= 300 && answer.header("Retry-After").is_empty() {
            log.excuse = Some("a NOTIFY was refused");
        }
    }

    /// A packet leaves the node.
    pub(crate) fn outgoing(
        &mut self,
        peer: SocketAddr,
        is_stranger: bool,
        bytes: &[u8],
        now: Time,
    ) -> Result<(), String> {
        let is_list = contains(bytes, b"multipart/related");
        if bytes.len() > MESSAGE_BYTES_MAX && !is_list {
            return Err(format!("a message of {} bytes to {peer}", bytes.len()));
        }
        if is_stranger {
            let allowance = self.strangers.entry(peer.ip()).or_default();
            return match allowance.checked_sub(bytes.len()) {
                Some(left) => {
                    *allowance = left;
                    Ok(())
                }
                None => Err(format!("{peer} is nobody and gets more than it sent")),
            };
        }
        let message = Sip::parse(bytes)?;
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            if message.header(name).is_empty() {
                return Err(format!("{} without {name}", message.start));
            }
        }
        match message.code() {
            Some(code) => self.response(code, &message, now),
            None if message.method() == Some("NOTIFY") => self.notify(&message, bytes, now),
            None => Err(format!("the node sends {}", message.start)),
        }
    }

    fn response(&mut self, code: u16, message: &Sip<'_>, now: Time) -> Result<(), String> {
        self.asked.remove(message.branch());
        let known = [200, 204, 400, 404, 481, 482, 500, 503];
        if !known.contains(&code) {
            return Err(format!("unexpected answer {code}"));
        }
        if message.tag("To").is_empty() {
            return Err(format!("{code} without a To tag"));
        }
        if message.cseq().1 != "SUBSCRIBE" || code >= 300 {
            return Ok(());
        }
        let expires_s: u64 =
            message.header("Expires").parse().map_err(|_| "200 without Expires".to_owned())?;
        let key = (message.header("Call-ID").to_owned(), message.tag("To").to_owned());
        let log = self.dialogs.entry(key).or_default();
        log.expires_at = Some(now + Duration::from_secs(expires_s));
        log.kept_at = Some(now);
        if expires_s == 0 {
            log.excuse = Some("a fetch, or unsubscribed");
        }
        Ok(())
    }

    fn notify(&mut self, message: &Sip<'_>, bytes: &[u8], now: Time) -> Result<(), String> {
        for name in ["Event", "Subscription-State", "Contact", "Max-Forwards", "Content-Type"] {
            // A list's watcher may want no bodies.
            let is_empty = message.body.is_empty() && message.header("Require") == "eventlist";
            if !(name == "Content-Type" && is_empty) && message.header(name).is_empty() {
                return Err(format!("NOTIFY without {name}"));
            }
        }
        let call_id = message.header("Call-ID");
        let (cseq, _) = message.cseq();
        let key = (call_id.to_owned(), message.tag("From").to_owned());
        let log = self.dialogs.entry(key).or_default();
        let ends = message.header("Subscription-State").starts_with("terminated");
        if log.may_end_again && ends {
            log.is_terminated = false;
        }
        if let Some(in_flight) = &log.in_flight {
            if in_flight.branch == message.branch() {
                return if in_flight.bytes == bytes {
                    Ok(())
                } else {
                    Err(format!("{call_id}: a retransmission differs from its NOTIFY {cseq}"))
                };
            }
            if log.is_terminated {
                return Err(format!("{call_id}: NOTIFY {cseq} after the terminated one"));
            }
            let is_over = now.since(in_flight.sent_at) >= TRANSACTION - Duration::from_millis(1);
            if !in_flight.is_answered && !is_over {
                return Err(format!("{call_id}: NOTIFY {cseq} while {} is in flight", log.cseq));
            }
            log.unanswered_count += u32::from(!in_flight.is_answered);
        }
        if log.is_terminated {
            return Err(format!("{call_id}: NOTIFY {cseq} after the terminated one"));
        }
        if cseq <= log.cseq {
            return Err(format!("{call_id}: CSeq {cseq} after {}", log.cseq));
        }
        let is_list = message.header("Require") == "eventlist";
        if is_list {
            check_list(message, bytes, log, self.list_bytes_max)?;
            if message.body.contains("fullState=\"true\"") {
                log.full_at = Some(now);
            }
        }
        let is_reloaded = self.reloaded_at.is_some_and(|at| now.since(at) < OWED_MAX);
        // An end in several NOTIFYs is one from the first on.
        let is_over = sip::param(message.header("Subscription-State"), "expires") == Some("0");
        let is_free = ends || is_over || is_reloaded;
        let pace = self.paces.get(call_id).filter(|_| !is_free);
        if let Some(pace) = pace.copied() {
            check_pace(call_id, log, pace, now)?;
        }
        let version = if is_list { None } else { facts::version(message.body) };
        if version.is_some() && version <= log.version {
            return Err(format!("{call_id}: version {version:?} after {:?}", log.version));
        }
        (log.is_terminated, log.may_end_again) = (ends, false);
        if log.is_terminated {
            log.kept_at = Some(now);
            log.excuse = Some("terminated");
        }
        if let Some(seconds) = sip::param(message.header("Subscription-State"), "expires") {
            let seconds: u64 =
                seconds.parse().map_err(|_| format!("{call_id}: expires={seconds}"))?;
            // The 200 may be sent after the first NOTIFY, never with a longer time.
            log.expires_at.get_or_insert(now + Duration::from_secs(seconds));
        }
        (log.cseq, log.version) = (cseq, version.or(log.version));
        log.in_flight = Some(InFlight {
            branch: message.branch().to_owned(),
            bytes: bytes.to_vec(),
            sent_at: now,
            is_answered: false,
            acked_at: None,
        });
        Ok(())
    }

    /// The node lost its memory of everything in flight, and of what its store had not committed
    /// yet.
    pub(crate) fn node_killed(&mut self, now: Time, commit_lag: Duration) {
        self.asked.clear();
        for log in self.dialogs.values_mut() {
            let in_flight = log.in_flight.take();
            log.next_version = None;
            log.may_end_again |= log.is_terminated && in_flight.is_some_and(|f| !f.is_answered);
            if log.kept_at.is_some_and(|at| now.since(at) <= commit_lag) {
                log.excuse = Some("its last record was lost");
                // The end was not committed: the node remembers a dialog that is over.
                log.is_terminated = false;
            }
        }
    }

    /// Every SUBSCRIBE was answered in time.
    pub(crate) fn check_answers(&self, now: Time) -> Result<(), String> {
        match self.asked.iter().find(|(_, until)| **until < now) {
            Some((branch, until)) => {
                Err(format!("the SUBSCRIBE {branch} was not answered until {until:?}"))
            }
            None => Ok(()),
        }
    }

    /// Why the node may have forgotten a dialog; `None` if it must know it.
    pub(crate) fn excuse(&self, call_id: &str, tag: &str, now: Time) -> Option<&'static str> {
        let Some(log) = self.dialogs.get(&(call_id.to_owned(), tag.to_owned())) else {
            return Some("it never had it");
        };
        let pending = log.in_flight.as_ref().is_some_and(|in_flight| {
            !in_flight.is_answered && now.since(in_flight.sent_at) >= TRANSACTION
        });
        if log.unanswered_count + u32::from(pending) >= 2 {
            return Some("two NOTIFYs in a row were not answered");
        }
        if log.expires_at.is_some_and(|at| at <= now) {
            return Some("expired");
        }
        log.excuse
    }

    /// Whether a list is being told from the start, in several NOTIFYs, since less than `within`.
    pub(crate) fn is_telling(&self, call_id: &str, tag: &str, within: Duration, now: Time) -> bool {
        let log = self.dialogs.get(&(call_id.to_owned(), tag.to_owned()));
        log.and_then(|log| log.full_at).is_some_and(|at| now.since(at) < within)
    }

    /// How many NOTIFYs the node sent last in a dialog, for messages.
    pub(crate) fn describe(&self, call_id: &str, tag: &str) -> String {
        match self.dialogs.get(&(call_id.to_owned(), tag.to_owned())) {
            Some(log) => format!(
                "last NOTIFY {} at {:?}, answered {:?}, terminated {}",
                log.cseq,
                log.in_flight.as_ref().map(|f| f.sent_at),
                log.in_flight.as_ref().map(|f| f.is_answered),
                log.is_terminated
            ),
            None => "no NOTIFY was ever sent".to_owned(),
        }
    }
}

/// A list's NOTIFY: as long as allowed, and counted without gaps.
fn check_list(
    message: &Sip<'_>,
    bytes: &[u8],
    log: &mut DialogLog,
    bytes_max: usize,
) -> Result<(), String> {
    let call_id = message.header("Call-ID");
    let member_count = facts::member_count(message.body);
    if bytes.len() > bytes_max && member_count > 1 {
        let byte_count = bytes.len();
        return Err(format!("{call_id}: {byte_count} bytes show {member_count} members"));
    }
    let version = facts::list_version(message.body);
    if let (Some(version), Some(wanted)) = (version, log.next_version)
        && version != wanted
    {
        return Err(format!("{call_id}: list version {version} where {wanted} is due"));
    }
    // One without a body shows no version: its watcher must not see a gap.
    log.next_version = version.map(|version| version + 1).or(log.next_version);
    Ok(())
}

/// A NOTIFY that nobody asked for keeps its distance from the one before, if that one arrived.
fn check_pace(call_id: &str, log: &DialogLog, pace: Duration, now: Time) -> Result<(), String> {
    let Some(before) = &log.in_flight else { return Ok(()) };
    let is_acked =
        before.acked_at.is_some_and(|at| at.since(before.sent_at) + INSIDE_MAX < TRANSACTION);
    let is_asked = log.asked_at.is_some_and(|at| at + INSIDE_MAX >= before.sent_at);
    let distance = now.since(before.sent_at);
    if is_acked && !is_asked && distance < pace {
        return Err(format!("{call_id}: too early, {distance:?} after the last NOTIFY"));
    }
    Ok(())
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
