//! A generator thread: its sockets, its watchers, one loop.
//!
//! Threads share nothing but the step. Each owns a contiguous range of watchers and the sockets
//! they live on, reads in batches, answers at once, reads bodies when nothing is left to answer
//! (`backlog`), and counts into its own [`Tally`].

mod backlog;
mod list;
mod notify;
mod shared;
mod steps;
mod subscribe;
pub(crate) mod timers;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use lampfield_net::sys::{
    BatchSocket, Datagram, Poller, ReceiveBatch, pin_thread_to_core, thread_cpu_time, wait_writable,
};

use self::backlog::Backlog;
pub use self::shared::{Live, Note, Shared, StepNumber, Totals};
use self::steps::Sending;
use self::timers::{Delayed, Refreshes, Transactions};
use crate::answer::Behaviour;
use crate::clock::{Clock, MILLISECOND, Nanos, SECOND};
use crate::lamp;
use crate::measure::Tally;
use crate::outcome::LoadError;
use crate::request::SubscribeShape;
use crate::scenario::Scenario;
use crate::scenario::step::StepKind;
use crate::series::Point;
use crate::truth::Timeline;
use crate::watcher::{Edge, Stage, Watcher};

/// Messages per receive call; each may be a train of datagrams.
const BATCH_COUNT: usize = 64;
/// Buffer per message: a train may fill it.
const BATCH_BUFFER_BYTES: usize = 65_536;
/// Receive calls on one socket between two looks at the clock and the others.
const RECEIVE_BURST_MAX: usize = 16;
/// Longest sleep: how late a new step may be noticed.
const SLEEP_MAX_NS: Nanos = 5 * MILLISECOND;

/// A wait that took longer did sleep, so every socket was empty.
const SLEPT_NS: Nanos = 10_000;

/// CPU and wall time of a thread in one step.
#[derive(Clone, Copy, Debug)]
pub struct StepCost {
    /// Which step.
    pub step: StepNumber,
    /// CPU time used in it.
    pub cpu_ns: Nanos,
    /// Its length.
    pub wall_ns: Nanos,
    /// NOTIFYs received in it.
    pub notify_count: u64,
}

/// What a thread hands back.
#[derive(Debug)]
pub struct ThreadReport {
    /// What it counted.
    pub tally: Tally,
    /// What each step cost.
    pub costs: Vec<StepCost>,
}

/// A generator thread's state.
pub(crate) struct Generator {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) shape: SubscribeShape,
    pub(crate) clock: Clock,
    shared: Arc<Shared>,
    number: usize,
    sockets: Vec<BatchSocket>,
    poller: Poller,
    /// Index of the first watcher of this thread.
    pub(crate) first_watcher: u32,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) timelines: Vec<Timeline>,
    notes: Receiver<Note>,
    pub(crate) transactions: Transactions,
    pub(crate) refreshes: Refreshes,
    delayed: Delayed<Outgoing>,
    pace: Option<Sending>,
    next_watcher: usize,
    /// Watchers whose first SUBSCRIBE has neither succeeded nor failed yet.
    pub(crate) asking_count: usize,
    /// SUBSCRIBEs without final answer.
    pub(crate) open_count: usize,
    /// Watchers that were not there when they were to leave.
    absent_count: u64,
    /// Watchers of all extensions that do not show the newest state.
    outstanding_count: u64,
    outgoing: Vec<(u16, SocketAddr, Range<usize>)>,
    outgoing_bytes: Vec<u8>,
    /// Length the last answer was padded to, where they leave in trains.
    pub(crate) answer_bytes: usize,
    pub(crate) random: fastrand::Rng,
    pub(crate) bodies: lamp::Reader,
    /// When dead watchers were last sent anything.
    dead_told: HashMap<u32, Nanos>,
    /// Scratch: members told of in the list in hand.
    pub(crate) seen: Vec<bool>,
    messages_until_second_reader: u32,
    pub(crate) tally: Tally,
    step: StepNumber,
    /// The step whose changes are arriving: the newest one that changes states.
    pub(crate) changes_step: StepNumber,
    /// Whether watchers behave as their behaviours say.
    pub(crate) behaving: bool,
    /// When live quantiles are looked at again.
    quantiles_at_ns: Nanos,
    /// Bodies to be read.
    backlog: Backlog,
    /// When the thread last went to sleep and woke: nothing was there when it did.
    slept_ns: Range<Nanos>,
    /// When each socket was last seen empty.
    drained_ns: Vec<Nanos>,
    /// Since when the datagram in hand has been waiting for us.
    waiting_since_ns: Nanos,
    /// The same of all NOTIFYs whose answers are queued.
    unanswered_ns: Vec<Nanos>,
}

/// An answer that waits.
#[derive(Debug)]
struct Outgoing {
    socket: u16,
    peer: SocketAddr,
    bytes: Box<[u8]>,
}

/// What a thread is given.
pub struct Assignment {
    /// The run.
    pub scenario: Arc<Scenario>,
    /// The run's clock.
    pub clock: Clock,
    /// Shared state.
    pub shared: Arc<Shared>,
    /// This thread's number.
    pub number: usize,
    /// Its sockets.
    pub sockets: Vec<BatchSocket>,
    /// Its watchers.
    pub watchers: Range<usize>,
    /// News of changes.
    pub notes: Receiver<Note>,
    /// What all SUBSCRIBEs share.
    pub shape: SubscribeShape,
}

impl Generator {
    /// Prepares a thread's state.
    ///
    /// # Errors
    ///
    /// The kernel's refusal to watch the sockets.
    pub(crate) fn new(assignment: Assignment) -> Result<Generator, LoadError> {
        let Assignment { scenario, clock, shared, number, sockets, watchers, notes, shape } =
            assignment;
        let setup = |error| LoadError::Setup(format!("epoll: {error}"));
        let poller = Poller::new().map_err(setup)?;
        for (token, socket) in sockets.iter().enumerate() {
            poller.add(socket.as_fd(), token as u64, false).map_err(setup)?;
        }
        // Watchers in a row share a socket, so each socket watches many extensions.
        let per_socket = watchers.len().div_ceil(sockets.len().max(1)).max(1);
        let population = &scenario.population;
        let mut edge_count = 0;
        let mut records = Vec::with_capacity(watchers.len());
        for (local, index) in watchers.clone().enumerate() {
            let watched = population.watched(index);
            let behaviour = Behaviour::of(&scenario.behaviours, index);
            let socket = (local / per_socket) as u16;
            records.push(Watcher::new(watched, edge_count as u32, socket, behaviour));
            edge_count += population.member_count(watched);
        }
        Ok(Generator {
            shape,
            clock,
            shared,
            number,
            poller,
            first_watcher: watchers.start as u32,
            watchers: records,
            edges: vec![Edge::default(); edge_count],
            timelines: (0..scenario.extensions.len()).map(|_| Timeline::default()).collect(),
            notes,
            transactions: Transactions::default(),
            refreshes: Refreshes::default(),
            delayed: Delayed::default(),
            pace: None,
            next_watcher: 0,
            asking_count: 0,
            open_count: 0,
            absent_count: 0,
            outstanding_count: 0,
            outgoing: Vec::new(),
            outgoing_bytes: Vec::new(),
            answer_bytes: 0,
            random: fastrand::Rng::with_seed(scenario.seed ^ (number as u64 + 1)),
            bodies: lamp::Reader::new(scenario.extensions.len()),
            dead_told: HashMap::new(),
            seen: Vec::new(),
            messages_until_second_reader: scenario.second_reader_every,
            tally: Tally::new(scenario.behaviours.len()),
            step: 0,
            changes_step: 0,
            behaving: false,
            quantiles_at_ns: 0,
            backlog: Backlog::default(),
            slept_ns: 0..0,
            drained_ns: vec![0; sockets.len()],
            waiting_since_ns: 0,
            unanswered_ns: Vec::new(),
            sockets,
            scenario,
        })
    }

    /// Runs until the last step is over.
    ///
    /// # Errors
    ///
    /// A socket or the poller broke.
    pub(crate) fn run(mut self) -> Result<ThreadReport, LoadError> {
        if let Some(first) = self.scenario.pin_from_core {
            // Not being pinned costs precision, not correctness.
            let _ = pin_thread_to_core(first + self.number);
        }
        let broken = |error: std::io::Error| LoadError::Setup(format!("receiving: {error}"));
        let mut batch = ReceiveBatch::new(BATCH_COUNT, BATCH_BUFFER_BYTES);
        let mut ready = Vec::new();
        let mut costs = Vec::new();
        let mut mark = (self.clock.now(), thread_cpu_time(), 0);
        self.slept_ns = mark.0..mark.0;
        while self.step <= self.scenario.steps.len() {
            let (step, start_ns) = self.shared.step();
            if step != self.step {
                self.read_all();
                costs.push(self.close_step(&mut mark));
                self.open_step(step, start_ns);
            }
            self.take_notes();
            self.work_off_timers();
            self.publish_live();
            let (before_ns, sleep_ns) = (self.clock.now(), self.sleep_ns());
            self.poller.wait(Duration::from_nanos(sleep_ns), &mut ready).map_err(broken)?;
            let after_ns = self.clock.now();
            if after_ns - before_ns > SLEPT_NS {
                self.slept_ns = before_ns..after_ns;
            }
            for event in &ready {
                self.receive(event.token as usize, &mut batch).map_err(broken)?;
            }
            self.read_page();
        }
        self.tally.counts.truncated_count = batch.counts().truncated_count;
        self.tally.counts.send_dropped_count +=
            self.sockets.iter().map(|socket| socket.send_counts().dropped_count()).sum::<u64>();
        Ok(ThreadReport { tally: self.tally, costs })
    }

    fn take_notes(&mut self) {
        while let Ok(note) = self.notes.try_recv() {
            match note {
                Note::Change { extension, lamps, intended_ns, sent_ns } => {
                    let needed = self
                        .track(extension, |timeline| timeline.push(lamps, intended_ns, sent_ns));
                    self.tally.counts.needed_count += u64::from(needed);
                }
                Note::Doubt { extension } => self.timelines[extension as usize].doubt(),
            }
        }
    }

    /// Runs `change` on a timeline and keeps the sum of outstanding watchers right.
    pub(crate) fn track<R>(
        &mut self,
        extension: u32,
        change: impl FnOnce(&mut Timeline) -> R,
    ) -> R {
        let timeline = &mut self.timelines[extension as usize];
        let before = u64::from(timeline.outstanding_count());
        let result = change(timeline);
        let after = u64::from(timeline.outstanding_count());
        self.outstanding_count = self.outstanding_count + after - before;
        result
    }

    fn work_off_timers(&mut self) {
        let now_ns = self.clock.now();
        self.send_paced(now_ns);
        self.work_off_subscriptions(now_ns);
        while let Some(outgoing) = self.delayed.take_due(now_ns) {
            let start = self.outgoing_bytes.len();
            self.outgoing_bytes.extend_from_slice(&outgoing.bytes);
            self.queue(outgoing.socket, outgoing.peer, start);
        }
        self.flush();
    }

    fn sleep_ns(&self) -> Nanos {
        if !self.backlog.is_empty() {
            return 0;
        }
        let now_ns = self.clock.now();
        let paced_ns = match &self.pace {
            Some(Sending::Paced(pacer)) => pacer.next_ns(),
            Some(Sending::Windowed(window)) => {
                let may_send = self.next_watcher < self.watchers.len()
                    && self.open_count + self.asking_count < *window;
                may_send.then_some(now_ns)
            }
            None => None,
        };
        let wake_ns = [
            paced_ns,
            self.transactions.next_ns(),
            self.refreshes.next_ns(),
            self.delayed.next_ns(),
        ];
        let first_ns = wake_ns.into_iter().flatten().min().unwrap_or(Nanos::MAX);
        first_ns.saturating_sub(now_ns).min(SLEEP_MAX_NS)
    }

    fn receive(&mut self, socket: usize, batch: &mut ReceiveBatch) -> std::io::Result<()> {
        for _ in 0..RECEIVE_BURST_MAX {
            let asked_ns = self.clock.now();
            let count = self.sockets[socket].receive(batch)?;
            // Nothing that is read now came earlier than this, whatever clocks say.
            let empty_ns = self.slept_ns.start.max(self.drained_ns[socket]);
            // Without a stamp, a NOTIFY may have waited since then, unless we slept meanwhile.
            let waiting_since_ns = self.slept_ns.end.max(self.drained_ns[socket]);
            if count < BATCH_COUNT {
                self.drained_ns[socket] = asked_ns;
            }
            if count == 0 {
                break;
            }
            // What caused these datagrams was noted before they could be sent.
            self.take_notes();
            let stamp = self.clock.stamp();
            for datagram in batch.datagrams() {
                let arrived_ns = datagram.arrived.map(|at| stamp.nanos_of(at).max(empty_ns));
                self.waiting_since_ns = arrived_ns.unwrap_or(waiting_since_ns);
                let arrived_ns = arrived_ns.unwrap_or(stamp.now_ns);
                self.handle(socket as u16, datagram.peer, datagram.bytes, arrived_ns);
            }
            self.flush();
            self.take_waits();
            while self.backlog.is_over() {
                self.read_page();
            }
            if count < BATCH_COUNT {
                break;
            }
        }
        Ok(())
    }

    /// The answers have left: notes how long each NOTIFY waited for its own.
    fn take_waits(&mut self) {
        let now_ns = self.clock.now();
        let is_judged = matches!(self.kind(), Some(StepKind::Changes { .. }));
        for since_ns in self.unanswered_ns.drain(..) {
            let wait_ns = now_ns.saturating_sub(since_ns);
            self.tally.series.at(now_ns).take_notify(wait_ns);
            if is_judged {
                self.tally.wait.record(wait_ns);
            }
        }
    }

    /// Whether the second reader should look at this message.
    pub(crate) fn second_reader_is_due(&mut self) -> bool {
        let every = self.scenario.second_reader_every;
        if every == 0 {
            return false;
        }
        self.messages_until_second_reader -= 1;
        if self.messages_until_second_reader == 0 {
            self.messages_until_second_reader = every;
            return true;
        }
        false
    }

    /// The buffer to write the next datagram into; [`Generator::queue`] it from its old length.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing_bytes
    }

    /// Queues the datagram written from `start` to the end of the buffer.
    pub(crate) fn queue(&mut self, socket: u16, peer: SocketAddr, start: usize) {
        let end = self.outgoing_bytes.len();
        self.outgoing.push((socket, peer, start..end));
    }

    /// Takes the datagram written from `start` out of the buffer again and sends it later.
    pub(crate) fn delay(&mut self, socket: u16, peer: SocketAddr, start: usize, at_ns: Nanos) {
        let bytes: Box<[u8]> = self.outgoing_bytes[start..].into();
        self.outgoing_bytes.truncate(start);
        if self.delayed.len() < crate::limits::DELAYED_ANSWER_MAX {
            self.delayed.push(at_ns, Outgoing { socket, peer, bytes });
        } else {
            self.tally.counts.send_dropped_count += 1;
        }
    }

    /// The local address of a socket.
    pub(crate) fn local_addr(&self, socket: u16) -> SocketAddr {
        self.sockets[usize::from(socket)].local_addr()
    }

    /// Sends everything queued; a full socket is waited for, but not for long.
    fn flush(&mut self) {
        let bytes = &self.outgoing_bytes;
        for run in self.outgoing.chunk_by(|a, b| a.0 == b.0) {
            let socket = &self.sockets[usize::from(run[0].0)];
            let datagrams: Vec<Datagram<'_>> = run
                .iter()
                .map(|(_, peer, range)| Datagram::new(*peer, &bytes[range.clone()]))
                .collect();
            let mut done = socket.send(&datagrams);
            for _ in 0..10 {
                if done == datagrams.len() {
                    break;
                }
                let _ = wait_writable(socket.as_fd(), Duration::from_millis(10));
                done += socket.send(&datagrams[done..]);
            }
            self.tally.counts.send_dropped_count += (datagrams.len() - done) as u64;
        }
        self.outgoing.clear();
        self.outgoing_bytes.clear();
    }

    fn publish_live(&mut self) {
        let live = &self.shared.live[self.number];
        let counts = &self.tally.counts;
        live.established_count.store(counts.established_count, Ordering::Relaxed);
        live.failed_count.store(counts.subscribe_failed_count, Ordering::Relaxed);
        live.notify_count.store(counts.notify_count, Ordering::Relaxed);
        live.outstanding_count.store(self.outstanding_count, Ordering::Relaxed);
        let left = counts.unsubscribed_count + counts.unsubscribe_failed_count + self.absent_count;
        live.left_count.store(left, Ordering::Relaxed);
        let unsent = if self.pace.is_some() { self.watchers.len() - self.next_watcher } else { 0 };
        let pending = unsent + self.open_count.max(self.asking_count);
        live.pending_count.store(pending as u64, Ordering::Relaxed);
        let now_ns = self.clock.now();
        if now_ns >= self.quantiles_at_ns {
            self.quantiles_at_ns = now_ns + SECOND / 4;
            let last = now_ns.checked_sub(SECOND).and_then(|at_ns| self.tally.series.get(at_ns));
            let [p50_ms, p99_ms, _] = last.and_then(Point::latency_ms).unwrap_or_default();
            live.p50_ns.store((p50_ms * 1e6) as Nanos, Ordering::Relaxed);
            live.p99_ns.store((p99_ms * 1e6) as Nanos, Ordering::Relaxed);
        }
    }

    /// The record behind a local index.
    pub(crate) fn watcher(&mut self, local: u32) -> &mut Watcher {
        &mut self.watchers[local as usize]
    }

    /// Ends a watcher's part in the truth.
    pub(crate) fn depart(&mut self, local: u32, stage: Stage) {
        let watcher = &mut self.watchers[local as usize];
        self.asking_count -= usize::from(watcher.stage == Stage::Asking);
        self.open_count -= usize::from(!watcher.answered);
        (watcher.stage, watcher.answered) = (stage, true);
        let (watched, first_edge) = (watcher.watched, watcher.first_edge as usize);
        for member in 0..self.scenario.population.member_count(watched) {
            let extension = self.scenario.population.member(watched, member);
            let mut view = self.edges[first_edge + member].view;
            self.track(extension, |timeline| timeline.leave(&mut view));
            self.edges[first_edge + member].view = view;
        }
    }
}
