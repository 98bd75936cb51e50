//! The command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lampfield_core::config::Dialect;
use lampfield_core::flow::Transport;

use crate::check;
use crate::config::{Listen, LoadOptions, example, load};
use crate::control::Reload;
use crate::control::console::{
    ConsoleRequest, console_main, default_history_path, default_socket_path,
};
use crate::run::RunOptions;
use crate::store::offline;

/// A sharded SIP presence and busy-lamp engine.
#[derive(Debug, Parser)]
#[command(name = "lampfield", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve watchers. Without a configuration: an example tenant on loopback.
    Run(Run),
    /// Validate a configuration and print what it would serve.
    Check(Source),
    /// Talk to a running node.
    Console(Console),
    /// Write a configuration to begin with.
    ExampleConfig(ExampleConfig),
    /// Copy everything that is kept. The node must not run; `backup` on its console is for one that
    /// does.
    Backup(Kept),
    /// Make a state directory's store from a backup.
    Restore(Kept),
    /// Write everything that is kept as lines of JSON, to look at or for another version to read.
    Export(Exported),
    /// Make a state directory's store from an export.
    Import(Kept),
}

#[derive(Args, Debug)]
struct Run {
    #[command(flatten)]
    source: Source,
    /// Write this file once everything listens: a line like "udp 127.0.0.1:5060" per address.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// What to serve.
#[derive(Args, Clone, Debug)]
struct Source {
    /// A lampfield.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An Asterisk configuration directory; implies --dialect asterisk.
    #[arg(long, value_name = "DIR")]
    asterisk: Option<PathBuf>,
    /// Mirror the states of the Asterisk whose directory is read: log in to it as this user of
    /// its manager.conf.
    #[arg(long, value_name = "USER[@HOST:PORT]")]
    mirror: Option<String>,
    /// Shapes of documents, codes and headers.
    #[arg(long, value_enum)]
    dialect: Option<DialectName>,
    /// Directory for everything the node keeps; without one, nothing is kept.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Number of shards; one per core without.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    shards: Option<u8>,
    /// Serve SIP here instead of the configured addresses, as udp:127.0.0.1:5060; repeatable.
    #[arg(long, value_name = "TRANSPORT:ADDRESS", value_parser = listen)]
    listen: Vec<Listen>,
    /// Serve AMI here, even where the configuration does not.
    #[arg(long, value_name = "ADDRESS")]
    ami: Option<SocketAddr>,
    /// The console's UNIX socket.
    #[arg(long, value_name = "PATH")]
    console: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DialectName {
    /// As the RFCs have them.
    Rfc,
    /// As a real Asterisk sends them.
    Asterisk,
}

#[derive(Args, Debug)]
struct Console {
    /// Run a command, print its answer and end; repeatable.
    #[arg(short = 'x', value_name = "COMMAND")]
    command: Vec<String>,
    /// Answers for programs, a line of JSON each: of latency, counters and net.
    #[arg(long)]
    json: bool,
    /// The node's UNIX socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The node's state directory, to find its socket in.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Kept {
    /// The state directory.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// The backup, or the export.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args, Debug)]
struct Exported {
    /// The state directory.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// A file that does not exist yet; the output without.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct ExampleConfig {
    /// An Asterisk configuration directory instead of a lampfield.toml.
    #[arg(long)]
    asterisk: bool,
    /// Number of hints.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    hints: u32,
    /// Where to write it; created if need be. Files that exist are not overwritten.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Does what the command line says.
///
/// # Errors
///
/// What went wrong, for `main` to print.
pub fn main(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(options) => run(options),
        Command::Check(source) => check(source),
        Command::Console(Console { command, json, socket, state_dir }) => {
            let socket = socket.unwrap_or_else(|| default_socket_path(state_dir.as_deref()));
            let history = default_history_path();
            console_main(&ConsoleRequest { socket, commands: command, json, history })
        }
        Command::ExampleConfig(ExampleConfig { asterisk, hints, dir }) => {
            match asterisk {
                true => example::write_asterisk(&dir, hints)?,
                false => example::write_native(&dir, hints)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup(Kept { state_dir, file }) => copied(offline::backup(&state_dir, &file)?),
        Command::Restore(Kept { state_dir, file }) => copied(offline::restore(&state_dir, &file)?),
        Command::Import(Kept { state_dir, file }) => copied(offline::import(&state_dir, &file)?),
        Command::Export(Exported { state_dir, file }) => {
            copied(offline::export(&state_dir, file.as_deref())?)
        }
    }
}

fn copied(count: usize) -> anyhow::Result<ExitCode> {
    // Beside an export on the output.
    eprintln!("{count} records");
    Ok(ExitCode::SUCCESS)
}

fn run(Run { source, ready_file }: Run) -> anyhow::Result<ExitCode> {
    let loaded = load(&source.options())?;
    for notice in &loaded.notices {
        eprintln!("note: {notice}");
    }
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let source = loaded.source;
    let reload: Reload = Arc::new(move |tenants| {
        let loaded = load(&LoadOptions { tenants: tenants.to_vec(), ..source.clone() })?;
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(loaded.node)
    });
    crate::run::run(loaded.node, RunOptions { reload: Some(reload), ready_file })?;
    Ok(ExitCode::SUCCESS)
}

fn check(source: Source) -> anyhow::Result<ExitCode> {
    match load(&source.options()) {
        Ok(loaded) => {
            // A reader that went away (`| head`) ends the output, not the check.
            let _ = std::io::stdout().write_all(check::report(&loaded).as_bytes());
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            for warning in &errors.warnings {
                eprintln!("warning: {warning}");
            }
            for error in &errors.errors {
                eprintln!("error: {error}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

impl Source {
    fn options(self) -> LoadOptions {
        LoadOptions {
            config: self.config,
            asterisk: self.asterisk,
            mirror: self.mirror,
            dialect: self.dialect.map(|name| match name {
                DialectName::Rfc => Dialect::Rfc,
                DialectName::Asterisk => Dialect::Asterisk,
            }),
            state_dir: self.state_dir,
            shard_count: self.shards,
            listen: self.listen,
            ami: self.ami,
            console_socket: self.console,
            tenants: Vec::new(),
            ami_secret: String::new(),
        }
    }
}

/// Reads `udp:127.0.0.1:5060`.
fn listen(text: &str) -> Result<Listen, String> {
    let expected = || "udp:, tcp: or ws:ADDRESS:PORT expected".to_owned();
    let (transport, bind) = text.split_once(':').ok_or_else(expected)?;
    let transport = Transport::from_token(transport.as_bytes()).ok_or_else(expected)?;
    if transport.is_secure() {
        return Err("a certificate is needed: [[listen]] in a file says where it is".to_owned());
    }
    let bind = bind.parse().map_err(|_| expected())?;
    Ok(Listen::plain(transport, bind))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_run_reach_the_loader() {
        let line = "lampfield run --asterisk etc --dialect rfc --shards 2 --listen udp:127.0.0.1:5070 \
                    --listen tcp:[::1]:5070 --ami 127.0.0.1:5039 --state-dir s --console c";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Run(Run { source, .. }) = cli.command else { panic!("run expected") };
        let options = source.options();
        assert_eq!(options.dialect, Some(Dialect::Rfc));
        assert_eq!(options.shard_count, Some(2));
        let listen: Vec<_> =
            options.listen.iter().map(|l| (l.transport, l.bind.to_string())).collect();
        let want = [(Transport::Udp, "127.0.0.1:5070"), (Transport::Tcp, "[::1]:5070")];
        assert_eq!(listen, want.map(|(transport, bind)| (transport, bind.to_owned())));
        for bad in ["--listen sctp:1.2.3.4:5", "--listen udp:host:5", "--shards 0", "--ami x"] {
            let line = format!("lampfield run {bad}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{bad}");
        }
    }
}
