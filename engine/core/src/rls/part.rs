//! Parts: what lists show of an extension, rendered once by its owner and shared by every list
//! of the shard that shows it.

use std::sync::Arc;

use crate::Time;
use crate::body::{Body, escaped};
use crate::dialplan::{Found, Hint};
use crate::extension::{ExtensionKey, GroupView};
use crate::fanout::Round;
use crate::index::{Numbers, push_dense, shrink_dense};
use crate::placement::{ShardId, TenantId};
use crate::slab::Slab;

/// A slot of [`Parts`].
pub(crate) type PartId = u32;

/// Names a part of one shard for another: a late message about an earlier one finds nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PartName {
    pub(crate) slot: PartId,
    pub(crate) check: u32,
}

/// A shard that shows an extension in lists of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Attachment {
    pub(crate) shard: ShardId,
    pub(crate) part: PartName,
}

/// Asks the owner of an extension for its document, now and on every change.
#[derive(Clone, Debug)]
pub struct PartRequest {
    pub(crate) part: PartName,
    pub(crate) tenant: TenantId,
    /// The hint as the sender found it: after a reload the owner may hear of it from us first.
    pub(crate) found: Found,
    pub(crate) view: GroupView,
}

/// What the owner of an extension tells the shards that show it in lists.
#[derive(Clone, Debug)]
pub struct PartNews {
    pub(crate) part: PartName,
    pub(crate) shown: PartShown,
}

/// The state of a part.
#[derive(Clone, Debug)]
pub(crate) enum PartShown {
    /// The document, and when the extension changed.
    Document(Arc<Body>, Time),
    /// The extension has no hint any more.
    Gone,
    /// Its owner has no room for it.
    Refused,
}

/// Takes a [`PartRequest`] back.
#[derive(Clone, Debug)]
pub struct PartEnd {
    pub(crate) part: PartName,
    pub(crate) key: ExtensionKey,
}

/// What a list says about a member beside its document. Escaped for XML.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Face {
    pub(crate) uri: Box<str>,
    pub(crate) name: Box<str>,
    /// The display name of the hint, if it has one.
    pub(crate) display_name: Option<Box<str>>,
    /// Names the instance for as long as the part lives.
    pub(crate) instance: u32,
}

/// An extension as lists of this shard show it.
#[derive(Debug)]
pub(crate) struct Part {
    key: ExtensionKey,
    view: GroupView,
    pub(crate) check: u32,
    pub(crate) face: Arc<Face>,
    /// The newest document; `None` before the owner has spoken, and when the hint is gone.
    pub(crate) body: Option<Arc<Body>>,
    pub(crate) is_known: bool,
    /// Its owner had no room for it after so many reloads: it is asked again after the next.
    pub(crate) refused_at: Option<u32>,
    /// Slots of the list subscriptions that show it.
    pub(crate) edges: Vec<u32>,
    /// By edge: the news its list was told of, or showed.
    pub(crate) told: Vec<u16>,
    /// Counts news. (It comes round after 65,536 of them; no edge waits that long for a visit.)
    pub(crate) news: u16,
    /// The fan-out over its edges.
    pub(crate) round: Round,
    pub(crate) changed_at: Time,
}

impl Part {
    pub(crate) fn key(&self) -> &ExtensionKey {
        &self.key
    }

    pub(crate) fn view(&self) -> &GroupView {
        &self.view
    }

    /// The hint is back: the same extension, another instance. Its owner is to be asked again.
    /// The face of the last one.
    pub(super) fn revive(&mut self, hint: &Hint, check: u32, serial: u32) -> Arc<Face> {
        self.check = check;
        self.is_known = false;
        let face = Arc::new(Face::new(&self.key, &self.view, hint, serial));
        std::mem::replace(&mut self.face, face)
    }

    /// Takes over the display name of a hint: true if it is another one.
    pub(super) fn rename(&mut self, hint: &Hint) -> bool {
        let display_name = hint.display_name.as_deref().map(escaped);
        let has_changed = self.face.display_name != display_name;
        if has_changed {
            Arc::make_mut(&mut self.face).display_name = display_name;
        }
        has_changed
    }

    /// The hint is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_known && self.body.is_none()
    }
}

/// The parts of a shard.
#[derive(Debug)]
pub(crate) struct Parts {
    slab: Slab<Part>,
    index: Numbers,
    hasher: ahash::RandomState,
    edge_count: u64,
}

impl Parts {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Self { slab: Slab::default(), index: Numbers::default(), hasher, edge_count: 0 }
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    /// Members of all lists.
    pub(crate) fn edge_count(&self) -> u64 {
        self.edge_count
    }

    pub(crate) fn get(&self, id: PartId) -> Option<&Part> {
        self.slab.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: PartId) -> Option<&mut Part> {
        self.slab.get_mut(id)
    }

    /// The part of this name, if it still lives.
    pub(crate) fn named(&self, name: PartName) -> Option<PartId> {
        self.slab.get(name.slot).filter(|part| part.check == name.check).map(|_| name.slot)
    }

    /// The part of an extension in a view.
    pub(crate) fn find(&self, key: &ExtensionKey, view: &GroupView) -> Option<PartId> {
        let hash = self.hasher.hash_one((key, view));
        let is_same = |id: PartId| self.slab[id].key == *key && self.slab[id].view == *view;
        self.index.find(hash, is_same)
    }

    /// Adds the part of an extension that has none in this view.
    pub(crate) fn insert(
        &mut self,
        key: ExtensionKey,
        view: GroupView,
        hint: &Hint,
        check: u32,
        serial: u32,
    ) -> PartId {
        let hash = self.hasher.hash_one((&key, &view));
        let face = Arc::new(Face::new(&key, &view, hint, serial));
        let id = self.slab.insert(Part {
            key,
            view,
            check,
            face,
            body: None,
            is_known: false,
            edges: Vec::new(),
            told: Vec::new(),
            news: 0,
            refused_at: None,
            round: Round::default(),
            changed_at: Time::ZERO,
        });
        let Self { slab, index, hasher, .. } = self;
        index.insert(hash, id, |id| hasher.hash_one((&slab[id].key, &slab[id].view)));
        id
    }

    /// One more list shows it; the place among its edges.
    pub(crate) fn add_edge(&mut self, id: PartId, slot: u32) -> u32 {
        self.edge_count += 1;
        let part = &mut self.slab[id];
        push_dense(&mut part.edges, slot);
        // It is shown all that is known when it joins.
        push_dense(&mut part.told, part.news);
        part.round.joined();
        (part.edges.len() - 1) as u32
    }

    /// One list less shows it; the list that took its place, if any.
    pub(crate) fn remove_edge(&mut self, id: PartId, position: u32) -> Option<u32> {
        let part = self.slab.get_mut(id)?;
        self.edge_count -= 1;
        part.edges.swap_remove(position as usize);
        part.told.swap_remove(position as usize);
        shrink_dense(&mut part.edges);
        shrink_dense(&mut part.told);
        part.edges.get(position as usize).copied()
    }

    /// Forgets a part that no list shows.
    pub(crate) fn remove_unused(&mut self, id: PartId) -> Option<Part> {
        let Self { slab, index, hasher, .. } = self;
        let part = slab.get(id).filter(|part| part.edges.is_empty())?;
        let hash = hasher.hash_one((&part.key, &part.view));
        index.remove(hash, id, |id| hasher.hash_one((&slab[id].key, &slab[id].view)));
        slab.remove(id)
    }
}

impl Face {
    pub(crate) fn new(key: &ExtensionKey, view: &GroupView, hint: &Hint, serial: u32) -> Self {
        Self {
            uri: escaped(&view.entity),
            name: escaped(&key.2),
            display_name: hint.display_name.as_deref().map(escaped),
            instance: instance_of((key.0, &*key.1, &*key.2, serial)),
        }
    }
}

/// Names an instance. Equal from run to run: a restart alone changes none.
pub(super) fn instance_of(what: impl std::hash::Hash) -> u32 {
    ahash::RandomState::with_seeds(0x696e, 0x7374, 0x616e, 0x6365).hash_one(what) as u32
}
