//! SUBSCRIBE outside a dialog: a watcher comes. Those of dialogs we hold: `refresh.rs`.
//!
//! Source: RFC 6665 section 4.2, RFC 3261 section 12.

use std::borrow::Cow;
use std::time::Duration;

use lampfield_wire::{HeaderName, Message, NameAddr, UserBuffer, split_uri};

use crate::admission::{self, Basics, Peer, Wanted};
use crate::body::escape_into;
use crate::config::{Dialect, Endpoint, EndpointId};
use crate::extension::ExtensionId;
use crate::flow::Flow;
use crate::index::push_dense;
use crate::pace::Pace;
use crate::package::Package;
use crate::placement::ShardId;
use crate::respond::Answer;
use crate::rls::{self, Naming};
use crate::subscription::{Beginning, Lifecycle, Reason, Seat, Subscription, Watched};
use crate::tag::Tag;
use crate::target::{first_route, next_hop, push_route, routes};
use crate::texts::{AllTexts, TEXT_COUNT, Text, TextsId, bytes_of};
use crate::transaction::{Remembered, RequestKey, Seen, Transactions};
use crate::{Outputs, Shard, Time};

/// A request with the parts every handler needs.
#[derive(Clone, Copy)]
pub(crate) struct Request<'m, 'a> {
    pub(crate) message: &'m Message<'a>,
    pub(crate) basics: Basics<'a>,
    pub(crate) flow: Flow,
    pub(crate) bytes: &'a [u8],
    /// The endpoint it claims to come from, whatever it proves.
    pub(crate) claimed: Option<EndpointId>,
}

/// What became of a request.
pub(crate) enum Outcome {
    /// Answer it.
    Answer(Answer),
    /// Answer it, then notify this subscription.
    AnswerAndNotify(Answer, u32),
    /// It belongs to another shard and is on its way.
    Forwarded,
}

impl Shard {
    /// 503 with a Retry-After of its own, so that those turned away do not return together.
    pub(crate) fn overload(&mut self) -> Answer {
        Answer::overload(self.rng.u32(30..=90))
    }

    /// A limit was reached.
    pub(crate) fn shed(&mut self) -> Outcome {
        self.stats.counters.request_shed += 1;
        Outcome::Answer(self.overload())
    }

    fn sent_elsewhere(&mut self) -> Outcome {
        self.stats.counters.request_sent_elsewhere += 1;
        Outcome::Answer(self.overload().warning("this server is being drained"))
    }

    fn shed_per_source(&mut self) -> Outcome {
        self.stats.counters.request_shed_per_source += 1;
        match self.shed() {
            Outcome::Answer(answer) => {
                Outcome::Answer(answer.warning("too many subscriptions of one address"))
            }
            other => other,
        }
    }

    /// A SUBSCRIBE without To tag.
    pub(crate) fn subscribe(
        &mut self,
        request: &Request<'_, '_>,
        now: Time,
        out: &mut Outputs,
    ) -> Outcome {
        let config = std::sync::Arc::clone(&self.config);
        let (message, basics) = (request.message, &request.basics);
        let peer = match admission::identify(&config, &mut self.authenticator, request, now) {
            Ok(peer) => peer,
            Err(answer) => return Outcome::Answer(answer),
        };
        let wanted = match admission::want(message, peer.endpoint, &config) {
            Ok(wanted) => wanted,
            Err(answer) => return Outcome::Answer(answer),
        };
        let mut buffer = UserBuffer::new();
        let exten = admission::exten_of(&wanted.uri, &mut buffer).unwrap_or_default();
        let (tenant, context) = (peer.endpoint.tenant, peer.endpoint.context_of(wanted.package));
        let rfc = peer.endpoint.dialect == Dialect::Rfc;
        // An Asterisk does not look at bodies.
        if rfc && rls::carries_list(request) {
            return match basics.knows_lists {
                true => self.subscribe_list(request, &peer, &wanted, Naming::Carried, now, out),
                false => Outcome::Answer(extension_required()),
            };
        }
        // A list of the right package goes before an extension of the same name.
        let has_list = || self.config.lists.contains(tenant, exten, wanted.package);
        if basics.knows_lists && has_list() {
            let named = Naming::Named(exten);
            return self.subscribe_list(request, &peer, &wanted, named, now, out);
        }
        let exten: Cow<'_, str> = match wanted.package {
            Package::MessageSummary => config.mailboxes.resolve(peer.endpoint, exten),
            _ => exten.into(),
        };
        let exten = &*exten;
        let Some(found) = self.find_hint(tenant, context, exten) else {
            return Outcome::Answer(match rfc && has_list() {
                true => extension_required(),
                false => Answer::new(404, "Not Found"),
            });
        };
        let owner = self.placement.shard_of_extension(tenant, &found.context, exten);
        let key = match self.take_on::<Accepted>(request, owner, now, out) {
            Ok(key) => key,
            Err(outcome) => return outcome,
        };
        let Some(extension) = self.extension_for(tenant, found, now, out) else {
            return self.shed();
        };
        let expires_s = self.granted(wanted.expires_s, peer.endpoint);
        match self.create(request, &peer, &wanted, extension, expires_s, now, out) {
            Ok(slot) => {
                let tag = self.subscriptions[slot].tag;
                let accepted = Accepted { tag, expires_s, is_list: false, is_silent: false };
                self.transactions.remember(key, accepted, now, &config.limits);
                Outcome::AnswerAndNotify(accepted.answer(), slot)
            }
            Err(outcome) => {
                self.drop_if_unused(extension, out);
                outcome
            }
        }
    }

    /// Takes on a request that is ours and new, under the key it is to be remembered by; else
    /// what became of it.
    pub(crate) fn take_on<A: Remembered>(
        &mut self,
        request: &Request<'_, '_>,
        owner: ShardId,
        now: Time,
        out: &mut Outputs,
    ) -> Result<RequestKey, Outcome> {
        if owner != self.id {
            if self.is_overloaded {
                return Err(self.shed());
            }
            self.forward(owner, request.flow, request.bytes, out);
            return Err(Outcome::Forwarded);
        }
        let key = self.request_key(request);
        match A::memory(self).look_up(key, now) {
            Seen::New if self.is_overloaded => Err(self.shed()),
            Seen::New if self.is_to_go_elsewhere(request) => Err(self.sent_elsewhere()),
            Seen::New => Ok(key),
            seen => Err(self.seen_before(seen)),
        }
    }

    fn request_key(&self, request: &Request<'_, '_>) -> RequestKey {
        let Basics { call_id, from_tag, cseq, via, .. } = request.basics;
        self.transactions.key(call_id, from_tag, cseq, via.branch.unwrap_or_default())
    }

    /// A request that came before: answered as then, or as one that took two paths.
    fn seen_before<A: Remembered>(&mut self, seen: Seen<A>) -> Outcome {
        let counters = &mut self.stats.counters;
        Outcome::Answer(match seen {
            Seen::Again(answered) => {
                counters.request_retransmitted += 1;
                answered.answer()
            }
            Seen::New | Seen::Merged => {
                counters.request_merged += 1;
                Answer::new(482, "Loop Detected")
            }
        })
    }

    /// The granted duration, in seconds: never longer than asked for.
    pub(crate) fn granted(&mut self, wanted_s: Option<u32>, endpoint: &Endpoint) -> u32 {
        let limits = &self.config.limits;
        let max_s = limits.expires_max_s;
        let expires_s = wanted_s.unwrap_or(limits.expires_default_s).min(max_s);
        let spread_s =
            u64::from(expires_s) * u64::from(limits.expires_jitter_percent.min(50)) / 100;
        // Short subscriptions stay as they are: their refreshes do not pile up.
        if endpoint.dialect == Dialect::Asterisk || expires_s < 120 || spread_s == 0 {
            return expires_s;
        }
        (expires_s - self.rng.u32(0..=spread_s as u32)).max(endpoint.sub_min_expiry_s.min(max_s))
    }

    #[expect(clippy::too_many_arguments, reason = "one caller; the parts are what was checked")]
    fn create(
        &mut self,
        request: &Request<'_, '_>,
        peer: &Peer<'_>,
        wanted: &Wanted<'_>,
        extension_id: ExtensionId,
        expires_s: u32,
        now: Time,
        out: &mut Outputs,
    ) -> Result<u32, Outcome> {
        let extension = &self.extensions[extension_id];
        let limits = &self.config.limits;
        if extension.watcher_count >= limits.watcher_count_max {
            return Err(self.shed());
        }
        let view_count_max = limits.view_count_max;
        let tenant = self.config.tenants.get(usize::from(extension.tenant.0));
        let domain = tenant.and_then(|tenant| tenant.domain.as_ref());
        let dialect = peer.endpoint.dialect;
        let entity = admission::entity_of(&wanted.uri, &extension.exten, dialect, domain);
        let view = wanted.view(peer.endpoint, entity);
        let partition = self.placement.partition_of_extension(
            extension.tenant,
            &extension.context,
            &extension.exten,
        );
        let extension = &mut self.extensions[extension_id];
        let Some(group) = extension.group(view, view_count_max) else {
            return Err(self.shed());
        };
        let seat = Seat { extension: extension_id, group, position: 0 };
        let pace = Pace::new(Duration::ZERO, wanted.gap);
        let watched = Watched::Extension(seat);
        let begun =
            self.begin(request, peer, wanted, partition, watched, pace, expires_s, now, out);
        if begun.is_err() {
            self.extensions[extension_id].groups[usize::from(group)].free_if_unused();
        }
        begun
    }

    /// Makes a subscription of what it watches, for the dialog of `request`.
    #[expect(clippy::too_many_arguments, reason = "two callers; the parts are what was checked")]
    pub(crate) fn begin(
        &mut self,
        request: &Request<'_, '_>,
        peer: &Peer<'_>,
        wanted: &Wanted<'_>,
        partition: u16,
        watched: Watched,
        pace: Option<Box<Pace>>,
        expires_s: u32,
        now: Time,
        out: &mut Outputs,
    ) -> Result<u32, Outcome> {
        let limits = self.config.limits.clone();
        if self.subscriptions.len() >= limits.subscription_count_max {
            return Err(self.shed());
        }
        let source = request.flow.peer.ip().to_canonical();
        if self.per_source.count(source) >= limits.subscription_per_source_max {
            return Err(self.shed_per_source());
        }
        let (routes, is_strict) = routes(request.message);
        let dialect = peer.endpoint.dialect;
        let texts = texts(request, wanted, &routes, is_strict, dialect);
        let texts = texts.as_ref().map(|texts| texts.each_ref().map(|text| &**text));
        let texts = texts.filter(|texts| bytes_of(texts) <= limits.dialog_bytes_max);
        let Some(texts) = texts else {
            return Err(Outcome::Answer(Answer::new(513, "Message Too Large")));
        };
        let flow = next_hop(request.flow, &wanted.target, &routes, peer.endpoint);
        let expires_at_s = (now.as_secs_ceil() + u64::from(expires_s)) as u32;
        let slot = self.subscriptions.next_slot();
        let tag = Tag { partition, slot, check: self.rng.u32(..) };
        let cseq = self.rng.u32(1..0x7fff);
        let is_fetch = expires_s == 0;
        let hop = self.hops.acquire(flow, &limits);
        let added = self.add_subscription(Beginning {
            tag,
            texts,
            watched,
            endpoint: peer.id,
            hop,
            source,
            cseq,
            remote_cseq: request.basics.cseq,
            version: 0,
            granted_s: expires_s,
            expires_at_s,
            state: if is_fetch { Lifecycle::Ending(Reason::Timeout) } else { Lifecycle::Active },
            is_strict,
            is_unproven: flow.is_astray_from(request.flow),
            pace,
        });
        if added.is_none() {
            return Err(Outcome::Answer(Answer::new(513, "Message Too Large")));
        }
        self.stats.counters.subscription_created += 1;
        self.stats.counters.subscription_unsubscribed += u64::from(is_fetch);
        if !is_fetch {
            self.arm_expiry(slot);
            self.keep_subscription(slot, now, out);
        }
        Ok(slot)
    }

    /// Puts a subscription into its slot, and into its group if it watches an extension.
    /// `None`, and its hop is released, if its texts are longer than can be kept.
    pub(crate) fn add_subscription(&mut self, mut beginning: Beginning<'_>) -> Option<u32> {
        let (slot, hop) = (self.subscriptions.next_slot(), beginning.hop);
        let Some(texts) = self.texts.insert(slot, beginning.texts, beginning.source) else {
            self.hops.release(hop);
            return None;
        };
        if let Watched::Extension(seat) = &mut beginning.watched {
            let extension = &mut self.extensions[seat.extension];
            let group = &mut extension.groups[usize::from(seat.group)];
            seat.position = group.watchers.len() as u32;
            let last_hop = group.watchers.last().map(|&last| self.subscriptions[last].hop);
            // Others go there, and they may stand elsewhere.
            let is_shared = self.hops.get(hop).is_shared();
            let is_apart = last_hop.is_some_and(|last_hop| last_hop != hop);
            group.misplaced_count += u32::from(is_shared && is_apart);
            push_dense(&mut group.watchers, slot);
            group.round.joined();
            extension.watcher_count += 1;
        }
        self.per_source.enter(beginning.source);
        Some(self.subscriptions.insert(Subscription::new(beginning, texts)))
    }

    /// Arms the timer for the end of a subscription.
    pub(crate) fn arm_expiry(&mut self, slot: u32) {
        let subscription = &mut self.subscriptions[slot];
        let at_s = u64::from(subscription.expires_at_s);
        let armed_s = self.expiries.arm(at_s, slot, subscription.tag.check);
        subscription.arm(armed_s);
    }

    /// Other texts for a subscription's dialog; false if they are longer than can be kept.
    pub(crate) fn replace_texts(&mut self, slot: u32, texts: AllTexts<'_>) -> bool {
        let source = self.texts.get(&self.subscriptions[slot].texts).source();
        let Some(new) = self.texts.insert(slot, texts, source) else { return false };
        let old = std::mem::replace(&mut self.subscriptions[slot].texts, new);
        self.forget_texts(old);
        true
    }

    /// Gives texts back; the cells of an arena have no holes, so another's may move.
    pub(crate) fn forget_texts(&mut self, texts: TextsId) {
        let Some((slot, to)) = self.texts.remove(texts) else { return };
        if let Some(moved) = self.subscriptions.get_mut(slot) {
            moved.texts.follow(to);
        }
    }

    /// A request with a To tag: a SUBSCRIBE of a dialog we hold, or 481.
    pub(crate) fn subscribe_in_dialog(
        &mut self,
        request: &Request<'_, '_>,
        now: Time,
        out: &mut Outputs,
    ) -> Outcome {
        let basics = &request.basics;
        let unknown = || Outcome::Answer(Answer::new(481, "Call/Transaction Does Not Exist"));
        let Some(tag) = basics.to_tag.and_then(Tag::read) else { return unknown() };
        let owner = self.placement.shard_of_partition(tag.partition);
        if owner != self.id {
            self.forward(owner, request.flow, request.bytes, out);
            return Outcome::Forwarded;
        }
        let key = self.request_key(request);
        if let Seen::Again(answered) = self.transactions.look_up(key, now) {
            self.stats.counters.request_retransmitted += 1;
            return Outcome::Answer(answered.answer());
        }
        let slot = self.slot_of(tag).filter(|&slot| {
            let texts = self.texts.get(&self.subscriptions[slot].texts);
            let remote = NameAddr::parse(texts.get(Text::Remote)).ok();
            texts.get(Text::CallId) == basics.call_id
                && remote.is_some_and(|remote| remote.tag() == Some(basics.from_tag))
        });
        let is_ending = |slot: u32| self.subscriptions[slot].state != Lifecycle::Active;
        let Some(slot) = slot.filter(|&slot| !is_ending(slot)) else {
            // An Asterisk keeps a dialog for a while after its subscription (traces 01, 08).
            let is_asterisk = self.ended.contains(tag);
            return match is_asterisk {
                true => Outcome::Answer(Answer::new(500, "Unhandled by dialog usages")),
                false => unknown(),
            };
        };
        match self.refresh(request, slot, now, out) {
            Ok(accepted) => {
                self.transactions.remember(key, accepted, now, &self.config.limits);
                match accepted.is_silent {
                    true => Outcome::Answer(accepted.answer()),
                    false => Outcome::AnswerAndNotify(accepted.answer(), slot),
                }
            }
            Err(answer) => Outcome::Answer(answer),
        }
    }

    /// The slot a tag's subscription lives in.
    pub(crate) fn slot_of(&self, tag: Tag) -> Option<u32> {
        let here = self.subscriptions.get(tag.slot).filter(|s| s.tag == tag).map(|_| tag.slot);
        here.or_else(|| self.moved.get(&tag).copied())
    }
}

/// Lists are for those who understand them.
fn extension_required() -> Answer {
    Answer::new(421, "Extension Required").with("Require", "eventlist")
}

/// A SUBSCRIBE that was accepted: all that its answer is made from, now and when it comes again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Accepted {
    pub(crate) tag: Tag,
    pub(crate) expires_s: u32,
    pub(crate) is_list: bool,
    /// No NOTIFY follows (RFC 5839).
    pub(crate) is_silent: bool,
}

const IS_LIST: u16 = 1 << 15;
const IS_SILENT: u16 = 1 << 14;

impl Remembered for Accepted {
    /// Slot, check and duration in halves; the partition, and two flags above it.
    type Packed = [u16; 7];

    fn pack(self) -> [u16; 7] {
        let Self { tag, expires_s, is_list, is_silent } = self;
        let list = if is_list { IS_LIST } else { 0 };
        let silent = if is_silent { IS_SILENT } else { 0 };
        let [slot, check, expires] =
            [tag.slot, tag.check, expires_s].map(|whole| [whole as u16, (whole >> 16) as u16]);
        let partition = tag.partition | list | silent;
        [slot[0], slot[1], check[0], check[1], expires[0], expires[1], partition]
    }

    fn unpack(packed: [u16; 7]) -> Self {
        let whole = |at: usize| u32::from(packed[at]) | u32::from(packed[at + 1]) << 16;
        let partition = packed[6] & !(IS_LIST | IS_SILENT);
        Self {
            tag: Tag { partition, slot: whole(0), check: whole(2) },
            expires_s: whole(4),
            is_list: packed[6] & IS_LIST != 0,
            is_silent: packed[6] & IS_SILENT != 0,
        }
    }

    fn memory(shard: &mut Shard) -> &mut Transactions<Self> {
        &mut shard.transactions
    }

    fn answer(self) -> Answer {
        let answer = match self.is_silent {
            true => Answer::new(204, "No Notification"),
            false => Answer::new(200, "OK"),
        };
        let answer = answer.tagged(self.tag).with("Expires", self.expires_s);
        if self.is_list { answer.with("Require", "eventlist") } else { answer }
    }
}

/// The texts of a new dialog; `None` if a strict router is none.
fn texts<'a>(
    request: &Request<'_, 'a>,
    wanted: &Wanted<'a>,
    routes: &'a [u8],
    is_strict: bool,
    dialect: Dialect,
) -> Option<[Cow<'a, [u8]>; TEXT_COUNT]> {
    let unfold = |value: &[u8]| {
        let mut out = Vec::with_capacity(value.len());
        lampfield_wire::write::push_value(&mut out, value);
        out
    };
    let header = |name| unfold(request.message.header(name).unwrap_or_default());
    let (to, from) = (header(HeaderName::To), header(HeaderName::From));
    let mut watcher = Vec::new();
    escape_into(&watcher_uri(&request.basics.from, dialect), &mut watcher);
    let event = unfold(wanted.event);
    let (mut target, mut lines) = (wanted.target.uri, Cow::Borrowed(routes));
    if is_strict {
        target = first_route(routes)?;
        let rest = routes.iter().position(|byte| *byte == b'\n')? + 1;
        let mut others = routes[rest..].to_vec();
        push_route(&mut others, &[b"<", wanted.target.uri, b">"]);
        lines = others.into();
    }
    let call_id = request.basics.call_id.into();
    let (local, remote, watcher) = (to.into(), from.into(), watcher.into());
    Some([call_id, local, remote, target.into(), lines, event.into(), watcher])
}

/// The watcher's own URI as bodies show it: an Asterisk leaves the port out (trace 01).
fn watcher_uri(from: &NameAddr<'_>, dialect: Dialect) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match split_uri(from.uri) {
        Ok(uri) if dialect == Dialect::Asterisk && uri.is_sip() => {
            let at = if uri.user.is_empty() { "" } else { "@" };
            format!("{}:{}{at}{}", text(uri.scheme), text(uri.user), text(uri.host))
        }
        _ => text(from.uri),
    }
}
