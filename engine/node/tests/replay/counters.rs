//! What a node has counted: the way to wait for what nobody is told.

use std::time::{Duration, Instant};

use crate::lab::Lab;

impl Lab {
    /// A counter, summed over the shards.
    pub(crate) fn counter(&mut self, name: &str) -> u64 {
        let (text, went_well) = self.console.run("counters");
        assert!(went_well, "{text}");
        let mut rows = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.first() == Some(&name)).expect(name);
        row[1].parse().expect("a number")
    }

    /// Waits until a counter has come to `count`.
    pub(crate) fn wait_for(&mut self, name: &str, count: u64) {
        let begun = Instant::now();
        while self.counter(name) < count {
            assert!(begun.elapsed() < Duration::from_secs(10), "{name} never comes to {count}");
        }
    }
}
