//! Resource lists: right ones in all forms, and every way of getting them wrong.

use serde_json::Value;

use crate::scenario::File;
use crate::stage::{Run, Target, assert_numbers, number};

/// Ten lists of five members with two watchers each, and five plain watchers: 105 lamps. Every
/// extension changes once: each is in five lists, so there are 100 NOTIFYs of lists.
const LISTS: &str = r#"
    [lists]
    name = "blf-{exten}"
    watchers_each = 2
    [watchers]
    single = 5
    [[phase]]
    kind = "ramp"
    window = 3
    pause = "50ms"
    [[phase]]
    kind = "steady"
    duration = "500ms"
    rate = "20/s"
    settle = "500ms"
    [[phase]]
    kind = "drain"
"#;

/// A target that serves the lists of a file, and one run against it.
fn run(name: &str, text: &str, target: &[&str], args: &[&str]) -> (Run, Value) {
    let file = File::write(name, text);
    let path = file.path("s.toml");
    let target = Target::start(&[&["--scenario", &path], target].concat());
    let run = file.run(&target, args);
    let report = run.json();
    (run, report)
}

#[test]
fn lists_in_every_form_have_right_lamps() {
    let nested = LISTS.replace("watchers_each", "nested = 2\n    watchers_each");
    let in_request = LISTS.replace("\"blf-{exten}\"", "\"rls\"\n    in_request = true");
    let by_tenant = LISTS.replace("blf-{exten}", "office{tenant}");
    let by_tenant = by_tenant.replace("watchers_each = 2", "watchers_each = 10");
    let dialog = LISTS.replace("single = 5", "single = 5\n    event = \"dialog\"");
    for (name, text, fault) in [
        ("plain", LISTS, None),
        ("nested", &nested, None),
        ("in-request", &in_request, None),
        ("by-tenant", &by_tenant, None),
        ("dialog", &dialog, None),
        ("split", LISTS, Some("split:1")),
    ] {
        let fault: &[&str] = if let Some(fault) = &fault { &["--fault", fault] } else { &[] };
        let (run, report) = self::run(name, text, fault, &[]);
        assert_eq!(run.code, 0, "{name}: {}{}", run.stdout, run.stderr);
        let wants = [
            ("/scenario/edges_count", 105),
            ("/lamps/right_count", 105),
            ("/lamps/wrong_lamps_count", 0),
            ("/notify/needed_count", 105),
            ("/notify/delivered_count", 105),
            ("/notify/duplicate_count", 0),
            ("/lists/errors_count", 0),
            ("/lists/full_count", 20),
            ("/lists/instance_changed_count", 0),
            ("/subscribe/unsubscribed_count", 25),
        ];
        assert_numbers(&report, &wants);
        let whole = if name == "split" { 60 } else { 20 };
        assert_eq!(number(&report, "/lists/notify_count"), 100 + whole, "{name}");
        let inner = number(&report, "/lists/inner_lists_count");
        assert_eq!(inner, if name == "nested" { 60 + 100 } else { 0 }, "{name}");
    }
}

#[test]
fn each_fault_of_a_list_is_found_by_its_counter() {
    // Every tenth of the 105 NOTIFYs of changes goes wrong, or every tenth of the 20 whole lists.
    for (fault, wants, missed) in [
        ("skip:10", &[("/lamps/stale_count", 10), ("/notify/lost_count", 10)][..], "max-lost"),
        ("lie:10", &[("/lamps/wrong_count", 10), ("/notify/untrue_count", 10)], "max-untrue"),
        ("twice:10", &[("/notify/duplicate_count", 10)], "max-duplicate"),
        ("garbage:10", &[("/notify/unparsable_count", 10)], "max-unparsable"),
        ("lower-cseq:10", &[("/notify/out_of_order_count", 10)], "max-out-of-order"),
        ("version-back:7", &[("/lamps/right_count", 105)], "max-list-errors"),
        ("bad-cid:10", &[("/lamps/wrong_lamps_count", 9)], "max-list-errors"),
        ("stranger:10", &[("/lamps/right_count", 105)], "max-list-errors"),
        ("named-twice:10", &[("/lamps/right_count", 105)], "max-list-errors"),
        ("no-list:10", &[("/lamps/stale_count", 9)], "max-list-errors"),
        ("not-full:10", &[("/lists/first_not_full_count", 2)], "max-list-errors"),
    ] {
        let (run, report) = self::run(
            fault.trim_end_matches([':', '0', '1', '7']),
            LISTS,
            &["--fault", fault],
            &["--set", "thresholds.duplicate=0"],
        );
        assert_eq!(run.code, 1, "{fault}: {}{}", run.stdout, run.stderr);
        assert_numbers(&report, wants);
        let thresholds = report["thresholds"].as_array().expect("a list");
        let threshold = thresholds.iter().find(|threshold| threshold["name"] == missed);
        assert_eq!(threshold.expect(missed)["met"], false, "{fault}");
    }
}

#[test]
fn a_member_left_out_of_a_whole_list_is_missing_until_it_changes() {
    let args = ["--set", "phase.1.duration=10ms"];
    let (run, report) = self::run("drop", LISTS, &["--fault", "drop-member:10"], &args);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert_numbers(&report, &[("/lamps/missing_count", 2), ("/lamps/right_count", 103)]);
    let (run, report) = self::run("drop2", LISTS, &["--fault", "drop-member:10"], &[]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_numbers(&report, &[("/lamps/right_count", 105)]);
}

#[test]
fn a_skipped_version_makes_the_watcher_ask_again_and_the_answer_is_no_duplicate() {
    let (run, report) = self::run("gap", LISTS, &["--fault", "version-gap:21"], &[]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    let gaps = number(&report, "/lists/version_gap_count");
    assert!(gaps > 0, "{report:#}");
    let wants = [
        ("/lists/resubscribed_count", gaps),
        ("/lists/errors_count", gaps),
        ("/lists/full_count", 20 + gaps),
        ("/subscribe/refreshed_count", gaps),
        ("/notify/duplicate_count", 0),
        ("/lamps/right_count", 105),
    ];
    assert_numbers(&report, &wants);
}

#[test]
fn new_instance_ids_are_a_fact_and_no_error() {
    let (run, report) = self::run("instances", LISTS, &["--fault", "new-instance:1"], &[]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(number(&report, "/lists/instance_changed_count") >= 100, "{report:#}");
    assert_eq!(number(&report, "/lists/errors_count"), 0);
}

#[test]
fn a_server_without_lists_is_seen_through() {
    let file = File::write("none", LISTS);
    let target = Target::start(&[]);
    let run = file.run(&target, &[]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    let wants = [("/lists/not_a_list_count", 20), ("/lamps/missing_count", 100)];
    assert_numbers(&run.json(), &wants);
}

#[test]
fn several_threads_share_the_lists() {
    let args = ["--set", "generator.cores=3", "--set", "sources.address=127.9.0.0/16"];
    let (run, report) = self::run("threads", LISTS, &[], &args);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_numbers(&report, &[("/lamps/right_count", 105), ("/lists/full_count", 20)]);
}
