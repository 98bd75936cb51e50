//! From a source's state to its extensions' watchers: sources, links, extensions, reports.
//!
//! Source: `reference/states.md` sections 1.3, 2, 3 and 4.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::command::{Answer, Command, Event, Refusal, Reply};
use crate::config::Dialect;
use crate::dialplan::{Found, Hint};
use crate::extension::{Change, Extension, ExtensionId, Group};
use crate::mailbox;
use crate::mesh::{ShardMessage, SourceState};
use crate::placement::{ShardId, TenantId};
use crate::source::{Attached, SourceKey, canonical_name};
use crate::state::{DeviceState, ExtensionState, Presence};
use crate::{Outputs, Shard, Time};

impl Shard {
    /// A change somebody waits for: answered with the shards that will confirm it.
    pub(crate) fn on_change(&mut self, id: u64, command: Command, now: Time, out: &mut Outputs) {
        let changed = if self.is_overloaded {
            self.stats.counters.command_refused += 1;
            Err(Refusal::Overloaded)
        } else {
            self.change(command, now, out)
        };
        let changed = changed.map(|(tenant, attached)| {
            // A hint that grew is told to all shards, now or by an equal report just before.
            let grows_hints = self.config.dialplan.autohint_contexts(tenant).next().is_some();
            let is_told =
                |shard: &ShardId| grows_hints || attached.iter().any(|(at, _)| at == shard);
            let others = self.placement.shards().filter(|shard| *shard != self.id);
            let others: Box<[ShardId]> = others.filter(is_told).collect();
            let confirm = others.iter().map(|&shard| (shard, ShardMessage::Confirm { id }));
            out.to_shards.extend(confirm);
            others
        });
        out.replies.push(Reply { id, shard: self.id, answer: Answer::Changed(changed) });
    }

    /// Sets a state. Whose it is, and the shards that hint at it: they have been told, now or
    /// when it took this value.
    pub(crate) fn change(
        &mut self,
        command: Command,
        now: Time,
        out: &mut Outputs,
    ) -> Result<(TenantId, Attached), Refusal> {
        let changed = match command {
            Command::SetDevice { tenant, device, state } => {
                self.set_device(tenant, &device, state, now, out).map(|told| (tenant, told))
            }
            Command::SetPresence { tenant, presentity, presence, written } => self
                .set_presence((tenant, presentity), presence, written, now, out)
                .map(|told| (tenant, told)),
            Command::SetMailbox { tenant, mailbox, messages } => {
                self.set_mailbox((tenant, mailbox), messages, now, out).map(|told| (tenant, told))
            }
            Command::Reload(_)
            | Command::Restore(_)
            | Command::ListenEvents(_)
            | Command::ResetLatencies
            | Command::Drain(_) => Err(Refusal::NotAState),
        };
        self.stats.counters.command_refused += u64::from(changed.is_err());
        changed
    }

    /// A device state was reported. An equal one is dropped, as everywhere.
    fn set_device(
        &mut self,
        tenant: TenantId,
        device: &str,
        state: DeviceState,
        now: Time,
        out: &mut Outputs,
    ) -> Result<Attached, Refusal> {
        let key = (tenant, canonical_name(&self.config.providers, device));
        let count_max = self.config.limits.source_count_max;
        let source = self.sources.get_or_insert(key, count_max);
        let source = source.ok_or(Refusal::TooManySources { count_max })?;
        if source.device == Some(state) {
            self.stats.counters.source_repeated += 1;
            return Ok(source.attached.clone());
        }
        let before = self.listens.then(|| source.state());
        source.device = Some(state);
        let told = source.state();
        let attached = source.attached.clone();
        self.stats.counters.source_changed += 1;
        let device = Arc::clone(&told.name);
        self.keep_device(tenant, &device, state, out);
        if let Some(before) = before {
            self.tell_listeners(&before, &told, out);
        }
        self.auto_hint(tenant, &device, true, now, out);
        self.tell(&attached, told, now, out);
        Ok(attached)
    }

    /// A presence was set. It is told even if it is equal; hints notice only a difference.
    fn set_presence(
        &mut self,
        (tenant, presentity): (TenantId, Arc<str>),
        presence: Presence,
        written: Arc<str>,
        now: Time,
        out: &mut Outputs,
    ) -> Result<Attached, Refusal> {
        let key = (tenant, canonical_name(&self.config.providers, &presentity));
        let count_max = self.config.limits.source_count_max;
        let source = self.sources.get_or_insert(key, count_max);
        let source = source.ok_or(Refusal::TooManySources { count_max })?;
        let is_equal = source.presence.as_ref().is_some_and(|(old, _)| *old == presence);
        source.presence = Some((presence.clone(), Arc::clone(&written)));
        let told = source.state();
        let attached = source.attached.clone();
        self.keep_presence(tenant, &told.name, &written, &presence, out);
        if self.listens {
            out.events.push(Event::PresenceStateChange { tenant, presentity, presence });
        }
        if is_equal {
            self.stats.counters.source_repeated += 1;
            return Ok(attached);
        }
        self.stats.counters.source_changed += 1;
        self.tell(&attached, told, now, out);
        Ok(attached)
    }

    /// Tells the shards that hint at a source, this one included.
    pub(crate) fn tell(
        &mut self,
        shards: &[(ShardId, u32)],
        state: SourceState,
        now: Time,
        out: &mut Outputs,
    ) {
        for &(shard, serial) in shards {
            if shard == self.id {
                self.on_source(serial, &state, now, out);
            } else {
                let state = state.clone();
                out.to_shards.push((shard, ShardMessage::Source { serial, state }));
            }
        }
    }

    /// A shard (maybe this one) hints at a source of ours from now on.
    pub(crate) fn attach(
        &mut self,
        (from, serial): (ShardId, u32),
        key: SourceKey,
        now: Time,
        out: &mut Outputs,
    ) {
        let count_max = self.config.limits.source_count_max;
        let state = match self.sources.get_or_insert(key.clone(), count_max) {
            Some(source) => {
                source.attached.retain(|(attached, _)| *attached != from);
                source.attached.push((from, serial));
                source.state()
            }
            // The table is full: its watchers see the initial state, and the counter says why.
            None => {
                self.stats.counters.command_refused += 1;
                let (tenant, name) = key;
                let (device, presence, calls, messages) = (None, None, None, None);
                SourceState { tenant, name, device, presence, calls, messages }
            }
        };
        self.tell(&[(from, serial)], state, now, out);
    }

    /// The owner of a source speaks: every extension that hints at it is looked at again.
    pub(crate) fn on_source(
        &mut self,
        serial: u32,
        state: &SourceState,
        now: Time,
        out: &mut Outputs,
    ) {
        let updated = self.links.update(serial, state, now, &self.config.providers);
        let Some((link, is_first)) = updated else { return };
        let extensions: SmallVec<[ExtensionId; 4]> =
            self.links.get(link).extensions.iter().copied().collect();
        for id in extensions {
            let extension = &mut self.extensions[id];
            let was_unknown = extension.unknown_count > 0;
            if is_first {
                extension.unknown_count = extension.unknown_count.saturating_sub(1);
            }
            match (was_unknown, extension.unknown_count > 0) {
                (_, true) => {}
                (true, false) => self.became_known(id, now, out),
                (false, false) => self.recompute(id, now, out),
            }
        }
    }

    /// The last of its sources has spoken: watchers and queries that waited are served.
    fn became_known(&mut self, id: ExtensionId, now: Time, out: &mut Outputs) {
        let extension = &mut self.extensions[id];
        let change = extension.recompute(&self.links, now);
        let was_told = std::mem::replace(&mut extension.is_told, true);
        if was_told {
            self.tell_control(id, change, false, out);
        }
        for at in 0..self.extensions[id].groups.len() {
            let is_told = self.concerns(id, at, change) && self.report(id, at, now, out);
            if !is_told {
                self.tell_parts(id, at, now, out);
            }
            self.start_fanout(id, at as u16);
        }
        let queries = std::mem::take(&mut self.extensions[id].asked);
        for &(query, asked) in &queries {
            self.answer_extension(query, id, asked, now, out);
        }
        // Without queries somebody is about to watch it.
        if !queries.is_empty() {
            self.drop_if_unused(id, out);
        }
    }

    /// Adds an extension's sources up again and reports what changed.
    fn recompute(&mut self, id: ExtensionId, now: Time, out: &mut Outputs) {
        let extension = &mut self.extensions[id];
        let change = extension.recompute(&self.links, now);
        // A state that rings is reported again even unchanged: another caller may ring now.
        let rings_again = !change.state && !change.presence && extension.state.rings();
        if change.is_none() && !rings_again {
            return;
        }
        self.tell_control(id, change, rings_again, out);
        let change = Change { state: change.state || rings_again, ..change };
        self.report_all(id, change, now, out);
    }

    /// Reports a change to all groups whose documents may show it.
    fn report_all(&mut self, id: ExtensionId, change: Change, now: Time, out: &mut Outputs) {
        for at in 0..self.extensions[id].groups.len() {
            if self.concerns(id, at, change) {
                self.report(id, at, now, out);
            }
        }
    }

    /// Whether a group's documents may show a change.
    fn concerns(&self, id: ExtensionId, at: usize, change: Change) -> bool {
        let view = self.extensions[id].groups[at].view.as_ref();
        view.is_some_and(|view| change.concerns(view.format))
    }

    fn tell_control(&self, id: ExtensionId, change: Change, rings_again: bool, out: &mut Outputs) {
        if !self.listens || &*self.extensions[id].context == mailbox::CONTEXT {
            return;
        }
        let Extension { tenant, context, exten, hint, state, presence, .. } = &self.extensions[id];
        if change.state || rings_again {
            out.events.push(Event::ExtensionStatus {
                extension: Arc::clone(exten),
                context: Arc::clone(context),
                tenant: *tenant,
                hint: Arc::clone(hint),
                state: Some(*state),
            });
        }
        if change.presence {
            out.events.push(Event::PresenceStatus {
                extension: Arc::clone(exten),
                context: Arc::clone(context),
                tenant: *tenant,
                hint: Arc::clone(hint),
                presence: presence.clone(),
            });
        }
    }

    /// Brings a group's document up to date, and starts its fan-out if the watchers are to hear
    /// of it: in the `rfc` dialect if the document changed, in the `asterisk` dialect always. Then
    /// true.
    fn report(&mut self, id: ExtensionId, at: usize, now: Time, out: &mut Outputs) -> bool {
        let has_changed = self.render(id, at);
        let group = &mut self.extensions[id].groups[at];
        let Some(view) = &group.view else { return false };
        if !has_changed && view.dialect == Dialect::Rfc {
            self.stats.counters.notify_suppressed += group.watchers.len() as u64;
            return false;
        }
        group.generation = group.generation.wrapping_add(1);
        self.start_fanout(id, at as u16);
        self.tell_parts(id, at, now, out);
        true
    }

    /// Patches or renders a group's document. NOTIFYs in flight keep the old one.
    pub(crate) fn render(&mut self, id: ExtensionId, at: usize) -> bool {
        use crate::body::Update;
        let extension = &mut self.extensions[id];
        // Taken out for a moment: what it shows lies in the same extension.
        let mut groups = std::mem::take(&mut extension.groups);
        let Group { view, body, .. } = &mut groups[at];
        let update = view.as_ref().map(|view| {
            let shown = extension.shown(view.dialect);
            Arc::make_mut(body).update(&view.view(&extension.exten), &shown)
        });
        extension.groups = groups;
        let Some(update) = update else { return false };
        match update {
            Update::Unchanged => {}
            Update::Patched => self.stats.counters.template_patched += 1,
            Update::Rendered => self.stats.counters.template_rendered += 1,
        }
        update.changed()
    }

    /// The hint of an extension as its watchers see it: configured, or grown by `autohints`,
    /// combined with publications.
    pub(crate) fn find_hint(&self, tenant: TenantId, context: &str, exten: &str) -> Option<Found> {
        let found = self.find_own_hint(tenant, context, exten);
        self.config.combine(tenant, context, exten, found)
    }

    fn find_own_hint(&self, tenant: TenantId, context: &str, exten: &str) -> Option<Found> {
        if let Some(found) = self.config.find_configured(tenant, context, exten) {
            return Some(found);
        }
        let key = (tenant, Arc::from(context), Arc::from(exten));
        let hint = self.auto_hints.get(&key)?;
        Some(Found { context: key.1, exten: key.2, hint: Arc::clone(hint), explicit: true })
    }

    /// First state of a device in a context with `autohints`: the context gains a hint of the
    /// device's name; the others are told so that every shard knows it.
    pub(crate) fn auto_hint(
        &mut self,
        tenant: TenantId,
        device: &Arc<str>,
        tells_others: bool,
        now: Time,
        out: &mut Outputs,
    ) {
        let config = Arc::clone(&self.config);
        let Some((_, exten)) = device.split_once('/').or_else(|| device.split_once(':')) else {
            return;
        };
        for context in config.dialplan.autohint_contexts(tenant) {
            if exten.is_empty() || self.find_own_hint(tenant, context, exten).is_some() {
                continue;
            }
            let Ok(hint) = Hint::parse(device, "autohints") else { continue };
            let (exten, hint): (Arc<str>, _) = (exten.into(), Arc::new(hint));
            for shard in self.placement.shards().filter(|shard| tells_others && *shard != self.id) {
                let message = ShardMessage::AutoHint {
                    tenant,
                    context: Arc::clone(context),
                    exten: Arc::clone(&exten),
                    hint: Arc::clone(&hint),
                };
                out.to_shards.push((shard, message));
            }
            self.on_auto_hint((tenant, Arc::clone(context), exten), hint, now, out);
        }
    }

    /// A hint grew somewhere; its owner makes the extension.
    pub(crate) fn on_auto_hint(
        &mut self,
        key: crate::extension::ExtensionKey,
        hint: Arc<Hint>,
        now: Time,
        out: &mut Outputs,
    ) {
        let owner = self.placement.shard_of_extension(key.0, &key.1, &key.2);
        self.auto_hints.insert(key.clone(), hint);
        if owner == self.id
            && let Some(found) = self.find_hint(key.0, &key.1, &key.2)
        {
            match self.extensions.find(&key) {
                // It was watched before the hint grew.
                Some(id) => self.follow_hint(id, found, now, out),
                None => drop(self.extension_for(key.0, found, now, out)),
            }
        }
    }

    /// The extension of a hint, made if it is new; `None` if there are too many.
    pub(crate) fn extension_for(
        &mut self,
        tenant: TenantId,
        found: Found,
        now: Time,
        out: &mut Outputs,
    ) -> Option<ExtensionId> {
        let key = (tenant, Arc::clone(&found.context), Arc::clone(&found.exten));
        if let Some(id) = self.extensions.find(&key) {
            if self.extensions[id].is_removed {
                self.follow_hint(id, found, now, out);
            }
            return Some(id);
        }
        if self.extensions.len() >= self.config.limits.extension_count_max {
            return None;
        }
        let id = self.extensions.insert(Extension {
            tenant,
            context: found.context,
            exten: found.exten,
            hint: found.hint,
            explicit: found.explicit,
            is_removed: false,
            devices: SmallVec::new(),
            presences: SmallVec::new(),
            unknown_count: 0,
            state: ExtensionState::Unavailable,
            presence: Presence::default(),
            messages: None,
            calls: None,
            changed_at: now,
            groups: Vec::new(),
            watcher_count: 0,
            attached_count: 0,
            asked: Vec::new(),
            is_told: false,
        });
        self.link(id, now, out);
        Some(id)
    }

    /// Links an extension to the sources its hint names, and adds them up.
    fn link(&mut self, id: ExtensionId, now: Time, out: &mut Outputs) {
        let hint = Arc::clone(&self.extensions[id].hint);
        let tenant = self.extensions[id].tenant;
        let config = Arc::clone(&self.config);
        let mut new_keys: SmallVec<[(SourceKey, u32); 2]> = SmallVec::new();
        let mut unknown_count = 0;
        let mut links = [SmallVec::<[u32; 2]>::new(), SmallVec::new()];
        for (names, links) in [&hint.devices, &hint.presence].into_iter().zip(&mut links) {
            for name in names {
                let key = (tenant, canonical_name(&config.providers, name));
                let (link, is_new) = self.links.add(key.clone(), id, &config.providers);
                unknown_count += u32::from(!self.links.get(link).known);
                links.push(link);
                if is_new {
                    new_keys.push((key, self.links.get(link).serial));
                }
            }
        }
        let [devices, presences] = links;
        let extension = &mut self.extensions[id];
        extension.devices = devices;
        extension.presences = presences.into_iter().collect();
        extension.unknown_count = unknown_count;
        extension.is_told |= unknown_count == 0;
        extension.recompute(&self.links, now);
        for ((tenant, name), serial) in new_keys {
            let owner = self.placement.shard_of_source(tenant, &name);
            if owner == self.id {
                self.attach((self.id, serial), (tenant, name), now, out);
            } else {
                out.to_shards.push((owner, ShardMessage::Attach { tenant, name, serial }));
            }
        }
    }

    /// Takes an extension's links back.
    pub(crate) fn unlink(&mut self, id: ExtensionId, out: &mut Outputs) {
        let extension = &mut self.extensions[id];
        let links: SmallVec<[u32; 4]> =
            extension.devices.drain(..).chain(extension.presences.drain(..)).collect();
        for link in links {
            let Some(key) = self.links.remove(link, id) else { continue };
            let owner = self.placement.shard_of_source(key.0, &key.1);
            if owner == self.id {
                self.sources.detach(&key, self.id);
            } else {
                out.to_shards.push((owner, ShardMessage::Detach { tenant: key.0, name: key.1 }));
            }
        }
    }

    /// The hint an extension has now. One that was removed is back.
    pub(crate) fn follow_hint(
        &mut self,
        id: ExtensionId,
        found: Found,
        now: Time,
        out: &mut Outputs,
    ) {
        let extension = &mut self.extensions[id];
        extension.explicit = found.explicit;
        if std::mem::take(&mut extension.is_removed) {
            // The end as an Asterisk shows it is nothing for those who watch from now on.
            for at in 0..self.extensions[id].groups.len() {
                self.render(id, at);
            }
        }
        if *self.extensions[id].hint != *found.hint {
            self.relink(id, found.hint, now, out);
        }
    }

    /// Takes over another hint for the same extension.
    pub(crate) fn relink(
        &mut self,
        id: ExtensionId,
        hint: Arc<Hint>,
        now: Time,
        out: &mut Outputs,
    ) {
        let extension = &mut self.extensions[id];
        let Extension { state, presence, calls, messages, .. } = extension;
        let before = (*state, presence.clone(), calls.clone(), messages.clone());
        let has_moved = extension.hint.voicemail_extension != hint.voicemail_extension;
        let (was_unknown, was_told) = (extension.unknown_count > 0, extension.is_told);
        // Kept apart: answering the last one would forget the extension under our hands.
        let asked = std::mem::take(&mut extension.asked);
        self.unlink(id, out);
        let extension = &mut self.extensions[id];
        extension.hint = hint;
        if extension.hint.presence.is_empty() {
            extension.presence = Presence::default();
        }
        self.link(id, now, out);
        let extension = &mut self.extensions[id];
        extension.asked = asked;
        if extension.unknown_count > 0 {
            // `became_known` compares with what watchers were told, and tells them.
            let extension = &mut self.extensions[id];
            (extension.state, extension.presence, extension.calls, extension.messages) = before;
            let change = Change { messages: has_moved, ..Change::default() };
            return self.report_all(id, change, now, out);
        }
        let change = Change {
            state: before.0 != extension.state,
            presence: before.1 != extension.presence,
            calls: before.2 != extension.calls,
            messages: before.3 != extension.messages || has_moved,
        };
        if was_told {
            self.tell_control(id, change, false, out);
        }
        self.report_all(id, change, now, out);
        // The new sources may be known where the old ones were not: nobody else will say so.
        if was_unknown {
            self.became_known(id, now, out);
        }
    }

    /// An extension of a pattern or range goes when nobody needs it.
    pub(crate) fn drop_if_unused(&mut self, id: ExtensionId, out: &mut Outputs) {
        let Some(extension) = self.extensions.get(id) else { return };
        let is_unused =
            !extension.explicit && !extension.is_watched() && extension.asked.is_empty();
        if is_unused {
            self.unlink(id, out);
            self.extensions.remove(id);
        }
    }
}
