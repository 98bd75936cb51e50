//! From what the threads found to the report, the thresholds and the exit code.

mod lists;
mod thresholds;

use std::sync::Arc;

use crate::change::ChangeReport;
use crate::generator::StepCost;
use crate::honesty::{Evidence, objections};
use crate::lead::{cpu_share, seconds};
use crate::measure::{LampCounts, Tally, Times};
use crate::outcome::Outcome;
use crate::report::{
    BehaviourPart, ChangesPart, GeneratorPart, LampsPart, LatencyPart, NotifyPart, PhaseLatency,
    PhasePart, Report, SCHEMA_VERSION, ScenarioPart, SecondReaderPart, SeriesPart, SeriesPoint,
    SubscribePart,
};
use crate::scenario::Scenario;
use crate::scenario::file::Thresholds;
use crate::scenario::step::{Pace, StepKind};

/// Everything a run brought home.
#[derive(Debug)]
pub struct Found {
    /// What was asked for.
    pub scenario: Arc<Scenario>,
    /// What the generator threads counted.
    pub tally: Tally,
    /// What the steps cost, per thread.
    pub costs: Vec<Vec<StepCost>>,
    /// What the change thread found.
    pub changes: ChangeReport,
    /// Watchers that did not show the newest state when a step was over.
    pub outstanding: Vec<u64>,
    /// Datagrams dropped at our sockets.
    pub kernel_dropped_count: u64,
    /// Resident memory with all subscriptions in place.
    pub resident_bytes: u64,
}

/// Builds the report.
pub fn build(found: &Found, limits: &Thresholds) -> Report {
    let tally = &found.tally;
    let generator = generator_part(found);
    let latency = (!generator.bottleneck).then(|| LatencyPart {
        from_intended: tally.from_intended.quantiles(),
        from_sent: tally.from_sent.quantiles(),
    });
    let latency_is_claimed = latency.is_some();
    let second = &tally.second;
    let mut report = Report {
        schema: SCHEMA_VERSION,
        tool: format!("lampload {}", env!("CARGO_PKG_VERSION")),
        outcome: "",
        exit_code: 0,
        scenario: scenario_part(&found.scenario),
        phases: phase_parts(found, latency_is_claimed),
        subscribe: subscribe_part(found),
        changes: changes_part(&found.changes),
        notify: notify_part(found),
        latency,
        lamps: lamps_part(&tally.lamps()),
        lists: found.scenario.population.lists.as_ref().map(|_| lists::part(found)),
        behaviours: behaviour_parts(found, latency_is_claimed),
        series: series_part(found, latency_is_claimed),
        generator,
        second_reader: SecondReaderPart {
            compared_count: second.compared_count,
            refused_count: second.refused_count,
            disagreed_count: second.disagreed_count,
            example: second.example.clone(),
        },
        thresholds: Vec::new(),
    };
    report.thresholds = thresholds::judge(&report, limits);
    let outcome = outcome(&report);
    report.outcome = outcome.as_str();
    report.exit_code = outcome as u8;
    report
}

/// The exit code of a report: a generator that was the bottleneck can neither meet nor miss.
pub fn outcome(report: &Report) -> Outcome {
    if report.generator.bottleneck {
        Outcome::GeneratorBottleneck
    } else if report.thresholds.iter().all(|threshold| threshold.met) {
        Outcome::Ok
    } else {
        Outcome::ThresholdMissed
    }
}

fn generator_part(found: &Found) -> GeneratorPart {
    let (tally, changes) = (&found.tally, &found.changes);
    let in_changes = || found.costs_of(|kind| matches!(kind, StepKind::Changes { .. }));
    let cpu_share_max = in_changes().map(cpu_share).fold(0.0, f64::max);
    let cpu_ns: u64 = in_changes().map(|cost| cost.cpu_ns).sum();
    let notify_count: u64 = in_changes().map(|cost| cost.notify_count).sum();
    let objections = objections(&Evidence {
        lateness: &changes.lateness,
        wait: &tally.wait,
        cpu_share_max,
        kernel_dropped_count: found.kernel_dropped_count,
        send_dropped_count: tally.counts.send_dropped_count,
        lateness_max: found.scenario.own_lateness_max,
    });
    GeneratorPart {
        bottleneck: !objections.is_empty(),
        objections,
        lateness: changes.lateness.quantiles(),
        subscribe_lateness: tally.subscribe_lateness.quantiles(),
        wait: tally.wait.quantiles(),
        cpu_share_max,
        cpu_us_per_notify: (notify_count > 0).then(|| cpu_ns as f64 / 1000.0 / notify_count as f64),
        kernel_dropped_count: found.kernel_dropped_count,
        send_dropped_count: tally.counts.send_dropped_count,
        resident_bytes: found.resident_bytes,
    }
}

fn scenario_part(scenario: &Scenario) -> ScenarioPart {
    let subscribe_rate = scenario.steps.iter().find_map(|step| match step.kind {
        StepKind::Subscribe { pace: Pace::Rate(rate), .. } => Some(rate),
        _ => None,
    });
    let changes = || {
        scenario.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Changes { process, duration } => {
                Some((process.mean_rate(), duration.as_secs_f64()))
            }
            _ => None,
        })
    };
    let duration_s: f64 = changes().map(|(_, seconds)| seconds).sum();
    let change_count: f64 = changes().map(|(rate, seconds)| rate * seconds).sum();
    let population = &scenario.population;
    ScenarioPart {
        name: scenario.name.clone(),
        target: scenario.target.to_string(),
        event: scenario.event,
        accept: scenario.accept.clone(),
        extensions_count: scenario.extensions.len(),
        watchers_count: scenario.watcher_count,
        lists_count: population.list_count(),
        list_members_count: population.lists.as_ref().map_or(0, |lists| lists.member_count),
        list_watchers_count: population.list_watcher_count(),
        edges_count: population.edge_count(),
        sockets_count: scenario.socket_count,
        trains: scenario.trains,
        cores_count: scenario.core_count,
        expires_s: scenario.expires_s,
        subscribe_rate_per_s: subscribe_rate,
        changes_rate_per_s: if duration_s > 0.0 { change_count / duration_s } else { 0.0 },
        duration_s,
        change_by: scenario.change_by.label(),
        states: scenario.states.iter().map(|state| state.token()).collect(),
        seed: scenario.seed,
    }
}

/// Phases over all threads: the longest wall time, the sums of the rest.
fn phase_parts(found: &Found, latency_is_claimed: bool) -> Vec<PhasePart> {
    let steps = found.scenario.steps.iter().enumerate();
    let parts = steps.filter_map(|(index, step)| {
        let of_step = |cost: &&StepCost| cost.step == index + 1;
        let mut costs = found.costs.iter().flatten().filter(of_step).peekable();
        costs.peek()?;
        let mut times = Times::default();
        let behaviours = found.tally.behaviours.iter();
        behaviours.filter_map(|it| it.steps.get(&(index + 1))).for_each(|it| times.merge(it));
        let mut part = PhasePart {
            name: step.name.clone(),
            duration_s: 0.0,
            notify_count: 0,
            cpu_s: 0.0,
            outstanding_count: found.outstanding.get(index).copied().unwrap_or(0),
            latency: times.quantiles().filter(|_| latency_is_claimed),
        };
        for cost in costs {
            part.duration_s = part.duration_s.max(seconds(cost.wall_ns));
            part.notify_count += cost.notify_count;
            part.cpu_s += seconds(cost.cpu_ns);
        }
        Some(part)
    });
    parts.collect()
}

fn behaviour_parts(found: &Found, latency_is_claimed: bool) -> Vec<BehaviourPart> {
    let tallies = found.scenario.behaviours.iter().zip(&found.tally.behaviours);
    let parts = tallies.filter(|(behaviour, _)| behaviour.share > 0.0);
    let parts = parts.map(|(behaviour, tally)| {
        let phases = tally.steps.iter().filter_map(|(step, times)| {
            let name = found.scenario.steps.get(step - 1)?.name.clone();
            let times = times.quantiles().filter(|_| latency_is_claimed)?;
            Some(PhaseLatency { phase: name, times })
        });
        BehaviourPart {
            name: behaviour.name.clone(),
            share: behaviour.share,
            lamps: lamps_part(&tally.lamps),
            latency: phases.collect(),
        }
    });
    parts.collect()
}

fn series_part(found: &Found, latency_is_claimed: bool) -> SeriesPart {
    let series = &found.tally.series;
    let width_s = series.width_s();
    let points = series.points().iter().enumerate().map(|(index, point)| {
        let latency = point.latency_ms().filter(|_| latency_is_claimed);
        SeriesPoint {
            at_s: index as f64 * width_s,
            notify_per_s: point.notify_count as f64 / width_s,
            changes_per_s: point.change_count as f64 / width_s,
            p50_ms: latency.map(|[p50, ..]| p50),
            p99_ms: latency.map(|[_, p99, _]| p99),
            max_ms: latency.map(|[.., max]| max),
            late_ms: point.late_max_ns as f64 / 1e6,
            wait_ms: point.wait_max_ns as f64 / 1e6,
        }
    });
    SeriesPart { width_s, points: points.collect() }
}

impl Found {
    /// What steps of a kind cost.
    fn costs_of(&self, is_it: impl Fn(&StepKind) -> bool) -> impl Iterator<Item = &StepCost> {
        let steps = &self.scenario.steps;
        self.costs.iter().flatten().filter(move |cost| {
            cost.step.checked_sub(1).and_then(|at| steps.get(at)).is_some_and(|it| is_it(&it.kind))
        })
    }

    /// Seconds that steps of a kind took, those of the slowest thread.
    fn seconds_of(&self, is_it: impl Fn(&StepKind) -> bool) -> f64 {
        let mut by_step = std::collections::BTreeMap::new();
        for cost in self.costs_of(is_it) {
            let longest: &mut u64 = by_step.entry(cost.step).or_default();
            *longest = cost.wall_ns.max(*longest);
        }
        seconds(by_step.values().sum()).max(1e-9)
    }
}

fn subscribe_part(found: &Found) -> SubscribePart {
    let (tally, counts) = (&found.tally, &found.tally.counts);
    SubscribePart {
        sent_count: counts.subscribe_sent_count,
        established_count: counts.established_count,
        failed_count: counts.subscribe_failed_count,
        failures: tally.failures.clone(),
        retransmitted_count: counts.subscribe_retransmitted_count,
        refreshed_count: counts.refreshed_count,
        ended_by_target_count: counts.ended_by_target_count,
        endings: tally.endings.clone(),
        unsubscribed_count: counts.unsubscribed_count,
        unsubscribe_failed_count: counts.unsubscribe_failed_count,
        established_per_s: counts.established_count as f64
            / found.seconds_of(|kind| matches!(kind, StepKind::Subscribe { .. })),
        answer: tally.subscribe_answer.quantiles(),
        first_notify: tally.first_notify.quantiles(),
    }
}

fn changes_part(changes: &ChangeReport) -> ChangesPart {
    ChangesPart {
        sent_count: changes.sent_count,
        refused_count: changes.answers.refused_count,
        unanswered_count: changes.unanswered_count,
        errors: changes.answers.errors.clone(),
        answer: changes.answers.answer_time.quantiles(),
        blocked: changes.blocked.quantiles(),
    }
}

fn notify_part(found: &Found) -> NotifyPart {
    let counts = &found.tally.counts;
    let is_changes = |kind: &StepKind| matches!(kind, StepKind::Changes { .. });
    let changes_count: u64 = found.costs_of(is_changes).map(|cost| cost.notify_count).sum();
    NotifyPart {
        received_count: counts.notify_count,
        per_s: changes_count as f64 / found.seconds_of(is_changes),
        needed_count: counts.needed_count,
        delivered_count: counts.delivered_count,
        superseded_count: counts.superseded_count,
        lost_count: counts.lost_count,
        ambiguous_count: counts.ambiguous_count,
        refresh_count: counts.refresh_notify_count,
        retransmitted_count: counts.notify_retransmitted_count,
        duplicate_count: counts.duplicate_count,
        out_of_order_count: counts.out_of_order_count,
        untrue_count: counts.untrue_count,
        unparsable_count: counts.unparsable_count + counts.truncated_count,
        foreign_count: counts.foreign_count,
        answered_count: counts.answer_sent_count,
        answer_lost_count: counts.answer_lost_count,
        answer_refused_count: counts.answer_refused_count,
        answer_duplicated_count: counts.answer_duplicated_count,
        receive_lost_count: counts.receive_lost_count,
        dead_watchers_count: counts.dead_count,
        dead_notify_count: counts.dead_notify_count,
        dead_told_count: counts.dead_told_count,
    }
}

fn lamps_part(counts: &LampCounts) -> LampsPart {
    let wrong_lamps_count = counts.false_count();
    LampsPart {
        judged_count: counts.right_count + wrong_lamps_count,
        right_count: counts.right_count,
        wrong_lamps_count,
        stale_count: counts.stale_count,
        wrong_count: counts.wrong_count,
        missing_count: counts.missing_count,
        unjudged_count: counts.unjudged_count,
    }
}
