//! What a shard does in steps: fan-outs, and what many timers ask for in one second. Each step
//! has its budget, so that other inputs have their turn in between.

use crate::extension::{ExtensionId, Group};
use crate::rls::PartId;
use crate::slab::Slab;
use crate::subscription::{Lifecycle, Reason, Subscription, Watched};
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
}

/// Lists looked up again per turn after a reload: beside live changes, not before them.
const RELOADED_PER_TURN_MAX: usize = 16;

/// Fan-out steps over watchers that have no news; cheap, but not free.
const VISITS_PER_TURN_MAX: usize = 4096;

impl Shard {
    /// Batch intervals and rates have passed.
    pub(crate) fn on_paces(&mut self, now: Time, out: &mut Outputs) {
        for _ in 0..self.config.limits.notify_per_turn_max.max(1) {
            let Some((slot, check)) = self.paces.pop_due(now) else { return };
            let subscription = self.subscriptions.get_mut(slot).filter(|s| s.tag.check == check);
            let pace = subscription.and_then(|s| s.pace.as_mut());
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
            let Some((slot, check)) = self.expiries.pop_due(now, &mut visits_left) else { return };
            let Some(subscription) = self.subscriptions.get_mut(slot) else { continue };
            let is_stale = u64::from(subscription.armed_at_s) > now.as_secs();
            if is_stale || subscription.tag.check != check {
                continue;
            }
            if u64::from(subscription.expires_at_s) > now.as_secs() {
                subscription.armed_at_s = subscription.expires_at_s;
                self.expiries.arm(u64::from(subscription.expires_at_s), slot, check);
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
            let Some((slot, check)) = self.probes.pop_due(now, &mut visits_left) else { return };
            let is_owed = self.subscriptions.get(slot).is_some_and(|s| {
                s.tag.check == check && s.owed && s.in_flight.is_none() && !s.is_waiting
            });
            if is_owed {
                self.kick(slot, now, out);
            }
        }
    }

    /// Where the count of NOTIFYs may stand when one step of a turn ends.
    fn sent_max(&self) -> u64 {
        self.stats.counters.notify_sent + self.config.limits.notify_per_turn_max.max(1) as u64
    }

    /// Starts the fan-out of a group. One that runs goes on where it stands and visits everybody
    /// once more, so that a steady stream of changes starves nobody at the end of the list.
    pub(crate) fn start_fanout(&mut self, extension: ExtensionId, group: u16) {
        let Some(group_ref) = self.extensions[extension].groups.get_mut(usize::from(group)) else {
            return;
        };
        if group_ref.watchers.is_empty() {
            return;
        }
        group_ref.unvisited_count = group_ref.watchers.len() as u32;
        if group_ref.cursor.is_none() {
            group_ref.cursor = Some(0);
            self.fanout.push_back(Fanout::Group(extension, group));
        }
    }

    /// Goes on with the fan-outs, within the budget of one turn; each gets its share.
    pub(crate) fn run_fanout(&mut self, now: Time, out: &mut Outputs) {
        let sent_max = self.sent_max();
        let mut visits = 0;
        while let Some(fanout) = self.fanout.pop_front() {
            while let Some(slot) = self.next_visit(fanout) {
                visits += 1;
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
                    }
                }
                let is_spent = self.stats.counters.notify_sent >= sent_max;
                let is_through = matches!(fanout, Fanout::List(_));
                if is_spent || visits >= VISITS_PER_TURN_MAX {
                    if !is_through {
                        self.fanout.push_back(fanout);
                    }
                    return;
                }
                if is_through {
                    break;
                }
            }
        }
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
        }
    }

    /// The watcher at the cursor of a running fan-out; `None` when it is through.
    fn next_watcher(&mut self, extension: ExtensionId, group: u16) -> Option<u32> {
        let extension = self.extensions.get_mut(extension)?;
        let group = extension.groups.get_mut(usize::from(group))?;
        let cursor = group.cursor?;
        let is_start = group.unvisited_count as usize == group.watchers.len();
        if is_start && cursor == 0 && group.is_disordered() {
            sort_by_hop(group, &mut self.subscriptions);
        }
        if group.unvisited_count == 0 {
            group.cursor = None;
            return None;
        }
        group.unvisited_count -= 1;
        // The list may have shrunk since, or the end was reached by one that went on.
        let cursor = if (cursor as usize) < group.watchers.len() { cursor } else { 0 };
        group.cursor = Some(cursor + 1);
        group.watchers.get(cursor as usize).copied()
    }
}

/// Lays watchers of one next hop side by side, so that their NOTIFYs can leave as one train.
fn sort_by_hop(group: &mut Group, subscriptions: &mut Slab<Subscription>) {
    let hop_and_slot = |&slot: &u32| u64::from(subscriptions[slot].hop) << 32 | u64::from(slot);
    let mut keys: Vec<u64> = group.watchers.iter().map(hop_and_slot).collect();
    keys.sort_unstable();
    for (position, (&key, watcher)) in keys.iter().zip(&mut group.watchers).enumerate() {
        *watcher = key as u32;
        if let Watched::Extension(seat) = &mut subscriptions[*watcher].watched {
            seat.position = position as u32;
        }
    }
    group.misplaced_count = 0;
}
