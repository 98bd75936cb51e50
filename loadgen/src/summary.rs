//! From what the threads found to the report, the thresholds and the exit code.

use std::sync::Arc;
use std::time::Duration;

use crate::change::ChangeReport;
use crate::cli::ThresholdArgs;
use crate::fanout::{cpu_share, seconds};
use crate::generator::{Phase, PhaseCost};
use crate::honesty::{Evidence, objections};
use crate::measure::{Quantiles, Tally};
use crate::outcome::Outcome;
use crate::report::{
    ChangesPart, GeneratorPart, LampsPart, LatencyPart, NotifyPart, PhasePart, Report,
    SCHEMA_VERSION, ScenarioPart, SecondReaderPart, SubscribePart, Threshold,
};
use crate::scenario::Scenario;

/// Everything a run brought home.
#[derive(Debug)]
pub struct Found {
    /// What was asked for.
    pub scenario: Arc<Scenario>,
    /// What the generator threads counted.
    pub tally: Tally,
    /// What the phases cost, per thread.
    pub costs: Vec<Vec<PhaseCost>>,
    /// What the change thread found.
    pub changes: ChangeReport,
    /// Datagrams dropped at our sockets.
    pub kernel_dropped_count: u64,
    /// Resident memory with all subscriptions in place.
    pub resident_bytes: u64,
}

/// Builds the report.
pub fn build(found: &Found, limits: &ThresholdArgs) -> Report {
    let tally = &found.tally;
    let generator = generator_part(found);
    let latency = (!generator.bottleneck).then(|| LatencyPart {
        from_intended: tally.from_intended.quantiles(),
        from_sent: tally.from_sent.quantiles(),
    });
    let second = &tally.second;
    let mut report = Report {
        schema: SCHEMA_VERSION,
        tool: format!("lampload {}", env!("CARGO_PKG_VERSION")),
        outcome: "",
        exit_code: 0,
        scenario: scenario_part(&found.scenario),
        phases: phase_parts(&found.costs),
        subscribe: subscribe_part(found),
        changes: changes_part(&found.changes),
        notify: notify_part(found),
        latency,
        lamps: lamps_part(tally),
        generator,
        second_reader: SecondReaderPart {
            compared_count: second.compared_count,
            refused_count: second.refused_count,
            disagreed_count: second.disagreed_count,
            example: second.example.clone(),
        },
        thresholds: Vec::new(),
    };
    report.thresholds = thresholds(&report, limits);
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

fn thresholds(report: &Report, limits: &ThresholdArgs) -> Vec<Threshold> {
    let (notify, lamps, subscribe) = (&report.notify, &report.lamps, &report.subscribe);
    let mut list = Vec::new();
    let points = report.latency.as_ref().and_then(|latency| latency.from_intended);
    let mut time = |name, limit: Option<Duration>, point: fn(&Quantiles) -> f64| {
        if let Some(limit) = limit {
            let limit = limit.as_secs_f64() * 1000.0;
            let actual = points.as_ref().map(point);
            let met = actual.is_some_and(|actual| actual <= limit);
            list.push(Threshold { name, limit, actual, met });
        }
    };
    time("max-p50", limits.max_p50, |points| points.p50_ms);
    time("max-p99", limits.max_p99, |points| points.p99_ms);
    time("max-p999", limits.max_p999, |points| points.p999_ms);
    if let Some(limit) = limits.min_notify_rate {
        let met = notify.per_s >= limit;
        list.push(Threshold { name: "min-notify-rate", limit, actual: Some(notify.per_s), met });
    }
    let failed_count = subscribe.failed_count
        + subscribe.ended_by_target_count
        + subscribe.unsubscribe_failed_count;
    let change_errors = report.changes.refused_count + report.changes.unanswered_count;
    for (name, limit, actual) in [
        ("max-wrong", Some(limits.max_wrong), lamps.wrong_lamps_count),
        ("max-untrue", Some(limits.max_untrue), notify.untrue_count),
        ("max-lost", Some(limits.max_lost), notify.lost_count),
        ("max-superseded", limits.max_superseded, notify.superseded_count),
        ("max-duplicate", limits.max_duplicate, notify.duplicate_count),
        ("max-out-of-order", Some(limits.max_out_of_order), notify.out_of_order_count),
        ("max-unparsable", Some(limits.max_unparsable), notify.unparsable_count),
        ("max-failed", Some(limits.max_failed), failed_count),
        ("max-change-errors", Some(limits.max_change_errors), change_errors),
    ] {
        if let Some(limit) = limit {
            let met = actual <= limit;
            let (limit, actual) = (limit as f64, Some(actual as f64));
            list.push(Threshold { name, limit, actual, met });
        }
    }
    list
}

fn generator_part(found: &Found) -> GeneratorPart {
    let (tally, changes) = (&found.tally, &found.changes);
    let in_changes = || found.costs.iter().flatten().filter(|cost| cost.phase == Phase::Changes);
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
    ScenarioPart {
        target: scenario.target.to_string(),
        event: scenario.event,
        accept: scenario.accept.clone(),
        extensions_count: scenario.extensions.len(),
        watchers_count: scenario.watcher_count,
        sockets_count: scenario.socket_count,
        cores_count: scenario.core_count,
        expires_s: scenario.expires_s,
        subscribe_rate_per_s: scenario.subscribe_rate,
        changes_rate_per_s: scenario.changes_rate,
        duration_s: scenario.duration.as_secs_f64(),
        change_by: scenario.change_by.label(),
        states: scenario.states.iter().map(|state| state.token()).collect(),
        seed: scenario.seed,
    }
}

/// Phases over all threads: the longest wall time, the sums of the rest.
fn phase_parts(costs: &[Vec<PhaseCost>]) -> Vec<PhasePart> {
    let part = |phase: Phase| {
        let mut of_phase = costs.iter().flatten().filter(|cost| cost.phase == phase).peekable();
        of_phase.peek()?;
        let mut part =
            PhasePart { name: phase.name(), duration_s: 0.0, notify_count: 0, cpu_s: 0.0 };
        for cost in of_phase {
            part.duration_s = part.duration_s.max(seconds(cost.wall_ns));
            part.notify_count += cost.notify_count;
            part.cpu_s += seconds(cost.cpu_ns);
        }
        Some(part)
    };
    Phase::ALL.into_iter().filter(|phase| *phase != Phase::Done).filter_map(part).collect()
}

fn phase_seconds(found: &Found, phase: Phase) -> f64 {
    let walls = found.costs.iter().flatten().filter(|cost| cost.phase == phase);
    seconds(walls.map(|cost| cost.wall_ns).max().unwrap_or(0)).max(1e-9)
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
        established_per_s: counts.established_count as f64 / phase_seconds(found, Phase::Subscribe),
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
    let in_changes = found.costs.iter().flatten().filter(|cost| cost.phase == Phase::Changes);
    let changes_count: u64 = in_changes.map(|cost| cost.notify_count).sum();
    NotifyPart {
        received_count: counts.notify_count,
        per_s: changes_count as f64 / phase_seconds(found, Phase::Changes),
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
    }
}

fn lamps_part(tally: &Tally) -> LampsPart {
    let counts = &tally.counts;
    let wrong_lamps_count = counts.stale_count + counts.wrong_count + counts.missing_count;
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
