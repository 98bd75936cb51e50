//! What a shard does in steps: fan-outs, and what many timers ask for in one second. Each step
//! has its budget, so that other inputs have their turn in between.

use std::collections::VecDeque;

use crate::extension::{ExtensionId, Group};
use crate::hop::{HopId, Hops};
use crate::rls::PartId;
use crate::slab::Slab;
use crate::subscription::{Lifecycle, Reason, Subscription};
use crate::texts::Texts;
use crate::timer::Fired;
use crate::{Outputs, Shard, Time};

/// What a fan-out walks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fanout {
    /// The watchers of a group of an extension.
    Group(ExtensionId, u16),
    /// The lists that show a part.
    Part(PartId),
    /// One list that was taken back from the store.
    List(u32),
    /// Those who wait for a next hop that has room again.
    Hop(HopId),
}

/// Walks of at most this many steps are small.
const SMALL_MAX: usize = 64;

/// The walks that run. Small ones go first, so that a lamp with a few watchers does not wait for
/// the slices of those with thousands; these keep a quarter of every step all the same. Within
/// either class each has its share in turn.
#[derive(Debug)]
pub(crate) struct Fanouts {
    small: VecDeque<Fanout>,
    large: VecDeque<Fanout>,
    /// NOTIFYs of one step, as the runtime has time for; the limit is another bound.
    budget: usize,
}

impl Default for Fanouts {
    /// Nothing runs, and the limit is the only bound.
    fn default() -> Self {
        Self { small: VecDeque::new(), large: VecDeque::new(), budget: usize::MAX }
    }
}

impl Fanouts {
    /// Starts a walk over `len` watchers or lists. Those of which there may be thousands at once
    /// are not small, however short each is.
    pub(crate) fn push(&mut self, fanout: Fanout, len: usize) {
        self.class(len <= SMALL_MAX).push_back(fanout);
    }

    pub(crate) fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// The budgets of one step, in the order in which they are spent: class, and what share of
    /// `budget` may have been spent in the step then.
    fn shares(&self, budget: u64) -> [(bool, u64); 3] {
        // A budget of one goes to the small ones: a walk of theirs ends soon.
        let kept = budget.div_ceil(4).min(budget - 1);
        let kept = if self.large.is_empty() { 0 } else { kept };
        [(true, budget - kept), (false, budget), (true, budget)]
    }

    fn class(&mut self, is_small: bool) -> &mut VecDeque<Fanout> {
        if is_small { &mut self.small } else { &mut self.large }
    }
}

/// A walk over a row of watchers or lists, in steps. Who joins the row stands at its end; who
/// leaves it gives the place to the last one, which then must be seen to at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    /// The place to visit next; `None` when no walk runs.
    cursor: Option<u32>,
    /// Places still to visit.
    left: u32,
}

impl Round {
    /// Starts a walk over `len` places. One that runs goes on where it stands and visits everybody
    /// once more, so that a steady stream of changes starves nobody at the end of the row. True:
    /// none ran, and it is to be queued.
    #[must_use]
    pub(crate) fn start(&mut self, len: usize) -> bool {
        self.left = len as u32;
        let is_new = len > 0 && self.cursor.is_none();
        if is_new {
            self.cursor = Some(0);
        }
        is_new
    }

    /// One more stands between a walk that runs and those it has still to visit.
    pub(crate) fn joined(&mut self) {
        self.left += u32::from(self.is_running());
    }

    /// The next place in a row of `len`; `None` when the walk is through.
    pub(crate) fn next(&mut self, len: usize) -> Option<usize> {
        let cursor = self.cursor? as usize;
        if self.left == 0 || len == 0 {
            self.cursor = None;
            return None;
        }
        self.left -= 1;
        // The row may have shrunk since, or the end was reached by one that went on.
        let cursor = if cursor < len { cursor } else { 0 };
        self.cursor = Some(cursor as u32 + 1);
        Some(cursor)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.cursor.is_some()
    }

    /// Whether a walk that runs has still to visit this place in a row of `len`.
    pub(crate) fn awaits(&self, place: usize, len: usize) -> bool {
        let Some(cursor) = self.cursor.map(|cursor| cursor as usize) else { return false };
        let cursor = if cursor < len { cursor } else { 0 };
        let ahead = if place >= cursor { place - cursor } else { place + len - cursor };
        ahead < self.left as usize
    }

    /// Whether a walk over `len` places has not begun yet.
    fn is_at_start(&self, len: usize) -> bool {
        self.cursor == Some(0) && self.left as usize == len
    }
}

/// Lists looked up again per turn after a reload: beside live changes, not before them.
const RELOADED_PER_TURN_MAX: usize = 16;

/// Fan-out steps over watchers that have no news; cheap, but not free.
const VISITS_PER_TURN_MAX: usize = 4096;

impl Shard {
    /// Batch intervals and rates have passed.
    pub(crate) fn on_paces(&mut self, now: Time, out: &mut Outputs) {
        for _ in 0..self.step_budget() {
            let Some((slot, check)) = self.paces.pop_due(now) else { return };
            let subscription = self.subscriptions.get_mut(slot).filter(|s| s.tag.check == check);
            let pace = subscription.and_then(|s| s.pace_mut());
            match pace.map(|pace| pace.fired(now)) {
                Some(Some(at)) => self.paces.arm(at, slot, check),
                Some(None) => self.kick_if_news(slot, now, out),
                None => {}
            }
        }
    }

    /// Subscriptions run out; one wheel entry each, which follows the refreshes. Many may run out
    /// in one second: they are taken in steps, as a fan-out is.
    pub(crate) fn on_expiries(&mut self, now: Time, out: &mut Outputs) {
        let mut visits_left = VISITS_PER_TURN_MAX;
        let sent_max = self.sent_max();
        while self.stats.counters.notify_sent < sent_max {
            let Some(fired) = self.expiries.pop_due(now, &mut visits_left) else { return };
            let Fired { at_s, slot, check } = fired;
            let Some(subscription) = self.subscriptions.get(slot) else { continue };
            if !subscription.is_armed_for(at_s) || subscription.tag.check != check {
                continue;
            }
            if u64::from(subscription.expires_at_s) > now.as_secs() {
                self.arm_expiry(slot);
            } else if subscription.state == Lifecycle::Active {
                self.end_subscription(slot, Reason::Timeout, now, out);
                self.kick(slot, now, out);
            }
        }
    }

    /// Suspects are probed, and those who asked for time have had it; in steps, too.
    pub(crate) fn on_probes(&mut self, now: Time, out: &mut Outputs) {
        let mut visits_left = VISITS_PER_TURN_MAX;
        let sent_max = self.sent_max();
        while self.stats.counters.notify_sent < sent_max {
            let Some(fired) = self.probes.pop_due(now, &mut visits_left) else { return };
            let Fired { slot, check, .. } = fired;
            let is_owed = self.subscriptions.get(slot).is_some_and(|s| {
                s.tag.check == check && s.owed && s.in_flight.is_none() && !s.is_waiting
            });
            if is_owed {
                self.kick(slot, now, out);
            }
        }
    }

    /// NOTIFYs of one step.
    pub(crate) fn step_budget(&self) -> usize {
        self.config.limits.notify_per_turn_max.min(self.fanout.budget).max(1)
    }

    /// Where the count of NOTIFYs may stand when one step of a turn ends.
    pub(crate) fn sent_max(&self) -> u64 {
        self.stats.counters.notify_sent + self.step_budget() as u64
    }

    /// Starts the fan-out of a group.
    pub(crate) fn start_fanout(&mut self, extension: ExtensionId, group: u16) {
        let groups = &mut self.extensions[extension].groups;
        let Some(group_ref) = groups.get_mut(usize::from(group)) else { return };
        let len = group_ref.watchers.len();
        if group_ref.round.start(len) {
            self.fanout.push(Fanout::Group(extension, group), len);
        }
    }

    /// Goes on with the fan-outs, within the budget of one turn.
    pub(crate) fn run_fanout(&mut self, now: Time, out: &mut Outputs) {
        let sent_before = self.stats.counters.notify_sent;
        let mut visits_left = VISITS_PER_TURN_MAX;
        for (is_small, share) in self.fanout.shares(self.step_budget() as u64) {
            let sent_max = sent_before + share;
            while self.stats.counters.notify_sent < sent_max && visits_left > 0 {
                let Some(fanout) = self.fanout.class(is_small).pop_front() else { break };
                if !self.walk(fanout, sent_max, &mut visits_left, now, out) {
                    self.fanout.class(is_small).push_back(fanout);
                }
            }
        }
    }

    /// Goes on with one fan-out until `sent_max` or `visits_left` is reached; true when it is
    /// through.
    fn walk(
        &mut self,
        fanout: Fanout,
        sent_max: u64,
        visits_left: &mut usize,
        now: Time,
        out: &mut Outputs,
    ) -> bool {
        while self.stats.counters.notify_sent < sent_max && *visits_left > 0 {
            let Some(slot) = self.next_visit(fanout) else { return true };
            *visits_left -= 1;
            match fanout {
                Fanout::Group(..) => self.kick_if_news(slot, now, out),
                Fanout::Part(part) => {
                    // One that waits for other members is visited by their news.
                    self.mark_dirty(slot, part);
                    self.kick_if_news(slot, now, out);
                }
                Fanout::List(_) => {
                    if self.subscriptions.get(slot).is_some() {
                        self.kick_if_news(slot, now, out);
                    }
                    return true;
                }
                Fanout::Hop(hop) => self.serve(hop, slot, now, out),
            }
        }
        false
    }

    /// Lists are looked up in a new configuration, a few per turn.
    pub(crate) fn on_reloads(&mut self, now: Time, out: &mut Outputs) {
        for _ in 0..RELOADED_PER_TURN_MAX {
            let Some((slot, check)) = self.reloads.pop_front() else { return };
            self.reload_list(slot, check, now, out);
        }
    }

    /// Whom a running fan-out visits next; `None` when it is through.
    fn next_visit(&mut self, fanout: Fanout) -> Option<u32> {
        match fanout {
            Fanout::Group(extension, group) => self.next_watcher(extension, group),
            Fanout::Part(part) => self.next_list(part),
            Fanout::List(slot) => Some(slot),
            Fanout::Hop(hop) => {
                let hop = self.hops.find_mut(hop)?;
                let next = hop.next_waiting();
                hop.set_resuming(next.is_some());
                next
            }
        }
    }

    /// The watcher at the cursor of a running fan-out; `None` when it is through.
    fn next_watcher(&mut self, extension: ExtensionId, group: u16) -> Option<u32> {
        let extension = self.extensions.get_mut(extension)?;
        let group = extension.groups.get_mut(usize::from(group))?;
        let len = group.watchers.len();
        if group.round.is_at_start(len) && group.is_disordered() {
            sort_by_hop(group, &mut self.subscriptions);
        }
        let place = group.round.next(len)?;
        if place.is_multiple_of(AHEAD) && self.subscriptions.len() > NEAR_COUNT {
            let first = if place == 0 { 0 } else { (place + AHEAD).min(len) };
            let next = &group.watchers[first..(place + 2 * AHEAD).min(len)];
            look_ahead(next, &self.subscriptions, &self.texts, &self.hops);
        }
        group.watchers.get(place).copied()
    }
}

/// Watchers whose records are fetched together.
const AHEAD: usize = 8;

/// Subscriptions whose records are in the caches anyway.
const NEAR_COUNT: u32 = 4096;

/// Reads from the records of watchers whose turn comes soon. Nothing is done with it, but memory
/// answers eight questions in the time of one if none waits for the answer to another.
fn look_ahead(slots: &[u32], subscriptions: &Slab<Subscription>, texts: &Texts, hops: &Hops) {
    let mut places = [None; AHEAD * 2];
    for (place, &slot) in places.iter_mut().zip(slots) {
        *place = subscriptions.get(slot).map(|s| (&s.texts, s.hop, s.tag.check));
    }
    let bytes = places.iter().flatten().map(|(texts_id, hop, check)| {
        texts.touch(texts_id) ^ u8::from(hops.get(*hop).is_shared()) ^ *check as u8
    });
    std::hint::black_box(bytes.fold(0, |all, byte| all ^ byte));
}

/// Lays watchers of one next hop side by side, so that their NOTIFYs can leave as one train.
fn sort_by_hop(group: &mut Group, subscriptions: &mut Slab<Subscription>) {
    let hop_and_slot = |&slot: &u32| u64::from(subscriptions[slot].hop) << 32 | u64::from(slot);
    let mut keys: Vec<u64> = group.watchers.iter().map(hop_and_slot).collect();
    keys.sort_unstable();
    for (position, (&key, watcher)) in keys.iter().zip(&mut group.watchers).enumerate() {
        *watcher = key as u32;
        subscriptions[*watcher].set_position(position as u32);
    }
    group.misplaced_count = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_walks_keep_a_quarter_of_a_step_and_small_ones_always_have_a_part() {
        let mut fanouts = Fanouts::default();
        let small_and_all = |fanouts: &Fanouts, budget| {
            let [(_, small), (_, all), _] = fanouts.shares(budget);
            (small, all)
        };
        assert_eq!(small_and_all(&fanouts, 64), (64, 64));
        fanouts.push(Fanout::List(1), usize::MAX);
        for (budget, small) in [(64, 48), (5, 3), (2, 1), (1, 1)] {
            assert_eq!(small_and_all(&fanouts, budget), (small, budget), "{budget}");
        }
    }

    #[test]
    fn a_round_visits_everybody_once_and_once_more_if_it_is_started_again() {
        let mut round = Round::default();
        assert!(round.start(3) && !round.start(3), "queued once");
        assert_eq!([round.next(3), round.next(3)], [Some(0), Some(1)]);
        round.joined();
        assert!(!round.start(4));
        let awaited = |round: &Round| (0..4).filter(|place| round.awaits(*place, 4)).count();
        assert_eq!((round.next(4), awaited(&round)), (Some(2), 3));
        assert!(!round.awaits(2, 4) && round.awaits(3, 4) && round.awaits(1, 4));
        let visited: Vec<usize> = std::iter::from_fn(|| round.next(4)).collect();
        assert_eq!((visited, awaited(&round)), (vec![3, 0, 1], 0));
        assert!(round.start(4));
    }

    #[test]
    fn a_round_over_a_row_that_emptied_is_through_and_can_start_again() {
        let mut round = Round::default();
        assert!(!round.start(0));
        assert!(round.start(2));
        assert_eq!(round.next(2), Some(0));
        assert_eq!(round.next(0), None);
        assert!(round.start(1), "else nobody who joins later would be visited");
        assert_eq!(round.next(1), Some(0));
    }
}
