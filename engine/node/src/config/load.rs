//! Reading everything, at start and on reload.

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use lampfield_core::config::Dialect;
use lampfield_core::flow::Transport;

use super::build::Draft;
use super::problem::{Place, Problem};
use super::{AmiUser, Listen, NodeConfig, asterisk, example, native};
use crate::control::ami::class::ALL;
use crate::control::console::default_socket_path;

/// The port of AMI.
pub(super) const AMI_PORT: u16 = 5038;

/// The port SIP is served on by a transport if none is named (RFC 3261 section 19.1.2, RFC 7118
/// section 5).
pub(super) const fn sip_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
        Transport::Ws => 80,
        Transport::Wss => 443,
    }
}

/// What to read, and what the command line says. The command line goes before every file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoadOptions {
    /// A `lampfield.toml`.
    pub config: Option<PathBuf>,
    /// An Asterisk configuration directory.
    pub asterisk: Option<PathBuf>,
    /// `USER` or `USER@HOST:PORT`: mirror the states of the Asterisk whose directory is read, as
    /// this user of its `manager.conf`.
    pub mirror: Option<String>,
    /// Dialect of every endpoint that is not configured with one of its own.
    pub dialect: Option<Dialect>,
    /// Directory for everything the node keeps.
    pub state_dir: Option<PathBuf>,
    /// Number of shards.
    pub shard_count: Option<u8>,
    /// Where SIP is served, instead of the configured addresses.
    pub listen: Vec<Listen>,
    /// Where AMI is served, even if it is configured not to be.
    pub ami: Option<SocketAddr>,
    /// The console's UNIX socket.
    pub console_socket: Option<PathBuf>,
    /// Tenants there are or were, each at its place (by [`lampfield_core::placement::TenantId`]).
    pub tenants: Vec<Arc<str>>,
    /// Secret of the AMI user `admin` where no user is configured; drawn when empty. Kept here so
    /// that a reload does not change it.
    pub ami_secret: String,
}

/// A configuration that can be served.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub node: NodeConfig,
    /// What it was loaded from: [`load`] with these options reads it again.
    pub source: LoadOptions,
    /// What is not done, and why.
    pub warnings: Vec<Problem>,
    /// What is worth knowing and not wrong.
    pub notices: Vec<String>,
    /// Every file that was read.
    pub files: Vec<PathBuf>,
}

/// Why a configuration cannot be served. Prints one line per error.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    /// Never empty.
    pub errors: Vec<Problem>,
    /// What would not be done besides.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.errors.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads and checks a configuration.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn load(options: &LoadOptions) -> Result<Loaded, ConfigErrors> {
    let mut options = options.clone();
    let mut draft = Draft::new(&options.tenants);
    let from_native = match &options.config {
        Some(path) => native::read(path, options.dialect, &mut draft),
        None => native::Asterisk { dialect: options.dialect, ..Default::default() },
    };
    match options.asterisk.as_ref().or(from_native.dir.as_ref()) {
        Some(dir) => {
            let native::Asterisk { tenant, mirror, dialect, .. } = &from_native;
            let wanted = asterisk::Wanted {
                tenant: tenant.as_deref(),
                dialect: *dialect,
                mirror: options.mirror.as_ref().or(mirror.as_ref()).map(String::as_str),
            };
            asterisk::read_dir(dir, &wanted, &mut draft);
        }
        None if options.mirror.is_some() => {
            let text = "--mirror: --asterisk DIR expected beside it: the secret is in manager.conf";
            draft.problems.error(&Place::default(), text);
        }
        None if options.config.is_none() => example::embedded(&mut draft, options.dialect),
        None => {}
    }
    apply(&mut options, &mut draft);
    draft.finish();
    finish(draft, options)
}

/// Puts the command line over the files, and defaults under them.
fn apply(options: &mut LoadOptions, draft: &mut Draft) {
    if !options.listen.is_empty() {
        draft.listen.clone_from(&options.listen);
    }
    if draft.listen.is_empty() {
        let bind = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), sip_port(Transport::Udp));
        draft.notices.push(format!("no listen address is configured: serving SIP on {bind}"));
        let listen = |transport| Listen::plain(transport, bind);
        draft.listen.extend([Transport::Udp, Transport::Tcp].map(listen));
    }
    if let Some(bind) = options.ami {
        draft.ami.bind = Some(bind);
        draft.ami_enabled = true;
    }
    if draft.ami_enabled {
        apply_ami(options, draft);
    }
    if draft.core.tenants.is_empty() {
        let _ = draft.tenant("default");
    }
}

fn apply_ami(options: &mut LoadOptions, draft: &mut Draft) {
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), AMI_PORT);
    let bind = *draft.ami.bind.get_or_insert(loopback);
    if !bind.ip().is_loopback() {
        let text = format!(
            "AMI on {bind} is open to other machines: its protocol is not encrypted, and whoever \
             logs in can change states"
        );
        draft.problems.warn(&Place::default(), text);
    }
    if !draft.ami.users.is_empty() {
        return;
    }
    if options.ami_secret.is_empty() {
        match random_secret() {
            Ok(secret) => options.ami_secret = secret,
            Err(error) => {
                let text = format!("no AMI user is configured, and /dev/urandom: {error}");
                return draft.problems.error(&Place::default(), text);
            }
        }
    }
    draft.notices.push(format!(
        "no AMI user is configured: user admin, secret {} (until the next start)",
        options.ami_secret
    ));
    draft.ami.users.push(AmiUser {
        name: "admin".into(),
        secret: options.ami_secret.clone(),
        read: ALL,
        write: ALL,
        ..AmiUser::default()
    });
}

fn random_secret() -> std::io::Result<String> {
    let mut bytes = [0; 12];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn finish(draft: Draft, options: LoadOptions) -> Result<Loaded, ConfigErrors> {
    let Draft { core, listen, shard_count, ami, ami_enabled, mirrors, files, notices, .. } = draft;
    let mut problems = draft.problems;
    problems.errors.sort_by(|a, b| a.place.cmp(&b.place));
    problems.warnings.sort_by(|a, b| a.place.cmp(&b.place));
    if !problems.errors.is_empty() {
        return Err(ConfigErrors { errors: problems.errors, warnings: problems.warnings });
    }
    let state_dir = options.state_dir.clone().or(draft.state_dir);
    let console_socket = options.console_socket.clone().or(draft.console_socket);
    let node = NodeConfig {
        core: Arc::new(core),
        listen,
        shard_count: options.shard_count.or(shard_count),
        ami: ami_enabled.then_some(ami),
        mirrors,
        console_socket: console_socket.unwrap_or_else(|| default_socket_path(state_dir.as_deref())),
        state_dir,
        syncs_always: draft.syncs_always,
        user: draft.user,
        core_dumps: draft.core_dumps,
    };
    Ok(Loaded { node, source: options, warnings: problems.warnings, notices, files })
}
