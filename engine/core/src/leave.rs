//! The end of a subscription: its last NOTIFY, and what it leaves behind.

use crate::config::Dialect;
use crate::index::shrink_dense;
use crate::subscription::{Lifecycle, Reason, Seat, Watching};
use crate::{Outputs, Shard, Time};

impl Shard {
    /// Starts the end of a subscription: its last NOTIFY, which is owed from now on, says why.
    pub(crate) fn end_subscription(
        &mut self,
        slot: u32,
        reason: Reason,
        now: Time,
        out: &mut Outputs,
    ) {
        let subscription = &mut self.subscriptions[slot];
        if subscription.state != Lifecycle::Active {
            return;
        }
        subscription.state = Lifecycle::Ending(reason);
        subscription.owed = true;
        let state = subscription.state;
        self.count_end(state);
        match reason {
            Reason::Timeout => self.forget_kept(slot, out),
            // Its watcher cannot know: the record goes when it does.
            Reason::NoResource | Reason::Rejected | Reason::Deactivated => {
                self.keep_subscription(slot, now, out);
            }
        }
    }

    pub(crate) fn count_end(&mut self, state: Lifecycle) {
        let counters = &mut self.stats.counters;
        match state {
            Lifecycle::Active => {}
            Lifecycle::Ending(Reason::Timeout) => counters.subscription_expired += 1,
            Lifecycle::Ending(Reason::NoResource) => counters.subscription_hint_removed += 1,
            Lifecycle::Ending(Reason::Rejected) => counters.subscription_endpoint_removed += 1,
            Lifecycle::Ending(Reason::Deactivated) => counters.subscription_deactivated += 1,
        }
    }

    /// Forgets a subscription. Nothing is sent.
    pub(crate) fn remove_subscription(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        if self.subscriptions[slot].state.is_kept() {
            self.forget_kept(slot, out);
        }
        let dialect = self.dialect_of(&self.subscriptions[slot]);
        let source = self.texts.get(&self.subscriptions[slot].texts).source();
        let Some(subscription) = self.subscriptions.remove(slot) else { return };
        let in_flight = subscription.in_flight.and_then(|id| self.flights.remove(id));
        if in_flight.is_some() {
            self.stats.in_flight_count -= 1;
        }
        if subscription.is_waiting {
            self.stats.waiting_count -= 1;
        }
        let tag = subscription.tag;
        if tag.slot != slot {
            self.moved.remove(&tag);
        }
        if dialect == Dialect::Asterisk {
            self.ended.remember(tag, now);
        }
        let places = in_flight.as_ref().map_or(0, |in_flight| in_flight.places);
        let (hop, seat) = (subscription.hop, subscription.seat());
        self.hops.get_mut(hop).give_back(places);
        match subscription.watching() {
            Watching::Extension(seat) => self.leave_group(seat, slot, now, out),
            Watching::List(list) => self.leave_parts(&list.members, now, out),
        }
        self.per_source.leave(source);
        self.forget_texts(subscription.texts);
        self.serve_waiting(hop, now, out);
        self.hops.release(hop);
        if let Some(seat) = seat {
            self.drop_if_unused(seat.extension, out);
        }
    }

    fn leave_group(&mut self, left: Seat, slot: u32, now: Time, out: &mut Outputs) {
        let Some(extension) = self.extensions.get_mut(left.extension) else { return };
        extension.watcher_count -= 1;
        let group = &mut extension.groups[usize::from(left.group)];
        debug_assert_eq!(group.watchers.get(left.position as usize), Some(&slot));
        group.watchers.swap_remove(left.position as usize);
        shrink_dense(&mut group.watchers);
        let moved = group.watchers.get(left.position as usize).copied();
        group.free_if_unused();
        let Some(moved) = moved else { return };
        group.misplaced_count += 1;
        // A running fan-out may miss the one that moves here: it is served at once.
        let is_running = group.round.is_running();
        self.subscriptions[moved].set_position(left.position);
        if is_running {
            self.kick_if_news(moved, now, out);
        }
    }
}
