//! A run of the load generator, with readings of the server between its phases.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use crate::process::{Started, pinned};
use crate::usage::{self, Usage};

/// How the generator reaches a server.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) id: u32,
    pub(crate) sip: SocketAddr,
    pub(crate) change_by: String,
    pub(crate) domain: Option<String>,
}

/// What a run told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    report: Value,
    /// The server at the end of each phase, in order.
    marks: Vec<(String, Usage)>,
}

/// Milliseconds from a change to the NOTIFY; absent if the generator was the bottleneck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// The last watcher of all.
    pub(crate) max: Option<f64>,
}

/// What every run is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Load {
    pub(crate) established_count: u64,
    /// Lamp changes that arrived.
    pub(crate) delivered_count: u64,
    pub(crate) wrong_lamps: u64,
    pub(crate) lost_count: u64,
    pub(crate) superseded_count: u64,
    pub(crate) retransmitted_count: u64,
    pub(crate) latency_ms: Latency,
    /// Why the generator says that it was the bottleneck.
    pub(crate) objections: Vec<String>,
}

/// A generator at work, on core 1.
#[derive(Debug)]
pub(crate) struct Generator {
    process: Started,
    report: PathBuf,
}

impl Generator {
    /// Starts `scenario`; `name` is for its files in `dir`.
    pub(crate) fn start(
        binary: &Path,
        dir: &Path,
        name: &str,
        scenario: &str,
    ) -> anyhow::Result<Self> {
        let file = dir.join(format!("{name}.toml"));
        fs::write(&file, scenario)?;
        let report = dir.join(format!("{name}.json"));
        let mut command = pinned("1", binary);
        command.arg("run").arg(file).arg("--json").arg(&report);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(Self { process: Started::start("lampload", &mut command)?, report })
    }

    /// Waits for its end. Process `server` is read, and `at` called, at the end of each phase.
    pub(crate) fn finish(
        mut self,
        server: u32,
        mut at: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Told> {
        let child = self.process.child();
        let stderr = child.stderr.take().context("standard error is a pipe")?;
        let (mut marks, mut said) = (Vec::new(), Vec::new());
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            // One line tells the end of each phase: its name, and seconds.
            let mut words = line.split_ascii_whitespace();
            if let (Some(name), Some(_), Some("s")) = (words.next(), words.next(), words.next()) {
                marks.push((name.to_owned(), usage::read(server)?));
                at(name)?;
            }
            said.push(line);
        }
        let status = self.process.child().wait()?;
        let text = fs::read_to_string(&self.report)
            .with_context(|| format!("lampload ended with {status}: {}", said.join("; ")))?;
        Ok(Told { report: serde_json::from_str(&text)?, marks })
    }
}

impl Told {
    /// The server when the first phase of this name ended.
    pub(crate) fn after(&self, phase: &str) -> anyhow::Result<Usage> {
        self.find(phase, |_| true)
    }

    /// The server when every lamp was right after phase `phase`.
    pub(crate) fn settled(&self, phase: &str) -> anyhow::Result<Usage> {
        self.find("settle", |before| before == Some(phase))
    }

    fn find(&self, phase: &str, follows: impl Fn(Option<&str>) -> bool) -> anyhow::Result<Usage> {
        let before = |at: usize| at.checked_sub(1).map(|at| self.marks[at].0.as_str());
        let mut marks = self.marks.iter().enumerate();
        let found = marks.find(|(at, mark)| mark.0 == phase && follows(before(*at)));
        Ok(found.with_context(|| format!("the generator did not tell of phase {phase}"))?.1.1)
    }

    /// NOTIFYs received and answered from the beginning of `phase` until all was quiet again.
    pub(crate) fn notify_count(&self, phase: &str) -> u64 {
        let phases = self.report["phases"].as_array().map_or(&[][..], Vec::as_slice);
        let from = phases.iter().position(|it| it["name"] == phase).unwrap_or(phases.len());
        let is_settle = |it: &&Value| it["name"] == "settle";
        let count = |it: &Value| it["notify_count"].as_u64().unwrap_or(0);
        let own = phases.get(from).map_or(0, count);
        own + phases.get(from + 1).filter(is_settle).map_or(0, count)
    }

    /// A number of the report.
    pub(crate) fn number(&self, pointer: &str) -> anyhow::Result<u64> {
        let value = self.report.pointer(pointer).and_then(Value::as_u64);
        value.with_context(|| format!("the generator's report has no {pointer}"))
    }

    /// Latencies by one of the two clocks: `from_intended` or `from_sent`.
    pub(crate) fn latency(&self, clock: &str) -> Latency {
        let of = |point| {
            let pointer = format!("/latency/{clock}/{point}_ms");
            self.report.pointer(&pointer).and_then(Value::as_f64)
        };
        Latency { p50: of("p50"), p99: of("p99"), max: of("max") }
    }

    /// What every run is asked for.
    pub(crate) fn load(&self) -> anyhow::Result<Load> {
        let objections = self.report.pointer("/generator/objections").and_then(Value::as_array);
        let texts = objections.into_iter().flatten().filter_map(Value::as_str);
        Ok(Load {
            established_count: self.number("/subscribe/established_count")?,
            delivered_count: self.number("/notify/delivered_count")?,
            wrong_lamps: self.number("/lamps/wrong_lamps_count")?,
            lost_count: self.number("/notify/lost_count")?,
            superseded_count: self.number("/notify/superseded_count")?,
            retransmitted_count: self.number("/notify/retransmitted_count")?,
            latency_ms: self.latency("from_intended"),
            objections: texts.map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn told() -> Told {
        let mark = |name: &str, ms| {
            (name.to_owned(), Usage { cpu: Duration::from_millis(ms), ..Usage::default() })
        };
        let report = json!({
            "phases": [
                {"name": "subscribe", "notify_count": 7},
                {"name": "refreshes", "notify_count": 7},
                {"name": "settle", "notify_count": 0},
                {"name": "changes", "notify_count": 40},
                {"name": "settle", "notify_count": 2},
            ],
            "subscribe": {"established_count": 7},
            "lamps": {"wrong_lamps_count": 0},
            "notify": {"delivered_count": 42, "lost_count": 0, "superseded_count": 1,
                       "retransmitted_count": 0},
            "latency": null,
            "generator": {"objections": ["late"]},
        });
        let names = ["subscribe", "refreshes", "settle", "changes", "settle"];
        Told { report, marks: names.into_iter().zip(1..).map(|(n, ms)| mark(n, ms)).collect() }
    }

    #[test]
    fn a_report_is_read_and_what_is_missing_is_named() {
        let mut told = told();
        let load = told.load().expect("complete");
        assert_eq!((load.delivered_count, load.established_count), (42, 7));
        assert_eq!((load.latency_ms.p99, load.objections.len()), (None, 1));
        told.report["latency"] =
            json!({"from_intended": {"p50_ms": 1.5, "p99_ms": 3.0, "max_ms": 4.0}});
        assert_eq!(told.load().expect("complete").latency_ms.max, Some(4.0));
        told.report["lamps"] = json!({});
        let error = told.load().expect_err("no lamps");
        assert!(error.to_string().contains("/lamps/wrong_lamps_count"), "{error}");
    }

    #[test]
    fn a_phase_ends_when_it_has_settled() {
        let told = told();
        assert_eq!((told.notify_count("changes"), told.notify_count("subscribe")), (42, 7));
        let ms = |usage: anyhow::Result<Usage>| usage.expect("told").cpu.as_millis();
        assert_eq!(ms(told.after("refreshes")), 2);
        assert_eq!((ms(told.settled("refreshes")), ms(told.settled("changes"))), (3, 5));
        assert!(told.settled("subscribe").is_err());
    }
}
