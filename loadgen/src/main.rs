//! The `lampload` program; everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use lampload::cli::{Cli, Command, RunArgs};
use lampload::outcome::{LoadError, Outcome};
use lampload::{lead, null_target, scenario, server_config};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Run(args) => run(&args),
        Command::Fanout(args) => {
            args.load().and_then(|(loaded, outputs)| lead::run(loaded, &outputs))
        }
        Command::NullTarget(args) => null_target::run(&args),
    };
    match ended {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("lampload: {error}");
            error.outcome().into()
        }
    }
}

fn run(args: &RunArgs) -> Result<Outcome, LoadError> {
    let loaded = scenario::load::load(&args.scenario, &args.sets)?;
    match args.print_config {
        None => lead::run(loaded, &args.outputs),
        Some(kind) => {
            lead::print(&server_config::write(kind, &loaded.scenario));
            Ok(Outcome::Ok)
        }
    }
}
