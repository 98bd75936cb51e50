//! What the threads of a run share: the phase, and live figures for whoever watches.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::clock::Nanos;
use crate::lamp::LampSet;

/// The phases of a run, in order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Phase {
    /// The first state of every extension is set; nobody watches yet.
    Prime,
    /// Watchers subscribe.
    Subscribe,
    /// Nothing is asked for.
    Warmup,
    /// States change.
    Changes,
    /// The last NOTIFYs arrive.
    Settle,
    /// Lamps have been compared with the truth; subscriptions end.
    Unsubscribe,
    /// Threads return.
    Done,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Phase; 7] = [
        Phase::Prime,
        Phase::Subscribe,
        Phase::Warmup,
        Phase::Changes,
        Phase::Settle,
        Phase::Unsubscribe,
        Phase::Done,
    ];

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Prime => "prime",
            Phase::Subscribe => "subscribe",
            Phase::Warmup => "warm-up",
            Phase::Changes => "changes",
            Phase::Settle => "settle",
            Phase::Unsubscribe => "unsubscribe",
            Phase::Done => "done",
        }
    }
}

/// News from whoever changes states, told to every generator thread *before* the change is sent,
/// so that no NOTIFY can overtake it.
#[derive(Clone, Copy, Debug)]
pub enum Note {
    /// An extension gets a state.
    Change {
        /// Which extension.
        extension: u32,
        /// How the state looks.
        lamps: LampSet,
        /// When it was due.
        intended_ns: Nanos,
        /// When it is sent.
        sent_ns: Nanos,
    },
    /// A change of this extension was refused.
    Doubt {
        /// Which extension.
        extension: u32,
    },
}

/// Live figures of one thread.
#[derive(Debug, Default)]
pub struct Live {
    /// Subscriptions established.
    pub established_count: AtomicU64,
    /// Subscriptions that failed.
    pub failed_count: AtomicU64,
    /// NOTIFYs received.
    pub notify_count: AtomicU64,
    /// Watchers that do not show the newest state yet.
    pub outstanding_count: AtomicU64,
    /// Subscriptions ended as asked.
    pub left_count: AtomicU64,
    /// The phase the thread has reached.
    pub phase: AtomicU8,
}

/// Shared by all threads of a run.
#[derive(Debug)]
pub struct Shared {
    phase: AtomicU8,
    start_ns: AtomicU64,
    failed: AtomicBool,
    /// One per generator thread.
    pub live: Vec<Live>,
}

/// The live figures of all threads together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Subscriptions established.
    pub established_count: u64,
    /// Subscriptions that failed.
    pub failed_count: u64,
    /// NOTIFYs received.
    pub notify_count: u64,
    /// Watchers that do not show the newest state yet.
    pub outstanding_count: u64,
    /// Subscriptions ended as asked.
    pub left_count: u64,
}

impl Shared {
    /// For `core_count` generator threads.
    pub fn new(core_count: usize) -> Shared {
        Shared {
            phase: AtomicU8::new(Phase::Prime as u8),
            start_ns: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            live: (0..core_count).map(|_| Live::default()).collect(),
        }
    }

    /// Begins `phase` at `start_ns`.
    pub fn enter(&self, phase: Phase, start_ns: Nanos) {
        self.start_ns.store(start_ns, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// The current phase and its start.
    pub fn phase(&self) -> (Phase, Nanos) {
        let phase = Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))];
        (phase, self.start_ns.load(Ordering::Relaxed))
    }

    /// A thread cannot go on.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether some thread could not go on.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether every thread has begun `phase`.
    pub fn all_in(&self, phase: Phase) -> bool {
        self.live.iter().all(|live| live.phase.load(Ordering::Acquire) >= phase as u8)
    }

    /// The figures of all threads together.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for live in &self.live {
            totals.established_count += live.established_count.load(Ordering::Relaxed);
            totals.failed_count += live.failed_count.load(Ordering::Relaxed);
            totals.notify_count += live.notify_count.load(Ordering::Relaxed);
            totals.outstanding_count += live.outstanding_count.load(Ordering::Relaxed);
            totals.left_count += live.left_count.load(Ordering::Relaxed);
        }
        totals
    }
}
