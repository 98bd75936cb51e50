//! One JSON line per run: commit, machine, kernel, kind of run, scenario, figures.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Serialize;

use crate::kamailio;
use crate::limits::Limits;
use crate::lists::ListOutcome;
use crate::moments::Moment;
use crate::run::Outcome;

/// Everything a command has found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) limits: Option<Limits>,
    pub(crate) fanouts: Vec<Outcome>,
    pub(crate) lists: Vec<ListOutcome>,
    pub(crate) moments: Vec<Moment>,
}

/// One of them. Lines older than the kinds are fan-outs.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Finding<'a> {
    Limits(&'a Limits),
    Fanout(&'a Outcome),
    Lists(&'a ListOutcome),
    Moment(&'a Moment),
}

#[derive(Serialize)]
struct Line<'a> {
    unix_s: u64,
    commit: &'a str,
    cpu: &'a str,
    cores: usize,
    kernel: &'a str,
    kamailio: Option<&'a str>,
    #[serde(flatten)]
    finding: Finding<'a>,
}

impl Findings {
    fn each(&self) -> impl Iterator<Item = Finding<'_>> {
        let limits = self.limits.iter().map(Finding::Limits);
        limits
            .chain(self.fanouts.iter().map(Finding::Fanout))
            .chain(self.lists.iter().map(Finding::Lists))
            .chain(self.moments.iter().map(Finding::Moment))
    }
}

/// `perf/results.ndjson` of the repository this was built in.
pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results.ndjson")
}

/// Appends `findings`; all get the same time.
pub(crate) fn append(findings: &Findings) -> anyhow::Result<()> {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (commit, cpu) = (commit(), cpu());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version = kamailio::version();
    let mut text = String::new();
    for finding in findings.each() {
        let line = Line {
            unix_s,
            commit: &commit,
            cpu: &cpu,
            cores: lampfield_net::sys::core_count(),
            kernel: kernel.trim(),
            kamailio: version.as_deref(),
            finding,
        };
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    let path = path();
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// The commit, with `+` if tracked files differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let hash = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
    // What is recorded does not count as a difference.
    let but = [":!results.ndjson", ":!plots"];
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "..", but[0], but[1]]);
    let mark = if changed.is_ok_and(|changed| !changed.is_empty()) { "+" } else { "" };
    if hash.is_empty() { "unknown".to_owned() } else { format!("{hash}{mark}") }
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}
