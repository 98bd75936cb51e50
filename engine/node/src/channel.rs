//! What travels between the control plane, the shards and the store.

use std::net::SocketAddr;

use lampfield_core::command::{Command, Event, Query, Reply};
use lampfield_core::flow::{ConnectionId, Flow};
use lampfield_core::mesh::ShardMessage;
use lampfield_core::placement::ShardId;

use crate::run::Latencies;

/// Counters and gauges of a shard's sockets and queues, by name.
pub type Figures = Vec<(&'static str, u64)>;

/// What a shard's loop has seen around its core.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Counters and gauges.
    pub figures: Figures,
    /// Latencies.
    pub latencies: Latencies,
}

/// To one shard's executor.
#[derive(Debug)]
pub enum ToShard {
    /// A batch from another shard, in order.
    Mesh(ShardId, Vec<ShardMessage>),
    /// A change from the control plane that nobody waits for.
    Command(Command),
    /// A change of a state; the replies carry the same number.
    Change(u64, Command),
    /// A question; the reply carries the same number.
    Query(u64, Query),
    /// What has your loop seen? The answer carries the same number.
    Look(u64),
    /// A message for a stream connection this executor holds, from another shard.
    StreamWrite(Flow, Vec<u8>),
    /// A stream connection of another shard has ended.
    ConnectionClosed(ConnectionId),
    /// A stream connection of another shard, to this peer, has become full, or is not any more.
    ConnectionFull(ConnectionId, SocketAddr, bool),
    /// So many of your batches are on the disk.
    Committed(u64),
    /// Flush, close, end.
    Stop,
}

/// From the shards to the control plane.
#[derive(Debug)]
pub enum FromShard {
    /// Answers to queries.
    Replies(Vec<Reply>),
    /// To [`ToShard::Look`].
    Seen(u64, Box<Seen>),
    /// News.
    Events(Vec<Event>),
    /// The shard has flushed and ended.
    Stopped(ShardId),
}
