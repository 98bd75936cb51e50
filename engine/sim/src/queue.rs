//! What is due, in the order of time; equal times in the order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use lampfield_core::Time;
use lampfield_core::command::Command;
use lampfield_core::mesh::ShardMessage;
use lampfield_core::placement::ShardId;

/// Something that is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// A packet reaches the node.
    ToNode { peer: SocketAddr, bytes: Vec<u8> },
    /// A packet reaches a phone.
    ToPhone { phone: usize, bytes: Vec<u8> },
    /// A message reaches another shard of the same run.
    Mesh { epoch: u32, from: ShardId, to: ShardId, message: ShardMessage },
    /// A command reaches a shard of the same run.
    Command { epoch: u32, shard: ShardId, command: Box<Command> },
    /// A shard's deadline.
    Tick { epoch: u32, shard: ShardId },
    /// A phone's own timer.
    Wake { phone: usize },
    /// A phone's packet leaves after a pause.
    Leave { phone: usize, bytes: Vec<u8> },
    /// The world moves.
    Move,
    /// The node comes up again.
    Boot,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    key: (Time, u64),
    due: Due,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Time, due: Due) {
        self.serial += 1;
        self.heap.push(Reverse(Entry { key: (at, self.serial), due }));
    }

    /// The next that is due before `end`.
    pub(crate) fn pop_before(&mut self, end: Time) -> Option<(Time, Due)> {
        if self.heap.peek()?.0.key.0 >= end {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.key.0, entry.due))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}
