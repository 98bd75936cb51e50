//! What a seed makes of the world.

use std::time::Duration;

use fastrand::Rng;
use lampfield_core::limits::Limits;

use crate::sabotage::Sabotage;

/// Size, length and troubles of one simulated world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything random follows from it.
    pub seed: u64,
    /// Shards of the node.
    pub shard_count: u8,
    /// Phones.
    pub phone_count: usize,
    /// Extensions per tenant, beside those of a pattern.
    pub exten_count: usize,
    /// How long there is trouble.
    pub trouble: Duration,
    /// Mean time between two moves.
    pub move_every: Duration,
    /// The network loses, delays, duplicates and reorders.
    pub network_is_bad: bool,
    /// How often, in percent, phones mistreat a NOTIFY.
    pub rudeness_percent: u8,
    /// An attacker sends garbage and forgeries.
    pub is_attacked: bool,
    /// The configuration is reloaded now and then.
    pub has_reloads: bool,
    /// The node is killed and started again now and then.
    pub has_restarts: bool,
    /// Phones watch resource lists, too, and ask for rates.
    pub has_lists: bool,
    /// How long the store takes to commit; a kill loses what is younger.
    pub commit_lag: Duration,
    /// Longest subscription asked for, in seconds.
    pub expires_max_s: u32,
    /// The node's bounds.
    pub limits: Limits,
    /// A bug to plant.
    pub sabotage: Sabotage,
}

impl Plan {
    /// The plan of a seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x6c61_6d70);
        let is_large = rng.u8(..40) == 0;
        let phone_count = if is_large { rng.usize(30..80) } else { rng.usize(1..9) };
        let mut limits = Limits {
            // Invariant 1 promises the truth within 64 T1: up to the default, which is to keep it.
            probe_after: Duration::from_secs(rng.u64(2..=Limits::default().probe_after.as_secs())),
            notify_per_turn_max: [1, 2, 64][rng.usize(..3)],
            hop_window_initial: [1, 4, 64][rng.usize(..3)],
            expires_jitter_percent: [0, 10][rng.usize(..2)],
            ..Limits::default()
        };
        limits.hop_window_max = limits.hop_window_initial * 4;
        if rng.u8(..10) == 0 {
            limits.subscription_count_max = 3;
        }
        limits.notify_bytes_max = [64_000, 64_000, 2600, 1500][rng.usize(..4)];
        if limits.notify_bytes_max == 64_000 && rng.bool() {
            limits.notify_bytes_whole = 64_000;
        }
        Self {
            seed,
            shard_count: rng.u8(1..=4),
            phone_count,
            exten_count: rng.usize(1..5),
            trouble: Duration::from_secs(rng.u64(5..60)),
            move_every: Duration::from_millis(rng.u64(40..1_500)),
            network_is_bad: rng.u8(..4) != 0,
            rudeness_percent: [0, 10, 30][rng.usize(..3)],
            is_attacked: rng.u8(..3) == 0,
            has_reloads: rng.u8(..3) == 0,
            has_restarts: rng.u8(..4) == 0,
            has_lists: rng.u8(..4) != 0,
            commit_lag: Duration::from_millis([0, 30][rng.usize(..2)]),
            expires_max_s: [20, 60, 300][rng.usize(..3)],
            limits,
            sabotage: Sabotage::None,
        }
    }

    /// Lists of this world may need several NOTIFYs for all they show.
    pub(crate) fn may_split(&self) -> bool {
        self.limits.notify_bytes_max.min(self.limits.notify_bytes_whole) < 64_000
    }

    /// The same world with a bug planted.
    pub fn sabotaged(self, sabotage: Sabotage) -> Self {
        Self { sabotage, ..self }
    }
}
