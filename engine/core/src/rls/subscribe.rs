//! SUBSCRIBE to a list: RFC 4662 section 4, RFC 5367, RFC 5839; `reference/sip-pubsub.md`
//! sections 10.1 and 13.

use std::sync::Arc;
use std::time::Duration;

use lampfield_wire::{
    ACCEPTED_ENCODINGS, EncodingError, HeaderName, ResourceLists, SuppressIfMatch,
};

use super::resolve::Wisher;
use super::{Entry5367, Items, ListWatch, Source};
use crate::admission::{Peer, Wanted};
use crate::config::Dialect;
use crate::pace::Pace;
use crate::respond::Answer;
use crate::subscribe::{Accepted, Outcome, Request};
use crate::subscription::Watched;
use crate::transaction::Remembered as _;
use crate::{Outputs, Shard, Time};

/// Option tag of lists in requests (RFC 5367 section 4).
pub(crate) const RECIPIENT_LIST_SUBSCRIBE: &str = "recipient-list-subscribe";
/// Content-Disposition of lists in requests.
const RECIPIENT_LIST: &str = "recipient-list";
/// Content type of lists in requests.
const RESOURCE_LISTS: &str = "application/resource-lists+xml";

/// The list a request carries, if it carries one.
///
/// # Errors
///
/// The answer that says what is wrong with it.
pub(crate) fn list_in(
    request: &Request<'_, '_>,
    bytes_max: usize,
) -> Result<Option<Arc<[Entry5367]>>, Answer> {
    let body = &request.basics.body;
    let broken = |text: String| Answer::new(400, "Bad Request").warning(text);
    if !carries_list(request) {
        return Ok(None);
    }
    if !body.is_meant_as(RECIPIENT_LIST) {
        return Err(broken("The request carries no recipient-list".into()));
    }
    if !body.is(RESOURCE_LISTS) {
        return Err(Answer::new(415, "Unsupported Media Type").with("Accept", RESOURCE_LISTS));
    }
    let document = body.decode(bytes_max).map_err(|error| match error {
        EncodingError::TooLarge { .. } => Answer::new(413, "Request Entity Too Large"),
        EncodingError::UnknownEncoding => {
            Answer::new(415, "Unsupported Media Type").with("Accept-Encoding", ACCEPTED_ENCODINGS)
        }
        EncodingError::Corrupt => broken(format!("The recipient-list: {error}")),
    })?;
    let lists = ResourceLists::parse(&document)
        .map_err(|error| broken(format!("The recipient-list: {error}")))?;
    let entries = lists.flat_entries().into_iter().map(|entry| Entry5367 {
        uri: entry.uri.as_str().into(),
        display_name: entry.display_name.as_deref().map(Arc::from),
    });
    Ok(Some(entries.collect()))
}

/// Whether a request means to carry a list.
pub(crate) fn carries_list(request: &Request<'_, '_>) -> bool {
    request.basics.body.is_meant_as(RECIPIENT_LIST)
        || request.message.has_token(HeaderName::Require, RECIPIENT_LIST_SUBSCRIBE)
}

/// How a SUBSCRIBE says which list it wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Naming<'a> {
    /// By the name of a configured one.
    Named(&'a str),
    /// It is in the body (RFC 5367).
    Carried,
}

impl Shard {
    /// A SUBSCRIBE without To tag that names a list, or carries one.
    pub(crate) fn subscribe_list(
        &mut self,
        request: &Request<'_, '_>,
        peer: &Peer<'_>,
        wanted: &Wanted<'_>,
        naming: Naming<'_>,
        now: Time,
        out: &mut Outputs,
    ) -> Outcome {
        let basics = &request.basics;
        let partition = self.placement.partition_of_dialog(basics.call_id, basics.from_tag);
        let owner = self.placement.shard_of_partition(partition);
        let key = match self.take_on::<Accepted>(request, owner, now, out) {
            Ok(key) => key,
            Err(outcome) => return outcome,
        };
        let limits = &self.config.limits;
        if self.parts.edge_count() >= u64::from(limits.list_edge_count_max) {
            return self.shed();
        }
        let (tenant, package) = (peer.endpoint.tenant, wanted.package);
        let items = match naming {
            Naming::Named(name) => {
                let list = self.config.lists.find(tenant, name, package);
                list.map(Items::Configured).ok_or_else(|| Answer::new(404, "Not Found"))
            }
            Naming::Carried => list_in(request, limits.request_list_bytes_max)
                .map(|entries| Items::Request(entries.unwrap_or_default())),
        };
        let items = match items {
            Ok(items) => items,
            Err(answer) => return Outcome::Answer(answer),
        };
        let view = wanted.view(peer.endpoint, "".into());
        let context = &Arc::from(peer.endpoint.context_of(package));
        let uri = request.message.request_uri().unwrap_or_default();
        let unsupported = || Outcome::Answer(Answer::new(416, "Unsupported URI Scheme"));
        let Ok(uri) = std::str::from_utf8(uri) else { return unsupported() };
        let wisher = Wisher { tenant, context, package, view: &view, uri };
        let resolved = match self.resolve(wisher, &items) {
            Ok(Some(resolved)) => resolved,
            Ok(None) => return unsupported(),
            Err(_) => return Outcome::Answer(self.too_many()),
        };
        // An Asterisk has nothing to make a tree from (trace 10); phones hammer on an error.
        if resolved.members.is_empty() && peer.endpoint.dialect == Dialect::Asterisk {
            return Outcome::Answer(Answer::new(500, "Server Internal Error"));
        }
        let expires_s = self.granted(wanted.expires_s, peer.endpoint);
        let pace = Pace::new(items.batch_interval(), wanted.gap);
        let mut watch = ListWatch::new(wisher, items.source(), resolved.shape);
        watch.is_quenched =
            view.dialect == Dialect::Rfc && basics.suppress == Some(SuppressIfMatch::Any);
        let watched = Watched::List(Box::new(watch));
        match self.begin(request, peer, wanted, partition, watched, pace, expires_s, now, out) {
            Ok(slot) => {
                self.seat_members(slot, resolved.members, now, out);
                let accepted = Accepted {
                    tag: self.subscriptions[slot].tag,
                    expires_s,
                    is_list: true,
                    is_silent: false,
                };
                let limits = &self.config.limits;
                self.transactions.remember(key, accepted, now, limits);
                Outcome::AnswerAndNotify(accepted.answer(), slot)
            }
            Err(outcome) => outcome,
        }
    }

    fn too_many(&self) -> Answer {
        let count_max = self.config.limits.list_member_count_max;
        let text = format!("The list has more than {count_max} members");
        Answer::new(403, "Forbidden").warning(text)
    }

    /// Whether a SUBSCRIBE in a list's dialog says that its watcher has the newest state already
    /// (RFC 5839 section 6.3): no NOTIFY answers it then.
    pub(crate) fn is_suppressed(
        &mut self,
        suppress: Option<SuppressIfMatch<'_>>,
        slot: u32,
    ) -> bool {
        let subscription = &mut self.subscriptions[slot];
        let (check, cseq) = (subscription.tag.check, subscription.cseq);
        let is_settled = !subscription.owed
            && subscription.in_flight.is_none()
            && subscription.unanswered_count == 0;
        let sent_generation = subscription.sent_generation;
        let Some(list) = subscription.list_mut().filter(|list| list.view.dialect == Dialect::Rfc)
        else {
            return false;
        };
        list.is_quenched = suppress == Some(SuppressIfMatch::Any);
        // He is heard from: maybe the network is another one.
        list.is_cautious = false;
        let mut current = Vec::new();
        push_etag(check, cseq, &mut current);
        let is_current = is_settled && list.generation == sent_generation;
        list.is_quenched || (is_current && suppress.is_some_and(|tag| tag.matches(&current)))
    }

    /// A SUBSCRIBE in a list's dialog that carries another list: the list is replaced.
    pub(crate) fn replace_list(
        &mut self,
        slot: u32,
        entries: Arc<[Entry5367]>,
        now: Time,
        out: &mut Outputs,
    ) -> Result<(), Answer> {
        let list = self.subscriptions[slot].list();
        if list.is_none_or(|list| matches!(list.source, Source::Configured)) {
            let text = "Only a list that came with a request can be replaced by one";
            return Err(Answer::new(403, "Forbidden").warning(text));
        }
        let rebuilt = self.rebuild(slot, Items::Request(entries), now, out);
        rebuilt.map_err(|_| self.too_many())
    }

    /// A list's batch interval may have been changed by a reload.
    pub(super) fn set_batch_interval(&mut self, slot: u32, items: &Items) {
        let subscription = &mut self.subscriptions[slot];
        match subscription.pace_mut() {
            Some(pace) => pace.batch_interval = items.batch_interval(),
            None => subscription.set_pace(Pace::new(items.batch_interval(), Duration::ZERO)),
        }
    }
}

/// Appends the entity-tag of the state that the NOTIFY with this CSeq leaves its watcher with. No
/// two NOTIFYs of a dialog share one, and no other dialog has the same.
pub(crate) fn push_etag(check: u32, cseq: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"lf");
    crate::tag::push_hex(out, check, 8);
    crate::tag::push_hex(out, cseq, 8);
}
