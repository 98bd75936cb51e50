//! NOTIFYs: one in flight per subscription, the newest state next, never an older one after it.
//!
//! Source: RFC 6665 section 4.2, RFC 3261 section 17.1.2; answers as `reference/sip-pubsub.md`
//! section 8 has them, with our proposals: an unanswered NOTIFY makes a watcher *suspect*, not
//! dead; it is probed, and goes at the second silence in a row.

use std::rc::Rc;

use lampfield_wire::{HeaderName, Message, parse_expires, response_key};

use crate::config::Dialect;
use crate::extension::{ExtensionId, Group, GroupView};
use crate::flow::Flow;
use crate::hop::Hop;
use crate::slab::Slab;
use crate::subscription::{InFlight, Lifecycle, Reason, Subscription, Text};
use crate::tag::read_branch;
use crate::timer::TRANSMISSION_COUNT_MAX;
use crate::{Outputs, Shard, Time};

/// Fan-out steps over watchers that have no news; cheap, but not free.
const VISITS_PER_TURN_MAX: usize = 4096;

impl Shard {
    /// Sends the watcher what it does not know, if its turn has come.
    pub(crate) fn kick(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &mut self.subscriptions[slot];
        if subscription.in_flight.is_some() || subscription.is_waiting {
            self.stats.counters.notify_conflated += 1;
            return;
        }
        // Not before its sources are known, nor before a peer that asked for time is ready.
        let is_early = u64::from(subscription.not_before_s) > now.as_secs();
        if is_early || self.extensions[subscription.extension].unknown_count > 0 {
            return;
        }
        let hop = self.hops.get_mut(subscription.hop);
        if hop.try_take() {
            self.transmit(slot, now, out);
        } else {
            hop.wait(slot);
            subscription.is_waiting = true;
            self.stats.waiting_count += 1;
        }
    }

    /// Sends a NOTIFY with the newest state. A place in the window was taken for it.
    fn transmit(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &mut self.subscriptions[slot];
        let extension = &self.extensions[subscription.extension];
        let group = &extension.groups[usize::from(subscription.group)];
        if subscription.sent_generation != group.generation && group.generation > 1 {
            let age_ns = now.since(extension.changed_at).as_nanos() as u64;
            self.stats.change_to_sent_ns.saturating_record(age_ns);
        }
        subscription.cseq += 1;
        subscription.sent_generation = group.generation;
        subscription.owed = false;
        subscription.in_flight = Some(InFlight {
            body: Rc::clone(&group.body),
            version: subscription.version,
            shown_expires_s: subscription.remaining_s(now),
            state: subscription.state,
            extension_state: extension.state,
            sent_count: 0,
            sent_at: now,
            holds_window: true,
        });
        subscription.version += 1;
        self.stats.counters.notify_sent += 1;
        self.stats.in_flight_count += 1;
        self.keep_ahead(slot, now, out);
        self.write(slot, now, out);
    }

    /// Writes the NOTIFY in flight, for the first time or again, and arms its timer.
    pub(crate) fn write(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &mut self.subscriptions[slot];
        let Some(in_flight) = &mut subscription.in_flight else { return };
        in_flight.sent_count += 1;
        let sent_count = in_flight.sent_count;
        let extension = &self.extensions[subscription.extension];
        let group = &extension.groups[usize::from(subscription.group)];
        let hop = self.hops.get(subscription.hop);
        let (check, cseq) = (subscription.tag.check, subscription.cseq);
        if let (Some(view), Some(in_flight)) = (&group.view, &subscription.in_flight) {
            out.message(hop.flow, |bytes| {
                write_notify(bytes, subscription, slot, in_flight, view, hop, &self.shared_run);
            });
        }
        let reliable = hop.is_reliable();
        self.retransmissions.arm(now, slot, check, cseq, sent_count, reliable);
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
        let group =
            &self.extensions[subscription.extension].groups[usize::from(subscription.group)];
        group.view.as_ref().map(|view| view.dialect).unwrap_or_default()
    }

    fn acknowledged(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &mut self.subscriptions[slot];
        let hop_id = subscription.hop;
        let Some(in_flight) = subscription.in_flight.take() else { return };
        subscription.unanswered_count = 0;
        subscription.acked_state = Some(in_flight.extension_state);
        subscription.acked_at_s = now.as_secs() as u32;
        self.stats.counters.notify_acked += 1;
        self.stats.in_flight_count -= 1;
        if in_flight.sent_count == 1 {
            let rtt_ns = now.since(in_flight.sent_at).as_nanos() as u64;
            self.stats.sent_to_acked_ns.saturating_record(rtt_ns);
        }
        if in_flight.holds_window {
            self.hops.get_mut(hop_id).acked(&self.config.limits);
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
            subscription.not_before_s = at_s as u32;
        }
        self.probes.arm(at_s, slot, subscription.tag.check);
        if retry_after_s.is_none() {
            self.count_unanswered(slot, now, out);
        }
    }

    /// Fires timers E and F.
    pub(crate) fn on_retransmissions(&mut self, now: Time, out: &mut Outputs) {
        let mut budget = self.config.limits.notify_per_turn_max.max(1);
        while budget > 0 {
            let Some(due) = self.retransmissions.pop_due(now) else { return };
            let Some(subscription) = self.subscriptions.get_mut(due.slot) else { continue };
            if subscription.tag.check != due.check || subscription.cseq != due.cseq {
                continue;
            }
            let hop_id = subscription.hop;
            let Some(in_flight) = &mut subscription.in_flight else { continue };
            let reliable = self.hops.get(hop_id).is_reliable();
            let lost_window = std::mem::take(&mut in_flight.holds_window);
            budget -= 1;
            if reliable && now.since(in_flight.sent_at) < self.config.limits.t1 * 64 {
                // A stream repeats by itself. The NOTIFY only stops counting, so that one who
                // does not answer delays nobody behind the same edge.
                self.retransmissions.arm_last(now, due);
                if lost_window {
                    self.hops.get_mut(hop_id).give_back();
                    self.serve_waiting(hop_id, now, out);
                }
                continue;
            }
            if reliable || in_flight.sent_count >= TRANSMISSION_COUNT_MAX {
                in_flight.holds_window = lost_window;
                self.timed_out(due.slot, now, out);
                continue;
            }
            self.stats.counters.notify_retransmitted += 1;
            self.write(due.slot, now, out);
            if lost_window {
                self.hops.get_mut(hop_id).lost(now, &self.config.limits);
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
        // A newer state is a reason to try at once; else the probe does.
        let subscription = &self.subscriptions[slot];
        let extension = &self.extensions[subscription.extension];
        let generation = extension.groups[usize::from(subscription.group)].generation;
        let is_ending = matches!(subscription.state, Lifecycle::Ending(_));
        if subscription.sent_generation != generation || is_ending {
            self.kick(slot, now, out);
        }
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
        let Some(in_flight) = subscription.in_flight.take() else { return false };
        self.stats.in_flight_count -= 1;
        if in_flight.holds_window {
            self.hops.get_mut(hop_id).give_back();
        }
        self.serve_waiting(hop_id, now, out);
        matches!(in_flight.state, Lifecycle::Ending(_))
    }

    /// Sends to those who waited for a place in the hop's window.
    pub(crate) fn serve_waiting(&mut self, hop_id: u32, now: Time, out: &mut Outputs) {
        while let Some(slot) = self.hops.get_mut(hop_id).take_for_waiting() {
            let waits = self
                .subscriptions
                .get_mut(slot)
                .is_some_and(|s| s.hop == hop_id && std::mem::take(&mut s.is_waiting));
            if !waits {
                self.hops.get_mut(hop_id).give_back();
                continue;
            }
            self.stats.waiting_count -= 1;
            self.transmit(slot, now, out);
        }
    }

    fn kick_if_news(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &self.subscriptions[slot];
        let extension = &self.extensions[subscription.extension];
        let generation = extension.groups[usize::from(subscription.group)].generation;
        if subscription.has_news(generation) {
            self.kick(slot, now, out);
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
            self.fanout.push_back((extension, group));
        }
    }

    /// Goes on with the fan-outs, within the budget of one turn; each gets its share.
    pub(crate) fn run_fanout(&mut self, now: Time, out: &mut Outputs) {
        let sent_max = self.sent_max();
        let mut visits = 0;
        while let Some((extension, group)) = self.fanout.pop_front() {
            while let Some(slot) = self.next_watcher(extension, group) {
                visits += 1;
                self.kick_if_news(slot, now, out);
                let is_spent = self.stats.counters.notify_sent >= sent_max;
                if is_spent || visits >= VISITS_PER_TURN_MAX {
                    self.fanout.push_back((extension, group));
                    return;
                }
            }
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
        subscriptions[*watcher].position = position as u32;
    }
    group.misplaced_count = 0;
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

/// Appends one NOTIFY, rendered from the packed record.
fn write_notify(
    out: &mut Vec<u8>,
    subscription: &Subscription,
    slot: u32,
    in_flight: &InFlight,
    view: &GroupView,
    hop: &Hop,
    shared_run: &[u8],
) {
    let texts = &subscription.texts;
    let push = |out: &mut Vec<u8>, parts: &[&[u8]]| {
        parts.iter().for_each(|part| out.extend_from_slice(part));
    };
    let mut number = itoa::Buffer::new();
    push(out, &[b"NOTIFY ", texts.get(Text::Target), b" SIP/2.0\r\n", &hop.runs.via]);
    crate::tag::write_branch(subscription.tag, slot, subscription.cseq, out);
    push(out, &[b"\r\n", texts.get(Text::Routes), b"From: ", texts.get(Text::Local), b";tag="]);
    subscription.tag.write(out);
    push(out, &[b"\r\nTo: ", texts.get(Text::Remote), b"\r\nContact: <sip:"]);
    if view.dialect == Dialect::Rfc {
        subscription.tag.write(out);
        out.push(b'@');
    }
    push(out, &[&hop.runs.contact, b">\r\nCall-ID: ", texts.get(Text::CallId), b"\r\nCSeq: "]);
    push(out, &[number.format(subscription.cseq).as_bytes(), b" NOTIFY\r\nEvent: "]);
    push(out, &[texts.get(Text::Event), b"\r\nSubscription-State: "]);
    match in_flight.state {
        Lifecycle::Active => {
            push(out, &[b"active;expires=", number.format(in_flight.shown_expires_s).as_bytes()]);
        }
        Lifecycle::Ending(reason) => {
            out.extend_from_slice(b"terminated");
            if view.dialect == Dialect::Rfc {
                push(out, &[b";reason=", reason.token().as_bytes()]);
            }
        }
    }
    let watcher = texts.get(Text::Watcher);
    let length = in_flight.body.len_for(watcher);
    push(out, &[b"\r\n", shared_run, view.format.content_type().as_bytes()]);
    push(out, &[b"\r\nContent-Length: ", number.format(length).as_bytes(), b"\r\n\r\n"]);
    in_flight.body.write_for(in_flight.version, watcher, out);
}
