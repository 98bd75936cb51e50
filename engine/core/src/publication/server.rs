//! What other servers publish of their devices and mailboxes.
//!
//! A server has one publication for each kind, and every PUBLISH tells one device or mailbox: the
//! publication is a stream of news. What it has told is kept by it, and at the source by the
//! server's entity id: a source is what all servers and we say of it together. A server that falls
//! silent loses its publication, and with it everything that only this publication has told. That is
//! where we are stricter than an Asterisk, which believes a dead server for ever.
//!
//! Source: `reference/pua.md` section 7.2, `reference/states.md` section 1.3.

use std::collections::BTreeMap;
use std::sync::Arc;

use lampfield_wire::{EntityId, HeaderName, Message, ServerEvent, ServerNews};

use super::keep::{KIND_TOLD, keep_told, write_key};
use super::publish::Offered;
use super::{Document, EventName, FEED_LABEL};
use crate::config::Endpoint;
use crate::feed::{Feed, FeedRules, Feeds};
use crate::mailbox::mailbox_source;
use crate::mesh::ShardMessage;
use crate::placement::TenantId;
use crate::record::Record;
use crate::respond::Answer;
use crate::source::{ServerState, SourceKey, canonical_name};
use crate::state::{DeviceState, Messages};
use crate::subscribe::{Outcome, Request};
use crate::{Outputs, Shard, Time};

/// What one publication of a server has told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Server {
    pub(crate) id: EntityId,
    /// By source; with each the serial of the PUBLISH that told it.
    pub(crate) told: BTreeMap<Arc<str>, (u64, ServerState)>,
}

/// What one PUBLISH of a server tells.
#[derive(Debug)]
pub(super) struct News {
    event: ServerEvent,
    /// The source it is of, and the state; `None` if the server only wants to be told.
    told: Option<(Arc<str>, ServerState)>,
}

impl News {
    /// The document of the publication it begins.
    pub(super) fn document(&self) -> Document {
        Document::Server(Box::new(Server { id: self.event.server, told: BTreeMap::new() }))
    }
}

impl Shard {
    /// Whether a PUBLISH is a server's.
    pub(super) fn event_of_server(message: &Message<'_>) -> Option<EventName> {
        let value = message.header(HeaderName::Event)?;
        let event = lampfield_wire::Event::parse(value).ok()?;
        EventName::of_servers(event.package)
    }

    /// What a server publishes to, if it may.
    pub(super) fn offered_by_server(
        &mut self,
        endpoint: &Endpoint,
        name: &str,
        event: EventName,
    ) -> Result<Offered, Answer> {
        let feed = self.config.feeds.find(endpoint.tenant, name);
        let feed = feed.filter(|feed| feed.rules(event).is_some());
        let feed = feed.ok_or_else(|| Answer::new(404, "Not Found"))?;
        if feed.endpoint.as_ref().is_some_and(|only| *only != endpoint.name) {
            return Err(self.forbidden("another endpoint publishes here"));
        }
        let source = format!("{FEED_LABEL}:{name}").into();
        Ok(Offered { key: (endpoint.tenant, source), event })
    }

    /// Whether a publication's feed is still configured.
    pub(super) fn has_feed(&self, key: &SourceKey, event: EventName) -> bool {
        feed_name(key)
            .is_some_and(|name| rules_of(&self.config.feeds, (key.0, name), event).is_some())
    }

    /// What the body of a server's PUBLISH tells; `None` without one.
    pub(super) fn news_of(
        &mut self,
        request: &Request<'_, '_>,
        offered: &Offered,
        matched: Option<u32>,
    ) -> Result<Option<News>, Answer> {
        let Some(bytes) = self.published_bytes(request, offered.event)? else { return Ok(None) };
        let event = ServerEvent::parse(&bytes).map_err(|error| {
            self.stats.counters.publish_malformed += 1;
            Answer::new(400, "Bad Request").warning(error)
        })?;
        let is_of_kind = match event.news {
            ServerNews::Device { .. } => offered.event == EventName::ServerDevices,
            ServerNews::Mailbox { .. } => offered.event == EventName::ServerMailboxes,
            ServerNews::Refresh => true,
        };
        let server = matched.and_then(|slot| self.server_of(slot)).map(|server| server.id);
        if !is_of_kind || server.is_some_and(|server| server != event.server) {
            self.stats.counters.publish_foreign += 1;
            let text = "this publication is about something else, or of another server";
            return Err(Answer::new(400, "Bad Request").warning(text));
        }
        let told = self.told_source(&event.news);
        Ok(Some(News { event, told }))
    }

    fn server_of(&self, slot: u32) -> Option<&Server> {
        match &self.publications.get(slot)?.document {
            Document::Server(server) => Some(server),
            _ => None,
        }
    }

    /// The source a server tells of; `None` if it only wants to be told.
    fn told_source(&self, news: &ServerNews) -> Option<(Arc<str>, ServerState)> {
        match news {
            ServerNews::Device { device, state, .. } => {
                let source = canonical_name(&self.config.providers, device);
                Some((source, ServerState::Device(Some(DeviceState::from_token(state)))))
            }
            ServerNews::Mailbox { mailbox, new, old } => {
                let messages = Messages::counted(*new, *old);
                Some((mailbox_source(mailbox), ServerState::Mailbox(Some(messages))))
            }
            ServerNews::Refresh => None,
        }
    }

    /// Whether a publication may tell of one more source.
    pub(super) fn check_told(&mut self, slot: u32, news: Option<&News>) -> Result<(), Outcome> {
        let count_max = self.config.limits.publication_told_max;
        let told = news.and_then(|news| news.told.as_ref());
        let has_room = match (self.server_of(slot), told) {
            (Some(server), Some((source, _))) => {
                server.told.len() < count_max || server.told.contains_key(source)
            }
            _ => true,
        };
        if has_room {
            return Ok(());
        }
        self.stats.counters.publish_shed += 1;
        Err(self.shed())
    }

    /// Takes over what a server tells, if it is wanted.
    pub(super) fn take_news(&mut self, slot: u32, news: News, now: Time, out: &mut Outputs) {
        let News { event, told } = news;
        let Some((source, state)) = told else {
            // Nothing is told to other servers from here.
            self.stats.counters.publish_refresh_wanted += 1;
            return;
        };
        let Some(publication) = self.publications.get(slot) else { return };
        let (key, kind, id) = (publication.key.clone(), publication.event, publication.id);
        let serial = publication.entity_tag.serial;
        if !self.is_wanted(&key, kind, &event.news) {
            self.stats.counters.publish_filtered += 1;
            return;
        }
        if let Some(Document::Server(server)) =
            self.publications.get_mut(slot).map(|publication| &mut publication.document)
        {
            server.told.insert(Arc::clone(&source), (serial, state));
        }
        if self.durable {
            out.records.push(keep_told(key.0, id, &source, serial, state));
        }
        self.tell_of_server((key.0, source), event.server, state, now, out);
    }

    fn is_wanted(&self, key: &SourceKey, kind: EventName, news: &ServerNews) -> bool {
        let name = feed_name(key).unwrap_or_default();
        let rules = rules_of(&self.config.feeds, (key.0, name), kind);
        rules.is_some_and(|rules| match news {
            // What does not last is of interest to those who see it happen.
            ServerNews::Device { device, is_cachable, .. } => *is_cachable && rules.takes(device),
            ServerNews::Mailbox { mailbox, .. } => rules.takes(mailbox),
            ServerNews::Refresh => true,
        })
    }

    /// A publication of a server is over: what only it has told is withdrawn.
    pub(super) fn withdraw(
        &mut self,
        key: &SourceKey,
        id: u64,
        server: &Server,
        now: Time,
        out: &mut Outputs,
    ) {
        for (source, (_, said)) in &server.told {
            if self.durable {
                let key = write_key(KIND_TOLD, key.0, id, source);
                out.records.push(Record { key, value: None });
            }
            // A server that started anew has another publication, and may have told it again.
            let others = self.publications.of(key).iter().filter_map(|slot| self.server_of(*slot));
            let others = others.filter(|other| other.id == server.id);
            let same = others.filter_map(|other| other.told.get(source));
            let same = same.filter(|(_, state)| state.is_like(*said));
            let state = same.max_by_key(|told| told.0).map_or(said.nothing(), |told| told.1);
            self.tell_of_server((key.0, Arc::clone(source)), server.id, state, now, out);
        }
    }

    /// Tells the owner of a source what a server says of it.
    pub(super) fn tell_of_server(
        &mut self,
        key: SourceKey,
        server: EntityId,
        state: ServerState,
        now: Time,
        out: &mut Outputs,
    ) {
        let owner = self.placement.shard_of_source(key.0, &key.1);
        if owner == self.id {
            return self.on_server_state(key, server, state, now, out);
        }
        let (tenant, name) = key;
        out.to_shards.push((owner, ShardMessage::ServerState { tenant, name, server, state }));
    }

    /// A server says something else of a source of ours.
    pub(crate) fn on_server_state(
        &mut self,
        key: SourceKey,
        server: EntityId,
        state: ServerState,
        now: Time,
        out: &mut Outputs,
    ) {
        let count_max = self.config.limits.source_count_max;
        let Some(source) = self.sources.get_or_insert(key.clone(), count_max) else {
            self.stats.counters.command_refused += 1;
            return;
        };
        let before = source.state();
        source.set_of_server(server, state);
        let (told, attached) = (source.state(), source.attached.clone());
        self.sources.release(&key);
        if before == told {
            self.stats.counters.source_repeated += 1;
            return;
        }
        self.stats.counters.source_changed += 1;
        self.tell_listeners(&before, &told, out);
        if told.device.is_some() {
            self.auto_hint(key.0, &key.1, true, now, out);
        }
        self.tell(&attached, told, now, out);
    }
}

fn rules_of<'f>(
    feeds: &'f Feeds,
    (tenant, name): (TenantId, &str),
    event: EventName,
) -> Option<&'f FeedRules> {
    feeds.find(tenant, name)?.rules(event)
}

impl Feed {
    fn rules(&self, event: EventName) -> Option<&FeedRules> {
        match event {
            EventName::ServerDevices => self.devices.as_ref(),
            EventName::ServerMailboxes => self.mailboxes.as_ref(),
            EventName::Package(_) => None,
        }
    }
}

/// The name servers publish to, of the key of their publications.
pub(super) fn feed_name(key: &SourceKey) -> Option<&str> {
    key.1.strip_prefix(FEED_LABEL)?.strip_prefix(':')
}
