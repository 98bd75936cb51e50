//! Answers to the control plane.

use std::sync::Arc;

use lampfield_wire::MessageCounts;

use crate::body::Format;
use crate::command::{
    Answer, DeviceRow, ExplainedSource, Explanation, ExtensionRow, ListMembers, PresenceRow, Query,
    Reply, SubscriptionRow,
};
use crate::dialplan::Found;
use crate::extension::{Asked, Extension, ExtensionId};
use crate::mailbox;
use crate::placement::TenantId;
use crate::source::{Source, canonical_name};
use crate::state::{DeviceState, Messages, Presence};
use crate::subscription::{Lifecycle, Subscription, Watching};
use crate::texts::Text;
use crate::{Outputs, Shard, Time};

/// Watchers an explanation lists.
const EXPLAINED_WATCHER_COUNT_MAX: usize = 1000;

impl Shard {
    /// Answers a query, at once or when the sources it needs have spoken.
    pub(crate) fn answer(&mut self, id: u64, query: Query, now: Time, out: &mut Outputs) {
        let answer = match query {
            Query::Device(tenant, device) => Answer::Devices(vec![self.device(tenant, &device)]),
            Query::Presence(tenant, presentity) => {
                Answer::Presences(self.presence(tenant, &presentity).into_iter().collect())
            }
            Query::Devices(tenant) => Answer::Devices(self.devices(tenant)),
            Query::Mailboxes(tenant) => Answer::Mailboxes(self.mailboxes(tenant)),
            Query::Presences(tenant) => Answer::Presences(self.presences(tenant)),
            Query::Extension { tenant, context, exten } => {
                let asked = Asked::Row;
                return self.ask_extension(id, (tenant, &context, &exten), asked, now, out);
            }
            Query::Explain { tenant, context, exten } => {
                let asked = Asked::Explanation;
                return self.ask_extension(id, (tenant, &context, &exten), asked, now, out);
            }
            Query::Extensions(tenant) => Answer::Extensions(
                self.extensions
                    .iter()
                    .filter(|(_, extension)| extension.tenant == tenant)
                    .filter(|(_, extension)| &*extension.context != mailbox::CONTEXT)
                    .map(|(_, extension)| row(extension))
                    .collect(),
            ),
            Query::Subscriptions { tenant, call_id, limit } => {
                self.list_subscriptions(tenant, call_id, limit, now)
            }
            Query::Publications { tenant, presentity, limit } => {
                self.list_publications(tenant, presentity, limit, now)
            }
            Query::Registrations { tenant, limit } => self.list_registrations(tenant, limit, now),
            Query::Stats => Answer::Stats(Box::new(self.stats())),
        };
        out.replies.push(Reply { id, shard: self.id, answer });
    }

    fn device(&self, tenant: TenantId, device: &str) -> DeviceRow {
        let name = canonical_name(&self.config.providers, device);
        let state = self.sources.get(&(tenant, Arc::clone(&name))).and_then(Source::device_of_all);
        self.device_row(name, state)
    }

    fn device_row(&self, device: Arc<str>, told: Option<DeviceState>) -> DeviceRow {
        let initial = || self.config.providers.initial_device(&device);
        DeviceRow { state: told.unwrap_or_else(initial), reported: told.is_some(), device }
    }

    fn presence(&self, tenant: TenantId, presentity: &str) -> Option<PresenceRow> {
        let providers = &self.config.providers;
        let name = canonical_name(providers, presentity);
        let initial = providers.initial_presence(&name)?;
        let source = self.sources.get(&(tenant, Arc::clone(&name)));
        let set = source.and_then(|source| source.presence.clone());
        let (presence, written) = set.unwrap_or((initial, "".into()));
        Some(PresenceRow { presentity: name, presence, written })
    }

    fn devices(&self, tenant: TenantId) -> Vec<DeviceRow> {
        let providers = &self.config.providers;
        let of_tenant = self.sources.iter().filter(|source| source.key.0 == tenant);
        let row = |source: &Source| {
            let (name, told) = (&source.key.1, source.device_of_all());
            let is_device = told.is_some() || providers.of_device(name).is_some();
            is_device.then(|| self.device_row(Arc::clone(name), told))
        };
        of_tenant.filter_map(row).collect()
    }

    fn presences(&self, tenant: TenantId) -> Vec<PresenceRow> {
        let of_tenant = self.sources.iter().filter(|source| source.key.0 == tenant);
        let row = |source: &Source| {
            let (presence, written) = source.presence.clone()?;
            Some(PresenceRow { presentity: Arc::clone(&source.key.1), presence, written })
        };
        of_tenant.filter_map(row).collect()
    }

    fn ask_extension(
        &mut self,
        query: u64,
        (tenant, context, exten): (TenantId, &str, &str),
        asked: Asked,
        now: Time,
        out: &mut Outputs,
    ) {
        let found = self.find_hint(tenant, context, exten).filter(|found: &Found| {
            self.placement.shard_of_extension(tenant, &found.context, exten) == self.id
        });
        let id = found.and_then(|found| self.extension_for(tenant, found, now, out));
        let Some(id) = id else {
            let answer = match asked {
                Asked::Row => Answer::Extensions(Vec::new()),
                Asked::Explanation => Answer::Explain(None),
            };
            out.replies.push(Reply { id: query, shard: self.id, answer });
            return;
        };
        if self.extensions[id].unknown_count > 0 {
            self.extensions[id].asked.push((query, asked));
            return;
        }
        self.answer_extension(query, id, asked, now, out);
        self.drop_if_unused(id, out);
    }

    pub(crate) fn answer_extension(
        &self,
        query: u64,
        id: ExtensionId,
        asked: Asked,
        now: Time,
        out: &mut Outputs,
    ) {
        let extension = &self.extensions[id];
        let answer = match asked {
            Asked::Row => Answer::Extensions(vec![row(extension)]),
            Asked::Explanation => Answer::Explain(Some(Box::new(self.explain(extension, now)))),
        };
        out.replies.push(Reply { id: query, shard: self.id, answer });
    }

    fn explain(&self, extension: &Extension, now: Time) -> Explanation {
        let source = |link: u32, is_presence: bool| {
            let link = self.links.get(link);
            let state = match is_presence {
                true => describe(&link.presence),
                false => match link.messages.as_deref() {
                    Some(messages) => describe_messages(link.device, messages),
                    None => link.device.token().into(),
                },
            };
            ExplainedSource {
                name: Arc::clone(&link.key.1),
                state,
                age_ms: link.changed_at.map(|at| now.since(at).as_millis() as u64),
                owner: self.placement.shard_of_source(link.key.0, &link.key.1),
            }
        };
        let devices = extension.devices.iter().map(|&link| source(link, false));
        let presences = extension.presences.iter().map(|&link| source(link, true));
        let watchers = extension.groups.iter().flat_map(|group| &group.watchers);
        Explanation {
            extension: row(extension),
            sources: devices.chain(presences).collect(),
            watchers: watchers
                .take(EXPLAINED_WATCHER_COUNT_MAX)
                .map(|&slot| self.subscription_row(&self.subscriptions[slot], now))
                .collect(),
        }
    }

    fn list_subscriptions(
        &self,
        tenant: Option<TenantId>,
        call_id: Option<Arc<str>>,
        limit: usize,
        now: Time,
    ) -> Answer {
        let is_wanted = |subscription: &&Subscription| {
            let of_tenant = self.tenant_of(subscription);
            let text = self.texts.get(&subscription.texts).get(Text::CallId);
            tenant.is_none_or(|tenant| tenant == of_tenant)
                && call_id.as_ref().is_none_or(|call_id| call_id.as_bytes() == text)
        };
        let wanted = || self.subscriptions.iter().map(|(_, s)| s).filter(is_wanted);
        let rows = wanted().take(limit).map(|s| self.subscription_row(s, now)).collect();
        Answer::Subscriptions(rows, wanted().count())
    }

    fn tenant_of(&self, subscription: &Subscription) -> TenantId {
        match subscription.watching() {
            Watching::Extension(seat) => self.extensions[seat.extension].tenant,
            Watching::List(list) => list.tenant,
        }
    }

    fn subscription_row(&self, subscription: &Subscription, now: Time) -> SubscriptionRow {
        let (exten, context, content_type, extension_state, members) = match subscription.watching()
        {
            Watching::Extension(seat) => {
                let extension = &self.extensions[seat.extension];
                let view = extension.groups[usize::from(seat.group)].view.as_ref();
                let format = view.map_or(Format::Pidf, |view| view.format);
                let (exten, context) = (&extension.exten, &extension.context);
                (exten, context, format.content_type(), Some(extension.state), None)
            }
            Watching::List(list) => {
                let members = ListMembers {
                    member_count: list.members.len(),
                    waiting_count: list.dirty.count(),
                    content_type: list.view.format.content_type(),
                };
                (list.name(), &list.context, "multipart/related", None, Some(members))
            }
        };
        let texts = self.texts.get(&subscription.texts);
        let text = |text| String::from_utf8_lossy(texts.get(text)).into_owned();
        let endpoint = self.config.endpoints.get(subscription.endpoint.0 as usize);
        let flow = self.hops.flow(subscription.hop);
        let acked_age_s = now.as_secs().saturating_sub(u64::from(subscription.acked_at_s));
        SubscriptionRow {
            endpoint: endpoint.map_or_else(|| "".into(), |endpoint| Arc::clone(&endpoint.name)),
            exten: Arc::clone(exten),
            context: Arc::clone(context),
            event: text(Text::Event).into(),
            content_type,
            call_id: text(Text::CallId).into(),
            watcher: text(Text::Remote).into(),
            next_hop: format!("{}:{}", flow.transport.token().to_lowercase(), flow.peer).into(),
            expires_s: subscription.remaining_s(now),
            state: match subscription.state {
                Lifecycle::Ending(_) => "TERMINATED",
                Lifecycle::Active if subscription.unanswered_count > 0 => "SUSPECT",
                Lifecycle::Active => "ACTIVE",
            },
            cseq: subscription.cseq,
            acknowledged: subscription.acked_state,
            in_flight: subscription.in_flight.is_some(),
            acknowledged_age_ms: (subscription.acked_at_s > 0).then_some(acked_age_s * 1000),
            extension_state,
            members,
        }
    }
}

/// A mailbox's lamp and its messages in one line.
fn describe_messages(device: DeviceState, messages: &Messages) -> Box<str> {
    let MessageCounts { new, old, .. } = messages.counts;
    format!("{} ({new} new, {old} old)", device.token()).into()
}

/// State, subtype and message in one line.
fn describe(presence: &Presence) -> Box<str> {
    let Presence { state, subtype, message } = presence;
    match (subtype.is_empty(), message.is_empty()) {
        (true, true) => state.token().into(),
        _ => format!("{} ({subtype:?}, {message:?})", state.token()).into(),
    }
}

fn row(extension: &Extension) -> ExtensionRow {
    ExtensionRow {
        tenant: extension.tenant,
        context: Arc::clone(&extension.context),
        exten: Arc::clone(&extension.exten),
        hint: Arc::clone(&extension.hint),
        state: extension.state,
        presence: extension.presence.clone(),
        watcher_count: extension.watcher_count,
        list_shard_count: extension.attached_count,
    }
}
