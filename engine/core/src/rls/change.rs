//! From a member's document to the lists that show it, and from a new configuration to lists with
//! other members.

use std::sync::Arc;

use super::part::{Attachment, PartEnd, PartName, PartNews, PartRequest, PartShown};
use super::resolve::{Resolved, TooMany, Wisher};
use super::{Dirty, Face, Items, ListWatch, Member, PartId, Source};
use crate::config::Dialect;
use crate::dialplan::Found;
use crate::extension::{ExtensionId, ExtensionKey, GroupView};
use crate::fanout::Fanout;
use crate::mesh::ShardMessage;
use crate::placement::ShardId;
use crate::subscription::{Lifecycle, Reason};
use crate::{Outputs, Shard, Time};

impl Shard {
    /// A shard (maybe this one) shows an extension of ours in its lists from now on.
    pub(crate) fn attach_part(
        &mut self,
        from: ShardId,
        request: PartRequest,
        now: Time,
        out: &mut Outputs,
    ) {
        let PartRequest { part, tenant, found, view } = request;
        let own = self.find_hint(tenant, &found.context, &found.exten);
        let own = own.filter(|own| own.context == found.context);
        // A hint we do not know: the other shard took over a new configuration before us, or
        // still has an old one. Either way the next reload settles it.
        let found = own.unwrap_or(Found { explicit: false, ..found });
        let count_max = self.config.limits.view_count_max;
        let id = self.extension_for(tenant, found, now, out);
        let group = id.and_then(|id| Some((id, self.extensions[id].group(view, count_max)?)));
        let Some((id, at)) = group else {
            // The tables are full: the lists show it as ended, and the counter says why.
            self.stats.counters.request_shed += 1;
            if let Some(id) = id {
                self.drop_if_unused(id, out);
            }
            let news = PartNews { part, shown: PartShown::Refused };
            return self.tell_part(from, news, now, out);
        };
        let extension = &mut self.extensions[id];
        let group = &mut extension.groups[usize::from(at)];
        group.attached.push(Attachment { shard: from, part });
        extension.attached_count += 1;
        if extension.unknown_count == 0 {
            let shown = PartShown::Document(Arc::clone(&group.body), extension.changed_at);
            self.tell_part(from, PartNews { part, shown }, now, out);
        }
    }

    /// A shard shows it no longer.
    pub(crate) fn detach_part(
        &mut self,
        from: ShardId,
        part: PartName,
        key: &ExtensionKey,
        out: &mut Outputs,
    ) {
        let Some(id) = self.extensions.find(key) else { return };
        let extension = &mut self.extensions[id];
        let gone = Attachment { shard: from, part };
        for group in &mut extension.groups {
            let before = group.attached.len();
            group.attached.retain(|attached| *attached != gone);
            extension.attached_count -= (before - group.attached.len()) as u32;
            group.free_if_unused();
        }
        self.drop_if_unused(id, out);
    }

    /// Tells the shards that show a group's document in their lists.
    pub(crate) fn tell_parts(&mut self, id: ExtensionId, at: usize, now: Time, out: &mut Outputs) {
        let extension = &self.extensions[id];
        let group = &extension.groups[at];
        let shown = PartShown::Document(Arc::clone(&group.body), extension.changed_at);
        for Attachment { shard, part } in group.attached.clone() {
            self.tell_part(shard, PartNews { part, shown: shown.clone() }, now, out);
        }
    }

    /// The hint of an extension is gone: its lists show it as ended.
    pub(crate) fn end_parts(&mut self, id: ExtensionId, now: Time, out: &mut Outputs) {
        let extension = &mut self.extensions[id];
        extension.attached_count = 0;
        let mut ended = Vec::new();
        for group in &mut extension.groups {
            ended.append(&mut group.attached);
            group.free_if_unused();
        }
        for Attachment { shard, part } in ended {
            self.tell_part(shard, PartNews { part, shown: PartShown::Gone }, now, out);
        }
    }

    fn tell_part(&mut self, to: ShardId, news: PartNews, now: Time, out: &mut Outputs) {
        if to == self.id {
            self.on_part(news, now, out);
        } else {
            out.to_shards.push((to, ShardMessage::Part(news)));
        }
    }

    /// The owner of an extension speaks: every list that shows it is looked at.
    pub(crate) fn on_part(&mut self, news: PartNews, now: Time, out: &mut Outputs) {
        let Some(id) = self.parts.named(news.part) else { return };
        if matches!(news.shown, PartShown::Gone) && self.ask_again(id, now, out) {
            return;
        }
        let Some(part) = self.parts.get_mut(id) else { return };
        let is_first = !std::mem::replace(&mut part.is_known, true);
        let is_refused = matches!(news.shown, PartShown::Refused);
        part.refused_at = is_refused.then_some(self.reload_count);
        let old = part.body.take();
        if let PartShown::Document(body, at) = news.shown {
            // An Asterisk repeats itself while it rings.
            let is_same = old.as_ref().is_some_and(|old| Arc::ptr_eq(old, &body))
                && part.view().dialect == Dialect::Rfc;
            part.body = Some(body);
            if is_same && !is_first {
                return;
            }
            part.changed_at = at;
        } else {
            part.changed_at = now;
        }
        match is_first {
            true => self.first_word(id),
            false => part.news = part.news.wrapping_add(1),
        }
        let started = self.parts.get_mut(id).and_then(|part| {
            let len = part.edges.len();
            part.round.start(len).then_some(len)
        });
        if let Some(len) = started {
            self.fanout.push(Fanout::Part(id), len);
        }
    }

    /// The owner says that a hint is gone which is in our configuration: it removed it and has
    /// still to add it again, or has a newer configuration than we. Either way it is asked again,
    /// and the next reload settles it.
    fn ask_again(&mut self, id: PartId, now: Time, out: &mut Outputs) -> bool {
        let Some(part) = self.parts.get(id).filter(|part| !part.edges.is_empty()) else {
            return false;
        };
        let (tenant, context, exten) = part.key().clone();
        let found = self.find_hint(tenant, &context, &exten);
        let Some(found) = found.filter(|found| found.context == context) else { return false };
        let check = self.rng.u32(..);
        let Some(part) = self.parts.get_mut(id) else { return false };
        part.check = check;
        if std::mem::replace(&mut part.is_known, false) {
            self.expect_part(id, None);
        }
        self.ask_owner(id, found, now, out);
        true
    }

    /// A document that lists waited for has come.
    fn first_word(&mut self, id: PartId) {
        let Some(part) = self.parts.get(id) else { return };
        for &slot in &part.edges {
            let Some(subscription) = self.subscriptions.get_mut(slot) else { continue };
            // One that is owed all is told all.
            let is_news = !subscription.owed;
            let Some(list) = subscription.list_mut() else { continue };
            list.unknown_count = list.unknown_count.saturating_sub(1);
            if is_news && let Some(member) = list.member_of(id) {
                list.mark(member, part.changed_at);
            }
        }
    }

    /// The list at the cursor of a running fan-out; `None` when it is through.
    pub(crate) fn next_list(&mut self, id: PartId) -> Option<u32> {
        let part = self.parts.get_mut(id)?;
        let place = part.round.next(part.edges.len())?;
        part.edges.get(place).copied()
    }

    /// A list learns that one of its members shows something else; false if it knows.
    pub(crate) fn mark_dirty(&mut self, slot: u32, id: PartId) -> bool {
        let list = self.subscriptions.get_mut(slot).and_then(|s| s.list_mut());
        let (Some(list), Some(part)) = (list, self.parts.get_mut(id)) else { return false };
        let Some(member) = list.member_of(id) else { return false };
        let told = part.told.get_mut(list.members[member].position as usize);
        let is_news = told.is_some_and(|told| std::mem::replace(told, part.news) != part.news);
        if is_news {
            list.mark(member, part.changed_at);
        }
        is_news
    }

    /// Gives a list its members. Those it shows already keep their place in their parts; the
    /// owners of new parts are asked for their documents.
    pub(super) fn seat_members(
        &mut self,
        slot: u32,
        members: Vec<(Found, GroupView)>,
        now: Time,
        out: &mut Outputs,
    ) {
        let Some(list) = self.subscriptions[slot].list_mut() else { return };
        let tenant = list.tenant;
        // Held, so that no answer of an owner on this shard makes it speak in the middle.
        list.unknown_count = u32::MAX;
        // First of all: what these find changed concerns members where they stand now.
        let members: Vec<_> = members
            .into_iter()
            .map(|(found, view)| (self.part_of(tenant, &found, view, now), found))
            .collect();
        let Some(list) = self.subscriptions[slot].list_mut() else { return };
        let old = std::mem::take(&mut list.members);
        let old_dirty = std::mem::take(&mut list.dirty);
        let mut by_part = hashbrown::HashMap::with_hasher(self.hasher.clone());
        by_part.extend(old.iter().enumerate().map(|(at, member)| (member.part, at)));
        let mut kept = vec![false; old.len()];
        let (mut seats, mut dirty) = (Vec::with_capacity(members.len()), Dirty::new(members.len()));
        let mut asked = Vec::new();
        for (at, ((part, is_new), found)) in members.into_iter().enumerate() {
            if is_new {
                asked.push((part, found));
            }
            let before = by_part.get(&part).copied();
            seats.push(match before {
                Some(before) => {
                    kept[before] = true;
                    old[before]
                }
                None => Member { part, position: self.parts.add_edge(part, slot) },
            });
            if is_new || before.is_none_or(|before| old_dirty.is_set(before)) {
                dirty.set(at);
            }
        }
        let left: Vec<usize> = (0..old.len()).filter(|at| !kept[*at]).collect();
        // One that ended before it left, and whose watcher was told so, needs no second end.
        let leaving = left.iter().filter_map(|&at| {
            let part = self.parts.get(old[at].part)?;
            // What a walk has still to tell this list of, it will not hear from it any more.
            let is_awaited = part.round.awaits(old[at].position as usize, part.edges.len());
            let is_end_untold = old_dirty.is_set(at) || is_awaited;
            let is_untold = part.body.is_some() || (part.is_gone() && is_end_untold);
            is_untold.then(|| Arc::clone(&part.face))
        });
        let leaving: Vec<_> = leaving.collect();
        let has_news = dirty.any() || !leaving.is_empty();
        let parts = &self.parts;
        let unknown = seats.iter().filter(|m| parts.get(m.part).is_some_and(|p| !p.is_known));
        let unknown_count = unknown.count() as u32;
        if let Some(list) = self.subscriptions[slot].list_mut() {
            (list.members, list.dirty) = (seats, dirty);
            // One more than there are, until all are asked.
            list.unknown_count = unknown_count + 1;
            // One that is back before its end was told has not ended.
            let members = &list.members;
            list.leaving.retain(|face| {
                let is_it =
                    |member: &Member| parts.get(member.part).is_some_and(|p| p.face == *face);
                !members.iter().any(is_it)
            });
            list.leaving.extend(leaving);
            if has_news {
                list.has_changed(now);
            }
        }
        for (part, found) in asked {
            self.ask_owner(part, found, now, out);
        }
        let left: Vec<Member> = left.into_iter().map(|at| old[at]).collect();
        self.leave_parts(&left, now, out);
        if let Some(list) = self.subscriptions[slot].list_mut() {
            list.unknown_count -= 1;
        }
    }

    /// The part of an extension in a view. True: its owner must be asked for the document.
    fn part_of(
        &mut self,
        tenant: crate::placement::TenantId,
        found: &Found,
        view: GroupView,
        now: Time,
    ) -> (PartId, bool) {
        let key = (tenant, Arc::clone(&found.context), Arc::clone(&found.exten));
        let check = self.rng.u32(..);
        if let Some(id) = self.parts.find(&key, &view) {
            let serial = self.reload_count;
            let Some(part) = self.parts.get_mut(id) else { return (id, false) };
            // Its hint is back: another instance, and another attachment.
            if part.is_gone() && part.refused_at != Some(serial) {
                let ended = part.revive(&found.hint, check, serial);
                self.expect_part(id, Some(&ended));
                return (id, true);
            }
            if part.rename(&found.hint) {
                self.show_name(id, now);
            }
            return (id, false);
        }
        (self.parts.insert(key, view, &found.hint, check, self.reload_count), true)
    }

    /// Lists that show a part wait for its document again. Those whose watchers were not told of
    /// the end of its last instance have still to do so.
    fn expect_part(&mut self, id: PartId, ended: Option<&Arc<Face>>) {
        let Some(part) = self.parts.get(id) else { return };
        for &slot in &part.edges {
            if let Some(list) = self.subscriptions.get_mut(slot).and_then(|s| s.list_mut()) {
                list.unknown_count = list.unknown_count.saturating_add(1);
                if let Some(ended) = ended
                    && list.member_of(id).is_some_and(|member| list.dirty.is_set(member))
                {
                    list.leaving.push(Arc::clone(ended));
                }
            }
        }
    }

    /// Lists that show hints under their display names have another one to show.
    fn show_name(&mut self, id: PartId, now: Time) {
        let Some(part) = self.parts.get(id) else { return };
        for &slot in &part.edges {
            let list = self.subscriptions.get_mut(slot).and_then(|s| s.list_mut());
            let Some(list) = list.filter(|list| list.shape.with_display_names) else { continue };
            if let Some(member) = list.member_of(id) {
                list.mark(member, now);
            }
        }
    }

    fn ask_owner(&mut self, id: PartId, found: Found, now: Time, out: &mut Outputs) {
        let Some(part) = self.parts.get(id) else { return };
        let part_name = PartName { slot: id, check: part.check };
        let (tenant, view) = (part.key().0, part.view().clone());
        let owner = self.placement.shard_of_extension(tenant, &found.context, &found.exten);
        let request = PartRequest { part: part_name, tenant, found, view };
        if owner == self.id {
            self.attach_part(self.id, request, now, out);
        } else {
            out.to_shards.push((owner, ShardMessage::AttachPart(Box::new(request))));
        }
    }

    /// Takes a list's edges back. Parts that no list shows are forgotten.
    pub(crate) fn leave_parts(&mut self, members: &[Member], now: Time, out: &mut Outputs) {
        for member in members {
            let id = member.part;
            if let Some(moved) = self.parts.remove_edge(id, member.position) {
                let list = self.subscriptions.get_mut(moved).and_then(|s| s.list_mut());
                if let Some(list) = list
                    && let Some(at) = list.member_of(id)
                {
                    list.members[at].position = member.position;
                }
                // A running fan-out may miss the one that moves here: it is told at once.
                if self.mark_dirty(moved, id) {
                    self.kick_if_news(moved, now, out);
                }
            }
            let Some(part) = self.parts.remove_unused(id) else { continue };
            let (tenant, context, exten) = part.key();
            let owner = self.placement.shard_of_extension(*tenant, context, exten);
            let name = PartName { slot: id, check: part.check };
            if owner == self.id {
                self.detach_part(self.id, name, part.key(), out);
            } else {
                let message = ShardMessage::DetachPart(Box::new(PartEnd {
                    part: name,
                    key: part.key().clone(),
                }));
                out.to_shards.push((owner, message));
            }
        }
    }

    /// A list takes over what the configuration, or a new list in a request, says of it now.
    pub(super) fn rebuild(
        &mut self,
        slot: u32,
        items: Items,
        now: Time,
        out: &mut Outputs,
    ) -> Result<(), TooMany> {
        let subscription = &self.subscriptions[slot];
        let Some(list) = subscription.list() else { return Ok(()) };
        let wisher = Wisher {
            tenant: list.tenant,
            context: &list.context,
            package: list.package,
            view: &list.view,
            uri: list.shape.labels.request_uri(),
        };
        let Some(Resolved { members, shape }) = self.resolve(wisher, &items)? else {
            return Ok(());
        };
        let root_version = subscription.version;
        // Names and nested lists are told by a member's place.
        let is_placed = !shape.nested.is_empty() || !shape.names.is_empty();
        let is_same = shape == *list.shape && !(is_placed && self.is_moved(list, &members));
        let subscription = &mut self.subscriptions[slot];
        let Some(list) = subscription.list_mut() else { return Ok(()) };
        list.source = items.source();
        if !is_same {
            let version_of = |uri: &str| {
                let at = list.shape.nested.iter().position(|nested| &*nested.uri == uri)?;
                list.versions.get(at).copied()
            };
            // One that was not here a moment ago may have been here before: above all it showed.
            let versions =
                shape.nested.iter().map(|nested| version_of(&nested.uri).unwrap_or(root_version));
            list.versions = versions.collect();
            list.shape = Arc::new(shape);
            // Names and nesting are only told in full.
            subscription.owed = true;
        }
        self.seat_members(slot, members, now, out);
        Ok(())
    }

    /// Whether members are others than a list has, or stand elsewhere.
    fn is_moved(&self, list: &ListWatch, members: &[(Found, GroupView)]) -> bool {
        let is_same = |(member, (found, _)): (&Member, &(Found, GroupView))| {
            self.parts.get(member.part).is_some_and(|part| {
                let (_, context, exten) = part.key();
                (context, exten) == (&found.context, &found.exten)
            })
        };
        list.members.len() != members.len() || !list.members.iter().zip(members).all(is_same)
    }

    /// A refresh of a list some of whose items named nobody: hints may have grown since.
    pub(crate) fn look_again(&mut self, slot: u32, now: Time, out: &mut Outputs) {
        let list = self.subscriptions[slot].list().filter(|list| list.shape.is_partial);
        let Some(items) = list.and_then(|list| self.items_of(list)) else { return };
        // It was small enough before.
        let _ = self.rebuild(slot, items, now, out);
    }

    /// Where a list's members come from now; `None` if it is not configured any more.
    pub(crate) fn items_of(&self, list: &ListWatch) -> Option<Items> {
        match &list.source {
            Source::Configured => {
                let found = self.config.lists.find(list.tenant, list.name(), list.package);
                found.map(Items::Configured)
            }
            Source::Request(entries) => Some(Items::Request(Arc::clone(entries))),
        }
    }

    /// A list whose turn has come after a reload.
    pub(crate) fn reload_list(&mut self, slot: u32, check: u32, now: Time, out: &mut Outputs) {
        let Some(subscription) = self.subscriptions.get(slot) else { return };
        let Some(list) = subscription.list().filter(|_| subscription.tag.check == check) else {
            return;
        };
        if subscription.state == Lifecycle::Active {
            match self.items_of(list) {
                Some(items) => {
                    self.set_batch_interval(slot, &items);
                    // More members than may be: the list stays as it was.
                    if self.rebuild(slot, items, now, out).is_err() {
                        self.stats.counters.request_shed += 1;
                    }
                }
                None => self.end_subscription(slot, Reason::NoResource, now, out),
            }
        }
        self.kick_if_news(slot, now, out);
    }
}
