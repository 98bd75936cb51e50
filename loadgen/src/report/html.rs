//! A report as one HTML page: plots, tables, and the JSON itself; no network, no scripts.

use std::fmt::Write as _;

use super::plot::{Axis, Chart, Line};
use super::{BehaviourPart, Report, SeriesPoint, text};
use crate::measure::{Quantiles, Times};

const STYLE: &str = include_str!("page.css");

/// The whole page. `latency` is the distribution from intended times.
pub fn page(report: &Report, latency: &Times) -> String {
    let title = format!("lampload {}", report.scenario.name);
    let mut out = String::with_capacity(64 * 1024);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head><body><main>\n",
        escape(&title)
    );
    head(report, &mut out);
    plots(report, latency, &mut out);
    phases(report, &mut out);
    lamps(report, &mut out);
    lists(report, &mut out);
    thresholds(report, &mut out);
    let _ = writeln!(
        out,
        "<details><summary>Everything, as text</summary><pre>{}</pre></details>",
        escape(&text::summary(report))
    );
    // In a script element only "</" would end the text too early.
    let json = report.json().unwrap_or_default().replace("</", "<\\/");
    let _ = write!(
        out,
        "<script type=\"application/json\" id=\"report\">{json}</script>\n</main></body></html>\n"
    );
    out
}

fn head(report: &Report, out: &mut String) {
    let scenario = &report.scenario;
    let _ = write!(
        out,
        "<header><h1>{}</h1><span class=\"outcome {}\" id=\"outcome\">{}</span></header>\n\
         <p>{} watchers, {} lamps, {} extensions",
        escape(&scenario.name),
        report.outcome,
        report.outcome.replace('_', " "),
        scenario.watchers_count,
        scenario.edges_count,
        scenario.extensions_count,
    );
    if scenario.lists_count > 0 {
        let _ = write!(
            out,
            ", {} lists of {} members",
            scenario.lists_count, scenario.list_members_count
        );
    }
    let _ = writeln!(
        out,
        " at {} ({}); {}, seed {}</p>",
        escape(&scenario.target),
        scenario.event,
        escape(&report.tool),
        scenario.seed
    );
    if report.generator.bottleneck {
        let reasons: Vec<String> =
            report.generator.objections.iter().map(|reason| escape(reason)).collect();
        let _ = writeln!(
            out,
            "<p class=\"objection\">The generator was the bottleneck; this run says nothing about \
             the target: {}</p>",
            reasons.join("; ")
        );
    }
    let latency = report.latency.as_ref().and_then(|latency| latency.from_intended);
    let ms = |point: fn(&Quantiles) -> f64| {
        latency.as_ref().map_or("not claimed".to_owned(), |it| format!("{:.2} ms", point(it)))
    };
    out.push_str("<div class=\"tiles\">");
    for (id, name, value) in [
        ("wrong-lamps", "wrong lamps", report.lamps.wrong_lamps_count.to_string()),
        ("judged-lamps", "lamps judged", report.lamps.judged_count.to_string()),
        ("lost", "NOTIFYs lost", report.notify.lost_count.to_string()),
        ("notify-rate", "NOTIFY/s", format!("{:.0}", report.notify.per_s)),
        ("p50", "p50", ms(|it| it.p50_ms)),
        ("p99", "p99", ms(|it| it.p99_ms)),
        ("max", "slowest", ms(|it| it.max_ms)),
    ] {
        let _ = write!(out, "<div><b id=\"{id}\">{value}</b><span>{name}</span></div>");
    }
    out.push_str("</div>\n");
}

fn plots(report: &Report, latency: &Times, out: &mut String) {
    let points = &report.series.points;
    let line = |label: &'static str, value: fn(&SeriesPoint) -> Option<f64>| Line {
        label,
        points: points.iter().filter_map(|point| Some((point.at_s, value(point)?))).collect(),
    };
    let over_time = |title, unit, log, lines: Vec<Line>| Chart {
        title,
        x: Axis::linear("seconds"),
        y: if log { Axis::log(unit) } else { Axis::linear(unit) },
        lines,
    };
    out.push_str("<div class=\"plots\">\n");
    let rates = vec![
        line("NOTIFY/s", |point| Some(point.notify_per_s)),
        line("changes/s", |point| Some(point.changes_per_s)),
    ];
    out.push_str(&over_time("Throughput", "per second", false, rates).svg());
    if report.latency.is_some() {
        let times = vec![
            line("p50", |point| point.p50_ms),
            line("p99", |point| point.p99_ms),
            line("max", |point| point.max_ms),
        ];
        out.push_str(&over_time("Latency over time", "ms", true, times).svg());
        out.push_str(&percentiles(latency).svg());
    }
    let own = vec![
        line("lateness of changes", |point| Some(point.late_ms)),
        line("NOTIFY to our answer", |point| Some(point.wait_ms)),
    ];
    out.push_str(&over_time("The generator's own lateness", "ms, at most", false, own).svg());
    out.push_str("</div>\n");
}

/// The distribution over 1/(1-p), so that each nine has the same width.
fn percentiles(latency: &Times) -> Chart {
    let points = latency.percentile_points();
    Chart {
        title: "Latency by percentile",
        x: Axis::percentile(),
        y: Axis::log("ms"),
        lines: vec![Line { label: "from intended change", points }],
    }
}

fn phases(report: &Report, out: &mut String) {
    out.push_str(
        "<h2>Phases</h2><table><tr><th>phase<th>seconds<th>NOTIFYs<th>NOTIFY/s<th>p50 ms\
         <th>p99 ms<th>max ms<th>lamps behind</tr>\n",
    );
    for phase in &report.phases {
        let times = phase.latency;
        let rate = phase.notify_count as f64 / phase.duration_s.max(1e-9);
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{:.2}<td>{}<td>{rate:.0}{}<td>{}</tr>",
            escape(&phase.name),
            phase.duration_s,
            phase.notify_count,
            cells(times.as_ref()),
            phase.outstanding_count
        );
    }
    out.push_str("</table>\n");
}

fn cells(times: Option<&Quantiles>) -> String {
    match times {
        Some(it) => format!("<td>{:.2}<td>{:.2}<td>{:.2}", it.p50_ms, it.p99_ms, it.max_ms),
        None => "<td><td><td>".into(),
    }
}

fn lamps(report: &Report, out: &mut String) {
    out.push_str(
        "<h2>Lamp truth</h2><table id=\"lamps\"><tr><th>watchers<th>share<th>lamps<th>right\
         <th>stale<th>wrong<th>missing<th>not judged</tr>\n",
    );
    let mut row = |name: &str, share: f64, lamps: &super::LampsPart| {
        let class = if lamps.wrong_lamps_count > 0 { " class=\"bad\"" } else { "" };
        let _ = writeln!(
            out,
            "<tr{class}><td>{}<td>{:.1} %<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(name),
            share * 100.0,
            lamps.judged_count,
            lamps.right_count,
            lamps.stale_count,
            lamps.wrong_count,
            lamps.missing_count,
            lamps.unjudged_count
        );
    };
    report.behaviours.iter().for_each(|it| row(&it.name, it.share, &it.lamps));
    row("all", 1.0, &report.lamps);
    out.push_str("</table>\n");
    let notify = &report.notify;
    let _ = writeln!(
        out,
        "<p>{} NOTIFYs needed = {} delivered + {} superseded + {} lost; {} duplicate, {} out of \
         order, {} untrue, {} unparsable, {} sent again by the target.</p>",
        notify.needed_count,
        notify.delivered_count,
        notify.superseded_count,
        notify.lost_count,
        notify.duplicate_count,
        notify.out_of_order_count,
        notify.untrue_count,
        notify.unparsable_count,
        notify.retransmitted_count
    );
    behaviours(&report.behaviours, out);
}

fn behaviours(parts: &[BehaviourPart], out: &mut String) {
    if parts.len() < 2 {
        return;
    }
    out.push_str(
        "<h2>Latency by behaviour</h2><table><tr><th>watchers<th>phase<th>p50 ms<th>p99 ms\
         <th>max ms</tr>\n",
    );
    for part in parts {
        for phase in &part.latency {
            let _ = writeln!(
                out,
                "<tr><td>{}<td>{}{}</tr>",
                escape(&part.name),
                escape(&phase.phase),
                cells(Some(&phase.times))
            );
        }
    }
    out.push_str("</table>\n");
}

fn lists(report: &Report, out: &mut String) {
    let Some(lists) = &report.lists else {
        return;
    };
    out.push_str("<h2>Lists</h2><table id=\"lists\">\n");
    for (name, value) in [
        ("NOTIFYs", lists.notify_count),
        ("of them whole", lists.full_count),
        ("errors", lists.errors_count),
        ("skipped versions", lists.version_gap_count),
        ("versions not rising", lists.version_back_count),
        ("SUBSCRIBEs without the whole list", lists.full_state_missing_count),
        ("Content-IDs without a part", lists.cid_unresolved_count),
        ("members of other lists", lists.stranger_count),
        ("lists asked for again", lists.resubscribed_count),
        ("instance ids that changed", lists.instance_changed_count),
    ] {
        let _ = writeln!(out, "<tr><td>{name}<td>{value}</tr>");
    }
    out.push_str("</table>\n");
}

fn thresholds(report: &Report, out: &mut String) {
    out.push_str("<h2>Thresholds</h2><table><tr><th>limit<th>allowed<th>had<th></tr>\n");
    for threshold in &report.thresholds {
        let (class, word) = if threshold.met { ("", "met") } else { (" class=\"bad\"", "missed") };
        let actual = threshold.actual.map_or("nothing".into(), |actual| format!("{actual:.2}"));
        let _ = writeln!(
            out,
            "<tr{class}><td>{}<td>{}<td>{actual}<td>{word}</tr>",
            threshold.name, threshold.limit
        );
    }
    out.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
