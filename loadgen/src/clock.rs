//! One monotonic clock for all threads: nanoseconds since the run began.

use std::time::{Duration, Instant, SystemTime};

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

/// One moment by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// By this clock.
    pub now_ns: Nanos,
    system: SystemTime,
}

/// Two readings in a row are not further apart than this, unless the thread was interrupted.
const APART_MAX_NS: Nanos = 5_000;

impl Clock {
    /// Starts counting now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> Nanos {
        nanos(self.start.elapsed())
    }

    /// The time, by the system's clock as well: for what the kernel stamps.
    pub fn stamp(&self) -> Stamp {
        loop {
            let before_ns = self.now();
            let system = SystemTime::now();
            let now_ns = self.now();
            // Interrupted in between, the two would belong to different times.
            if now_ns - before_ns < APART_MAX_NS {
                return Stamp { now_ns, system };
            }
        }
    }

    /// Sleeps until `at`; returns at once when it has passed.
    pub fn sleep_until(&self, at: Nanos) {
        let now = self.now();
        if at > now {
            std::thread::sleep(Duration::from_nanos(at - now));
        }
    }
}

impl Stamp {
    /// A time of the system's clock in this one's: never early, and late by the time between the
    /// two readings at most. A system clock that was set meanwhile is not noticed here.
    pub fn nanos_of(&self, time: SystemTime) -> Nanos {
        let ago = self.system.duration_since(time).unwrap_or_default();
        self.now_ns.saturating_sub(nanos(ago))
    }
}

/// A duration as nanoseconds; more than 584 years saturate.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_system_is_found_again_and_never_early() {
        let clock = Clock::start();
        let (before_ns, system) = (clock.now(), SystemTime::now());
        std::thread::sleep(Duration::from_millis(5));
        let stamp = clock.stamp();
        let found_ns = stamp.nanos_of(system);
        assert!(found_ns >= before_ns, "{found_ns} before {before_ns}");
        assert!(stamp.now_ns - found_ns >= 4 * MILLISECOND, "{found_ns} of {}", stamp.now_ns);
        // The system's clock was set back: as good as now.
        let later = system + Duration::from_secs(3600);
        assert_eq!(stamp.nanos_of(later), stamp.now_ns);
    }
}
