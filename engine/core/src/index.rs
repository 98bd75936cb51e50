//! Small indexes of a shard: endpoints by name, and how many subscriptions an address has.

use std::net::IpAddr;

use hashbrown::HashTable;

use crate::config::{Config, EndpointId};
use crate::limits::Limits;
use crate::placement::TenantId;

/// Endpoints that may subscribe, by tenant and name. Holds numbers, and asks the configuration it
/// was made from for the names.
#[derive(Debug)]
pub(crate) struct EndpointIndex {
    table: HashTable<EndpointId>,
    hasher: ahash::RandomState,
}

impl EndpointIndex {
    pub(crate) fn new(config: &Config, hasher: ahash::RandomState) -> Self {
        let mut table = HashTable::new();
        let key_of = |id: EndpointId| {
            let endpoint = &config.endpoints[id.0 as usize];
            (endpoint.tenant, &*endpoint.name)
        };
        for (at, endpoint) in config.endpoints.iter().enumerate() {
            if endpoint.allow_subscribe {
                let id = EndpointId(at as u32);
                let hash_of = |&id: &EndpointId| hasher.hash_one(key_of(id));
                // Of two with the same name the first one counts.
                table
                    .entry(hash_of(&id), |&other| key_of(other) == key_of(id), hash_of)
                    .or_insert(id);
            }
        }
        Self { table, hasher }
    }

    /// `config` must be the one the index was made from.
    pub(crate) fn find(&self, config: &Config, tenant: TenantId, name: &str) -> Option<EndpointId> {
        let is_it = |&id: &EndpointId| {
            let endpoint = &config.endpoints[id.0 as usize];
            (endpoint.tenant, &*endpoint.name) == (tenant, name)
        };
        self.table.find(self.hasher.hash_one((tenant, name)), is_it).copied()
    }
}

/// Subscriptions by the address their SUBSCRIBE came from: only counted where one address may have
/// fewer than all, since a million phones are a million addresses.
#[derive(Debug)]
pub(crate) struct PerSource {
    counts: Option<hashbrown::HashMap<IpAddr, u32, ahash::RandomState>>,
    hasher: ahash::RandomState,
}

impl PerSource {
    pub(crate) fn new(limits: &Limits, hasher: ahash::RandomState) -> Self {
        let is_bound = limits.subscription_per_source_max < limits.subscription_count_max;
        let counts = is_bound.then(|| hashbrown::HashMap::with_hasher(hasher.clone()));
        Self { counts, hasher }
    }

    /// New limits: counts `sources` from the beginning if there was no need to before.
    pub(crate) fn take_over(&mut self, limits: &Limits, sources: impl Iterator<Item = IpAddr>) {
        let new = Self::new(limits, self.hasher.clone());
        if new.counts.is_some() != self.counts.is_some() {
            *self = new;
            sources.for_each(|source| self.enter(source));
        }
    }

    /// Subscriptions of an address; 0 where it does not matter.
    pub(crate) fn count(&self, source: IpAddr) -> u32 {
        self.counts.as_ref().and_then(|counts| counts.get(&source)).copied().unwrap_or(0)
    }

    pub(crate) fn enter(&mut self, source: IpAddr) {
        if let Some(counts) = &mut self.counts {
            *counts.entry(source).or_insert(0) += 1;
        }
    }

    pub(crate) fn leave(&mut self, source: IpAddr) {
        let Some(counts) = &mut self.counts else { return };
        if let Some(count) = counts.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}

/// Appends to one of very many rows: with room for an eighth more, not for twice as many.
pub(crate) fn push_dense<T>(row: &mut Vec<T>, value: T) {
    if row.len() == row.capacity() {
        row.reserve_exact(2.max(row.len() / 8));
    }
    row.push(value);
}

/// Gives the room of those who left back, when more than half is unused.
pub(crate) fn shrink_dense<T>(row: &mut Vec<T>) {
    if row.capacity() > 16 && row.len() < row.capacity() / 2 {
        row.shrink_to(row.len() + row.len() / 8);
    }
}

/// Numbers found by the hash of what they name. Many small tables: one large one would stop the
/// shard while it is written anew, and would have room for twice as many as there are.
#[derive(Debug)]
pub(crate) struct Numbers {
    tables: Box<[HashTable<u32>; TABLE_COUNT]>,
}

/// So many that a million fill them well: their sizes are powers of two.
const TABLE_COUNT: usize = 80;

impl Default for Numbers {
    fn default() -> Self {
        Self { tables: Box::new([const { HashTable::new() }; TABLE_COUNT]) }
    }
}

impl Numbers {
    fn table_of(hash: u64) -> usize {
        (hash >> 32) as usize % TABLE_COUNT
    }

    /// The number with this hash for which `is_it` says so.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.tables[Self::table_of(hash)].find(hash, |&number| is_it(number)).copied()
    }

    /// Adds a number. `hash_of` tells the hash of any number in it.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let table = &mut self.tables[Self::table_of(hash)];
        table.insert_unique(hash, number, |&number| hash_of(number));
    }

    /// Removes a number, and gives room back that a crowd has left.
    pub(crate) fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let table = &mut self.tables[Self::table_of(hash)];
        if let Ok(entry) = table.find_entry(hash, |&other| other == number) {
            entry.remove();
        }
        if table.capacity() > 64 && table.len() < table.capacity() / 8 {
            table.shrink_to(table.len() * 2, |&number| hash_of(number));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;

    #[test]
    fn an_endpoint_is_found_by_tenant_and_name_if_it_may_subscribe() {
        let endpoint = |tenant, name: &str, allow_subscribe| Endpoint {
            name: name.into(),
            tenant: TenantId(tenant),
            allow_subscribe,
            ..Endpoint::default()
        };
        let config = Config {
            endpoints: vec![
                endpoint(0, "a", true),
                endpoint(1, "a", true),
                endpoint(0, "b", false),
                endpoint(0, "a", true),
            ],
            ..Config::default()
        };
        let index = EndpointIndex::new(&config, ahash::RandomState::with_seeds(1, 2, 3, 4));
        for (tenant, name, want) in
            [(0, "a", Some(0)), (1, "a", Some(1)), (0, "b", None), (1, "b", None), (0, "", None)]
        {
            let found = index.find(&config, TenantId(tenant), name);
            assert_eq!(found, want.map(EndpointId), "{tenant} {name}");
        }
    }

    #[test]
    fn numbers_are_found_by_hash_and_room_is_given_back() {
        let (mut numbers, hasher) =
            (Numbers::default(), ahash::RandomState::with_seeds(1, 2, 3, 4));
        let hash_of = |number: u32| hasher.hash_one(number);
        for number in 0..20_000 {
            numbers.insert(hash_of(number), number, hash_of);
        }
        let found = |numbers: &Numbers, n| numbers.find(hash_of(n), |other| other == n);
        assert_eq!((found(&numbers, 7), found(&numbers, 20_000)), (Some(7), None));
        assert_eq!(numbers.find(hash_of(7), |_| false), None);
        (1..20_000).for_each(|number| numbers.remove(hash_of(number), number, hash_of));
        assert_eq!((found(&numbers, 0), found(&numbers, 7), numbers.len()), (Some(0), None, 1));
        assert!(numbers.tables.iter().all(|table| table.capacity() < 64));
    }

    #[test]
    fn an_address_is_forgotten_with_its_last_subscription() {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let limits = Limits { subscription_per_source_max: 9, ..Limits::default() };
        let mut per_source = PerSource::new(&Limits::default(), hasher);
        let [a, b]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        per_source.enter(a);
        assert_eq!(per_source.count(a), 0, "nobody asks");
        per_source.take_over(&limits, [a, b, a].into_iter());
        assert_eq!((per_source.count(a), per_source.count(b)), (2, 1));
        [a, b, b, a].into_iter().for_each(|source| per_source.leave(source));
        let held = per_source.counts.as_ref().map(|counts| counts.len());
        assert_eq!((per_source.count(a), held), (0, Some(0)));
        per_source.take_over(&Limits::default(), [a].into_iter());
        assert!(per_source.counts.is_none());
    }
}
