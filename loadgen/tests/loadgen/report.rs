//! What a run prints and writes.

use serde_json::Value;

use crate::schema::violations;
use crate::stage::Target;

const GOLDEN: &str = include_str!("summary.golden");

/// Everything that differs from run to run as `#`: numbers with a point, rates, percentages, and
/// all columns of the phase table.
fn masked(summary: &str, address: &str) -> String {
    let mut in_phases = false;
    let mut text = String::new();
    for line in summary.replace(address, "TARGET").lines() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        in_phases = words.first() == Some(&"phase") || in_phases && !words.is_empty();
        let head = usize::from(in_phases && words[0] != "phase");
        for (at, word) in words.iter_mut().enumerate() {
            let digit = word.starts_with(|c: char| c.is_ascii_digit());
            let varies = word.contains('.') || word.ends_with("/s") || line.contains('%');
            if digit && (varies || head > 0 && at >= head) {
                *word = "#";
            }
        }
        text.push_str(&words.join(" "));
        text.push('\n');
    }
    text
}

#[test]
fn the_summary_reads_as_it_should() {
    let target = Target::start(&[]);
    let run = target.fanout(&["--max-p99", "30s", "--second-reader-every", "10"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let got = masked(&run.stdout, &target.address);
    assert_eq!(got, GOLDEN, "the summary changed:\n{got}");
    // Not a terminal: one line per phase, nothing moving.
    let phases: Vec<&str> =
        run.stderr.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let want = ["prime", "subscribe", "warm-up", "changes", "settle", "unsubscribe"];
    assert_eq!(phases, want, "{}", run.stderr);
}

#[test]
fn json_and_hgrm_are_written_and_keep_to_the_schema() {
    let schema: Value =
        serde_json::from_str(include_str!("../../report.schema.json")).expect("the schema is JSON");
    let directory = std::env::temp_dir().join(format!("lampload-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let (json, hgrm) = (directory.join("r.json"), directory.join("r.hgrm"));
    let paths = [json.to_str().expect("text"), hgrm.to_str().expect("text")];
    let target = Target::start(&[]);
    let run = target.fanout(&["--json", paths[0], "--hgrm", paths[1]]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("wrong lamps: 0 of 100 "), "{}", run.stdout);
    let read = |path| std::fs::read_to_string(path).expect("written");
    let report: Value = serde_json::from_str(&read(&json)).expect("JSON");
    assert_eq!(violations(&schema, &report), Vec::<String>::new());
    assert!(read(&hgrm).contains("Total count    =          100]"));
    std::fs::remove_dir_all(&directory).expect("removed");

    // A run that claims nothing keeps to the schema too, and the check itself can fail.
    let silent = target.fanout(&["--max-own-lateness", "0s", "--json", "-"]).json();
    assert_eq!(violations(&schema, &silent), Vec::<String>::new());
    assert_eq!(silent["latency"], Value::Null);
    let mut broken = report;
    broken["lamps"]["right_count"] = Value::from(-1);
    broken["notify"]["invented"] = Value::from(1);
    broken["outcome"] = Value::from("splendid");
    broken["generator"].as_object_mut().expect("an object").remove("wait");
    assert_eq!(violations(&schema, &broken).len(), 4);
}
