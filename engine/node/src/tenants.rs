//! Which number a tenant has. Records and shards know tenants by their place in the configuration;
//! so that nobody's states and dialogs become another's, a tenant keeps its place for good: across
//! reloads and restarts, whatever is written in front of it, and after it has left.

use std::sync::Arc;

use lampfield_core::config::{Config, Tenant};
use lampfield_core::record::Record;

/// First byte of the keys of these records. The core has none of this kind.
const KIND: u8 = b'T';

/// Takes the tenants' names, by place, out of what was kept.
pub(crate) fn take_out(records: &mut Vec<Record>) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    records.retain(|Record { key, value }| {
        let (Some((&KIND, _)), Some(name)) = (key.split_first(), value) else { return true };
        // Keys are in order, and were written without a gap.
        names.push(String::from_utf8_lossy(name).into());
        false
    });
    names
}

/// Names by place, of those that have left, too.
pub(crate) fn names(config: &Config) -> Vec<Arc<str>> {
    config.tenants.iter().map(|tenant| Arc::clone(&tenant.name)).collect()
}

/// Whether every known tenant has its place in a configuration.
pub(crate) fn are_in_place(known: &[Arc<str>], config: &Config) -> bool {
    let is_there = |(place, name): (usize, &Arc<str>)| {
        config.tenants.get(place).is_some_and(|tenant| tenant.name == *name)
    };
    known.iter().enumerate().all(is_there)
}

/// Records of the tenants that are not known yet.
pub(crate) fn records(known_count: usize, config: &Config) -> Vec<Record> {
    let new = config.tenants.iter().enumerate().skip(known_count);
    let record = |(place, tenant): (usize, &Tenant)| {
        let [high, low] = (place as u16).to_be_bytes();
        Record { key: Box::new([KIND, high, low]), value: Some(tenant.name.as_bytes().into()) }
    };
    new.map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(names: &[&str]) -> Config {
        let tenant = |name: &&str| Tenant { name: (*name).into(), ..Tenant::default() };
        Config { tenants: names.iter().map(tenant).collect(), ..Config::default() }
    }

    #[test]
    fn places_are_kept_and_told_apart_from_other_records() {
        let many: Vec<String> = (0..300).map(|n| format!("t{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut kept = records(0, &config(&many[..298]));
        kept.extend(records(298, &config(&many)));
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        let other = Record { key: Box::new([b'D', 0, 0]), value: Some(Box::new([1])) };
        kept.insert(0, other.clone());
        let known = take_out(&mut kept);
        assert_eq!(kept, [other]);
        assert!(known.iter().map(|name| &**name).eq(many.iter().copied()));
        assert!(are_in_place(&known, &config(&many)));
        assert!(!are_in_place(&known, &config(&many[1..])));
        assert!(are_in_place(&known[..1], &config(&["t0", "new"])));
    }
}
