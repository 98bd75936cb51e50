//! What becomes of publications that were accepted: begun, renewed, run out, added up.

use std::sync::Arc;

use super::publish::{Offered, Published};
use super::server::feed_name;
use super::{Document, EntityTag, EventName, Publication, calls, compose};
use crate::source::SourceKey;
use crate::{Outputs, Shard, Time};

/// Publications one turn lets run out, or looks at after a reload.
const VISITS_PER_TURN_MAX: usize = 64;

impl Shard {
    /// A new publication. One with `Expires: 0` is shown for a second: what is not shown at all
    /// could as well not be said.
    pub(super) fn begin_publication(
        &mut self,
        offered: &Offered,
        document: Document,
        (endpoint, source): (Arc<str>, std::net::IpAddr),
        wanted_s: u32,
        now: Time,
        out: &mut Outputs,
    ) -> (u32, Published) {
        let entity_tag = self.new_entity_tag(now);
        let expires_at_s = (now.as_secs_ceil() + u64::from(wanted_s.max(1))) as u32;
        self.stats.counters.publication_created += 1;
        let slot = self.publications.insert(Publication {
            key: offered.key.clone(),
            event: offered.event,
            entity_tag,
            id: self.rng.u64(..),
            endpoint,
            source,
            expires_at_s,
            armed_at_s: 0,
            said: entity_tag.serial,
            is_fleeting: wanted_s == 0,
            document,
        });
        self.keep_publication(slot, out);
        self.supersede(slot, out);
        (slot, Published { entity_tag, expires_s: wanted_s })
    }

    /// A refresh, or another document. What a server had told before stays beside what it tells now.
    pub(super) fn renew(
        &mut self,
        slot: u32,
        document: Option<Document>,
        endpoint: Arc<str>,
        wanted_s: u32,
        now: Time,
        out: &mut Outputs,
    ) -> Published {
        let entity_tag = self.new_entity_tag(now);
        let counters = &mut self.stats.counters;
        match document {
            None => counters.publication_refreshed += 1,
            Some(_) => counters.publication_modified += 1,
        }
        if let Some(publication) = self.publications.get_mut(slot) {
            publication.entity_tag = entity_tag;
            publication.endpoint = endpoint;
            if let Some(document) = document.filter(|new| !matches!(new, Document::Server(_))) {
                publication.document = document;
                publication.said = entity_tag.serial;
            }
        }
        let expires_at_s = (now.as_secs_ceil() + u64::from(wanted_s)) as u32;
        self.publications.set_expiry(slot, expires_at_s);
        self.keep_publication(slot, out);
        self.supersede(slot, out);
        Published { entity_tag, expires_s: wanted_s }
    }

    /// Other publications of the same observer let go of calls that this one knows better.
    fn supersede(&mut self, slot: u32, out: &mut Outputs) {
        let Some(newest) = self.publications.get(slot) else { return };
        let Document::Dialogs(calls) = &newest.document else { return };
        let mut left = Vec::new();
        for &other in self.publications.of(&newest.key).iter().filter(|&&other| other != slot) {
            let other_one = self.publications.get(other);
            let other_one = other_one.filter(|one| one.endpoint == newest.endpoint);
            if let Some(Document::Dialogs(older)) = other_one.map(|one| &one.document) {
                left.extend(calls::left_of(older, calls).map(|calls| (other, calls)));
            }
        }
        for (other, calls) in left {
            if let Some(publication) = self.publications.get_mut(other) {
                publication.document = Document::Dialogs(calls);
                self.keep_publication(other, out);
            }
        }
    }

    pub(super) fn new_entity_tag(&mut self, now: Time) -> EntityTag {
        let unix_ms = self.unix_ms(now);
        EntityTag { serial: self.publications.next_serial(unix_ms), random: self.rng.u64(..) }
    }

    /// Forgets a publication and its record; its presentity is to be added up again.
    pub(super) fn drop_publication(
        &mut self,
        slot: u32,
        now: Time,
        out: &mut Outputs,
    ) -> Option<SourceKey> {
        self.forget_publication(slot, out);
        let Publication { key, id, document, .. } = self.publications.remove(slot)?;
        if let Document::Server(server) = document {
            self.withdraw(&key, id, &server, now, out);
        }
        Some(key)
    }

    /// Whether a publication may be kept under the configuration.
    pub(super) fn may_stay(&self, publication: &Publication) -> bool {
        let Publication { key, event, endpoint, .. } = publication;
        match event {
            EventName::Package(_) => self.publications.is_publisher(key.0, endpoint),
            _ => self.has_feed(key, *event),
        }
    }

    /// Publications that run out, and those a new configuration does not allow any more.
    pub(crate) fn on_publications(&mut self, now: Time, out: &mut Outputs) {
        let mut visits_left = VISITS_PER_TURN_MAX;
        while let Some(slot) = self.publications.pop_expired(now, &mut visits_left) {
            self.stats.counters.publication_expired += 1;
            if let Some(key) = self.drop_publication(slot, now, out) {
                self.recompose(&key, now, out);
            }
        }
        for _ in 0..VISITS_PER_TURN_MAX {
            let Some(slot) = self.publications.unchecked.pop_front() else { return };
            let Some(publication) = self.publications.get(slot) else { continue };
            let key = publication.key.clone();
            if !self.may_stay(publication) {
                self.stats.counters.publication_ended += 1;
                self.drop_publication(slot, now, out);
            }
            // What watchers may learn can have changed, too.
            self.recompose(&key, now, out);
        }
    }

    /// Adds the publications of a presentity up again, and tells who hints at it.
    pub(super) fn recompose(&mut self, key: &SourceKey, now: Time, out: &mut Outputs) {
        if feed_name(key).is_some() {
            return;
        }
        let slots = self.publications.of(key);
        let mut held: Vec<&Publication> =
            slots.iter().filter_map(|slot| self.publications.get(*slot)).collect();
        held.sort_unstable_by_key(|publication| std::cmp::Reverse(publication.said));
        let rule = self.config.tenants.get(usize::from(key.0.0)).and_then(|t| t.publications);
        let details = rule.unwrap_or_default().call_details;
        let composed = compose(held.iter().map(|publication| &publication.document), details);
        let count_max = self.config.limits.source_count_max;
        let Some(source) = self.sources.get_or_insert(key.clone(), count_max) else {
            self.stats.counters.command_refused += 1;
            return;
        };
        let presence = composed.presence.map(|presence| (presence, Arc::from("")));
        let before = source.state();
        (source.device, source.presence) = (composed.device, presence);
        (source.calls, source.messages) = (composed.calls, composed.messages.map(Box::new));
        let (told, attached) = (source.state(), source.attached.clone());
        self.sources.release(key);
        if before == told {
            self.stats.counters.source_repeated += 1;
            return;
        }
        self.stats.counters.source_changed += 1;
        self.tell_listeners(&before, &told, out);
        self.tell(&attached, told, now, out);
    }
}
