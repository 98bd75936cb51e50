//! What the threads of a run share: the step, and live figures for whoever watches.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::clock::Nanos;
use crate::lamp::LampSet;

/// Number of a step: 0 before the first, then 1 to their count, and one more when all is done.
pub type StepNumber = usize;

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
    /// SUBSCRIBEs of this step that are not sent or not answered yet.
    pub pending_count: AtomicU64,
    /// Half of the latencies of the last second are at or below it; 0: there were none.
    pub p50_ns: AtomicU64,
    /// 99 % of them are.
    pub p99_ns: AtomicU64,
    /// The step the thread has reached.
    pub step: AtomicUsize,
}

/// Shared by all threads of a run.
#[derive(Debug)]
pub struct Shared {
    step: AtomicUsize,
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
    /// SUBSCRIBEs of this step that are not sent or not answered yet.
    pub pending_count: u64,
    /// p50 of the last second's latencies, of the slowest thread.
    pub p50_ns: Nanos,
    /// p99 of them.
    pub p99_ns: Nanos,
}

impl Shared {
    /// For `core_count` generator threads.
    pub fn new(core_count: usize) -> Shared {
        Shared {
            step: AtomicUsize::new(0),
            start_ns: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            live: (0..core_count).map(|_| Live::default()).collect(),
        }
    }

    /// Begins `step` at `start_ns`.
    pub fn enter(&self, step: StepNumber, start_ns: Nanos) {
        self.start_ns.store(start_ns, Ordering::Relaxed);
        self.step.store(step, Ordering::Release);
    }

    /// The current step and its start.
    pub fn step(&self) -> (StepNumber, Nanos) {
        let step = self.step.load(Ordering::Acquire);
        (step, self.start_ns.load(Ordering::Relaxed))
    }

    /// A thread cannot go on.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether some thread could not go on.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether every thread has begun `step`.
    pub fn all_in(&self, step: StepNumber) -> bool {
        self.live.iter().all(|live| live.step.load(Ordering::Acquire) >= step)
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
            totals.pending_count += live.pending_count.load(Ordering::Relaxed);
            totals.p50_ns = totals.p50_ns.max(live.p50_ns.load(Ordering::Relaxed));
            totals.p99_ns = totals.p99_ns.max(live.p99_ns.load(Ordering::Relaxed));
        }
        totals
    }
}
