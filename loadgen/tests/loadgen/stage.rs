//! The stage of a story: a null-target of its own, and one run of `lampload fanout`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const LAMPLOAD: &str = env!("CARGO_BIN_EXE_lampload");

/// A running `lampload null-target`, ended when dropped.
pub(crate) struct Target {
    child: Child,
    pub(crate) address: String,
}

/// How a run ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Target {
    pub(crate) fn start(args: &[&str]) -> Target {
        let mut child = Command::new(LAMPLOAD)
            .args(["null-target", "--run-for", "120s"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("lampload runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("the address").to_owned();
        Target { child, address }
    }

    /// A small run: ten extensions, a hundred watchers, every extension changes once.
    pub(crate) fn fanout(&self, args: &[&str]) -> Run {
        let by = format!("udp://{}", self.address);
        self.fanout_by(&by, args)
    }

    pub(crate) fn fanout_by(&self, change_by: &str, args: &[&str]) -> Run {
        let mut words = vec!["--target", &self.address, "--change-by", change_by];
        for (option, value) in [
            ("--extensions", "lamp{0..9}"),
            ("--watchers", "100"),
            ("--sockets", "4"),
            ("--changes-rate", "20/s"),
            ("--duration", "500ms"),
            ("--warmup", "50ms"),
            ("--settle", "500ms"),
            // The machine may be busy with other tests; honesty has a test of its own.
            ("--max-own-lateness", "60s"),
        ] {
            if !args.contains(&option) {
                words.extend([option, value]);
            }
        }
        words.extend(args);
        fanout(&words)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `lampload fanout` with exactly these words.
pub(crate) fn fanout(words: &[&str]) -> Run {
    lampload(&[&["fanout"], words].concat())
}

/// `lampload` with exactly these words.
pub(crate) fn lampload(words: &[&str]) -> Run {
    let output = Command::new(LAMPLOAD).args(words).output().expect("lampload runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        code: output.status.code().expect("an exit code"),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

impl Run {
    /// The report of a run with `--json -`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

/// The number at a path such as `/lamps/right_count`.
pub(crate) fn number(report: &Value, path: &str) -> u64 {
    let value = report.pointer(path).unwrap_or_else(|| panic!("{path} is not there"));
    value.as_u64().unwrap_or_else(|| panic!("{path} is {value}"))
}

/// Checks several numbers at once.
pub(crate) fn assert_numbers(report: &Value, wants: &[(&str, u64)]) {
    for (path, want) in wants {
        assert_eq!(number(report, path), *want, "{path} in {report:#}");
    }
}
