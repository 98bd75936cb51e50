//! What will be sent and when, decided before anything is sent: the open loop.
//!
//! A [`Pacer`] yields intended times that do not depend on how the target behaves; the same one
//! paces SUBSCRIBEs and state changes. A [`ChangePlan`] adds which extension gets which state.
//! Latency is later counted from the intended time, so a target that stalls is charged for all
//! the work it kept waiting (STYLE.md A6).

use crate::clock::{Nanos, SECOND};

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

/// How the extension of the next change is chosen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Pick {
    /// All extensions in turn, in an order drawn once from the seed: changes of one extension are
    /// as far apart as the rate allows.
    #[default]
    Round,
    /// Any extension, drawn each time: bursts on one extension happen, as in real traffic.
    Random,
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

/// The sequence of changes of a run; equal seeds give equal plans.
#[derive(Debug)]
pub struct ChangePlan {
    pacer: Pacer,
    pick: Pick,
    random: fastrand::Rng,
    order: Vec<u32>,
    /// Last state given to each extension.
    states: Vec<u8>,
    state_count: u8,
}

impl ChangePlan {
    /// A plan over `extension_count` extensions which all start in state 0.
    pub fn new(
        pacer: Pacer,
        pick: Pick,
        extension_count: u32,
        state_count: u8,
        seed: u64,
    ) -> ChangePlan {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut order: Vec<u32> = (0..extension_count).collect();
        random.shuffle(&mut order);
        let states = vec![0; order.len()];
        ChangePlan { pacer, pick, random, order, states, state_count: state_count.max(1) }
    }

    /// The next change if its time has come.
    pub fn take_due(&mut self, now_ns: Nanos) -> Option<PlannedChange> {
        let turn = self.pacer.issued_count();
        let intended_ns = self.pacer.take_due(now_ns)?;
        let slot = match self.pick {
            Pick::Round => (turn % self.order.len() as u64) as usize,
            Pick::Random => self.random.usize(..self.order.len()),
        };
        let extension = self.order[slot];
        let state = &mut self.states[extension as usize];
        *state = (*state + 1) % self.state_count;
        Some(PlannedChange { extension, state: *state, intended_ns })
    }

    /// When the next change is due; `None` when the plan is done.
    pub fn next_ns(&self) -> Option<Nanos> {
        self.pacer.next_ns()
    }

    /// Changes handed out so far.
    pub fn issued_count(&self) -> u64 {
        self.pacer.issued_count()
    }
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

    fn plan(pick: Pick, seed: u64) -> Vec<PlannedChange> {
        let mut plan = ChangePlan::new(Pacer::new(0, 1000.0, 300), pick, 10, 3, seed);
        std::iter::from_fn(|| plan.take_due(Nanos::MAX)).collect()
    }

    #[test]
    fn every_planned_change_changes_the_state_and_the_seed_decides_the_rest() {
        for pick in [Pick::Round, Pick::Random] {
            let changes = plan(pick, 1);
            let mut states = [0u8; 10];
            for change in &changes {
                let state = &mut states[change.extension as usize];
                assert_ne!(*state, change.state);
                *state = change.state;
            }
            assert_eq!(changes, plan(pick, 1), "same seed");
            assert_ne!(changes, plan(pick, 2), "other seed");
        }
        let round = plan(Pick::Round, 1);
        let mut first_ten: Vec<u32> = round[..10].iter().map(|change| change.extension).collect();
        assert_eq!(round[0].extension, round[10].extension);
        first_ten.sort_unstable();
        assert_eq!(first_ten, (0..10).collect::<Vec<u32>>(), "a round visits everybody once");
    }
}
