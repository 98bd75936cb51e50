//! NOTIFYs: one in flight per subscription, the newest state next, never an older one after it.
//!
//! Source: RFC 6665 section 4.2, RFC 3261 section 17.1.2; answers as `reference/sip-pubsub.md`
//! section 8 has them, with our proposals: an unanswered NOTIFY makes a watcher *suspect*, not
//! dead; it is probed, and goes at the second silence in a row.

use std::sync::Arc;

use lampfield_wire::{HeaderName, Message, parse_expires, response_key};

use crate::config::{Config, Dialect, EndpointId};
use crate::extension::GroupView;
use crate::flow::Flow;
use crate::pace::Due;
use crate::rls::ListWatch;
use crate::subscription::{InFlight, Lifecycle, Shown, Subscription, Watching};
use crate::tag::read_branch;
use crate::texts::Text;
use crate::timer::TRANSMISSION_COUNT_MAX;
use crate::{Outputs, Shard, Time};

/// Bytes that fill as much of a receive buffer as a NOTIFY of one extension does.
const BYTES_PER_PLACE: usize = 2048;

/// Bytes of a list's NOTIFY head at most, beside the texts of its dialog and the shared runs.
const HEAD_BYTES: usize = 380;

impl Shard {
    /// Sends the watcher what it does not know, if its turn has come.
    pub(crate) fn kick(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        // Asked first: a change while a NOTIFY is in flight starts the interval.
        let is_due = self.is_due(slot, now);
        let subscription = &mut self.subscriptions[slot];
        if subscription.in_flight.is_some() || subscription.is_waiting {
            self.stats.counters.notify_conflated += 1;
            return;
        }
        // Not before its sources are known, nor before a peer that asked for time is ready.
        let is_early = u64::from(subscription.not_before_s()) > now.as_secs();
        if is_early || !is_due || !self.is_ready(slot) {
            return;
        }
        let subscription = &mut self.subscriptions[slot];
        let hop = self.hops.get_mut(subscription.hop);
        if hop.try_take() {
            self.transmit(slot, now, out);
        } else {
            hop.wait(slot);
            subscription.is_waiting = true;
            self.stats.waiting_count += 1;
        }
    }

    /// All that a subscription shows is known.
    pub(crate) fn is_ready(&self, slot: u32) -> bool {
        match self.subscriptions[slot].watching() {
            Watching::Extension(seat) => self.extensions[seat.extension].unknown_count == 0,
            Watching::List(list) => list.is_ready(),
        }
    }

    /// Its pace allows a NOTIFY now; else its timer is armed.
    fn is_due(&mut self, slot: u32, now: Time) -> bool {
        let subscription = &mut self.subscriptions[slot];
        // What a SUBSCRIBE or an end owes does not wait.
        let is_rest = subscription.list().is_some_and(|list| list.is_continued);
        let (owed, check) = (subscription.owed, subscription.tag.check);
        let Some(pace) = subscription.pace_mut().filter(|_| !owed) else { return true };
        match pace.ask(is_rest, now) {
            Due::Now => return true,
            Due::Later => {}
            Due::Arm(at) => self.paces.arm(at, slot, check),
        }
        false
    }

    /// Sends a NOTIFY with the newest state. A place in the window was taken for it.
    pub(crate) fn transmit(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &mut self.subscriptions[slot];
        let shown_expires_s = subscription.remaining_s(now);
        let (hop, endpoint, owed) = (subscription.hop, subscription.endpoint, subscription.owed);
        let is_unproven = subscription.is_unproven();
        let texts = self.texts.get(&subscription.texts);
        let mut state = subscription.state;
        let mut places = 1;
        // What a watcher is told first was asked for, however old the change that made it so.
        let was_told = subscription.acked_at_s > 0;
        let (generation, content, extension_state, changed_at) = match subscription.list_mut() {
            None => {
                let seat = subscription.own_seat();
                let extension = &self.extensions[seat.extension];
                let group = &extension.groups[usize::from(seat.group)];
                let has_changed = was_told && subscription.sent_generation != group.generation;
                let changed_at = has_changed.then_some(extension.changed_at);
                let document = Shown::Document(Arc::clone(&group.body));
                (group.generation, document, Some(extension.state), changed_at)
            }
            Some(list) => {
                let runs = self.hops.runs(hop);
                let head_bytes = HEAD_BYTES
                    + self.shared_run.bytes.len()
                    + texts.len()
                    + runs.via.len()
                    + runs.contact.len();
                let bytes_max = notify_bytes_max(&self.config, endpoint, list, is_unproven);
                let body_bytes_max = bytes_max.saturating_sub(head_bytes);
                let watcher = texts.get(Text::Watcher);
                let (mut content, is_whole) =
                    list.show(&mut self.parts, owed, body_bytes_max, watcher);
                list.last_bytes += head_bytes;
                // A long one fills the room of several at the receiver.
                places += (list.last_bytes / BYTES_PER_PLACE) as u16;
                self.hops.get_mut(hop).take(places - 1);
                // Only the last piece of a last NOTIFY ends the subscription.
                if !is_whole {
                    state = Lifecycle::Active;
                }
                let counters = &mut self.stats.counters;
                let mut changed_at = None;
                if let Shown::List(content) = &mut content {
                    content.changed_at = content.changed_at.filter(|_| was_told);
                    changed_at = content.changed_at;
                    counters.list_notify_full += u64::from(content.is_full);
                    counters.list_notify_partial += u64::from(!content.is_full);
                }
                counters.list_notify_split += u64::from(!is_whole);
                // What had no room is news still.
                let generation = list.generation.wrapping_sub(u32::from(!is_whole));
                (generation, content, None, changed_at)
            }
        };
        if let Some(changed_at) = changed_at {
            let age_ns = now.since(changed_at).as_nanos() as u64;
            self.stats.change_to_sent_ns.saturating_record(age_ns);
        }
        subscription.cseq += 1;
        subscription.sent_generation = generation;
        subscription.owed = false;
        if let Some(pace) = subscription.pace_mut() {
            pace.sent(now);
        }
        let is_empty = matches!(content, Shown::Nothing);
        subscription.in_flight = Some(self.flights.insert(InFlight {
            content,
            version: subscription.version,
            shown_expires_s,
            state,
            extension_state,
            sent_count: 0,
            sent_at: now,
            tells_change: changed_at.is_some(),
            places,
            padded_bytes: 0,
        }));
        // A NOTIFY without a body shows no version: the next one must not leave a gap.
        subscription.version += u32::from(!is_empty);
        self.stats.counters.notify_sent += 1;
        self.stats.in_flight_count += 1;
        self.keep_ahead(slot, now, out);
        self.write(slot, now, out);
    }

    /// Whether a subscription has something to say that its watcher was not told.
    pub(crate) fn has_news(&self, slot: u32) -> bool {
        let subscription = &self.subscriptions[slot];
        match subscription.list().is_some_and(|list| list.is_quenched) {
            true => subscription.owed,
            false => subscription.has_news(self.generation_of(subscription)),
        }
    }

    /// Counts the changes of what a subscription watches.
    fn generation_of(&self, subscription: &Subscription) -> u32 {
        match subscription.watching() {
            Watching::Extension(seat) => {
                self.extensions[seat.extension].groups[usize::from(seat.group)].generation
            }
            Watching::List(list) => list.generation,
        }
    }

    /// What a subscription's watcher sees.
    pub(crate) fn view_of<'s>(&'s self, subscription: &'s Subscription) -> Option<&'s GroupView> {
        match subscription.watching() {
            Watching::Extension(seat) => {
                let extension = &self.extensions[seat.extension];
                extension.groups[usize::from(seat.group)].view.as_ref()
            }
            Watching::List(list) => Some(&list.view),
        }
    }

    /// A response arrived: to the shard it belongs to.
    pub(crate) fn on_response(&mut self, flow: Flow, bytes: &[u8], now: Time, out: &mut Outputs) {
        let key = response_key(bytes).and_then(|key| Some((key.status, read_branch(key.branch)?)));
        let Some((status, (tag, cseq))) = key else {
            self.stats.counters.response_stray += 1;
            return;
        };
        let owner = self.placement.shard_of_partition(tag.partition);
        if owner != self.id {
            self.stats.counters.response_forwarded += 1;
            self.forward(owner, flow, bytes, out);
            return;
        }
        let expected = self.subscriptions.get(tag.slot).is_some_and(|subscription| {
            subscription.tag.check == tag.check
                && subscription.cseq == cseq
                && subscription.in_flight.is_some()
        });
        match status {
            _ if !expected => self.stats.counters.response_stray += 1,
            100..200 => {}
            200..300 => self.acknowledged(tag.slot, now, out),
            _ => self.refused(tag.slot, status, retry_after(bytes), now, out),
        }
    }

    /// The dialect a subscription was made in; it keeps it whatever is reloaded.
    pub(crate) fn dialect_of(&self, subscription: &Subscription) -> Dialect {
        self.view_of(subscription).map(|view| view.dialect).unwrap_or_default()
    }

    /// When the change happened that the NOTIFY in flight tells; `None` if there is a newer one.
    fn change_told(&self, subscription: &Subscription) -> Option<Time> {
        let in_flight = self.flights.get(subscription.in_flight?);
        match (subscription.watching(), &in_flight.content) {
            (_, Shown::List(content)) => content.changed_at,
            (Watching::Extension(seat), _) if in_flight.tells_change => {
                let extension = &self.extensions[seat.extension];
                let group = &extension.groups[usize::from(seat.group)];
                let is_newest = group.generation == subscription.sent_generation;
                is_newest.then_some(extension.changed_at)
            }
            _ => None,
        }
    }

    fn acknowledged(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        if let Some(changed_at) = self.change_told(&self.subscriptions[slot]) {
            let age_ns = now.since(changed_at).as_nanos() as u64;
            self.stats.change_to_acked_ns.saturating_record(age_ns);
        }
        let subscription = &mut self.subscriptions[slot];
        let hop_id = subscription.hop;
        let Some(flight) = subscription.in_flight.take() else { return };
        let Some(in_flight) = self.flights.remove(flight) else { return };
        subscription.unanswered_count = 0;
        subscription.set_unproven(false);
        subscription.acked_state = in_flight.extension_state;
        subscription.acked_at_s = (now.as_secs() as u32).max(1);
        self.stats.counters.notify_acked += 1;
        self.stats.in_flight_count -= 1;
        if in_flight.sent_count == 1 {
            let rtt_ns = now.since(in_flight.sent_at).as_nanos() as u64;
            self.stats.sent_to_acked_ns.saturating_record(rtt_ns);
        }
        if in_flight.places > 0 {
            self.hops.get_mut(hop_id).acked(in_flight.places, &self.config.limits);
        }
        // The hop must outlive its last subscription until those who wait are served.
        self.serve_waiting(hop_id, now, out);
        if matches!(in_flight.state, Lifecycle::Ending(_)) {
            self.remove_subscription(slot, now, out);
        } else {
            self.kick_if_news(slot, now, out);
        }
    }

    /// A final answer of 300 and above.
    fn refused(
        &mut self,
        slot: u32,
        status: u16,
        retry_after_s: Option<u32>,
        now: Time,
        out: &mut Outputs,
    ) {
        self.stats.counters.notify_refused += 1;
        let is_ending = self.end_transaction(slot, now, out);
        let dialect = self.dialect_of(&self.subscriptions[slot]);
        let is_fatal = match dialect {
            _ if status == 481 => true,
            _ if retry_after_s.is_some() => false,
            Dialect::Asterisk => !matches!(status, 401 | 407),
            Dialect::Rfc => ends_subscription(status),
        };
        if is_ending || is_fatal {
            // One that ends already is counted under the reason it ends for.
            let was_active = self.subscriptions[slot].state == Lifecycle::Active;
            self.stats.counters.subscription_rejected_by_peer += u64::from(was_active);
            self.remove_subscription(slot, now, out);
            return;
        }
        // It lives, but this state did not arrive: it is owed, at the peer's own time.
        self.subscriptions[slot].owed = true;
        let probe_s = self.config.limits.probe_after.as_secs();
        let after_s = retry_after_s.map_or(probe_s, |s| u64::from(s.clamp(1, 3600)));
        let at_s = now.as_secs_ceil() + after_s;
        let subscription = &mut self.subscriptions[slot];
        if retry_after_s.is_some() {
            subscription.set_not_before_s(at_s as u32);
        }
        self.probes.arm(at_s, slot, subscription.tag.check);
        if retry_after_s.is_none() {
            self.count_unanswered(slot, now, out);
        }
    }

    /// Fires timers E and F.
    pub(crate) fn on_retransmissions(&mut self, now: Time, out: &mut Outputs) {
        let mut budget = self.step_budget();
        while budget > 0 {
            let Some(due) = self.retransmissions.pop_due(now) else { return };
            let Some(subscription) = self.subscriptions.get(due.slot) else { continue };
            if subscription.tag.check != due.check || subscription.cseq != due.cseq {
                continue;
            }
            let hop_id = subscription.hop;
            let Some(flight) = subscription.in_flight else { continue };
            let in_flight = self.flights.get_mut(flight);
            // A stream repeats by itself; a stranger is not sent the same again.
            let is_sent_once = self.hops.is_reliable(hop_id) || subscription.is_unproven();
            let lost = std::mem::take(&mut in_flight.places);
            budget -= 1;
            if is_sent_once && now.since(in_flight.sent_at) < self.config.limits.t1 * 64 {
                // The NOTIFY only stops counting, so that one who does not answer delays nobody
                // behind the same edge.
                self.retransmissions.arm_last(now, due);
                if lost > 0 {
                    self.hops.get_mut(hop_id).give_back(lost);
                    self.serve_waiting(hop_id, now, out);
                }
                continue;
            }
            if is_sent_once || in_flight.sent_count >= TRANSMISSION_COUNT_MAX {
                in_flight.places = lost;
                self.timed_out(due.slot, now, out);
                continue;
            }
            self.stats.counters.notify_retransmitted += 1;
            self.write(due.slot, now, out);
            if lost > 0 {
                self.hops.get_mut(hop_id).lost(lost, now, &self.config.limits);
                self.serve_waiting(hop_id, now, out);
            }
        }
    }

    /// Timer F: no answer at all.
    fn timed_out(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        self.stats.counters.notify_timed_out += 1;
        if self.end_transaction(slot, now, out) {
            self.remove_subscription(slot, now, out);
            return;
        }
        let subscription = &mut self.subscriptions[slot];
        subscription.owed = true;
        let check = subscription.tag.check;
        let probe_s = now.as_secs_ceil() + self.config.limits.probe_after.as_secs();
        self.probes.arm(probe_s, slot, check);
        if self.count_unanswered(slot, now, out) {
            return;
        }
        // A newer state, or a smaller NOTIFY, is a reason to try at once; else the probe does.
        let was_large = self.make_small(slot);
        let subscription = &self.subscriptions[slot];
        let is_ending = matches!(subscription.state, Lifecycle::Ending(_));
        let generation = self.generation_of(subscription);
        if subscription.sent_generation != generation || is_ending || was_large {
            self.kick(slot, now, out);
        }
    }

    /// A list whose NOTIFY no one answered gets smaller ones from now on, if it was one that
    /// networks cut into fragments: some drop these.
    fn make_small(&mut self, slot: u32) -> bool {
        let bytes_whole = self.config.limits.notify_bytes_whole;
        let subscription = &mut self.subscriptions[slot];
        let is_reliable = self.hops.is_reliable(subscription.hop);
        let Some(list) = subscription.list_mut().filter(|list| !list.is_cautious) else {
            return false;
        };
        let is_large = !is_reliable && list.last_bytes > bytes_whole;
        list.is_cautious = is_large;
        self.stats.counters.list_notify_made_small += u64::from(is_large);
        is_large
    }

    /// One more silence; the second in a row ends the subscription (then true).
    fn count_unanswered(&mut self, slot: u32, now: Time, out: &mut Outputs) -> bool {
        let subscription = &mut self.subscriptions[slot];
        subscription.unanswered_count += 1;
        let is_dead = subscription.unanswered_count >= 2;
        if is_dead {
            let was_active = subscription.state == Lifecycle::Active;
            self.stats.counters.subscription_timed_out += u64::from(was_active);
            self.remove_subscription(slot, now, out);
        }
        is_dead
    }

    /// Ends the NOTIFY in flight without an acknowledgement. True if it was the last one.
    fn end_transaction(&mut self, slot: u32, now: Time, out: &mut Outputs) -> bool {
        let subscription = &mut self.subscriptions[slot];
        let hop_id = subscription.hop;
        let flight = subscription.in_flight.take();
        let Some(in_flight) = flight.and_then(|id| self.flights.remove(id)) else { return false };
        self.stats.in_flight_count -= 1;
        self.hops.get_mut(hop_id).give_back(in_flight.places);
        self.serve_waiting(hop_id, now, out);
        matches!(in_flight.state, Lifecycle::Ending(_))
    }

    /// Sends to those who waited for a place in the hop's window.
    pub(crate) fn serve_waiting(&mut self, hop_id: u32, now: Time, out: &mut Outputs) {
        let sent_max = self.sent_max();
        while let Some(slot) = self.hops.get_mut(hop_id).next_waiting() {
            self.serve(hop_id, slot, now, out);
            if self.stats.counters.notify_sent >= sent_max {
                return self.resume(hop_id);
            }
        }
    }

    pub(crate) fn kick_if_news(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        if self.has_news(slot) {
            self.kick(slot, now, out);
        }
    }
}

/// Bytes of a list's next NOTIFY at most.
fn notify_bytes_max(
    config: &Config,
    endpoint: EndpointId,
    list: &ListWatch,
    is_unproven: bool,
) -> usize {
    let limits = &config.limits;
    let own = config.endpoints.get(endpoint.0 as usize).and_then(|own| own.notify_bytes_max);
    let bytes_max = own.map_or(limits.notify_bytes_max, |own| own as usize);
    match list.is_cautious || is_unproven {
        true => bytes_max.min(limits.notify_bytes_whole),
        false => bytes_max,
    }
}

/// Final answers to a NOTIFY that end a subscription or its dialog (RFC 5057 section 5.1).
const fn ends_subscription(status: u16) -> bool {
    matches!(status, 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 502 | 603 | 604)
}

fn retry_after(response: &[u8]) -> Option<u32> {
    let message = Message::scan(response, lampfield_wire::Framing::Datagram).ok()?;
    let value = message.header(HeaderName::RetryAfter)?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    parse_expires(&value[..digits])
}
