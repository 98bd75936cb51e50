//! Extensions: a hint, the states it adds up to, and the watchers, grouped by what they see.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::Time;
use crate::body::{Body, Format, Shown, ShownMailboxes, View};
use crate::config::Dialect;
use crate::dialplan::Hint;
use crate::fanout::Round;
use crate::placement::TenantId;
use crate::rls::Attachment;
use crate::slab::Slab;
use crate::source::{LinkId, Links};
use crate::state::{
    Calls, DeviceAggregate, DeviceState, ExtensionState, Messages, Presence, PresenceState,
};

/// A slot of [`Extensions`].
pub(crate) type ExtensionId = u32;

/// Names an extension: whose, in which context, which.
pub(crate) type ExtensionKey = (TenantId, Arc<str>, Arc<str>);

/// An extension this shard owns.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) tenant: TenantId,
    pub(crate) context: Arc<str>,
    pub(crate) exten: Arc<str>,
    pub(crate) hint: Arc<Hint>,
    /// Configured by name; else instantiated from a pattern or range.
    pub(crate) explicit: bool,
    /// Its hint is gone; it stays until its watchers have heard so.
    pub(crate) is_removed: bool,
    pub(crate) devices: SmallVec<[LinkId; 2]>,
    pub(crate) presences: SmallVec<[LinkId; 1]>,
    /// Links whose owner has not spoken yet. Nobody is told anything until this is 0.
    pub(crate) unknown_count: u32,
    /// Its sources were known once: from then on a change is news.
    pub(crate) is_told: bool,
    pub(crate) state: ExtensionState,
    pub(crate) presence: Presence,
    /// What waits in its mailboxes; `None` if it has none.
    pub(crate) messages: Option<Box<Messages>>,
    /// Its calls, if somebody tells them.
    pub(crate) calls: Option<Calls>,
    pub(crate) changed_at: Time,
    pub(crate) groups: Vec<Group>,
    pub(crate) watcher_count: u32,
    /// Shards and documents: lists show it there.
    pub(crate) attached_count: u32,
    /// Queries that wait until the sources are known.
    pub(crate) asked: Vec<(u64, Asked)>,
}

/// A query about one extension.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asked {
    Row,
    Explanation,
}

/// Watchers of one extension that get the same document.
#[derive(Debug)]
pub(crate) struct Group {
    /// What they see; `None` for a free place.
    pub(crate) view: Option<GroupView>,
    pub(crate) body: Arc<Body>,
    /// Shards that show the document in their lists.
    pub(crate) attached: Vec<Attachment>,
    /// Slots of their subscriptions, those of one next hop about side by side.
    pub(crate) watchers: Vec<u32>,
    /// Watchers that may stand apart from the others of their hop.
    pub(crate) misplaced_count: u32,
    /// Rises with every report.
    pub(crate) generation: u32,
    /// The fan-out over its watchers.
    pub(crate) round: Round,
}

/// The constant part of a group's document.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct GroupView {
    pub(crate) format: Format,
    pub(crate) dialect: Dialect,
    pub(crate) digium: bool,
    pub(crate) early_inuse_ringing: bool,
    pub(crate) single_dialog: bool,
    pub(crate) entity: Box<str>,
}

impl Group {
    /// Whether a fan-out is worth a sort first: one watcher in eight astray costs little,
    /// a sort after every join would cost more than the fan-out.
    pub(crate) fn is_disordered(&self) -> bool {
        self.misplaced_count as usize * 8 > self.watchers.len()
    }

    /// Gives the place back when nobody gets the document any more.
    pub(crate) fn free_if_unused(&mut self) {
        if self.watchers.is_empty() && self.attached.is_empty() {
            (self.view, self.round, self.watchers) = (None, Round::default(), Vec::new());
            self.misplaced_count = 0;
        }
    }
}

impl GroupView {
    pub(crate) fn view<'a>(&'a self, exten: &'a str) -> View<'a> {
        View {
            format: self.format,
            dialect: self.dialect,
            digium: self.digium,
            early_inuse_ringing: self.early_inuse_ringing,
            single_dialog: self.single_dialog,
            exten,
            entity: &self.entity,
        }
    }
}

/// What a recomputation of an extension found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) state: bool,
    pub(crate) presence: bool,
    pub(crate) calls: bool,
    pub(crate) messages: bool,
}

impl Change {
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Whether documents of this format show it.
    pub(crate) fn concerns(self, format: Format) -> bool {
        match format {
            Format::MessageSummary => self.messages,
            Format::DialogInfo => self.state || self.presence || self.calls,
            _ => self.state || self.presence,
        }
    }
}

impl Extension {
    /// Somebody sees it: a watcher, or a list.
    pub(crate) fn is_watched(&self) -> bool {
        self.watcher_count > 0 || self.attached_count > 0
    }

    pub(crate) fn key(&self) -> ExtensionKey {
        (self.tenant, Arc::clone(&self.context), Arc::clone(&self.exten))
    }

    /// The state its watchers see. An Asterisk shows a removed hint as idle (trace 08).
    pub(crate) fn shown_state(&self, dialect: Dialect) -> ExtensionState {
        match dialect {
            Dialect::Asterisk if self.is_removed => ExtensionState::Idle,
            _ => self.state,
        }
    }

    /// Adds up the sources again.
    pub(crate) fn recompute(&mut self, links: &Links, now: Time) -> Change {
        let devices =
            self.counting(&self.devices, |last| links.get(last).device != DeviceState::Invalid);
        let aggregate: DeviceAggregate =
            devices.iter().map(|&link| links.get(link).device).collect();
        let state = ExtensionState::from_devices(aggregate.state());
        let messages = self.add_messages(links);
        let presences = self.counting(&self.presences, |last| {
            links.get(last).presence.state != PresenceState::NotSet
        });
        let best = presences
            .iter()
            .map(|&link| &links.get(link).presence)
            .reduce(|best, p| if p.state.rank() > best.state.rank() { p } else { best });
        let calls = devices.iter().find_map(|&link| links.get(link).calls.as_ref());
        let change = Change {
            state: state != self.state,
            calls: calls != self.calls.as_ref(),
            presence: best.map_or(self.presence != Presence::default(), |b| *b != self.presence),
            messages: self.messages != messages,
        };
        self.messages = messages;
        self.state = state;
        if change.calls {
            self.calls = calls.cloned();
        }
        if change.presence {
            // A hint that lost its presence sources shows none.
            self.presence = best.cloned().unwrap_or_default();
        }
        if !change.is_none() {
            self.changed_at = now;
        }
        change
    }

    /// Adds its mailboxes up.
    fn add_messages(&self, links: &Links) -> Option<Box<Messages>> {
        // Hardly any extension has mailboxes.
        if self.devices.iter().all(|&link| links.get(link).messages.is_none()) {
            return None;
        }
        let counting = self.counting(&self.devices, |last| links.get(last).messages.is_some());
        let counted = counting.iter().filter_map(|&link| links.get(link).messages.as_deref());
        counted.fold(None, |sum: Option<Box<Messages>>, messages| {
            let mut sum = sum.unwrap_or_default();
            sum.add(messages);
            Some(sum)
        })
    }

    /// What a document shows of it in a dialect.
    pub(crate) fn shown(&self, dialect: Dialect) -> Shown<'_> {
        let messages = self.messages.as_deref().copied().unwrap_or_default();
        let voicemail_extension = self.hint.voicemail_extension.as_deref();
        Shown {
            state: self.shown_state(dialect),
            presence: &self.presence,
            calls: self.calls.as_ref().map_or(&[][..], |calls| calls),
            mailboxes: Some(ShownMailboxes { messages, voicemail_extension }),
        }
    }

    /// The links that count: the last one alone where it overrules the others and says something.
    fn counting<'l>(&self, links: &'l [LinkId], says: impl Fn(LinkId) -> bool) -> &'l [LinkId] {
        match links.split_last() {
            Some((last, others)) if self.hint.last_overrules && says(*last) => {
                &links[others.len()..]
            }
            _ => links,
        }
    }

    /// The group of a view, made if it is new; `None` if there are `count_max` views already.
    pub(crate) fn group(&mut self, view: GroupView, count_max: usize) -> Option<u16> {
        let same = |group: &Group| group.view.as_ref() == Some(&view);
        if let Some(at) = self.groups.iter().position(same) {
            return Some(at as u16);
        }
        let shown = self.shown(view.dialect);
        let body = Arc::new(Body::render(&view.view(&self.exten), &shown));
        let group = Group {
            view: Some(view),
            body,
            attached: Vec::new(),
            watchers: Vec::new(),
            misplaced_count: 0,
            generation: 1,
            round: Round::default(),
        };
        match self.groups.iter().position(|group| group.view.is_none()) {
            // A free place may still be named by a fan-out that has not noticed: it finds
            // a round that does not run, and leaves.
            Some(at) => {
                let generation = self.groups[at].generation.wrapping_add(1);
                self.groups[at] = Group { generation, ..group };
                Some(at as u16)
            }
            None if self.groups.len() < count_max => {
                self.groups.push(group);
                Some((self.groups.len() - 1) as u16)
            }
            None => None,
        }
    }
}

/// The extensions of a shard.
#[derive(Debug)]
pub(crate) struct Extensions {
    slab: Slab<Extension>,
    index: hashbrown::HashMap<ExtensionKey, ExtensionId, ahash::RandomState>,
}

impl Extensions {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Self { slab: Slab::default(), index: hashbrown::HashMap::with_hasher(hasher) }
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    pub(crate) fn find(&self, key: &ExtensionKey) -> Option<ExtensionId> {
        self.index.get(key).copied()
    }

    pub(crate) fn get(&self, id: ExtensionId) -> Option<&Extension> {
        self.slab.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: ExtensionId) -> Option<&mut Extension> {
        self.slab.get_mut(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ExtensionId, &Extension)> {
        self.slab.iter()
    }

    pub(crate) fn insert(&mut self, extension: Extension) -> ExtensionId {
        let key = extension.key();
        let id = self.slab.insert(extension);
        self.index.insert(key, id);
        id
    }

    pub(crate) fn remove(&mut self, id: ExtensionId) -> Option<Extension> {
        let extension = self.slab.remove(id)?;
        self.index.remove(&extension.key());
        Some(extension)
    }
}

impl std::ops::Index<ExtensionId> for Extensions {
    type Output = Extension;
    fn index(&self, id: ExtensionId) -> &Extension {
        &self.slab[id]
    }
}

impl std::ops::IndexMut<ExtensionId> for Extensions {
    fn index_mut(&mut self, id: ExtensionId) -> &mut Extension {
        &mut self.slab[id]
    }
}
