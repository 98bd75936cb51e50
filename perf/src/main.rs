//! `perf`: what a NOTIFY and a subscription cost, beside Kamailio and beside the bare system calls.
//!
//! It starts server and generator itself, each on a core of its own, reads what they used from
//! `/proc`, and ends what it started. How each number is taken: `docs/MEASURING.md`.

#![forbid(unsafe_code)]

mod cases;
mod kamailio;
mod lampfield;
mod load;
mod process;
mod raw;
mod record;
mod run;
mod sizes;
mod table;
mod usage;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cases::{Case, Server};
use crate::run::Runner;

/// Measures servers under fan-out load.
#[derive(Debug, Parser)]
#[command(name = "perf", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lampfield, Kamailio (if installed) and the bare system calls, side by side.
    Compare {
        /// Fewer and shorter runs: about a minute.
        #[arg(long)]
        quick: bool,
        /// Leave Kamailio out even if it is installed.
        #[arg(long)]
        without_kamailio: bool,
        #[command(flatten)]
        options: Options,
    },
    /// One run of Lampfield.
    Fanout {
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
        #[arg(long, default_value_t = 10)]
        seconds: u32,
        /// Repeat this often.
        #[arg(long, default_value_t = 1)]
        repeat: u32,
        #[command(flatten)]
        options: Options,
    },
    /// The bare system calls alone.
    Raw,
}

#[derive(Args, Debug)]
struct Options {
    /// Append one JSON line per run to perf/results.ndjson.
    #[arg(long)]
    record: bool,
    /// Directory of the `lampfield` and `lampload` to run [default: that of `perf` itself].
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Compare { quick, without_kamailio, options } => {
            let mut runner = Runner::new(options.binaries)?;
            let with_kamailio = !without_kamailio && kamailio::is_installed();
            for case in cases::compare(quick, with_kamailio) {
                runner.run(&case)?;
            }
            finish(&runner, options.record)
        }
        Command::Fanout { watchers, extensions, shards, seconds, repeat, options } => {
            let mut runner = Runner::new(options.binaries)?;
            let case = Case::steady(Server::Lampfield { shards }, watchers, extensions, seconds);
            for _ in 0..repeat {
                runner.run(&case)?;
            }
            finish(&runner, options.record)
        }
        Command::Raw => {
            let cost = raw::measure(raw::TYPICAL)?;
            println!("{}", raw::describe(&cost));
            Ok(())
        }
    }
}

fn finish(runner: &Runner, record: bool) -> anyhow::Result<()> {
    let outcomes = runner.outcomes();
    print!("{}", table::write(outcomes));
    if record {
        let path = record::append(outcomes)?;
        println!("{} lines added to {}", outcomes.len(), path.display());
    }
    let wrong: u64 = outcomes.iter().map(|outcome| outcome.load.wrong_lamps).sum();
    anyhow::ensure!(wrong == 0, "{wrong} wrong lamps: these figures mean nothing");
    Ok(())
}
