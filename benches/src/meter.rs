//! Reads a cost around the work that is measured, and around nothing else.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Instant;

/// What a meter reads: time, allocations, or nothing where somebody outside counts.
pub type Reading = fn() -> u64;

/// Adds up what measured work costs.
#[derive(Debug)]
pub struct Meter {
    reading: Option<Reading>,
    total: u64,
}

impl Meter {
    /// A meter of `reading`.
    pub fn new(reading: Reading) -> Self {
        Self { reading: Some(reading), total: 0 }
    }

    /// A meter that measures nothing: for what leads up to a measurement.
    pub fn off() -> Self {
        Self { reading: None, total: 0 }
    }

    /// A meter of time in nanoseconds. One measurement costs about 50 ns itself.
    pub fn clock() -> Self {
        static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self::new(|| ZERO.elapsed().as_nanos() as u64)
    }

    /// Does the work, and adds what it costs.
    pub fn measure<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let Some(reading) = self.reading else { return work() };
        let before = reading();
        let result = measured(work);
        self.total += reading().saturating_sub(before);
        result
    }

    /// What was measured since the last call.
    pub fn take(&mut self) -> u64 {
        std::mem::take(&mut self.total)
    }
}

/// The one function in which callgrind counts (`--toggle-collect`): a call of its own in every
/// build, and not the last thing its caller does.
#[inline(never)]
fn measured<R>(work: impl FnOnce() -> R) -> R {
    black_box(work())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn only_measured_work_is_added_up() {
        static READING: AtomicU64 = AtomicU64::new(0);
        let work = |cost| READING.fetch_add(cost, Ordering::Relaxed);
        let mut meter = Meter::new(|| READING.load(Ordering::Relaxed));
        meter.measure(|| work(3));
        work(100);
        meter.measure(|| work(4));
        assert_eq!([meter.take(), meter.take()], [7, 0]);
        let mut off = Meter::off();
        assert_eq!(off.measure(|| 5), 5);
        assert_eq!(off.take(), 0);
    }
}
