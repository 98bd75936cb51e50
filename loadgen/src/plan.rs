//! What will be sent and when, decided before anything is sent: the open loop.
//!
//! A [`Pacer`] yields intended times that do not depend on how the target behaves; the same one
//! paces SUBSCRIBEs and state changes. A [`ChangePlan`] adds which extension gets which state.
//! Latency is later counted from the intended time, so a target that stalls is charged for all
//! the work it kept waiting (STYLE.md A6).

use std::time::Duration;

use crate::calls::CallModel;
use crate::clock::{Nanos, SECOND, nanos};
use crate::scenario::file::{Pick, Spacing};
use crate::scenario::step::{Hot, Process};

/// Yields equally spaced intended times.
#[derive(Clone, Debug)]
pub struct Pacer {
    start_ns: Nanos,
    /// Events in a thousand seconds; an integer, so that long runs do not drift.
    per_kilosecond: u64,
    issued_count: u64,
    count_max: u64,
}

impl Pacer {
    /// `count_max` events at `rate_per_s`, the first one at `start_ns`.
    ///
    /// Rates are kept to a thousandth of an event per second; smaller ones count as that.
    pub fn new(start_ns: Nanos, rate_per_s: f64, count_max: u64) -> Pacer {
        let per_kilosecond = ((rate_per_s * 1000.0).round() as u64).max(1);
        Pacer { start_ns, per_kilosecond, issued_count: 0, count_max }
    }

    /// The next intended time if it has come; each call consumes one.
    pub fn take_due(&mut self, now_ns: Nanos) -> Option<Nanos> {
        let next_ns = self.next_ns()?;
        if next_ns > now_ns {
            return None;
        }
        self.issued_count += 1;
        Some(next_ns)
    }

    /// When the next event is due; `None` when all were issued.
    pub fn next_ns(&self) -> Option<Nanos> {
        (self.issued_count < self.count_max).then(|| self.intended_ns(self.issued_count))
    }

    /// Events handed out so far.
    pub fn issued_count(&self) -> u64 {
        self.issued_count
    }

    fn intended_ns(&self, index: u64) -> Nanos {
        let offset =
            u128::from(index) * u128::from(SECOND) * 1000 / u128::from(self.per_kilosecond);
        self.start_ns.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

/// One state change to make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PlannedChange {
    /// Index of the extension.
    pub extension: u32,
    /// Index into the cycle of states.
    pub state: u8,
    /// When it should happen.
    pub intended_ns: Nanos,
}

/// The sequence of changes of one step; equal seeds give equal plans.
#[derive(Debug)]
pub struct ChangePlan {
    timing: Timing,
    choice: Choice,
    /// Last state given to each extension.
    states: Vec<u8>,
    state_count: u8,
}

/// When the next change comes.
#[derive(Debug)]
enum Timing {
    Even(Pacer),
    Poisson { next_ns: Nanos, end_ns: Nanos, mean_ns: f64 },
    Calls(CallModel),
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Choice {
    pick: Pick,
    pub(crate) random: fastrand::Rng,
    order: Vec<u32>,
    turn: u64,
    hot: Option<Hot>,
}

impl ChangePlan {
    /// A plan from `start_ns` on for `duration`; `states` is what each extension has had last.
    pub fn new(
        process: Process,
        start_ns: Nanos,
        duration: Duration,
        states: Vec<u8>,
        state_count: u8,
        seed: u64,
    ) -> ChangePlan {
        let end_ns = start_ns + nanos(duration);
        let (pick, hot) = match process {
            Process::Rate { pick, hot, .. } => (pick, hot),
            Process::Calls(calls) => (Pick::Random, calls.hot),
        };
        let mut choice = Choice::new(pick, hot, states.len() as u32, seed);
        let timing = match process {
            Process::Rate { rate, spacing: Spacing::Even, .. } => {
                let count = (rate * duration.as_secs_f64()).floor() as u64;
                Timing::Even(Pacer::new(start_ns, rate, count))
            }
            Process::Rate { rate, spacing: Spacing::Poisson, .. } => {
                let mean_ns = SECOND as f64 / rate;
                let next_ns = start_ns + exponential_ns(&mut choice.random, mean_ns);
                Timing::Poisson { next_ns, end_ns, mean_ns }
            }
            Process::Calls(calls) => {
                Timing::Calls(CallModel::new(calls, start_ns, end_ns, &states, &mut choice))
            }
        };
        ChangePlan { timing, choice, states, state_count: state_count.max(1) }
    }

    /// The next change if its time has come.
    pub fn take_due(&mut self, now_ns: Nanos) -> Option<PlannedChange> {
        let intended_ns = match &mut self.timing {
            Timing::Even(pacer) => pacer.take_due(now_ns)?,
            Timing::Poisson { next_ns, end_ns, mean_ns } => {
                if *next_ns > now_ns.min(*end_ns) {
                    return None;
                }
                let intended_ns = *next_ns;
                *next_ns += exponential_ns(&mut self.choice.random, *mean_ns);
                intended_ns
            }
            Timing::Calls(calls) => {
                return calls.take_due(now_ns, &mut self.states, &mut self.choice);
            }
        };
        let extension = self.choice.draw();
        let state = &mut self.states[extension as usize];
        *state = (*state + 1) % self.state_count;
        Some(PlannedChange { extension, state: *state, intended_ns })
    }

    /// When the next change may be due; `None` when the plan is done.
    pub fn next_ns(&self) -> Option<Nanos> {
        match &self.timing {
            Timing::Even(pacer) => pacer.next_ns(),
            Timing::Poisson { next_ns, end_ns, .. } => (next_ns <= end_ns).then_some(*next_ns),
            Timing::Calls(calls) => calls.next_ns(),
        }
    }

    /// What each extension has had last.
    pub fn into_states(self) -> Vec<u8> {
        self.states
    }
}

impl Choice {
    fn new(pick: Pick, hot: Option<Hot>, extension_count: u32, seed: u64) -> Choice {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut order: Vec<u32> = (0..extension_count).collect();
        random.shuffle(&mut order);
        Choice { pick, random, order, turn: 0, hot }
    }

    /// The extension whose turn it is. The hot ones are the first in the shuffled order.
    pub(crate) fn draw(&mut self) -> u32 {
        let count = self.order.len();
        let turn = self.turn as usize;
        self.turn += 1;
        let slot = match (self.hot, self.pick) {
            (Some(hot), _) => {
                let hot_count = ((count as f64 * hot.share).ceil() as usize).clamp(1, count);
                let is_hot = hot_count == count || self.random.f64() < hot.weight;
                if is_hot {
                    self.random.usize(..hot_count)
                } else {
                    self.random.usize(hot_count..count)
                }
            }
            (None, Pick::Round) => turn % count,
            (None, Pick::Random) => self.random.usize(..count),
        };
        self.order[slot]
    }
}

/// A distance of a Poisson process.
pub(crate) fn exponential_ns(random: &mut fastrand::Rng, mean_ns: f64) -> Nanos {
    // 1 - f64() is above 0, so the logarithm is finite.
    (-(1.0 - random.f64()).ln() * mean_ns) as Nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(pacer: &mut Pacer, now_ns: Nanos) -> Vec<Nanos> {
        std::iter::from_fn(|| pacer.take_due(now_ns)).collect()
    }

    #[test]
    fn intended_times_are_exact_and_independent_of_when_they_are_asked_for() {
        for (rate, count, want) in [
            (1000.0, 3, vec![7, 1_000_007, 2_000_007]),
            (3.0, 4, vec![7, 333_333_340, 666_666_673, 1_000_000_007]),
            (0.5, 2, vec![7, 2_000_000_007]),
            (5.0, 0, vec![]),
        ] {
            assert_eq!(drain(&mut Pacer::new(7, rate, count), Nanos::MAX), want, "late, {rate}/s");
            let mut pacer = Pacer::new(7, rate, count);
            let stepped: Vec<Nanos> = std::iter::from_fn(|| {
                let next_ns = pacer.next_ns()?;
                assert_eq!(pacer.take_due(next_ns - 1), None, "not before its time");
                pacer.take_due(next_ns)
            })
            .collect();
            assert_eq!(stepped, want, "on time, {rate}/s");
        }
    }

    #[test]
    fn a_day_of_an_odd_rate_does_not_drift() {
        let count = 7 * 86_400 + 1;
        let pacer = Pacer::new(0, 7.0, count);
        assert_eq!(pacer.intended_ns(count - 1), 86_400 * SECOND);
    }

    #[test]
    fn a_stalled_caller_gets_every_missed_event_with_its_original_time() {
        let mut pacer = Pacer::new(0, 10.0, 100);
        assert_eq!(drain(&mut pacer, 50_000_000), [0]);
        assert_eq!(drain(&mut pacer, 350_000_000), [100_000_000, 200_000_000, 300_000_000]);
    }

    fn plan(process: Process, seed: u64) -> Vec<PlannedChange> {
        let duration = Duration::from_millis(300);
        let mut plan = ChangePlan::new(process, 0, duration, vec![0; 10], 3, seed);
        std::iter::from_fn(|| plan.take_due(Nanos::MAX)).collect()
    }

    fn rate(spacing: Spacing, pick: Pick, hot: Option<Hot>) -> Process {
        Process::Rate { rate: 1000.0, spacing, pick, hot }
    }

    #[test]
    fn every_planned_change_changes_the_state_and_the_seed_decides_the_rest() {
        for (spacing, pick) in [
            (Spacing::Even, Pick::Round),
            (Spacing::Even, Pick::Random),
            (Spacing::Poisson, Pick::Random),
        ] {
            let process = rate(spacing, pick, None);
            let changes = plan(process, 1);
            let mut states = [0u8; 10];
            for change in &changes {
                let state = &mut states[change.extension as usize];
                assert_ne!(*state, change.state);
                *state = change.state;
            }
            assert_eq!(changes, plan(process, 1), "same seed");
            assert_ne!(changes, plan(process, 2), "other seed");
            assert!((200..400).contains(&changes.len()), "{}", changes.len());
            assert!(changes.is_sorted_by_key(|change| change.intended_ns));
        }
        let round = plan(rate(Spacing::Even, Pick::Round, None), 1);
        let mut first_ten: Vec<u32> = round[..10].iter().map(|change| change.extension).collect();
        assert_eq!(round[0].extension, round[10].extension);
        first_ten.sort_unstable();
        assert_eq!(first_ten, (0..10).collect::<Vec<u32>>(), "a round visits everybody once");
    }

    #[test]
    fn hot_members_get_their_weight() {
        let hot = Some(Hot { share: 0.2, weight: 0.9 });
        let changes = plan(rate(Spacing::Even, Pick::Round, hot), 1);
        let mut counts = [0; 10];
        changes.iter().for_each(|change| counts[change.extension as usize] += 1);
        counts.sort_unstable();
        let of_two: usize = counts[8..].iter().sum();
        assert!((255..285).contains(&of_two), "{counts:?}");
    }
}
