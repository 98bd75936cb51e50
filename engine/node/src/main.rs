//! See the crate description in `Cargo.toml`, and [`lampfield::cli`] for the command line.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match lampfield::cli::main(lampfield::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("error: {line}");
            }
            ExitCode::FAILURE
        }
    }
}
