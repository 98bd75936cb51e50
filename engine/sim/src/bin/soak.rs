//! Plays worlds until one breaks a promise: `soak [--seeds N] [--from N] [--forever]`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: soak [--seeds N] [--from N] [--forever]";

struct Options {
    from: u64,
    seed_count: Option<u64>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { from: 0, seed_count: Some(10_000) };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64, String> {
            let text = args.next().ok_or_else(|| format!("{arg} wants a number\n{USAGE}"))?;
            text.parse().map_err(|_| format!("{arg} {text}: not a number\n{USAGE}"))
        };
        match arg.as_str() {
            "--seeds" => options.seed_count = Some(number()?),
            "--from" => options.from = number()?,
            "--forever" => options.seed_count = None,
            _ => return Err(format!("{arg}: not an option\n{USAGE}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let mut told = started;
    let (mut played, mut packets) = (0u64, 0u64);
    let mut counters = BTreeMap::new();
    while options.seed_count.is_none_or(|count| played < count) {
        match lampfield_sim::run(options.from + played) {
            Ok(report) => {
                packets += report.packet_count;
                for (name, count) in report.counters {
                    *counters.entry(name).or_insert(0) += count;
                }
            }
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
        played += 1;
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            println!("{played} seeds, {packets} packets, {:.0} seeds/s", rate(played, started));
        }
    }
    for (name, count) in counters {
        println!("{count:>12} {name}");
    }
    println!(
        "{played} seeds passed from {}: {packets} packets, {:.0} seeds/s",
        options.from,
        rate(played, started)
    );
    ExitCode::SUCCESS
}

fn rate(played: u64, since: Instant) -> f64 {
    played as f64 / since.elapsed().as_secs_f64()
}
