//! A new configuration: differences only. A subscription whose extension still exists is untouched.

use std::sync::Arc;

use crate::command::Event;
use crate::config::{Config, Endpoint, EndpointId};
use crate::extension::ExtensionId;
use crate::index::EndpointIndex;
use crate::placement::TenantId;
use crate::subscription::Reason;
use crate::{Outputs, Shard, Time};

impl Shard {
    /// Makes every configured extension that this shard owns and does not have.
    pub(crate) fn make_extensions(&mut self, now: Time, out: &mut Outputs) {
        let config = Arc::clone(&self.config);
        for tenant in (0..config.tenants.len()).map(|tenant| TenantId(tenant as u16)) {
            for (context, exten, _) in config.dialplan.explicit_hints(tenant) {
                if self.placement.shard_of_extension(tenant, context, exten) == self.id
                    && let Some(found) = self.find_hint(tenant, context, exten)
                {
                    self.extension_for(tenant, found, now, out);
                }
            }
        }
    }

    /// Takes over `new`.
    pub(crate) fn reload(&mut self, new: Arc<Config>, now: Time, out: &mut Outputs) {
        let old = std::mem::replace(&mut self.config, new);
        self.shared_run = crate::notify::SharedRun::new(&self.config);
        self.move_endpoints(&old, now, out);
        let Self { texts, subscriptions, per_source, config, .. } = self;
        let sources = subscriptions.iter().map(|(_, s)| texts.get(&s.texts).source());
        per_source.take_over(&config.limits, sources);
        self.publications.follow(&self.config);
        let held: Vec<ExtensionId> = self.extensions.iter().map(|(id, _)| id).collect();
        for id in held {
            let extension = &self.extensions[id];
            let (tenant, context, exten) = extension.key();
            match self.find_hint(tenant, &context, &exten).filter(|found| found.context == context)
            {
                None => self.remove_extension(id, now, out),
                Some(found) => self.follow_hint(id, found, now, out),
            }
        }
        self.make_extensions(now, out);
        self.reload_count += 1;
        let lists = self.subscriptions.iter().filter(|(_, s)| s.list().is_some());
        let lists: Vec<_> = lists.map(|(slot, s)| (slot, s.tag.check)).collect();
        self.reloads.extend(lists);
    }

    /// Endpoints are numbered by place; a reload may have moved or removed them.
    fn move_endpoints(&mut self, old: &Config, now: Time, out: &mut Outputs) {
        let config = Arc::clone(&self.config);
        self.endpoint_index = EndpointIndex::new(&config, self.hasher.clone());
        let index = &self.endpoint_index;
        let new_id = |old: &Endpoint| index.find(&config, old.tenant, &old.name);
        let map: Vec<Option<EndpointId>> = old.endpoints.iter().map(new_id).collect();
        let slots: Vec<u32> = self.subscriptions.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(subscription) = self.subscriptions.get_mut(slot) else { continue };
            match map.get(subscription.endpoint.0 as usize).copied().flatten() {
                Some(id) => subscription.endpoint = id,
                None => {
                    subscription.endpoint = EndpointId(u32::MAX);
                    let seat = subscription.seat();
                    self.end_subscription(slot, Reason::Rejected, now, out);
                    // A fan-out: many may go at once, and each turn has its budget. Lists have
                    // their turn when all is taken over.
                    if let Some(seat) = seat {
                        self.start_fanout(seat.extension, seat.group);
                    }
                }
            }
        }
    }

    /// The hint is gone: its watchers are told, and then the extension goes.
    fn remove_extension(&mut self, id: ExtensionId, now: Time, out: &mut Outputs) {
        let extension = &mut self.extensions[id];
        (extension.explicit, extension.is_removed) = (false, true);
        let watchers: Vec<u32> =
            extension.groups.iter().flat_map(|group| group.watchers.iter().copied()).collect();
        if self.listens {
            out.events.push(Event::ExtensionStatus {
                extension: Arc::clone(&extension.exten),
                context: Arc::clone(&extension.context),
                tenant: extension.tenant,
                hint: Arc::clone(&extension.hint),
                state: None,
            });
        }
        for slot in watchers {
            self.end_subscription(slot, Reason::NoResource, now, out);
        }
        for group in 0..self.extensions[id].groups.len() {
            self.render(id, group);
            self.start_fanout(id, group as u16);
        }
        self.end_parts(id, now, out);
        for (query, asked) in std::mem::take(&mut self.extensions[id].asked) {
            self.answer_extension(query, id, asked, now, out);
        }
        self.drop_if_unused(id, out);
    }
}
