//! `pjsip.conf`: transports, endpoints, resource lists, and how a request finds its endpoint.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::config::{Auth, Dialect, Endpoint, EndpointId, PublishScope};
use lampfield_core::digest::{Algorithm, Secret};
use lampfield_core::flow::Transport;
use lampfield_core::placement::TenantId;
use lampfield_core::provider::Provider;

use super::super::build::{self, Draft};
use super::super::load::sip_port;
use super::super::problem::Problems;
use super::super::{Listen, acl};
use super::section::{Entry, Section};
use super::{feeds, lists, mailboxes, options, tls};

/// Realm of a challenge unless configured; Asterisk's own.
const REALM: &str = "asterisk";

/// The order in which endpoints are looked for, the one of [`lampfield_core::config::Identify`].
const IDENTIFIER_ORDER: [&str; 3] = ["ip", "username", "anonymous"];

/// The extension to call for messages, where an address of record names none.
const VOICEMAIL_EXTENSION: &str = "default_voicemail_extension";

/// A name to which other servers publish.
const INBOUND_PUBLICATION: &str = "inbound-publication";

/// What is taken of what they publish.
const ASTERISK_PUBLICATION: &str = "asterisk-publication";

/// Kinds of section that are passed over, with what that means where it means something.
const OTHER_TYPES: [(&str, &str); 10] = [
    ("contact", ""),
    ("domain_alias", ""),
    ("phoneprov", ""),
    ("registration", ""),
    ("outbound-publish", "states are not published to other servers from here; ignored"),
    ("publication-resource", ""),
    ("acl", "this address rule is not enforced: endpoints are found by type=identify"),
    ("keepalive", ""),
    ("profile", ""),
    ("subscription_persistence", ""),
];

/// Reads everything into `draft`, endpoints for `tenant`.
pub(super) fn load(sections: &[Section], tenant: TenantId, draft: &mut Draft) {
    let mut typed: Vec<(&str, &Section)> = Vec::new();
    for section in sections.iter().filter(|section| !section.is_template) {
        match section.text("type") {
            Some(kind) => typed.push((kind, section)),
            None => draft.problems.warn(
                &section.place,
                format!("[{}] has no type (type=endpoint, transport …); ignored", section.name),
            ),
        }
    }
    let of = |kind: &'static str| {
        typed.iter().filter(move |(k, _)| k.eq_ignore_ascii_case(kind)).map(|(_, section)| *section)
    };
    of("global").for_each(|section| global(section, draft));
    if draft.core.realm.is_empty() {
        draft.core.realm = REALM.into();
    }
    if draft.core.algorithms.is_empty() {
        draft.core.algorithms.push(Algorithm::Md5);
    }
    of("system").for_each(|section| system(section, draft));
    of("transport").for_each(|section| transport(section, draft));
    let auths: Auths = of("auth").map(|section| (Arc::clone(&section.name), section)).collect();
    of("auth").for_each(|section| options::AUTH.check(section, &mut draft.problems));
    let mut names = std::collections::BTreeSet::new();
    for section in of("endpoint") {
        names.insert(Arc::clone(&section.name));
        endpoint(section, tenant, &auths, draft);
    }
    of("identify").for_each(|section| identify(section, draft));
    let mut default_extension =
        of("global").filter_map(|section| section.text(VOICEMAIL_EXTENSION));
    let default_extension = default_extension.rfind(|extension| !extension.is_empty());
    let (aors, endpoints): (Vec<_>, Vec<_>) = (of("aor").collect(), of("endpoint").collect());
    mailboxes::load(&aors, &endpoints, default_extension, tenant, draft);
    let inbound: Vec<_> = of(INBOUND_PUBLICATION).collect();
    let publications: Vec<_> = of(ASTERISK_PUBLICATION).collect();
    feeds::load(&inbound, &publications, tenant, draft);
    of("resource_list").for_each(|section| lists::list(section, tenant, draft));
    others(&typed, draft);
    // A device of an endpoint that is not configured does not exist.
    if let Some(pjsip) = draft.core.providers.of_device("PJSIP/x").cloned() {
        draft.core.providers.add(Provider { names: Some(names), ..pjsip });
    }
}

type Auths<'a> = BTreeMap<Arc<str>, &'a Section>;

fn others(typed: &[(&str, &Section)], draft: &mut Draft) {
    const READ: [&str; 10] = [
        "global",
        "system",
        "transport",
        "auth",
        "aor",
        "endpoint",
        "identify",
        "resource_list",
        INBOUND_PUBLICATION,
        ASTERISK_PUBLICATION,
    ];
    for (kind, section) in typed {
        if READ.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            continue;
        }
        match OTHER_TYPES.iter().find(|(known, _)| kind.eq_ignore_ascii_case(known)) {
            Some((_, "")) => {}
            Some((kind, reason)) => {
                draft.problems.warn(&section.place, format!("type={kind}: {reason}"));
            }
            None => {
                let text = format!("type={kind} is no known kind of section; ignored");
                draft.problems.warn(&section.place, text);
            }
        }
    }
}

fn global(section: &Section, draft: &mut Draft) {
    options::GLOBAL.check(section, &mut draft.problems);
    // What a native file says stays.
    if draft.core.user_agent.is_empty() {
        draft.core.user_agent = section.text("user_agent").unwrap_or_default().into();
    }
    if draft.core.realm.is_empty() {
        draft.core.realm = section.text("default_realm").unwrap_or_default().into();
    }
    if draft.core.algorithms.is_empty()
        && let Some(entry) = section.get("default_auth_algorithms_uas")
    {
        draft.core.algorithms = algorithms(entry, draft);
    }
    if let Some(entry) = section.get("endpoint_identifier_order") {
        let named: Vec<&str> = entry.value.split(',').map(str::trim).collect();
        let known = |name: &&&str| IDENTIFIER_ORDER.contains(name);
        let order: Vec<&str> = named.iter().filter(known).copied().collect();
        let is_ours = order.iter().eq(IDENTIFIER_ORDER.iter().filter(|name| order.contains(name)));
        if !is_ours {
            let text = format!(
                "endpoints are looked for in the order {}, not in this one",
                IDENTIFIER_ORDER.join(",")
            );
            draft.problems.warn(&entry.place, text);
        }
    }
}

fn system(section: &Section, draft: &mut Draft) {
    options::SYSTEM.check(section, &mut draft.problems);
    let t1_ms = draft.core.limits.t1.as_millis() as u64;
    let t1_ms = section.number("timer_t1", t1_ms, 100, &mut draft.problems);
    draft.core.limits.t1 = Duration::from_millis(t1_ms);
}

fn transport(section: &Section, draft: &mut Draft) {
    options::TRANSPORT.check(section, &mut draft.problems);
    let protocol = section.text("protocol").unwrap_or("udp").to_ascii_lowercase();
    let transport = match &*protocol {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        "ws" | "wss" => {
            let text = "http.conf is not read, which says where WebSocket is served: [[listen]] \
                        with transport = \"ws\" or \"wss\" in a lampfield.toml does";
            return draft.problems.warn(&section.place, text);
        }
        other => {
            let text = format!("protocol = {other}: udp, tcp or tls expected");
            let place = section.get("protocol").map_or(&section.place, |entry| &entry.place);
            return draft.problems.error(place, text);
        }
    };
    let Some(entry) = section.get("bind") else {
        let text = format!("transport {} needs bind = ADDRESS[:PORT]", section.name);
        return draft.problems.error(&section.place, text);
    };
    let Some(bind) = acl::address(&entry.value, sip_port(transport)) else {
        let text = format!("bind = {}: an IP address with or without port expected", entry.value);
        return draft.problems.error(&entry.place, text);
    };
    let advertised = advertised(section, bind, draft);
    let tls = match transport.is_secure() {
        false => None,
        true => match tls::of_transport(section, draft) {
            Some(tls) => Some(tls),
            None => return,
        },
    };
    draft.listen.push(Listen { advertised, tls, ..Listen::plain(transport, bind) });
}

/// The address told to peers, if it is another one than that bound.
fn advertised(section: &Section, bind: SocketAddr, draft: &mut Draft) -> Option<SocketAddr> {
    let port = section.number("external_signaling_port", 0, 0, &mut draft.problems);
    let port = if port == 0 { bind.port() } else { port };
    let entry = section.get("external_signaling_address")?;
    let address = acl::address(&entry.value, port);
    if address.is_none() {
        let text = "external_signaling_address: names are not resolved, an IP address is needed; \
                    peers are told the address they send to";
        draft.problems.warn(&entry.place, text);
    }
    address
}

fn endpoint(section: &Section, tenant: TenantId, auths: &Auths<'_>, draft: &mut Draft) {
    options::ENDPOINT.check(section, &mut draft.problems);
    let auth = auth(section, auths, draft);
    let problems = &mut draft.problems;
    let text = |name| section.text(name).filter(|text| !text.is_empty());
    let endpoint = Endpoint {
        name: Arc::clone(&section.name),
        tenant,
        context: text("context").unwrap_or("default").into(),
        subscribe_context: text("subscribe_context").map(Arc::from),
        allow_subscribe: section.flag("allow_subscribe", true, problems),
        allow_publish: scope(section, "allow_publish", problems),
        allow_register: scope(section, "allow_register", problems),
        sub_min_expiry_s: section.number("sub_min_expiry", 0, 0, problems),
        notify_early_inuse_ringing: section.flag("notify_early_inuse_ringing", false, problems),
        single_dialog: false,
        rewrite_contact: section.flag("rewrite_contact", false, problems),
        notify_bytes_max: None,
        is_unpadded: false,
        dialect: Dialect::Asterisk,
        auth,
    };
    let has_auth = endpoint.auth.is_some();
    let Some(id) = draft.endpoint(&section.place, endpoint) else { return };
    if &*section.name == "anonymous" {
        draft.core.identify.anonymous = Some(id);
        let text =
            "[anonymous]: everybody who is not another endpoint may subscribe to its context";
        return draft.problems.warn(&section.place, text);
    }
    let identify_by = section.text("identify_by").unwrap_or("username,ip");
    if identify_by.split(',').any(|by| by.trim().eq_ignore_ascii_case("username")) {
        draft.core.identify.users.insert(Arc::clone(&section.name), id);
        if !has_auth {
            let text = "endpoints without auth are found by their From user: anybody who claims \
                        the name may subscribe (identify_by=ip and type=identify prevent that)";
            draft.problems.warn(&section.place, text);
        }
    }
}

/// About whom an endpoint may publish, or whom it may register. The options are ours: an Asterisk
/// takes no such publications, and registers to the `aors` an endpoint names.
fn scope(section: &Section, name: &str, problems: &mut Problems) -> PublishScope {
    let Some(entry) = section.get(name) else { return PublishScope::None };
    match &*entry.value.to_ascii_lowercase() {
        "" | "none" | "no" => PublishScope::None,
        "own" => PublishScope::Own,
        "any" => PublishScope::Any,
        other => {
            let text = format!("{name} = {other}: none, own or any expected");
            problems.error(&entry.place, text);
            PublishScope::None
        }
    }
}

/// The credentials an endpoint names.
fn auth(section: &Section, auths: &Auths<'_>, draft: &mut Draft) -> Option<Auth> {
    let entry = section.get("auth")?;
    let mut names = entry.value.split(',').map(str::trim).filter(|name| !name.is_empty());
    let name = names.next()?;
    if names.next().is_some() {
        let text = "auth: only the first of several is asked for";
        draft.problems.warn(&entry.place, text);
    }
    let Some(auth) = auths.get(name) else {
        let text = format!("auth = {name}: there is no section [{name}] with type=auth");
        draft.problems.error(&entry.place, text);
        return None;
    };
    credentials(auth, draft)
}

fn credentials(section: &Section, draft: &mut Draft) -> Option<Auth> {
    let text = |name| section.text(name).filter(|text| !text.is_empty());
    let username: Arc<str> = text("username").unwrap_or_default().into();
    let realm: Arc<str> = text("realm").unwrap_or(draft.realm()).into();
    let hashes = hashes(section, draft)?;
    let wanted = match section.get("supported_algorithms_uas") {
        Some(entry) => algorithms(entry, draft),
        None => draft.core.algorithms.clone(),
    };
    let password = text("password")
        .map(|password| |algorithm: Algorithm| algorithm.ha1(&username, &realm, password));
    let secrets = build::secrets(&wanted, hashes, password);
    if secrets.is_empty() {
        let text = format!(
            "auth {} needs username and password, md5_cred or password_digest; other kinds are not \
             served",
            section.name
        );
        draft.problems.error(&section.place, text);
        return None;
    }
    Some(Auth { username, realm, secrets: secrets.into() })
}

/// `md5_cred = HASH` and `password_digest = ALGORITHM:HASH`; of one algorithm the last counts.
fn hashes(section: &Section, draft: &mut Draft) -> Option<Vec<Secret>> {
    let mut hashes = Vec::new();
    let mut is_good = true;
    let cred = section.get("md5_cred").filter(|entry| !entry.value.is_empty());
    let cred = cred.map(|entry| (entry, Some((Algorithm::Md5, &*entry.value))));
    let digests: Vec<&Entry> = section.all("password_digest").collect();
    let digests = digests.into_iter().rev().map(|entry| {
        let named = entry.value.split_once(':');
        (entry, named.and_then(|(token, hash)| Some((Algorithm::from_token(token.trim())?, hash))))
    });
    for (entry, named) in cred.into_iter().chain(digests) {
        let problem = match named {
            None => "ALGORITHM:HASH expected, of MD5, SHA-256 or SHA-512-256".to_owned(),
            Some((algorithm, hash)) => match algorithm.parse_ha1(hash.trim()) {
                Some(ha1) => {
                    hashes.push(Secret { algorithm, ha1 });
                    continue;
                }
                None => build::bad_ha1(algorithm),
            },
        };
        draft.problems.error(&entry.place, problem);
        is_good = false;
    }
    is_good.then_some(hashes)
}

/// A list of algorithms; one that is not known is warned of, since others may do.
fn algorithms(entry: &Entry, draft: &mut Draft) -> Vec<Algorithm> {
    let mut known = Vec::new();
    for token in entry.value.split(',') {
        match build::algorithms([token]) {
            Ok(algorithms) => known.extend(algorithms),
            Err(text) => draft.problems.warn(&entry.place, text),
        }
    }
    known
}

fn identify(section: &Section, draft: &mut Draft) {
    options::IDENTIFY.check(section, &mut draft.problems);
    let Some(entry) = section.get("endpoint") else {
        let text = format!("identify {} needs endpoint = NAME", section.name);
        return draft.problems.error(&section.place, text);
    };
    let Some(endpoint) = draft.find_endpoint(&entry.value) else {
        let text =
            format!("endpoint = {0}: there is no section [{0}] with type=endpoint", entry.value);
        return draft.problems.error(&entry.place, text);
    };
    for entry in section.all("match") {
        entry
            .value
            .split(',')
            .map(str::trim)
            .for_each(|text| network(text, entry, endpoint, draft));
    }
}

fn network(text: &str, entry: &Entry, endpoint: EndpointId, draft: &mut Draft) {
    match acl::network(text) {
        Some(network) => draft.identify(&entry.place, network, endpoint),
        None if text.is_empty() => {}
        None if looks_numeric(text) => {
            let text = format!("match = {text}: an address or network (192.0.2.0/24) expected");
            draft.problems.error(&entry.place, text);
        }
        None => {
            let text =
                format!("match = {text}: names are not resolved; nobody is found by this one");
            draft.problems.warn(&entry.place, text);
        }
    }
}

/// A misspelt address rather than a host name.
fn looks_numeric(text: &str) -> bool {
    text.contains([':', '/']) || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
