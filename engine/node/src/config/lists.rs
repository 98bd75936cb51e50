//! Resource lists of both formats: what is wrong with one, and what its watchers would not see.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lampfield_core::config::Config;
use lampfield_core::dialplan::range_size;
use lampfield_core::list::{List, ListError, ListItem, ListRange};
use lampfield_core::mailbox;
use lampfield_core::package::Package;
use lampfield_core::placement::TenantId;

use super::build::{Draft, place_of};
use super::problem::{Place, Problems};

/// The members of a list while it is read.
#[derive(Debug, Default)]
pub(super) struct Items {
    items: Vec<ListItem>,
    seen: HashSet<(Arc<str>, Option<Arc<str>>)>,
}

impl Items {
    /// Adds a member; of two equal ones the first stays.
    pub(super) fn add(&mut self, place: &Place, item: ListItem, problems: &mut Problems) {
        if self.seen.insert((Arc::clone(&item.name), item.context.clone())) {
            self.items.push(item);
        } else {
            problems
                .warn(place, format!("'{item}' is a member of this list already; ignored here"));
        }
    }

    pub(super) fn into_items(self) -> Arc<[ListItem]> {
        self.items.into()
    }
}

impl Draft {
    /// The package a list is for, if it is served.
    pub(super) fn list_package(&mut self, place: &Place, event: &str) -> Option<Package> {
        let package = Package::from_name(event.as_bytes());
        if package.is_none() {
            let text = format!(
                "event = {event}: presence, dialog or message-summary expected, exactly so"
            );
            self.problems.error(place, text);
        }
        package
    }

    /// Adds a list. Of two with one name and package the first stays: an error, or if `lenient`
    /// a warning.
    pub(super) fn list(&mut self, place: &Place, lenient: bool, tenant: TenantId, list: List) {
        if list.items.is_empty() {
            let error = ListError::Empty(list.name.to_string());
            return self.problems.error(place, format!("{error}: at least one expected"));
        }
        match self.core.lists.add(tenant, list) {
            Ok(()) => {}
            Err(error @ ListError::Duplicate(..)) if lenient => {
                self.problems.warn(place, format!("{error}; ignored here"));
            }
            Err(error) => self.problems.error(place, error.to_string()),
        }
    }

    /// Members that are nothing, lists that contain themselves, lists nobody gets anything from.
    pub(super) fn check_lists(&mut self) {
        let Self { core, problems, .. } = self;
        for tenant in core.tenant_ids() {
            let mut check = Check::new(core, tenant);
            for package in Package::ALL {
                check.lists(package, problems);
            }
            core.lists.ranges(tenant).iter().for_each(|range| check.range(range, problems));
        }
    }
}

/// A look at the lists of one tenant.
struct Check<'a> {
    core: &'a Config,
    tenant: TenantId,
    /// Where its endpoints look extensions up.
    contexts: BTreeSet<&'a str>,
    /// Whether a name is a hint in one of them. Large tenants name each one fifty times.
    known: HashMap<Arc<str>, bool>,
}

/// What a member of a list is.
enum Member {
    Hint,
    /// A list, by its place; `None` for one of a range.
    List(Option<usize>),
    Nothing,
}

impl<'a> Check<'a> {
    fn new(core: &'a Config, tenant: TenantId) -> Self {
        let own = core.endpoints.iter().filter(|endpoint| endpoint.tenant == tenant);
        let contexts = own.map(|endpoint| &**endpoint.hint_context()).collect();
        Self { core, tenant, contexts, known: HashMap::new() }
    }

    /// Checks the lists of a package that are configured one by one.
    fn lists(&mut self, package: Package, problems: &mut Problems) {
        let rows = self.core.lists.rows(self.tenant).filter(|list| list.package == package);
        let lists: Vec<&List> = rows.map(|list| &**list).collect();
        let places: HashMap<&str, usize> =
            lists.iter().enumerate().map(|(place, list)| (&*list.name, place)).collect();
        let mut graph = Graph::new(lists.len());
        for (at, list) in lists.iter().enumerate() {
            self.size(list.items.len(), &list.name, &place_of(&list.origin), problems);
            for item in &*list.items {
                match self.member(item, package, &places) {
                    Member::Hint | Member::List(None) => graph.shows[at] = true,
                    Member::List(Some(place)) => graph.lists[at].push(place),
                    Member::Nothing => {
                        let what = match package {
                            Package::MessageSummary => "an address of record with mailboxes",
                            _ => "a hint in the context of an endpoint",
                        };
                        let text = format!(
                            "'{item}' is neither {what} nor a {} list: left out of the list",
                            package.name()
                        );
                        problems.warn(&place_of(&list.origin), text);
                    }
                }
            }
        }
        for (outer, inner) in graph.loops() {
            let (name, way) = (&lists[inner].name, &lists[outer].name);
            let text = match inner == outer {
                true => format!("list '{name}' contains itself: left out there"),
                false => format!("list '{name}' contains itself by way of '{way}': left out there"),
            };
            problems.warn(&place_of(&lists[outer].origin), text);
        }
        graph.spread();
        for (list, _) in lists.iter().zip(&graph.shows).filter(|(_, shows)| !**shows) {
            let text = format!("list '{}' has no member that can be shown", list.name);
            problems.warn(&place_of(&list.origin), text);
        }
    }

    /// Checks a rule by its first and last number; between them there may be millions.
    fn range(&mut self, range: &ListRange, problems: &mut Problems) {
        let place = place_of(&range.origin);
        let extension_count = range_size(&range.first, &range.last).unwrap_or_default();
        let count = extension_count.min(range.group_size.into()) as usize;
        self.size(count, &range.name, &place, problems);
        for exten in [&range.first, &range.last] {
            if !self.is_hint(exten) {
                let text = format!(
                    "numbers like {exten} are no hints in the context of an endpoint: left out of \
                     lists {}",
                    range.name
                );
                problems.warn(&place, text);
            }
        }
    }

    fn size(&self, count: usize, name: &str, place: &Place, problems: &mut Problems) {
        let count_max = self.core.limits.list_member_count_max;
        if count > count_max {
            let text = format!(
                "list '{name}' has {count} members: subscriptions to it are refused (limit \
                 list_member_count_max is {count_max})"
            );
            problems.warn(place, text);
        }
    }

    /// What a member is: a list before an extension of the same name, as in Asterisk.
    fn member(
        &mut self,
        item: &ListItem,
        package: Package,
        places: &HashMap<&str, usize>,
    ) -> Member {
        let is_hint = match &item.context {
            _ if package == Package::MessageSummary => {
                let is_list = item.context.is_none().then(|| places.get(&*item.name)).flatten();
                if let Some(&place) = is_list {
                    return Member::List(Some(place));
                }
                let name = item.to_string();
                self.core.find_hint(self.tenant, mailbox::CONTEXT, &name).is_some()
            }
            Some(context) => self.core.find_hint(self.tenant, context, &item.name).is_some(),
            None => match places.get(&*item.name) {
                Some(&place) => return Member::List(Some(place)),
                None => self.is_hint(&item.name),
            },
        };
        if is_hint {
            return Member::Hint;
        }
        let made = || self.core.lists.find(self.tenant, &item.name, package);
        match item.context.is_none() && made().is_some() {
            true => Member::List(None),
            false => Member::Nothing,
        }
    }

    fn is_hint(&mut self, exten: &Arc<str>) -> bool {
        let Self { core, tenant, contexts, known } = self;
        if let Some(&is_hint) = known.get(exten) {
            return is_hint;
        }
        let found = |context: &&str| core.find_hint(*tenant, context, exten).is_some();
        let is_hint = contexts.iter().any(found);
        known.insert(Arc::clone(exten), is_hint);
        is_hint
    }
}

/// Which list contains which.
struct Graph {
    /// Lists in each list.
    lists: Vec<Vec<usize>>,
    /// Whether each list shows something.
    shows: Vec<bool>,
}

impl Graph {
    fn new(count: usize) -> Self {
        Self { lists: vec![Vec::new(); count], shows: vec![false; count] }
    }

    /// Lists that contain one which they are in: the container, and what it contains.
    fn loops(&self) -> Vec<(usize, usize)> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut found = Vec::new();
        let mut marks = vec![Mark::New; self.lists.len()];
        for root in 0..self.lists.len() {
            // The way down from the root: a list, and how many of its lists were looked at. On
            // the heap, for lists may be nested as deeply as a file is long.
            let mut way = if marks[root] == Mark::New { vec![(root, 0)] } else { Vec::new() };
            while let Some((at, next)) = way.last_mut() {
                marks[*at] = Mark::Open;
                let Some(&inner) = self.lists[*at].get(*next) else {
                    marks[*at] = Mark::Done;
                    way.pop();
                    continue;
                };
                *next += 1;
                match marks[inner] {
                    Mark::New => way.push((inner, 0)),
                    Mark::Open => found.push((*at, inner)),
                    Mark::Done => {}
                }
            }
        }
        found
    }

    /// A list that contains one which shows something shows something too.
    fn spread(&mut self) {
        let mut outer: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, lists) in self.lists.iter().enumerate() {
            lists.iter().for_each(|&inner| outer.entry(inner).or_default().push(at));
        }
        let mut todo: Vec<usize> = (0..self.shows.len()).filter(|&at| self.shows[at]).collect();
        while let Some(inner) = todo.pop() {
            for at in outer.remove(&inner).into_iter().flatten() {
                if !std::mem::replace(&mut self.shows[at], true) {
                    todo.push(at);
                }
            }
        }
    }
}
