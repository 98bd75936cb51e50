//! The steps of a run: what the phases of a scenario file come down to.

use std::time::Duration;

use super::file::{Pick, Spacing};

/// One step; all threads begin it together.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name in reports.
    pub name: String,
    /// What is done.
    pub kind: StepKind,
    /// Whether watchers lose, delay, refuse and die as their behaviours say.
    pub behave: bool,
}

/// What is done in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// The first state of every extension is set.
    Prime,
    /// Watchers subscribe.
    Subscribe {
        /// How fast.
        pace: Pace,
        /// Given up after this time.
        timeout: Duration,
    },
    /// Nothing is asked for.
    Pause(Duration),
    /// States change.
    Changes {
        /// When and which.
        process: Process,
        /// For how long.
        duration: Duration,
    },
    /// Every subscription is refreshed.
    Refresh {
        /// How fast.
        pace: Pace,
        /// Given up after this time.
        timeout: Duration,
    },
    /// The server is restarted.
    Restart {
        /// By this shell command, or else by hand.
        command: Option<String>,
        /// First states are set again afterwards.
        prime: bool,
        /// Given up after this time.
        timeout: Duration,
    },
    /// Outstanding NOTIFYs arrive, at most for this time.
    Settle(Duration),
    /// Lamps are compared with the truth; subscriptions end.
    Unsubscribe {
        /// How fast; absent: they are left to expire.
        pace: Option<Pace>,
        /// Given up after this time.
        timeout: Duration,
    },
}

/// How fast subscriptions are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// At fixed times, so many a second.
    Rate(f64),
    /// All at once, but with so many unanswered at most.
    Window(usize),
}

/// When states change, and which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// Through the cycle of states at a fixed mean rate.
    Rate {
        /// Changes a second, all extensions together.
        rate: f64,
        /// How they follow each other.
        spacing: Spacing,
        /// Whose turn it is.
        pick: Pick,
        /// Members that change more often.
        hot: Option<Hot>,
    },
    /// Calls: ringing, in use, idle.
    Calls(Calls),
}

/// The busy-hour call model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calls {
    /// Calls a second, all extensions together.
    pub rate: f64,
    /// Mean time of ringing.
    pub ring: Duration,
    /// Mean time of talking.
    pub hold: Duration,
    /// Share of calls that are answered.
    pub answered: f64,
    /// Members that are called more often.
    pub hot: Option<Hot>,
}

/// Members that change more often than others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hot {
    /// Share of the extensions.
    pub share: f64,
    /// Share of the changes that they get.
    pub weight: f64,
}

impl Process {
    /// Changes a second on average.
    pub fn mean_rate(&self) -> f64 {
        match self {
            Process::Rate { rate, .. } => *rate,
            Process::Calls(calls) => calls.rate * (2.0 + calls.answered),
        }
    }
}

impl Step {
    /// A step in which states change and whose latencies are its own.
    pub fn is_changes(&self) -> bool {
        matches!(self.kind, StepKind::Changes { .. })
    }
}
