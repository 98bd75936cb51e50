//! What a node is started from: the core's configuration plus addresses, files and users.
//!
//! Three sources may be combined: an Asterisk configuration directory ([`asterisk`]), a native
//! `lampfield.toml` ([`native`]) and the command line ([`LoadOptions`]), each going before the
//! one named earlier. Without any of them a small loopback example is served ([`example`]).
//!
//! Whatever is wrong is collected, with its place, and reported at once ([`ConfigErrors`]). What
//! is understood but not done is a warning with a reason.

mod acl;
pub mod asterisk;
mod build;
pub mod example;
mod feeds;
mod lists;
mod load;
mod mailboxes;
mod mirror;
pub mod native;
mod problem;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lampfield_core::config::Network;
use lampfield_core::flow::Transport;
use lampfield_core::placement::TenantId;
use lampfield_net::tcp::WebOrigins;
use lampfield_net::tls::Tls;

pub use load::{ConfigErrors, LoadOptions, Loaded, load};
pub use mirror::{MirrorConfig, MirrorLogin, NamePatterns, Secret, StalePolicy};
pub use problem::{Place, Problem};

/// Everything a node needs to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What the shards serve.
    pub core: Arc<lampfield_core::config::Config>,
    /// Where SIP is served.
    pub listen: Vec<Listen>,
    /// Number of shards; `None` takes the number of cores.
    pub shard_count: Option<u8>,
    /// The AMI server; `None` runs none.
    pub ami: Option<AmiConfig>,
    /// PBXs whose states are followed.
    pub mirrors: Vec<MirrorConfig>,
    /// The console's UNIX socket.
    pub console_socket: PathBuf,
    /// Directory for everything the node keeps; `None` keeps nothing.
    pub state_dir: Option<PathBuf>,
    /// Whether nothing is said before what it rests on is on the disk.
    pub syncs_always: bool,
    /// The user to become once all addresses are bound; `None` stays who started it.
    pub user: Option<String>,
    /// Whether memory may be written to a disk at a crash.
    pub core_dumps: bool,
}

/// One SIP listen address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    /// Transport protocol.
    pub transport: Transport,
    /// Address to bind; port 0 takes a free one (tests).
    pub bind: SocketAddr,
    /// Address put into Via and Contact instead of the one the packet came to (NAT).
    pub advertised: Option<SocketAddr>,
    /// Certificates, and whom we trust; `Some` exactly if the transport is secure.
    pub tls: Option<Arc<Tls>>,
    /// Pages that may connect by WebSocket.
    pub origins: WebOrigins,
}

impl Listen {
    /// An address for a transport that is not secure, without anything special.
    pub fn plain(transport: Transport, bind: SocketAddr) -> Self {
        Self { transport, bind, advertised: None, tls: None, origins: WebOrigins::default() }
    }

    /// Whether `newer` is the same address in another configuration.
    pub fn is_same_address(&self, newer: &Self) -> bool {
        (self.transport, self.bind) == (newer.transport, newer.bind)
    }
}

/// AMI server settings (`manager.conf`).
#[derive(Clone, Debug, PartialEq)]
pub struct AmiConfig {
    /// Address to bind.
    pub bind: Option<SocketAddr>,
    /// Seconds an unauthenticated connection may live.
    pub auth_timeout_s: u32,
    /// Concurrent unauthenticated connections.
    pub auth_limit: u32,
    /// Put `Timestamp:` into events.
    pub timestamp_events: bool,
    /// Names of events that are never sent.
    pub disabled_events: Vec<String>,
    /// Users.
    pub users: Vec<AmiUser>,
}

impl Default for AmiConfig {
    /// Asterisk's limits, and no address.
    fn default() -> Self {
        Self {
            bind: None,
            auth_timeout_s: 30,
            auth_limit: 50,
            timestamp_events: false,
            disabled_events: Vec::new(),
            users: Vec::new(),
        }
    }
}

/// An AMI user.
#[derive(Clone, Debug, PartialEq)]
pub struct AmiUser {
    /// Name.
    pub name: String,
    /// Secret, plain.
    pub secret: String,
    /// Classes of events it gets, as a bit mask (`reference/ami.md` section 3).
    pub read: u64,
    /// Classes of actions it may use.
    pub write: u64,
    /// `permit`/`deny` rules in order: true permits; the last match decides; none permits all.
    pub access: Vec<(bool, Network)>,
    /// The tenant whose states it sees and sets.
    pub tenant: TenantId,
    /// Whether a second login of the same user is accepted.
    pub allow_multiple_login: bool,
    /// Milliseconds a write may take before the connection is closed.
    pub write_timeout_ms: u32,
    /// Which events it gets; see [`EventFilter::passes`].
    pub event_filters: Vec<EventFilter>,
}

impl Default for AmiUser {
    /// May do nothing, from anywhere.
    fn default() -> Self {
        Self {
            name: String::new(),
            secret: String::new(),
            read: 0,
            write: 0,
            access: Vec::new(),
            tenant: TenantId(0),
            allow_multiple_login: true,
            write_timeout_ms: 100,
            event_filters: Vec::new(),
        }
    }
}

/// One `eventfilter` of an AMI user.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventFilter {
    /// Events that fit are kept out instead of let in.
    pub excludes: bool,
    /// Only events of this name; empty for all.
    pub event: String,
    /// Only this header's value is compared; empty compares every line, `Name: value`.
    pub header: String,
    /// How it is compared.
    pub test: FilterTest,
}

/// How an [`EventFilter`] compares.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum FilterTest {
    /// It does not: name and header suffice.
    #[default]
    None,
    /// The value is this text.
    Exact(String),
    /// The value begins with it.
    StartsWith(String),
    /// The value ends in it.
    EndsWith(String),
    /// The value contains it.
    Contains(String),
}

impl EventFilter {
    /// Whether a user with these filters gets an event. With filters that include, an event must
    /// fit one; it must fit none that excludes.
    pub fn passes(filters: &[Self], event: &str, headers: &[(&str, &str)]) -> bool {
        let any = |excludes| {
            let mut kind = filters.iter().filter(|filter| filter.excludes == excludes);
            kind.any(|filter| filter.fits(event, headers))
        };
        let has_includes = filters.iter().any(|filter| !filter.excludes);
        (!has_includes || any(false)) && !any(true)
    }

    fn fits(&self, event: &str, headers: &[(&str, &str)]) -> bool {
        if !self.event.is_empty() && self.event != event {
            return false;
        }
        if self.header.is_empty() {
            let mut lines = headers.iter().map(|(name, value)| format!("{name}: {value}"));
            return self.test.fits(&format!("Event: {event}")) || lines.any(|l| self.test.fits(&l));
        }
        let mut named = headers.iter().filter(|(name, _)| self.header.eq_ignore_ascii_case(name));
        named.any(|(_, value)| self.test.fits(value))
    }
}

impl FilterTest {
    fn fits(&self, value: &str) -> bool {
        match self {
            Self::None => true,
            Self::Exact(text) => value == text,
            Self::StartsWith(text) => value.starts_with(text),
            Self::EndsWith(text) => value.ends_with(text),
            Self::Contains(text) => value.contains(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(excludes: bool, event: &str, header: &str, test: FilterTest) -> EventFilter {
        EventFilter { excludes, event: event.into(), header: header.into(), test }
    }

    #[test]
    fn filters_let_in_and_keep_out() {
        let contains = |text: &str| FilterTest::Contains(text.into());
        let status = filter(false, "ExtensionStatus", "", FilterTest::None);
        let lamp = filter(false, "", "Exten", FilterTest::Exact("lamp0".into()));
        let not_idle = filter(true, "", "", contains("StatusText: Idle"));
        let headers = [("Exten", "lamp0"), ("StatusText", "Idle")];
        for (filters, event, want) in [
            (&[][..], "Any", true),
            (std::slice::from_ref(&status), "ExtensionStatus", true),
            (std::slice::from_ref(&status), "PresenceStatus", false),
            (std::slice::from_ref(&lamp), "PresenceStatus", true),
            (std::slice::from_ref(&not_idle), "PresenceStatus", false),
            (&[status.clone(), not_idle.clone()], "ExtensionStatus", false),
            (
                &[lamp.clone(), filter(true, "", "", contains("Event: Pres"))],
                "PresenceStatus",
                false,
            ),
        ] {
            assert_eq!(EventFilter::passes(filters, event, &headers), want, "{filters:?} {event}");
        }
    }
}
