//! Memory of answered requests: a retransmission gets the same answer, a merged request 482.
//!
//! The answer is not kept: it is a function of the request (which the peer sends again) and a
//! few numbers: for a SUBSCRIBE 28 bytes and 5 to 10 to find them, instead of half a KiB.
//!
//! Source: RFC 3261 sections 8.2.2.2 and 17.2.2 (timer J).

use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use crate::fifo::Fifo;
use crate::index::Numbers;
use crate::limits::Limits;
use crate::respond::Answer;
use crate::{Shard, Time};

/// What was accepted: all that its answer is made from, now and when it comes again.
pub(crate) trait Remembered: Copy {
    /// As it is kept. Made of halves, it adds no more than its bytes.
    type Packed: Copy + Debug;

    fn pack(self) -> Self::Packed;

    fn unpack(packed: Self::Packed) -> Self;

    fn answer(self) -> Answer;

    /// A shard's memory of these.
    fn memory(shard: &mut Shard) -> &mut Transactions<Self>;
}

/// What memory says about a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seen<A> {
    /// Never before.
    New,
    /// The same request again: answer it the same way.
    Again(A),
    /// The same request along another path: 482.
    Merged,
}

/// Names a request in the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestKey {
    request: u64,
    branch: u32,
}

/// The memory of one shard.
#[derive(Debug)]
pub(crate) struct Transactions<A: Remembered> {
    hasher: ahash::RandomState,
    /// In the order in which they are forgotten.
    answered: Fifo<Answered<A::Packed>>,
    /// Numbers in `answered`, by request.
    index: Numbers,
}

/// What was answered.
#[derive(Clone, Copy, Debug)]
struct Answered<P> {
    request: [u32; 2],
    branch: u32,
    packed: P,
    /// The second in which it is forgotten; the last bits of it.
    until_s: u16,
}

impl<P> Answered<P> {
    fn new(key: RequestKey, packed: P, until_s: u64) -> Self {
        Self {
            request: [key.request as u32, (key.request >> 32) as u32],
            branch: key.branch,
            packed,
            until_s: until_s as u16,
        }
    }

    fn request(&self) -> u64 {
        u64::from(self.request[0]) | u64::from(self.request[1]) << 32
    }

    /// Whether its time has come. It has less than half of what 16 bits count to live.
    fn is_over(&self, now_s: u64) -> bool {
        (now_s as u16).wrapping_sub(self.until_s) < 1 << 15
    }
}

impl<A: Remembered> Transactions<A> {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(17), 0x7478);
        Self { hasher, answered: Fifo::default(), index: Numbers::default() }
    }

    /// Requests it remembers.
    pub(crate) fn len(&self) -> usize {
        self.answered.len()
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
        RequestKey { request: hasher.finish(), branch: self.hasher.hash_one(branch) as u32 }
    }

    /// Looks a request up.
    pub(crate) fn look_up(&mut self, key: RequestKey, now: Time) -> Seen<A> {
        self.forget(now);
        let found = self.index.find(key.request, |number| self.request_of(number) == key.request);
        match found.and_then(|number| self.answered.get(number)) {
            None => Seen::New,
            Some(answered) if answered.branch == key.branch => {
                Seen::Again(A::unpack(answered.packed))
            }
            Some(_) => Seen::Merged,
        }
    }

    /// Remembers an answer for `limits.transaction_memory`.
    pub(crate) fn remember(&mut self, key: RequestKey, accepted: A, now: Time, limits: &Limits) {
        self.forget(now);
        if self.answered.len() >= limits.transaction_count_max {
            self.forget_oldest();
        }
        let memory = limits.transaction_memory.min(MEMORY_MAX);
        let until_s = (now + memory).as_secs_ceil();
        // It took two paths, and was answered on both: the newer answer counts.
        let same = |number| self.request_of(number) == key.request;
        if let Some(older) = self.index.find(key.request, same) {
            self.unindex(older);
        }
        let number = self.answered.push_back(Answered::new(key, accepted.pack(), until_s));
        let Self { answered, index, .. } = self;
        let request_of = |number| answered.get(number).map_or(0, Answered::request);
        index.insert(key.request, number, request_of);
    }

    fn request_of(&self, number: u32) -> u64 {
        self.answered.get(number).map_or(0, Answered::request)
    }

    fn unindex(&mut self, number: u32) {
        let request = self.request_of(number);
        let Self { answered, index, .. } = self;
        let request_of = |number| answered.get(number).map_or(0, Answered::request);
        index.remove(request, number, request_of);
    }

    /// Drops what is older than the memory. Called now and then; being late only costs memory.
    pub(crate) fn forget(&mut self, now: Time) {
        while self.answered.front().is_some_and(|oldest| oldest.is_over(now.as_secs())) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        self.unindex(self.answered.front_number());
        self.answered.pop_front();
    }
}

/// Longest memory there can be.
const MEMORY_MAX: Duration = Duration::from_secs(1 << 14);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscribe::Accepted;
    use crate::tag::Tag;

    const _: () = assert!(size_of::<Answered<<Accepted as Remembered>::Packed>>() == 28);

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
            matches!(memory.look_up(key, Time::ZERO), Seen::Again(again) if again == accepted(600))
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

    #[test]
    fn what_is_kept_comes_back_whole() {
        let tag = Tag { partition: 1023, slot: 0x0123_4567, check: 0x89ab_cdef };
        for (is_list, is_silent) in [(false, false), (true, false), (false, true), (true, true)] {
            let accepted = Accepted { tag, expires_s: 0x1234_5678, is_list, is_silent };
            assert_eq!(Accepted::unpack(accepted.pack()), accepted);
        }
    }
}
