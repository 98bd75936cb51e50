//! What comes out of a shard. The caller owns the buffers, drains them and hands them back.

use std::ops::Range;

use crate::command::{Event, Reply};
use crate::flow::Flow;
use crate::mesh::ShardMessage;
use crate::placement::ShardId;
use crate::record::Record;

/// Outputs of one or several calls of [`crate::Shard::handle`], in order.
#[derive(Debug, Default)]
pub struct Outputs {
    bytes: Vec<u8>,
    messages: Vec<OutMessage>,
    /// Messages to other shards. Order per receiver must be kept; loss is not allowed.
    pub to_shards: Vec<(ShardId, ShardMessage)>,
    /// News for the control plane.
    pub events: Vec<Event>,
    /// Answers to queries.
    pub replies: Vec<Reply>,
    /// Records for the store, in order.
    pub records: Vec<Record>,
}

/// One SIP message to send.
#[derive(Clone, Copy, Debug)]
pub struct OutMessage {
    /// Where to.
    pub flow: Flow,
    start: u32,
    end: u32,
}

impl Outputs {
    /// Forgets everything, keeps the capacity.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.messages.clear();
        self.to_shards.clear();
        self.events.clear();
        self.replies.clear();
        self.records.clear();
    }

    /// True when there is nothing to do for the caller.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.to_shards.is_empty()
            && self.events.is_empty()
            && self.replies.is_empty()
            && self.records.is_empty()
    }

    /// SIP messages to send, in order: flow and bytes.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = (Flow, &[u8])> + Clone {
        self.messages.iter().map(|m| (m.flow, &self.bytes[m.start as usize..m.end as usize]))
    }

    /// All message bytes, end to end; [`OutMessage::range`] says which belong to which message.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The messages' flows and places in [`Outputs::bytes`].
    pub fn index(&self) -> &[OutMessage] {
        &self.messages
    }

    /// Appends one message, written by `write` at the end of the buffer it is given.
    pub fn message(&mut self, flow: Flow, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len() as u32;
        write(&mut self.bytes);
        self.messages.push(OutMessage { flow, start, end: self.bytes.len() as u32 });
    }
}

impl OutMessage {
    /// Its place in [`Outputs::bytes`].
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}
