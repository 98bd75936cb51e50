//! `sync = "always"`: nothing is said before what it rests on is on the disk.
//!
//! A shard's outputs then leave in order, each when every record pushed before it is committed:
//! answers, NOTIFYs, and what other shards are told. The core knows nothing of it; to it the disk
//! is a slower network.

use std::collections::VecDeque;

use lampfield_core::Outputs;

/// What waits for the disk; never anything unless that is wanted.
#[derive(Debug, Default)]
pub(super) struct Held {
    is_wanted: bool,
    /// Batches of records given to the store.
    pushed: u64,
    /// Those of them that are on the disk.
    committed: u64,
    /// With each, the batches it waits for.
    waiting: VecDeque<(u64, Outputs)>,
}

impl Held {
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, ..Self::default() }
    }

    /// The number of the next batch; `None` if nobody waits for it.
    pub(super) fn next_batch(&mut self) -> Option<u64> {
        self.is_wanted.then(|| {
            self.pushed += 1;
            self.pushed
        })
    }

    /// Takes outputs that must wait; false if they may leave.
    pub(super) fn hold(&mut self, out: &mut Outputs) -> bool {
        let must_wait = self.pushed > self.committed || !self.waiting.is_empty();
        if must_wait && !out.is_empty() {
            self.waiting.push_back((self.pushed, std::mem::take(out)));
        }
        must_wait
    }

    /// A batch, and all before it, is on the disk.
    pub(super) fn set_committed(&mut self, number: u64) {
        self.committed = self.committed.max(number);
    }

    /// The oldest outputs, if they may leave.
    pub(super) fn next_free(&mut self) -> Option<Outputs> {
        let is_free = self.waiting.front().is_some_and(|(number, _)| *number <= self.committed);
        if is_free { self.waiting.pop_front().map(|(_, out)| out) } else { None }
    }

    /// How many outputs wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use lampfield_core::command::{Answer, Reply};
    use lampfield_core::placement::ShardId;

    use super::*;

    fn said(id: u64) -> Outputs {
        let mut out = Outputs::default();
        out.replies.push(Reply { id, shard: ShardId(0), answer: Answer::Confirmed });
        out
    }

    fn free(held: &mut Held) -> Vec<u64> {
        std::iter::from_fn(|| held.next_free()).map(|out| out.replies[0].id).collect()
    }

    #[test]
    fn outputs_wait_for_the_records_before_them_and_keep_their_order() {
        let mut held = Held::new(true);
        assert!(!held.hold(&mut said(0)), "nothing to wait for");
        assert_eq!(held.next_batch(), Some(1));
        assert!(held.hold(&mut said(1)));
        assert_eq!(held.next_batch(), Some(2));
        assert!(held.hold(&mut said(2)) && held.hold(&mut said(3)));
        assert_eq!(free(&mut held), [0; 0]);
        held.set_committed(1);
        assert_eq!(free(&mut held), [1]);
        assert!(held.hold(&mut said(4)), "behind those that wait");
        held.set_committed(2);
        assert_eq!(free(&mut held), [2, 3, 4]);
        assert!(!held.hold(&mut said(5)));
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn nothing_waits_unless_it_is_wanted() {
        let mut held = Held::default();
        assert_eq!(held.next_batch(), None);
        assert!(!held.hold(&mut said(1)));
    }
}
