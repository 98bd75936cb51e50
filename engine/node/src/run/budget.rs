//! How much the core does in one step: as many NOTIFYs as take about the same time, whatever they
//! are. Through trains that are hundreds, with long lists a handful; either way whoever waits for
//! the next turn waits as long.

use std::time::Duration;

/// How long a step may take: other lamps wait for it, and beyond it nothing is gained.
const STEP_FOR: Duration = Duration::from_micros(300);

/// Fewer are not worth a turn.
const BUDGET_MIN: usize = 4;

/// More do not wait in one turn for the first of them to leave.
const BUDGET_MAX: usize = 256;

/// Before anything was measured.
const BUDGET_AT_START: usize = 64;

/// Steps with fewer NOTIFYs say little about what one costs.
const SENT_MIN: usize = 4;

/// Fits the length of steps to what they cost.
#[derive(Debug)]
pub(super) struct Budget {
    /// What a NOTIFY costs, in nanoseconds, averaged over some steps.
    cost_ns: u64,
    /// What the core was told last; 0 if nothing.
    told: usize,
}

impl Default for Budget {
    fn default() -> Self {
        let cost_ns = STEP_FOR.as_nanos() as u64 / BUDGET_AT_START as u64;
        Self { cost_ns, told: 0 }
    }
}

impl Budget {
    /// Notes a step that sent so many messages in this time. `Some` if the next ones should send
    /// another number.
    pub(super) fn after_step(&mut self, sent_count: usize, took: Duration) -> Option<usize> {
        if sent_count >= SENT_MIN {
            let cost_ns = took.as_nanos() as u64 / sent_count as u64;
            // A step that was interrupted costs much and is rare: it moves the average a little.
            self.cost_ns = (self.cost_ns * 7 + cost_ns.min(self.cost_ns * 8)) / 8;
        }
        let wanted = STEP_FOR.as_nanos() as u64 / self.cost_ns.max(1);
        let wanted = (wanted as usize).clamp(BUDGET_MIN, BUDGET_MAX);
        let is_near = wanted.abs_diff(self.told) * 8 <= self.told;
        (!is_near).then(|| {
            self.told = wanted;
            wanted
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a budget is after many steps in which a NOTIFY costs this.
    fn settled(budget: &mut Budget, cost_us: f64) -> usize {
        for _ in 0..200 {
            let sent_count = budget.told.max(SENT_MIN);
            let took = Duration::from_secs_f64(cost_us * 1e-6 * sent_count as f64);
            budget.after_step(sent_count, took);
        }
        budget.told
    }

    #[test]
    fn a_step_takes_the_same_time_whatever_a_notify_costs() {
        let mut budget = Budget::default();
        assert_eq!(budget.after_step(0, Duration::ZERO), Some(BUDGET_AT_START), "told at first");
        assert_eq!(budget.after_step(0, Duration::from_secs(9)), None, "nothing was sent");
        for (cost_us, fewest, most) in
            [(4.7, 56, 72), (0.5, 256, 256), (25.0, 10, 14), (1_000.0, 4, 4), (4.7, 56, 72)]
        {
            let got = settled(&mut budget, cost_us);
            assert!((fewest..=most).contains(&got), "{cost_us} us: {got}");
        }
    }

    #[test]
    fn one_step_that_was_interrupted_changes_little() {
        let mut budget = Budget::default();
        settled(&mut budget, 4.7);
        budget.after_step(64, Duration::from_millis(50));
        assert!(budget.told >= 30, "{}", budget.told);
        assert_eq!(settled(&mut budget, 4.7).clamp(56, 72), budget.told);
    }
}
