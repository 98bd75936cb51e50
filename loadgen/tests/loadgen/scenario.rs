//! `lampload run`: scenario files from end to end.

use std::path::PathBuf;

use crate::stage::{Run, Target, assert_numbers, lampload, number};

/// A scenario file in a directory of its own, removed when dropped.
pub(crate) struct File {
    directory: PathBuf,
}

impl File {
    /// Ten extensions of two tenants; the rest of the file is `rest`.
    pub(crate) fn write(name: &str, rest: &str) -> File {
        let directory =
            std::env::temp_dir().join(format!("lampload-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let text = format!(
            "[target]\naddress = \"127.0.0.1:9\"\n[states]\nby = \"udp://127.0.0.1:9\"\n\
             [population]\nextensions = \"lamp{{0..9}}\"\ntenants = 2\n\
             [generator]\nmax_own_lateness = \"60s\"\n[sources]\nsockets = 4\n{rest}"
        );
        std::fs::write(directory.join("s.toml"), text).expect("written");
        File { directory }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("text").to_owned()
    }

    /// `lampload run` against `target`, with the JSON on standard output.
    pub(crate) fn run(&self, target: &Target, args: &[&str]) -> Run {
        let path = self.path("s.toml");
        let address = format!("target.address={}", target.address);
        let by = format!("states.by=udp://{}", target.address);
        let words = ["run", &path, "--json", "-", "--set", &address, "--set", &by];
        lampload(&[&words[..], args].concat())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn phases_follow_each_other_and_each_has_its_latency() {
    let target = Target::start(&[]);
    let rest = r#"
        [watchers]
        single = 40
        [[phase]]
        kind = "ramp"
        window = 7
        [[phase]]
        kind = "steady"
        name = "calls"
        duration = "1s"
        calls = { per_extension_per_hour = 7200, ring = "50ms", hold = "100ms", answered = 0.5 }
        settle = "1s"
        [[phase]]
        kind = "storm"
        of = "changes"
        rate = "100/s"
        settle = "1s"
        [[phase]]
        kind = "storm"
        name = "refreshes"
        of = "refreshes"
        window = 5
        settle = "1s"
        [[phase]]
        kind = "drain"
        settle = "1s"
    "#;
    let file = File::write("phases", rest);
    let run = file.run(&target, &[]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let report = run.json();
    let phases = report["phases"].as_array().expect("a list");
    let names: Vec<&str> = phases.iter().filter_map(|phase| phase["name"].as_str()).collect();
    let want = ["prime", "subscribe", "calls", "settle", "storm", "settle", "refreshes", "settle"];
    assert_eq!(names, [&want[..], &["unsubscribe"]].concat());
    assert_eq!(phases[4]["latency"]["count"], 40, "each of ten extensions once: {report:#}");
    assert!(phases[2]["latency"]["count"].as_u64() > Some(40), "{report:#}");
    assert!(phases[6]["latency"].is_null(), "{report:#}");
    let wants = [
        ("/lamps/right_count", 40),
        ("/lamps/wrong_lamps_count", 0),
        ("/subscribe/refreshed_count", 40),
        ("/subscribe/unsubscribed_count", 40),
        ("/notify/refresh_count", 40),
        ("/notify/duplicate_count", 0),
    ];
    assert_numbers(&report, &wants);
}

#[test]
fn watchers_behave_as_their_share_says_and_the_dead_are_not_judged() {
    let target = Target::start(&[]);
    let rest = r#"
        [watchers]
        single = 200
        [[behaviour]]
        name = "slow"
        share = 0.2
        delay = "30ms"
        [[behaviour]]
        name = "dead"
        share = 0.1
        dead = true
        [[behaviour]]
        name = "doubled"
        share = 0.2
        duplicate = 1.0
        [[phase]]
        kind = "ramp"
        behave = false
        [[phase]]
        kind = "steady"
        name = "clean"
        duration = "500ms"
        rate = "20/s"
        behave = false
        settle = "1s"
        [[phase]]
        kind = "steady"
        name = "faulty"
        duration = "500ms"
        rate = "20/s"
        settle = "1s"
        [[phase]]
        kind = "drain"
        settle = "1s"
        [thresholds]
        p99_growth = 100000.0
    "#;
    let file = File::write("behaviours", rest);
    let run = file.run(&target, &[]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let report = run.json();
    let dead = number(&report, "/notify/dead_watchers_count");
    assert!((18..=22).contains(&dead), "{dead} of 200");
    let doubled = number(&report, "/behaviours/3/lamps/right_count");
    let wants = [
        ("/lamps/right_count", 200 - dead),
        ("/notify/dead_notify_count", dead),
        ("/notify/dead_told_count", dead),
        ("/notify/delivered_count", 200 + 200 - dead),
        ("/behaviours/2/lamps/judged_count", 0),
        ("/behaviours/3/latency/0/times/count", doubled),
        ("/behaviours/3/latency/1/times/count", doubled),
    ];
    assert_numbers(&report, &wants);
    // Each of the doubled ones answers one NOTIFY for each change, and one for its end.
    assert!(report["notify"]["answer_duplicated_count"].as_u64() >= Some(doubled), "{report:#}");
    let growth = &report["thresholds"][0];
    assert_eq!(growth["name"], "max-p99-growth");
    assert!(growth["actual"].as_f64() > Some(0.0), "{growth}");
}

#[test]
fn a_restart_keeps_the_watchers_and_changes_go_on() {
    let target = Target::start(&[]);
    let rest = r#"
        [watchers]
        single = 20
        [[phase]]
        kind = "ramp"
        [[phase]]
        kind = "restart"
        command = "true"
        prime = true
        [[phase]]
        kind = "steady"
        duration = "500ms"
        rate = "20/s"
        settle = "1s"
        [[phase]]
        kind = "drain"
        settle = "1s"
    "#;
    let file = File::write("restart", rest);
    let run = file.run(&target, &[]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let wants = [("/lamps/right_count", 20), ("/subscribe/ended_by_target_count", 0)];
    assert_numbers(&run.json(), &wants);
    let failed = file.run(&target, &["--set", "phase.1.command=exit 3"]);
    assert_eq!(failed.code, 4, "{}", failed.stderr);
    assert!(failed.stderr.contains("restart: exit 3: exit status: 3"), "{}", failed.stderr);
}

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    let target = Target::start(&[]);
    let file = File::write("wrong", "[watchers]\nsingle = 20\n[[phase]]\nkind = \"x\"\n");
    let run = file.run(&target, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("s.toml:15: unknown variant `x`"), "{}", run.stderr);
    let run = lampload(&["run", "/nowhere/s.toml"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}
