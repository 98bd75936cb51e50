//! Credentials that were used: each nonce count is good for one request and its retransmissions.
//!
//! Source: RFC 7616 section 5.12. Nonces need no memory, so peers that are challenged in the same
//! second may share one; what was used is therefore named by user, nonce, count and cnonce. The
//! memory is that of one shard: a request that is passed on is remembered by its owner, too.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;

/// Uses remembered at once: about 40 bytes each. Beyond, the oldest are forgotten early.
const USE_COUNT_MAX: usize = 65_536;
/// A request is sent again for 64 T1 at most.
const RETRANSMITTED_FOR: Duration = Duration::from_secs(32);

/// One use of credentials, as keyed hashes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Use {
    /// Of the credentials: user, nonce, count, cnonce.
    pub(crate) credentials: u64,
    /// Of the request: Call-ID, From and CSeq.
    pub(crate) request: u64,
}

/// The memory of one shard.
#[derive(Debug)]
pub(crate) struct Replays {
    uses: hashbrown::HashMap<u64, (u64, Time), ahash::RandomState>,
    /// Oldest first.
    order: VecDeque<(Time, u64)>,
    memory: Duration,
}

impl Replays {
    /// Remembers every use for `memory`: how long a nonce is accepted.
    pub(crate) fn new(hasher: ahash::RandomState, memory: Duration) -> Self {
        let uses = hashbrown::HashMap::with_hasher(hasher);
        Self { uses, order: VecDeque::new(), memory }
    }

    /// Whether this is the first use, or the same request sent again in time.
    pub(crate) fn admit(&mut self, used: Use, now: Time) -> bool {
        self.forget(now);
        if let Some((request, since)) = self.uses.get(&used.credentials) {
            return *request == used.request && now.since(*since) < RETRANSMITTED_FOR;
        }
        if self.order.len() >= USE_COUNT_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.uses.remove(&oldest);
        }
        self.uses.insert(used.credentials, (used.request, now));
        self.order.push_back((now + self.memory, used.credentials));
        true
    }

    fn forget(&mut self, now: Time) {
        while let Some((_, credentials)) = self.order.pop_front_if(|(until, _)| *until <= now) {
            self.uses.remove(&credentials);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_good_for_one_request_until_it_is_forgotten_and_memory_is_bounded() {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut replays = Replays::new(hasher, Duration::from_secs(300));
        for (at_s, credentials, request, want) in [
            (0, 1, 10, true),
            (31, 1, 10, true),
            (31, 1, 11, false),
            (31, 2, 10, true),
            (32, 1, 10, false),
            (299, 1, 10, false),
            (300, 1, 11, true),
        ] {
            let admitted = replays.admit(Use { credentials, request }, Time::from_secs(at_s));
            assert_eq!(admitted, want, "{credentials} for {request} at {at_s}");
        }
        for credentials in 0..USE_COUNT_MAX as u64 + 10 {
            replays.admit(Use { credentials, request: 1 }, Time::from_secs(301));
        }
        assert_eq!((replays.uses.len(), replays.order.len()), (USE_COUNT_MAX, USE_COUNT_MAX));
    }
}
