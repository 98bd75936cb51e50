//! A simulated phone: it subscribes, refreshes, answers NOTIFYs well or badly, crashes, returns.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use lampfield_core::Time;
use lampfield_core::body::Format;
use lampfield_core::config::Dialect;
use lampfield_core::package::Package;

use crate::facts::{self, Look};
use crate::lists::{HOST, ListSource};
use crate::manner::Manner;
use crate::model::ENDPOINTS;
use crate::network::Link;
use crate::roster::Roster;
use crate::sip::{self, Sip};

/// RFC 3261 timers, as the node's limits have them.
pub(crate) const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// 64 T1: the life of a transaction.
pub(crate) const TRANSACTION: Duration = Duration::from_secs(32);
const SEEN_COUNT_MAX: usize = 24;

/// One phone. Its name is in the Call-IDs of its dialogs.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) index: usize,
    /// Where its packets come from: its own address, or its edge proxy's.
    pub(crate) address: SocketAddr,
    /// Second byte of the address: which endpoint it is.
    pub(crate) endpoint: usize,
    /// Behind an edge proxy that records its route.
    pub(crate) behind_edge: bool,
    pub(crate) link: Link,
    /// How often it mistreats a NOTIFY.
    pub(crate) rudeness_percent: u8,
    pub(crate) is_up: bool,
    pub(crate) dialogs: Vec<Dialog>,
    serial: u32,
    /// Packets it wants to send, and when.
    pub(crate) outbox: Vec<(Duration, Vec<u8>)>,
}

/// A subscription as the phone sees it.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    local_tag: String,
    pub(crate) remote_tag: Option<String>,
    pub(crate) watch: Watch,
    request_uri: String,
    pub(crate) look: Look,
    digium: bool,
    event: String,
    expires_s: u32,
    cseq: u32,
    pub(crate) stage: Stage,
    /// When it ends unless refreshed, by the last 200.
    pub(crate) expires_at: Time,
    refresh_at: Option<Time>,
    transaction: Option<Transaction>,
    last_notify_cseq: u32,
    seen: VecDeque<(String, Option<Vec<u8>>)>,
    /// What the last NOTIFY it answered with 200 said.
    pub(crate) known: Option<String>,
    /// What it knows of its list.
    roster: Roster,
    /// A list that the request under way puts in the place of the old one.
    replacement: Option<ListSource>,
    /// Suppress-If-Match of the request under way, or of the last one.
    suppress: String,
    /// It once asked not to be told of changes.
    was_quiet: bool,
    /// It is not told of changes: from asking so to what it hears after having asked otherwise.
    is_quiet: bool,
}

/// What a dialog watches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Watch {
    /// An extension that never existed.
    Nobody,
    /// A hint of the model.
    Hint(usize),
    List(ListSource),
}

/// What a phone asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) watch: Watch,
    /// User part of the request URI.
    pub(crate) user: String,
    /// The package of a list; any for an extension.
    pub(crate) package: Option<Package>,
    pub(crate) expires_s: u32,
    /// NOTIFYs per second at most, as written in Event; empty for any.
    pub(crate) max_rate: &'static str,
}

/// What the phone may rely on when it reads a NOTIFY.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Faults have stopped.
    pub(crate) is_calm: bool,
    /// No member of any list went for long.
    pub(crate) is_stable: bool,
    pub(crate) now: Time,
}

/// Where a dialog is, as the phone sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// SUBSCRIBE sent, no answer yet.
    Asking,
    /// Accepted.
    Active,
    /// Asked to end, or a fetch: one last NOTIFY may come.
    Ending,
    /// Over.
    Gone(&'static str),
}

#[derive(Debug)]
struct Transaction {
    branch: String,
    bytes: Vec<u8>,
    started_at: Time,
    resend_at: Time,
    interval: Duration,
}

impl Phone {
    pub(crate) fn new(
        index: usize,
        endpoint: usize,
        behind_edge: bool,
        link: Link,
        rudeness_percent: u8,
    ) -> Self {
        let host = if behind_edge {
            [10, endpoint as u8, 255, 1]
        } else {
            [10, endpoint as u8, 1, index as u8]
        };
        Self {
            index,
            address: (host, 5060).into(),
            endpoint,
            behind_edge,
            link,
            rudeness_percent,
            is_up: true,
            dialogs: Vec::new(),
            serial: 0,
            outbox: Vec::new(),
        }
    }

    /// The tenant whose extensions it sees.
    pub(crate) fn tenant(&self) -> u16 {
        ENDPOINTS[self.endpoint].0
    }

    /// Speaks the RFCs, not an Asterisk's dialect.
    pub(crate) fn is_rfc(&self) -> bool {
        ENDPOINTS[self.endpoint].1 == Dialect::Rfc
    }

    /// Subscribes; a duration of 0 asks once. The Call-ID of the new dialog.
    pub(crate) fn subscribe(&mut self, wish: Wish, now: Time, rng: &mut Rng) -> &str {
        let Wish { watch, user, package, expires_s, max_rate } = wish;
        self.serial += 1;
        let formats: &[Format] = match package {
            None => {
                &[Format::Pidf, Format::Pidf, Format::Xpidf, Format::CpimPidf, Format::DialogInfo]
            }
            Some(Package::Presence) => &[Format::Pidf, Format::Pidf, Format::Xpidf],
            Some(Package::Dialog) => &[Format::DialogInfo],
            Some(Package::MessageSummary) => &[Format::MessageSummary],
        };
        let format = formats[rng.usize(..formats.len())];
        let digium = rng.bool();
        let early = ENDPOINTS[self.endpoint].2;
        let package = if format == Format::DialogInfo { "dialog" } else { "presence" };
        let id = if rng.u8(..4) == 0 { ";id=7" } else { "" };
        let rate =
            if max_rate.is_empty() { String::new() } else { format!(";max-rate={max_rate}") };
        let is_quiet = matches!(watch, Watch::List(_)) && self.is_rfc() && rng.u8(..20) == 0;
        let mut dialog = Dialog {
            call_id: format!("p{}.{}@sim", self.index, self.serial),
            local_tag: format!("t{:x}", rng.u32(..)),
            remote_tag: None,
            watch,
            request_uri: format!("sip:{user}@{HOST}"),
            look: Look { format, digium: digium && format == Format::Pidf, early },
            digium,
            event: format!("{package}{id}{rate}"),
            expires_s,
            cseq: rng.u32(1..1000),
            stage: if expires_s == 0 { Stage::Ending } else { Stage::Asking },
            expires_at: Time::MAX,
            refresh_at: None,
            transaction: None,
            last_notify_cseq: 0,
            seen: VecDeque::new(),
            known: None,
            roster: Roster::default(),
            replacement: None,
            suppress: if is_quiet { "*".into() } else { String::new() },
            was_quiet: is_quiet,
            is_quiet,
        };
        self.request(&mut dialog, now, rng);
        if rng.u8(..25) == 0 {
            // A fork that meets again: the same request along another path.
            let (_, bytes) = self.outbox.last().expect("just sent").clone();
            let text = String::from_utf8(bytes).expect("written as text");
            self.outbox
                .push((Duration::from_millis(3), text.replace("z9hG4bKp", "z9hG4bKf").into()));
        }
        self.dialogs.push(dialog);
        &self.dialogs[self.dialogs.len() - 1].call_id
    }

    /// Refreshes a dialog with another list in the request, if it can.
    pub(crate) fn replace_list(
        &mut self,
        at: usize,
        source: ListSource,
        expires_s: u32,
        now: Time,
        rng: &mut Rng,
    ) {
        let dialog = &mut self.dialogs[at];
        if dialog.stage == Stage::Active && dialog.transaction.is_none() {
            dialog.replacement = Some(source);
            self.refresh(at, expires_s, now, rng);
        }
    }

    /// Refreshes (or ends, with `expires_s` 0) the dialog at `at`, if it can.
    pub(crate) fn refresh(&mut self, at: usize, expires_s: u32, now: Time, rng: &mut Rng) {
        if self.dialogs[at].stage != Stage::Active || self.dialogs[at].transaction.is_some() {
            return;
        }
        let mut dialog = self.dialogs.swap_remove(at);
        dialog.expires_s = expires_s;
        dialog.cseq += 1;
        dialog.refresh_at = None;
        if expires_s == 0 {
            dialog.stage = Stage::Ending;
        }
        if self.is_rfc() && matches!(dialog.watch, Watch::List(_)) {
            dialog.suppress = match (rng.u8(..20), &dialog.roster.etag) {
                (0, _) => "*".to_owned(),
                (1..10, Some(etag)) => etag.clone(),
                _ => String::new(),
            };
            dialog.is_quiet |= dialog.suppress == "*";
            dialog.was_quiet |= dialog.is_quiet;
        }
        self.request(&mut dialog, now, rng);
        self.dialogs.push(dialog);
    }

    /// Loses power: everything is forgotten.
    pub(crate) fn crash(&mut self) {
        self.is_up = false;
        self.dialogs.clear();
        self.outbox.clear();
    }

    /// When it next wants to act by itself.
    pub(crate) fn next_wake(&self) -> Option<Time> {
        let wakes = |dialog: &Dialog| match &dialog.transaction {
            Some(transaction) => Some(transaction.resend_at),
            None => dialog.refresh_at,
        };
        self.dialogs.iter().filter_map(wakes).min()
    }

    /// Resends, gives up, refreshes.
    pub(crate) fn wake(&mut self, now: Time, rng: &mut Rng) {
        for dialog in &mut self.dialogs {
            let Some(transaction) = &mut dialog.transaction else { continue };
            if now.since(transaction.started_at) >= TRANSACTION {
                dialog.transaction = None;
                dialog.stage = Stage::Gone("no answer");
            } else if transaction.resend_at <= now {
                transaction.interval = (transaction.interval * 2).min(T2);
                transaction.resend_at = now + transaction.interval;
                self.outbox.push((Duration::ZERO, transaction.bytes.clone()));
            }
        }
        while let Some(at) = self
            .dialogs
            .iter()
            .position(|d| d.transaction.is_none() && d.refresh_at.is_some_and(|at| at <= now))
        {
            let expires_s = self.dialogs[at].expires_s.max(1);
            self.dialogs[at].refresh_at = None;
            self.refresh(at, expires_s, now, rng);
        }
    }

    /// Takes a message from the node. An error is the node's fault.
    pub(crate) fn receive(
        &mut self,
        message: &Sip<'_>,
        times: Times,
        rng: &mut Rng,
    ) -> Result<(), String> {
        if !self.is_up {
            return Ok(());
        }
        match message.code() {
            Some(code) => self.on_answer(code, message, times.now, rng),
            None => self.on_notify(message, times, rng),
        }
    }

    fn on_answer(
        &mut self,
        code: u16,
        answer: &Sip<'_>,
        now: Time,
        rng: &mut Rng,
    ) -> Result<(), String> {
        let branch = answer.branch();
        let own = |d: &&mut Dialog| d.transaction.as_ref().is_some_and(|t| t.branch == branch);
        let Some(dialog) = self.dialogs.iter_mut().find(own) else { return Ok(()) };
        if code < 200 {
            return Ok(());
        }
        dialog.transaction = None;
        if code >= 300 {
            dialog.stage = Stage::Gone(if code == 481 { "481" } else { "refused" });
            return Ok(());
        }
        let granted: u32 = answer
            .header("Expires")
            .parse()
            .map_err(|_| format!("{code} without Expires: {}", answer.start))?;
        // Without a NOTIFY: what it knows is the newest.
        dialog.is_quiet &= code != 204 || dialog.suppress == "*";
        if granted > dialog.expires_s {
            return Err(format!("granted {granted} s, asked {} s", dialog.expires_s));
        }
        if let Some(source) = dialog.replacement.take() {
            dialog.watch = Watch::List(source);
        }
        let tag = answer.tag("To").to_owned();
        if dialog.remote_tag.is_none() {
            dialog.remote_tag = Some(tag);
        }
        dialog.request_uri = sip::uri(answer.header("Contact")).to_owned();
        if dialog.stage == Stage::Asking || dialog.stage == Stage::Active {
            dialog.stage = Stage::Active;
            dialog.expires_at = now + Duration::from_secs(granted.into());
            let share = rng.u64(40..85);
            dialog.refresh_at = Some(now + Duration::from_millis(u64::from(granted) * 10 * share));
        }
        Ok(())
    }

    fn on_notify(&mut self, notify: &Sip<'_>, times: Times, rng: &mut Rng) -> Result<(), String> {
        let Some(dialog) = self.dialogs.iter_mut().find(|d| d.call_id == notify.header("Call-ID"))
        else {
            self.outbox.push((Duration::ZERO, sip::answer(notify, 481, "")));
            return Ok(());
        };
        if dialog.local_tag != notify.tag("To") {
            return Err(format!(
                "NOTIFY with To tag {}, not {}",
                notify.tag("To"),
                dialog.local_tag
            ));
        }
        let remote_tag = dialog.remote_tag.get_or_insert_with(|| notify.tag("From").to_owned());
        if remote_tag != notify.tag("From") {
            // A second dialog of one SUBSCRIBE: its first answer was lost with the node.
            self.outbox.push((Duration::ZERO, sip::answer(notify, 481, "")));
            return Ok(());
        }
        let branch = notify.branch();
        let seen =
            dialog.seen.iter().find(|(seen, _)| seen == branch).map(|(_, answer)| answer.clone());
        match seen {
            Some(Some(answer)) => {
                self.outbox.push((Duration::ZERO, answer));
                return Ok(());
            }
            Some(None) if !times.is_calm => return Ok(()),
            Some(None) => dialog.seen.retain(|(seen, _)| seen != branch),
            None => {}
        }
        if matches!(dialog.stage, Stage::Gone(why) if why != "no answer") {
            self.outbox.push((Duration::ZERO, sip::answer(notify, 481, "")));
            return Ok(());
        }
        if notify.cseq().0 <= dialog.last_notify_cseq {
            self.outbox.push((Duration::ZERO, sip::answer(notify, 500, "")));
            return Ok(());
        }
        let manner = if times.is_calm || rng.u8(..100) >= self.rudeness_percent {
            Manner::Answer(200)
        } else {
            Manner::random(rng)
        };
        let (code, extra) = match manner {
            Manner::Answer(code) => (code, String::new()),
            Manner::RetryAfter(seconds) => (503, format!("Retry-After: {seconds}\r\n")),
            Manner::Late(_) | Manner::Silent | Manner::Twice => (200, String::new()),
        };
        let answer = sip::answer(notify, code, &extra);
        let kept = (!matches!(manner, Manner::Silent)).then(|| answer.clone());
        if dialog.seen.len() == SEEN_COUNT_MAX {
            dialog.seen.pop_front();
        }
        dialog.seen.push_back((branch.to_owned(), kept));
        if code < 300 && !matches!(manner, Manner::Silent) {
            dialog.take(notify, times)?;
        } else if matches!(manner, Manner::Answer(_)) {
            dialog.stage = Stage::Gone("answered with an error");
            dialog.transaction = None;
            dialog.refresh_at = None;
        }
        match manner {
            Manner::Silent => {}
            Manner::Late(delay_ms) => self.outbox.push((Duration::from_millis(delay_ms), answer)),
            Manner::Twice => {
                self.outbox.push((Duration::ZERO, answer.clone()));
                self.outbox.push((Duration::from_millis(rng.u64(1..800)), answer));
            }
            Manner::Answer(_) | Manner::RetryAfter(_) => {
                self.outbox.push((Duration::from_micros(rng.u64(..3_000)), answer));
            }
        }
        Ok(())
    }

    fn request(&mut self, dialog: &mut Dialog, now: Time, rng: &mut Rng) {
        let branch = format!("z9hG4bKp{:016x}", rng.u64(..));
        let own = format!("10.{}.1.{}:5060", self.endpoint, self.index);
        let to_tag = dialog.remote_tag.as_ref().map_or(String::new(), |tag| format!(";tag={tag}"));
        let mut text = format!("SUBSCRIBE {} SIP/2.0\r\n", dialog.request_uri);
        if self.behind_edge {
            text += &format!("Via: SIP/2.0/UDP {};branch={branch}\r\n", self.address);
            text += &format!("Via: SIP/2.0/UDP {own};branch={branch}x;rport\r\n");
            text += &format!("Record-Route: <sip:{};lr>\r\n", self.address);
        } else {
            text += &format!("Via: SIP/2.0/UDP {own};rport;branch={branch}\r\n");
        }
        text += &format!(
            "Max-Forwards: 70\r\nFrom: \"Phone\" <sip:w{}@example.com>;tag={}\r\nTo: <sip:x@example.com>{to_tag}\r\n\
             Call-ID: {}\r\nCSeq: {} SUBSCRIBE\r\nContact: <sip:w{}@{own}>\r\nEvent: {}\r\nAccept: {}\r\n\
             Expires: {}\r\nUser-Agent: {}\r\n",
            self.index,
            dialog.local_tag,
            dialog.call_id,
            dialog.cseq,
            self.index,
            dialog.event,
            dialog.accept(),
            dialog.expires_s,
            if dialog.digium { "Digium D40 1_4" } else { "Plain/1" },
        );
        text += &dialog.list_headers();
        let bytes = text.into_bytes();
        self.outbox.push((Duration::ZERO, bytes.clone()));
        dialog.transaction =
            Some(Transaction { branch, bytes, started_at: now, resend_at: now + T1, interval: T1 });
    }
}

impl Dialog {
    /// What it watches, if it is a list it is told of.
    pub(crate) fn list(&self) -> Option<&ListSource> {
        match &self.watch {
            Watch::List(source) if !self.is_quiet => Some(source),
            _ => None,
        }
    }

    fn accept(&self) -> String {
        let content_type = self.look.format.content_type();
        match self.watch {
            Watch::List(_) => format!("multipart/related, application/rlmi+xml, {content_type}"),
            _ => content_type.to_owned(),
        }
    }

    /// Header lines of a request for a list, and the list it carries.
    fn list_headers(&self) -> String {
        let Watch::List(source) = &self.watch else {
            return "Content-Length: 0\r\n\r\n".to_owned();
        };
        let mut text = "Supported: eventlist\r\n".to_owned();
        if !self.suppress.is_empty() {
            text += &format!("Suppress-If-Match: {}\r\n", self.suppress);
        }
        let is_first = self.remote_tag.is_none();
        let carried = self.replacement.as_ref().or_else(|| is_first.then_some(source));
        let Some(ListSource::Request(entries)) = carried else {
            return text + "Content-Length: 0\r\n\r\n";
        };
        let entry = |(uri, name): &(String, Option<&str>)| match name {
            Some(name) => {
                let name = name.replace('&', "&amp;").replace('<', "&lt;");
                format!("<entry uri=\"{uri}\"><display-name>{name}</display-name></entry>")
            }
            None => format!("<entry uri=\"{uri}\"/>"),
        };
        let entries: String = entries.iter().map(entry).collect();
        let body = format!(
            "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\">\
             <list>{entries}</list></resource-lists>"
        );
        text += "Require: recipient-list-subscribe\r\nContent-Disposition: recipient-list\r\n";
        text += "Content-Type: application/resource-lists+xml\r\n";
        text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }

    /// Reads the body of a NOTIFY.
    fn read(&mut self, notify: &Sip<'_>, is_stable: bool) -> Result<(), String> {
        let content_type = notify.header("Content-Type");
        if !matches!(self.watch, Watch::List(_)) {
            let wanted = self.look.format.content_type();
            if content_type != wanted {
                return Err(format!("Content-Type {content_type:?}, not {wanted}"));
            }
            self.known = Some(facts::read(self.look.format, notify.body)?);
            return Ok(());
        }
        if notify.header("Require") != "eventlist" {
            return Err(format!("Require {:?}", notify.header("Require")));
        }
        if content_type.is_empty() {
            self.roster.etag = None;
            return match self.was_quiet && notify.body.is_empty() {
                true => Ok(()),
                false => Err("a NOTIFY of a list without its body".to_owned()),
            };
        }
        self.roster.take(notify, self.look, is_stable)?;
        self.is_quiet = self.suppress == "*";
        self.known = Some(self.roster.describe());
        Ok(())
    }

    /// Believes a NOTIFY.
    fn take(&mut self, notify: &Sip<'_>, times: Times) -> Result<(), String> {
        if notify.header("Event") != self.event {
            return Err(format!("Event {:?}, not {:?}", notify.header("Event"), self.event));
        }
        self.last_notify_cseq = notify.cseq().0;
        self.read(notify, times.is_stable)?;
        let state = notify.header("Subscription-State");
        if state.starts_with("terminated") {
            self.stage = Stage::Gone("terminated");
            self.transaction = None;
            self.refresh_at = None;
        } else if !state.starts_with("active") {
            return Err(format!("Subscription-State {state:?}"));
        } else if let Some(seconds) = sip::param(state, "expires") {
            let seconds: u64 =
                seconds.parse().map_err(|_| format!("Subscription-State {state:?}"))?;
            if self.stage == Stage::Asking {
                // RFC 6665 section 4.1.2.4: the NOTIFY establishes the dialog.
                self.expires_at = times.now + Duration::from_secs(seconds);
            }
        }
        Ok(())
    }
}
