//! What a node is started from: the core's configuration plus addresses, files and users.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lampfield_core::flow::Transport;

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
    /// The console's UNIX socket.
    pub console_socket: PathBuf,
    /// Directory for everything the node keeps; `None` keeps nothing.
    pub state_dir: Option<PathBuf>,
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
}

/// AMI server settings (`manager.conf`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AmiConfig {
    /// Address to bind.
    pub bind: Option<SocketAddr>,
    /// Seconds an unauthenticated connection may live.
    pub auth_timeout_s: u32,
    /// Concurrent unauthenticated connections.
    pub auth_limit: u32,
    /// Put `Timestamp:` into events.
    pub timestamp_events: bool,
    /// Users.
    pub users: Vec<AmiUser>,
}

/// An AMI user.
#[derive(Clone, Debug, Default, PartialEq)]
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
    pub access: Vec<(bool, lampfield_core::config::Network)>,
    /// The tenant whose states it sees and sets.
    pub tenant: lampfield_core::placement::TenantId,
    /// Whether a second login of the same user is accepted.
    pub allow_multiple_login: bool,
    /// Milliseconds a write may take before the connection is closed.
    pub write_timeout_ms: u32,
}
