//! How often one watcher is told: the batch interval of a list and the `max-rate` of RFC 6446,
//! merged into one point in time before which nothing that merely changed is sent.
//!
//! The first change starts the batch interval, later ones only join it; `max-rate` asks for a
//! distance from the NOTIFY before. What a SUBSCRIBE or an end owes is sent at once and takes the
//! pending changes along. Source: RFC 6446 section 5.2, `reference/sip-pubsub.md` section 10.5.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use lampfield_wire::{Event, Rate};

use crate::Time;

/// Slowest rate taken seriously: one NOTIFY an hour, about the life of a subscription.
const GAP_MAX: Duration = Duration::from_secs(3600);

/// The pace of one subscription.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Changes within this time leave together.
    pub(crate) batch_interval: Duration,
    /// Least distance between NOTIFYs, from `max-rate`; zero for none.
    pub(crate) gap: Duration,
    /// When what waits is due; `None` while nothing waits.
    armed_at: Option<Time>,
    /// When its entry among the timers fires; it has one at most.
    fires_at: Option<Time>,
    sent_at: Option<Time>,
}

impl Pace {
    /// The pace of a list's interval and a watcher's `max-rate`; `None` if neither bounds it.
    pub(crate) fn new(batch_interval: Duration, gap: Duration) -> Option<Box<Self>> {
        let is_bound = batch_interval > Duration::ZERO || gap > Duration::ZERO;
        is_bound.then(|| Box::new(Self { batch_interval, gap, ..Self::default() }))
    }

    /// Whether something that changed may be sent now; else when its timer must be armed (once).
    /// `is_rest`: it had no room in the NOTIFY before. That one's interval has passed already.
    pub(crate) fn ask(&mut self, is_rest: bool, now: Time) -> Due {
        match self.armed_at {
            Some(at) if at <= now => return Due::Now,
            Some(_) => return Due::Later,
            None => {}
        }
        let after_gap = self.sent_at.map_or(now, |at| at + self.gap);
        let batch_interval = if is_rest { Duration::ZERO } else { self.batch_interval };
        let at = after_gap.max(now + batch_interval);
        if at <= now {
            return Due::Now;
        }
        self.armed_at = Some(at);
        // An earlier entry is there already, and will go on to the later time.
        if self.fires_at.is_some_and(|fires_at| fires_at <= at) {
            return Due::Later;
        }
        self.fires_at = Some(at);
        Due::Arm(at)
    }

    /// Its timer fired: when it is to fire again, if what waits is due later.
    pub(crate) fn fired(&mut self, now: Time) -> Option<Time> {
        self.fires_at = self.armed_at.filter(|at| *at > now);
        self.fires_at
    }

    /// The watcher asks for another distance, or for none.
    pub(crate) fn set_gap(&mut self, gap: Duration) {
        (self.gap, self.armed_at) = (gap, None);
    }

    /// Appends the rate it keeps, as a parameter of Subscription-State (RFC 6446 section 5.3).
    pub(crate) fn push_rate(&self, out: &mut Vec<u8>) {
        if self.gap > Duration::ZERO {
            let rate = format!(";max-rate={:.6}", 1.0 / self.gap.as_secs_f64());
            out.extend_from_slice(rate.trim_end_matches('0').trim_end_matches('.').as_bytes());
        }
    }

    /// Something was sent; it took along what waited.
    pub(crate) fn sent(&mut self, now: Time) {
        (self.armed_at, self.sent_at) = (None, Some(now));
    }
}

/// An answer of [`Pace::ask`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// Send it.
    Now,
    /// Arm a timer for then.
    Arm(Time),
    /// The timer is armed already.
    Later,
}

/// The distance that the `max-rate` of an Event header asks for; zero without one.
pub(crate) fn gap_of_event(value: &[u8]) -> Duration {
    let event = Event::parse(value).ok();
    event.and_then(|event| event.param("max-rate")).map_or(Duration::ZERO, gap_of)
}

/// The distance that a `max-rate` asks for. Zero if it is no rate; a rate of 0, which RFC 6446 does
/// not allow, is taken for the slowest there is.
fn gap_of(max_rate: &[u8]) -> Duration {
    let is_zero = max_rate.starts_with(b"0") && max_rate.iter().all(|byte| b"0.".contains(byte));
    match Rate::parse(max_rate) {
        Ok(rate) => rate.interval().min(GAP_MAX),
        Err(_) if is_zero => GAP_MAX,
        Err(_) => Duration::ZERO,
    }
}

/// Timers of paces. Nothing is cancelled: an entry that fires looks whether it still means
/// anything.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    due: BinaryHeap<Reverse<(Time, u32, u32)>>,
}

impl Paces {
    pub(crate) fn arm(&mut self, at: Time, slot: u32, check: u32) {
        self.due.push(Reverse((at, slot, check)));
    }

    /// Takes an entry that is due: slot and check of a subscription.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(u32, u32)> {
        let Reverse((at, slot, check)) = *self.due.peek()?;
        if at > now {
            return None;
        }
        self.due.pop();
        Some((slot, check))
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_change_starts_the_interval_and_the_rate_keeps_its_distance() {
        let mut pace = Pace::new(ms(100), ms(1000)).expect("bounds");
        let at = |n| Time::ZERO + ms(n);
        assert_eq!(pace.ask(false, at(0)), Due::Arm(at(100)));
        assert_eq!(pace.ask(false, at(50)), Due::Later);
        assert_eq!(pace.fired(at(100)), None);
        assert_eq!(pace.ask(false, at(100)), Due::Now);
        pace.sent(at(100));
        assert_eq!(pace.ask(false, at(200)), Due::Arm(at(1100)));
        pace.sent(at(300));
        assert_eq!(pace.fired(at(1100)), None);
        assert_eq!(pace.ask(false, at(2000)), Due::Arm(at(2100)));
        assert_eq!(pace.fired(at(2100)), None);
        pace.sent(at(2100));
        assert_eq!(pace.ask(true, at(2110)), Due::Arm(at(3100)), "a rest keeps the rate only");
        assert_eq!(pace.fired(at(3100)), None);
        pace.sent(at(3100));
        assert_eq!(pace.ask(true, at(4100)), Due::Now);
        assert!(Pace::new(Duration::ZERO, Duration::ZERO).is_none());
    }

    #[test]
    fn a_rate_is_read_as_its_grammar_says() {
        for (text, want) in [
            ("0.5", ms(2000)),
            ("10", ms(100)),
            ("0", GAP_MAX),
            ("0.0000000001", GAP_MAX),
            ("-1", Duration::ZERO),
            ("1e9", Duration::ZERO),
            ("100", Duration::ZERO),
            ("", Duration::ZERO),
        ] {
            assert_eq!(gap_of(text.as_bytes()), want, "{text}");
        }
    }
}
