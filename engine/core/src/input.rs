//! What goes into a shard.

use std::net::SocketAddr;

use crate::command::{Command, Query};
use crate::flow::{ConnectionId, Flow};
use crate::mesh::ShardMessage;
use crate::placement::ShardId;

/// One input; [`crate::Shard::handle`] reacts to it completely.
#[derive(Debug)]
pub enum Input<'a> {
    /// One datagram, or one message framed from a stream.
    Message {
        /// Where it came from.
        flow: Flow,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A message from another shard.
    Shard {
        /// The sender.
        from: ShardId,
        /// The message.
        message: ShardMessage,
    },
    /// A change from the control plane that nobody waits for.
    Command(Command),
    /// A change of a state, to be answered under `id` ([`crate::command::Answer::Changed`]). It is
    /// applied when the shards that the answer names have confirmed it as well.
    Change {
        /// Returned in the [`crate::command::Reply`]s.
        id: u64,
        /// The change.
        command: Command,
    },
    /// A question from the control plane, to be answered under `id`.
    Query {
        /// Returned in the [`crate::command::Reply`].
        id: u64,
        /// The question.
        query: Query,
    },
    /// Whether so much waits for others ([`crate::limits::Limits::mesh_waiting_max`]) that new
    /// work is to be refused.
    Overloaded(bool),
    /// So many NOTIFYs may one step send from now on, within
    /// [`crate::limits::Limits::notify_per_turn_max`]: what takes the runtime about the time it has
    /// for a step.
    StepBudget(usize),
    /// A stream connection ended.
    ConnectionClosed(ConnectionId),
    /// More waits for the peer of a stream connection than it reads, or no more. While it is full,
    /// what is sent there are answers only; news wait, and the newest is sent then. One that ends
    /// is not full any more.
    ConnectionFull {
        /// The connection.
        connection: ConnectionId,
        /// Its peer: messages to a flow whose connection has ended or is not known go there, too.
        peer: SocketAddr,
        /// Whether it is full now.
        is_full: bool,
    },
    /// Time passed: timers are due, or a fan-out continues.
    Tick,
}
