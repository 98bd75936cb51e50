//! Messages between shards. Owned and `Send`; a crossing is an output, so a simulator can delay,
//! reorder and lose it.

/// A message from one shard to another.
#[derive(Clone, Debug)]
pub enum ShardMessage {}
