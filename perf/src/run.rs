//! Runs with watchers of single extensions: server up, sizes, load, readings, server down, bare
//! system calls of the same sizes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::cases::{Case, Peers, Server, States};
use crate::load::{Generator, Load, Target, Told};
use crate::process::Started;
use crate::raw::{self, RawCost};
use crate::scenario::{self, CHANGES, REFRESHES};
use crate::sizes::{self, Sizes};
use crate::usage::{self, Usage};
use crate::{beside, kamailio, lampfield};

/// Below this many watchers the fixed size of a process hides what a subscription takes.
const BYTES_FROM_WATCHERS: usize = 1_000;

/// What a run found. CPU is the server's, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) sizes: Sizes,
    pub(crate) notify_count: u64,
    /// Per NOTIFY of a change that was answered.
    pub(crate) cpu_us_per_notify: f64,
    /// Per initial SUBSCRIBE with its answer, its first NOTIFY and the answer to that.
    pub(crate) cpu_us_per_subscribe: f64,
    /// Per refresh, with the same.
    pub(crate) cpu_us_per_refresh: f64,
    /// Memory added per subscription; absent for few watchers.
    pub(crate) bytes_per_subscription: Option<f64>,
    pub(crate) raw: RawCost,
    /// The same in batches, to as many sockets of a peer on the other core.
    /// `None` behind an edge.
    pub(crate) beside: Option<RawCost>,
    pub(crate) load: Load,
}

/// The programs that are run.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) lampfield: PathBuf,
    pub(crate) lampload: PathBuf,
}

/// A directory that goes with its owner.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("lampfield-perf-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Programs {
    /// Looked for in `binaries`, or beside this one.
    pub(crate) fn find(binaries: Option<PathBuf>) -> anyhow::Result<Self> {
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
        Ok(Self { lampfield: found("lampfield")?, lampload: found("lampload")? })
    }

    /// Runs `case`.
    pub(crate) fn fanout(&self, case: &Case) -> anyhow::Result<Outcome> {
        let dir = TempDir::new()?;
        let outcome = self.measure(case, dir.path()).with_context(|| describe(case))?;
        eprintln!(
            "{:<46} {:8.2} us/NOTIFY, raw {:.2} ({} answered), {} wrong lamps",
            describe(case),
            outcome.cpu_us_per_notify,
            outcome.raw.total_us(),
            outcome.notify_count,
            outcome.load.wrong_lamps,
        );
        Ok(outcome)
    }

    fn measure(&self, case: &Case, dir: &Path) -> anyhow::Result<Outcome> {
        let (process, target) = self.start(case, dir)?;
        let domain = target.domain.clone().unwrap_or_else(|| target.sip.to_string());
        let sizes = sizes::look(target.sip, &domain, lampfield::FIRST_EXTENSION)?;
        let empty = usage::read(target.id)?;
        let text = scenario::fanout(case, &target);
        let generator = Generator::start(&self.lampload, dir, "fanout", &text)?;
        let told = generator.finish(target.id, |_| Ok(()))?;
        drop(process);
        // At once after the run: the same machine with the same neighbours.
        let raw = raw::measure(sizes)?;
        let beside = match case.peers {
            Peers::Phones => Some(beside::measure(sizes, case.sockets())?),
            Peers::Edge | Peers::Train => None,
        };
        outcome(case, sizes, empty, &told, (raw, beside))
    }

    fn start(&self, case: &Case, dir: &Path) -> anyhow::Result<(Started, Target)> {
        match case.server {
            Server::Lampfield { shards } => {
                lampfield::start(&self.lampfield, dir, shards, case.extensions, case.states, "")
            }
            Server::Kamailio => kamailio::start(dir, None),
        }
    }
}

fn outcome(
    case: &Case,
    sizes: Sizes,
    empty: Usage,
    told: &Told,
    (raw, beside): (RawCost, Option<RawCost>),
) -> anyhow::Result<Outcome> {
    let load = told.load()?;
    let notify_count = told.notify_count(CHANGES);
    ensure_established(&load, case.watchers)?;
    anyhow::ensure!(notify_count > 0, "no NOTIFY was answered");
    let (primed, subscribed) = (told.after("prime")?, told.after("subscribe")?);
    let (warm, refreshed) = (told.after("warm-up")?, told.after(REFRESHES)?);
    let (before, settled) = (told.settled(REFRESHES)?, told.settled(CHANGES)?);
    let us = |from: Usage, to: Usage, count: u64| {
        to.cpu.saturating_sub(from.cpu).as_secs_f64() * 1e6 / count.max(1) as f64
    };
    let grown = warm.resident_bytes.saturating_sub(empty.resident_bytes);
    Ok(Outcome {
        case: case.clone(),
        sizes,
        notify_count,
        cpu_us_per_notify: us(before, settled, notify_count),
        cpu_us_per_subscribe: us(primed, subscribed, load.established_count),
        cpu_us_per_refresh: us(warm, refreshed, told.number("/subscribe/refreshed_count")?),
        bytes_per_subscription: (case.watchers >= BYTES_FROM_WATCHERS)
            .then(|| grown as f64 / case.watchers as f64),
        raw,
        beside,
        load,
    })
}

/// A run without some of its watchers says nothing.
pub(crate) fn ensure_established(load: &Load, watchers: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        load.established_count == watchers as u64,
        "only {} of {watchers} subscriptions were established",
        load.established_count,
    );
    Ok(())
}

fn describe(case: &Case) -> String {
    let Case { server, peers, watchers, extensions, .. } = case;
    let by = if case.states == States::Published { ", by PUBLISH" } else { "" };
    format!("{}, {}, {watchers} watchers of {extensions}{by}", server.name(), peers.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_all_watchers_does_not_count() {
        let load = Load { established_count: 999, ..Load::default() };
        assert!(ensure_established(&load, 999).is_ok());
        let error = ensure_established(&load, 1_000).expect_err("one is missing");
        assert!(error.to_string().contains("only 999 of 1000"), "{error}");
    }
}
