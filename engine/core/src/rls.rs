//! Resource list subscriptions: RFC 4662.
//!
//! A list subscription lives on the shard of its *dialog*; its members live anywhere. What a
//! member's shard renders is shared: one [`part::Part`] per document on each shard that needs it,
//! however many lists show it. A list keeps eight bytes per member and one bit that says whether
//! its watcher has seen the newest; a part keeps four bytes per list.
//!
//! ```text
//! member's shard                        list's shard
//! Extension ─ Group ── Arc<Body> ────▶  Part ──▶ ListWatch, ListWatch, …
//!             (attached shards)         (edges)   (members, dirty bits)
//! ```
//!
//! One NOTIFY shows all members (after a SUBSCRIBE, or when the list says so) or the dirty ones.
//! What does not fit its budget stays dirty, so that a list is split over the versions that
//! follow by the same rule by which a change is told.

mod change;
mod compose;
mod keep;
mod labels;
mod part;
mod resolve;
mod rlmi;
mod subscribe;

use std::sync::Arc;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use crate::Time;
use crate::extension::GroupView;
use crate::list::List;
use crate::package::Package;
use crate::placement::TenantId;

pub(crate) use compose::Content;
use labels::Labels;
use resolve::Wisher;

pub(crate) use part::{Attachment, Face, PartId, Parts};
pub use part::{PartEnd, PartNews, PartRequest};
pub(crate) use rlmi::Writing;
pub(crate) use subscribe::{Naming, RECIPIENT_LIST_SUBSCRIBE, carries_list, list_in, push_etag};

/// A watched list.
#[derive(Debug)]
pub(crate) struct ListWatch {
    pub(crate) tenant: TenantId,
    /// Where members without a context of their own are looked up.
    pub(crate) context: Arc<str>,
    pub(crate) package: Package,
    pub(crate) source: Source,
    /// What the watcher sees of each member; the entity is the member's own.
    pub(crate) view: GroupView,
    pub(crate) shape: Arc<Shape>,
    pub(crate) members: Vec<Member>,
    pub(crate) dirty: Dirty,
    /// Members that left the list and whose end the watcher was not told.
    pub(crate) leaving: Vec<Arc<Face>>,
    /// Versions of nested lists, in the order of [`Shape::nested`]: what the next NOTIFY shows.
    pub(crate) versions: Vec<u32>,
    /// Parts whose owner has not spoken. The first NOTIFY waits for all.
    pub(crate) unknown_count: u32,
    /// Rises with every change that its watcher must hear of.
    pub(crate) generation: u32,
    /// The last NOTIFY did not have room for all: the next ones show the rest, not all again.
    pub(crate) is_continued: bool,
    /// The last member a partial NOTIFY showed.
    pub(crate) last_shown: u32,
    /// Bytes of its last NOTIFY, about.
    pub(crate) last_bytes: usize,
    /// A large NOTIFY went unanswered: smaller ones may get through.
    pub(crate) is_cautious: bool,
    /// Its watcher wants no notifications of changes (RFC 5839: `Suppress-If-Match: *`).
    pub(crate) is_quenched: bool,
    /// When the oldest change that was not sent happened.
    pub(crate) changed_at: Option<Time>,
}

/// Where the members of a list come from. A configured one is found by its name again.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The configuration.
    Configured,
    /// The request itself (RFC 5367).
    Request(Arc<[Entry5367]>),
}

/// The items of a list, on their way to members.
#[derive(Clone, Debug)]
pub(crate) enum Items {
    /// As configured.
    Configured(Arc<List>),
    /// As requested.
    Request(Arc<[Entry5367]>),
}

/// One entry of a list that came with a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry5367 {
    pub(crate) uri: Box<str>,
    pub(crate) display_name: Option<Arc<str>>,
}

/// A member of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) part: PartId,
    /// Its place among the part's edges.
    pub(crate) position: u32,
}

/// What does not change while nobody reloads.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Shape {
    /// Name of the list.
    pub(crate) name: Arc<str>,
    pub(crate) labels: Labels,
    /// Lists within the list, outer ones first.
    pub(crate) nested: Box<[Nested]>,
    /// Names of members that are not their extension's, by member, escaped.
    pub(crate) names: Box<[(u32, Box<str>)]>,
    /// URIs of members as a request has them, by member, escaped.
    pub(crate) uris: Box<[(u32, Box<str>)]>,
    /// Some items name nobody: a refresh looks again.
    pub(crate) is_partial: bool,
    pub(crate) with_display_names: bool,
    /// URIs of a request that name nobody here, escaped.
    pub(crate) strangers: Box<[Box<str>]>,
    pub(crate) full_state: bool,
}

/// A list within a list: some of its members, in a row.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Nested {
    /// Escaped.
    pub(crate) label: Box<str>,
    pub(crate) uri: Box<str>,
    /// A list is one instance for as long as the subscription lives, wherever it stands.
    pub(crate) instance: u32,
    /// The list it stands in; `None` for the outermost.
    pub(crate) parent: Option<u16>,
    pub(crate) first: u32,
    pub(crate) end: u32,
}

impl Shape {
    /// The name a member is shown under.
    pub(crate) fn name_of<'a>(&'a self, member: u32, face: &'a Face) -> &'a str {
        match (at(&self.names, member), &face.display_name) {
            (Some(name), _) => name,
            (None, Some(name)) if self.with_display_names => name,
            _ => &face.name,
        }
    }

    /// The URI a member is shown under.
    pub(crate) fn uri_of<'a>(&'a self, member: u32, face: &'a Face) -> &'a str {
        at(&self.uris, member).unwrap_or(&face.uri)
    }
}

/// What a sparse table says of a member.
fn at(table: &[(u32, Box<str>)], member: u32) -> Option<&str> {
    let place = table.binary_search_by_key(&member, |(member, _)| *member).ok()?;
    Some(&table[place].1)
}

impl Items {
    /// Changes within this time leave in one NOTIFY.
    fn batch_interval(&self) -> Duration {
        match self {
            Self::Configured(list) => list.batch_interval,
            Self::Request(_) => Duration::ZERO,
        }
    }

    fn source(&self) -> Source {
        match self {
            Self::Configured(_) => Source::Configured,
            Self::Request(entries) => Source::Request(Arc::clone(entries)),
        }
    }
}

impl ListWatch {
    /// A list without members yet.
    fn new(wisher: Wisher<'_>, source: Source, shape: Shape) -> Self {
        Self {
            tenant: wisher.tenant,
            context: Arc::clone(wisher.context),
            package: wisher.package,
            source,
            view: GroupView { entity: Box::default(), ..wisher.view.clone() },
            versions: vec![0; shape.nested.len()],
            shape: Arc::new(shape),
            members: Vec::new(),
            dirty: Dirty::default(),
            leaving: Vec::new(),
            unknown_count: 0,
            generation: 1,
            is_continued: false,
            last_shown: 0,
            last_bytes: 0,
            is_cautious: false,
            is_quenched: false,
            changed_at: None,
        }
    }

    /// Whether all its members' documents have arrived.
    pub(crate) fn is_ready(&self) -> bool {
        self.unknown_count == 0
    }

    /// The member shown by a part. Walks the list: it is short, and near.
    pub(crate) fn member_of(&self, part: PartId) -> Option<usize> {
        self.members.iter().position(|member| member.part == part)
    }

    /// A member shows something, since `at`, that the watcher was not sent.
    fn mark(&mut self, member: usize, at: Time) {
        self.dirty.set(member);
        self.has_changed(at);
    }

    /// There is something, since `at`, that the watcher must hear of.
    fn has_changed(&mut self, at: Time) {
        self.generation = self.generation.wrapping_add(1);
        self.changed_at.get_or_insert(at);
    }

    /// Its name, as it was subscribed.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.shape.name
    }
}

/// One bit per member: the watcher has not been sent its newest state.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    words: SmallVec<[u64; 2]>,
}

impl Dirty {
    pub(crate) fn new(member_count: usize) -> Self {
        Self { words: smallvec![0; member_count.div_ceil(64)] }
    }

    pub(crate) fn set(&mut self, member: usize) {
        if let Some(word) = self.words.get_mut(member / 64) {
            *word |= 1 << (member % 64);
        }
    }

    pub(crate) fn clear(&mut self, member: usize) {
        if let Some(word) = self.words.get_mut(member / 64) {
            *word &= !(1 << (member % 64));
        }
    }

    pub(crate) fn is_set(&self, member: usize) -> bool {
        self.words.get(member / 64).is_some_and(|word| word >> (member % 64) & 1 == 1)
    }

    pub(crate) fn any(&self) -> bool {
        self.words.iter().any(|word| *word != 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The members whose bit is set, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                (word != 0).then(|| {
                    let bit = word.trailing_zeros() as usize;
                    word &= word - 1;
                    at * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_cleared_and_walked_in_order() {
        let mut dirty = Dirty::new(130);
        for member in [129, 0, 64, 63, 500] {
            dirty.set(member);
        }
        dirty.clear(64);
        assert_eq!(dirty.iter().collect::<Vec<_>>(), [0, 63, 129]);
        assert_eq!((dirty.count(), dirty.any(), dirty.is_set(63)), (3, true, true));
    }
}
