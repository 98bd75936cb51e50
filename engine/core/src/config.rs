//! What a node serves: tenants, endpoints, dialplan, state providers. An immutable snapshot that
//! every shard holds by reference count; a reload hands over a new one.

use std::net::IpAddr;
use std::sync::Arc;

use crate::dialplan::Dialplan;
use crate::digest::{Algorithm, Secret};
use crate::feed::Feeds;
use crate::limits::Limits;
use crate::list::Lists;
use crate::mailbox::{self, Mailboxes};
use crate::package::Package;
use crate::placement::TenantId;
use crate::provider::Providers;
use crate::registrar::RegistrarConfig;

/// Everything the core needs to know of the configuration.
#[derive(Debug, Default)]
pub struct Config {
    /// Tenants; a [`TenantId`] is an index into this list. Never empty in a running node.
    pub tenants: Vec<Tenant>,
    /// Endpoints; an [`EndpointId`] is an index into this list.
    pub endpoints: Vec<Endpoint>,
    /// How a request finds its endpoint.
    pub identify: Identify,
    /// Hints of all tenants.
    pub dialplan: Dialplan,
    /// Resource lists of all tenants.
    pub lists: Lists,
    /// Addresses of record with mailboxes, of all tenants.
    pub mailboxes: Mailboxes,
    /// Names to which other servers publish their states.
    pub feeds: Feeds,
    /// How registrations are taken.
    pub registrar: RegistrarConfig,
    /// Who supplies device and presence states.
    pub providers: Providers,
    /// Text of `Server` and `User-Agent`.
    pub user_agent: Arc<str>,
    /// Shapes of answers to requests of no known endpoint.
    pub dialect: Dialect,
    /// Realm of challenges to requests of no known endpoint.
    pub realm: Arc<str>,
    /// Algorithms of these challenges, the preferred one first. None: MD5.
    pub algorithms: Vec<Algorithm>,
    /// Bounds on everything.
    pub limits: Limits,
}

impl Config {
    /// The tenants that are configured.
    pub fn tenant_ids(&self) -> impl Iterator<Item = TenantId> + '_ {
        let tenants = self.tenants.iter().enumerate();
        tenants.filter(|(_, tenant)| !tenant.is_gone).map(|(place, _)| TenantId(place as u16))
    }
}

/// A customer of the node. Extensions, sources and endpoints of two tenants never meet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tenant {
    /// Unique name.
    pub name: Arc<str>,
    /// Host part of this tenant's presentity URIs in the `rfc` dialect; without it the host of
    /// the request URI is used.
    pub domain: Option<Arc<str>>,
    /// How publications show; `None` if nobody publishes.
    pub publications: Option<Publications>,
    /// It is not configured any more; its place stays its own.
    pub is_gone: bool,
}

/// How the publications of a tenant's extensions reach their watchers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Publications {
    /// What counts for an extension that has a hint.
    pub combination: Combination,
    /// Whether an extension without a hint can be published and watched.
    pub unhinted: bool,
    /// What watchers learn of published calls.
    pub call_details: CallDetails,
}

/// What watchers of an extension learn of its published calls, besides that there are some.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CallDetails {
    /// Who calls, and Call-ID and tags, with which the call can be picked up.
    #[default]
    All,
    /// Who calls.
    Parties,
    /// Nothing.
    None,
}

/// What watchers of an extension see that has a hint and may be published.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Combination {
    /// The hint alone. It may name the publication itself, as `Publication:2000`.
    Hint,
    /// Both add up, as if the hint named the publication among its devices and presence sources.
    #[default]
    Merged,
    /// The publication while there is one, else the hint.
    PublicationFirst,
    /// The publication alone; the hint says that the extension exists, and its display name.
    Publication,
}

/// About whom an endpoint may publish.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum PublishScope {
    /// About nobody.
    #[default]
    None,
    /// About the extension of its own name.
    Own,
    /// About every extension of its tenant: a proxy, another server.
    Any,
}

/// An index into [`Config::endpoints`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EndpointId(pub u32);

/// Shapes of documents, codes and headers. The facts carried are the same.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Dialect {
    /// Schema-valid documents, codes and headers as the RFCs have them.
    #[default]
    Rfc,
    /// As a real Asterisk sends them.
    Asterisk,
}

/// A peer or a group of peers that may subscribe. The default one may not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Endpoint {
    /// Unique name.
    pub name: Arc<str>,
    /// Whose endpoint it is.
    pub tenant: TenantId,
    /// Context in which subscribed extensions are looked up.
    pub context: Arc<str>,
    /// Looked up instead of `context` when present.
    pub subscribe_context: Option<Arc<str>>,
    /// Whether it may subscribe at all.
    pub allow_subscribe: bool,
    /// About whom it may publish. It must be known by its address or prove itself: a From user
    /// alone is not enough.
    pub allow_publish: PublishScope,
    /// Whom it may register; it must be known or prove itself in the same way.
    pub allow_register: PublishScope,
    /// Shortest accepted subscription, in seconds; 0 for no bound.
    pub sub_min_expiry_s: u32,
    /// Show "in use and ringing" as `early` instead of `confirmed` in dialog-info.
    pub notify_early_inuse_ringing: bool,
    /// Never show more than one dialog in dialog-info (`force_single_dialog` of OpenSIPS).
    pub single_dialog: bool,
    /// Send NOTIFYs to the packet's source instead of the Contact (NAT).
    pub rewrite_contact: bool,
    /// Its NOTIFYs get no spaces to be of one length, however many go to one address.
    pub is_unpadded: bool,
    /// Shapes of what it gets.
    pub dialect: Dialect,
    /// Bytes of one NOTIFY at most; a list that needs more is split over several. `None`: what
    /// one datagram carries ([`Limits::notify_bytes_max`]).
    pub notify_bytes_max: Option<u32>,
    /// Credentials it must prove; `None` trusts the source address alone.
    pub auth: Option<Auth>,
}

impl Endpoint {
    /// The context subscriptions are looked up in.
    pub fn hint_context(&self) -> &Arc<str> {
        self.subscribe_context.as_ref().unwrap_or(&self.context)
    }

    /// The context what it names is looked up in, by package.
    pub(crate) fn context_of(&self, package: Package) -> &str {
        match package {
            Package::MessageSummary => mailbox::CONTEXT,
            _ => self.hint_context(),
        }
    }

    /// Whether it may publish about anybody.
    pub fn may_publish(&self) -> bool {
        self.allow_publish != PublishScope::None
    }
}

/// Digest credentials of an endpoint (`type=auth`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Auth {
    /// User name of the Authorization header.
    pub username: Arc<str>,
    /// Realm of the challenge.
    pub realm: Arc<str>,
    /// What it must know, in the order in which it is asked for.
    pub secrets: Arc<[Secret]>,
}

/// Finds the endpoint of a request: by source address, then by the From user, then anonymous.
#[derive(Clone, Debug, Default)]
pub struct Identify {
    /// Single addresses, found by one lookup however many there are. They go before networks.
    pub hosts: hashbrown::HashMap<IpAddr, EndpointId, ahash::RandomState>,
    /// Networks, longest prefix first; the first that contains the source wins.
    pub networks: Vec<(Network, EndpointId)>,
    /// Endpoints that may be named by the From user (they carry `auth`, or trust the name).
    pub users: hashbrown::HashMap<Arc<str>, EndpointId, ahash::RandomState>,
    /// The endpoint of everybody else, if there is one.
    pub anonymous: Option<EndpointId>,
}

/// An IP network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// Any address inside; bits after the prefix are ignored.
    pub address: IpAddr,
    /// Prefix length in bits: 0 to 32 or 0 to 128.
    pub prefix: u8,
}

impl Network {
    /// Whether `ip` lies inside. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                u32::from(net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask =
                    u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                u128::from(net) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

impl Identify {
    /// The endpoint of a request from `source` whose From user is `user`.
    pub fn find(&self, source: IpAddr, user: &str) -> Option<EndpointId> {
        let by_user = || self.users.get(user).copied();
        self.find_by_address(source).or_else(by_user).or(self.anonymous)
    }

    /// The endpoint that an address alone names.
    pub fn find_by_address(&self, source: IpAddr) -> Option<EndpointId> {
        let by_network = || {
            let mut networks = self.networks.iter();
            networks.find(|(network, _)| network.contains(source)).map(|(_, endpoint)| *endpoint)
        };
        self.hosts.get(&source.to_canonical()).copied().or_else(by_network)
    }
}
