//! From a list's items to its members: which extensions, in which order, in which nested lists.
//!
//! Depth first; the first occurrence of a name in the whole tree counts, later ones are left out,
//! which also cuts loops. Items that name nothing are left out, lists that end up empty too.
//! Source: `reference/sip-pubsub.md` sections 10.2 and 13, trace 10.

use std::sync::Arc;

use lampfield_wire::{UriParts, UserBuffer, split_uri};

use super::labels::Labels;
use super::part::instance_of;
use super::rlmi::{MEMBER_COUNT_MAX, NESTED_COUNT_MAX};
use super::{Entry5367, Items, Nested, Shape};
use crate::Shard;
use crate::admission::{entity_of, exten_of};
use crate::body::escaped;
use crate::dialplan::Found;
use crate::extension::GroupView;
use crate::list::List;
use crate::package::Package;
use crate::placement::TenantId;

/// For whom a list is resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wisher<'a> {
    pub(super) tenant: TenantId,
    pub(super) context: &'a Arc<str>,
    pub(super) package: Package,
    pub(super) view: &'a GroupView,
    /// The URI the list was subscribed by.
    pub(super) uri: &'a str,
}

/// The members of a list, and their order.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) members: Vec<(Found, GroupView)>,
    pub(super) shape: Shape,
}

/// More members than [`crate::limits::Limits::list_member_count_max`].
#[derive(Debug, Eq, PartialEq)]
pub(super) struct TooMany;

/// Contexts and names.
type Names = hashbrown::HashSet<(Arc<str>, Arc<str>), ahash::RandomState>;

struct Walk<'a> {
    wisher: Wisher<'a>,
    uri: UriParts<'a>,
    domain: Option<&'a Arc<str>>,
    visited: Names,
    /// Extensions that are members: one may be named in several ways.
    shown: Names,
    members: Vec<(Found, GroupView)>,
    nested: Vec<Nested>,
    names: Vec<(u32, Box<str>)>,
    uris: Vec<(u32, Box<str>)>,
    is_partial: bool,
    strangers: Vec<Box<str>>,
    member_count_max: usize,
    depth_max: usize,
}

impl Shard {
    /// The members of a list as the configuration has them now; `None` if its URI is no URI.
    pub(super) fn resolve(
        &self,
        wisher: Wisher<'_>,
        items: &Items,
    ) -> Result<Option<Resolved>, TooMany> {
        let Ok(uri) = split_uri(wisher.uri.as_bytes()) else { return Ok(None) };
        let tenant = self.config.tenants.get(usize::from(wisher.tenant.0));
        let limits = &self.config.limits;
        let mut walk = Walk {
            wisher,
            uri,
            domain: tenant.and_then(|tenant| tenant.domain.as_ref()),
            visited: Names::with_hasher(self.hasher.clone()),
            shown: Names::with_hasher(self.hasher.clone()),
            members: Vec::new(),
            nested: Vec::new(),
            names: Vec::new(),
            uris: Vec::new(),
            is_partial: false,
            strangers: Vec::new(),
            member_count_max: limits.list_member_count_max.min(MEMBER_COUNT_MAX),
            depth_max: limits.list_depth_max.min(9),
        };
        let (name, with_display_names, full_state) = match items {
            Items::Configured(list) => {
                walk.visited.insert(("".into(), Arc::clone(&list.name)));
                self.walk_list(&mut walk, list, None, 1)?;
                (Arc::clone(&list.name), list.display_names, list.full_state)
            }
            Items::Request(entries) => {
                self.walk_entries(&mut walk, entries)?;
                let mut buffer = UserBuffer::new();
                let user: Arc<str> = exten_of(&uri, &mut buffer).unwrap_or_default().into();
                (user, true, false)
            }
        };
        let shape = Shape {
            labels: Labels::new(&name, wisher.uri, uri.host),
            name,
            nested: walk.nested.into(),
            names: walk.names.into(),
            uris: walk.uris.into(),
            is_partial: walk.is_partial,
            with_display_names,
            strangers: walk.strangers.into(),
            full_state,
        };
        Ok(Some(Resolved { members: walk.members, shape }))
    }

    fn walk_list(
        &self,
        walk: &mut Walk<'_>,
        list: &List,
        parent: Option<u16>,
        depth: usize,
    ) -> Result<(), TooMany> {
        let none: Arc<str> = "".into();
        for item in list.items.iter() {
            let context = item.context.as_ref().unwrap_or(&none);
            if !walk.visited.insert((Arc::clone(context), Arc::clone(&item.name))) {
                continue;
            }
            let inner = match &item.context {
                None => self.config.lists.find(walk.wisher.tenant, &item.name, walk.wisher.package),
                Some(_) => None,
            };
            match inner {
                Some(inner) if depth < walk.depth_max && walk.nested.len() < NESTED_COUNT_MAX => {
                    let name = item.display_name.as_ref().unwrap_or(&inner.name);
                    self.walk_inner(walk, &inner, Arc::clone(name), parent, depth)?;
                }
                Some(_) => {}
                None => {
                    let display_name = item.display_name.as_ref();
                    // An address of record has no context; its name may hold an @.
                    let is_mailbox = walk.wisher.package == Package::MessageSummary;
                    match &item.context {
                        Some(_) if is_mailbox => {
                            let (context, name) = (walk.wisher.context, item.to_string());
                            self.add_member(walk, context, &name, display_name)?;
                        }
                        own => {
                            let context = own.as_ref().unwrap_or(walk.wisher.context);
                            self.add_member(walk, context, &item.name, display_name)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn walk_inner(
        &self,
        walk: &mut Walk<'_>,
        inner: &List,
        name: Arc<str>,
        parent: Option<u16>,
        depth: usize,
    ) -> Result<(), TooMany> {
        let (at, first) = (walk.nested.len(), walk.members.len() as u32);
        let uri = walk.entity(&inner.name);
        let instance = instance_of(&uri);
        walk.nested.push(Nested {
            label: escaped(&name),
            uri: escaped(&uri),
            instance,
            parent,
            first,
            end: first,
        });
        self.walk_list(walk, inner, Some(at as u16), depth + 1)?;
        let end = walk.members.len() as u32;
        if end == first {
            walk.nested.truncate(at);
        } else {
            walk.nested[at].end = end;
        }
        Ok(())
    }

    fn walk_entries(&self, walk: &mut Walk<'_>, entries: &[Entry5367]) -> Result<(), TooMany> {
        for entry in entries {
            let mut buffer = UserBuffer::new();
            let uri = split_uri(entry.uri.as_bytes()).ok().filter(|uri| walk.is_ours(uri));
            let exten = uri.as_ref().and_then(|uri| exten_of(uri, &mut buffer));
            let exten: Arc<str> = exten.unwrap_or_default().into();
            let is_new = walk.visited.insert(match exten.is_empty() {
                true => ("".into(), entry.uri.as_ref().into()),
                false => (Arc::clone(walk.wisher.context), Arc::clone(&exten)),
            });
            if !is_new {
                continue;
            }
            let context = walk.wisher.context;
            let count = walk.members.len();
            if !self.add_member(walk, context, &exten, entry.display_name.as_ref())? {
                walk.make_room()?;
                walk.strangers.push(escaped(&entry.uri));
            } else if walk.members.len() > count {
                // Whoever asked by this URI looks for it in the answer.
                walk.uris.push((count as u32, escaped(&entry.uri)));
            }
        }
        Ok(())
    }

    /// Adds an extension, if it has a hint.
    fn add_member(
        &self,
        walk: &mut Walk<'_>,
        context: &str,
        exten: &str,
        name: Option<&Arc<str>>,
    ) -> Result<bool, TooMany> {
        let Some(found) = self.find_hint(walk.wisher.tenant, context, exten) else {
            walk.is_partial = true;
            return Ok(false);
        };
        if !walk.shown.insert((Arc::clone(&found.context), Arc::clone(&found.exten))) {
            return Ok(true);
        }
        walk.make_room()?;
        if let Some(name) = name {
            walk.names.push((walk.members.len() as u32, escaped(name)));
        }
        let entity = walk.entity(exten);
        walk.members.push((found, GroupView { entity, ..walk.wisher.view.clone() }));
        Ok(true)
    }
}

impl Walk<'_> {
    fn make_room(&self) -> Result<(), TooMany> {
        let count = self.members.len() + self.strangers.len();
        if count < self.member_count_max { Ok(()) } else { Err(TooMany) }
    }

    /// What documents call an extension, or a nested list.
    fn entity(&self, exten: &str) -> Box<str> {
        entity_of(&self.uri, exten, self.wisher.view.dialect, self.domain)
    }

    /// Whether a URI of a request names somebody of this tenant.
    fn is_ours(&self, uri: &UriParts<'_>) -> bool {
        let domain = self.domain.map(|domain| domain.as_bytes());
        uri.is_sip()
            && [Some(self.uri.host), domain]
                .into_iter()
                .flatten()
                .any(|host| host.eq_ignore_ascii_case(uri.host))
    }
}
