//! Plots of the newest recorded run: `perf/plots/*.svg`, which the README shows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lampload::report::plot::{Axis, Chart, Line};
use serde_json::Value;

use crate::record;

/// Writes all of them.
pub(crate) fn write() -> anyhow::Result<PathBuf> {
    let path = record::path();
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let runs = newest(&text)?;
    let dir = path.with_file_name("plots");
    fs::create_dir_all(&dir)?;
    for (name, chart) in charts(&runs) {
        save(&dir, name, &chart)?;
    }
    Ok(dir)
}

fn save(dir: &Path, name: &str, chart: &Chart) -> anyhow::Result<()> {
    let path = dir.join(format!("{name}.svg"));
    fs::write(&path, chart.document()).with_context(|| path.display().to_string())
}

/// The newest fan-out of each case, of those recorded at the commit of the last one.
fn newest(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut runs: Vec<Value> = Vec::new();
    for line in text.lines() {
        let run: Value = serde_json::from_str(line)?;
        if run["kind"] == "fanout" {
            runs.retain(|older| older["case"] != run["case"]);
            runs.push(run);
        }
    }
    let last = runs.last().map(|run| run["commit"].clone());
    runs.retain(|run| Some(&run["commit"]) == last.as_ref());
    Ok(runs)
}

fn charts(runs: &[Value]) -> Vec<(&'static str, Chart)> {
    let ours = |peers: &'static str| move |run: &Value| is(run, "lampfield", peers);
    let theirs = |peers: &'static str| move |run: &Value| is(run, "kamailio", peers);
    let bare = |run: &Value| {
        let part = |name: &str| run["raw"][name].as_f64();
        Some(part("send_us")? + part("receive_us")?)
    };
    let cpu = |run: &Value| run["cpu_us_per_notify"].as_f64();
    let last = |run: &Value| run["load"]["latency_ms"]["max"].as_f64();
    let bytes = |run: &Value| run["bytes_per_subscription"].as_f64();
    let us = |title, peers| {
        let mut lines = vec![
            line("sendto + recvfrom", runs, ours(peers), bare),
            line("Lampfield", runs, ours(peers), cpu),
            line("Kamailio", runs, theirs(peers), cpu),
        ];
        if peers == "edge" {
            lines.push(line("Lampfield, trains", runs, ours("train"), cpu));
        }
        chart(title, "us of CPU per NOTIFY", lines)
    };
    let both = |title, unit, figure: &dyn Fn(&Value) -> Option<f64>| {
        let lines = vec![
            line("Lampfield", runs, ours("phones"), figure),
            line("Kamailio", runs, theirs("phones"), figure),
        ];
        chart(title, unit, lines)
    };
    vec![
        ("cpu-phones", us("CPU per NOTIFY, each phone an address of its own", "phones")),
        ("cpu-edge", us("CPU per NOTIFY, all behind one edge proxy", "edge")),
        ("last-watcher", both("From a change until the last watcher knows", "ms", &last)),
        ("memory", both("Memory per subscription", "bytes", &bytes)),
    ]
}

/// Watchers along, and `y` up, both logarithmic.
fn chart(title: &'static str, y: &'static str, mut lines: Vec<Line>) -> Chart {
    lines.retain(|line| !line.points.is_empty());
    Chart { title, x: Axis::log("watchers of one extension"), y: Axis::log(y), lines }
}

fn line(
    label: &'static str,
    runs: &[Value],
    belongs: impl Fn(&Value) -> bool,
    figure: impl Fn(&Value) -> Option<f64>,
) -> Line {
    let point = |run: &Value| Some((run["case"]["watchers"].as_f64()?, figure(run)?));
    let mut points: Vec<(f64, f64)> =
        runs.iter().filter(|run| belongs(run)).filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Line { label, points }
}

/// Whether a run is of this server, on one shard, with one extension, and of these peers.
fn is(run: &Value, server: &str, peers: &str) -> bool {
    let case = &run["case"];
    let of_server = match server {
        "lampfield" => case["server"]["lampfield"]["shards"] == 1,
        server => case["server"] == server,
    };
    of_server && case["extensions"] == 1 && case["peers"] == peers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(commit: &str, server: Value, watchers: u64, us: f64) -> String {
        json!({
            "commit": commit, "kind": "fanout", "cpu_us_per_notify": us,
            "raw": {"send_us": 2.0, "receive_us": 1.0},
            "case": {"server": server, "peers": "phones", "watchers": watchers, "extensions": 1},
        })
        .to_string()
    }

    #[test]
    fn lines_are_of_the_newest_runs_in_order() {
        let ours = json!({"lampfield": {"shards": 1}});
        let text = [
            run("a", ours.clone(), 10_000, 99.0),
            run("b", ours.clone(), 100, 99.0),
            run("b", ours.clone(), 1_000, 5.0),
            run("b", ours, 100, 6.0),
            run("b", json!("kamailio"), 100, 20.0),
            json!({"commit": "c", "kind": "lists"}).to_string(),
        ]
        .join("\n");
        let runs = newest(&text).expect("JSON");
        let (name, chart) = &charts(&runs)[0];
        assert_eq!(*name, "cpu-phones");
        let of = |at: usize| (chart.lines[at].label, chart.lines[at].points.clone());
        assert_eq!(of(0), ("sendto + recvfrom", vec![(100.0, 3.0), (1_000.0, 3.0)]));
        assert_eq!(of(1), ("Lampfield", vec![(100.0, 6.0), (1_000.0, 5.0)]));
        assert_eq!(of(2), ("Kamailio", vec![(100.0, 20.0)]));
    }
}
