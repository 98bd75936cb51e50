//! Latencies of one shard's loop, beside those the core keeps.
//!
//! The clock is read per batch, and a batch is recorded at once: each of its messages counts with
//! the time of the whole batch, which is what the last of them took.

use std::time::Duration;

use hdrhistogram::Histogram;
use lampfield_core::Time;
use lampfield_core::stats::latency_histogram;

/// What the loop has measured.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// From the begin of the turn that read an input until the core had handled it.
    pub input_to_handled_ns: Histogram<u64>,
    /// From the moment the core had written a message until the kernel had it.
    pub handled_to_sent_ns: Histogram<u64>,
    /// How long a turn took: what arrives during it waits no longer for the next one.
    pub turn_ns: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            input_to_handled_ns: latency_histogram(),
            handled_to_sent_ns: latency_histogram(),
            turn_ns: latency_histogram(),
        }
    }
}

impl Latencies {
    /// Some inputs, read in the turn that began at `begun`, have been handled.
    pub(super) fn handled(&mut self, count: usize, begun: Time, now: Time) {
        record(&mut self.input_to_handled_ns, count, now.since(begun));
    }

    /// Some messages, written until `handled`, have been handed to the kernel.
    pub(super) fn sent(&mut self, count: usize, handled: Time, now: Time) {
        record(&mut self.handled_to_sent_ns, count, now.since(handled));
    }

    /// A turn with something to do has ended.
    pub(super) fn turned(&mut self, begun: Time, now: Time) {
        record(&mut self.turn_ns, 1, now.since(begun));
    }
}

fn record(histogram: &mut Histogram<u64>, count: usize, took: Duration) {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    histogram.saturating_record_n(ns, count as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_a_batch_counts_with_the_time_of_the_batch() {
        let (begun, now) = (Time::from_secs(1), Time::from_secs(1) + Duration::from_micros(50));
        let mut latencies = Latencies::default();
        latencies.handled(64, begun, now);
        latencies.handled(1, begun, begun);
        latencies.sent(3, begun, now);
        latencies.turned(begun, now);
        let figures =
            [&latencies.input_to_handled_ns, &latencies.handled_to_sent_ns, &latencies.turn_ns]
                .map(|histogram| (histogram.len(), histogram.value_at_quantile(0.5) / 1000));
        assert_eq!(figures, [(65, 50), (3, 50), (1, 50)]);
    }
}
