//! The simulator as a test: a smoke of seeds, named worlds, determinism, and planted bugs.

use std::time::Duration;

use lampfield_sim::{Plan, Sabotage, play, run};

const SMOKE_SEED_COUNT: u64 = 300;

/// A world without any trouble.
fn quiet(seed: u64) -> Plan {
    Plan {
        phone_count: 6,
        network_is_bad: false,
        rudeness_percent: 0,
        is_attacked: false,
        has_lists: false,
        has_reloads: false,
        has_restarts: false,
        trouble: Duration::from_secs(40),
        move_every: Duration::from_millis(100),
        ..Plan::from_seed(seed)
    }
}

/// Plays a kind of world under several seeds; every one must keep its promises and do something.
fn story(seeds: std::ops::Range<u64>, change: impl Fn(Plan) -> Plan) {
    for seed in seeds {
        let plan = change(quiet(seed));
        let report = play(plan).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.packet_count > 50, "seed {seed}: {report:?}");
    }
}

#[test]
fn smoke() {
    for seed in 0..SMOKE_SEED_COUNT {
        run(seed).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn the_same_seed_twice_gives_the_same_bytes_and_another_seed_others() {
    let mut digests = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let first = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        digests.insert(first.digest);
        assert_eq!(run(seed), Ok(first), "seed {seed}");
    }
    assert_eq!(digests.len(), 20);
}

#[test]
fn one_shard_and_four_keep_the_same_promises_in_peace() {
    story(0..6, |plan| Plan { shard_count: 1, ..plan });
    story(0..6, |plan| Plan { shard_count: 4, ..plan });
}

#[test]
fn a_bad_network_costs_time_but_no_lamp() {
    story(10..25, |plan| Plan { network_is_bad: true, ..plan });
}

#[test]
fn rude_phones_hurt_only_themselves() {
    story(30..45, |plan| Plan { rudeness_percent: 60, ..plan });
}

#[test]
fn an_attacker_changes_nothing_and_gets_no_more_than_he_sent() {
    story(50..60, |plan| Plan { is_attacked: true, ..plan });
}

#[test]
fn reloads_end_what_is_gone_and_leave_the_rest() {
    story(60..75, |plan| Plan { has_reloads: true, ..plan });
}

#[test]
fn restarts_keep_dialogs_and_never_reuse_a_number() {
    story(80..95, |plan| Plan { has_restarts: true, ..plan });
}

#[test]
fn lists_tell_every_member_whatever_happens() {
    let lists = |plan: Plan| Plan { has_lists: true, ..plan };
    story(200..215, lists);
    story(215..235, |plan| Plan { network_is_bad: true, rudeness_percent: 30, ..lists(plan) });
    story(235..260, |plan| Plan { has_reloads: true, ..lists(plan) });
    story(260..275, |plan| Plan { has_restarts: true, ..lists(plan) });
    story(275..290, |plan| {
        let mut limits = plan.limits.clone();
        (limits.notify_bytes_max, limits.notify_per_turn_max) = (1500, 1);
        Plan { limits, network_is_bad: true, has_reloads: true, ..lists(plan) }
    });
}

#[test]
fn every_bound_at_one_still_tells_the_truth() {
    story(100..110, |plan| {
        let mut limits = plan.limits.clone();
        limits.notify_per_turn_max = 1;
        limits.hop_window_initial = 1;
        limits.hop_window_max = 1;
        Plan { limits, ..plan }
    });
}

/// Some world of a hundred must notice each bug, and say what it is.
fn caught(bugs: &[(Sabotage, &str)], change: impl Fn(Plan) -> Plan) {
    for (sabotage, symptom) in bugs {
        let bad = |seed| {
            let plan = Plan { network_is_bad: true, ..quiet(seed) };
            change(plan).sabotaged(*sabotage)
        };
        let mut first = None;
        let is_caught = (0..100).filter_map(|seed| play(bad(seed)).err()).any(|failure| {
            let is_it = failure.what.contains(symptom);
            first.get_or_insert(failure);
            is_it
        });
        assert!(is_caught, "{sabotage:?}: {first:?}");
    }
}

#[test]
fn planted_bugs_are_caught() {
    let bugs = [
        (Sabotage::DropConflation, "the truth is"),
        (Sabotage::ReuseCseq, "CSeq"),
        (Sabotage::ReuseVersion, "version"),
        (Sabotage::TwoInFlight, "is in flight"),
        (Sabotage::NotifyAfterEnd, "after the terminated one"),
        (Sabotage::ChangeRetransmission, "retransmission differs"),
        (Sabotage::SwallowAnswers, "was not answered"),
        (Sabotage::LieAboutIdle, "the truth is"),
        (Sabotage::LeakToStranger, "is nobody"),
    ];
    caught(&bugs, |plan| plan);
}

#[test]
fn planted_bugs_of_lists_are_caught() {
    let bugs = [
        (Sabotage::LoseRest, "the truth is"),
        (Sabotage::LatePart, "the truth is"),
        (Sabotage::LosePart, "the truth is"),
        (Sabotage::KeepParts, "are left"),
        (Sabotage::RepeatListVersion, "list version"),
        (Sabotage::RenameInstance, "is called"),
        (Sabotage::IgnoreBatches, "too early"),
        (Sabotage::IgnoreBounds, "bytes show"),
    ];
    caught(&bugs, |plan| {
        let mut limits = plan.limits.clone();
        let is_narrow = plan.seed % 2 == 0;
        limits.notify_bytes_max = if is_narrow { 1500 } else { 64_000 };
        limits.notify_bytes_whole = limits.notify_bytes_max;
        let has_restarts = plan.seed % 3 == 0;
        Plan { has_lists: true, shard_count: 3, has_restarts, limits, ..plan }
    });
}
