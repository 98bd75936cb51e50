//! How long a shard sleeps, and when it lets answers gather.

use std::time::Duration;

use lampfield_core::Time;

/// Deadlines are met on a grid: those of one interval share a wake-up (30 us of CPU each).
const GRID: Duration = Duration::from_millis(5);

/// Datagrams sent in one turn from which on their answers are awaited together.
const ANSWERS_WORTH_WAITING: usize = 16;

/// How long answers gather. Measured: one wake-up per 6 answers costs 4 us per NOTIFY, 250 us of
/// gathering 1.8 us.
const GATHER_FOR: Duration = Duration::from_micros(250);

/// How long to sleep until `deadline`, on the grid: `None` for ever, zero if it is due.
pub(super) fn sleep_for(now: Time, deadline: Option<Time>) -> Option<Duration> {
    let deadline = deadline?;
    if deadline <= now {
        return Some(Duration::ZERO);
    }
    let grid_ns = GRID.as_nanos() as u64;
    let met_at = deadline.as_nanos().checked_next_multiple_of(grid_ns)?;
    Some(Time::from_nanos(met_at).since(now))
}

/// Receive moderation: while answers to a burst are due, the shard sleeps for a fixed short time
/// instead of waking for every one of them. The same while datagrams come close together for
/// another reason, as a boot storm or answers that belong to other shards: forwarded one by one,
/// each would wake this shard and its owner.
#[derive(Debug, Default)]
pub(super) struct Moderation {
    gathers: bool,
    paused: bool,
    received_at: Option<Time>,
}

impl Moderation {
    /// Notes what a turn that began at `now` did.
    pub(super) fn after_turn(&mut self, now: Time, sent: usize, received: usize) {
        let is_close = self.received_at.is_some_and(|before| now.since(before) < GATHER_FOR);
        if sent >= ANSWERS_WORTH_WAITING || (received > 0 && is_close) {
            self.gathers = true;
        } else if self.paused && received == 0 {
            // A whole pause brought nothing: those who are still silent are slow or dead.
            self.gathers = false;
        }
        if received > 0 {
            self.received_at = Some(now);
        }
        self.paused = false;
    }

    /// How long to sleep without looking at anything; `None` to wake for the next datagram.
    pub(super) fn before_sleep(&mut self) -> Option<Duration> {
        self.paused = self.gathers;
        self.gathers.then_some(GATHER_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_met_on_the_grid_and_never_early() {
        let ms = |ms: u64| Time::from_nanos(ms * 1_000_000);
        for (now, deadline, want_ms) in [
            (ms(0), None, None),
            (ms(7), Some(ms(7)), Some(0)),
            (ms(7), Some(ms(3)), Some(0)),
            (ms(7), Some(ms(8)), Some(3)),
            (ms(7), Some(ms(10)), Some(3)),
            (ms(7), Some(ms(11)), Some(8)),
            (ms(7), Some(Time::MAX), None),
        ] {
            let slept = sleep_for(now, deadline);
            assert_eq!(slept, want_ms.map(Duration::from_millis), "{now:?} {deadline:?}");
        }
    }

    #[test]
    fn datagrams_gather_after_a_burst_or_close_together_until_a_pause_brings_none() {
        let mut moderation = Moderation::default();
        // (begun at this microsecond, sent, received, whether datagrams gather after the turn)
        for (turn, (at_us, sent, received, gather)) in [
            (1_000, 3, 1, false),
            (2_000, 64, 0, true),
            (2_300, 0, 40, true),
            (3_000, 0, 1, true),
            (3_300, 2, 0, false),
            (5_000, 0, 1, false),
            (5_300, 0, 1, false),
            (5_400, 0, 1, true),
            (5_700, 0, 0, false),
            (9_000, 16, 0, true),
            (9_300, 0, 0, false),
        ]
        .into_iter()
        .enumerate()
        {
            moderation.after_turn(Time::from_nanos(at_us * 1_000), sent, received);
            assert_eq!(moderation.before_sleep().is_some(), gather, "turn {turn}");
        }
    }
}
