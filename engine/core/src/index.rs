//! Small indexes of a shard: endpoints by name, and how many subscriptions an address has.

use std::net::IpAddr;

use crate::config::{Config, EndpointId};
use crate::placement::TenantId;

/// Endpoints that may subscribe, by tenant and name. Holds numbers, and asks the configuration it
/// was made from for the names.
#[derive(Debug)]
pub(crate) struct EndpointIndex {
    table: hashbrown::HashTable<EndpointId>,
    hasher: ahash::RandomState,
}

impl EndpointIndex {
    pub(crate) fn new(config: &Config, hasher: ahash::RandomState) -> Self {
        let mut table = hashbrown::HashTable::new();
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

/// Subscriptions by the address their SUBSCRIBE came from. An address without one costs nothing,
/// so the table is never longer than that of the subscriptions.
#[derive(Debug)]
pub(crate) struct PerSource {
    counts: hashbrown::HashMap<IpAddr, u32, ahash::RandomState>,
}

impl PerSource {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Self { counts: hashbrown::HashMap::with_hasher(hasher) }
    }

    pub(crate) fn count(&self, source: IpAddr) -> u32 {
        self.counts.get(&source).copied().unwrap_or(0)
    }

    pub(crate) fn enter(&mut self, source: IpAddr) {
        *self.counts.entry(source).or_insert(0) += 1;
    }

    pub(crate) fn leave(&mut self, source: IpAddr) {
        if let Some(count) = self.counts.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
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
    fn an_address_is_forgotten_with_its_last_subscription() {
        let mut per_source = PerSource::new(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let [a, b]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        [a, b, a].into_iter().for_each(|source| per_source.enter(source));
        assert_eq!((per_source.count(a), per_source.count(b)), (2, 1));
        [a, b, b, a].into_iter().for_each(|source| per_source.leave(source));
        assert_eq!((per_source.count(a), per_source.counts.len()), (0, 0));
    }
}
