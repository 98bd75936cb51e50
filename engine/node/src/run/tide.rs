//! Memory after a crowd has left: the C library keeps what was freed, and is told to hand it to
//! the kernel.

use lampfield_core::placement::ShardId;

/// Records that must have gone before it is worth the while: some 25 MB.
const EBB_MIN: u32 = 100_000;

/// The most records a shard has held since memory was last given back.
#[derive(Debug, Default)]
pub(super) struct Tide {
    high: u32,
}

impl Tide {
    /// True when half of the records, and many, have gone.
    pub(super) fn has_ebbed(&mut self, count: u32) -> bool {
        let gone_count = self.high.saturating_sub(count);
        let has_ebbed = gone_count >= EBB_MIN && gone_count >= count;
        self.high = if has_ebbed { count } else { self.high.max(count) };
        has_ebbed
    }
}

/// Gives memory back beside the shard, which it takes tens of milliseconds for a million records.
/// A failure to start the thread costs memory, nothing else.
pub(super) fn give_back(id: ShardId) {
    let thread = std::thread::Builder::new().name(format!("memory-{}", id.0));
    if let Err(error) = thread.spawn(lampfield_net::sys::give_memory_back) {
        tracing::warn!("memory is not given back: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_half_and_many_have_gone() {
        let mut tide = Tide::default();
        for (count, want) in [
            (1_000_000, false),
            (501_000, false),
            (500_000, true),
            (499_999, false),
            (900_000, false),
            (400_000, true),
            (301_000, false),
            (200_000, true),
            (120_000, false),
            (100_000, true),
            (0, true),
            (99_999, false),
            (0, false),
        ] {
            assert_eq!(tide.has_ebbed(count), want, "{count}");
        }
    }
}
