//! Every kind of wrong behaviour is counted under its name, and decides the exit code.

use crate::stage::{Target, assert_numbers};

#[test]
fn a_right_target_has_right_lamps_in_every_format() {
    for (event, accept) in [
        ("presence", "application/pidf+xml"),
        ("presence", "application/xpidf+xml"),
        ("dialog", "application/dialog-info+xml"),
    ] {
        let target = Target::start(&[]);
        let run = target.fanout(&["--event", event, "--accept", accept, "--json", "-"]);
        assert_eq!(run.code, 0, "{accept}: {}{}", run.stdout, run.stderr);
        let wants = [
            ("/subscribe/established_count", 100),
            ("/subscribe/unsubscribed_count", 100),
            ("/changes/sent_count", 10),
            ("/notify/needed_count", 100),
            ("/notify/delivered_count", 100),
            ("/notify/answered_count", 300),
            ("/latency/from_intended/count", 100),
            ("/lamps/right_count", 100),
            ("/lamps/wrong_lamps_count", 0),
            ("/notify/duplicate_count", 0),
            ("/notify/out_of_order_count", 0),
        ];
        assert_numbers(&run.json(), &wants);
    }
}

#[test]
fn each_fault_is_found_by_its_counter_and_misses_its_threshold() {
    // Every tenth of the 100 NOTIFYs goes wrong.
    for (fault, wants, missed) in [
        ("skip:10", &[("/lamps/stale_count", 10), ("/notify/lost_count", 10)][..], "max-lost"),
        ("lie:10", &[("/lamps/wrong_count", 10), ("/notify/untrue_count", 10)], "max-untrue"),
        (
            "twice:10",
            &[("/notify/duplicate_count", 10), ("/lamps/right_count", 100)],
            "max-duplicate",
        ),
        ("reuse-cseq:10", &[("/notify/duplicate_count", 10)], "max-duplicate"),
        ("lower-cseq:10", &[("/notify/out_of_order_count", 10)], "max-out-of-order"),
        ("garbage:10", &[("/notify/unparsable_count", 10)], "max-unparsable"),
        (
            "terminate:10",
            &[("/subscribe/ended_by_target_count", 10), ("/lamps/missing_count", 10)],
            "max-failed",
        ),
    ] {
        let target = Target::start(&["--fault", fault]);
        let run = target.fanout(&["--json", "-", "--max-duplicate", "0"]);
        assert_eq!(run.code, 1, "{fault}: {}{}", run.stdout, run.stderr);
        let report = run.json();
        assert_numbers(&report, wants);
        let thresholds = report["thresholds"].as_array().expect("a list");
        let threshold = thresholds.iter().find(|threshold| threshold["name"] == missed);
        assert_eq!(threshold.expect(missed)["met"], false, "{fault}");
    }
}

#[test]
fn a_slow_target_is_charged_from_the_intended_time() {
    let target = Target::start(&["--delay", "60ms"]);
    let run = target.fanout(&["--max-p99", "40ms", "--json", "-"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    // 20 changes a second, 60 ms each: the queue grows by 10 ms a change.
    let p50_ms = run.json()["latency"]["from_intended"]["p50_ms"].as_f64().expect("a number");
    assert!(p50_ms > 80.0, "{p50_ms}");
}

#[test]
fn answers_follow_the_profile_and_refused_notifies_are_not_shown() {
    let target = Target::start(&[]);
    let run = target.fanout(&["--answer", "reject:503:1", "--json", "-"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    let wants = [
        ("/subscribe/established_count", 100),
        ("/notify/answer_refused_count", 300),
        ("/lamps/missing_count", 100),
    ];
    assert_numbers(&run.json(), &wants);
    let run = target.fanout(&["--answer", "lose:0.3,delay:5ms", "--json", "-"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let report = run.json();
    let count = |name: &str| report["notify"][name].as_u64().expect("a number");
    assert_eq!(count("answered_count") + count("answer_lost_count"), 300);
    assert!((40..150).contains(&count("answer_lost_count")));
}

#[test]
fn a_lost_subscribe_is_sent_again() {
    let target = Target::start(&["--ignore", "10"]);
    let run = target.fanout(&["--no-unsubscribe", "--json", "-"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    // Ten of the first hundred are lost, and one of the ten repetitions.
    let wants = [("/subscribe/established_count", 100), ("/subscribe/retransmitted_count", 11)];
    assert_numbers(&run.json(), &wants);
}

#[test]
fn subscriptions_are_refreshed_before_they_expire_and_that_is_no_duplicate() {
    let target = Target::start(&[]);
    let args = ["--expires", "10", "--duration", "12s", "--changes-rate", "1/s", "--json", "-"];
    let run = target.fanout(&args);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let wants = [("/subscribe/refreshed_count", 100), ("/notify/refresh_count", 100)];
    assert_numbers(&run.json(), &wants);
}
