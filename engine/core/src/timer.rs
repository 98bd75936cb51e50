//! Timers of a shard: FIFO queues for the constant delays of NOTIFY retransmission, and a wheel
//! of seconds for expiry, probes and retries. Nothing is ever cancelled: an entry that fires looks
//! at its subscription and finds out whether it still means anything.
//!
//! Source: RFC 3261 section 17.1.2 (timers E and F); measurements in `FASTPATH.md` section 1.5.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;
use crate::limits::Limits;

/// A NOTIFY transaction that may need another transmission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retransmission {
    pub(crate) at: Time,
    pub(crate) slot: u32,
    pub(crate) check: u32,
    pub(crate) cseq: u32,
}

/// Timer E and F: one queue per delay; entries of one queue fire in the order they were armed.
#[derive(Debug)]
pub(crate) struct Retransmissions {
    delays: [Duration; 5],
    queues: [VecDeque<Retransmission>; 5],
}

/// Transmissions of one NOTIFY over UDP, the first included (RFC 3261: T1, 2 T1, … capped by T2,
/// until 64 T1).
pub(crate) const TRANSMISSION_COUNT_MAX: u8 = 11;

impl Retransmissions {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (t1, t2) = (limits.t1, limits.t2);
        Self {
            delays: [t1, (t1 * 2).min(t2), (t1 * 4).min(t2), t2, t1 * 64],
            queues: Default::default(),
        }
    }

    /// Arms the timer after transmission number `sent` (from 1) of a NOTIFY.
    pub(crate) fn arm(
        &mut self,
        now: Time,
        slot: u32,
        check: u32,
        cseq: u32,
        sent: u8,
        reliable: bool,
    ) {
        let queue = match sent {
            // On a stream nothing is sent again: T1 frees the window, then timer F follows.
            _ if reliable => 0,
            // The last one only waits for timer F: half a second after the last transmission.
            TRANSMISSION_COUNT_MAX.. => 0,
            4.. => 3,
            sent => usize::from(sent.max(1) - 1),
        };
        let at = now + self.delays[queue];
        self.queues[queue].push_back(Retransmission { at, slot, check, cseq });
    }

    /// Arms timer F of a NOTIFY on a stream.
    pub(crate) fn arm_last(&mut self, now: Time, entry: Retransmission) {
        let at = now + self.delays[4];
        self.queues[4].push_back(Retransmission { at, ..entry });
    }

    /// Takes an entry that is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Retransmission> {
        let queue = self.queues.iter_mut().find(|q| q.front().is_some_and(|r| r.at <= now))?;
        queue.pop_front()
    }

    /// When the next entry is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.queues.iter().filter_map(|queue| queue.front().map(|r| r.at)).min()
    }
}

const WHEEL: u64 = 4096;

/// A wheel of seconds: entries name a subscription by slot and check.
#[derive(Debug)]
pub(crate) struct Wheel {
    spokes: Vec<Vec<(u64, u32, u32)>>,
    /// What is left of the spoke that fires: a turn takes some, the next one goes on.
    firing: VecDeque<(u64, u32, u32)>,
    /// Seconds before this one have fired.
    fired_s: u64,
    /// A second not later than the first non-empty one.
    next_s: u64,
    /// Entries in spokes.
    count: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        let spokes = (0..WHEEL).map(|_| Vec::new()).collect();
        Self { spokes, firing: VecDeque::new(), fired_s: 0, next_s: 0, count: 0 }
    }
}

impl Wheel {
    /// Fires `slot`/`check` once, at second `at_s` (at the next one if that has passed).
    pub(crate) fn arm(&mut self, at_s: u64, slot: u32, check: u32) {
        let at_s = at_s.max(self.fired_s);
        // An entry beyond one turn waits at the far spoke and is armed again from there.
        let spoke_s = at_s.min(self.fired_s + WHEEL - 1);
        self.next_s = if self.count == 0 { spoke_s } else { self.next_s.min(spoke_s) };
        self.spokes[(spoke_s % WHEEL) as usize].push((at_s, slot, check));
        self.count += 1;
    }

    /// Takes an entry that is due, slot and check. Looks at `visits_left` entries at most, and
    /// counts them down.
    pub(crate) fn pop_due(&mut self, now: Time, visits_left: &mut usize) -> Option<(u32, u32)> {
        let now_s = now.as_secs();
        while *visits_left > 0 {
            let Some((at_s, slot, check)) = self.firing.pop_front() else {
                if self.count == 0 || self.next_s > now_s {
                    self.fired_s = self.fired_s.max(now_s + 1);
                    self.next_s = self.next_s.max(self.fired_s);
                    return None;
                }
                let second = self.next_s;
                let entries = std::mem::take(&mut self.spokes[(second % WHEEL) as usize]);
                self.count -= entries.len();
                self.firing = entries.into();
                (self.fired_s, self.next_s) = (second + 1, second + 1);
                self.skip_empty();
                continue;
            };
            *visits_left -= 1;
            if at_s < self.fired_s {
                return Some((slot, check));
            }
            self.arm(at_s, slot, check);
        }
        None
    }

    /// When the next entry is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if !self.firing.is_empty() {
            return Some(Time::from_secs(self.fired_s - 1));
        }
        (self.count > 0).then(|| Time::from_secs(self.next_s))
    }

    fn skip_empty(&mut self) {
        if self.count == 0 {
            return;
        }
        while self.spokes[(self.next_s % WHEEL) as usize].is_empty() {
            self.next_s += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notify_is_sent_again_as_timer_e_says_until_timer_f() {
        let mut timers = Retransmissions::new(&Limits::default());
        let (mut now, mut sent, mut at_ms) = (Time::ZERO, 1, Vec::new());
        timers.arm(now, 1, 2, 3, sent, false);
        while let Some(deadline) = timers.next_deadline() {
            now = deadline;
            assert!(timers.pop_due(now - Duration::from_nanos(1)).is_none());
            assert_eq!(timers.pop_due(now).map(|r| (r.slot, r.check, r.cseq)), Some((1, 2, 3)));
            at_ms.push(now.as_nanos() / 1_000_000);
            sent += 1;
            if sent <= TRANSMISSION_COUNT_MAX {
                timers.arm(now, 1, 2, 3, sent, false);
            } else if sent == TRANSMISSION_COUNT_MAX + 1 {
                break;
            }
        }
        let want = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500, 32000];
        assert_eq!(at_ms, want);
    }

    #[test]
    fn the_wheel_fires_each_entry_once_in_its_second_even_far_ahead() {
        let mut wheel = Wheel::default();
        for (at_s, slot) in [(5, 1), (5, 2), (0, 3), (10_000, 4), (4095, 5), (4096, 6)] {
            wheel.arm(at_s, slot, 0);
        }
        let mut seen = Vec::new();
        while let Some(deadline) = wheel.next_deadline() {
            // One at a time: what is left is due at once.
            if let Some((slot, _)) = wheel.pop_due(deadline, &mut 1) {
                seen.push((deadline.as_secs(), slot));
            }
        }
        assert_eq!(seen, [(0, 3), (5, 1), (5, 2), (4095, 5), (4096, 6), (10_000, 4)]);
        wheel.arm(3, 9, 0);
        assert_eq!(wheel.next_deadline(), Some(Time::from_secs(10_001)), "late is soon, not never");
    }
}
