//! One mirror's connection as a state machine: bytes and time in, requests and news out. It does
//! no I/O and knows no clock, so every turn of it can be tested.
//!
//! ```text
//! Waiting -> Connecting -> Banner -> (Challenge) -> Login -> Booting -> Online
//!    ^-------------- whatever goes wrong: back-off ------------------------'
//! ```
//!
//! Online, everything is compared once: `DeviceStateList`, `PresenceStateList`, and a `Ping`. A
//! server writes the events that wait right after the answer to a request, so at the second answer
//! (the pong) every change that is older than the lists has come, and the lists can be taken over
//! without showing a value that is already past. Then events are followed; the comparison is
//! repeated now and then, and tells differences only.
//!
//! Source: `reference/ami.md` sections 1, 2, 4, 5 and 7.

mod talk;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::state::DeviceState;
use lampfield_wire::AmiReader;

use super::snapshot::Snapshot;
use super::state::{Name, State};
use crate::config::MirrorConfig;

/// How long a server that has let us in may take to say that it is up. One that is up says so at
/// once; one that never does has a user who may not hear it.
const BOOT_PATIENCE: Duration = Duration::from_secs(2);

/// As [`BOOT_PATIENCE`], of a server that has said it to us before: it takes its time.
const BOOT_PATIENCE_KNOWN: Duration = Duration::from_secs(180);

/// A connection that held so long was a good one: the next back-off starts small again.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Questions on their way at once.
const QUESTION_WINDOW: usize = 32;

/// What the machine is told.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// Time has passed; due whenever [`Machine::wake_at`] says so.
    Tick,
    /// The connection that was asked for stands.
    Connected,
    /// Bytes from the server.
    Received(&'a [u8]),
    /// The connection ended, or could not be made.
    Lost(&'a str),
    /// Ask for the states of these devices, of which the lists say nothing.
    Ask(Vec<Arc<str>>),
    /// Compare everything again, soon.
    Resync,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Make a connection, and tell.
    Connect,
    /// Write this.
    Send(Vec<u8>),
    /// Drop the connection, or the attempt; no need to tell.
    Disconnect,
    /// Everything the server has, once after each connect and at each comparison.
    Synced(Snapshot),
    /// A change.
    Changed(Name, State),
    /// The answer to a question.
    Answered(Arc<str>, DeviceState),
    /// The server has not been seen for so long that its states are stale.
    Stale,
}

/// Where the machine is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Until the next attempt.
    Waiting,
    Connecting,
    Banner,
    Challenge,
    Login,
    /// Logged in, until the server is up.
    Booting,
    /// Listening.
    Online,
}

/// A comparison under way.
#[derive(Debug)]
struct Sync {
    step: Step,
    /// Of the request that is being answered.
    id: u64,
    snapshot: Snapshot,
    item_count: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Devices,
    Presences,
    /// Until everything older than the lists has come.
    Barrier,
}

/// What a mirror has seen, since start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Figures {
    pub(crate) attempt_count: u64,
    pub(crate) login_count: u64,
    pub(crate) lost_count: u64,
    pub(crate) sync_count: u64,
    pub(crate) event_count: u64,
    pub(crate) question_count: u64,
    pub(crate) message_refused_count: u64,
    pub(crate) name_dropped_count: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    config: MirrorConfig,
    text_bytes_max: usize,
    phase: Phase,
    /// When the phase, or an answer, has taken too long; or when the next attempt is due.
    due: Option<Duration>,
    reader: AmiReader,
    last_id: u64,
    sync: Option<Sync>,
    /// Whether the states were taken over in this connection.
    is_synced: bool,
    ping_id: Option<u64>,
    ping_at: Duration,
    resync_at: Option<Duration>,
    questions: VecDeque<Arc<str>>,
    /// Questions on their way.
    asked: VecDeque<(u64, Arc<str>)>,
    online_since: Duration,
    /// Whether the server ever said that it is up.
    hears_boot: bool,
    /// Since when nothing is known; `None` while the server is seen.
    unseen_since: Option<Duration>,
    is_stale: bool,
    /// Back-off after the next failure.
    delay: Duration,
    random: fastrand::Rng,
    pub(crate) figures: Figures,
    pub(crate) phase_since: Duration,
    pub(crate) last_error: Option<(Duration, String)>,
}

impl Machine {
    /// A machine that connects at its first tick. `seed` spreads the back-off.
    pub(crate) fn new(
        config: MirrorConfig,
        text_bytes_max: usize,
        seed: u64,
        now: Duration,
    ) -> Self {
        Self {
            delay: config.retry,
            config,
            text_bytes_max,
            phase: Phase::Waiting,
            due: Some(now),
            reader: AmiReader::for_follower(),
            last_id: 0,
            sync: None,
            is_synced: false,
            ping_id: None,
            ping_at: now,
            resync_at: None,
            questions: VecDeque::new(),
            asked: VecDeque::new(),
            online_since: now,
            hears_boot: false,
            unseen_since: Some(now),
            is_stale: false,
            random: fastrand::Rng::with_seed(seed),
            figures: Figures::default(),
            phase_since: now,
            last_error: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the states of this server are known to be those it has.
    pub(crate) fn sees(&self) -> bool {
        self.is_synced
    }

    /// When the next attempt to connect is due.
    pub(crate) fn attempt_at(&self) -> Option<Duration> {
        self.due.filter(|_| self.phase == Phase::Waiting)
    }

    /// When [`Input::Tick`] is due.
    pub(crate) fn wake_at(&self) -> Duration {
        let online = self.phase == Phase::Online;
        let ping = (online && self.ping_id.is_none()).then_some(self.ping_at);
        let resync = self.resync_at.filter(|_| online && self.sync.is_none());
        let times = [self.due, ping, resync, self.stale_at()];
        times.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    /// Takes one input in.
    pub(crate) fn handle(&mut self, input: Input<'_>, now: Duration, out: &mut Vec<Output>) {
        match input {
            Input::Tick => self.tick(now, out),
            Input::Connected => {
                if self.phase == Phase::Connecting {
                    self.reader = AmiReader::for_follower();
                    self.enter(Phase::Banner, now);
                }
            }
            Input::Received(bytes) => self.receive(bytes, now, out),
            Input::Lost(why) => self.lose(why.to_owned(), now, out),
            Input::Ask(names) => {
                self.questions.clear();
                self.questions.extend(names);
                self.ask(now, out);
            }
            Input::Resync => self.resync_at = Some(now),
        }
    }

    fn stale_at(&self) -> Option<Duration> {
        let since = self.unseen_since.filter(|_| !self.is_stale)?;
        Some(since.saturating_add(self.config.stale_after))
    }

    fn enter(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.phase_since = now;
        self.due = match phase {
            Phase::Waiting | Phase::Online => None,
            Phase::Booting if self.hears_boot => Some(now + BOOT_PATIENCE_KNOWN),
            Phase::Booting => Some(now + BOOT_PATIENCE),
            _ => Some(now + self.config.answer),
        };
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.stale_at().is_some_and(|at| at <= now) {
            self.is_stale = true;
            out.push(Output::Stale);
        }
        if self.due.is_some_and(|due| due <= now) {
            return self.run_out(now, out);
        }
        if self.phase != Phase::Online {
            return;
        }
        if self.ping_id.is_none() && self.ping_at <= now {
            self.ping_id = Some(self.request("Ping", &[], now, out));
        }
        if self.sync.is_none() && self.resync_at.is_some_and(|at| at <= now) {
            self.start_sync(now, out);
        }
    }

    /// What was waited for did not come.
    fn run_out(&mut self, now: Duration, out: &mut Vec<Output>) {
        let waited_s = self.config.answer.as_secs_f32();
        match self.phase {
            Phase::Waiting => {
                self.figures.attempt_count += 1;
                self.enter(Phase::Connecting, now);
                out.push(Output::Connect);
            }
            Phase::Booting => self.go_online(now, out),
            Phase::Connecting => self.lose(format!("no connection within {waited_s} s"), now, out),
            Phase::Banner => {
                self.lose(
                    format!("no greeting of a manager interface within {waited_s} s"),
                    now,
                    out,
                );
            }
            phase => {
                let text = format!("{phase:?}: no answer within {waited_s} s");
                self.lose(text, now, out);
            }
        }
    }

    /// The connection is of no use (any more): the next one is tried later.
    fn lose(&mut self, why: String, now: Duration, out: &mut Vec<Output>) {
        if self.phase == Phase::Waiting {
            return;
        }
        if self.phase == Phase::Online {
            self.figures.lost_count += 1;
            if now.saturating_sub(self.online_since) >= STABLE_AFTER {
                self.delay = self.config.retry;
            }
        }
        self.last_error = Some((now, why));
        self.is_synced = false;
        self.unseen_since.get_or_insert(now);
        self.sync = None;
        self.ping_id = None;
        self.questions.clear();
        self.asked.clear();
        self.enter(Phase::Waiting, now);
        // Between half and all of it, so that mirrors of one server do not come back together.
        self.due = Some(now + self.delay.mul_f64(0.5 + self.random.f64() / 2.0));
        self.delay = (self.delay * 2).min(self.config.retry_max);
        out.push(Output::Disconnect);
    }

    /// The server does not want us: it will not want us in a second, either.
    fn refuse(&mut self, why: String, now: Duration, out: &mut Vec<Output>) {
        self.delay = self.config.retry_max;
        self.lose(why, now, out);
    }
}

#[cfg(test)]
mod tests;
