//! Instructions per unit of work, counted by callgrind and compared with `benches/instructions.toml`.
//!
//! Each scenario runs in a process of its own under `valgrind --tool=callgrind`, which counts only
//! within the meter. One that costs more than the baseline by over 1 % makes the program fail;
//! `--write` makes what was counted the new baseline, to be committed with what moved it.
#![forbid(unsafe_code)]

mod baseline;
mod callgrind;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use lampfield_benches::meter::Meter;
use lampfield_benches::scenario::{SCENARIOS, Scenario};

use baseline::{Baseline, Verdict};

/// Steps before counting begins: buffers have grown, caches of the program are filled.
const WARM_UP_STEPS: usize = 2;

/// Steps that are counted.
const COUNTED_STEPS: usize = 3;

const USAGE: &str = "usage: instructions [--write] [NAME...]";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // What this program starts itself as, under valgrind.
        ["--step", name] => {
            println!("{}", steps(find(name)?));
            Ok(ExitCode::SUCCESS)
        }
        ["--write"] => write(),
        [first, ..] if first.starts_with('-') => bail!(USAGE),
        ref names => compare(names),
    }
}

/// Runs a scenario; returns how many units ran on the meter.
fn steps(scenario: &Scenario) -> usize {
    let mut step = (scenario.make)();
    for _ in 0..WARM_UP_STEPS {
        step(&mut Meter::off());
    }
    (0..COUNTED_STEPS).map(|_| step(&mut Meter::new(|| 0))).sum()
}

fn find(name: &str) -> anyhow::Result<&'static Scenario> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.with_context(|| format!("there is no scenario {name}"))
}

/// Counts all scenarios and keeps what came out.
fn write() -> anyhow::Result<ExitCode> {
    let toolchain = callgrind::toolchain()?;
    let mut baseline = Baseline { toolchain, instructions: Default::default() };
    for scenario in SCENARIOS {
        let count = callgrind::count(scenario.name)?;
        println!("{:<28} {count:>10.1} per {}", scenario.name, scenario.unit);
        baseline.instructions.insert(scenario.name.to_owned(), count);
    }
    baseline.save(path())?;
    println!("written to {}", path().display());
    Ok(ExitCode::SUCCESS)
}

/// Counts the named scenarios (all without names) and compares them.
fn compare(names: &[&str]) -> anyhow::Result<ExitCode> {
    let scenarios: Vec<&Scenario> = match names {
        [] => SCENARIOS.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
    };
    let (baseline, toolchain) = (Baseline::load(path())?, callgrind::toolchain()?);
    let mut verdicts = Vec::new();
    for scenario in scenarios {
        let count = callgrind::count(scenario.name)?;
        let verdict = baseline.judge(scenario.name, count);
        println!("{:<28} {count:>10.1} per {:<13} {verdict}", scenario.name, scenario.unit);
        verdicts.push(verdict);
    }
    let orphans = baseline.instructions.keys().filter(|name| find(name).is_err());
    let orphans: Vec<&str> = orphans.map(String::as_str).collect();
    if !orphans.is_empty() {
        println!("In the baseline, but no scenario any more: {}.", orphans.join(", "));
    }
    let failed = verdicts.iter().any(Verdict::fails) || !orphans.is_empty();
    if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Less(_))) {
        println!("Some cost less now: lower the baseline with --write, so that they stay there.");
    }
    if baseline.toolchain != toolchain {
        println!("Nothing is judged: the baseline was counted elsewhere.");
        println!("  baseline: {}\n  here:     {toolchain}", baseline.toolchain);
        return Ok(ExitCode::SUCCESS);
    }
    if failed {
        println!(
            "The baseline does not hold. If that is meant, run this with --write, and say why in \
             the commit that changes {}.",
            path().display()
        );
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn path() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml"))
}
