//! Memory of answered requests: a retransmission gets the same answer, a merged request 482.
//!
//! The answer is not kept: it is a function of the request (which the peer sends again) and a
//! few numbers. 40 bytes a request instead of half a KiB.
//!
//! Source: RFC 3261 sections 8.2.2.2 and 17.2.2 (timer J).

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use crate::Time;
use crate::limits::Limits;
use crate::subscribe::Accepted;

/// What was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Answered {
    pub(crate) accepted: Accepted,
    branch: u64,
}

/// What memory says about a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// Never before.
    New,
    /// The same request again: answer it the same way.
    Again(Answered),
    /// The same request along another path: 482.
    Merged,
}

/// Names a request in the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestKey {
    request: u64,
    branch: u64,
}

/// The memory of one shard.
#[derive(Debug)]
pub(crate) struct Transactions {
    hasher: ahash::RandomState,
    answered: hashbrown::HashMap<u64, Answered, ahash::RandomState>,
    order: VecDeque<(Time, u64)>,
}

impl Transactions {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(17), 0x7478);
        Self {
            answered: hashbrown::HashMap::with_hasher(hasher.clone()),
            hasher,
            order: VecDeque::new(),
        }
    }

    /// The key of a request: who sent it (Call-ID, From tag, CSeq) and along which path.
    pub(crate) fn key(
        &self,
        call_id: &[u8],
        from_tag: &[u8],
        cseq: u32,
        branch: &[u8],
    ) -> RequestKey {
        let mut hasher = self.hasher.build_hasher();
        for part in [call_id, from_tag] {
            hasher.write(part);
            hasher.write_u8(0xff);
        }
        hasher.write_u32(cseq);
        RequestKey { request: hasher.finish(), branch: self.hasher.hash_one(branch) }
    }

    /// Looks a request up.
    pub(crate) fn look_up(&mut self, key: RequestKey, now: Time) -> Seen {
        self.forget(now);
        match self.answered.get(&key.request) {
            None => Seen::New,
            Some(answered) if answered.branch == key.branch => Seen::Again(*answered),
            Some(_) => Seen::Merged,
        }
    }

    /// Remembers an answer for `limits.transaction_memory`.
    pub(crate) fn remember(
        &mut self,
        key: RequestKey,
        accepted: Accepted,
        now: Time,
        limits: &Limits,
    ) {
        self.forget(now);
        if self.order.len() >= limits.transaction_count_max
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.answered.remove(&oldest);
        }
        self.answered.insert(key.request, Answered { accepted, branch: key.branch });
        self.order.push_back((now + limits.transaction_memory, key.request));
    }

    /// Drops what is older than the memory. Called now and then; being late only costs memory.
    pub(crate) fn forget(&mut self, now: Time) {
        while let Some(&(until, request)) = self.order.front()
            && until <= now
        {
            self.order.pop_front();
            self.answered.remove(&request);
        }
        if self.order.is_empty() && self.order.capacity() > 4096 {
            self.order = VecDeque::new();
            self.answered = hashbrown::HashMap::with_hasher(self.hasher.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::Tag;

    fn accepted(expires_s: u32) -> Accepted {
        let tag = Tag { partition: 0, slot: 1, check: 2 };
        Accepted { tag, expires_s, is_list: false, is_silent: false }
    }

    #[test]
    fn a_request_is_new_then_again_then_forgotten_and_another_path_is_merged() {
        let limits = Limits::default();
        let mut memory = Transactions::new(1);
        let key = memory.key(b"call", b"from", 1, b"z9hG4bKa");
        let merged = memory.key(b"call", b"from", 1, b"z9hG4bKb");
        let next = memory.key(b"call", b"from", 2, b"z9hG4bKa");
        assert_eq!(memory.look_up(key, Time::ZERO), Seen::New);
        memory.remember(key, accepted(600), Time::ZERO, &limits);
        assert!(
            matches!(memory.look_up(key, Time::ZERO), Seen::Again(a) if a.accepted == accepted(600))
        );
        assert_eq!(memory.look_up(merged, Time::ZERO), Seen::Merged);
        assert_eq!(memory.look_up(next, Time::ZERO), Seen::New);
        assert_ne!(memory.look_up(key, Time::from_secs(31)), Seen::New);
        assert_eq!(memory.look_up(key, Time::from_secs(32)), Seen::New);
    }

    #[test]
    fn a_full_memory_forgets_the_oldest() {
        let limits = Limits { transaction_count_max: 1, ..Limits::default() };
        let mut memory = Transactions::new(1);
        let keys = [1, 2].map(|cseq| memory.key(b"call", b"from", cseq, b"b"));
        for key in keys {
            memory.remember(key, accepted(1), Time::ZERO, &limits);
        }
        assert_eq!(memory.look_up(keys[0], Time::ZERO), Seen::New);
        assert_ne!(memory.look_up(keys[1], Time::ZERO), Seen::New);
    }
}
