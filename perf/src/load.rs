//! A run of the load generator, with readings of the server between its phases.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use crate::cases::{Case, Server};
use crate::lampfield::FIRST_EXTENSION;
use crate::process::{Started, pinned};
use crate::usage::{self, Usage};

/// What the generator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Load {
    /// NOTIFYs received and answered between the two readings.
    pub(crate) notify_count: u64,
    pub(crate) established_count: u64,
    pub(crate) wrong_lamps: u64,
    pub(crate) lost_count: u64,
    pub(crate) superseded_count: u64,
    pub(crate) retransmitted_count: u64,
    /// From the change to the NOTIFY; absent if the generator was the bottleneck.
    pub(crate) latency_ms_p50: Option<f64>,
    pub(crate) latency_ms_p99: Option<f64>,
    /// Why the generator says that it was the bottleneck.
    pub(crate) objections: Vec<String>,
}

/// The server at three moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readings {
    /// With all subscriptions in place.
    pub(crate) subscribed: Usage,
    /// When every lamp was right after the last change.
    pub(crate) settled: Usage,
}

/// How the generator reaches a server.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) id: u32,
    pub(crate) sip: SocketAddr,
    pub(crate) change_by: String,
    pub(crate) domain: Option<String>,
}

/// Runs `case` against `target` on core 1. `dir` is for its report.
pub(crate) fn run(
    binary: &Path,
    dir: &Path,
    case: &Case,
    target: &Target,
) -> anyhow::Result<(Load, Readings)> {
    let report = dir.join("report.json");
    let mut command = pinned("1", binary);
    command.arg("fanout").args(arguments(case, target)).arg("--json").arg(&report);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut generator = Started::start("lampload", &mut command)?;
    let stderr = generator.child().stderr.take().context("standard error is a pipe")?;
    let (mut subscribed, mut settled, mut said) = (None, None, Vec::new());
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        // One line tells the end of each phase.
        match line.split_ascii_whitespace().next() {
            Some("warm-up") => subscribed = Some(usage::read(target.id)?),
            Some("settle") => settled = Some(usage::read(target.id)?),
            _ => {}
        }
        said.push(line);
    }
    let status = generator.child().wait()?;
    let text = std::fs::read_to_string(&report)
        .with_context(|| format!("lampload ended with {status}: {}", said.join("; ")))?;
    let load = read_report(&serde_json::from_str(&text)?)?;
    let (subscribed, settled) =
        subscribed.zip(settled).context("the generator did not tell its phases")?;
    Ok((load, Readings { subscribed, settled }))
}

fn arguments(case: &Case, target: &Target) -> Vec<String> {
    let last = FIRST_EXTENSION + case.extensions - 1;
    let mut arguments: Vec<String> = [
        ("--target", target.sip.to_string()),
        ("--change-by", target.change_by.clone()),
        ("--extensions", format!("{{{FIRST_EXTENSION}..{last}}}")),
        ("--device-template", "Custom:lamp{exten}".to_owned()),
        ("--watchers", case.watchers.to_string()),
        ("--sockets", case.sockets.to_string()),
        ("--source-base", "127.0.0.0/8".to_owned()),
        ("--subscribe-rate", format!("{}/s", case.subscribe_per_s)),
        ("--changes-rate", format!("{}/s", case.changes_per_s)),
        ("--duration", format!("{}s", case.seconds)),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .collect();
    if let Some(domain) = &target.domain {
        arguments.extend(["--domain".to_owned(), domain.clone()]);
    }
    if case.server == Server::Kamailio {
        // Its fan-out may outlast a minute; ending the subscriptions is quadratic, too.
        arguments.extend(["--settle", "120s", "--no-unsubscribe"].map(str::to_owned));
    }
    arguments
}

fn read_report(report: &Value) -> anyhow::Result<Load> {
    let number = |pointer: &str| {
        let value = report.pointer(pointer).and_then(Value::as_u64);
        value.with_context(|| format!("the generator's report has no {pointer}"))
    };
    let phases = report["phases"].as_array().context("the generator's report has no phases")?;
    let in_phase = |name: &str| {
        let phase = phases.iter().find(|phase| phase["name"] == name);
        phase.and_then(|phase| phase["notify_count"].as_u64()).unwrap_or(0)
    };
    let objections = report.pointer("/generator/objections").and_then(Value::as_array);
    let latency = |name: &str| report.pointer(name).and_then(Value::as_f64);
    Ok(Load {
        notify_count: in_phase("changes") + in_phase("settle"),
        established_count: number("/subscribe/established_count")?,
        wrong_lamps: number("/lamps/wrong_lamps_count")?,
        lost_count: number("/notify/lost_count")?,
        superseded_count: number("/notify/superseded_count")?,
        retransmitted_count: number("/notify/retransmitted_count")?,
        latency_ms_p50: latency("/latency/from_intended/p50_ms"),
        latency_ms_p99: latency("/latency/from_intended/p99_ms"),
        objections: objections
            .into_iter()
            .flatten()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read_and_what_is_missing_is_named() {
        let mut report = json!({
            "phases": [
                {"name": "subscribe", "notify_count": 7},
                {"name": "changes", "notify_count": 40},
                {"name": "settle", "notify_count": 2},
            ],
            "subscribe": {"established_count": 7},
            "lamps": {"wrong_lamps_count": 0},
            "notify": {"lost_count": 0, "superseded_count": 1, "retransmitted_count": 0},
            "latency": null,
            "generator": {"objections": ["late"]},
        });
        let load = read_report(&report).expect("complete");
        assert_eq!((load.notify_count, load.established_count), (42, 7));
        assert_eq!((load.latency_ms_p99, load.objections.len()), (None, 1));
        report["latency"] = json!({"from_intended": {"p50_ms": 1.5, "p99_ms": 3.0}});
        let load = read_report(&report).expect("complete");
        assert_eq!(load.latency_ms_p50.zip(load.latency_ms_p99), Some((1.5, 3.0)));
        report["lamps"] = json!({});
        let error = read_report(&report).expect_err("no lamps");
        assert!(error.to_string().contains("/lamps/wrong_lamps_count"), "{error}");
    }
}
