//! The network between phones and node: loss, duplicates, delay and so reordering, per link.

use std::time::Duration;

use fastrand::Rng;

/// What one phone's link does to its packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    loss_percent: u8,
    duplicate_percent: u8,
    delay_us: u64,
    jitter_us: u64,
    /// It loses every packet that would have to be cut into fragments.
    drops_fragments: bool,
}

/// The longest packet that travels whole.
const WHOLE_BYTES_MAX: usize = 1472;

impl Link {
    /// A link of a world with faults: most are fair, some bad, a few hopeless.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let (loss, duplicate, jitter_us) = match rng.u8(..10) {
            0..=4 => (0, 0, 2_000),
            5..=7 => (10, 5, 50_000),
            8 => (35, 20, 1_500_000),
            _ => (75, 5, 300_000),
        };
        Self {
            loss_percent: loss,
            duplicate_percent: duplicate,
            delay_us: rng.u64(100..20_000),
            jitter_us,
            drops_fragments: rng.u8(..8) == 0,
        }
    }

    /// The same link without faults.
    pub(crate) fn calm(self) -> Self {
        Self { loss_percent: 0, duplicate_percent: 0, jitter_us: 0, drops_fragments: false, ..self }
    }

    /// Whether a packet of this length gets through at all.
    pub(crate) fn fits(self, byte_count: usize) -> bool {
        !self.drops_fragments || byte_count <= WHOLE_BYTES_MAX
    }

    /// When the copies of a packet arrive; none if it is lost.
    pub(crate) fn carry(self, rng: &mut Rng) -> impl Iterator<Item = Duration> + use<> {
        let copies = if rng.u8(..100) < self.loss_percent {
            0
        } else {
            1 + usize::from(rng.u8(..100) < self.duplicate_percent)
        };
        let mut delays = [Duration::ZERO; 2];
        for delay in &mut delays[..copies] {
            *delay = Duration::from_micros(self.delay_us + rng.u64(..=self.jitter_us));
        }
        delays.into_iter().take(copies)
    }
}
