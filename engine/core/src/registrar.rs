//! Registrations: which users can be reached, from REGISTER. While a user has a contact his device
//! is reported as not in use, as if another server said it; without one nothing is said, and the
//! device shows what its technology begins with (`PJSIP/x`: UNAVAILABLE). That is what OpenSIPS'
//! `pua_usrloc` and an Asterisk's own registrar do for lamps.
//!
//! Source: RFC 3261 section 10, RFC 3327 (Path), RFC 5626 (`reg-id`, one contact per flow).

mod contact;
mod keep;
mod list;
mod register;

use std::collections::BTreeSet;
use std::sync::Arc;

use lampfield_wire::EntityId;

use crate::feed::NameFilter;
use crate::flow::{ConnectionId, Flow};
use crate::slab::Slab;
use crate::source::{ServerState, SourceKey};
use crate::state::DeviceState;
use crate::{Outputs, Shard, Time};

pub(crate) use keep::KIND_REGISTRATION;

/// How registrations are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistrarConfig {
    /// Technology of the devices that are reported: `PJSIP` makes `PJSIP/2000` of user 2000.
    pub technology: Arc<str>,
    /// Only users that pass.
    pub users: Option<NameFilter>,
}

impl Default for RegistrarConfig {
    /// Everybody, as `PJSIP/…`.
    fn default() -> Self {
        Self { technology: "PJSIP".into(), users: None }
    }
}

impl RegistrarConfig {
    /// The device of a user.
    pub(crate) fn device(&self, user: &str) -> Arc<str> {
        format!("{}/{user}", self.technology).into()
    }
}

/// Who reports the devices of registered users. No server has this number: it is nobody's.
pub(crate) const REGISTRAR: EntityId = EntityId([0; 6]);

/// Registrations that one turn lets run out.
const VISITS_PER_TURN_MAX: usize = 64;

/// One contact of a user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Binding {
    /// Its URI as it came.
    pub(crate) uri: Box<str>,
    /// Header parameters that are told again: `;q=0.7;+sip.instance="…";reg-id=1`.
    pub(crate) params: Box<str>,
    /// Names the device whatever its URI is; empty without.
    pub(crate) instance: Box<str>,
    /// Which of the device's flows it is; 0 without (RFC 5626 section 4.2).
    pub(crate) reg_id: u32,
    pub(crate) call_id: Box<str>,
    pub(crate) cseq: u32,
    pub(crate) expires_at_s: u32,
    /// Path it is reached by, as header values.
    pub(crate) path: Box<str>,
    /// How the request came.
    pub(crate) flow: Flow,
}

impl Binding {
    /// Bytes of its texts.
    fn bytes(&self) -> usize {
        let Self { uri, params, instance, call_id, path, .. } = self;
        [uri, params, instance, call_id, path].iter().map(|text| text.len()).sum()
    }
}

/// A user, and his contacts: never none.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    /// Tenant and device.
    pub(crate) key: SourceKey,
    pub(crate) bindings: Vec<Binding>,
    /// The second in which the registration is looked at next.
    armed_at_s: u32,
}

/// The registrations of a shard.
#[derive(Debug)]
pub(crate) struct Registrations {
    slab: Slab<Registration>,
    index: hashbrown::HashMap<SourceKey, u32, ahash::RandomState>,
    /// When each is looked at next: second and slot.
    due: BTreeSet<(u32, u32)>,
    /// Those with contacts that end with a connection.
    flows: BTreeSet<(ConnectionId, u32)>,
}

impl Registrations {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Self {
            slab: Slab::default(),
            index: hashbrown::HashMap::with_hasher(hasher),
            due: BTreeSet::new(),
            flows: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    pub(crate) fn find(&self, key: &SourceKey) -> Option<&Registration> {
        self.index.get(key).map(|slot| &self.slab[*slot])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.slab.iter().map(|(_, registration)| registration)
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.due.first().map(|(at_s, _)| Time::from_secs(u64::from(*at_s)))
    }

    /// Puts a user's contacts in place of those he had; none: he is forgotten. Returns whether he
    /// had any.
    fn replace(&mut self, key: &SourceKey, bindings: Vec<Binding>) -> bool {
        let slot = self.index.get(key).copied();
        if let Some(slot) = slot {
            self.disarm(slot);
        }
        if bindings.is_empty() {
            if let Some(slot) = slot {
                self.index.remove(key);
                self.slab.remove(slot);
            }
            return slot.is_some();
        }
        let armed_at_s = bindings.iter().map(|binding| binding.expires_at_s).min().unwrap_or(0);
        let registration = Registration { key: key.clone(), bindings, armed_at_s };
        let new_slot = match slot {
            Some(slot) => {
                self.slab[slot] = registration;
                slot
            }
            None => {
                let slot = self.slab.insert(registration);
                self.index.insert(key.clone(), slot);
                slot
            }
        };
        self.due.insert((armed_at_s, new_slot));
        let flows = self.slab[new_slot].flows().map(|connection| (connection, new_slot));
        self.flows.extend(flows.collect::<Vec<_>>());
        slot.is_some()
    }

    fn disarm(&mut self, slot: u32) {
        let registration = &self.slab[slot];
        self.due.remove(&(registration.armed_at_s, slot));
        for connection in registration.flows() {
            self.flows.remove(&(connection, slot));
        }
    }
}

impl Registration {
    /// Connections with which contacts end.
    fn flows(&self) -> impl Iterator<Item = ConnectionId> {
        let outbound = self.bindings.iter().filter(|binding| binding.reg_id > 0);
        outbound.map(|binding| binding.flow.connection).filter(|connection| connection.serial > 0)
    }
}

impl Shard {
    /// Contacts run out.
    pub(crate) fn on_registrations(&mut self, now: Time, out: &mut Outputs) {
        for _ in 0..VISITS_PER_TURN_MAX {
            let Some(&(at_s, slot)) = self.registrations.due.first() else { return };
            if u64::from(at_s) > now.as_secs() {
                return;
            }
            let is_left = |binding: &Binding| u64::from(binding.expires_at_s) > now.as_secs();
            self.stats.counters.contact_expired += self.retain_bindings(slot, is_left, now, out);
        }
    }

    /// A connection has ended: contacts that are one of its flows are not there any more.
    pub(crate) fn end_flow(&mut self, connection: ConnectionId, now: Time, out: &mut Outputs) {
        let range = (connection, 0)..=(connection, u32::MAX);
        let slots: Vec<u32> =
            self.registrations.flows.range(range).map(|(_, slot)| *slot).collect();
        for slot in slots {
            let is_left =
                |binding: &Binding| binding.reg_id == 0 || binding.flow.connection != connection;
            self.stats.counters.contact_lost += self.retain_bindings(slot, is_left, now, out);
        }
    }

    /// Leaves a user only some of his contacts. Returns how many went.
    fn retain_bindings(
        &mut self,
        slot: u32,
        is_left: impl Fn(&Binding) -> bool,
        now: Time,
        out: &mut Outputs,
    ) -> u64 {
        let Registration { key, mut bindings, .. } = self.registrations.slab[slot].clone();
        let before = bindings.len();
        bindings.retain(is_left);
        let gone = before - bindings.len();
        self.set_bindings(&key, bindings, now, out);
        gone as u64
    }

    /// Puts contacts in place of others, keeps them, and reports the device if that changes it.
    fn set_bindings(
        &mut self,
        key: &SourceKey,
        bindings: Vec<Binding>,
        now: Time,
        out: &mut Outputs,
    ) {
        let is_there = !bindings.is_empty();
        let was_there = self.registrations.replace(key, bindings);
        self.keep_registration(key, out);
        if is_there != was_there {
            let state = is_there.then_some(DeviceState::NotInUse);
            self.on_server_state(key.clone(), REGISTRAR, ServerState::Device(state), now, out);
        }
    }
}
