//! A generator thread: its sockets, its watchers, one loop.
//!
//! Threads share nothing but the phase. Each owns a contiguous range of watchers and the sockets
//! they live on, reads in batches, answers at once, and counts into its own [`Tally`].

mod notify;
mod shared;
mod subscribe;
pub(crate) mod timers;

use std::collections::VecDeque;
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

pub use self::shared::{Live, Note, Phase, Shared, Totals};
use self::timers::{Refreshes, Transactions, take_due};
use crate::clock::{Clock, MILLISECOND, Nanos, nanos};
use crate::lamp;
use crate::measure::Tally;
use crate::outcome::LoadError;
use crate::plan::Pacer;
use crate::request::SubscribeShape;
use crate::scenario::Scenario;
use crate::truth::{Timeline, Verdict};
use crate::watcher::{Stage, Watcher};

/// Messages per receive call; each may be a train of datagrams.
const BATCH_COUNT: usize = 64;
/// Buffer per message: a train may fill it.
const BATCH_BUFFER_BYTES: usize = 65_536;
/// SUBSCRIBEs sent between two looks at the sockets.
const SUBSCRIBE_BURST_MAX: usize = 64;
/// Receive calls on one socket between two looks at the clock and the others.
const RECEIVE_BURST_MAX: usize = 16;
/// Longest sleep: how late a phase change may be noticed.
const SLEEP_MAX_NS: Nanos = 5 * MILLISECOND;

/// A wait that took longer did sleep, so every socket was empty.
const SLEPT_NS: Nanos = 10_000;

/// CPU and wall time of a thread in one phase.
#[derive(Clone, Copy, Debug)]
pub struct PhaseCost {
    /// Which phase.
    pub phase: Phase,
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
    /// What each phase cost.
    pub costs: Vec<PhaseCost>,
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
    pub(crate) timelines: Vec<Timeline>,
    notes: Receiver<Note>,
    pub(crate) transactions: Transactions,
    pub(crate) refreshes: Refreshes,
    delayed: VecDeque<(Nanos, Outgoing)>,
    pacer: Option<Pacer>,
    next_watcher: usize,
    /// Watchers that were not there when they were to leave.
    absent_count: u64,
    /// Watchers of all extensions that do not show the newest state.
    outstanding_count: u64,
    outgoing: Vec<(u16, SocketAddr, Range<usize>)>,
    outgoing_bytes: Vec<u8>,
    pub(crate) random: fastrand::Rng,
    pub(crate) bodies: lamp::Reader,
    messages_until_second_reader: u32,
    pub(crate) tally: Tally,
    pub(crate) phase: Phase,
    /// When the thread last woke from a sleep: nothing was waiting then.
    awake_ns: Nanos,
    /// When each socket was last seen empty.
    drained_ns: Vec<Nanos>,
    /// Since when the datagram in hand can have been waiting for us, at the earliest.
    pub(crate) waiting_since_ns: Nanos,
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
        let extension_count = scenario.extensions.len();
        let records = watchers.clone().enumerate().map(|(local, index)| Watcher {
            extension: (index % extension_count) as u32,
            socket: (local / per_socket) as u16,
            ..Watcher::default()
        });
        Ok(Generator {
            shape,
            clock,
            shared,
            number,
            poller,
            first_watcher: watchers.start as u32,
            watchers: records.collect(),
            timelines: (0..extension_count).map(|_| Timeline::default()).collect(),
            notes,
            transactions: Transactions::default(),
            refreshes: Refreshes::default(),
            delayed: VecDeque::new(),
            pacer: None,
            next_watcher: 0,
            absent_count: 0,
            outstanding_count: 0,
            outgoing: Vec::new(),
            outgoing_bytes: Vec::new(),
            random: fastrand::Rng::with_seed(scenario.seed ^ (number as u64 + 1)),
            bodies: lamp::Reader::default(),
            messages_until_second_reader: scenario.second_reader_every,
            tally: Tally::default(),
            phase: Phase::Prime,
            awake_ns: 0,
            drained_ns: vec![0; sockets.len()],
            waiting_since_ns: 0,
            sockets,
            scenario,
        })
    }

    /// Runs until the phase is [`Phase::Done`].
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
        self.awake_ns = mark.0;
        while self.phase != Phase::Done {
            let (phase, start_ns) = self.shared.phase();
            if phase != self.phase {
                costs.push(self.close_phase(&mut mark));
                self.open_phase(phase, start_ns);
            }
            self.take_notes();
            self.work_off_timers();
            self.publish_live();
            let (before_ns, sleep_ns) = (self.clock.now(), self.sleep_ns());
            self.poller.wait(Duration::from_nanos(sleep_ns), &mut ready).map_err(broken)?;
            let after_ns = self.clock.now();
            if after_ns - before_ns > SLEPT_NS {
                self.awake_ns = after_ns;
            }
            for event in &ready {
                self.receive(event.token as usize, &mut batch).map_err(broken)?;
            }
        }
        costs.push(self.close_phase(&mut mark));
        self.tally.counts.truncated_count = batch.counts().truncated_count;
        self.tally.counts.send_dropped_count +=
            self.sockets.iter().map(|socket| socket.send_counts().dropped_count()).sum::<u64>();
        Ok(ThreadReport { tally: self.tally, costs })
    }

    fn close_phase(&self, mark: &mut (Nanos, Duration, u64)) -> PhaseCost {
        let now = (self.clock.now(), thread_cpu_time(), self.tally.counts.notify_count);
        let cost = PhaseCost {
            phase: self.phase,
            wall_ns: now.0 - mark.0,
            cpu_ns: nanos(now.1.saturating_sub(mark.1)),
            notify_count: now.2 - mark.2,
        };
        *mark = now;
        cost
    }

    fn open_phase(&mut self, phase: Phase, start_ns: Nanos) {
        self.phase = phase;
        let rate = self.scenario.subscribe_rate / self.scenario.core_count as f64;
        let count = self.watchers.len() as u64;
        match phase {
            Phase::Subscribe => self.pacer = Some(Pacer::new(start_ns, rate, count)),
            Phase::Unsubscribe => {
                self.conclude();
                self.next_watcher = 0;
                let leaving = self.scenario.unsubscribe;
                self.pacer = leaving.then(|| Pacer::new(start_ns, rate, count));
            }
            Phase::Warmup => self.pacer = None,
            Phase::Prime | Phase::Changes | Phase::Settle | Phase::Done => {}
        }
        self.shared.live[self.number].phase.store(phase as u8, Ordering::Release);
    }

    /// Compares every lamp with the truth.
    fn conclude(&mut self) {
        let counts = &mut self.tally.counts;
        for watcher in &self.watchers {
            let timeline = &self.timelines[watcher.extension as usize];
            let (verdict, superseded_count, lost_count) =
                timeline.conclude(&watcher.view, watcher.is_active());
            counts.superseded_count += superseded_count;
            counts.lost_count += lost_count;
            match verdict {
                Verdict::Right => counts.right_count += 1,
                Verdict::Stale => counts.stale_count += 1,
                Verdict::Wrong => counts.wrong_count += 1,
                Verdict::Missing => counts.missing_count += 1,
                Verdict::Unjudged => counts.unjudged_count += 1,
            }
        }
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
        while let Some(outgoing) = take_due(&mut self.delayed, now_ns) {
            let start = self.outgoing_bytes.len();
            self.outgoing_bytes.extend_from_slice(&outgoing.bytes);
            self.queue(outgoing.socket, outgoing.peer, start);
        }
        self.flush();
    }

    /// Sends the SUBSCRIBEs whose intended time has come.
    fn send_paced(&mut self, now_ns: Nanos) {
        for _ in 0..SUBSCRIBE_BURST_MAX {
            let Some(intended_ns) = self.pacer.as_mut().and_then(|pacer| pacer.take_due(now_ns))
            else {
                break;
            };
            let watcher = self.next_watcher as u32;
            self.next_watcher += 1;
            self.tally.subscribe_lateness.record(now_ns - intended_ns);
            match self.phase {
                Phase::Unsubscribe => self.leave(watcher, intended_ns, now_ns),
                _ => self.ask(watcher, intended_ns, now_ns),
            }
        }
    }

    fn sleep_ns(&self) -> Nanos {
        let now_ns = self.clock.now();
        let wake_ns = [
            self.pacer.as_ref().and_then(Pacer::next_ns),
            self.transactions.next_ns(),
            self.refreshes.next_ns(),
            self.delayed.front().map(|(at_ns, _)| *at_ns),
        ];
        let first_ns = wake_ns.into_iter().flatten().min().unwrap_or(Nanos::MAX);
        first_ns.saturating_sub(now_ns).min(SLEEP_MAX_NS)
    }

    fn receive(&mut self, socket: usize, batch: &mut ReceiveBatch) -> std::io::Result<()> {
        for _ in 0..RECEIVE_BURST_MAX {
            let asked_ns = self.clock.now();
            let count = self.sockets[socket].receive(batch)?;
            self.waiting_since_ns = self.awake_ns.max(self.drained_ns[socket]);
            if count < BATCH_COUNT {
                self.drained_ns[socket] = asked_ns;
            }
            if count == 0 {
                break;
            }
            let now_ns = self.clock.now();
            // What caused these datagrams was noted before they could be sent.
            self.take_notes();
            for datagram in batch.datagrams() {
                self.handle(socket as u16, datagram.peer, datagram.bytes, now_ns);
            }
            self.flush();
            if count < BATCH_COUNT {
                break;
            }
        }
        Ok(())
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
            self.delayed.push_back((at_ns, Outgoing { socket, peer, bytes }));
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

    fn publish_live(&self) {
        let live = &self.shared.live[self.number];
        let counts = &self.tally.counts;
        live.established_count.store(counts.established_count, Ordering::Relaxed);
        live.failed_count.store(counts.subscribe_failed_count, Ordering::Relaxed);
        live.notify_count.store(counts.notify_count, Ordering::Relaxed);
        live.outstanding_count.store(self.outstanding_count, Ordering::Relaxed);
        let left = counts.unsubscribed_count + counts.unsubscribe_failed_count + self.absent_count;
        live.left_count.store(left, Ordering::Relaxed);
    }

    /// The record behind a local index.
    pub(crate) fn watcher(&mut self, local: u32) -> &mut Watcher {
        &mut self.watchers[local as usize]
    }

    /// Ends a watcher's part in the truth.
    pub(crate) fn depart(&mut self, local: u32, stage: Stage) {
        let watcher = &mut self.watchers[local as usize];
        watcher.stage = stage;
        let (extension, mut view) = (watcher.extension, watcher.view);
        self.track(extension, |timeline| timeline.leave(&mut view));
        self.watchers[local as usize].view = view;
    }
}
