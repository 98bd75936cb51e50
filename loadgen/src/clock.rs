//! One monotonic clock for all threads: nanoseconds since the run began.

use std::time::{Duration, Instant};

/// Nanoseconds since the start of the run.
pub type Nanos = u64;

/// Nanoseconds in a millisecond.
pub const MILLISECOND: Nanos = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: Nanos = 1_000_000_000;

/// Reads the time; copies of one clock agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> Nanos {
        nanos(self.start.elapsed())
    }

    /// Sleeps until `at`; returns at once when it has passed.
    pub fn sleep_until(&self, at: Nanos) {
        let now = self.now();
        if at > now {
            std::thread::sleep(Duration::from_nanos(at - now));
        }
    }
}

/// A duration as nanoseconds; more than 584 years saturate.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
