//! Resource lists as configured: RFC 4662, `reference/sip-pubsub.md` section 10.2.
//!
//! A list is looked up by tenant, name and event package. Lists that are generated from a range of
//! numbers cost nothing until somebody subscribes to one.

mod range;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::dialplan::{NAME_BYTES_MAX, is_name};
use crate::package::Package;
use crate::placement::TenantId;

pub use range::ListRange;

/// All resource lists of a node. Filled while the configuration is read, then immutable.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// By tenant number.
    tenants: Vec<TenantLists>,
}

#[derive(Clone, Debug)]
struct TenantLists {
    rows: Vec<Arc<List>>,
    /// Places in `rows`, by name; lists of one name differ in their package.
    index: hashbrown::HashMap<Arc<str>, Vec<u32>, ahash::RandomState>,
    ranges: Vec<ListRange>,
}

/// One resource list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct List {
    /// The user part it is subscribed by.
    pub name: Arc<str>,
    /// Its event package.
    pub package: Package,
    /// Its members, in the order in which they are shown.
    pub items: Arc<[ListItem]>,
    /// Every NOTIFY shows all members (`full_state`); else only those that changed.
    pub full_state: bool,
    /// Changes within this time leave in one NOTIFY (`notification_batch_interval`).
    pub batch_interval: Duration,
    /// Members are shown under the display name of their hint (`resource_display_name`).
    pub display_names: bool,
    /// Where it is configured: file and line.
    pub origin: Arc<str>,
}

/// One member of a list: an extension, or another list of the same package.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListItem {
    /// The extension, or the name of the other list.
    pub name: Arc<str>,
    /// The context of the extension; `None` for that of the subscribing endpoint.
    pub context: Option<Arc<str>>,
    /// Name to show, whatever the hint says.
    pub display_name: Option<Arc<str>>,
}

impl ListItem {
    /// Reads `exten` or `exten@context`.
    pub fn parse(text: &str) -> Self {
        let (name, context) = match text.split_once('@') {
            Some((name, context)) => (name, Some(context.into())),
            None => (text, None),
        };
        Self { name: name.into(), context, display_name: None }
    }
}

/// Why a list cannot be added.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ListError {
    /// Its name.
    #[error("'{0}' is not a name of 1 to {max} bytes without control characters",
        max = NAME_BYTES_MAX)]
    Name(String),
    /// The tenant has it already.
    #[error("the tenant already has a {package} list '{0}'{first}",
        package = .1.name(), first = if .2.is_empty() { String::new() } else { format!(" (first at {})", .2) })]
    Duplicate(String, Package, Arc<str>),
    /// Nothing in it.
    #[error("the list '{0}' has no members")]
    Empty(String),
    /// The range it is generated from.
    #[error(transparent)]
    Range(#[from] crate::dialplan::RangeError),
    /// The name does not say where the number goes.
    #[error(
        "'{0}' does not name the number: write {{exten}} or {{first}} once, as in blf-{{exten}}"
    )]
    Template(String),
    /// Groups of nobody, or of too many.
    #[error("a group has 1 to {max} members, not {0}", max = range::GROUP_SIZE_MAX)]
    GroupSize(u32),
}

impl fmt::Display for ListItem {
    /// As it is written: `exten` or `exten@context`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.context {
            Some(context) => write!(f, "@{context}"),
            None => Ok(()),
        }
    }
}

impl Lists {
    /// Adds a list.
    ///
    /// # Errors
    ///
    /// [`ListError::Duplicate`]: the first one stays.
    pub fn add(&mut self, tenant: TenantId, list: List) -> Result<(), ListError> {
        if !is_name(&list.name) {
            return Err(ListError::Name(list.name.chars().take(NAME_BYTES_MAX).collect()));
        }
        let lists = self.tenant(tenant);
        let places = lists.index.entry(Arc::clone(&list.name)).or_default();
        let mut same = places.iter().map(|&place| &lists.rows[place as usize]);
        if let Some(first) = same.find(|other| other.package == list.package) {
            let origin = Arc::clone(&first.origin);
            return Err(ListError::Duplicate(list.name.to_string(), list.package, origin));
        }
        places.push(lists.rows.len() as u32);
        lists.rows.push(Arc::new(list));
        Ok(())
    }

    /// Adds generated lists. Where a generated list and one of its own share a name, the latter
    /// is found.
    pub fn add_range(&mut self, tenant: TenantId, range: ListRange) {
        self.tenant(tenant).ranges.push(range);
    }

    /// The list of this name and package.
    pub fn find(&self, tenant: TenantId, name: &str, package: Package) -> Option<Arc<List>> {
        if let Some(list) = self.row(tenant, name, package) {
            return Some(Arc::clone(list));
        }
        self.ranges(tenant).iter().find_map(|range| range.find(name, package)).map(Arc::new)
    }

    /// Whether there is such a list; generates none.
    pub fn contains(&self, tenant: TenantId, name: &str, package: Package) -> bool {
        self.row(tenant, name, package).is_some()
            || self.ranges(tenant).iter().any(|range| range.contains(name, package))
    }

    fn row(&self, tenant: TenantId, name: &str, package: Package) -> Option<&Arc<List>> {
        let lists = self.tenants.get(usize::from(tenant.0))?;
        let places = lists.index.get(name).into_iter().flatten();
        places.map(|&place| &lists.rows[place as usize]).find(|list| list.package == package)
    }

    /// Lists of a tenant that are configured one by one, in the order of the configuration.
    pub fn rows(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<List>> {
        self.tenants.get(usize::from(tenant.0)).into_iter().flat_map(|lists| &lists.rows)
    }

    /// Ranges of generated lists of a tenant.
    pub fn ranges(&self, tenant: TenantId) -> &[ListRange] {
        self.tenants.get(usize::from(tenant.0)).map_or(&[], |lists| &lists.ranges)
    }

    fn tenant(&mut self, tenant: TenantId) -> &mut TenantLists {
        let tenant = usize::from(tenant.0);
        if self.tenants.len() <= tenant {
            self.tenants.resize_with(tenant + 1, TenantLists::default);
        }
        &mut self.tenants[tenant]
    }
}

impl Default for TenantLists {
    fn default() -> Self {
        // The keys come from the operator, so fixed seeds are safe, and equal runs stay equal.
        let hasher = ahash::RandomState::with_seeds(0x6c69, 0x7374, 0x7265, 0x7363);
        let index = hashbrown::HashMap::with_hasher(hasher);
        Self { rows: Vec::new(), index, ranges: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, package: Package) -> List {
        List {
            name: name.into(),
            package,
            items: [ListItem::parse("1"), ListItem::parse("2@office")].into(),
            full_state: false,
            batch_interval: Duration::ZERO,
            display_names: false,
            origin: "pjsip.conf:7".into(),
        }
    }

    #[test]
    fn a_list_is_found_by_tenant_name_and_package() {
        let mut lists = Lists::default();
        let tenant = TenantId(2);
        lists.add(tenant, list("sales", Package::Presence)).expect("new");
        lists.add(tenant, list("sales", Package::Dialog)).expect("of another package");
        let again = lists.add(tenant, list("sales", Package::Dialog)).unwrap_err();
        assert_eq!(
            again.to_string(),
            "the tenant already has a dialog list 'sales' (first at pjsip.conf:7)"
        );
        assert!(lists.add(tenant, list("", Package::Dialog)).is_err());
        let found = lists.find(tenant, "sales", Package::Dialog).expect("added");
        assert_eq!(
            (found.package, found.items[1].context.as_deref()),
            (Package::Dialog, Some("office"))
        );
        assert!(lists.find(TenantId(0), "sales", Package::Dialog).is_none());
        assert!(lists.find(tenant, "Sales", Package::Dialog).is_none());
        assert_eq!(lists.rows(tenant).count(), 2);
    }
}
