//! The summary for people.

use std::fmt::{Result, Write};

use super::{Report, Threshold};
use crate::measure::Quantiles;

/// Writes the whole summary.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_summary(report, &mut text);
    text
}

fn write_summary(report: &Report, out: &mut String) -> Result {
    let scenario = &report.scenario;
    writeln!(
        out,
        "lampload {}: {} watchers of {} extensions at {} ({}, {} sockets{}, {} cores, seed {})",
        scenario.name,
        scenario.watchers_count,
        scenario.extensions_count,
        scenario.target,
        scenario.event,
        scenario.sockets_count,
        if scenario.trains { " with trains" } else { "" },
        scenario.cores_count,
        scenario.seed
    )?;
    if scenario.lists_count > 0 {
        writeln!(
            out,
            "{} lists of {} members, {} watchers of lists, {} lamps",
            scenario.lists_count,
            scenario.list_members_count,
            scenario.list_watchers_count,
            scenario.edges_count
        )?;
    }
    writeln!(out)?;
    write_phases(report, out)?;
    write_subscribe(report, out)?;
    write_changes(report, out)?;
    write_latency(report, out)?;
    write_lamps(report, out)?;
    write_lists(report, out)?;
    write_behaviours(report, out)?;
    write_generator(report, out)?;
    write_thresholds(&report.thresholds, out)?;
    writeln!(out, "outcome: {} (exit code {})", report.outcome, report.exit_code)
}

fn write_phases(report: &Report, out: &mut String) -> Result {
    writeln!(
        out,
        "{:<12} {:>10} {:>12} {:>12} {:>8}",
        "phase", "seconds", "NOTIFYs", "NOTIFY/s", "CPU s"
    )?;
    for phase in &report.phases {
        let rate = phase.notify_count as f64 / phase.duration_s.max(1e-9);
        writeln!(
            out,
            "{:<12} {:>10.3} {:>12} {:>12.0} {:>8.2}",
            phase.name, phase.duration_s, phase.notify_count, rate, phase.cpu_s
        )?;
    }
    writeln!(out)
}

fn write_subscribe(report: &Report, out: &mut String) -> Result {
    let part = &report.subscribe;
    writeln!(
        out,
        "subscriptions: {} established, {} failed, {} ended by the target, {} refreshed, {} left, \
         {} SUBSCRIBEs sent again",
        part.established_count,
        part.failed_count,
        part.ended_by_target_count,
        part.refreshed_count,
        part.unsubscribed_count,
        part.retransmitted_count
    )?;
    for (reason, count) in part.failures.iter().chain(&part.endings) {
        writeln!(out, "  {count} x {reason}")?;
    }
    Ok(())
}

fn write_changes(report: &Report, out: &mut String) -> Result {
    let (changes, notify) = (&report.changes, &report.notify);
    writeln!(
        out,
        "changes: {} sent, {} refused, {} unanswered",
        changes.sent_count, changes.refused_count, changes.unanswered_count
    )?;
    for error in &changes.errors {
        writeln!(out, "  {error}")?;
    }
    writeln!(
        out,
        "NOTIFYs: {} received, {} needed = {} delivered + {} superseded + {} lost; {:.0}/s",
        notify.received_count,
        notify.needed_count,
        notify.delivered_count,
        notify.superseded_count,
        notify.lost_count,
        notify.per_s
    )?;
    writeln!(
        out,
        "  duplicate {}, out of order {}, untrue {}, unparsable {}, foreign {}, retransmitted {}, \
         for refreshes {}",
        notify.duplicate_count,
        notify.out_of_order_count,
        notify.untrue_count,
        notify.unparsable_count,
        notify.foreign_count,
        notify.retransmitted_count,
        notify.refresh_count
    )?;
    if notify.ambiguous_count > 0 {
        writeln!(
            out,
            "  {} latencies might belong to a newer change and be shorter",
            notify.ambiguous_count
        )?;
    }
    let second = &report.second_reader;
    writeln!(
        out,
        "second reader: {} compared, {} refused by it, {} disagreements",
        second.compared_count, second.refused_count, second.disagreed_count
    )?;
    if let Some(example) = &second.example {
        writeln!(out, "  {example}")?;
    }
    writeln!(out)
}

fn write_latency(report: &Report, out: &mut String) -> Result {
    let columns = ["p50", "p90", "p99", "p99.9", "max"];
    write!(out, "{:<34} {:>10}", "milliseconds", "count")?;
    columns.iter().try_for_each(|column| write!(out, " {column:>10}"))?;
    writeln!(out)?;
    write_row("SUBSCRIBE to answer", report.subscribe.answer.as_ref(), out)?;
    write_row("SUBSCRIBE to first NOTIFY", report.subscribe.first_notify.as_ref(), out)?;
    write_row("change to answer", report.changes.answer.as_ref(), out)?;
    match &report.latency {
        Some(latency) => {
            write_row("NOTIFY, from intended change", latency.from_intended.as_ref(), out)?;
            write_row("NOTIFY, from sent change", latency.from_sent.as_ref(), out)?;
        }
        None => writeln!(out, "NOTIFY: not claimed, the generator was the bottleneck")?,
    }
    write_row("own lateness of SUBSCRIBEs", report.generator.subscribe_lateness.as_ref(), out)?;
    write_row("own lateness of changes", report.generator.lateness.as_ref(), out)?;
    write_row("NOTIFY to our answer", report.generator.wait.as_ref(), out)?;
    writeln!(out)
}

fn write_row(name: &str, points: Option<&Quantiles>, out: &mut String) -> Result {
    let Some(points) = points else {
        return writeln!(out, "{name:<34} {:>10}", 0);
    };
    let values = [points.p50_ms, points.p90_ms, points.p99_ms, points.p999_ms, points.max_ms];
    write!(out, "{name:<34} {:>10}", points.count)?;
    values.iter().try_for_each(|value| write!(out, " {value:>10.3}"))?;
    writeln!(out)
}

fn write_lamps(report: &Report, out: &mut String) -> Result {
    let lamps = &report.lamps;
    writeln!(
        out,
        "wrong lamps: {} of {} (stale {}, wrong {}, missing {}; {} not judged)",
        lamps.wrong_lamps_count,
        lamps.judged_count,
        lamps.stale_count,
        lamps.wrong_count,
        lamps.missing_count,
        lamps.unjudged_count
    )
}

fn write_lists(report: &Report, out: &mut String) -> Result {
    let Some(lists) = &report.lists else {
        return Ok(());
    };
    writeln!(
        out,
        "lists: {} NOTIFYs, {} of them whole, {:.0} bytes and {:.1} members each; {} errors",
        lists.notify_count,
        lists.full_count,
        lists.body_bytes_mean,
        lists.members_mean,
        lists.errors_count
    )?;
    let figures = [
        ("skipped versions", lists.version_gap_count),
        ("versions not rising", lists.version_back_count),
        ("first NOTIFYs not whole", lists.first_not_full_count),
        ("SUBSCRIBEs without the whole list", lists.full_state_missing_count),
        ("Content-IDs without a part", lists.cid_unresolved_count),
        ("members of other lists", lists.stranger_count),
        ("members named twice", lists.member_twice_count),
        ("NOTIFYs that are no list", lists.not_a_list_count),
        ("lists asked for again (fact)", lists.resubscribed_count),
        ("parts nothing refers to (fact)", lists.part_orphaned_count),
        ("members gone (fact)", lists.member_gone_count),
        ("members without a state (fact)", lists.member_without_state_count),
        ("instance ids that changed (fact)", lists.instance_changed_count),
        ("first versions other than 0 (fact)", lists.first_version_not_zero_count),
        ("versions skipped by whole lists (fact)", lists.version_jump_count),
    ];
    for (name, count) in figures.iter().filter(|(_, count)| *count > 0) {
        writeln!(out, "  {count} {name}")?;
    }
    Ok(())
}

fn write_behaviours(report: &Report, out: &mut String) -> Result {
    if report.behaviours.len() < 2 {
        return Ok(());
    }
    writeln!(out, "behaviours:")?;
    for part in &report.behaviours {
        writeln!(
            out,
            "  {:<12} {:>5.1} % of watchers, wrong lamps {} of {}",
            part.name,
            part.share * 100.0,
            part.lamps.wrong_lamps_count,
            part.lamps.judged_count
        )?;
        for phase in &part.latency {
            write_row(&format!("    in {}", phase.phase), Some(&phase.times), out)?;
        }
    }
    let notify = &report.notify;
    writeln!(
        out,
        "  lost on the way {}, answers lost {}, sent twice {}, refused {}; {} dead watchers got {} \
         NOTIFYs, {} of them to the end",
        notify.receive_lost_count,
        notify.answer_lost_count,
        notify.answer_duplicated_count,
        notify.answer_refused_count,
        notify.dead_watchers_count,
        notify.dead_notify_count,
        notify.dead_told_count
    )
}

fn write_generator(report: &Report, out: &mut String) -> Result {
    let part = &report.generator;
    write!(out, "generator: busiest thread {:.0} % of a core", part.cpu_share_max * 100.0)?;
    if let Some(cpu_us) = part.cpu_us_per_notify {
        write!(out, ", {cpu_us:.2} us per NOTIFY")?;
    }
    writeln!(
        out,
        ", {} dropped at our sockets, {:.1} MiB resident, {:.1} bytes a lamp",
        part.kernel_dropped_count,
        part.resident_bytes as f64 / 1_048_576.0,
        part.resident_bytes as f64 / report.scenario.edges_count.max(1) as f64
    )?;
    if part.bottleneck {
        writeln!(out)?;
        writeln!(
            out,
            "!!! THE GENERATOR WAS THE BOTTLENECK; this run says nothing about the target:"
        )?;
        for reason in &part.objections {
            writeln!(out, "!!!   {reason}")?;
        }
        writeln!(out, "!!! Use more --cores, another machine, or less load.")?;
    }
    Ok(())
}

fn write_thresholds(thresholds: &[Threshold], out: &mut String) -> Result {
    writeln!(out)?;
    for threshold in thresholds {
        let word = if threshold.met { "met" } else { "MISSED" };
        let actual = threshold.actual.map_or("nothing measured".into(), |actual| {
            if actual.fract() == 0.0 { format!("{actual}") } else { format!("{actual:.3}") }
        });
        writeln!(out, "{:<20} {:>12} {:>18}  {word}", threshold.name, threshold.limit, actual)?;
    }
    Ok(())
}
