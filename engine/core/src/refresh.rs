//! A SUBSCRIBE in a dialog we hold: a watcher stays, moves or goes.
//!
//! Source: RFC 6665 section 4.2.1, RFC 3261 section 12.2, RFC 6446 section 5.1.

use std::borrow::Cow;
use std::time::Duration;

use lampfield_wire::{Event, HeaderName, Message};

use crate::admission::{self, Contact};
use crate::config::Dialect;
use crate::flow::Flow;
use crate::pace::{Pace, gap_of_event};
use crate::respond::Answer;
use crate::rls;
use crate::subscribe::{Accepted, Request};
use crate::subscription::{Lifecycle, Reason};
use crate::target::{next_hop, push_route};
use crate::texts::Text;
use crate::{Outputs, Shard, Time};

impl Shard {
    /// A refresh or an end. The granted duration, or the answer that refuses it.
    pub(crate) fn refresh(
        &mut self,
        request: &Request<'_, '_>,
        slot: u32,
        now: Time,
        out: &mut Outputs,
    ) -> Result<Accepted, Answer> {
        let config = std::sync::Arc::clone(&self.config);
        let message = request.message;
        let peer = admission::identify(&config, &mut self.authenticator, request, now)?;
        let subscription = &self.subscriptions[slot];
        if peer.id != subscription.endpoint {
            return Err(Answer::new(403, "Forbidden"));
        }
        let rfc = peer.endpoint.dialect == Dialect::Rfc;
        if request.basics.cseq <= subscription.remote_cseq {
            return Err(Answer::new(500, "CSeq Out Of Order"));
        }
        check_event(message, self.texts.get(&subscription.texts).get(Text::Event), rfc)?;
        let wanted_s = admission::expires(message)?;
        if rfc {
            admission::check_expires(wanted_s, peer.endpoint)?;
        }
        let entries = match rfc {
            true => rls::list_in(request, config.limits.request_list_bytes_max)?,
            false => None,
        };
        let target = admission::contact(message)?;
        let texts = match &target {
            Some(target) => self.retarget(slot, target)?,
            None => None,
        };
        // A strict router stays the next hop whatever the target is.
        let flow = target.filter(|_| !subscription.is_strict).map(|target| {
            let texts = self.texts.get(&subscription.texts);
            next_hop(request.flow, &target, texts.get(Text::Routes), peer.endpoint)
        });
        // An Asterisk takes a refresh without a duration as one for the same again.
        let wanted_s = wanted_s.or_else(|| (!rfc).then_some(subscription.granted_s));
        let expires_s = self.granted(wanted_s, peer.endpoint);
        match entries {
            Some(entries) => self.replace_list(slot, entries, now, out)?,
            None => self.look_again(slot, now, out),
        }
        self.subscriptions[slot].remote_cseq = request.basics.cseq;
        if let Some((text, value)) = texts {
            self.replace_text(slot, text, &value);
        }
        if let Some(flow) = flow {
            self.move_to(slot, flow, flow.is_astray_from(request.flow), now, out);
        }
        if rfc {
            self.set_gap(slot, message);
        }
        let is_silent = self.is_suppressed(request.basics.suppress, slot);
        let subscription = &self.subscriptions[slot];
        let (tag, is_list) = (subscription.tag, subscription.list().is_some());
        self.stats.counters.notify_withheld += u64::from(is_silent);
        match is_silent && expires_s == 0 {
            true => {
                self.stats.counters.subscription_unsubscribed += 1;
                self.remove_subscription(slot, now, out);
            }
            false => self.prolong(slot, expires_s, is_silent, now, out),
        }
        Ok(Accepted { tag, expires_s, is_list, is_silent })
    }

    fn prolong(
        &mut self,
        slot: u32,
        expires_s: u32,
        is_silent: bool,
        now: Time,
        out: &mut Outputs,
    ) {
        let subscription = &mut self.subscriptions[slot];
        subscription.owed |= !is_silent;
        // Whoever refreshes is alive, and asks for an answer now.
        subscription.unanswered_count = 0;
        subscription.set_not_before_s(0);
        if expires_s == 0 {
            subscription.state = Lifecycle::Ending(Reason::Timeout);
            self.stats.counters.subscription_unsubscribed += 1;
            self.forget_kept(slot, out);
            return;
        }
        subscription.granted_s = expires_s;
        subscription.expires_at_s = (now.as_secs_ceil() + u64::from(expires_s)) as u32;
        // Its entry in the wheel follows by itself to a later end, not to an earlier one.
        if u64::from(subscription.expires_at_s) < subscription.armed_at_s(now) {
            self.arm_expiry(slot);
        }
        self.stats.counters.subscription_refreshed += 1;
        self.keep_subscription(slot, now, out);
    }

    /// A refresh names the rate anew, or no rate any more (RFC 6446 section 5.1).
    fn set_gap(&mut self, slot: u32, message: &Message<'_>) {
        let event = message.header(HeaderName::Event).unwrap_or_default();
        let gap = gap_of_event(event);
        let subscription = &mut self.subscriptions[slot];
        match subscription.pace_mut() {
            Some(pace) if pace.gap == gap => return,
            Some(pace) => pace.set_gap(gap),
            None => subscription.set_pace(Pace::new(Duration::ZERO, gap)),
        }
        // A restart reads the rate from here.
        let others = self.texts.get(&self.subscriptions[slot].texts);
        let ours = others.get(Text::Event);
        let bytes = others.len() - ours.len() + event.len();
        if ours != event && bytes <= self.config.limits.dialog_bytes_max {
            self.replace_text(slot, Text::Event, event);
        }
    }

    fn replace_text(&mut self, slot: u32, text: Text, value: &[u8]) {
        let all = self.texts.get(&self.subscriptions[slot].texts).all();
        let mut all = all.map(Cow::into_owned);
        all[text as usize] = value.to_vec();
        self.replace_texts(slot, all.each_ref().map(|text| &text[..]));
    }

    /// The text of a dialog that names the remote target, if it is a new one (RFC 3261 section
    /// 12.2.2).
    fn retarget(&self, slot: u32, target: &Contact<'_>) -> Result<Option<(Text, Vec<u8>)>, Answer> {
        let subscription = &self.subscriptions[slot];
        let texts = self.texts.get(&subscription.texts);
        let (text, before, value) = if subscription.is_strict {
            // The target is the last Route line.
            let lines = texts.get(Text::Routes);
            let end = lines.len().saturating_sub(2);
            let last = lines[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let mut routes = lines[..last].to_vec();
            push_route(&mut routes, &[b"<", target.uri, b">"]);
            (Text::Routes, lines.len(), routes)
        } else if is_joined(texts.target(), target.uri) {
            return Ok(None);
        } else {
            let before = texts.target().iter().map(|piece| piece.len()).sum();
            (Text::Target, before, target.uri.to_vec())
        };
        let bytes = texts.len() - before + value.len();
        match bytes <= self.config.limits.dialog_bytes_max {
            true => Ok(Some((text, value))),
            false => Err(Answer::new(513, "Message Too Large")),
        }
    }

    /// From now on NOTIFYs go along `flow`.
    fn move_to(&mut self, slot: u32, flow: Flow, is_unproven: bool, now: Time, out: &mut Outputs) {
        let old = self.subscriptions[slot].hop;
        if self.hops.flow(old) == flow {
            return;
        }
        let new = self.hops.acquire(flow, &self.config.limits);
        let subscription = &mut self.subscriptions[slot];
        subscription.hop = new;
        subscription.set_unproven(is_unproven);
        if std::mem::take(&mut subscription.is_waiting) {
            self.stats.waiting_count -= 1;
        }
        // The NOTIFY in flight holds its place in the old hop's window, not in the new one's.
        let in_flight = subscription.in_flight.map(|id| self.flights.get_mut(id));
        let held = in_flight.map(|in_flight| std::mem::take(&mut in_flight.places));
        self.hops.get_mut(old).give_back(held.unwrap_or(0));
        if let Some(seat) = subscription.seat() {
            let extension = &mut self.extensions[seat.extension];
            extension.groups[usize::from(seat.group)].misplaced_count += 1;
        }
        let is_stream = [old, new].iter().any(|&hop| self.hops.is_reliable(hop));
        self.serve_waiting(old, now, out);
        self.hops.release(old);
        // What a stream was given may have died with it, and a stream repeats nothing.
        if is_stream {
            self.write(slot, now, out);
        }
    }
}

/// Whether `text` is two pieces end to end.
fn is_joined([head, rest]: [&[u8]; 2], text: &[u8]) -> bool {
    text.strip_prefix(head) == Some(rest)
}

/// The Event of a refresh must be the one of the subscription. Another one would be a second
/// subscription in the same dialog, which RFC 6665 section 4.5.2 lets us refuse with 403.
fn check_event(message: &Message<'_>, ours: &[u8], rfc: bool) -> Result<(), Answer> {
    let bad = || Answer::new(489, "Bad Event").with("Allow-Events", admission::ALLOW_EVENTS);
    let Some(value) = message.header(HeaderName::Event) else {
        return if rfc { Err(bad()) } else { Ok(()) };
    };
    let ours = Event::parse(ours).map_err(|_| bad())?;
    let theirs = Event::parse(value).map_err(|_| bad())?;
    match (ours.package, ours.id) == (theirs.package, theirs.id) {
        true => Ok(()),
        false => Err(Answer::new(403, "Dialog Sharing Not Supported")),
    }
}
