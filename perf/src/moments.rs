//! What a node does at rest, at half load, and beside a crowd.

use std::fmt::Write as _;
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
}

impl Programs {
    /// All three.
    pub(crate) fn moments(&self) -> anyhow::Result<Vec<Moment>> {
        Ok(vec![
            self.idle().context("idle")?,
            self.half_load().context("half load")?,
            self.beside_crowd().context("beside a crowd")?,
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
        Moment::BesideCrowd { crowd, crowd_changes, latency_ms } => format!(
            "beside {crowd_changes} changes of an extension with {crowd} watchers, other lamps: \
             change to NOTIFY p50 {} p99 {} max {} ms",
            ms(latency_ms.p50),
            ms(latency_ms.p99),
            ms(latency_ms.max)
        ),
    }
}
