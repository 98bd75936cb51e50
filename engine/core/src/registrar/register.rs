//! REGISTER: who may register whom, and what becomes of it (RFC 3261 section 10.3).

use std::sync::Arc;

use lampfield_wire::{HeaderName, NameAddr, UserBuffer, split_uri};

use super::Binding;
use super::contact::{Asked, asked};
use crate::admission::{self, Peer};
use crate::config::PublishScope;
use crate::respond::Answer;
use crate::source::{SourceKey, canonical_name};
use crate::subscribe::{Outcome, Request};
use crate::{Outputs, Shard, Time};

impl Shard {
    /// A REGISTER.
    pub(crate) fn register(
        &mut self,
        request: &Request<'_, '_>,
        now: Time,
        out: &mut Outputs,
    ) -> Outcome {
        self.stats.counters.register_in += 1;
        let config = Arc::clone(&self.config);
        let peer = admission::identify(&config, &mut self.authenticator, request, now);
        let key = match peer.and_then(|peer| self.registrant(request, &peer)) {
            Ok(key) => key,
            Err(answer) => return Outcome::Answer(answer),
        };
        let owner = self.placement.shard_of_source(key.0, &key.1);
        if self.is_overloaded {
            return self.shed();
        }
        if owner != self.id {
            self.forward(owner, request.flow, request.bytes, out);
            return Outcome::Forwarded;
        }
        match self.bind(request, &key, now, out) {
            Ok(answer) | Err(answer) => Outcome::Answer(answer),
        }
    }

    /// Whose registration it is, and whether he who sent it may change it.
    fn registrant(
        &mut self,
        request: &Request<'_, '_>,
        peer: &Peer<'_>,
    ) -> Result<SourceKey, Answer> {
        let (message, endpoint) = (request.message, peer.endpoint);
        if endpoint.allow_register == PublishScope::None {
            return Err(self.may_not_register("this endpoint may not register (allow_register)"));
        }
        if !peer.is_proven(&self.config, request) {
            return Err(self.may_not_register("it takes credentials or a known address"));
        }
        let to = NameAddr::parse(message.header(HeaderName::To).unwrap_or_default());
        let uri = to.ok().and_then(|to| split_uri(to.uri).ok());
        let uri = uri.filter(lampfield_wire::UriParts::is_sip);
        let uri = uri.ok_or_else(|| Answer::new(416, "Unsupported URI Scheme"))?;
        let mut buffer = UserBuffer::new();
        let user = admission::exten_of(&uri, &mut buffer);
        let user = user.ok_or_else(|| Answer::new(404, "Not Found").warning("To has no user"))?;
        if endpoint.allow_register == PublishScope::Own && *user != *endpoint.name {
            return Err(self.may_not_register("this endpoint registers itself only"));
        }
        let registrar = &self.config.registrar;
        if registrar.users.as_ref().is_some_and(|users| !users.passes(user)) {
            self.stats.counters.register_filtered += 1;
            return Err(Answer::new(404, "Not Found").warning("no such user is registered here"));
        }
        let device = canonical_name(&self.config.providers, &registrar.device(user));
        Ok((endpoint.tenant, device))
    }

    fn may_not_register(&mut self, why: &str) -> Answer {
        self.stats.counters.register_forbidden += 1;
        Answer::new(403, "Forbidden").warning(why)
    }

    /// Changes a user's contacts, all of it or nothing.
    fn bind(
        &mut self,
        request: &Request<'_, '_>,
        key: &SourceKey,
        now: Time,
        out: &mut Outputs,
    ) -> Result<Answer, Answer> {
        let limits = &self.config.limits;
        let asked = asked(request, limits.register_expires_default_s);
        let asked = asked.inspect_err(|_| self.stats.counters.register_malformed += 1)?;
        let found = self.registrations.find(key);
        let mut bindings = found.map_or(Vec::new(), |found| found.bindings.clone());
        match asked {
            Asked::Nothing => return Ok(self.registered(key, request, now)),
            Asked::RemoveAll => {
                if bindings.iter().any(|binding| is_stale(binding, request)) {
                    return Err(self.stale_register());
                }
                self.stats.counters.contact_removed += bindings.len() as u64;
                bindings.clear();
            }
            Asked::Contacts(contacts) => self.merge(&mut bindings, contacts, request, now)?,
        }
        self.check_contacts(key, &bindings)?;
        self.set_bindings(key, bindings, now, out);
        Ok(self.registered(key, request, now))
    }

    fn merge(
        &mut self,
        bindings: &mut Vec<Binding>,
        contacts: Vec<(Binding, u32)>,
        request: &Request<'_, '_>,
        now: Time,
    ) -> Result<(), Answer> {
        let limits = self.config.limits.clone();
        for (mut contact, wanted_s) in contacts {
            if contact.bytes() > limits.dialog_bytes_max {
                self.stats.counters.register_shed += 1;
                return Err(Answer::new(513, "Message Too Large"));
            }
            if wanted_s > 0 && wanted_s < limits.register_expires_min_s {
                self.stats.counters.register_too_brief += 1;
                let answer = Answer::new(423, "Interval Too Brief");
                return Err(answer.with("Min-Expires", limits.register_expires_min_s));
            }
            let place = bindings.iter().position(|binding| contact.is_same(binding));
            if place.is_some_and(|place| is_stale(&bindings[place], request)) {
                return Err(self.stale_register());
            }
            let granted_s = wanted_s.min(limits.register_expires_max_s);
            contact.expires_at_s = (now.as_secs_ceil() + u64::from(granted_s)) as u32;
            let counters = &mut self.stats.counters;
            match (place, granted_s) {
                (Some(place), 0) => {
                    counters.contact_removed += 1;
                    bindings.remove(place);
                }
                (None, 0) => {}
                (Some(place), _) => {
                    counters.contact_refreshed += 1;
                    bindings[place] = contact;
                }
                (None, _) => {
                    counters.contact_added += 1;
                    bindings.push(contact);
                }
            }
        }
        Ok(())
    }

    fn stale_register(&mut self) -> Answer {
        self.stats.counters.register_stale += 1;
        let text = "CSeq is lower than that of the registration";
        Answer::new(500, "Server Internal Error").warning(text)
    }

    /// Whether there is room for these contacts of one user.
    fn check_contacts(&mut self, key: &SourceKey, bindings: &[Binding]) -> Result<(), Answer> {
        let limits = &self.config.limits;
        if bindings.len() > limits.contact_count_max {
            self.stats.counters.register_shed += 1;
            return Err(Answer::new(403, "Forbidden").warning("too many contacts of one user"));
        }
        let is_new = !bindings.is_empty() && self.registrations.find(key).is_none();
        let is_full = self.registrations.len() >= limits.registration_count_max
            || (self.sources.get(key).is_none() && self.sources.len() >= limits.source_count_max);
        if is_new && is_full {
            self.stats.counters.register_shed += 1;
            return Err(self.overload().warning("too many registrations of the shard"));
        }
        Ok(())
    }

    /// 200, with every contact there is now.
    fn registered(&self, key: &SourceKey, request: &Request<'_, '_>, now: Time) -> Answer {
        let mut answer = Answer::new(200, "OK");
        let bindings = self.registrations.find(key).map(|found| &found.bindings[..]);
        for binding in bindings.unwrap_or_default() {
            let left_s = u64::from(binding.expires_at_s).saturating_sub(now.as_secs_ceil());
            let Binding { uri, params, .. } = binding;
            answer = answer.with("Contact", format_args!("<{uri}>{params};expires={left_s}"));
        }
        let is_outbound = bindings.unwrap_or_default().iter().any(|binding| {
            binding.reg_id > 0 && *binding.call_id.as_bytes() == *request.basics.call_id
        });
        if is_outbound {
            answer = answer.with("Require", "outbound");
        }
        for path in request.message.headers(HeaderName::Path) {
            answer = answer.with("Path", String::from_utf8_lossy(path));
        }
        answer.with("Supported", "path, outbound")
    }
}

/// Whether a request is older than the one that made a contact. The same once more is a
/// retransmission, and changes nothing by being taken again.
fn is_stale(binding: &Binding, request: &Request<'_, '_>) -> bool {
    *binding.call_id.as_bytes() == *request.basics.call_id && request.basics.cseq < binding.cseq
}
