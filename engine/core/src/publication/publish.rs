//! PUBLISH: who may publish what.
//!
//! The checks come in the order of RFC 3903 section 6, after those every request undergoes. Those
//! that need no state are made where the request arrived, and again where its presentity lives.

use std::borrow::Cow;
use std::sync::Arc;

use lampfield_wire::{
    ACCEPTED_ENCODINGS, DialogInfoFacts, EncodingError, HeaderName, MessageSummary,
    PresenceDocument, UriParts, UserBuffer, decode_user, parse_entity_tag, split_uri,
};

use super::server::News;
use super::{Document, EntityTag, EventName, source_name};
use crate::admission::{self, Peer};
use crate::config::{Dialect, PublishScope};
use crate::package::Package;
use crate::respond::Answer;
use crate::source::SourceKey;
use crate::subscribe::{Outcome, Request};
use crate::transaction::{Remembered, RequestKey, Transactions};
use crate::{Outputs, Shard, Time};

/// A PUBLISH that was accepted: all that its answer is made from, now and when it comes again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Published {
    pub(super) entity_tag: EntityTag,
    pub(super) expires_s: u32,
}

impl Remembered for Published {
    type Packed = [u32; 5];

    fn pack(self) -> [u32; 5] {
        let EntityTag { serial, random } = self.entity_tag;
        let [serial, random] = [serial, random].map(|whole| [whole as u32, (whole >> 32) as u32]);
        [serial[0], serial[1], random[0], random[1], self.expires_s]
    }

    fn unpack(packed: [u32; 5]) -> Self {
        let whole = |at: usize| u64::from(packed[at]) | u64::from(packed[at + 1]) << 32;
        let entity_tag = EntityTag { serial: whole(0), random: whole(2) };
        Self { entity_tag, expires_s: packed[4] }
    }

    fn memory(shard: &mut Shard) -> &mut Transactions<Self> {
        &mut shard.published
    }

    fn answer(self) -> Answer {
        Answer::new(200, "OK").with("SIP-ETag", self.entity_tag).with("Expires", self.expires_s)
    }
}

/// A PUBLISH that passed every check that does not need its presentity's shard.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) key: SourceKey,
    pub(super) event: EventName,
}

impl Shard {
    /// A PUBLISH.
    pub(crate) fn publish(
        &mut self,
        request: &Request<'_, '_>,
        now: Time,
        out: &mut Outputs,
    ) -> Outcome {
        self.stats.counters.publish_in += 1;
        let config = Arc::clone(&self.config);
        let peer = admission::identify(&config, &mut self.authenticator, request, now);
        let offered = peer.and_then(|peer| Ok((peer, self.offered(request, &peer)?)));
        let (peer, offered) = match offered {
            Ok(offered) => offered,
            Err(answer) => return Outcome::Answer(answer),
        };
        let owner = self.placement.shard_of_source(offered.key.0, &offered.key.1);
        match self.take_on::<Published>(request, owner, now, out) {
            Ok(key) => self.publish_anew(request, &peer, offered, key, now, out),
            Err(outcome) => outcome,
        }
    }

    /// Who publishes about whom, and in which package.
    fn offered(&mut self, request: &Request<'_, '_>, peer: &Peer<'_>) -> Result<Offered, Answer> {
        let (message, endpoint) = (request.message, peer.endpoint);
        let rfc = endpoint.dialect == Dialect::Rfc;
        let of_server = Self::event_of_server(message);
        if of_server.is_none() && !endpoint.may_publish() {
            // An Asterisk has no handler for these packages.
            return Err(match rfc {
                true => self.forbidden("this endpoint may not publish (allow_publish)"),
                false => Answer::new(489, "Bad Event"),
            });
        }
        if !peer.is_proven(&self.config, request) {
            return Err(self.forbidden("publications need credentials or a known address"));
        }
        admission::check_require(message, rfc)?;
        let uri = message.request_uri().unwrap_or_default();
        if uri.len() > self.config.limits.request_uri_bytes_max {
            return Err(Answer::new(414, "Request-URI Too Long"));
        }
        let uri = split_uri(uri).ok().filter(UriParts::is_sip);
        let uri = uri.ok_or_else(|| Answer::new(416, "Unsupported URI Scheme"))?;
        let mut buffer = UserBuffer::new();
        let exten = admission::exten_of(&uri, &mut buffer).unwrap_or_default();
        if let Some(event) = of_server {
            return self.offered_by_server(endpoint, exten, event);
        }
        if endpoint.allow_publish == PublishScope::Own && *exten != *endpoint.name {
            return Err(self.forbidden("this endpoint publishes about itself only"));
        }
        let event = admission::event(message, rfc);
        let package = event.as_ref().map_or(Package::Presence, |(_, package)| *package);
        let context = endpoint.context_of(package);
        let found = self.find_hint(endpoint.tenant, context, exten);
        let found = found.ok_or_else(|| Answer::new(404, "Not Found"))?;
        let name = source_name(exten);
        if ![&found.hint.devices, &found.hint.presence].iter().any(|names| names.contains(&name)) {
            return Err(self.forbidden("the hint of this extension takes no publications"));
        }
        let (event, package) = event?;
        // Shared lines are another package under the same name (draft-anil-sipping-bla).
        if lampfield_wire::Event::parse(event).is_ok_and(|event| event.param("sla").is_some()) {
            return Err(admission::bad_event(rfc));
        }
        Ok(Offered { key: (endpoint.tenant, name), event: EventName::Package(package) })
    }

    pub(super) fn forbidden(&mut self, why: &str) -> Answer {
        self.stats.counters.publish_forbidden += 1;
        Answer::new(403, "Forbidden").warning(why)
    }

    /// A PUBLISH that did not come before, about a presentity of ours.
    fn publish_anew(
        &mut self,
        request: &Request<'_, '_>,
        peer: &Peer<'_>,
        offered: Offered,
        key: RequestKey,
        now: Time,
        out: &mut Outputs,
    ) -> Outcome {
        let published = match self.store_published(request, peer, &offered, now, out) {
            Ok(published) => published,
            Err(outcome) => return outcome,
        };
        self.published.remember(key, published, now, &self.config.limits);
        self.recompose(&offered.key, now, out);
        Outcome::Answer(published.answer())
    }

    /// Steps 3 to 5 of RFC 3903 section 6. Either all of it happens, or nothing.
    fn store_published(
        &mut self,
        request: &Request<'_, '_>,
        peer: &Peer<'_>,
        offered: &Offered,
        now: Time,
        out: &mut Outputs,
    ) -> Result<Published, Outcome> {
        let refuse = Outcome::Answer;
        let matched = self.matched(request, offered).map_err(refuse)?;
        // What changes what is shown, often back to nothing, may be as brief as it likes.
        let is_modify = matched.is_some() && !request.basics.body.is_empty();
        let wanted_s = self.wanted_s(request, is_modify).map_err(refuse)?;
        if let (Some(slot), 0) = (matched, wanted_s) {
            self.stats.counters.publication_removed += 1;
            self.drop_publication(slot, now, out);
            return Ok(Published { entity_tag: self.new_entity_tag(now), expires_s: 0 });
        }
        let (document, news) = match offered.event {
            EventName::Package(package) => {
                (self.document_of(request, (offered, package), matched).map_err(refuse)?, None)
            }
            _ => {
                let news = self.news_of(request, offered, matched).map_err(refuse)?;
                (news.as_ref().map(News::document), news)
            }
        };
        let endpoint = Arc::clone(&peer.endpoint.name);
        let (slot, published) = match (matched, document) {
            (Some(slot), document) => {
                self.check_told(slot, news.as_ref())?;
                (slot, self.renew(slot, document, endpoint, wanted_s, now, out))
            }
            (None, Some(document)) => {
                self.check_room(request, &offered.key)?;
                let by = (endpoint, request.flow.peer.ip().to_canonical());
                self.begin_publication(offered, document, by, wanted_s, now, out)
            }
            (None, None) => {
                self.stats.counters.publish_malformed += 1;
                let text = "neither a body nor SIP-If-Match";
                return Err(refuse(Answer::new(400, "Invalid Request").warning(text)));
            }
        };
        if let Some(news) = news {
            self.take_news(slot, news, now, out);
        }
        Ok(published)
    }

    /// The publication that SIP-If-Match names; `None` without one.
    fn matched(
        &mut self,
        request: &Request<'_, '_>,
        offered: &Offered,
    ) -> Result<Option<u32>, Answer> {
        let mut values = request.message.headers(HeaderName::SipIfMatch);
        let Some(value) = values.next() else { return Ok(None) };
        let tag = match (parse_entity_tag(value), values.next()) {
            (Ok(tag), None) => tag,
            _ => {
                self.stats.counters.publish_malformed += 1;
                let text = "SIP-If-Match is not one entity-tag";
                return Err(Answer::new(400, "Invalid Request").warning(text));
            }
        };
        let tag = EntityTag::read(tag);
        let slot = tag.and_then(|tag| self.publications.find(&offered.key, offered.event, tag));
        if slot.is_none() {
            self.stats.counters.publish_unmatched += 1;
            return Err(Answer::new(412, "Conditional Request Failed"));
        }
        Ok(slot)
    }

    /// How long the publication is to live, in seconds, within our bounds.
    fn wanted_s(&mut self, request: &Request<'_, '_>, is_modify: bool) -> Result<u32, Answer> {
        let limits = &self.config.limits;
        let wanted_s =
            admission::expires(request.message)?.unwrap_or(limits.publication_expires_default_s);
        let min_s = limits.publication_expires_min_s.min(limits.publication_expires_max_s);
        if wanted_s > 0 && wanted_s < min_s && !is_modify {
            self.stats.counters.publish_too_brief += 1;
            return Err(Answer::new(423, "Interval Too Brief").with("Min-Expires", min_s));
        }
        Ok(wanted_s.min(limits.publication_expires_max_s))
    }

    /// What the body says; `None` without a body.
    fn document_of(
        &mut self,
        request: &Request<'_, '_>,
        (offered, package): (&Offered, Package),
        matched: Option<u32>,
    ) -> Result<Option<Document>, Answer> {
        let Some(bytes) = self.published_bytes(request, offered.event)? else { return Ok(None) };
        let counters = &mut self.stats.counters;
        let limits = &self.config.limits;
        let read = match package {
            // It need not say whose mailbox it is.
            Package::MessageSummary => {
                MessageSummary::parse(&bytes).map(|summary| (None, Document::messages(&summary)))
            }
            Package::Presence => PresenceDocument::parse(&bytes).map(|document| {
                let kept = Document::presence(&document, limits.presence_text_bytes_max);
                (Some(document.entity), kept)
            }),
            Package::Dialog => DialogInfoFacts::parse_published(&bytes).map(|info| {
                let before = matched.and_then(|slot| self.publications.get(slot));
                let kept = Document::dialogs(
                    &info,
                    before.map(|before| &before.document),
                    limits.presence_text_bytes_max,
                );
                (Some(info.entity), kept)
            }),
        };
        let (entity, document) = read.map_err(|error| {
            counters.publish_malformed += 1;
            Answer::new(400, "Bad Request").warning(error)
        })?;
        if entity.is_some_and(|entity| !is_about(&entity, &offered.key.1)) {
            counters.publish_foreign += 1;
            let text = "the document is about another presentity";
            return Err(Answer::new(400, "Bad Request").warning(text));
        }
        Ok(Some(document))
    }

    /// The body without its encoding, if it is of the right type; `None` without one.
    pub(super) fn published_bytes<'a>(
        &mut self,
        request: &Request<'_, 'a>,
        event: EventName,
    ) -> Result<Option<Cow<'a, [u8]>>, Answer> {
        let body = request.basics.body;
        if body.is_empty() {
            return Ok(None);
        }
        let counters = &mut self.stats.counters;
        if !body.is(event.media_type()) {
            counters.publish_unsupported += 1;
            let answer = Answer::new(415, "Unsupported Media Type");
            return Err(answer.with("Accept", event.media_type()));
        }
        let limits = &self.config.limits;
        let bytes = body.decode(limits.publication_bytes_max).map_err(|error| match error {
            EncodingError::TooLarge { .. } => {
                counters.publish_oversized += 1;
                Answer::new(413, "Request Entity Too Large").warning(error)
            }
            EncodingError::UnknownEncoding => {
                counters.publish_unsupported += 1;
                let answer = Answer::new(415, "Unsupported Media Type");
                answer.with("Accept-Encoding", ACCEPTED_ENCODINGS)
            }
            EncodingError::Corrupt => {
                counters.publish_malformed += 1;
                Answer::new(400, "Bad Request").warning(error)
            }
        })?;
        Ok(Some(bytes))
    }

    /// Whether there is room for one more publication.
    fn check_room(&mut self, request: &Request<'_, '_>, key: &SourceKey) -> Result<(), Outcome> {
        let limits = &self.config.limits;
        let source = request.flow.peer.ip().to_canonical();
        let publications = &self.publications;
        let has_source = self.sources.get(key).is_some();
        let full = [
            (publications.len() >= limits.publication_count_max, "publications of the shard"),
            (
                publications.count_of_tenant(key.0) >= limits.publication_per_tenant_max,
                "publications of the tenant",
            ),
            (
                publications.count_of_source(source) >= limits.publication_per_source_max,
                "publications of one address",
            ),
            (
                publications.of(key).len() >= limits.publication_per_presentity_max,
                "publications of one presentity",
            ),
            (!has_source && self.sources.len() >= limits.source_count_max, "sources of the shard"),
        ];
        let Some((_, what)) = full.into_iter().find(|(is_full, _)| *is_full) else {
            return Ok(());
        };
        self.stats.counters.publish_shed += 1;
        match self.shed() {
            Outcome::Answer(answer) => {
                Err(Outcome::Answer(answer.warning(format_args!("too many {what}"))))
            }
            other => Err(other),
        }
    }
}

/// Whether a document's entity is the presentity of a source. It may be a SIP or a `pres:` URI, or,
/// as `pua_usrloc` writes it, one without a scheme; hosts are not compared, as everywhere.
fn is_about(entity: &str, source: &str) -> bool {
    let rest = match entity.split_once(':') {
        Some((scheme, rest))
            if ["sip", "sips", "pres"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) =>
        {
            rest
        }
        _ => entity,
    };
    let user = rest.split_once('@').map_or(rest, |(user, _)| user);
    let user = user.split_once(';').map_or(user, |(user, _)| user);
    let mut buffer = UserBuffer::new();
    let user = decode_user(user.as_bytes(), &mut buffer);
    source.split_once(':').is_some_and(|(_, exten)| exten.as_bytes() == user)
}

#[cfg(test)]
mod tests {
    use super::{EntityTag, Published, Remembered, is_about};

    #[test]
    fn what_is_kept_of_an_answer_comes_back_whole() {
        let entity_tag = EntityTag { serial: 0x0123_4567_89ab_cdef, random: 0xfedc_ba98_7654_3210 };
        let published = Published { entity_tag, expires_s: 0x1234_5678 };
        assert_eq!(Published::unpack(published.pack()), published);
    }

    #[test]
    fn an_entity_names_the_presentity_with_any_scheme_or_none() {
        for (entity, want) in [
            ("sip:2000@h", true),
            ("SIPS:2000@h:5061;transport=tls", true),
            ("pres:2000@h", true),
            ("2000@h", true),
            ("2000", true),
            ("sip:%32000@h", true),
            ("sip:2000;phone-context=x@h", true),
            ("sip:2001@h", false),
            ("sip:2000", true),
            ("sip:h", false),
            ("", false),
        ] {
            assert_eq!(is_about(entity, "Publication:2000"), want, "{entity}");
        }
    }
}
