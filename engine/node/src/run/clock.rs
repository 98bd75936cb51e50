//! The only place that reads the clock. A shard reads it once per batch.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lampfield_core::Time;

/// The engine's time: zero is the start of the node, the same for all shards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    zero: Instant,
    unix_at_zero_ms: u64,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            zero: Instant::now(),
            unix_at_zero_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The time now; never goes backwards.
    pub(super) fn now(&self) -> Time {
        Time::ZERO + self.zero.elapsed()
    }

    /// Unix time of [`Time::ZERO`], in milliseconds.
    pub(super) fn unix_at_zero_ms(&self) -> u64 {
        self.unix_at_zero_ms
    }
}
