//! The busy-hour call model: extensions are called, ring, talk and hang up.
//!
//! Calls arrive as a Poisson process; ringing and talking take exponential times. An extension
//! that is engaged takes no second call: the caller gives up, as most do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::{Nanos, SECOND, nanos};
use crate::plan::{Choice, PlannedChange, exponential_ns};
use crate::scenario::step::Calls;

/// Numbers of [`crate::scenario::CALL_STATES`].
const IDLE: u8 = 0;
const RINGING: u8 = 1;
const TALKING: u8 = 2;

/// The calls of one step.
#[derive(Debug)]
pub(crate) struct CallModel {
    calls: Calls,
    next_call_ns: Nanos,
    end_ns: Nanos,
    /// What comes next in the calls there are: time, extension, state.
    next: BinaryHeap<Reverse<(Nanos, u32, u8)>>,
}

impl CallModel {
    /// Calls from `start_ns` to `end_ns`; those that an earlier step left open go on.
    pub(crate) fn new(
        calls: Calls,
        start_ns: Nanos,
        end_ns: Nanos,
        states: &[u8],
        choice: &mut Choice,
    ) -> CallModel {
        let mut model =
            CallModel { calls, next_call_ns: start_ns, end_ns, next: BinaryHeap::new() };
        model.next_call_ns += exponential_ns(&mut choice.random, SECOND as f64 / calls.rate);
        let hold_ns = nanos(calls.hold) as f64;
        for (extension, _) in states.iter().enumerate().filter(|(_, state)| **state != IDLE) {
            let at_ns = start_ns + exponential_ns(&mut choice.random, hold_ns);
            model.next.push(Reverse((at_ns, extension as u32, IDLE)));
        }
        model
    }

    /// When something may happen next.
    pub(crate) fn next_ns(&self) -> Option<Nanos> {
        let open_ns = self.next.peek().map_or(Nanos::MAX, |Reverse((at_ns, ..))| *at_ns);
        let next_ns = self.next_call_ns.min(open_ns);
        (next_ns <= self.end_ns).then_some(next_ns)
    }

    /// The next change if its time has come.
    pub(crate) fn take_due(
        &mut self,
        now_ns: Nanos,
        states: &mut [u8],
        choice: &mut Choice,
    ) -> Option<PlannedChange> {
        loop {
            let intended_ns = self.next_ns().filter(|next_ns| *next_ns <= now_ns)?;
            if intended_ns == self.next_call_ns {
                let mean_ns = SECOND as f64 / self.calls.rate;
                self.next_call_ns += exponential_ns(&mut choice.random, mean_ns).max(1);
                let extension = choice.draw();
                if states[extension as usize] != IDLE {
                    continue;
                }
                let ring_ns = exponential_ns(&mut choice.random, nanos(self.calls.ring) as f64);
                let answered = choice.random.f64() < self.calls.answered;
                let then = if answered { TALKING } else { IDLE };
                self.next.push(Reverse((intended_ns + ring_ns.max(1), extension, then)));
                states[extension as usize] = RINGING;
                return Some(PlannedChange { extension, state: RINGING, intended_ns });
            }
            let Reverse((_, extension, state)) = self.next.pop()?;
            if state == TALKING {
                let hold_ns = exponential_ns(&mut choice.random, nanos(self.calls.hold) as f64);
                self.next.push(Reverse((intended_ns + hold_ns.max(1), extension, IDLE)));
            }
            states[extension as usize] = state;
            return Some(PlannedChange { extension, state, intended_ns });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::ChangePlan;
    use crate::scenario::step::{Hot, Process};

    const HOUR: Duration = Duration::from_secs(3600);

    fn hour(answered: f64, states: Vec<u8>, hot: Option<Hot>) -> (Vec<PlannedChange>, Vec<u8>) {
        let (ring, hold) = (Duration::from_secs(8), Duration::from_secs(120));
        let calls = Calls { rate: 5.0 / 3.0, ring, hold, answered, hot };
        let mut plan = ChangePlan::new(Process::Calls(calls), 0, HOUR, states, 3, 7);
        let changes = std::iter::from_fn(|| plan.take_due(Nanos::MAX)).collect();
        assert_eq!(plan.next_ns(), None);
        (changes, plan.into_states())
    }

    #[test]
    fn a_busy_hour_has_its_calls_and_each_goes_through_its_states() {
        let (changes, left) = hour(0.7, vec![IDLE; 1000], None);
        assert!(changes.is_sorted_by_key(|change| change.intended_ns));
        let mut states = vec![IDLE; 1000];
        let (mut calls, mut answered, mut talked_ns) = (0, 0, 0);
        for change in &changes {
            let state = &mut states[change.extension as usize];
            match (*state, change.state) {
                (IDLE, RINGING) => calls += 1,
                (RINGING, TALKING) => answered += 1,
                (RINGING | TALKING, IDLE) => {}
                other => panic!("{other:?}"),
            }
            talked_ns += u64::from(change.state == IDLE);
            *state = change.state;
        }
        assert_eq!(states, left);
        // 6000 attempts; at 0.15 Erlang a phone one in eight meets an engaged one.
        assert!((4900..5600).contains(&calls), "{calls}");
        let share = f64::from(answered) / f64::from(calls);
        assert!((0.67..0.73).contains(&share), "{share}");
        assert!(talked_ns > 4500, "most of them have ended");
    }

    #[test]
    fn calls_left_open_by_an_earlier_step_end_in_this_one() {
        let (changes, left) = hour(1.0, vec![TALKING; 1000], None);
        let first = |extension| changes.iter().find(|change| change.extension == extension);
        assert!((0..1000).all(|extension| first(extension).is_some_and(|it| it.state == IDLE)));
        assert!(left.iter().filter(|state| **state == IDLE).count() > 700);
    }

    #[test]
    fn hot_members_are_called_more_often() {
        let hot = Some(Hot { share: 0.01, weight: 0.5 });
        let (changes, _) = hour(0.0, vec![IDLE; 1000], hot);
        let mut counts = vec![0; 1000];
        changes.iter().for_each(|change| counts[change.extension as usize] += 1);
        counts.sort_unstable();
        let (cold, hot) = (counts[..990].iter().sum::<u32>(), counts[990..].iter().sum::<u32>());
        assert!(hot > 1000 && counts[990] > 5 * counts[989], "{hot} hot, {cold} cold");
    }
}
