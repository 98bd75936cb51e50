//! NOTIFYs as bytes, rendered from the packed record of their subscription.
//!
//! Source: RFC 6665 section 4.2.2; what each dialect shows is in `reference/sip-pubsub.md` section 8.

use crate::admission::ALLOW_EVENTS;
use crate::config::{Config, Dialect};
use crate::extension::GroupView;
use crate::hop::LocalRuns;
use crate::rls::{Writing, push_etag};
use crate::subscription::{InFlight, Lifecycle, Reason, Shown, Subscription};
use crate::tag::{BRANCH_BYTES, TAG_BYTES, branch_text};
use crate::target::is_sips;
use crate::texts::{DialogTexts, Text};
use crate::{Outputs, Shard, Time};

/// Header lines every NOTIFY shares: the end of the line before them, up to and with
/// `Content-Type: `.
#[derive(Debug)]
pub(crate) struct SharedRun {
    pub(crate) bytes: Vec<u8>,
    /// Where white space may be put in that means nothing (RFC 3261 section 7.3.1): behind the colon
    /// of a header that peers read least.
    pub(crate) gap: usize,
}

impl SharedRun {
    pub(crate) fn new(config: &Config) -> Self {
        let mut run = format!("\r\nAllow-Events: {ALLOW_EVENTS}\r\nMax-Forwards: 70\r\n");
        let before = run.len();
        if !config.user_agent.is_empty() {
            run.push_str(&format!("User-Agent: {}\r\n", config.user_agent));
        }
        run.push_str("Content-Type: ");
        let gap = before + run[before..].find(' ').unwrap_or_default();
        Self { bytes: run.into_bytes(), gap }
    }
}

impl Shard {
    /// Writes the NOTIFY in flight, for the first time or again, and arms its timer.
    pub(crate) fn write(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &self.subscriptions[slot];
        let Some(flight) = subscription.in_flight else { return };
        let in_flight = self.flights.get_mut(flight);
        in_flight.sent_count += 1;
        let sent_count = in_flight.sent_count;
        let (check, cseq) = (subscription.tag.check, subscription.cseq);
        if let Some(view) = self.view_of(subscription) {
            let in_flight = self.flights.get(flight);
            let (texts, runs) =
                (self.texts.get(&subscription.texts), self.hops.runs(subscription.hop));
            let padding = self.padding_of(subscription, in_flight);
            let notify = Notify { subscription, texts, slot, in_flight, view, runs, padding };
            let mut padded_bytes = 0;
            out.message(self.hops.flow(subscription.hop), |bytes| {
                padded_bytes = write_notify(&notify, &self.shared_run, bytes);
            });
            if padded_bytes > 0 && sent_count == 1 {
                let hop = subscription.hop;
                self.flights.get_mut(flight).padded_bytes = padded_bytes;
                self.hops.get_mut(hop).set_padded_bytes(padded_bytes);
            }
        }
        let is_sent_once = self.hops.is_reliable(subscription.hop) || subscription.is_unproven();
        self.retransmissions.arm(now, slot, check, cseq, sent_count, is_sent_once);
    }

    /// How a NOTIFY is padded: to what the last one to this edge was, or, when it is sent again, to
    /// what it was.
    fn padding_of(&self, subscription: &Subscription, in_flight: &InFlight) -> Option<Padding> {
        let spaces_max = self.config.limits.train_padding_bytes_max;
        if in_flight.sent_count > 1 {
            let bytes = in_flight.padded_bytes;
            return (bytes > 0).then_some(Padding { bytes, spaces_max: u16::MAX });
        }
        let endpoint = self.config.endpoints.get(subscription.endpoint.0 as usize);
        let is_wanted = spaces_max > 0 && endpoint.is_some_and(|endpoint| !endpoint.is_unpadded);
        let bytes = self.hops.edge_padded_bytes(subscription.hop).filter(|_| is_wanted)?;
        Some(Padding { bytes, spaces_max })
    }
}

/// What one NOTIFY is rendered from.
struct Notify<'a> {
    subscription: &'a Subscription,
    texts: DialogTexts<'a>,
    slot: u32,
    in_flight: &'a InFlight,
    view: &'a GroupView,
    runs: &'a LocalRuns,
    padding: Option<Padding>,
}

/// To what length a NOTIFY is padded.
#[derive(Clone, Copy, Debug)]
struct Padding {
    /// That of others it is to be like.
    bytes: u16,
    /// With so many spaces at most. Else it gets a length that others can be padded to.
    spaces_max: u16,
}

impl Padding {
    /// Lengths without an example are multiples of this.
    const STEP_BYTES: usize = 32;

    /// Longest NOTIFY that is padded: with headers below any MTU in use, as RFC 3261 section 18.1.1
    /// asks.
    const BYTES_MAX: usize = 1300;

    /// The length of a NOTIFY of `bytes`; `None` if it stays as it is.
    fn target(self, bytes: usize) -> Option<usize> {
        let like = usize::from(self.bytes);
        let can_be_like = like >= bytes && like - bytes <= usize::from(self.spaces_max);
        let target = if can_be_like { like } else { bytes.next_multiple_of(Self::STEP_BYTES) };
        (target <= Self::BYTES_MAX).then_some(target)
    }
}

/// Pieces whose lengths add up to `N`, as one.
#[inline]
fn joined<const N: usize, const COUNT: usize>(pieces: [&[u8]; COUNT]) -> [u8; N] {
    let (mut all, mut at) = ([0; N], 0);
    for piece in pieces {
        all[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    debug_assert_eq!(at, N);
    all
}

/// Appends one NOTIFY, rendered from the packed record. Returns the length it was padded to, or 0.
fn write_notify(notify: &Notify<'_>, shared_run: &SharedRun, out: &mut Vec<u8>) -> u16 {
    let &Notify { subscription, texts, slot, in_flight, view, runs, padding } = notify;
    let (start, mut padded_bytes) = (out.len(), 0);
    let push = |out: &mut Vec<u8>, parts: &[&[u8]]| {
        parts.iter().for_each(|part| out.extend_from_slice(part));
    };
    let mut number = itoa::Buffer::new();
    let [target_head, target] = texts.target();
    push(out, &[b"NOTIFY ", target_head, target, &runs.via]);
    // What is short and of fixed length is put together first: each piece costs as much as long ones.
    let tag = subscription.tag.text();
    let branch = branch_text(subscription.tag, slot, subscription.cseq);
    let routes = texts.get(Text::Routes);
    if routes.is_empty() {
        out.extend_from_slice(&joined::<{ BRANCH_BYTES + 8 }, _>([&branch, b"\r\nFrom: "]));
    } else {
        push(out, &[&branch, b"\r\n", routes, b"From: "]);
    }
    push(
        out,
        &[
            texts.get(Text::Local),
            &joined::<{ 5 + TAG_BYTES + 6 }, _>([b";tag=", &tag, b"\r\nTo: "]),
            texts.get(Text::Remote),
        ],
    );
    // Who is reached by `sips` only reaches us by it, too (RFC 3261 section 12.1.1).
    let is_sips = runs.is_secure && is_sips(target_head.iter().chain(target));
    let contact: &[u8] = if is_sips { b"\r\nContact: <sips:" } else { b"\r\nContact: <sip:" };
    match (view.dialect, is_sips) {
        (Dialect::Rfc, false) => {
            const BYTES: usize = 16 + TAG_BYTES + 1;
            out.extend_from_slice(&joined::<BYTES, _>([b"\r\nContact: <sip:", &tag, b"@"]));
        }
        (Dialect::Rfc, true) => push(out, &[contact, &tag, b"@"]),
        (Dialect::Asterisk, _) => push(out, &[contact]),
    }
    push(out, &[&runs.contact, texts.get(Text::CallId), b"\r\nCSeq: "]);
    push(out, &[number.format(subscription.cseq).as_bytes(), b" NOTIFY\r\nEvent: "]);
    push(out, &[texts.get(Text::Event), b"\r\nSubscription-State: "]);
    match in_flight.state {
        Lifecycle::Active => {
            push(out, &[b"active;expires=", number.format(in_flight.shown_expires_s).as_bytes()]);
            if let Some(pace) = subscription.pace() {
                pace.push_rate(out);
            }
        }
        Lifecycle::Ending(reason) => {
            out.extend_from_slice(b"terminated");
            // Asterisk gives none; without this one a phone may not come back.
            if view.dialect == Dialect::Rfc || reason == Reason::Deactivated {
                push(out, &[b";reason=", reason.token().as_bytes()]);
            }
        }
    }
    let watcher = texts.get(Text::Watcher);
    match &in_flight.content {
        Shown::Document(body) => {
            let length = body.len_for(watcher);
            let (before, after) = shared_run.bytes.split_at(shared_run.gap);
            push(out, &[before]);
            let rest: [&[u8]; 5] = [
                after,
                view.format.content_type().as_bytes(),
                b"\r\nContent-Length: ",
                number.format(length).as_bytes(),
                b"\r\n\r\n",
            ];
            if let Some(padding) = padding {
                let rest_bytes: usize = rest.iter().map(|part| part.len()).sum();
                let bytes = out.len() - start + rest_bytes + length;
                if let Some(target) = padding.target(bytes) {
                    out.resize(out.len() + target - bytes, b' ');
                    padded_bytes = target as u16;
                }
            }
            push(out, &rest);
            body.write_for(in_flight.version, watcher, out);
        }
        Shown::List(content) => {
            push(out, &[b"\r\nRequire: eventlist"]);
            push_etag_line(out, subscription, view);
            push(out, &[&shared_run.bytes]);
            let (tag, version, dialect) = (subscription.tag, in_flight.version, view.dialect);
            let is_last = in_flight.state != Lifecycle::Active;
            Writing { content, tag, version, dialect, watcher, is_last }.write_with_head(out);
        }
        Shown::Nothing => {
            push(out, &[b"\r\nRequire: eventlist"]);
            push_etag_line(out, subscription, view);
            let without_type = shared_run.bytes.len() - b"Content-Type: ".len();
            push(out, &[&shared_run.bytes[..without_type], b"Content-Length: 0\r\n\r\n"]);
        }
    }
    padded_bytes
}

/// The entity-tag of what a list's watcher knows after this NOTIFY (RFC 5839).
fn push_etag_line(out: &mut Vec<u8>, subscription: &Subscription, view: &GroupView) {
    if view.dialect == Dialect::Rfc {
        out.extend_from_slice(b"\r\nSIP-ETag: ");
        push_etag(subscription.tag.check, subscription.cseq, out);
    }
}
