//! The `lampload` program; everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use lampload::cli::{Cli, Command};
use lampload::{fanout, null_target};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Fanout(args) => fanout::run(*args),
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
