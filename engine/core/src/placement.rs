//! Which shard owns what: extensions and state sources, by a keyed hash over partitions.
//!
//! Everything of one extension (hint, states of its sources as last heard, watchers, templates)
//! lives on one shard, and so does every state source. The partition between hash and shard is
//! there so that a cluster can move partitions later without touching the hash.

use std::hash::{BuildHasher, Hasher};

/// A shard of this process, counted from 0.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(pub u8);

/// A tenant: an index into [`crate::config::Config::tenants`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TenantId(pub u16);

/// Number of partitions that extensions and sources are hashed into.
pub const PARTITION_COUNT: u64 = 1024;

/// Maps names to their owning shard. Equal on all shards of a process and across restarts.
#[derive(Clone, Debug)]
pub struct Placement {
    shard_count: u8,
    hasher: ahash::RandomState,
}

impl Placement {
    /// A placement over `shard_count` shards (at least 1).
    pub fn new(shard_count: u8) -> Self {
        assert!(shard_count > 0, "a process has at least one shard");
        Self { shard_count, hasher: ahash::RandomState::with_seeds(0x6c61, 0x6d70, 0x6669, 0x656c) }
    }

    /// Number of shards.
    pub fn shard_count(&self) -> u8 {
        self.shard_count
    }

    /// All shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shard_count).map(ShardId)
    }

    /// The shard that owns an extension. `context` is the one the hint was *found* in.
    pub fn shard_of_extension(&self, tenant: TenantId, context: &str, exten: &str) -> ShardId {
        self.shard_of_partition(self.partition_of_extension(tenant, context, exten))
    }

    /// The shard that owns a state source, by its name as written (names are case-sensitive).
    pub fn shard_of_source(&self, tenant: TenantId, name: &str) -> ShardId {
        self.shard_of_partition(self.partition_of(tenant, &[name]))
    }

    /// The partition of an extension, below [`PARTITION_COUNT`].
    pub fn partition_of_extension(&self, tenant: TenantId, context: &str, exten: &str) -> u16 {
        self.partition_of(tenant, &[context, exten])
    }

    /// The partition of a list subscription, by its dialog.
    pub fn partition_of_dialog(&self, call_id: &[u8], from_tag: &[u8]) -> u16 {
        let mut hasher = self.hasher.build_hasher();
        for part in [call_id, from_tag] {
            hasher.write(part);
            hasher.write_u8(0xff);
        }
        (hasher.finish() % PARTITION_COUNT) as u16
    }

    /// The shard that owns a partition. `engine/net/src/sys/steer.rs` reckons the same.
    pub fn shard_of_partition(&self, partition: u16) -> ShardId {
        ShardId((u64::from(partition) % u64::from(self.shard_count)) as u8)
    }

    fn partition_of(&self, tenant: TenantId, parts: &[&str]) -> u16 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u16(tenant.0);
        for part in parts {
            hasher.write(part.as_bytes());
            hasher.write_u8(0xff);
        }
        (hasher.finish() % PARTITION_COUNT) as u16
    }
}
