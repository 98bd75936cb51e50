//! Publications: event state that others keep with us by PUBLISH (RFC 3903).
//!
//! What all publications of one presentity add up to is the state of a source,
//! `Publication:2000`, owned by the shard of that name like every other source: hints may name it,
//! links carry it, documents show it, and nothing behind the source knows where it came from. This
//! module holds the publications of a shard; `document` says what is kept of a published document
//! and how several add up, `publish` answers PUBLISH, `keep` survives a restart.

mod calls;
mod document;
mod keep;
mod life;
mod list;
mod publish;
mod server;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

pub(crate) use document::Document;
use document::compose;

pub(crate) use keep::{KIND_PUBLICATION, KIND_TOLD, Restored, read_key};
pub(crate) use publish::Published;

use crate::Time;
use crate::config::Config;
use crate::package::Package;
use crate::placement::TenantId;
use crate::slab::Slab;
use crate::source::SourceKey;
use crate::timer::{Fired, Wheel};

/// Label of the sources that publications make.
pub(crate) const LABEL: &str = "Publication";

/// Label of what servers publish to. It is no source: what they tell is told of others.
const FEED_LABEL: &str = "Feed";

/// What is published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventName {
    /// State of a presentity, in a package that is subscribed to.
    Package(Package),
    /// What a server tells of its devices.
    ServerDevices,
    /// What a server tells of its mailboxes.
    ServerMailboxes,
}

impl EventName {
    /// Its name in an Event header.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Package(package) => package.name(),
            Self::ServerDevices => "asterisk-devicestate",
            Self::ServerMailboxes => "asterisk-mwi",
        }
    }

    /// That of servers with this name.
    pub(crate) fn of_servers(name: &[u8]) -> Option<Self> {
        let all = [Self::ServerDevices, Self::ServerMailboxes];
        all.into_iter().find(|event| event.name().as_bytes() == name)
    }

    /// That with this name.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Package::from_name(name).map(Self::Package).or_else(|| Self::of_servers(name))
    }

    /// The one type of documents it has.
    const fn media_type(self) -> &'static str {
        match self {
            Self::Package(Package::Presence) => "application/pidf+xml",
            Self::Package(Package::Dialog) => "application/dialog-info+xml",
            Self::Package(Package::MessageSummary) => "application/simple-message-summary",
            Self::ServerDevices | Self::ServerMailboxes => "application/json",
        }
    }
}

/// The source of what is published about an extension.
pub(crate) fn source_name(exten: &str) -> Arc<str> {
    format!("{LABEL}:{exten}").into()
}

/// Names one state of one publication: half of it cannot be guessed, the other half never comes
/// twice, in this run or after a restart.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct EntityTag {
    pub(crate) serial: u64,
    pub(crate) random: u64,
}

impl EntityTag {
    /// Reads a tag as it is printed; `None` for anything we never gave out.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 32)?;
        let is_ours = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !text.bytes().all(is_ours) {
            return None;
        }
        let half = |at: usize| u64::from_str_radix(text.get(at..at + 16)?, 16).ok();
        Some(Self { serial: half(0)?, random: half(16)? })
    }
}

impl std::fmt::Display for EntityTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.serial, self.random)
    }
}

/// One publication.
#[derive(Debug)]
pub(crate) struct Publication {
    /// The source it is a part of.
    pub(crate) key: SourceKey,
    pub(crate) event: EventName,
    pub(crate) entity_tag: EntityTag,
    /// Names its record, as long as it lives.
    pub(crate) id: u64,
    /// The endpoint that published it last.
    pub(crate) endpoint: Arc<str>,
    /// The address it came from first.
    pub(crate) source: IpAddr,
    pub(crate) expires_at_s: u32,
    /// The second its entry in the wheel fires.
    pub(crate) armed_at_s: u64,
    /// When its document was said: later is newer, also after a restart.
    pub(crate) said: u64,
    /// Gone at its expiry, and in no record: it was published with `Expires: 0`.
    pub(crate) is_fleeting: bool,
    pub(crate) document: Document,
}

impl Publication {
    fn check(&self) -> u32 {
        self.id as u32
    }
}

/// Slots of the publications of one presentity, the oldest first.
type Slots = SmallVec<[u32; 2]>;

/// The publications of a shard.
#[derive(Debug)]
pub(crate) struct Publications {
    slab: Slab<Publication>,
    presentities: hashbrown::HashMap<SourceKey, Slots, ahash::RandomState>,
    per_source: hashbrown::HashMap<IpAddr, u32, ahash::RandomState>,
    /// By tenant number.
    per_tenant: Vec<u32>,
    /// Endpoints that may publish, by tenant and name.
    publishers: hashbrown::HashSet<(TenantId, Arc<str>), ahash::RandomState>,
    wheel: Wheel,
    last_serial: u64,
    /// Publications of servers as the store had them, by id.
    restored: hashbrown::HashMap<u64, Restored, ahash::RandomState>,
    /// Slots that a new configuration has yet to look at.
    pub(crate) unchecked: VecDeque<u32>,
}

impl Publications {
    pub(crate) fn new(config: &Config, hasher: ahash::RandomState) -> Self {
        let mut made = Self {
            slab: Slab::default(),
            presentities: hashbrown::HashMap::with_hasher(hasher.clone()),
            per_source: hashbrown::HashMap::with_hasher(hasher.clone()),
            per_tenant: Vec::new(),
            publishers: hashbrown::HashSet::with_hasher(hasher.clone()),
            restored: hashbrown::HashMap::with_hasher(hasher),
            wheel: Wheel::default(),
            last_serial: 0,
            unchecked: VecDeque::new(),
        };
        made.follow(config);
        made
    }

    /// Takes over who may publish; every publication is to be looked at.
    pub(crate) fn follow(&mut self, config: &Config) {
        self.publishers.clear();
        let publishers = config.endpoints.iter().filter(|endpoint| endpoint.may_publish());
        self.publishers.extend(publishers.map(|e| (e.tenant, Arc::clone(&e.name))));
        self.unchecked = self.slab.iter().map(|(slot, _)| slot).collect();
    }

    pub(crate) fn is_publisher(&self, tenant: TenantId, endpoint: &Arc<str>) -> bool {
        self.publishers.contains(&(tenant, Arc::clone(endpoint)))
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Publication> {
        self.slab.get(slot)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Publication> {
        self.slab.get_mut(slot)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Publication> {
        self.slab.iter().map(|(_, publication)| publication)
    }

    /// Slots of the publications of a presentity.
    pub(crate) fn of(&self, key: &SourceKey) -> &[u32] {
        self.presentities.get(key).map_or(&[], |slots| slots)
    }

    pub(crate) fn count_of_source(&self, source: IpAddr) -> u32 {
        self.per_source.get(&source).copied().unwrap_or(0)
    }

    pub(crate) fn count_of_tenant(&self, tenant: TenantId) -> u32 {
        self.per_tenant.get(usize::from(tenant.0)).copied().unwrap_or(0)
    }

    /// The publication of a presentity that an entity-tag names.
    pub(crate) fn find(
        &self,
        key: &SourceKey,
        event: EventName,
        entity_tag: EntityTag,
    ) -> Option<u32> {
        let is_it = |slot: &&u32| {
            self.slab
                .get(**slot)
                .is_some_and(|p| p.event == event && p.entity_tag == entity_tag && !p.is_fleeting)
        };
        self.of(key).iter().find(is_it).copied()
    }

    /// What became of a server's publication that was kept.
    pub(crate) fn restored(&self, id: u64) -> Option<Restored> {
        self.restored.get(&id).copied()
    }

    pub(crate) fn remember_restored(&mut self, id: u64, restored: Restored) {
        self.restored.insert(id, restored);
    }

    /// A number that rises with every call, and over restarts: time, and a count within it.
    pub(crate) fn next_serial(&mut self, unix_ms: u64) -> u64 {
        self.last_serial = (unix_ms << 16).max(self.last_serial + 1);
        self.last_serial
    }

    pub(crate) fn insert(&mut self, publication: Publication) -> u32 {
        let tenant = usize::from(publication.key.0.0);
        if self.per_tenant.len() <= tenant {
            self.per_tenant.resize(tenant + 1, 0);
        }
        self.per_tenant[tenant] += 1;
        *self.per_source.entry(publication.source).or_insert(0) += 1;
        let key = publication.key.clone();
        let slot = self.slab.insert(publication);
        self.presentities.entry(key).or_default().push(slot);
        self.arm(slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Publication> {
        let publication = self.slab.remove(slot)?;
        self.restored.remove(&publication.id);
        if let Some(count) = self.per_tenant.get_mut(usize::from(publication.key.0.0)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.per_source.get_mut(&publication.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_source.remove(&publication.source);
            }
        }
        if let Some(slots) = self.presentities.get_mut(&publication.key) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.presentities.remove(&publication.key);
            }
        }
        Some(publication)
    }

    fn arm(&mut self, slot: u32) {
        let Some(publication) = self.slab.get_mut(slot) else { return };
        let (at_s, check) = (u64::from(publication.expires_at_s), publication.check());
        publication.armed_at_s = self.wheel.arm(at_s, slot, check);
    }

    /// Gives a publication another time to live; its wheel entry follows when it fires, unless the
    /// new time is the earlier one.
    pub(crate) fn set_expiry(&mut self, slot: u32, expires_at_s: u32) {
        let Some(publication) = self.slab.get_mut(slot) else { return };
        publication.expires_at_s = expires_at_s;
        if u64::from(expires_at_s) < publication.armed_at_s {
            self.arm(slot);
        }
    }

    /// The next publication that has run out.
    pub(crate) fn pop_expired(&mut self, now: Time, visits_left: &mut usize) -> Option<u32> {
        while let Some(Fired { at_s, slot, check }) = self.wheel.pop_due(now, visits_left) {
            let Some(publication) = self.slab.get(slot) else { continue };
            if publication.armed_at_s != at_s || publication.check() != check {
                continue;
            }
            if u64::from(publication.expires_at_s) <= now.as_secs() {
                return Some(slot);
            }
            self.arm(slot);
        }
        None
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        match self.unchecked.is_empty() {
            true => self.wheel.next_deadline(),
            false => Some(Time::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_reads_back_and_nothing_else_does() {
        let tag = EntityTag { serial: 0x0190_0000_0000_0001, random: 0xabc };
        let text = tag.to_string();
        assert_eq!(text, "01900000000000010000000000000abc");
        assert_eq!(EntityTag::read(text.as_bytes()), Some(tag));
        for other in
            ["", "0", "+190000000000001", &text[1..], &text.to_uppercase(), "é".repeat(16).as_str()]
        {
            assert_eq!(EntityTag::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn serials_rise_whatever_the_clock_says() {
        let mut publications =
            Publications::new(&Config::default(), ahash::RandomState::with_seeds(1, 2, 3, 4));
        let serials = [5, 5, 4, 6].map(|unix_ms| publications.next_serial(unix_ms));
        assert_eq!(serials, [5 << 16, (5 << 16) + 1, (5 << 16) + 2, 6 << 16]);
    }
}
