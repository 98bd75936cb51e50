//! Memory of answered PUBLISHes: one that comes again gets the same answer, one that took two paths
//! gets 482.
//!
//! Source: RFC 3261 sections 8.2.2.2 and 17.2.2 (timer J). As for SUBSCRIBE
//! (`transaction.rs`), but what an answer is made from is an entity-tag, not a dialog.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use super::publish::Published;
use crate::Time;
use crate::admission::Basics;
use crate::limits::Limits;

/// What memory says about a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// Never before.
    New,
    /// The same request again.
    Again(Published),
    /// The same request along another path.
    Merged,
}

/// Names a request: who sent it, and along which path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    request: u64,
    branch: u64,
}

/// The memory of one shard.
#[derive(Debug)]
pub(crate) struct Memory {
    hasher: ahash::RandomState,
    answered: hashbrown::HashMap<u64, (u64, Published), ahash::RandomState>,
    order: VecDeque<(Time, u64)>,
}

impl Memory {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(17), 0x7075);
        let answered = hashbrown::HashMap::with_hasher(hasher.clone());
        Self { hasher, answered, order: VecDeque::new() }
    }

    pub(super) fn key(&self, basics: &Basics<'_>) -> Key {
        let mut hasher = self.hasher.build_hasher();
        for part in [basics.call_id, basics.from_tag] {
            hasher.write(part);
            hasher.write_u8(0xff);
        }
        hasher.write_u32(basics.cseq);
        Key { request: hasher.finish(), branch: self.hasher.hash_one(basics.branch) }
    }

    pub(super) fn look_up(&mut self, key: Key, now: Time) -> Seen {
        self.forget(now);
        match self.answered.get(&key.request) {
            None => Seen::New,
            Some((branch, published)) if *branch == key.branch => Seen::Again(*published),
            Some(_) => Seen::Merged,
        }
    }

    /// Remembers an answer to a new request; a full memory forgets the oldest.
    pub(super) fn remember(&mut self, key: Key, published: Published, now: Time, limits: &Limits) {
        if self.order.len() >= limits.transaction_count_max
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.answered.remove(&oldest);
        }
        self.answered.insert(key.request, (key.branch, published));
        self.order.push_back((now + limits.transaction_memory, key.request));
    }

    /// Drops what is older than the memory. Being late only costs memory.
    pub(crate) fn forget(&mut self, now: Time) {
        while let Some((_, request)) = self.order.pop_front_if(|(until, _)| *until <= now) {
            self.answered.remove(&request);
        }
        if self.order.is_empty() && self.order.capacity() > 4096 {
            self.order = VecDeque::new();
            self.answered = hashbrown::HashMap::with_hasher(self.hasher.clone());
        }
    }
}
