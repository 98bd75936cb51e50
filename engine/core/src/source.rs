//! State sources: devices and presentities, each owned by the shard of its name, and the links
//! through which extensions of any shard see them.
//!
//! A source keeps its value and the shards that hint at it; a change is one message per such
//! shard. A link is one shard's copy of a source, shared by all its extensions that hint at it.

use std::sync::Arc;

use lampfield_wire::EntityId;
use smallvec::SmallVec;

use crate::Time;
use crate::extension::ExtensionId;
use crate::mesh::SourceState;
use crate::placement::{ShardId, TenantId};
use crate::provider::Providers;
use crate::slab::Slab;
use crate::state::{Calls, DeviceAggregate, DeviceState, Messages, Presence};

/// Names a source: whose, and which.
pub(crate) type SourceKey = (TenantId, Arc<str>);

type Index = hashbrown::HashMap<SourceKey, u32, ahash::RandomState>;

/// A source this shard owns.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) key: SourceKey,
    pub(crate) device: Option<DeviceState>,
    /// The presence, and the value as it was written.
    pub(crate) presence: Option<(Presence, Arc<str>)>,
    /// The calls behind the device state, if somebody tells them.
    pub(crate) calls: Option<Calls>,
    /// The messages, of a mailbox.
    pub(crate) messages: Option<Box<Messages>>,
    /// What other servers say of it.
    of_servers: Option<Box<OfServers>>,
    /// Shards that hint at it.
    pub(crate) attached: Attached,
}

/// What another server says of a source, or that it says nothing any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerState {
    /// State of a device.
    Device(Option<DeviceState>),
    /// Messages in a mailbox.
    Mailbox(Option<Messages>),
}

impl ServerState {
    const fn is_said(self) -> bool {
        matches!(self, Self::Device(Some(_)) | Self::Mailbox(Some(_)))
    }

    /// Whether both are about a device, or both about a mailbox.
    pub(crate) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// That nothing of this kind is said.
    pub(crate) const fn nothing(self) -> Self {
        match self {
            Self::Device(_) => Self::Device(None),
            Self::Mailbox(_) => Self::Mailbox(None),
        }
    }
}

/// By server and kind.
type OfServers = SmallVec<[(EntityId, ServerState); 2]>;

/// Shards that hint at a source, with the number each gave its attachment.
pub(crate) type Attached = SmallVec<[(ShardId, u32); 2]>;

impl Source {
    /// What those who hint at it are told.
    pub(crate) fn state(&self) -> SourceState {
        SourceState {
            tenant: self.key.0,
            name: Arc::clone(&self.key.1),
            device: self.device_of_all(),
            presence: self.presence.as_ref().map(|(presence, _)| presence.clone()),
            calls: self.calls.clone(),
            messages: self.messages_of_all(),
        }
    }

    /// What we and all other servers say of its device. A server that counts the messages of a
    /// mailbox says no more by its lamp.
    pub(crate) fn device_of_all(&self) -> Option<DeviceState> {
        let Some(servers) = &self.of_servers else { return self.device };
        let counts = |server: EntityId| {
            let is_count = |state: &ServerState| matches!(state, ServerState::Mailbox(_));
            servers.iter().any(|(other, state)| *other == server && is_count(state))
        };
        let others = servers.iter().filter_map(|(server, state)| match state {
            ServerState::Device(device) => (*device).filter(|_| !counts(*server)),
            ServerState::Mailbox(messages) => messages.map(|messages| messages.device()),
        });
        let all: DeviceAggregate = self.device.into_iter().chain(others).collect();
        Some(all.state())
    }

    /// The messages we and all other servers count in it.
    pub(crate) fn messages_of_all(&self) -> Option<Messages> {
        let own = self.messages.as_deref().copied();
        let Some(servers) = &self.of_servers else { return own };
        let others = servers.iter().filter_map(|(_, state)| match state {
            ServerState::Mailbox(messages) => *messages,
            ServerState::Device(_) => None,
        });
        own.into_iter().chain(others).reduce(|mut sum, messages| {
            sum.add(&messages);
            sum
        })
    }

    /// Another server says something else of it.
    pub(crate) fn set_of_server(&mut self, server: EntityId, state: ServerState) {
        let servers = self.of_servers.get_or_insert_default();
        servers.retain(|(other, before)| *other != server || !before.is_like(state));
        if state.is_said() {
            servers.push((server, state));
        }
        if servers.is_empty() {
            self.of_servers = None;
        }
    }

    fn is_idle(&self) -> bool {
        let is_silent = self.device.is_none() && self.presence.is_none() && self.messages.is_none();
        is_silent && self.of_servers.is_none() && self.attached.is_empty()
    }
}

/// The sources a shard owns.
#[derive(Debug)]
pub(crate) struct Sources {
    slab: Slab<Source>,
    index: Index,
}

impl Sources {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Self { slab: Slab::default(), index: Index::with_hasher(hasher) }
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    pub(crate) fn get(&self, key: &SourceKey) -> Option<&Source> {
        self.index.get(key).map(|&id| &self.slab[id])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.slab.iter().map(|(_, source)| source)
    }

    /// The source, made if it is new; `None` if there are `count_max` already.
    pub(crate) fn get_or_insert(&mut self, key: SourceKey, count_max: u32) -> Option<&mut Source> {
        if let Some(&id) = self.index.get(&key) {
            return Some(&mut self.slab[id]);
        }
        if self.slab.len() >= count_max {
            return None;
        }
        let source = Source {
            key: key.clone(),
            device: None,
            presence: None,
            calls: None,
            messages: None,
            of_servers: None,
            attached: Attached::new(),
        };
        let id = self.slab.insert(source);
        self.index.insert(key, id);
        Some(&mut self.slab[id])
    }

    /// Forgets a source that has no state and that nobody hints at.
    pub(crate) fn release(&mut self, key: &SourceKey) {
        if let Some(&id) = self.index.get(key)
            && self.slab[id].is_idle()
        {
            self.index.remove(key);
            self.slab.remove(id);
        }
    }

    /// A shard hints at it no longer; a source nobody set and nobody hints at is forgotten.
    pub(crate) fn detach(&mut self, key: &SourceKey, shard: ShardId) {
        let Some(&id) = self.index.get(key) else { return };
        let source = &mut self.slab[id];
        source.attached.retain(|(attached, _)| *attached != shard);
        if source.is_idle() {
            self.index.remove(key);
            self.slab.remove(id);
        }
    }
}

/// A slot of [`Links`].
pub(crate) type LinkId = u32;

/// One shard's copy of a source that its extensions hint at.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) key: SourceKey,
    pub(crate) device: DeviceState,
    pub(crate) presence: Presence,
    pub(crate) calls: Option<Calls>,
    pub(crate) messages: Option<Box<Messages>>,
    /// Number of the attachment.
    pub(crate) serial: u32,
    /// False until the owner has told us the state for the first time.
    pub(crate) known: bool,
    /// When the state last changed here; `None` if nobody ever reported it.
    pub(crate) changed_at: Option<Time>,
    /// Extensions that hint at it; one that names it twice is in here twice.
    pub(crate) extensions: SmallVec<[ExtensionId; 1]>,
}

/// The links of a shard.
#[derive(Debug)]
pub(crate) struct Links {
    slab: Slab<Link>,
    index: Index,
    next_serial: u32,
}

impl Links {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Self { slab: Slab::default(), index: Index::with_hasher(hasher), next_serial: 0 }
    }

    pub(crate) fn get(&self, id: LinkId) -> &Link {
        &self.slab[id]
    }

    pub(crate) fn find(&mut self, key: &SourceKey) -> Option<(LinkId, &mut Link)> {
        let id = *self.index.get(key)?;
        Some((id, &mut self.slab[id]))
    }

    /// Links `extension` to a source. True: the link is new, its owner must be told.
    pub(crate) fn add(
        &mut self,
        key: SourceKey,
        extension: ExtensionId,
        providers: &Providers,
    ) -> (LinkId, bool) {
        if let Some(&id) = self.index.get(&key) {
            self.slab[id].extensions.push(extension);
            return (id, false);
        }
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let link = Link {
            serial,
            device: providers.initial_device(&key.1),
            presence: Presence::default(),
            calls: None,
            messages: None,
            key: key.clone(),
            known: false,
            changed_at: None,
            extensions: SmallVec::from_elem(extension, 1),
        };
        let id = self.slab.insert(link);
        self.index.insert(key, id);
        (id, true)
    }

    /// Takes one use of a link back. The key, if that was the last one: its owner must be told.
    pub(crate) fn remove(&mut self, id: LinkId, extension: ExtensionId) -> Option<SourceKey> {
        let link = &mut self.slab[id];
        if let Some(at) = link.extensions.iter().position(|other| *other == extension) {
            link.extensions.swap_remove(at);
        }
        if !link.extensions.is_empty() {
            return None;
        }
        let link = self.slab.remove(id)?;
        self.index.remove(&link.key);
        Some(link.key)
    }

    /// Takes over what the owner says to attachment `serial`. `None` if nothing changed for this
    /// shard; else whether it is the first word on this source.
    pub(crate) fn update(
        &mut self,
        serial: u32,
        state: &SourceState,
        now: Time,
        providers: &Providers,
    ) -> Option<(LinkId, bool)> {
        let (id, link) = self.find(&(state.tenant, Arc::clone(&state.name)))?;
        if link.serial != serial {
            return None;
        }
        let device = state.device.unwrap_or_else(|| providers.initial_device(&state.name));
        let presence = state.presence.clone().unwrap_or_default();
        let first = !link.known;
        let is_same = link.device == device
            && link.presence == presence
            && link.calls == state.calls
            && link.messages.as_deref() == state.messages.as_ref();
        if !first && is_same {
            return None;
        }
        link.known = true;
        link.device = device;
        link.presence = presence;
        link.calls.clone_from(&state.calls);
        link.messages = state.messages.map(Box::new);
        if state.device.is_some() || state.presence.is_some() {
            link.changed_at = Some(now);
        }
        Some((id, first))
    }
}

/// The name by which a source is owned: the provider's label in the provider's own case, the rest
/// as written. `custompresence:Bob` and `CustomPresence:Bob` are one source, `…:bob` is another.
pub fn canonical_name(providers: &Providers, name: &str) -> Arc<str> {
    let provider = providers.of_device(name).or_else(|| providers.of_presence(name));
    match provider {
        Some(provider) if !name.starts_with(&*provider.label) => {
            format!("{}{}", provider.label, &name[provider.label.len()..]).into()
        }
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_name_takes_its_providers_case() {
        let providers = Providers::default();
        for (name, want) in [
            ("CustomPresence:Bob", "CustomPresence:Bob"),
            ("custompresence:Bob", "CustomPresence:Bob"),
            ("CUSTOM:lamp", "Custom:lamp"),
            ("pjsip/2000", "PJSIP/2000"),
            ("nobody:x", "nobody:x"),
            ("x", "x"),
        ] {
            assert_eq!(&*canonical_name(&providers, name), want);
        }
    }
}
