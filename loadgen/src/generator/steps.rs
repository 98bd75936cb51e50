//! What a thread does at the turn of a step, and the SUBSCRIBEs that a step sends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lampfield_net::sys::thread_cpu_time;

use super::{Generator, StepCost, StepNumber};
use crate::answer::AnswerProfile;
use crate::clock::{Nanos, SECOND, nanos};
use crate::plan::Pacer;
use crate::population::Watched;
use crate::scenario::step::{Pace, StepKind};
use crate::truth::Verdict;
use crate::watcher::{Stage, Watcher};

/// SUBSCRIBEs sent between two looks at the sockets.
const SUBSCRIBE_BURST_MAX: usize = 64;
/// A dead watcher that was sent nothing for this long has been given up: a NOTIFY is sent again every
/// 4 s at least (RFC 3261 section 17.1.2.2).
const GIVEN_UP_AFTER_NS: Nanos = 30 * SECOND;
/// A full state asked for longer ago than this should have come.
const FULL_STATE_AFTER_NS: Nanos = 2 * SECOND;

/// How the SUBSCRIBEs of a step leave.
#[derive(Debug)]
pub(super) enum Sending {
    /// At times fixed in advance.
    Paced(Pacer),
    /// At once, with so many unanswered at most.
    Windowed(usize),
}

impl Generator {
    pub(super) fn close_step(&self, mark: &mut (Nanos, Duration, u64)) -> StepCost {
        let now = (self.clock.now(), thread_cpu_time(), self.tally.counts.notify_count);
        let cost = StepCost {
            step: self.step,
            wall_ns: now.0 - mark.0,
            cpu_ns: nanos(now.1.saturating_sub(mark.1)),
            notify_count: now.2 - mark.2,
        };
        *mark = now;
        cost
    }

    pub(super) fn open_step(&mut self, number: StepNumber, start_ns: Nanos) {
        self.step = number;
        self.pace = None;
        let scenario = Arc::clone(&self.scenario);
        if let Some(step) = number.checked_sub(1).and_then(|index| scenario.steps.get(index)) {
            self.behaving = step.behave;
            match &step.kind {
                StepKind::Subscribe { pace, .. } => self.start_sending(*pace, start_ns),
                StepKind::Refresh { pace, .. } => {
                    self.bury_dead();
                    self.start_sending(*pace, start_ns);
                }
                StepKind::Unsubscribe { pace, .. } => {
                    self.conclude();
                    if let Some(pace) = pace {
                        self.start_sending(*pace, start_ns);
                    }
                }
                StepKind::Changes { .. } => {
                    self.bury_dead();
                    self.changes_step = number;
                }
                // A server that comes back may tell everybody what it knows.
                StepKind::Restart { .. } => {
                    let singles =
                        |watcher: &&mut Watcher| matches!(watcher.watched, Watched::Single(_));
                    let singles = self.watchers.iter_mut().filter(singles);
                    singles.for_each(|watcher| watcher.notify_owed = true);
                }
                StepKind::Prime | StepKind::Pause(_) | StepKind::Settle(_) => {}
            }
        }
        self.publish_live();
        self.shared.live[self.number].step.store(number, Ordering::Release);
    }

    fn start_sending(&mut self, pace: Pace, start_ns: Nanos) {
        let cores = self.scenario.core_count;
        self.next_watcher = 0;
        self.pace = Some(match pace {
            Pace::Rate(rate) => {
                let count = self.watchers.len() as u64;
                Sending::Paced(Pacer::new(start_ns, rate / cores as f64, count))
            }
            Pace::Window(window) => Sending::Windowed(window.div_ceil(cores)),
        });
    }

    /// Switches off the watchers that are to be dead from now on.
    fn bury_dead(&mut self) {
        for local in 0..self.watchers.len() as u32 {
            let watcher = &self.watchers[local as usize];
            if watcher.is_active() && self.profile(local).dead {
                self.depart(local, Stage::Dead);
                self.tally.counts.dead_count += 1;
            }
        }
    }

    /// What a watcher does with NOTIFYs in this step.
    pub(crate) fn profile(&self, local: u32) -> AnswerProfile {
        let behaviour = self.watchers[local as usize].behaviour;
        match self.behaving {
            true => self.scenario.behaviours[usize::from(behaviour)].profile,
            false => AnswerProfile::default(),
        }
    }

    /// Compares every lamp with the truth.
    fn conclude(&mut self) {
        let now_ns = self.clock.now();
        let is_told = |&&told_ns: &&Nanos| now_ns.saturating_sub(told_ns) < GIVEN_UP_AFTER_NS;
        let dead_told_count = self.dead_told.values().filter(is_told).count();
        self.tally.counts.dead_told_count = dead_told_count as u64;
        for watcher in &self.watchers {
            if watcher.stage == Stage::Dead {
                continue;
            }
            let population = &self.scenario.population;
            let active = watcher.is_active();
            let counts = &mut self.tally.counts;
            let lamps = &mut self.tally.behaviours[usize::from(watcher.behaviour)].lamps;
            let is_list = matches!(watcher.watched, Watched::List(_));
            let asked_long_ago = now_ns.saturating_sub(watcher.asked_ns) > FULL_STATE_AFTER_NS;
            if is_list && active && watcher.owes_full_state() && asked_long_ago {
                counts.full_state_missing_count += 1;
            }
            for member in 0..population.member_count(watcher.watched) {
                let extension = population.member(watcher.watched, member);
                let view = &self.edges[watcher.first_edge as usize + member].view;
                let (verdict, superseded_count, lost_count) =
                    self.timelines[extension as usize].conclude(view, active);
                // As in a NOTIFY: of those that lose or delay only the last state is owed.
                let owed_count = match watcher.behaviour {
                    0 => lost_count,
                    _ => lost_count.min(u64::from(verdict != Verdict::Right)),
                };
                counts.superseded_count += superseded_count + lost_count - owed_count;
                counts.lost_count += owed_count;
                lamps.add(verdict);
            }
        }
    }

    /// Sends the SUBSCRIBEs whose time has come.
    pub(super) fn send_paced(&mut self, now_ns: Nanos) {
        for _ in 0..SUBSCRIBE_BURST_MAX {
            if self.next_watcher == self.watchers.len() {
                break;
            }
            let intended_ns = match &mut self.pace {
                None => break,
                Some(Sending::Paced(pacer)) => match pacer.take_due(now_ns) {
                    Some(intended_ns) => {
                        self.tally.subscribe_lateness.record(now_ns - intended_ns);
                        intended_ns
                    }
                    None => break,
                },
                Some(Sending::Windowed(window))
                    if self.open_count + self.asking_count < *window =>
                {
                    now_ns
                }
                Some(Sending::Windowed(_)) => break,
            };
            let watcher = self.next_watcher as u32;
            self.next_watcher += 1;
            match self.kind() {
                Some(StepKind::Unsubscribe { .. }) => self.leave(watcher, intended_ns, now_ns),
                Some(StepKind::Refresh { .. }) => self.refresh(watcher, intended_ns, now_ns),
                _ => self.ask(watcher, intended_ns, now_ns),
            }
        }
    }

    /// What is being done.
    pub(crate) fn kind(&self) -> Option<&StepKind> {
        self.step.checked_sub(1).and_then(|index| Some(&self.scenario.steps.get(index)?.kind))
    }
}
