//! The `lampload` program; everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use lampload::cli::{Cli, Command, RunArgs};
use lampload::{lead, null_target, scenario};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Run(RunArgs { scenario, sets, outputs }) => {
            scenario::load::load(&scenario, &sets).and_then(|loaded| lead::run(loaded, &outputs))
        }
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
