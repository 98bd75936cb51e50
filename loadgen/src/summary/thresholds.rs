//! The limits of a run against what it had.

use crate::measure::Quantiles;
use crate::report::{Report, Threshold};
use crate::scenario::file::{Span, Thresholds};

/// Judges every limit that was given.
pub(super) fn judge(report: &Report, limits: &Thresholds) -> Vec<Threshold> {
    let (notify, lamps, subscribe) = (&report.notify, &report.lamps, &report.subscribe);
    let mut list = Vec::new();
    let points = report.latency.as_ref().and_then(|latency| latency.from_intended);
    let mut time = |name, limit: Option<Span>, points: Option<Quantiles>, point: Point| {
        if let Some(Span(limit)) = limit {
            let limit = limit.as_secs_f64() * 1000.0;
            let actual = points.as_ref().map(point);
            let met = actual.is_some_and(|actual| actual <= limit);
            list.push(Threshold { name, limit, actual, met });
        }
    };
    time("max-p50", limits.p50, points, |points| points.p50_ms);
    time("max-p99", limits.p99, points, |points| points.p99_ms);
    time("max-p999", limits.p999, points, |points| points.p999_ms);
    let first = subscribe.first_notify;
    time("max-first-notify-p99", limits.first_notify_p99, first, |points| points.p99_ms);
    if let Some(limit) = limits.p99_growth {
        let actual = growth(report);
        let met = actual.is_some_and(|actual| actual <= limit);
        list.push(Threshold { name: "max-p99-growth", limit, actual, met });
    }
    if let Some(limit) = limits.notify_rate {
        let met = notify.per_s >= limit;
        list.push(Threshold { name: "min-notify-rate", limit, actual: Some(notify.per_s), met });
    }
    let failed_count = subscribe.failed_count
        + subscribe.ended_by_target_count
        + subscribe.unsubscribe_failed_count;
    let change_errors = report.changes.refused_count + report.changes.unanswered_count;
    let list_errors = report.lists.as_ref().map(|lists| lists.errors_count);
    for (name, limit, actual) in [
        ("max-wrong", Some(limits.wrong), lamps.wrong_lamps_count),
        ("max-untrue", Some(limits.untrue), notify.untrue_count),
        ("max-lost", Some(limits.lost), notify.lost_count),
        ("max-superseded", limits.superseded, notify.superseded_count),
        ("max-duplicate", limits.duplicate, notify.duplicate_count),
        ("max-dead-told", limits.dead_told, notify.dead_told_count),
        ("max-out-of-order", Some(limits.out_of_order), notify.out_of_order_count),
        ("max-unparsable", Some(limits.unparsable), notify.unparsable_count),
        ("max-list-errors", list_errors.map(|_| limits.list_errors), list_errors.unwrap_or(0)),
        ("max-failed", Some(limits.failed), failed_count),
        ("max-change-errors", Some(limits.change_errors), change_errors),
    ] {
        if let Some(limit) = limit {
            let met = actual <= limit;
            let (limit, actual) = (limit as f64, Some(actual as f64));
            list.push(Threshold { name, limit, actual, met });
        }
    }
    list
}

type Point = fn(&Quantiles) -> f64;

/// By how much the p99 of those that simply answer grew from the first phase with changes to the
/// worst of the later ones.
fn growth(report: &Report) -> Option<f64> {
    let well = report.behaviours.first()?;
    let mut phases = well.latency.iter().map(|phase| phase.times.p99_ms);
    let first_ms = phases.next()?;
    let worst_ms = phases.reduce(f64::max)?;
    Some(worst_ms / first_ms.max(0.001))
}
