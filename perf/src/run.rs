//! One run: server up, sizes, load, readings, server down, bare system calls of the same sizes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::cases::{Case, Server};
use crate::load::{self, Load, Readings, Target};
use crate::process::Started;
use crate::raw::{self, RawCost};
use crate::sizes::{self, Sizes};
use crate::usage::{self, Usage};
use crate::{kamailio, lampfield};

/// Below this many watchers the fixed size of a process hides what a subscription takes.
const BYTES_FROM_WATCHERS: usize = 1_000;

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) sizes: Sizes,
    /// CPU of the server per NOTIFY that was answered, in microseconds.
    pub(crate) cpu_us_per_notify: f64,
    /// Memory added per subscription; absent for few watchers.
    pub(crate) bytes_per_subscription: Option<f64>,
    pub(crate) raw: RawCost,
    /// As a shard does it: in batches, with as many sockets.
    pub(crate) batched: RawCost,
    pub(crate) load: Load,
}

/// Runs cases one after the other.
#[derive(Debug)]
pub(crate) struct Runner {
    lampfield: PathBuf,
    lampload: PathBuf,
    outcomes: Vec<Outcome>,
}

/// A directory that goes with its owner.
#[derive(Debug)]
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("lampfield-perf-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Runner {
    /// Programs are looked for in `binaries`, or beside this one.
    pub(crate) fn new(binaries: Option<PathBuf>) -> anyhow::Result<Self> {
        let this = std::env::current_exe()?;
        let dir = binaries.or_else(|| this.parent().map(Path::to_owned)).unwrap_or_default();
        let found = |name: &str| {
            let path = dir.join(name);
            anyhow::ensure!(
                path.exists(),
                "{} is missing: cargo build --release -p {name}",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            lampfield: found("lampfield")?,
            lampload: found("lampload")?,
            outcomes: Vec::new(),
        })
    }

    /// Everything found so far.
    pub(crate) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Runs `case` and keeps what it found.
    pub(crate) fn run(&mut self, case: &Case) -> anyhow::Result<()> {
        let dir = TempDir::new()?;
        let outcome = self.measure(case, &dir.0).with_context(|| describe(case))?;
        eprintln!(
            "{:<40} {:8.2} us/NOTIFY, raw {:.2}, batched {:.2} ({} answered), {} wrong lamps",
            describe(case),
            outcome.cpu_us_per_notify,
            outcome.raw.total_us(),
            outcome.batched.total_us(),
            outcome.load.notify_count,
            outcome.load.wrong_lamps,
        );
        self.outcomes.push(outcome);
        Ok(())
    }

    fn measure(&self, case: &Case, dir: &Path) -> anyhow::Result<Outcome> {
        let (process, target) = self.start(case, dir)?;
        let domain = target.domain.clone().unwrap_or_else(|| target.sip.to_string());
        let sizes = sizes::look(target.sip, &domain, lampfield::FIRST_EXTENSION)?;
        let empty = usage::read(target.id)?;
        let (load, readings) = load::run(&self.lampload, dir, case, &target)?;
        drop(process);
        // At once after the run: the same machine with the same neighbours.
        let raw = raw::measure(sizes)?;
        let batched = raw::measure_batched(sizes, case.sockets)?;
        outcome(case, sizes, (empty, readings), (raw, batched), load)
    }

    fn start(&self, case: &Case, dir: &Path) -> anyhow::Result<(Started, Target)> {
        Ok(match case.server {
            Server::Lampfield { shards } => {
                let node = lampfield::start(&self.lampfield, dir, shards, case.extensions)?;
                let id = node.process.id();
                let target = Target { id, sip: node.sip, change_by: node.change_by, domain: None };
                (node.process, target)
            }
            Server::Kamailio => {
                let (process, sip) = kamailio::start(dir)?;
                let domain = Some(kamailio::DOMAIN.to_owned());
                let change_by = "publish".to_owned();
                let target = Target { id: process.id(), sip, change_by, domain };
                (process, target)
            }
        })
    }
}

fn outcome(
    case: &Case,
    sizes: Sizes,
    (empty, readings): (Usage, Readings),
    (raw, batched): (RawCost, RawCost),
    load: Load,
) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        load.established_count == case.watchers as u64,
        "only {} of {} subscriptions were established",
        load.established_count,
        case.watchers
    );
    anyhow::ensure!(load.notify_count > 0, "no NOTIFY was answered");
    let cpu = readings.settled.cpu.saturating_sub(readings.subscribed.cpu);
    let grown = readings.subscribed.resident_bytes.saturating_sub(empty.resident_bytes);
    Ok(Outcome {
        case: case.clone(),
        sizes,
        cpu_us_per_notify: cpu.as_secs_f64() * 1e6 / load.notify_count as f64,
        bytes_per_subscription: (case.watchers >= BYTES_FROM_WATCHERS)
            .then(|| grown as f64 / case.watchers as f64),
        raw,
        batched,
        load,
    })
}

fn describe(case: &Case) -> String {
    format!("{}, {} watchers of {}", case.name(), case.watchers, case.extensions)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn usage(cpu_ms: u64, resident_bytes: u64) -> Usage {
        Usage { cpu: Duration::from_millis(cpu_ms), resident_bytes }
    }

    #[test]
    fn cost_is_what_was_added_and_a_run_without_all_watchers_does_not_count() {
        let case = Case::steady(Server::Lampfield { shards: 1 }, 1_000, 1, 10);
        let readings = Readings { subscribed: usage(100, 3_000_000), settled: usage(700, 9) };
        let raw = RawCost { sizes: raw::TYPICAL, send_us: 2.0, receive_us: 1.0 };
        let usage = (usage(50, 2_000_000), readings);
        let of = |load| outcome(&case, raw::TYPICAL, usage, (raw, raw), load);
        let load = Load { notify_count: 100_000, established_count: 1_000, ..Load::default() };
        let found = of(load.clone()).expect("complete");
        assert!((found.cpu_us_per_notify - 6.0).abs() < 1e-9);
        assert_eq!(found.bytes_per_subscription, Some(1_000.0));
        assert!(of(Load { established_count: 999, ..load.clone() }).is_err());
        assert!(of(Load { notify_count: 0, ..load }).is_err());
    }
}
