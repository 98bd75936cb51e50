//! What a node does at rest, at half load, beside a crowd, and beside a million who hear nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::cases::{Peers, States};
use crate::lampfield::{self, FIRST_EXTENSION};
use crate::load::{Generator, Latency, Target};
use crate::run::{Programs, TempDir, ensure_established};
use crate::scenario::{CHANGES, DRAIN, Head};

/// Watchers of a node at rest.
const IDLE_WATCHERS: usize = 10_000;

/// Extensions at half load, with a watcher each: the first NOTIFY of a change is the only one.
const HALF_EXTENSIONS: usize = 2_000;

/// Changes a second at half load; the share of the core that this is, is measured.
const HALF_CHANGES_PER_S: u32 = 3_000;

/// Watchers of the one extension.
const CROWD_WATCHERS: usize = 100_000;

/// Lamps beside the crowd.
const LAMPS: usize = 200;

/// Changes of these a second.
const LAMP_CHANGES_PER_S: u32 = 100;

/// Subscriptions that hear nothing, their extensions, and how many SUBSCRIBEs are open at a time.
const SILENT_WATCHERS: usize = 1_000_000;
const SILENT_EXTENSIONS: usize = 1_000;
const SILENT_WINDOW: usize = 2_000;

/// Watchers of one extension beside them, behind an edge with trains, where our own code is most
/// of what a NOTIFY costs.
const WORKING_WATCHERS: usize = 10_000;

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "moment", rename_all = "snake_case")]
pub(crate) enum Moment {
    /// A node with subscriptions and nothing to do.
    Idle { watchers: usize, seconds: u32, core_share: f64 },
    /// From a change handed to the manager interface to its NOTIFY in our socket.
    HalfLoad { changes_per_s: u32, core_share: f64, latency_ms: Latency },
    /// The same of lamps with a watcher each, while another extension of the same shard tells a crowd.
    BesideCrowd { crowd: usize, crowd_changes: u64, latency_ms: Latency },
    /// CPU per NOTIFY and its answer of the same watchers, alone on the node and beside others.
    BesideSilent { silent: usize, watchers: usize, alone_us: f64, beside_us: f64 },
}

impl Programs {
    /// All of them.
    pub(crate) fn moments(&self) -> anyhow::Result<Vec<Moment>> {
        Ok(vec![
            self.idle().context("idle")?,
            self.half_load().context("half load")?,
            self.beside_crowd().context("beside a crowd")?,
            self.beside_silent().context("beside a million")?,
        ])
    }

    fn idle(&self) -> anyhow::Result<Moment> {
        let dir = TempDir::new()?;
        let seconds = 20;
        let (process, target) =
            lampfield::start(&self.lampfield, dir.path(), 1, 1_000, States::Own, "")?;
        let text = format!(
            "{}[watchers]\nsingle = {IDLE_WATCHERS}\n[[phase]]\nkind = \"ramp\"\nrate = \"5000/s\"\n\
             pause = \"{seconds}s\"\n{DRAIN}",
            head(&target, 0, 1_000, IDLE_WATCHERS).write()
        );
        let generator = Generator::start(&self.lampload, dir.path(), "idle", &text)?;
        let told = generator.finish(target.id, |_| Ok(()))?;
        drop(process);
        ensure_established(&told.load()?, IDLE_WATCHERS)?;
        let used = told.after("warm-up")?.cpu.saturating_sub(told.after("subscribe")?.cpu);
        let core_share = used.as_secs_f64() / f64::from(seconds);
        Ok(Moment::Idle { watchers: IDLE_WATCHERS, seconds, core_share })
    }

    fn half_load(&self) -> anyhow::Result<Moment> {
        let dir = TempDir::new()?;
        let seconds = 8;
        let extensions = HALF_EXTENSIONS;
        let (process, target) =
            lampfield::start(&self.lampfield, dir.path(), 1, extensions, States::Own, "")?;
        let head = head(&target, 0, extensions, extensions);
        let text = lamps(&head, extensions, HALF_CHANGES_PER_S, seconds);
        let generator = Generator::start(&self.lampload, dir.path(), "half", &text)?;
        let told = generator.finish(target.id, |_| Ok(()))?;
        drop(process);
        ensure_established(&told.load()?, extensions)?;
        let used = told.after(CHANGES)?.cpu.saturating_sub(told.after("warm-up")?.cpu);
        Ok(Moment::HalfLoad {
            changes_per_s: HALF_CHANGES_PER_S,
            core_share: used.as_secs_f64() / f64::from(seconds),
            latency_ms: told.latency("from_sent"),
        })
    }

    fn beside_crowd(&self) -> anyhow::Result<Moment> {
        let dir = TempDir::new()?;
        let (process, target) =
            lampfield::start(&self.lampfield, dir.path(), 1, LAMPS + 1, States::Own, "")?;
        let crowd = format!(
            "{}[watchers]\nsingle = {CROWD_WATCHERS}\n\
             [[phase]]\nkind = \"ramp\"\nrate = \"20000/s\"\npause = \"2s\"\n\
             [[phase]]\nkind = \"steady\"\nname = \"{CHANGES}\"\nrate = \"0.5/s\"\nduration = \"8s\"\n\
             settle = \"30s\"\n{DRAIN}",
            head(&target, 0, 1, 10_000).write()
        );
        let lamps = lamps(&head(&target, 1, LAMPS, LAMPS), LAMPS, LAMP_CHANGES_PER_S, 6);
        let generator = Generator::start(&self.lampload, dir.path(), "crowd", &crowd)?;
        let mut beside = None;
        let told = generator.finish(target.id, |phase| {
            if phase == "subscribe" {
                beside = Some(Generator::start(&self.lampload, dir.path(), "lamps", &lamps)?);
            }
            Ok(())
        })?;
        ensure_established(&told.load()?, CROWD_WATCHERS)?;
        let beside =
            beside.context("the crowd has not subscribed")?.finish(target.id, |_| Ok(()))?;
        drop(process);
        ensure_established(&beside.load()?, LAMPS)?;
        Ok(Moment::BesideCrowd {
            crowd: CROWD_WATCHERS,
            crowd_changes: told.number("/changes/sent_count")?,
            latency_ms: beside.latency("from_sent"),
        })
    }

    fn beside_silent(&self) -> anyhow::Result<Moment> {
        let dir = TempDir::new()?;
        let extensions = SILENT_EXTENSIONS + 1;
        let (process, target) =
            lampfield::start(&self.lampfield, dir.path(), 1, extensions, States::Own, "")?;
        // The first run also grows tables and buffers.
        self.working(&target, dir.path(), "first")?;
        let alone_us = self.working(&target, dir.path(), "alone")?;
        let generator = Generator::start(&self.lampload, dir.path(), "silent", &silent(&target))?;
        let told = generator.finish(target.id, |_| Ok(()))?;
        ensure_established(&told.load()?, SILENT_WATCHERS)?;
        let beside_us = self.working(&target, dir.path(), "beside")?;
        drop(process);
        let (silent, watchers) = (SILENT_WATCHERS, WORKING_WATCHERS);
        Ok(Moment::BesideSilent { silent, watchers, alone_us, beside_us })
    }

    /// Microseconds of CPU per NOTIFY of watchers that come, are told, and leave again.
    fn working(&self, target: &Target, dir: &Path, name: &str) -> anyhow::Result<f64> {
        let head = Head { peers: Peers::Train, ..head(target, 0, 1, 1) };
        let text = format!(
            "{}[watchers]\nsingle = {WORKING_WATCHERS}\n\
             [[phase]]\nkind = \"ramp\"\nwindow = 400\npause = \"1s\"\ntimeout = \"60s\"\n\
             [[phase]]\nkind = \"steady\"\nname = \"{CHANGES}\"\nrate = \"10/s\"\n\
             duration = \"6s\"\nsettle = \"30s\"\n[[phase]]\nkind = \"drain\"\n",
            head.write()
        );
        let generator = Generator::start(&self.lampload, dir, name, &text)?;
        let told = generator.finish(target.id, |_| Ok(()))?;
        ensure_established(&told.load()?, WORKING_WATCHERS)?;
        let used = told.settled(CHANGES)?.cpu.saturating_sub(told.after("warm-up")?.cpu);
        let notify_count = told.notify_count(CHANGES);
        anyhow::ensure!(notify_count > 0, "no NOTIFY was answered");
        Ok(used.as_secs_f64() * 1e6 / notify_count as f64)
    }
}

/// A crowd's scenario that ends and leaves its subscriptions behind.
fn silent(target: &Target) -> String {
    let head = Head { peers: Peers::Train, ..head(target, 1, SILENT_EXTENSIONS, 1) };
    format!(
        "{}[watchers]\nsingle = {SILENT_WATCHERS}\n[[phase]]\nkind = \"ramp\"\n\
         window = {SILENT_WINDOW}\ntimeout = \"120s\"\n{DRAIN}",
        head.write()
    )
}

/// Extensions from the `skipped`th on.
fn head(target: &Target, skipped: usize, extensions: usize, sockets: usize) -> Head<'_> {
    let first = FIRST_EXTENSION + skipped;
    let extensions = (first, first + extensions - 1);
    // When NOTIFYs came is the kernel's word, so a generator that reads them late is no harm.
    Head { target, extensions, peers: Peers::Phones, sockets, late_ms: 10_000 }
}

/// Watchers of one extension each.
fn lamps(head: &Head<'_>, count: usize, changes_per_s: u32, seconds: u32) -> String {
    let mut text = head.write();
    let _ = write!(
        text,
        "[watchers]\nsingle = {count}\n\
         [[phase]]\nkind = \"ramp\"\nrate = \"2000/s\"\npause = \"1s\"\n\
         [[phase]]\nkind = \"steady\"\nname = \"{CHANGES}\"\nrate = \"{changes_per_s}/s\"\n\
         duration = \"{}ms\"\nsettle = \"20s\"\n{DRAIN}",
        Duration::from_secs(seconds.into()).as_millis()
    );
    text
}

/// Lines for people.
pub(crate) fn describe(moment: &Moment) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    match moment {
        Moment::Idle { watchers, seconds, core_share } => format!(
            "idle with {watchers} watchers, {seconds} s: {:.3} % of a core",
            core_share * 100.0
        ),
        Moment::HalfLoad { changes_per_s, core_share, latency_ms } => format!(
            "{changes_per_s} changes/s, {:.0} % of the core: change to NOTIFY p50 {} p99 {} ms",
            core_share * 100.0,
            ms(latency_ms.p50),
            ms(latency_ms.p99)
        ),
        Moment::BesideSilent { silent, watchers, alone_us, beside_us } => format!(
            "{watchers} watchers of 1 (trains), alone / beside {silent} subscriptions that hear \
             nothing: {alone_us:.2} / {beside_us:.2} us per NOTIFY = 1 : {:.2}",
            beside_us / alone_us
        ),
        Moment::BesideCrowd { crowd, crowd_changes, latency_ms } => format!(
            "beside {crowd_changes} changes of an extension with {crowd} watchers, other lamps: \
             change to NOTIFY p50 {} p99 {} max {} ms",
            ms(latency_ms.p50),
            ms(latency_ms.p99),
            ms(latency_ms.max)
        ),
    }
}
