//! Timers of a shard: FIFO queues for the constant delays of NOTIFY retransmission, and a wheel
//! of seconds for expiry, probes and retries. Nothing is ever cancelled: an entry that fires looks
//! at its subscription and finds out whether it still means anything.
//!
//! Source: RFC 3261 section 17.1.2 (timers E and F); measurements in `FASTPATH.md` section 1.5.

use std::num::NonZero;
use std::time::Duration;

use crate::Time;
use crate::fifo::Fifo;
use crate::limits::Limits;
use crate::slab::Slab;

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
    queues: [Fifo<Retransmission>; 5],
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
        is_sent_once: bool,
    ) {
        let queue = match sent {
            // On a stream, or to a stranger, nothing is sent again: T1 frees the window, then timer F
            // follows.
            _ if is_sent_once => 0,
            // The last one only waits for timer F: half a second after the last transmission.
            TRANSMISSION_COUNT_MAX.. => 0,
            4.. => 3,
            sent => usize::from(sent.max(1) - 1),
        };
        let at = now + self.delays[queue];
        self.queues[queue].push_back(Retransmission { at, slot, check, cseq });
    }

    /// Arms timer F of a NOTIFY that is sent once.
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

/// A wheel of seconds: entries name a subscription by slot and check. Eight bytes each, in blocks
/// of a cache line, so that a wheel of millions grows without copying and shrinks as it turns.
#[derive(Debug)]
pub(crate) struct Wheel {
    spokes: Vec<Spoke>,
    blocks: Slab<Block>,
    /// What is left of the spoke that fires: a turn takes some, the next one goes on.
    firing: Spoke,
    /// Entries of its first block that have been taken.
    taken: u8,
    /// Seconds before this one have fired.
    fired_s: u64,
    /// A second not later than the first non-empty one.
    next_s: u64,
    /// Spokes that are not empty.
    count: usize,
}

/// The entries of one second: its first and last block.
#[derive(Clone, Copy, Debug)]
struct Spoke {
    first: u32,
    last: u32,
}

/// No block.
const NONE: u32 = u32::MAX;
const EMPTY: Spoke = Spoke { first: NONE, last: NONE };
/// Entries of a block.
const BLOCK: usize = 7;

#[derive(Debug)]
struct Block {
    entries: [(u32, u32); BLOCK],
    next: u32,
    /// Never 0, which is how a free slot of the slab is told.
    len: NonZero<u8>,
}

/// An entry that fired.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fired {
    /// The second it was armed for, as [`Wheel::arm`] told.
    pub(crate) at_s: u64,
    pub(crate) slot: u32,
    pub(crate) check: u32,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            spokes: vec![EMPTY; WHEEL as usize],
            blocks: Slab::default(),
            firing: EMPTY,
            taken: 0,
            fired_s: 0,
            next_s: 0,
            count: 0,
        }
    }
}

impl Wheel {
    /// Fires `slot`/`check` once, at second `at_s` (at the next one if that has passed). Returns
    /// the second in which it will: one beyond the wheel fires early, and is to be armed again.
    pub(crate) fn arm(&mut self, at_s: u64, slot: u32, check: u32) -> u64 {
        let at_s = at_s.clamp(self.fired_s, self.fired_s + WHEEL - 1);
        self.next_s = if self.count == 0 { at_s } else { self.next_s.min(at_s) };
        let spoke = &mut self.spokes[(at_s % WHEEL) as usize];
        let last =
            self.blocks.get_mut(spoke.last).filter(|last| usize::from(last.len.get()) < BLOCK);
        if let Some(last) = last {
            last.entries[usize::from(last.len.get())] = (slot, check);
            last.len = last.len.saturating_add(1);
            return at_s;
        }
        let entries = [(slot, check); BLOCK];
        let new = self.blocks.insert(Block { entries, next: NONE, len: NonZero::<u8>::MIN });
        match self.blocks.get_mut(spoke.last) {
            Some(last) => last.next = new,
            None => {
                spoke.first = new;
                self.count += 1;
            }
        }
        spoke.last = new;
        at_s
    }

    /// Takes an entry that is due. Looks at `visits_left` entries at most, and counts them down.
    pub(crate) fn pop_due(&mut self, now: Time, visits_left: &mut usize) -> Option<Fired> {
        let now_s = now.as_secs();
        while *visits_left > 0 {
            let Some(block) = self.blocks.get(self.firing.first) else {
                if self.count == 0 || self.next_s > now_s {
                    self.fired_s = self.fired_s.max(now_s + 1);
                    self.next_s = self.next_s.max(self.fired_s);
                    return None;
                }
                let second = self.next_s;
                let spoke = &mut self.spokes[(second % WHEEL) as usize];
                self.firing = std::mem::replace(spoke, EMPTY);
                self.taken = 0;
                (self.fired_s, self.next_s) = (second + 1, second + 1);
                self.count -= usize::from(self.firing.first != NONE);
                self.skip_empty();
                continue;
            };
            *visits_left -= 1;
            let (slot, check) = block.entries[usize::from(self.taken)];
            self.taken += 1;
            if self.taken == block.len.get() {
                let next = block.next;
                self.blocks.remove(self.firing.first);
                (self.firing.first, self.taken) = (next, 0);
            }
            return Some(Fired { at_s: self.fired_s - 1, slot, check });
        }
        None
    }

    /// When the next entry is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if self.firing.first != NONE {
            return Some(Time::from_secs(self.fired_s - 1));
        }
        (self.count > 0).then(|| Time::from_secs(self.next_s))
    }

    fn skip_empty(&mut self) {
        if self.count == 0 {
            return;
        }
        while self.spokes[(self.next_s % WHEEL) as usize].first == NONE {
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
        let armed = [(5, 1), (5, 2), (0, 3), (10_000, 4), (4095, 5), (4096, 6)];
        let fires: Vec<u64> = armed.iter().map(|&(at, slot)| wheel.arm(at, slot, 0)).collect();
        assert_eq!(fires, [5, 5, 0, 4095, 4095, 4095], "beyond the wheel it fires early");
        let mut seen = Vec::new();
        while let Some(deadline) = wheel.next_deadline() {
            // One at a time: what is left is due at once.
            let Some(fired) = wheel.pop_due(deadline, &mut 1) else { continue };
            let wanted = armed.iter().find(|(_, slot)| *slot == fired.slot).expect("armed").0;
            if wanted > fired.at_s {
                wheel.arm(wanted, fired.slot, 0);
                continue;
            }
            seen.push((deadline.as_secs(), fired.slot));
        }
        assert_eq!(seen, [(0, 3), (5, 1), (5, 2), (4095, 5), (4096, 6), (10_000, 4)]);
        assert_eq!(wheel.arm(3, 9, 0), 10_001, "late is soon, not never");
        assert_eq!(wheel.next_deadline(), Some(Time::from_secs(10_001)));
    }

    #[test]
    fn a_second_of_many_entries_fires_them_in_order_and_leaves_nothing() {
        let mut wheel = Wheel::default();
        for slot in 0..1000 {
            wheel.arm(u64::from(slot % 2), slot, slot + 1);
        }
        let fired: Vec<Fired> =
            std::iter::from_fn(|| wheel.pop_due(Time::from_secs(1), &mut 1)).collect();
        let want = (0..1000).step_by(2).chain((1..1000).step_by(2));
        let want = want.map(|slot| Fired { at_s: u64::from(slot % 2), slot, check: slot + 1 });
        assert_eq!(fired, want.collect::<Vec<_>>());
        assert_eq!((wheel.blocks.len(), wheel.next_deadline()), (0, None));
        assert_eq!(size_of::<Block>(), 64);
    }
}
