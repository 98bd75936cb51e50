//! Running a node: one executor per shard, the control plane and the store beside them, and the
//! signals that end it all.
//!
//! [`Node`] starts and stops one inside any process (tests start several); [`run`] is what the
//! program does: logging, signals, exit.

mod budget;
mod clock;
mod figures;
mod hold;
mod latency;
mod mesh;
mod pace;
mod ports;
mod pressure;
mod start;
mod tide;
mod turn;
mod watch;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

pub use latency::Latencies;
pub use ports::Bound;
pub use start::Node;

use crate::config::NodeConfig;
use crate::control::Reload;

/// Environment variable with the log filter, as `info` or `lampfield=debug`.
const LOG_VARIABLE: &str = "LAMPFIELD_LOG";

/// How the program runs a node.
#[derive(Default)]
pub struct RunOptions {
    /// Reads the configuration again (SIGHUP, console); `None` if it cannot be read again.
    pub reload: Option<Reload>,
    /// File that is written when everything listens: one line `udp 127.0.0.1:5060` per address,
    /// with the real ports.
    pub ready_file: Option<PathBuf>,
}

/// Runs a node until SIGTERM, SIGINT or the console's `stop`. A second SIGINT ends the process at
/// once.
///
/// # Errors
///
/// Why it cannot start, or what did not end well.
pub fn run(config: NodeConfig, options: RunOptions) -> anyhow::Result<()> {
    start_logging();
    let reload = options.reload.unwrap_or_else(|| {
        std::sync::Arc::new(|_| anyhow::bail!("this node was not started from files"))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the supervisor")?;
    runtime.block_on(async {
        // Before anything runs, so that no signal finds the default action.
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
        // The control plane acts on it; watched here as well, so that one that comes before the
        // control plane runs does not end the process.
        let _hangup = signal(SignalKind::hangup()).context("cannot watch SIGHUP")?;
        let node = Node::start(config, reload)?;
        if let Some(path) = &options.ready_file {
            write_ready_file(path, &node)?;
        }
        tracing::info!("ready");
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
            _ = interrupt.recv() => tracing::info!("SIGINT: ending; again to end at once"),
            () = node.shutdown().wait() => tracing::info!("ending"),
        }
        let stopped = tokio::task::spawn_blocking(move || node.stop());
        tokio::select! {
            result = stopped => result.context("stopping panicked")?,
            _ = interrupt.recv() => std::process::exit(130),
        }
    })?;
    tracing::info!("ended");
    Ok(())
}

/// Log lines go to stderr. A second call, as in tests, changes nothing.
fn start_logging() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// Written under another name and moved, so that whoever waits for the file finds it whole.
fn write_ready_file(path: &Path, node: &Node) -> anyhow::Result<()> {
    let writing = || format!("cannot write {}", path.display());
    let partial = path.with_extension("partial");
    let mut file = std::fs::File::create(&partial).with_context(writing)?;
    for Bound { transport, address } in node.bound() {
        writeln!(file, "{} {address}", transport.token().to_ascii_lowercase())
            .with_context(writing)?;
    }
    if let Some(address) = node.ami() {
        writeln!(file, "ami {address}").with_context(writing)?;
    }
    std::fs::rename(&partial, path).with_context(writing)
}
