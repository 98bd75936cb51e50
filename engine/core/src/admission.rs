//! Requests: which are answered at once, and whether a SUBSCRIBE may come in.
//!
//! The checks and their order are those of a real Asterisk (`reference/sip-pubsub.md` section 2);
//! the dialects differ in some codes and headers. Everything here only reads, so a request may be
//! checked on the shard it arrived at and again on the shard it belongs to.

use std::sync::Arc;
use std::time::Duration;

use lampfield_wire::{
    Body, Essentials, Event, HeaderName, Message, NameAddr, SuppressIfMatch, UriParts, UserBuffer,
    Via, decode_user, parse_expires, split_uri,
};

use crate::Time;
use crate::auth::{Authenticator, Verdict};
use crate::body::Format;
use crate::config::{Config, Dialect, Endpoint, EndpointId};
use crate::digest::Algorithm;
use crate::extension::GroupView;
use crate::flow::Flow;
use crate::pace::gap_of_event;
use crate::package::Package;
use crate::respond::Answer;
use crate::subscribe::Request;

/// The format of a package when the request names none.
const fn default_format(package: Package) -> Format {
    match package {
        Package::Presence => Format::Pidf,
        Package::Dialog => Format::DialogInfo,
        Package::MessageSummary => Format::MessageSummary,
    }
}

/// Value of Allow-Events.
pub(crate) const ALLOW_EVENTS: &str = "presence, dialog, message-summary";
/// Value of Allow.
pub(crate) const ALLOW: &str = "OPTIONS, SUBSCRIBE, PUBLISH, REGISTER";
/// Extensions a request may require: RFC 4662 and RFC 5367.
const KNOWN_EXTENSIONS: [&str; 2] = ["eventlist", crate::rls::RECIPIENT_LIST_SUBSCRIBE];
/// Value of Accept in an answer to OPTIONS.
pub(crate) const ACCEPT: &str = "application/pidf+xml, application/xpidf+xml, \
     application/cpim-pidf+xml, application/dialog-info+xml, \
     application/simple-message-summary, multipart/related, \
     application/rlmi+xml, application/resource-lists+xml";
/// Value of Supported in an answer to OPTIONS.
pub(crate) const SUPPORTED: &str = "eventlist, recipient-list-subscribe, path, outbound";

/// The parts of a request that every dialog needs, checked to be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Basics<'a> {
    pub(crate) call_id: &'a [u8],
    pub(crate) from: NameAddr<'a>,
    pub(crate) from_tag: &'a [u8],
    /// Our tag, if it stands in a dialog.
    pub(crate) to_tag: Option<&'a [u8]>,
    pub(crate) cseq: u32,
    /// The topmost.
    pub(crate) via: Via<'a>,
    /// The sender understands resource lists (RFC 4662).
    pub(crate) knows_lists: bool,
    /// The state it has already (RFC 5839).
    pub(crate) suppress: Option<SuppressIfMatch<'a>>,
    pub(crate) body: Body<'a>,
}

/// Reads what every request must have.
///
/// # Errors
///
/// A 400 whose Warning says which header is missing or wrong.
pub(crate) fn basics<'a>(request: &Message<'a>) -> Result<Basics<'a>, Answer> {
    let broken = |text: &dyn std::fmt::Display| Answer::new(400, "Bad Request").warning(text);
    let essentials = Essentials::read(request).map_err(|error| broken(&error))?;
    let Essentials { call_id, from, to, cseq, via, body, .. } = essentials;
    let from_tag = from.tag().filter(|tag| !tag.is_empty());
    let from_tag = from_tag.ok_or_else(|| broken(&"From has no tag"))?;
    Ok(Basics {
        call_id,
        from_tag,
        from,
        to_tag: to.tag(),
        cseq,
        via,
        knows_lists: essentials.supports_eventlist,
        suppress: essentials.suppress_if_match.and_then(|tag| SuppressIfMatch::parse(tag).ok()),
        body,
    })
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'c> {
    pub(crate) id: EndpointId,
    pub(crate) endpoint: &'c Endpoint,
}

impl Peer<'_> {
    /// Whether it has proved who it is, or is known by its address: a From user proves nothing, and
    /// neither does being nobody in particular. Less does for watching, not for changing.
    pub(crate) fn is_proven(&self, config: &Config, request: &Request<'_, '_>) -> bool {
        let by_address = || config.identify.find_by_address(request.flow.peer.ip());
        self.endpoint.auth.is_some() || by_address() == Some(self.id)
    }
}

/// The endpoint a request claims to come from, whatever it proves.
pub(crate) fn find_endpoint(
    config: &Config,
    from: &NameAddr<'_>,
    flow: Flow,
) -> Option<EndpointId> {
    let mut buffer = UserBuffer::new();
    let user = split_uri(from.uri).map(|uri| uri.user).unwrap_or_default();
    let user = std::str::from_utf8(decode_user(user, &mut buffer)).unwrap_or_default();
    config.identify.find(flow.peer.ip(), user)
}

/// Finds the endpoint of a request and checks its credentials.
///
/// # Errors
///
/// The answer to give: a challenge, or 403 where no credentials could help.
pub(crate) fn identify<'c>(
    config: &'c Config,
    authenticator: &mut Authenticator,
    request: &Request<'_, '_>,
    now: Time,
) -> Result<Peer<'c>, Answer> {
    let Some(id) = request.claimed else {
        return Err(refuse_stranger(config, authenticator, now));
    };
    let endpoint = &config.endpoints[id.0 as usize];
    let Some(auth) = &endpoint.auth else { return Ok(Peer { id, endpoint }) };
    match authenticator.verify(request.message, auth, now) {
        Verdict::Proven => Ok(Peer { id, endpoint }),
        verdict => {
            let algorithms = auth.secrets.iter().map(|secret| secret.algorithm);
            let is_stale = verdict == Verdict::Stale;
            Err(challenge(authenticator, &auth.realm, algorithms, now, is_stale))
        }
    }
}

fn challenge(
    authenticator: &Authenticator,
    realm: &str,
    algorithms: impl Iterator<Item = Algorithm>,
    now: Time,
    stale: bool,
) -> Answer {
    algorithms.fold(Answer::new(401, "Unauthorized"), |answer, algorithm| {
        let value = authenticator.challenge(realm, algorithm, now, stale);
        answer.with("WWW-Authenticate", value)
    })
}

/// A stranger gets 403; where endpoints authenticate he gets a challenge like everybody, so that
/// nobody learns which names exist. An Asterisk always challenges (trace 06).
fn refuse_stranger(config: &Config, authenticator: &Authenticator, now: Time) -> Answer {
    if config.dialect == Dialect::Rfc && config.identify.users.is_empty() {
        return Answer::new(403, "Forbidden");
    }
    let algorithms = match &config.algorithms[..] {
        [] => &[Algorithm::Md5],
        some => some,
    };
    challenge(authenticator, &config.realm, algorithms.iter().copied(), now, false)
}

/// A SUBSCRIBE that passed every check that does not need the extension's shard.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) event: &'a [u8],
    pub(crate) format: Format,
    pub(crate) digium: bool,
    pub(crate) target: Contact<'a>,
    /// Requested duration in seconds; `None`: the default.
    pub(crate) expires_s: Option<u32>,
    pub(crate) uri: UriParts<'a>,
    pub(crate) package: Package,
    /// Least distance between NOTIFYs it asks for (RFC 6446).
    pub(crate) gap: Duration,
}

impl Wanted<'_> {
    /// What the watcher sees of a presentity called `entity`.
    pub(crate) fn view(&self, endpoint: &Endpoint, entity: Box<str>) -> GroupView {
        GroupView {
            format: self.format,
            dialect: endpoint.dialect,
            digium: self.digium,
            early_inuse_ringing: endpoint.notify_early_inuse_ringing,
            single_dialog: endpoint.single_dialog,
            entity,
        }
    }
}

/// The watcher's Contact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact<'a> {
    pub(crate) uri: &'a [u8],
    pub(crate) parts: UriParts<'a>,
}

/// Checks a SUBSCRIBE that creates a subscription, up to but not including the extension.
pub(crate) fn want<'a>(
    request: &Message<'a>,
    endpoint: &Endpoint,
    config: &Config,
) -> Result<Wanted<'a>, Answer> {
    let rfc = endpoint.dialect == Dialect::Rfc;
    if !endpoint.allow_subscribe {
        return Err(Answer::new(603, "Decline"));
    }
    check_require(request, rfc)?;
    let uri = request.request_uri().unwrap_or_default();
    if uri.len() > config.limits.request_uri_bytes_max {
        return Err(Answer::new(414, "Request-URI Too Long"));
    }
    let uri = split_uri(uri).ok().filter(UriParts::is_sip);
    let uri = uri.ok_or_else(|| Answer::new(416, "Unsupported URI Scheme"))?;
    let target = contact(request)?.ok_or_else(|| Answer::new(400, "Missing Contact header"))?;
    let expires_s = expires(request)?;
    if expires_s == Some(0) && !rfc {
        return Err(Answer::new(400, "Bad Request"));
    }
    check_expires(expires_s, endpoint)?;
    let (event, package) = event(request, rfc)?;
    let format = negotiate(request, package, config.limits.accept_value_count_max)
        .ok_or_else(|| bad_event(rfc))?;
    let digium = package == Package::Presence
        && format == Format::Pidf
        && request.header(HeaderName::UserAgent).is_some_and(is_digium);
    // An Asterisk does not know rates.
    let gap = if rfc { gap_of_event(event) } else { Duration::ZERO };
    Ok(Wanted { event, format, digium, target, expires_s, uri, package, gap })
}

pub(crate) fn check_require(request: &Message<'_>, rfc: bool) -> Result<(), Answer> {
    // Asterisk does not look at Require (trace 06).
    let is_known = |tag: &[u8]| {
        KNOWN_EXTENSIONS.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes()))
    };
    let required = request.values(HeaderName::Require).filter(|tag| !tag.is_empty());
    let required: Vec<_> = required.filter(|tag| !is_known(tag)).collect();
    if !rfc || required.is_empty() {
        return Ok(());
    }
    let unsupported = String::from_utf8_lossy(&required.join(&b", "[..])).into_owned();
    Err(Answer::new(420, "Bad Extension").with("Unsupported", unsupported))
}

/// The Contact of a request; an error if there is one that cannot be read.
pub(crate) fn contact<'a>(request: &Message<'a>) -> Result<Option<Contact<'a>>, Answer> {
    let Some(value) = request.values(HeaderName::Contact).next() else { return Ok(None) };
    let uri = NameAddr::parse(value).ok().map(|contact| contact.uri);
    let parts = uri.and_then(|uri| split_uri(uri).ok()).filter(UriParts::is_sip);
    match (uri, parts) {
        (Some(uri), Some(parts)) => Ok(Some(Contact { uri, parts })),
        _ => Err(Answer::new(400, "Broken Contact header")),
    }
}

/// The requested duration; an error if the header is not a number.
pub(crate) fn expires(request: &Message<'_>) -> Result<Option<u32>, Answer> {
    match request.header(HeaderName::Expires) {
        None => Ok(None),
        Some(value) => match parse_expires(value) {
            Some(expires_s) => Ok(Some(expires_s)),
            None => Err(Answer::new(400, "Broken Expires header")),
        },
    }
}

/// 423 for a duration that is too short (0 is a fetch or an end, not a duration).
pub(crate) fn check_expires(expires_s: Option<u32>, endpoint: &Endpoint) -> Result<(), Answer> {
    let min_s = endpoint.sub_min_expiry_s;
    match expires_s {
        Some(expires_s) if expires_s > 0 && expires_s < min_s => {
            let answer = Answer::new(423, "Interval Too Brief");
            Err(match endpoint.dialect {
                Dialect::Rfc => answer.with("Min-Expires", min_s),
                Dialect::Asterisk => answer,
            })
        }
        _ => Ok(()),
    }
}

pub(crate) fn event<'a>(request: &Message<'a>, rfc: bool) -> Result<(&'a [u8], Package), Answer> {
    let value = request.header(HeaderName::Event).ok_or_else(|| bad_event(rfc))?;
    let event = Event::parse(value).map_err(|_| bad_event(rfc))?;
    let package = Package::from_name(event.package).ok_or_else(|| bad_event(rfc))?;
    Ok((value, package))
}

pub(crate) fn bad_event(rfc: bool) -> Answer {
    let answer = Answer::new(489, "Bad Event");
    if rfc { answer.with("Allow-Events", ALLOW_EVENTS) } else { answer }
}

/// The first acceptable format in the subscriber's order; the package's own without Accept.
/// Container types of lists are not leaf formats. Compared exactly, parameters are not
/// understood: as Asterisk does (trace 05), and no phone is known to need more.
fn negotiate(request: &Message<'_>, package: Package, count_max: usize) -> Option<Format> {
    let is_container = |value: &&[u8]| {
        [&b"multipart/related"[..], b"application/rlmi+xml"].contains(value) || value.is_empty()
    };
    // Messages and states are different data: neither can be shown as the other.
    let is_messages = |format| format == Format::MessageSummary;
    let mut values =
        request.values(HeaderName::Accept).take(count_max).filter(|v| !is_container(v)).peekable();
    if values.peek().is_none() {
        return Some(default_format(package));
    }
    values.find_map(|value| {
        let found = Format::ALL.into_iter().find(|f| f.content_type().as_bytes() == value);
        found.filter(|format| is_messages(*format) == (package == Package::MessageSummary))
    })
}

/// Phones that understand the Digium supplement name themselves in User-Agent.
fn is_digium(user_agent: &[u8]) -> bool {
    let lower = user_agent.to_ascii_lowercase();
    [&b"digium"[..], b"sangoma"].iter().any(|name| memmem(&lower, name))
}

fn memmem(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// The extension a request URI names.
pub(crate) fn exten_of<'b>(uri: &UriParts<'b>, buffer: &'b mut UserBuffer) -> Option<&'b str> {
    std::str::from_utf8(decode_user(uri.user, buffer)).ok().filter(|exten| !exten.is_empty())
}

/// What the document calls the presentity: in the `rfc` dialect a bare SIP URI in the tenant's
/// domain, in the `asterisk` dialect the request URI as it came, parameters and all.
pub(crate) fn entity_of(
    uri: &UriParts<'_>,
    exten: &str,
    dialect: Dialect,
    domain: Option<&Arc<str>>,
) -> Box<str> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (scheme, mut entity) = (text(uri.scheme), String::new());
    let user = match dialect {
        Dialect::Rfc => escape_user(exten),
        Dialect::Asterisk => exten.to_owned(),
    };
    entity.push_str(&format!("{scheme}:{user}@"));
    match (dialect, domain) {
        (Dialect::Rfc, Some(domain)) => entity.push_str(domain),
        _ => {
            entity.push_str(&text(uri.host));
            if let Some(port) = uri.port {
                entity.push_str(&format!(":{port}"));
            }
        }
    }
    if dialect == Dialect::Asterisk {
        entity.push_str(&text(uri.params));
    }
    entity.into()
}

/// Escapes what a user part may not hold (RFC 3261 section 25.1: `user`).
pub(crate) fn escape_user(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(byte as char),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' | b'&' | b'=' | b'+'
            | b'$' | b',' | b';' | b'?' | b'/' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampfield_wire::Framing;

    fn negotiated(package: Package, accept: &[&str]) -> Option<Format> {
        let accepts: String = accept.iter().map(|a| format!("Accept: {a}\r\n")).collect();
        let bytes = format!("SUBSCRIBE sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n{accepts}\r\n");
        let message = Message::scan(bytes.as_bytes(), Framing::Datagram).expect("a request");
        negotiate(&message, package, 64)
    }

    #[test]
    fn the_subscribers_order_decides_and_containers_do_not_count() {
        use Format::*;
        use Package::*;
        let (pidf, xpidf) = ("application/pidf+xml", "application/xpidf+xml");
        let lists = "multipart/related, application/rlmi+xml";
        for (package, accept, want) in [
            (Presence, &[][..], Some(Pidf)),
            (Dialog, &[], Some(DialogInfo)),
            (Presence, &[pidf, xpidf], Some(Pidf)),
            (Presence, &[xpidf, pidf], Some(Xpidf)),
            (Presence, &["application/xpidf+xml, application/pidf+xml"], Some(Xpidf)),
            (Presence, &["application/foo", pidf], Some(Pidf)),
            (Presence, &["application/foo"], None),
            (Presence, &["*/*"], None),
            (Presence, &["APPLICATION/PIDF+XML"], None),
            (Presence, &["application/pidf+xml;q=0.5"], None),
            (Presence, &["application/dialog-info+xml"], Some(DialogInfo)),
            (Dialog, &[pidf], Some(Pidf)),
            (Dialog, &[lists], Some(DialogInfo)),
            (Presence, &["application/simple-message-summary"], None),
            (Package::MessageSummary, &[], Some(Format::MessageSummary)),
            (
                Package::MessageSummary,
                &[pidf, "application/simple-message-summary"],
                Some(Format::MessageSummary),
            ),
            (Package::MessageSummary, &[pidf], None),
        ] {
            assert_eq!(negotiated(package, accept), want, "{package:?} {accept:?}");
        }
    }

    #[test]
    fn the_entity_is_bare_in_one_dialect_and_as_it_came_in_the_other() {
        let uri = split_uri(b"sip:1%2A0@192.0.2.1:5070;transport=udp").expect("a URI");
        let domain: Arc<str> = "example.org".into();
        for (dialect, domain, want) in [
            (Dialect::Rfc, None, "sip:1*0@192.0.2.1:5070"),
            (Dialect::Rfc, Some(&domain), "sip:1*0@example.org"),
            (Dialect::Asterisk, Some(&domain), "sip:1*0@192.0.2.1:5070;transport=udp"),
        ] {
            assert_eq!(&*entity_of(&uri, "1*0", dialect, domain), want);
        }
        assert_eq!(escape_user("a b@c"), "a%20b%40c");
    }
}
