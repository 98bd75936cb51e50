//! What leaves a shard for other shards, the control plane and the store: bounded channels, each
//! with a queue on the sender's side for what does not fit.
//!
//! Nothing is lost and order is kept: as long as something waits, everything new waits behind it.
//! No shard ever waits for another, so two that are busy with each other cannot stop each other.
//! What bounds the queues is that a shard takes on no new work while they are long (`pressure.rs`).

use std::collections::VecDeque;

use async_channel::{Sender, TrySendError};
use lampfield_core::mesh::ShardMessage;
use lampfield_core::placement::ShardId;

use crate::channel::ToShard;

/// Messages of one batch to another shard: large enough to make the crossing cheap (measured:
/// 1.2 us for one message, 30 ns each from 32 on), small enough to share the turn.
const BATCH_MAX: usize = 128;

/// One receiver.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    channel: Sender<T>,
    waiting: VecDeque<T>,
    waited_count: u64,
}

impl<T> Outbox<T> {
    pub(super) fn new(channel: Sender<T>) -> Self {
        Self { channel, waiting: VecDeque::new(), waited_count: 0 }
    }

    /// Sends, or queues behind what waits. A receiver that has ended needs nothing any more.
    pub(super) fn push(&mut self, message: T) {
        if !self.flush() {
            self.wait(message);
            return;
        }
        if let Err(TrySendError::Full(message)) = self.channel.try_send(message) {
            self.wait(message);
        }
    }

    /// Sends what waits; true when nothing does any more.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(message) = self.waiting.pop_front() {
            match self.channel.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    self.waiting.push_front(message);
                    return false;
                }
                Err(TrySendError::Closed(_)) => self.waiting.clear(),
            }
        }
        true
    }

    /// The message that would leave last, if any waits.
    fn last_waiting(&mut self) -> Option<&mut T> {
        self.waiting.back_mut()
    }

    /// How many messages wait.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// How many messages have had to wait so far.
    pub(super) fn waited_count(&self) -> u64 {
        self.waited_count
    }

    /// Sends what waits, waiting for the receiver. For a shard that is about to end.
    pub(super) fn drain(&mut self) {
        for message in self.waiting.drain(..) {
            if self.channel.send_blocking(message).is_err() {
                break;
            }
        }
    }

    fn wait(&mut self, message: T) {
        self.waited_count += 1;
        self.waiting.push_back(message);
    }
}

/// The way from one shard to all others.
#[derive(Debug)]
pub(super) struct Mesh {
    own: ShardId,
    /// By shard; the own place is never used.
    peers: Vec<Outbox<ToShard>>,
    /// Batches being filled, by shard.
    batches: Vec<Vec<ShardMessage>>,
    message_out_count: u64,
    batch_out_count: u64,
}

impl Mesh {
    pub(super) fn new(own: ShardId, channels: &[Sender<ToShard>]) -> Self {
        Self {
            own,
            peers: channels.iter().cloned().map(Outbox::new).collect(),
            batches: channels.iter().map(|_| Vec::new()).collect(),
            message_out_count: 0,
            batch_out_count: 0,
        }
    }

    /// Sends messages in order, one batch per receiver and call.
    pub(super) fn send(&mut self, messages: impl Iterator<Item = (ShardId, ShardMessage)>) {
        for (to, message) in messages {
            debug_assert_ne!(to, self.own, "a shard keeps what is its own");
            let Some(batch) = self.batches.get_mut(usize::from(to.0)) else { continue };
            batch.push(message);
            self.message_out_count += 1;
            if batch.len() == BATCH_MAX {
                self.send_batch(to);
            }
        }
        for to in 0..self.batches.len() {
            if !self.batches[to].is_empty() {
                self.send_batch(ShardId(to as u8));
            }
        }
    }

    /// Sends something else than core's messages to one shard.
    pub(super) fn send_one(&mut self, to: ShardId, message: ToShard) {
        if let Some(peer) = self.peers.get_mut(usize::from(to.0)) {
            peer.push(message);
        }
    }

    /// Sends something to all other shards.
    pub(super) fn send_all(&mut self, message: impl Fn() -> ToShard) {
        let own = usize::from(self.own.0);
        for (_, peer) in self.peers.iter_mut().enumerate().filter(|(at, _)| *at != own) {
            peer.push(message());
        }
    }

    /// Sends what waits; true when nothing does any more.
    pub(super) fn flush(&mut self) -> bool {
        self.peers.iter_mut().filter_map(|peer| (!peer.flush()).then_some(())).count() == 0
    }

    /// How many batches wait, and how many have had to wait so far.
    pub(super) fn waiting(&self) -> (usize, u64) {
        self.peers.iter().fold((0, 0), |(now, ever), peer| {
            (now + peer.waiting_count(), ever + peer.waited_count())
        })
    }

    /// How many batches wait for the shard that most of them wait for.
    pub(super) fn longest(&self) -> usize {
        self.peers.iter().map(Outbox::waiting_count).max().unwrap_or(0)
    }

    /// How many messages of the core have left, and in how many batches.
    pub(super) fn out_counts(&self) -> (u64, u64) {
        (self.message_out_count, self.batch_out_count)
    }

    fn send_batch(&mut self, to: ShardId) {
        let at = usize::from(to.0);
        let batch = std::mem::take(&mut self.batches[at]);
        let peer = &mut self.peers[at];
        // Small batches that wait for a busy receiver become one.
        if let Some(ToShard::Mesh(_, last)) = peer.last_waiting()
            && last.len() + batch.len() <= BATCH_MAX
        {
            last.extend(batch);
            return;
        }
        self.batch_out_count += 1;
        peer.push(ToShard::Mesh(self.own, batch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_waits_and_arrives_in_order() {
        let (sender, receiver) = async_channel::bounded(2);
        let mut outbox = Outbox::new(sender);
        (0..5).for_each(|number| outbox.push(number));
        assert_eq!((outbox.waiting_count(), outbox.waited_count()), (3, 3));
        let mut got: Vec<i32> = vec![receiver.try_recv().expect("two fit")];
        // One place is free, yet a new message goes behind those that wait.
        outbox.push(5);
        assert_eq!(outbox.waiting_count(), 3);
        while !outbox.flush() {
            got.extend(receiver.try_recv());
        }
        got.extend(std::iter::from_fn(|| receiver.try_recv().ok()));
        assert_eq!(got, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_receiver_that_has_ended_keeps_nobody_waiting() {
        let (sender, receiver) = async_channel::bounded(1);
        let mut outbox = Outbox::new(sender);
        outbox.push(1);
        outbox.push(2);
        drop(receiver);
        assert!(outbox.flush());
        outbox.push(3);
        assert_eq!(outbox.waiting_count(), 0);
    }
}
