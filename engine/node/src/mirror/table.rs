//! Which source is fed by which mirrors, what it is to show, and what the shards were told.
//!
//! A source that several mirrors of a tenant feed shows what they add up to ([`State::sum`]). A
//! source that changes is queued once, however often it changes before its shard is told: the
//! newest state goes. So the queue is never longer than the table, and the table is bounded by
//! what each mirror may have.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use lampfield_core::canonical_name;
use lampfield_core::placement::TenantId;
use lampfield_core::provider::Providers;
use lampfield_core::state::DeviceState;

use super::snapshot::Snapshot;
use super::state::{Kind, Name, State};
use crate::config::{MirrorConfig, StalePolicy};

/// Names a mirror, in the order in which they were started.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct MirrorId(pub(crate) u32);

/// Whose source, and which.
pub(crate) type Key = (TenantId, Name);

/// A source that some mirror feeds.
#[derive(Debug)]
struct Entry {
    /// What each mirror says, by mirror.
    shares: Vec<(MirrorId, State)>,
    /// What it is to show.
    want: State,
    /// What its shard has confirmed.
    told: Option<State>,
    is_queued: bool,
}

/// A mirror as the table knows it.
#[derive(Debug)]
struct Feeder {
    name: Arc<str>,
    tenants: Vec<TenantId>,
    policy: StalePolicy,
    name_count_max: usize,
    /// Whether its states are those that the PBX has.
    is_seen: bool,
    /// Whether the policy is in force.
    is_stale: bool,
    device_count: usize,
    presentity_count: usize,
    dropped_count: u64,
    changed_count: u64,
}

/// What feeds a source, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    pub(crate) mirror: Arc<str>,
    /// What this mirror says.
    pub(crate) state: String,
    pub(crate) is_seen: bool,
    /// Whether the policy, not the PBX, says what is shown.
    pub(crate) is_replaced: bool,
}

/// Sums over the sources of a mirror.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) device_count: usize,
    pub(crate) presentity_count: usize,
    pub(crate) dropped_count: u64,
    pub(crate) changed_count: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: HashMap<Key, Entry>,
    feeders: HashMap<MirrorId, Feeder>,
    queue: VecDeque<Key>,
}

impl Table {
    /// A mirror from now on. It has not seen its PBX yet.
    pub(crate) fn add(&mut self, id: MirrorId, config: &MirrorConfig) {
        let feeder = Feeder {
            name: config.name.as_str().into(),
            tenants: config.tenants.clone(),
            policy: config.stale,
            name_count_max: config.name_count_max,
            is_seen: false,
            is_stale: false,
            device_count: 0,
            presentity_count: 0,
            dropped_count: 0,
            changed_count: 0,
        };
        self.feeders.insert(id, feeder);
    }

    /// No mirror any more: what only it fed shows what its policy says, and is anybody's again.
    pub(crate) fn remove(&mut self, id: MirrorId) {
        self.set_stale(id);
        for key in self.keys_of(id) {
            self.leave(id, &key, None);
        }
        self.feeders.remove(&id);
    }

    /// A state that was kept over a restart, as this mirror must have told it.
    pub(crate) fn remember(&mut self, id: MirrorId, key: Key, state: State) {
        if !self.entries.contains_key(&key) && self.has_room(id, key.1.kind) {
            let (shares, told) = (vec![(id, state.clone())], Some(state.clone()));
            self.entries.insert(key, Entry { shares, want: state, told, is_queued: false });
        }
    }

    /// What a mirror's PBX has from now on, all of it. Returns devices of which it had a state and
    /// that the PBX does not list any more, in the PBX's order of names.
    pub(crate) fn synced(
        &mut self,
        id: MirrorId,
        snapshot: Snapshot,
        providers: &Providers,
    ) -> Vec<Arc<str>> {
        let Some(feeder) = self.feeders.get_mut(&id) else { return Vec::new() };
        let was_stale = std::mem::take(&mut feeder.is_stale);
        feeder.is_seen = true;
        let tenants = feeder.tenants.clone();
        let first = tenants.first().copied().unwrap_or_default();
        let canonical = |name: &Name| canonical(name, providers);
        let rows =
            snapshot.into_canonical(canonical, |name| self.share(id, &(first, name.clone())));
        let is_listed = |name: &Name| rows.binary_search_by(|(row, _)| row.cmp(name)).is_ok();
        let mut missing = Vec::new();
        for key in self.keys_of(id) {
            if is_listed(&key.1) {
                continue;
            }
            match key.1.kind {
                // It may be asked for its state.
                Kind::Device if key.0 == first => missing.push(Arc::clone(&key.1.text)),
                Kind::Device => {}
                Kind::Presence => self.leave(id, &key, Some(State::unsaid(Kind::Presence))),
            }
            if was_stale {
                self.refresh(&key);
            }
        }
        for (name, state) in rows {
            for &tenant in &tenants {
                self.set(id, (tenant, name.clone()), &state);
            }
        }
        missing.sort_unstable();
        missing
    }

    /// A PBX tells a change.
    pub(crate) fn changed(
        &mut self,
        id: MirrorId,
        name: &Name,
        state: &State,
        providers: &Providers,
    ) {
        let name = canonical(name, providers);
        let tenants = self.feeders.get(&id).map(|feeder| feeder.tenants.clone());
        for tenant in tenants.unwrap_or_default() {
            self.set(id, (tenant, name.clone()), state);
        }
    }

    /// A PBX answers for a device it does not list. One it knows nothing of is not its own.
    pub(crate) fn answered(
        &mut self,
        id: MirrorId,
        device: &str,
        state: DeviceState,
        providers: &Providers,
    ) {
        let name = canonical(&Name::device(device), providers);
        let is_known = !matches!(state, DeviceState::Unknown | DeviceState::Invalid);
        let tenants = self.feeders.get(&id).map(|feeder| feeder.tenants.clone());
        for tenant in tenants.unwrap_or_default() {
            let key = (tenant, name.clone());
            match is_known {
                true => self.set(id, key, &State::Device(state)),
                false => self.leave(id, &key, Some(State::Device(state))),
            }
        }
    }

    /// A mirror does not see its PBX any more.
    pub(crate) fn lost(&mut self, id: MirrorId) {
        if let Some(feeder) = self.feeders.get_mut(&id) {
            feeder.is_seen = false;
        }
    }

    /// It has not for so long that its policy is in force.
    pub(crate) fn set_stale(&mut self, id: MirrorId) {
        let Some(feeder) = self.feeders.get_mut(&id) else { return };
        feeder.is_seen = false;
        feeder.is_stale = true;
        for key in self.keys_of(id) {
            self.refresh(&key);
        }
    }

    /// The next sources whose shards are to be told, at most `count_max`.
    pub(crate) fn take(&mut self, count_max: usize) -> Vec<(Key, State)> {
        let mut taken = Vec::new();
        while taken.len() < count_max {
            let Some(key) = self.queue.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.is_queued = false;
            if entry.told.as_ref() == Some(&entry.want) {
                self.drop_if_done(&key);
            } else {
                taken.push((key, entry.want.clone()));
            }
        }
        taken
    }

    /// A shard has taken a state, or has not: then it is told again.
    pub(crate) fn told(&mut self, key: &Key, state: State, is_ok: bool) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.told = is_ok.then_some(state);
        if entry.told.as_ref() == Some(&entry.want) {
            self.drop_if_done(key);
        } else {
            self.enqueue(key);
        }
    }

    /// The mirror whose PBX says what a source shows; nobody else sets it then.
    pub(crate) fn owner(&self, tenant: TenantId, name: &Name) -> Option<&Arc<str>> {
        let entry = self.entries.get(&(tenant, name.clone()))?;
        let (id, _) = entry.shares.first()?;
        Some(&self.feeders.get(id)?.name)
    }

    /// Every mirror that feeds a source.
    pub(crate) fn origins(&self, tenant: TenantId, name: &Name) -> Vec<Origin> {
        let shares = self.entries.get(&(tenant, name.clone())).map(|entry| &entry.shares);
        let origin = |(id, state): &(MirrorId, State)| {
            let feeder = self.feeders.get(id)?;
            Some(Origin {
                mirror: Arc::clone(&feeder.name),
                state: state.to_string(),
                is_seen: feeder.is_seen,
                is_replaced: feeder.is_stale && feeder.policy != StalePolicy::Keep,
            })
        };
        shares.into_iter().flatten().filter_map(origin).collect()
    }

    /// How much a mirror feeds.
    pub(crate) fn counts(&self, id: MirrorId) -> Counts {
        let counts = |feeder: &Feeder| Counts {
            device_count: feeder.device_count,
            presentity_count: feeder.presentity_count,
            dropped_count: feeder.dropped_count,
            changed_count: feeder.changed_count,
        };
        self.feeders.get(&id).map(counts).unwrap_or_default()
    }

    /// Sources whose shards are still to be told.
    pub(crate) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Whether a mirror says something of a source.
    pub(crate) fn has(&self, id: MirrorId, key: &Key) -> bool {
        self.share(id, key).is_some()
    }

    fn share(&self, id: MirrorId, key: &Key) -> Option<State> {
        let shares = &self.entries.get(key)?.shares;
        shares.iter().find(|(mirror, _)| *mirror == id).map(|(_, state)| state.clone())
    }

    fn keys_of(&self, id: MirrorId) -> Vec<Key> {
        let is_fed = |entry: &Entry| entry.shares.iter().any(|(mirror, _)| *mirror == id);
        let fed = self.entries.iter().filter(|(_, entry)| is_fed(entry));
        fed.map(|(key, _)| key.clone()).collect()
    }

    /// Counts a new name of a mirror in, if it may have one more.
    fn has_room(&mut self, id: MirrorId, kind: Kind) -> bool {
        let Some(feeder) = self.feeders.get_mut(&id) else { return false };
        if feeder.device_count + feeder.presentity_count >= feeder.name_count_max {
            feeder.dropped_count += 1;
            return false;
        }
        match kind {
            Kind::Device => feeder.device_count += 1,
            Kind::Presence => feeder.presentity_count += 1,
        }
        true
    }

    fn set(&mut self, id: MirrorId, key: Key, state: &State) {
        match self.share(id, &key) {
            None if !self.has_room(id, key.1.kind) => return,
            Some(old) if old == *state => {}
            _ => {
                if let Some(feeder) = self.feeders.get_mut(&id) {
                    feeder.changed_count += 1;
                }
            }
        }
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            shares: Vec::with_capacity(1),
            want: state.clone(),
            told: None,
            is_queued: false,
        });
        match entry.shares.binary_search_by_key(&id, |(mirror, _)| *mirror) {
            Ok(at) => entry.shares[at].1 = state.clone(),
            Err(at) => entry.shares.insert(at, (id, state.clone())),
        }
        self.refresh(&key);
    }

    /// A mirror says nothing of a source any more, but maybe a `last` word.
    fn leave(&mut self, id: MirrorId, key: &Key, last: Option<State>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(at) = entry.shares.iter().position(|(mirror, _)| *mirror == id) else { return };
        entry.shares.remove(at);
        if let Some(feeder) = self.feeders.get_mut(&id) {
            match key.1.kind {
                Kind::Device => feeder.device_count -= 1,
                Kind::Presence => feeder.presentity_count -= 1,
            }
        }
        if let Some(last) = last.filter(|_| entry.shares.is_empty()) {
            entry.want = last;
        }
        self.refresh(key);
        self.enqueue(key);
    }

    /// Adds up again what a source is to show.
    fn refresh(&mut self, key: &Key) {
        let Self { entries, feeders, .. } = self;
        let Some(entry) = entries.get_mut(key) else { return };
        let states = entry.shares.iter().map(|(id, state)| match feeders.get(id) {
            Some(feeder) if feeder.is_stale => state.stale(feeder.policy),
            _ => state.clone(),
        });
        if let Some(want) = State::sum(states) {
            entry.want = want;
        }
        if entry.told.as_ref() != Some(&entry.want) {
            self.enqueue(key);
        }
    }

    fn enqueue(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.is_queued) {
            entry.is_queued = true;
            self.queue.push_back(key.clone());
        }
    }

    fn drop_if_done(&mut self, key: &Key) {
        let is_done = |entry: &Entry| entry.shares.is_empty() && !entry.is_queued;
        if self.entries.get(key).is_some_and(is_done) {
            self.entries.remove(key);
        }
    }
}

fn canonical(name: &Name, providers: &Providers) -> Name {
    Name { kind: name.kind, text: canonical_name(providers, &name.text) }
}

#[cfg(test)]
mod tests;
