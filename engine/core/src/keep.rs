//! What survives a restart: states and subscriptions as records, and the way back.
//!
//! Every record starts with its kind. Times are Unix milliseconds.
//!
//! No restart may use a CSeq or a document version twice, and a store that commits in groups
//! loses its last milliseconds. So a subscription's record is written with head-room, and again
//! well before that is used up; and a restart goes on as many numbers later as milliseconds
//! passed since the record was written: whatever a run sent before its own records were
//! committed lies below. (No watcher takes a NOTIFY every millisecond; it must answer each one.)

use std::sync::Arc;
use std::time::Duration;

use lampfield_wire::MessageCounts;

use crate::config::{Dialect, EndpointId};
use crate::dialplan::{Found, Hint};
use crate::extension::{ExtensionId, GroupView};
use crate::layout::{self, KeptSubscription, LAYOUT, Reader, Writer};
use crate::pace::{Pace, gap_of_event};
use crate::placement::{ShardId, TenantId};
use crate::publication::{KIND_PUBLICATION, KIND_TOLD, read_key};
use crate::record::Record;
use crate::registrar::KIND_REGISTRATION;
use crate::source::SourceKey;
use crate::state::{DeviceState, Messages, Presence, PresenceState};
use crate::subscription::{
    Beginning, KEPT_FOREVER, Lifecycle, Reason, Seat, Subscription, Watched, Watching,
};
use crate::tag::Tag;
use crate::texts::Text;
use crate::{Outputs, Shard, Time};

/// Numbers a record is good for.
const CSEQ_HEAD_ROOM: u16 = 1000;
/// Numbers that are left when it is written again: what may be sent while the store commits.
const CSEQ_LEFT_MIN: u16 = 500;
/// Numbers a restart skips at most: CSeq ends at 2³¹ (RFC 3261 section 8.1.1.5).
const CSEQ_SKIP_MAX: u32 = 4_000_000;

pub(crate) const KIND_DEVICE: u8 = b'D';
pub(crate) const KIND_PRESENCE: u8 = b'P';
pub(crate) const KIND_MAILBOX: u8 = b'M';
pub(crate) const KIND_SUBSCRIPTION: u8 = b'S';
pub(crate) const KIND_LIST: u8 = b'L';

impl Shard {
    pub(crate) fn keep_device(
        &self,
        tenant: TenantId,
        name: &str,
        state: DeviceState,
        out: &mut Outputs,
    ) {
        if self.durable {
            let mut value = Writer::new(LAYOUT);
            value.text(state.token().as_bytes());
            out.records.push(record(source_key(KIND_DEVICE, tenant, name), Some(value)));
        }
    }

    pub(crate) fn keep_presence(
        &self,
        tenant: TenantId,
        name: &str,
        written: &str,
        presence: &Presence,
        out: &mut Outputs,
    ) {
        if self.durable {
            let mut value = Writer::new(LAYOUT);
            let token = presence.state.token();
            for text in [written, token, &presence.subtype, &presence.message] {
                value.text(text.as_bytes());
            }
            out.records.push(record(source_key(KIND_PRESENCE, tenant, name), Some(value)));
        }
    }

    /// Writes a mailbox's record; without messages, takes it back.
    pub(crate) fn keep_mailbox(
        &self,
        (tenant, name): &SourceKey,
        messages: Option<&Messages>,
        out: &mut Outputs,
    ) {
        if self.durable {
            let value = messages.map(|messages| {
                let mut value = Writer::new(LAYOUT);
                write_messages(messages, &mut value);
                value
            });
            out.records.push(record(source_key(KIND_MAILBOX, *tenant, name), value));
        }
    }

    /// One more CSeq is used: writes a subscription's record again if those it is good for run out.
    pub(crate) fn keep_ahead(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &mut self.subscriptions[slot];
        if subscription.kept_left == KEPT_FOREVER {
            return;
        }
        subscription.kept_left = subscription.kept_left.saturating_sub(1);
        if subscription.kept_left < CSEQ_LEFT_MIN {
            self.keep_subscription(slot, now, out);
        }
    }

    /// Writes a subscription's record, with numbers it may use up before the next one.
    pub(crate) fn keep_subscription(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        if !self.durable || !self.subscriptions[slot].state.is_kept() {
            self.subscriptions[slot].kept_left = KEPT_FOREVER;
            return;
        }
        self.subscriptions[slot].kept_left = CSEQ_HEAD_ROOM;
        let subscription = &self.subscriptions[slot];
        let head_room = u32::from(CSEQ_HEAD_ROOM);
        let (view, tenant, context, name, uri) = match subscription.watching() {
            Watching::Extension(seat) => {
                let extension = &self.extensions[seat.extension];
                let Some(view) = &extension.groups[usize::from(seat.group)].view else { return };
                let (context, exten) = (&extension.context, &extension.exten);
                (view, extension.tenant, context, exten, &*view.entity)
            }
            Watching::List(list) => (
                &list.view,
                list.tenant,
                &list.context,
                list.name(),
                list.shape.labels.request_uri(),
            ),
        };
        let endpoint = self.config.endpoints.get(subscription.endpoint.0 as usize);
        let texts = self.texts.get(&subscription.texts);
        let all = texts.all();
        let kept = KeptSubscription {
            ends_ms: self.unix_ms(Time::from_secs(subscription.expires_at_s.into())),
            written_ms: self.unix_ms(now),
            cseq: subscription.cseq.saturating_add(head_room),
            version: subscription.version.saturating_add(head_room),
            remote_cseq: subscription.remote_cseq,
            digium: view.digium,
            early_inuse_ringing: view.early_inuse_ringing,
            single_dialog: view.single_dialog,
            is_strict: subscription.is_strict,
            format: view.format,
            dialect: view.dialect,
            flow: self.hops.flow(subscription.hop),
            tenant,
            endpoint: endpoint.map(|endpoint| &*endpoint.name).unwrap_or_default(),
            context,
            exten: name,
            entity: uri,
            texts: all.each_ref().map(|text| &**text),
            state: subscription.state,
            granted_s: Some(subscription.granted_s),
            source: texts.source(),
        };
        let mut value = kept.write();
        if let Some(list) = subscription.list() {
            list.write(&mut value);
        }
        out.records.push(record(subscription_key(subscription), Some(value)));
    }

    pub(crate) fn forget_kept(&self, slot: u32, out: &mut Outputs) {
        if self.durable {
            out.records.push(record(subscription_key(&self.subscriptions[slot]), None));
        }
    }

    /// Takes back a record of an earlier run. Records of other shards, and of things that are no
    /// longer configured, are left alone; what cannot be read, or finds no room, is counted.
    pub(crate) fn restore(&mut self, record: &Record, now: Time, out: &mut Outputs) {
        let Some(value) = &record.value else { return };
        let is_ours = self.owner_of_record(&record.key) == self.id;
        let mut key = Reader::new(&record.key);
        let kind = key.u8();
        let restored = layout::open(value).and_then(|(layout, value)| match kind? {
            kind @ (KIND_DEVICE | KIND_PRESENCE | KIND_MAILBOX) => {
                self.restore_source(kind, (key, value), is_ours, now, out)
            }
            KIND_PUBLICATION => {
                self.restore_publication(&record.key, (key, value), is_ours, now, out)
            }
            KIND_TOLD => self.restore_told((key, value), is_ours, now, out),
            KIND_REGISTRATION => self.restore_registration((key, value), is_ours, now, out),
            kind @ (KIND_SUBSCRIPTION | KIND_LIST) if is_ours => {
                self.restore_subscription(kind, key, (layout, value), now, out)
            }
            _ => None,
        });
        if is_ours && restored.is_none() {
            self.stats.counters.record_lost += 1;
        }
    }

    /// Whose a record is: the one shard that counts it if it is lost. The first, if nobody can tell.
    fn owner_of_record(&self, key: &[u8]) -> ShardId {
        let mut key = Reader::new(key);
        let owner = || match key.u8()? {
            KIND_SUBSCRIPTION | KIND_LIST => Some(self.placement.shard_of_partition(key.u16()?)),
            KIND_PUBLICATION | KIND_TOLD => {
                let (tenant, _, name) = read_key(key)?;
                Some(self.placement.shard_of_source(tenant, name))
            }
            _ => {
                let (tenant, name) = read_source_key(key)?;
                Some(self.placement.shard_of_source(tenant, name))
            }
        };
        owner().unwrap_or_default()
    }

    /// A moment of this run as milliseconds since 1970, as records tell it.
    pub(crate) fn unix_ms(&self, at: Time) -> u64 {
        self.unix_at_zero_ms.saturating_add(at.as_nanos() / 1_000_000)
    }

    /// The way back: the second of this run in which what a record says is over, rounded up; the
    /// coming one if that has passed.
    pub(crate) fn second_of(&self, ends_ms: u64, now: Time) -> u32 {
        let left_s = ends_ms.saturating_sub(self.unix_ms(now)).div_ceil(1000);
        (now.as_secs_ceil() + left_s) as u32
    }

    fn restore_source(
        &mut self,
        kind: u8,
        (key, mut value): (Reader<'_>, Reader<'_>),
        is_ours: bool,
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let (tenant, name) = read_source_key(key)?;
        let name: Arc<str> = name.into();
        if kind == KIND_DEVICE {
            // Every shard reads every state, before the subscriptions: each grows the hint itself.
            self.auto_hint(tenant, &name, false, now, out);
        }
        if !is_ours {
            return None;
        }
        let count_max = self.config.limits.source_count_max;
        let source = self.sources.get_or_insert((tenant, name), count_max)?;
        match kind {
            KIND_PRESENCE => {
                let written: Arc<str> = value.str()?.into();
                let state = PresenceState::from_token(value.str()?)?;
                let (subtype, message) = (value.str()?.into(), value.str()?.into());
                source.presence = Some((Presence { state, subtype, message }, written));
            }
            KIND_MAILBOX => {
                let messages = read_messages(&mut value)?;
                source.device = Some(messages.device());
                source.messages = Some(Box::new(messages));
            }
            _ => source.device = Some(DeviceState::from_token(value.str()?)),
        }
        let (attached, state) = (source.attached.clone(), source.state());
        self.tell(&attached, state, now, out);
        Some(())
    }

    fn restore_subscription(
        &mut self,
        kind: u8,
        mut key: Reader<'_>,
        (layout, mut value): (u8, Reader<'_>),
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let tag = Tag { partition: key.u16()?, slot: key.u32()?, check: key.u32()? };
        let mut kept = KeptSubscription::read(layout, &mut value)?;
        let now_ms = self.unix_ms(now);
        let passed = now_ms.saturating_sub(kept.written_ms).min(u64::from(CSEQ_SKIP_MAX)) as u32;
        for number in [&mut kept.cseq, &mut kept.version] {
            *number = number.saturating_add(passed);
            if *number >= 1 << 31 {
                return None;
            }
        }
        if kept.ends_ms <= now_ms {
            // It ran out, as its watcher knows: the store need not keep it.
            out.records.push(Record { key: dialog_key(kind, tag), value: None });
            return Some(());
        }
        match kind {
            KIND_LIST => self.restore_list(tag, &kept, value, now, out),
            _ => self.restore_watcher(tag, &kept, now, out),
        }
    }

    /// A watcher of one extension.
    fn restore_watcher(
        &mut self,
        tag: Tag,
        kept: &KeptSubscription<'_>,
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let (endpoint, extension, state) = self.place_of(kept, now, out)?;
        let view = GroupView { entity: kept.entity.into(), ..kept.view() };
        let count_max = self.config.limits.view_count_max;
        let Some(group) = self.extensions[extension].group(view, count_max) else {
            self.drop_if_unused(extension, out);
            return None;
        };
        let watched = Watched::Extension(Seat { extension, group, position: 0 });
        self.add_again(tag, kept, (endpoint, watched, Duration::ZERO, state), now)?;
        // A fan-out, not a NOTIFY at once: a million of them leave at the pace of the answers.
        self.start_fanout(extension, group);
        Some(())
    }

    /// Puts a kept subscription into a slot; its tag may name another.
    pub(crate) fn add_again(
        &mut self,
        tag: Tag,
        kept: &KeptSubscription<'_>,
        (endpoint, watched, batch_interval, state): (EndpointId, Watched, Duration, Lifecycle),
        now: Time,
    ) -> Option<u32> {
        let expires_at_s = self.second_of(kept.ends_ms, now);
        let gap = match kept.dialect {
            Dialect::Rfc => gap_of_event(kept.texts[Text::Event as usize]),
            Dialect::Asterisk => Duration::ZERO,
        };
        let hop = self.hops.acquire(kept.flow, &self.config.limits);
        let slot = self.add_subscription(Beginning {
            tag,
            texts: kept.texts,
            watched,
            endpoint,
            hop,
            source: kept.source,
            cseq: kept.cseq,
            remote_cseq: kept.remote_cseq,
            version: kept.version,
            granted_s: kept.granted_s.unwrap_or(self.config.limits.expires_default_s),
            expires_at_s,
            state,
            is_strict: kept.is_strict,
            // Most have answered before.
            is_unproven: false,
            pace: Pace::new(batch_interval, gap),
        })?;
        if slot != tag.slot {
            self.moved.insert(tag, slot);
        }
        self.arm_expiry(slot);
        if state != kept.state {
            self.count_end(state);
        }
        Some(slot)
    }

    /// Where a kept subscription belongs now, and whether it goes on. One whose hint or endpoint
    /// went while we were down, or just before, is told so, and then it is over.
    fn place_of(
        &mut self,
        kept: &KeptSubscription<'_>,
        now: Time,
        out: &mut Outputs,
    ) -> Option<(EndpointId, ExtensionId, Lifecycle)> {
        let endpoint = self.endpoint_index.find(&self.config, kept.tenant, kept.endpoint);
        // Found in another context it is another extension, maybe another shard's.
        let found = self
            .find_hint(kept.tenant, kept.context, kept.exten)
            .filter(|found| &*found.context == kept.context);
        let is_removed = found.is_none();
        let state = match (kept.state, endpoint) {
            (Lifecycle::Active, None) => Lifecycle::Ending(Reason::Rejected),
            (Lifecycle::Active, Some(_)) if is_removed => Lifecycle::Ending(Reason::NoResource),
            (state, _) => state,
        };
        let found = found.unwrap_or_else(|| Found {
            context: kept.context.into(),
            exten: kept.exten.into(),
            hint: Arc::new(Hint::default()),
            explicit: false,
        });
        let extension = self.extension_for(kept.tenant, found, now, out)?;
        self.extensions[extension].is_removed = is_removed;
        Some((endpoint.unwrap_or(EndpointId(u32::MAX)), extension, state))
    }
}

/// Tenant and name of the key of a source.
pub(crate) fn read_source_key(mut key: Reader<'_>) -> Option<(TenantId, &str)> {
    Some((TenantId(key.u16()?), std::str::from_utf8(key.bytes).ok()?))
}

pub(crate) fn write_messages(messages: &Messages, value: &mut Writer) {
    let MessageCounts { new, old, urgent_new, urgent_old } = messages.counts;
    value.bytes.push(u8::from(messages.is_waiting));
    [new, old, urgent_new, urgent_old].into_iter().for_each(|count| value.u32(count));
}

pub(crate) fn read_messages(value: &mut Reader<'_>) -> Option<Messages> {
    let is_waiting = value.flag()?;
    let [new, old] = [value.u32()?, value.u32()?];
    let [urgent_new, urgent_old] = [value.u32()?, value.u32()?];
    Some(Messages { is_waiting, counts: MessageCounts { new, old, urgent_new, urgent_old } })
}

fn record(key: Box<[u8]>, value: Option<Writer>) -> Record {
    Record { key, value: value.map(|value| value.bytes.into()) }
}

pub(crate) fn source_key(kind: u8, tenant: TenantId, name: &str) -> Box<[u8]> {
    let mut key = Writer::new(kind);
    key.bytes.extend_from_slice(&tenant.0.to_le_bytes());
    key.bytes.extend_from_slice(name.as_bytes());
    key.bytes.into()
}

fn subscription_key(subscription: &Subscription) -> Box<[u8]> {
    let kind = if subscription.list().is_some() { KIND_LIST } else { KIND_SUBSCRIPTION };
    dialog_key(kind, subscription.tag)
}

fn dialog_key(kind: u8, tag: Tag) -> Box<[u8]> {
    let mut key = Writer::new(kind);
    key.bytes.extend_from_slice(&tag.partition.to_le_bytes());
    key.u32(tag.slot);
    key.u32(tag.check);
    key.bytes.into()
}
