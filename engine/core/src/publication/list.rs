//! Publications as the control plane sees them.

use std::sync::Arc;

use super::{Document, Publication, compose};
use crate::command::{Answer, PublicationRow};
use crate::config::CallDetails;
use crate::placement::TenantId;
use crate::{Shard, Time};

impl Shard {
    pub(crate) fn list_publications(
        &self,
        tenant: Option<TenantId>,
        presentity: Option<Arc<str>>,
        limit: usize,
        now: Time,
    ) -> Answer {
        let is_wanted = |publication: &&Publication| {
            tenant.is_none_or(|tenant| tenant == publication.key.0)
                && presentity.as_ref().is_none_or(|name| *name == publication.key.1)
        };
        let wanted = || self.publications.iter().filter(is_wanted);
        let rows = wanted().take(limit).map(|publication| row(publication, now)).collect();
        Answer::Publications(rows, wanted().count())
    }
}

fn row(publication: &Publication, now: Time) -> PublicationRow {
    let composed = compose(std::iter::once(&publication.document), CallDetails::None);
    let left_s = u64::from(publication.expires_at_s).saturating_sub(now.as_secs());
    PublicationRow {
        presentity: Arc::clone(&publication.key.1),
        event: publication.event.name(),
        entity_tag: publication.entity_tag.to_string().into(),
        endpoint: Arc::clone(&publication.endpoint),
        source: publication.source,
        expires_s: left_s as u32,
        device: composed.device,
        presence: composed.presence,
        messages: composed.messages,
        server: match &publication.document {
            Document::Server(server) => Some((server.id, server.told.len())),
            _ => None,
        },
    }
}
