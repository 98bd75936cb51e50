//! Resource lists: the scenario of `million-edges.toml` scaled down to what Kamailio's rls can do.
//!
//! One office of fifty extensions. Each has a list of all fifty, and two phones watch each list: a
//! hundred list subscriptions of fifty members, and a change is due at all of them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::cases::{Peers, Server, States};
use crate::lampfield::FIRST_EXTENSION;
use crate::load::{Generator, Load, Target};
use crate::process::Started;
use crate::run::{Programs, TempDir, ensure_established};
use crate::scenario::{CHANGES, DRAIN, Head};
use crate::usage;
use crate::{kamailio, lampfield};

/// Members of each list, and lists.
pub(crate) const MEMBER_COUNT: usize = 50;

/// Watchers of each list.
const WATCHERS_EACH: usize = 2;

/// List subscriptions.
pub(crate) const LIST_WATCHER_COUNT: usize = MEMBER_COUNT * WATCHERS_EACH;

/// List subscriptions a second: Kamailio turns each into fifty of its own.
const SUBSCRIBE_PER_S: f64 = 20.0;

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ListCase {
    pub(crate) server: Server,
    pub(crate) list_watchers: usize,
    pub(crate) members: usize,
    /// Time in which the server gathers changes for one NOTIFY.
    pub(crate) gather_ms: u32,
    pub(crate) changes_per_s: f64,
    pub(crate) seconds: u32,
}

/// What was found. CPU is the server's, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ListOutcome {
    pub(crate) case: ListCase,
    pub(crate) notify_count: u64,
    /// Per change of one lamp of one list that arrived.
    pub(crate) cpu_us_per_lamp: f64,
    pub(crate) cpu_us_per_notify: f64,
    /// Per list subscribed to, until it is whole.
    pub(crate) cpu_us_per_subscribe: f64,
    pub(crate) bytes_per_subscription: f64,
    pub(crate) load: Load,
}

/// The runs: Kamailio gathers for a second at least, so ours does once as it does by itself, which is
/// not at all, and once like Kamailio.
pub(crate) fn cases(quick: bool, with_kamailio: bool) -> Vec<ListCase> {
    let one = Server::Lampfield { shards: 1 };
    let case = |server, gather_ms| ListCase {
        server,
        list_watchers: LIST_WATCHER_COUNT,
        members: MEMBER_COUNT,
        gather_ms,
        changes_per_s: 4.0,
        seconds: if quick { 3 } else { 10 },
    };
    let mut cases = vec![case(one, 0)];
    if !quick {
        cases.push(case(one, kamailio::GATHER_MS));
    }
    if with_kamailio {
        cases.push(case(Server::Kamailio, kamailio::GATHER_MS));
    }
    cases
}

impl Programs {
    /// Runs `case`.
    pub(crate) fn lists(&self, case: &ListCase) -> anyhow::Result<ListOutcome> {
        let dir = TempDir::new()?;
        let name = format!("{}, lists, gathering {} ms", case.server.name(), case.gather_ms);
        let outcome = self.measure_lists(case, dir.path()).with_context(|| name.clone())?;
        eprintln!(
            "{name:<46} {:8.2} us/lamp, {:.2} us/NOTIFY, {} wrong lamps",
            outcome.cpu_us_per_lamp, outcome.cpu_us_per_notify, outcome.load.wrong_lamps
        );
        Ok(outcome)
    }

    fn measure_lists(&self, case: &ListCase, dir: &Path) -> anyhow::Result<ListOutcome> {
        let (process, target) = self.start_lists(case, dir)?;
        let empty = usage::read(target.id)?;
        let text = scenario(case, &target);
        let generator = Generator::start(&self.lampload, dir, "lists", &text)?;
        let told = generator.finish(target.id, |_| Ok(()))?;
        drop(process);
        let load = told.load()?;
        ensure_established(&load, case.list_watchers)?;
        anyhow::ensure!(load.delivered_count > 0, "no lamp changed");
        let (primed, subscribed) = (told.after("prime")?, told.after("warm-up")?);
        let settled = told.settled(CHANGES)?;
        let notify_count = told.notify_count(CHANGES);
        let watchers = case.list_watchers as f64;
        let us = settled.cpu.saturating_sub(subscribed.cpu).as_secs_f64() * 1e6;
        let admission_us = subscribed.cpu.saturating_sub(primed.cpu).as_secs_f64() * 1e6;
        let grown = subscribed.resident_bytes.saturating_sub(empty.resident_bytes);
        Ok(ListOutcome {
            case: case.clone(),
            notify_count,
            cpu_us_per_lamp: us / load.delivered_count as f64,
            cpu_us_per_notify: us / notify_count.max(1) as f64,
            cpu_us_per_subscribe: admission_us / watchers,
            bytes_per_subscription: grown as f64 / watchers,
            load,
        })
    }

    fn start_lists(&self, case: &ListCase, dir: &Path) -> anyhow::Result<(Started, Target)> {
        match case.server {
            Server::Lampfield { shards } => {
                let last = FIRST_EXTENSION + MEMBER_COUNT - 1;
                let more = format!(
                    "\n[[list_range]]\nname = \"blf-{{exten}}\"\nevent = \"presence\"\n\
                     range = \"{FIRST_EXTENSION}..={last}\"\ngroup_size = {MEMBER_COUNT}\n\
                     with_self = true\nbatch_interval_ms = {}\n",
                    case.gather_ms
                );
                lampfield::start(&self.lampfield, dir, shards, MEMBER_COUNT, States::Own, &more)
            }
            Server::Kamailio => {
                let lists: Vec<_> = (0..case.list_watchers).map(list_of).collect();
                kamailio::start(dir, Some(&lists))
            }
        }
    }
}

/// What watcher number `index` of the generator asks for, and its members.
fn list_of(index: usize) -> kamailio::List {
    let exten = |at: usize| (FIRST_EXTENSION + at % MEMBER_COUNT).to_string();
    kamailio::List {
        name: format!("blf-{}", exten(index)),
        members: (0..MEMBER_COUNT).map(|at| exten(index + at)).collect(),
    }
}

fn scenario(case: &ListCase, target: &Target) -> String {
    let extensions = (FIRST_EXTENSION, FIRST_EXTENSION + MEMBER_COUNT - 1);
    let (peers, sockets) = (Peers::Phones, case.list_watchers);
    let mut text = Head { target, extensions, peers, sockets, late_ms: 20 }.write();
    let ListCase { changes_per_s, seconds, .. } = case;
    // Kamailio sends what its own subscriptions bring a second later.
    let _ = write!(
        text,
        "[lists]\nname = \"blf-{{exten}}\"\nwatchers_each = {WATCHERS_EACH}\n\
         [[phase]]\nkind = \"ramp\"\nrate = \"{SUBSCRIBE_PER_S}/s\"\npause = \"3s\"\ntimeout = \"60s\"\n\
         [[phase]]\nkind = \"steady\"\nname = \"{CHANGES}\"\nrate = \"{changes_per_s}/s\"\n\
         duration = \"{seconds}s\"\nsettle = \"5s\"\n{DRAIN}"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_has_all_members_and_two_watchers() {
        let lists: Vec<_> = (0..LIST_WATCHER_COUNT).map(list_of).collect();
        assert_eq!(lists[0].name, lists[MEMBER_COUNT].name);
        assert_eq!(lists[49].name, "blf-10049");
        for list in &lists {
            let mut members = list.members.clone();
            members.sort();
            members.dedup();
            assert_eq!(members.len(), MEMBER_COUNT, "{}", list.name);
        }
    }

    #[test]
    fn kamailio_stands_beside_a_run_that_gathers_as_long() {
        let cases = cases(false, true);
        let their = cases.iter().find(|case| !case.server.is_ours()).expect("Kamailio's");
        let same = |case: &&ListCase| ListCase { server: case.server, ..their.clone() } == **case;
        assert_eq!(cases.iter().filter(same).count(), 2);
    }
}
