//! Timers of a generator thread. Delays of SUBSCRIBEs are a few constants, so each is a queue in
//! order of time, and arming or passing a timer costs a push or a pop.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::{MILLISECOND, Nanos, SECOND};

/// Timer E of RFC 3261 section 17.1.2.2: T1 doubled up to T2.
const RETRANSMIT_AFTER_NS: [Nanos; 4] = [500 * MILLISECOND, SECOND, 2 * SECOND, 4 * SECOND];
/// Timer F, and timer N of RFC 6665 section 4.1.2: 64 T1.
pub(crate) const GIVE_UP_AFTER_NS: Nanos = 32 * SECOND;

/// One SUBSCRIBE that may need attention.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Asked {
    /// Index of the watcher within the thread.
    pub(crate) watcher: u32,
    /// CSeq of the SUBSCRIBE; an older one needs nothing any more.
    pub(crate) cseq: u32,
}

/// Timers E and F (and N) of all SUBSCRIBEs.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    retransmit: [VecDeque<(Nanos, Asked)>; RETRANSMIT_AFTER_NS.len()],
    give_up: VecDeque<(Nanos, Asked)>,
}

impl Transactions {
    /// Arms both timers for a SUBSCRIBE sent now.
    pub(crate) fn start(&mut self, asked: Asked, now_ns: Nanos) {
        self.retransmit[0].push_back((now_ns + RETRANSMIT_AFTER_NS[0], asked));
        self.give_up.push_back((now_ns + GIVE_UP_AFTER_NS, asked));
    }

    /// The next SUBSCRIBE whose timer E fired and, if `needed` says so, is armed again.
    pub(crate) fn take_retransmit(
        &mut self,
        now_ns: Nanos,
        needed: impl Fn(Asked) -> bool,
    ) -> Option<Asked> {
        for level in 0..self.retransmit.len() {
            while let Some(asked) = take_due(&mut self.retransmit[level], now_ns) {
                if needed(asked) {
                    let next = (level + 1).min(self.retransmit.len() - 1);
                    let at_ns = now_ns + RETRANSMIT_AFTER_NS[next];
                    self.retransmit[next].push_back((at_ns, asked));
                    return Some(asked);
                }
            }
        }
        None
    }

    /// The next SUBSCRIBE whose timer F fired.
    pub(crate) fn take_give_up(&mut self, now_ns: Nanos) -> Option<Asked> {
        take_due(&mut self.give_up, now_ns)
    }

    /// When the next timer fires.
    pub(crate) fn next_ns(&self) -> Option<Nanos> {
        let queues = self.retransmit.iter().chain([&self.give_up]);
        queues.filter_map(|queue| queue.front()).map(|(at_ns, _)| *at_ns).min()
    }
}

/// Subscriptions to refresh, by the second.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    by_second: BTreeMap<Nanos, Vec<u32>>,
}

impl Refreshes {
    /// Schedules a refresh of `watcher`, rounded up to the second.
    pub(crate) fn schedule(&mut self, watcher: u32, at_ns: Nanos) {
        self.by_second.entry(at_ns.div_ceil(SECOND)).or_default().push(watcher);
    }

    /// The next watcher whose refresh is due.
    pub(crate) fn take_due(&mut self, now_ns: Nanos) -> Option<u32> {
        let mut first = self.by_second.first_entry()?;
        if *first.key() > now_ns / SECOND {
            return None;
        }
        let watcher = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        watcher
    }

    /// When the next refresh is due.
    pub(crate) fn next_ns(&self) -> Option<Nanos> {
        self.by_second.keys().next().map(|second| second * SECOND)
    }
}

/// Things that wait, each as long as it likes.
#[derive(Debug)]
pub(crate) struct Delayed<T> {
    by_time: BTreeMap<(Nanos, u64), T>,
    pushed_count: u64,
}

impl<T> Default for Delayed<T> {
    fn default() -> Delayed<T> {
        Delayed { by_time: BTreeMap::new(), pushed_count: 0 }
    }
}

impl<T> Delayed<T> {
    /// Lets `item` wait until `at_ns`.
    pub(crate) fn push(&mut self, at_ns: Nanos, item: T) {
        self.by_time.insert((at_ns, self.pushed_count), item);
        self.pushed_count += 1;
    }

    /// The next one whose time has come.
    pub(crate) fn take_due(&mut self, now_ns: Nanos) -> Option<T> {
        let first = self.by_time.first_entry()?;
        (first.key().0 <= now_ns).then(|| first.remove())
    }

    /// When the next one is due.
    pub(crate) fn next_ns(&self) -> Option<Nanos> {
        self.by_time.keys().next().map(|(at_ns, _)| *at_ns)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }
}

/// Takes the front of a queue whose time has come.
fn take_due<T>(queue: &mut VecDeque<(Nanos, T)>, now_ns: Nanos) -> Option<T> {
    if queue.front()?.0 > now_ns {
        return None;
    }
    queue.pop_front().map(|(_, item)| item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_subscribe_is_sent_again_as_timer_e_says_and_given_up_at_f() {
        let mut transactions = Transactions::default();
        let asked = Asked { watcher: 3, cseq: 1 };
        transactions.start(asked, 0);
        let (mut sent_ms, mut given_up_ms) = (Vec::new(), None);
        while let Some(at_ns) = transactions.next_ns() {
            if transactions.take_give_up(at_ns).is_some() {
                given_up_ms = Some(at_ns / MILLISECOND);
                break;
            }
            while transactions.take_retransmit(at_ns, |_| true).is_some() {
                sent_ms.push(at_ns / MILLISECOND);
            }
        }
        let want = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(sent_ms, want);
        assert_eq!(given_up_ms, Some(32_000));
    }

    #[test]
    fn an_answered_subscribe_is_not_sent_again() {
        let mut transactions = Transactions::default();
        transactions.start(Asked { watcher: 3, cseq: 1 }, 0);
        transactions.start(Asked { watcher: 4, cseq: 1 }, 0);
        let unanswered = |asked: Asked| asked.watcher == 4;
        let first = transactions.take_retransmit(SECOND, unanswered);
        assert_eq!(first, Some(Asked { watcher: 4, cseq: 1 }));
        assert_eq!(transactions.take_retransmit(SECOND, unanswered), None);
    }

    #[test]
    fn delayed_things_come_in_the_order_of_their_times() {
        let mut delayed = Delayed::default();
        for (at_ns, item) in [(30, 'c'), (10, 'a'), (30, 'd'), (20, 'b')] {
            delayed.push(at_ns, item);
        }
        assert_eq!((delayed.take_due(9), delayed.next_ns(), delayed.len()), (None, Some(10), 4));
        let order: String = std::iter::from_fn(|| delayed.take_due(30)).collect();
        assert_eq!(order, "abcd");
    }

    #[test]
    fn refreshes_come_at_their_second_and_not_before() {
        let mut refreshes = Refreshes::default();
        refreshes.schedule(7, 1_500 * MILLISECOND);
        refreshes.schedule(8, 2 * SECOND);
        refreshes.schedule(9, 900 * MILLISECOND);
        assert_eq!(refreshes.next_ns(), Some(SECOND));
        assert_eq!(refreshes.take_due(SECOND - 1), None);
        assert_eq!(refreshes.take_due(SECOND), Some(9));
        assert_eq!(refreshes.take_due(SECOND), None);
        let mut rest: Vec<u32> = std::iter::from_fn(|| refreshes.take_due(2 * SECOND)).collect();
        rest.sort_unstable();
        assert_eq!(rest, [7, 8]);
        assert_eq!(refreshes.next_ns(), None);
    }
}
