//! Allocations on the hot paths, counted: none for a NOTIFY, for its answer, or for sending it
//! again; a few for what is rare.
//!
//! The only test of its program: another one beside it would be counted, too.

use lampfield_benches::meter::Meter;
use lampfield_benches::scenario::{SCENARIOS, Scenario, TEN_THOUSAND};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Steps until every buffer has its size.
const WARM_UP_STEPS: usize = 8;

/// Scenarios that may allocate: so often per unit, and so often beside that in a step. All others
/// may not at all.
const ALLOWED: &[(&str, u64, u64)] = &[
    ("ami/setvar", 5, 0),
    ("body/render-dialog-info", 1, 0),
    ("shard/change-unwatched", 1, 0),
    ("admit/subscribe", 14, 60),
    ("admit/refresh", 2, 8),
    ("admit/list-subscribe-50", 472, 10),
    // A document is read into a tree.
    ("publish/modify", 55, 10),
    // The change itself and a piece of a queue, whatever the number of its watchers.
    ("fanout/phones-10-notify", 0, 3),
    ("fanout/phones-1000-notify", 0, 3),
    ("fanout/edge-1000-notify", 0, 3),
    ("fanout/phones-10000-notify", 0, 3),
    ("list/one-of-50-notify", 2, 5),
];

/// Allocations, and those that grew, so far.
fn allocations() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}

#[test]
fn hot_paths_do_not_allocate() {
    let mut broken = Vec::new();
    for Scenario { name, unit, make } in SCENARIOS.iter().chain(&TEN_THOUSAND) {
        let mut step = make();
        (0..WARM_UP_STEPS).for_each(|_| _ = step(&mut Meter::off()));
        let allowed = ALLOWED.iter().find(|(allowed, ..)| allowed == name);
        let (per_unit, per_step) = allowed.map_or((0, 0), |(_, unit, step)| (*unit, *step));
        for _ in 0..4 {
            let mut meter = Meter::new(allocations);
            let units = step(&mut meter) as u64;
            let count = meter.take();
            // `--nocapture` shows them.
            println!("{name}: {count} for {units} times {unit}");
            if count > per_unit * units + per_step {
                broken.push(format!("{name}: {count} for {units} times {unit}"));
            }
        }
    }
    assert!(broken.is_empty(), "more allocations than allowed: {broken:#?}");
    let is_known =
        |name: &str| SCENARIOS.iter().chain(&TEN_THOUSAND).any(|scenario| scenario.name == name);
    assert!(ALLOWED.iter().all(|(name, ..)| is_known(name)), "a name is misspelled");
}
