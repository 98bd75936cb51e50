//! What survives a restart: states and subscriptions as records, and the way back.
//!
//! Every record starts with its kind. Times are Unix milliseconds.
//!
//! No restart may use a CSeq or a document version twice, and a store that commits in groups
//! loses its last milliseconds. So a subscription's record is written with head-room, and again
//! well before that is used up; and a restart goes on as many numbers later as milliseconds
//! passed since the record was written: whatever a run sent before its own records were
//! committed lies below. (No watcher takes a NOTIFY every millisecond; it must answer each one.)

use std::net::SocketAddr;
use std::sync::Arc;

use crate::body::Format;
use crate::config::{Dialect, Endpoint, EndpointId};
use crate::dialplan::{Found, Hint};
use crate::extension::GroupView;
use crate::flow::{ConnectionId, Flow, Transport};
use crate::placement::TenantId;
use crate::record::Record;
use crate::state::{DeviceState, Presence, PresenceState};
use crate::subscription::{Beginning, Lifecycle, Reason, Subscription, Texts};
use crate::tag::Tag;
use crate::{Outputs, Shard, Time};

/// Numbers a record is good for.
const CSEQ_HEAD_ROOM: u32 = 1000;
/// Numbers that are left when it is written again: what may be sent while the store commits.
const CSEQ_LEFT_MIN: u32 = 500;
/// Numbers a restart skips at most: CSeq ends at 2³¹ (RFC 3261 section 8.1.1.5).
const CSEQ_SKIP_MAX: u32 = 4_000_000;

const KIND_DEVICE: u8 = b'D';
const KIND_PRESENCE: u8 = b'P';
const KIND_SUBSCRIPTION: u8 = b'S';
/// First byte of every value: raised when the layout changes.
const LAYOUT: u8 = 2;

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

    /// Writes a subscription's record again if the numbers it is good for run out.
    pub(crate) fn keep_ahead(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let subscription = &self.subscriptions[slot];
        if subscription.cseq.saturating_add(CSEQ_LEFT_MIN) > subscription.kept_cseq {
            self.keep_subscription(slot, now, out);
        }
    }

    /// Writes a subscription's record, with numbers it may use up before the next one.
    pub(crate) fn keep_subscription(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        if !self.durable || self.subscriptions[slot].state != Lifecycle::Active {
            self.subscriptions[slot].kept_cseq = u32::MAX;
            return;
        }
        let subscription = &mut self.subscriptions[slot];
        subscription.kept_cseq = subscription.cseq.saturating_add(CSEQ_HEAD_ROOM);
        let subscription = &self.subscriptions[slot];
        let extension = &self.extensions[subscription.extension];
        let group = &extension.groups[usize::from(subscription.group)];
        let Some(view) = &group.view else { return };
        let endpoint = self.config.endpoints.get(subscription.endpoint.0 as usize);
        let endpoint = endpoint.map(|endpoint| &*endpoint.name).unwrap_or_default();
        let flow = self.hops.get(subscription.hop).flow;
        let left_ms = u64::from(subscription.expires_at_s) * 1000;
        let mut value = Writer::new(LAYOUT);
        value.u64(self.unix_at_zero_ms.saturating_add(left_ms));
        value.u64(self.unix_at_zero_ms.saturating_add(now.as_nanos() / 1_000_000));
        value.u32(subscription.kept_cseq);
        value.u32(subscription.version.saturating_add(CSEQ_HEAD_ROOM));
        value.u32(subscription.remote_cseq);
        let flags = [view.digium, view.early_inuse_ringing, subscription.is_strict];
        value.bytes.extend_from_slice(&flags.map(u8::from));
        value.bytes.push(view.format as u8);
        value.bytes.push(u8::from(view.dialect == Dialect::Asterisk));
        value.bytes.push(u8::from(flow.transport == Transport::Tcp));
        value.text(flow.local.to_string().as_bytes());
        value.text(flow.peer.to_string().as_bytes());
        value.u32(u32::from(extension.tenant.0));
        for text in [endpoint, &extension.context, &extension.exten, &view.entity] {
            value.text(text.as_bytes());
        }
        subscription.texts.all().iter().for_each(|text| value.text(text));
        out.records.push(record(subscription_key(subscription.tag), Some(value)));
    }

    pub(crate) fn forget_kept(&self, slot: u32, out: &mut Outputs) {
        if self.durable {
            out.records.push(record(subscription_key(self.subscriptions[slot].tag), None));
        }
    }

    /// Takes back a record of an earlier run. Records of other shards, and of things that are no
    /// longer configured, are left alone.
    pub(crate) fn restore(&mut self, record: &Record, now: Time, out: &mut Outputs) {
        let Some(value) = &record.value else { return };
        let mut key = Reader { bytes: &record.key };
        let mut value = Reader { bytes: value };
        if value.u8() != Some(LAYOUT) {
            return;
        }
        match key.u8() {
            Some(KIND_DEVICE) => self.restore_source(key, value, false, now, out),
            Some(KIND_PRESENCE) => self.restore_source(key, value, true, now, out),
            Some(KIND_SUBSCRIPTION) => {
                self.restore_subscription(key, value, now, out);
                Some(())
            }
            _ => None,
        };
    }

    fn restore_source(
        &mut self,
        mut key: Reader<'_>,
        mut value: Reader<'_>,
        is_presence: bool,
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let tenant = TenantId(key.u16()?);
        let name: Arc<str> = std::str::from_utf8(key.bytes).ok()?.into();
        if !is_presence {
            // Every shard reads every state, before the subscriptions: each grows the hint itself.
            self.auto_hint(tenant, &name, false, now, out);
        }
        if self.placement.shard_of_source(tenant, &name) != self.id {
            return None;
        }
        let count_max = self.config.limits.source_count_max;
        let source = self.sources.get_or_insert((tenant, name), count_max)?;
        if is_presence {
            let written: Arc<str> = value.str()?.into();
            let state = PresenceState::from_token(value.str()?)?;
            let (subtype, message) = (value.str()?.into(), value.str()?.into());
            source.presence = Some((Presence { state, subtype, message }, written));
        } else {
            source.device = Some(DeviceState::from_token(value.str()?));
        }
        let (attached, state) = (source.attached.clone(), source.state());
        self.tell(&attached, state, now, out);
        Some(())
    }

    fn restore_subscription(
        &mut self,
        mut key: Reader<'_>,
        mut value: Reader<'_>,
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let tag = Tag { partition: key.u16()?, slot: key.u32()?, check: key.u32()? };
        if self.placement.shard_of_partition(tag.partition) != self.id {
            return None;
        }
        let (ends_ms, written_ms) = (value.u64()?, value.u64()?);
        let [cseq, version, remote_cseq] = [value.u32()?, value.u32()?, value.u32()?];
        let mut flag = || Some(value.u8()? != 0);
        let (digium, early_inuse_ringing, is_strict) = (flag()?, flag()?, flag()?);
        let format = format_from(value.u8()?)?;
        let dialect = if value.u8()? != 0 { Dialect::Asterisk } else { Dialect::Rfc };
        let transport = if value.u8()? != 0 { Transport::Tcp } else { Transport::Udp };
        let [local, peer]: [SocketAddr; 2] =
            [value.str()?.parse().ok()?, value.str()?.parse().ok()?];
        let tenant = TenantId(value.u32()? as u16);
        let [endpoint, context, exten, entity] =
            [value.str()?, value.str()?, value.str()?, value.str()?];
        let mut texts = [&b""[..]; 7];
        for text in &mut texts {
            *text = value.text()?;
        }
        let now_ms = self.unix_at_zero_ms + now.as_nanos() / 1_000_000;
        let passed = now_ms.saturating_sub(written_ms).min(u64::from(CSEQ_SKIP_MAX)) as u32;
        let [cseq, version] = [cseq, version].map(|number| number.saturating_add(passed));
        let texts = Texts::pack(texts, usize::MAX)?;
        if cseq >= 1 << 31 || version >= 1 << 31 {
            return None;
        }
        let may_watch = |e: &Endpoint| e.tenant == tenant && e.allow_subscribe;
        let mut endpoints = self.config.endpoints.iter();
        let endpoint_at = endpoints.position(|e| &*e.name == endpoint && may_watch(e));
        let (Some(endpoint_at), true) = (endpoint_at, ends_ms > now_ms) else {
            // It ran out, or is not served any more: the store need not keep it.
            out.records.push(Record { key: subscription_key(tag), value: None });
            return None;
        };
        // Found elsewhere it is another extension, maybe another shard's.
        let found = self.find_hint(tenant, context, exten).filter(|f| &*f.context == context);
        let state = match &found {
            Some(_) => Lifecycle::Active,
            // Its hint went while we were down: the watcher is told so, and then it is over.
            None => Lifecycle::Ending(Reason::NoResource),
        };
        let found = found.unwrap_or_else(|| Found {
            context: context.into(),
            exten: exten.into(),
            hint: Arc::new(Hint::default()),
            explicit: false,
        });
        let extension = self.extension_for(tenant, found, now, out)?;
        self.extensions[extension].is_removed = state != Lifecycle::Active;
        let view =
            GroupView { format, dialect, digium, early_inuse_ringing, entity: entity.into() };
        let count_max = self.config.limits.view_count_max;
        let Some(group) = self.extensions[extension].group(view, count_max) else {
            self.drop_if_unused(extension, out);
            return None;
        };
        let connection = ConnectionId::default();
        let flow = Flow { transport, local, peer, connection };
        let expires_at_s = (now.as_secs_ceil() + (ends_ms - now_ms).div_ceil(1000)) as u32;
        let hop = self.hops.acquire(flow, &self.config.limits);
        let slot = self.add_subscription(Subscription::new(Beginning {
            tag,
            extension,
            group,
            endpoint: EndpointId(endpoint_at as u32),
            hop,
            cseq,
            remote_cseq,
            version,
            // What was granted is not kept: it only matters to a refresh that names nothing.
            granted_s: self.config.limits.expires_default_s,
            expires_at_s,
            state,
            is_strict,
            texts,
        }));
        if slot != tag.slot {
            self.moved.insert(tag, slot);
        }
        self.expiries.arm(u64::from(expires_at_s), slot, tag.check);
        if state != Lifecycle::Active {
            self.stats.counters.subscription_hint_removed += 1;
            self.forget_kept(slot, out);
        }
        // A fan-out, not a NOTIFY at once: a million of them leave at the pace of the answers.
        self.start_fanout(extension, group);
        Some(())
    }
}

fn format_from(number: u8) -> Option<Format> {
    [Format::Pidf, Format::Xpidf, Format::CpimPidf, Format::DialogInfo]
        .into_iter()
        .find(|format| *format as u8 == number)
}

fn record(key: Box<[u8]>, value: Option<Writer>) -> Record {
    Record { key, value: value.map(|value| value.bytes.into()) }
}

fn source_key(kind: u8, tenant: TenantId, name: &str) -> Box<[u8]> {
    let mut key = Writer::new(kind);
    key.bytes.extend_from_slice(&tenant.0.to_le_bytes());
    key.bytes.extend_from_slice(name.as_bytes());
    key.bytes.into()
}

fn subscription_key(tag: Tag) -> Box<[u8]> {
    let mut key = Writer::new(KIND_SUBSCRIPTION);
    key.bytes.extend_from_slice(&tag.partition.to_le_bytes());
    key.u32(tag.slot);
    key.u32(tag.check);
    key.bytes.into()
}

/// Little-endian numbers, and texts with their length in front.
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn new(first: u8) -> Self {
        Self { bytes: vec![first] }
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&text[..text.len().min(usize::from(u16::MAX))]);
    }
}

/// Reads what [`Writer`] wrote; `None` at anything else.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let byte_count = usize::from(self.u16()?);
        let (text, rest) = self.bytes.split_at_checked(byte_count)?;
        self.bytes = rest;
        Some(text)
    }

    fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text()?).ok()
    }
}
