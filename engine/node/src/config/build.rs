//! The configuration while it is put together from its sources.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use lampfield_core::config::{
    Config, Dialect, Endpoint, EndpointId, Identify, Network, Publications, PublishScope, Tenant,
};
use lampfield_core::dialplan::DialplanError;
use lampfield_core::digest::{Algorithm, Secret};
use lampfield_core::placement::TenantId;
use lampfield_net::tls::CertificateFiles;

use super::problem::{Place, Problems};
use super::{AmiConfig, Listen, MirrorConfig};

/// Text of `Server` and `User-Agent` unless configured.
const USER_AGENT: &str = concat!("Lampfield/", env!("CARGO_PKG_VERSION"));

/// Realm of challenges unless configured.
const REALM: &str = "lampfield";

/// Everything read so far.
pub(super) struct Draft {
    /// User agent and realm are empty until something sets them.
    pub(super) core: Config,
    pub(super) listen: Vec<Listen>,
    /// Certificates of tenants, by the names clients ask for.
    pub(super) certificates: Vec<(String, CertificateFiles)>,
    pub(super) shard_count: Option<u8>,
    pub(super) ami: AmiConfig,
    /// Whether AMI is wanted; its users may be configured without.
    pub(super) ami_enabled: bool,
    /// Whether a native file configured AMI: `manager.conf` is left alone then.
    pub(super) has_native_ami: bool,
    pub(super) mirrors: Vec<MirrorConfig>,
    pub(super) console_socket: Option<PathBuf>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) syncs_always: bool,
    pub(super) user: Option<String>,
    pub(super) core_dumps: bool,
    pub(super) problems: Problems,
    /// Every file that was read.
    pub(super) files: Vec<PathBuf>,
    /// Things worth telling that are not wrong.
    pub(super) notices: Vec<String>,
    endpoint_index: HashMap<Arc<str>, (EndpointId, Place)>,
}

impl Draft {
    /// An empty draft, with the places of tenants there are or were.
    pub(super) fn new(tenants: &[Arc<str>]) -> Self {
        let gone =
            |name: &Arc<str>| Tenant { name: Arc::clone(name), is_gone: true, ..Tenant::default() };
        Self {
            core: Config { tenants: tenants.iter().map(gone).collect(), ..Config::default() },
            listen: Vec::new(),
            certificates: Vec::new(),
            shard_count: None,
            ami: AmiConfig::default(),
            ami_enabled: false,
            has_native_ami: false,
            mirrors: Vec::new(),
            console_socket: None,
            state_dir: None,
            syncs_always: false,
            user: None,
            core_dumps: false,
            problems: Problems::default(),
            files: Vec::new(),
            notices: Vec::new(),
            endpoint_index: HashMap::new(),
        }
    }

    /// The realm of credentials that name none.
    pub(super) fn realm(&self) -> &str {
        if self.core.realm.is_empty() { REALM } else { &self.core.realm }
    }

    /// The tenant of this name, added if need be. `None`: there are too many.
    pub(super) fn tenant(&mut self, name: &str) -> Option<TenantId> {
        if let Some(tenant) = self.find_tenant(name) {
            return Some(tenant);
        }
        self.add_tenant(Tenant { name: name.into(), ..Tenant::default() })
    }

    /// Adds a tenant that is not there yet, at the place it had. `None`: there are too many.
    pub(super) fn add_tenant(&mut self, tenant: Tenant) -> Option<TenantId> {
        let tenants = &mut self.core.tenants;
        let place = tenants.iter().position(|known| known.name == tenant.name);
        let id = TenantId(u16::try_from(place.unwrap_or(tenants.len())).ok()?);
        match place {
            Some(place) => tenants[place] = tenant,
            None => tenants.push(tenant),
        }
        Some(id)
    }

    pub(super) fn find_tenant(&self, name: &str) -> Option<TenantId> {
        self.core.tenant_ids().find(|id| &*self.core.tenants[usize::from(id.0)].name == name)
    }

    /// Adds an endpoint; a second one of the same name is an error.
    pub(super) fn endpoint(&mut self, place: &Place, endpoint: Endpoint) -> Option<EndpointId> {
        let id = EndpointId(self.core.endpoints.len() as u32);
        if let Some((_, first)) = self.endpoint_index.get(&endpoint.name) {
            let text = format!("endpoint {} is already defined at {first}", endpoint.name);
            self.problems.error(place, text);
            return None;
        }
        self.endpoint_index.insert(Arc::clone(&endpoint.name), (id, place.clone()));
        self.core.endpoints.push(endpoint);
        Some(id)
    }

    pub(super) fn find_endpoint(&self, name: &str) -> Option<EndpointId> {
        self.endpoint_index.get(name).map(|(id, _)| *id)
    }

    /// Lets a network name an endpoint. The first of two equal networks stays.
    pub(super) fn identify(&mut self, place: &Place, network: Network, endpoint: EndpointId) {
        let Identify { hosts, networks, .. } = &mut self.core.identify;
        let Network { address, prefix } = network;
        let is_host = prefix == if address.is_ipv4() { 32 } else { 128 };
        let first = if is_host {
            *hosts.entry(address.to_canonical()).or_insert(endpoint)
        } else {
            let same = |(other, _): &&(Network, EndpointId)| {
                other.prefix == prefix && other.contains(address)
            };
            networks.iter().find(same).map(|(_, first)| *first).unwrap_or_else(|| {
                networks.push((network, endpoint));
                endpoint
            })
        };
        if first != endpoint {
            let first = &self.core.endpoints[first.0 as usize].name;
            let text = format!("{address}/{prefix} already identifies {first}; ignored here");
            self.problems.warn(place, text);
        }
    }

    /// Gives every endpoint added from `first` on its dialect.
    pub(super) fn set_dialect(&mut self, first: usize, dialect: Dialect) {
        for endpoint in &mut self.core.endpoints[first..] {
            endpoint.dialect = dialect;
        }
    }

    /// Reports an entry the dialplan refused: a duplicate is left out with a warning if
    /// `lenient`, because Asterisk does the same; everything else is an error.
    pub(super) fn dialplan(
        &mut self,
        place: &Place,
        lenient: bool,
        result: Result<(), DialplanError>,
    ) {
        match result {
            Ok(()) => {}
            Err(error @ DialplanError::Duplicate(..)) if lenient => {
                self.problems.warn(place, format!("{error}; ignored here, as in Asterisk"));
            }
            Err(error) => self.problems.error(place, error.to_string()),
        }
    }

    /// Checks what can only be seen at the end.
    pub(super) fn finish(&mut self) {
        self.core.realm = self.realm().into();
        if self.core.user_agent.is_empty() {
            self.core.user_agent = USER_AGENT.into();
        }
        // Stable: equal lengths keep their order.
        self.core.identify.networks.sort_by_key(|(network, _)| u8::MAX - network.prefix);
        self.combine_publications();
        self.check_contexts();
        self.check_sources();
        self.check_lists();
        self.check_listen();
    }

    /// A tenant that says nothing of publications takes them once an endpoint of it may publish.
    fn combine_publications(&mut self) {
        let Self { core, problems, endpoint_index, .. } = self;
        for (at, endpoint) in core.endpoints.iter().enumerate() {
            let may_register = endpoint.allow_register != PublishScope::None;
            if !endpoint.may_publish() && !may_register {
                continue;
            }
            if endpoint.may_publish()
                && let Some(tenant) = core.tenants.get_mut(usize::from(endpoint.tenant.0))
            {
                tenant.publications.get_or_insert_with(Publications::default);
            }
            let id = EndpointId(at as u32);
            let by_address = core.identify.hosts.values().any(|host| *host == id)
                || core.identify.networks.iter().any(|(_, network)| *network == id);
            if endpoint.auth.is_none() && !by_address {
                let place = endpoint_index.get(&endpoint.name).map(|(_, place)| place.clone());
                let option =
                    if endpoint.may_publish() { "allow_publish" } else { "allow_register" };
                let text = format!(
                    "{option}: without credentials or an address nothing it says is taken (403)"
                );
                problems.warn(&place.unwrap_or_default(), text);
            }
        }
    }

    fn check_contexts(&mut self) {
        let Self { core, problems, .. } = self;
        for tenant in core.tenant_ids() {
            for (context, included) in core.dialplan.dangling_includes(tenant) {
                let text = format!("context {context} includes {included}, which does not exist");
                problems.warn(&Place::default(), text);
            }
        }
        for endpoint in &core.endpoints {
            let context = endpoint.hint_context();
            if endpoint.allow_subscribe && core.dialplan.context(endpoint.tenant, context).is_none()
            {
                let place = self.endpoint_index.get(&endpoint.name).map(|(_, place)| place.clone());
                let text = format!(
                    "there is no context {context} with hints: every subscription there is \
                     answered 404"
                );
                problems.warn(&place.unwrap_or_default(), text);
            }
        }
    }

    /// Hints that name sources nobody supplies.
    fn check_sources(&mut self) {
        let Self { core, problems, .. } = self;
        let providers = &core.providers;
        for tenant in core.tenant_ids() {
            for (_, exten, hint) in core.dialplan.explicit_hints(tenant) {
                let place = || place_of(&hint.origin);
                for name in hint.devices.iter().filter(|name| providers.of_device(name).is_none()) {
                    let text = format!(
                        "hint of {exten}: '{name}' is of no known technology (TECH/name) or \
                         provider (label:name): always INVALID"
                    );
                    problems.warn(&place(), text);
                }
                let unknown = |name: &&Arc<str>| providers.of_presence(name).is_none();
                for name in hint.presence.iter().filter(unknown) {
                    let text =
                        format!("hint of {exten}: '{name}' is of no presence provider: never set");
                    problems.warn(&place(), text);
                }
            }
        }
    }

    fn check_listen(&mut self) {
        let mut seen: Vec<Listen> = Vec::new();
        for listen in std::mem::take(&mut self.listen) {
            let same =
                |other: &&Listen| other.bind == listen.bind && other.transport == listen.transport;
            if listen.bind.port() == 0 || !seen.iter().any(|other| same(&other)) {
                seen.push(listen);
            }
        }
        self.listen = seen;
    }
}

/// The place an origin (`file:line`) names.
pub(super) fn place_of(origin: &str) -> Place {
    let (file, line) = origin.rsplit_once(':').unwrap_or((origin, "0"));
    Place { line: line.parse().unwrap_or(0), ..Place::file(file) }
}

/// What an endpoint is asked for: each of `algorithms` that a secret is known for, in their order.
/// Hashes alone, of other algorithms only, are asked for as they are.
pub(super) fn secrets(
    algorithms: &[Algorithm],
    hashes: Vec<Secret>,
    password: Option<impl Fn(Algorithm) -> Arc<str>>,
) -> Vec<Secret> {
    let known = |&algorithm: &Algorithm| {
        let hash = hashes.iter().find(|secret| secret.algorithm == algorithm).cloned();
        hash.or_else(|| {
            let ha1 = password.as_ref()?(algorithm);
            Some(Secret { algorithm, ha1 })
        })
    };
    let secrets: Vec<Secret> = algorithms.iter().filter_map(known).collect();
    if secrets.is_empty() { hashes } else { secrets }
}

/// Algorithms by their tokens; the error is the first that is none.
pub(super) fn algorithms<'a>(
    tokens: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Algorithm>, String> {
    let one = |token: &str| {
        Algorithm::from_token(token).ok_or_else(|| {
            format!("{token}: MD5, SHA-256 or SHA-512-256 expected (digest algorithms)")
        })
    };
    let mut algorithms = Vec::new();
    for token in tokens {
        let algorithm = one(token.trim())?;
        if !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    Ok(algorithms)
}

/// What is said of a hash that is none.
pub(super) fn bad_ha1(algorithm: Algorithm) -> String {
    format!(
        "{} hexadecimal digits expected: the {} hash of username:realm:password",
        algorithm.digit_count(),
        algorithm.token()
    )
}
