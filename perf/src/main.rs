//! `perf`: what a NOTIFY and a subscription cost, beside Kamailio and beside the bare system calls.
//!
//! It starts server and generator itself, each on a core of its own, reads what they used from
//! `/proc`, and ends what it started. How each number is taken: `docs/MEASURING.md`.

#![forbid(unsafe_code)]

mod beside;
mod cases;
mod kamailio;
mod lampfield;
mod limits;
mod lists;
mod load;
mod moments;
mod plots;
mod process;
mod raw;
mod record;
mod run;
mod scenario;
mod sizes;
mod table;
mod usage;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cases::{Case, Part, Peers, Server};
use crate::record::Findings;
use crate::run::Programs;

/// Measures servers under fan-out load.
#[derive(Debug, Parser)]
#[command(name = "perf", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything: Lampfield, Kamailio (if installed) and the bare system calls, side by side.
    Compare {
        /// Fewer and shorter runs: under a minute.
        #[arg(long)]
        quick: bool,
        /// Leave Kamailio out even if it is installed.
        #[arg(long)]
        without_kamailio: bool,
        /// Only this part; repeatable.
        #[arg(long, value_enum)]
        part: Vec<Part>,
        #[command(flatten)]
        options: Options,
    },
    /// Watchers of single extensions.
    Fanout {
        #[arg(long, value_enum, default_value_t = ServerName::Lampfield)]
        server: ServerName,
        /// Where watchers are.
        #[arg(long, value_enum, default_value_t = PeersName::Phones)]
        peers: PeersName,
        /// Watchers.
        #[arg(long, default_value_t = 10_000)]
        watchers: usize,
        /// Extensions they share.
        #[arg(long, default_value_t = 1)]
        extensions: usize,
        /// Shards.
        #[arg(long, default_value_t = 1)]
        shards: u8,
        /// Length of the change phase in seconds.
        #[arg(long, default_value_t = 6)]
        seconds: u32,
        /// Repeat this often.
        #[arg(long, default_value_t = 1)]
        repeat: u32,
        #[command(flatten)]
        options: Options,
    },
    /// Resource lists, ours and Kamailio's rls.
    Lists {
        #[command(flatten)]
        options: Options,
    },
    /// A node at rest, at half load, and beside a crowd.
    Moments {
        #[command(flatten)]
        options: Options,
    },
    /// The bare system calls alone.
    Raw,
    /// Draws perf/plots/*.svg from the newest recorded run.
    Plots,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ServerName {
    Lampfield,
    Kamailio,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PeersName {
    Phones,
    Edge,
    Train,
}

#[derive(Args, Debug)]
struct Options {
    /// Append one JSON line per run to perf/results.ndjson, and draw perf/plots/*.svg.
    #[arg(long)]
    record: bool,
    /// Directory of the `lampfield` and `lampload` to run [default: that of `perf` itself].
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let mut findings = Findings::default();
    let options = match Cli::parse().command {
        Command::Compare { quick, without_kamailio, part, options } => {
            let with_kamailio = !without_kamailio && kamailio::is_installed();
            let wanted = |it: Part| part.is_empty() || part.contains(&it);
            let programs = Programs::find(options.binaries.clone())?;
            compare((quick, with_kamailio), wanted, &programs, &mut findings)?;
            options
        }
        Command::Fanout {
            server,
            peers,
            watchers,
            extensions,
            shards,
            seconds,
            repeat,
            options,
        } => {
            let server = match server {
                ServerName::Lampfield => Server::Lampfield { shards },
                ServerName::Kamailio => Server::Kamailio,
            };
            let peers = match peers {
                PeersName::Phones => Peers::Phones,
                PeersName::Edge => Peers::Edge,
                PeersName::Train => Peers::Train,
            };
            let programs = Programs::find(options.binaries.clone())?;
            let case = Case::new(server, peers, watchers, extensions, seconds);
            for _ in 0..repeat {
                findings.fanouts.push(programs.fanout(&case)?);
            }
            options
        }
        Command::Lists { options } => {
            let programs = Programs::find(options.binaries.clone())?;
            for case in lists::cases(false, kamailio::is_installed()) {
                findings.lists.push(programs.lists(&case)?);
            }
            options
        }
        Command::Moments { options } => {
            findings.moments = Programs::find(options.binaries.clone())?.moments()?;
            options
        }
        Command::Raw => {
            println!("{}", raw::describe(&raw::measure(raw::TYPICAL)?));
            println!("{}", limits::describe(&limits::measure(raw::TYPICAL)?));
            return Ok(());
        }
        Command::Plots => {
            println!("drawn: {}", plots::write()?.display());
            return Ok(());
        }
    };
    finish(&findings, options.record)
}

/// `perf compare`.
fn compare(
    (quick, with_kamailio): (bool, bool),
    wanted: impl Fn(Part) -> bool,
    programs: &Programs,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    if wanted(Part::Limits) {
        findings.limits = Some(limits::measure(raw::TYPICAL)?);
    }
    let cases = cases::compare(quick, with_kamailio);
    for case in cases.iter().filter(|case| wanted(case.part())) {
        findings.fanouts.push(programs.fanout(case)?);
    }
    let cases = lists::cases(quick, with_kamailio && !quick);
    for case in cases.iter().filter(|_| wanted(Part::Lists)) {
        findings.lists.push(programs.lists(case)?);
    }
    if !quick && wanted(Part::Moments) {
        findings.moments = programs.moments()?;
    }
    Ok(())
}

fn finish(findings: &Findings, record: bool) -> anyhow::Result<()> {
    print!("{}", table::write(findings));
    if record {
        record::append(findings)?;
        println!("added to {}", record::path().display());
        if !findings.fanouts.is_empty() {
            println!("drawn: {}", plots::write()?.display());
        }
    }
    // Kamailio's rls may lose a change that comes while it reads its table; ours may not.
    let fanouts = findings.fanouts.iter().map(|outcome| outcome.load.wrong_lamps);
    let lists = findings.lists.iter().filter(|outcome| outcome.case.server.is_ours());
    let wrong: u64 = fanouts.chain(lists.map(|outcome| outcome.load.wrong_lamps)).sum();
    anyhow::ensure!(wrong == 0, "{wrong} wrong lamps: these figures mean nothing");
    Ok(())
}
