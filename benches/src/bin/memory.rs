//! Bytes per subscription and per list edge: one shard, no sockets, everything counted.
//!
//! `memory` runs all scenarios, each in a process of its own; `memory SCENARIO COUNT` one of them.
#![forbid(unsafe_code)]

use std::time::Duration;

use lampfield_benches::crowd::{Crowd, Paths, Plan};
use lampfield_benches::meter::Meter;
use lampfield_benches::publishers::Publishers;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Scenario, watchers, and members of each watcher's list.
const SCENARIOS: [(&str, usize, usize); 13] = [
    ("edge", 100_000, 0),
    ("phones-of-10", 100_000, 0),
    ("distinct", 100_000, 0),
    ("edge", 1_000_000, 0),
    ("phones-of-10", 1_000_000, 0),
    ("distinct", 1_000_000, 0),
    ("in-order", 100_000, 0),
    ("in-order", 1_000_000, 0),
    ("list", 20_000, 10),
    ("list", 20_000, 50),
    ("list", 20_000, 200),
    ("own-list", 20_000, 50),
    (PUBLICATIONS, 1_000_000, 0),
];

/// Memory in use.
#[derive(Clone, Copy)]
struct Used {
    allocated: usize,
    resident: usize,
}

fn used() -> Used {
    let stats = ALLOCATOR.stats();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    Used {
        allocated: stats.bytes_allocated.saturating_sub(stats.bytes_deallocated),
        resident: pages.unwrap_or(0) * 4096,
    }
}

/// Bytes for each of `count`, allocated and resident.
fn told(before: Used, after: Used, count: usize) -> String {
    let each = |before: usize, after: usize| (after as f64 - before as f64) / count as f64;
    format!(
        "{:8.1} {:8.1}",
        each(before.allocated, after.allocated),
        each(before.resident, after.resident)
    )
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let numbers: Vec<usize> = arguments.iter().skip(2).filter_map(|n| n.parse().ok()).collect();
    match (&arguments[..], &numbers[..]) {
        ([program], _) => all(program),
        ([_, scenario, ..], [count]) => run(scenario, *count, 0),
        ([_, scenario, ..], [count, members]) => run(scenario, *count, *members),
        _ => eprintln!("usage: memory [SCENARIO COUNT [MEMBERS]]"),
    }
}

fn all(program: &str) {
    println!("bytes for each subscription: allocated and resident");
    println!("                                 first 32 s         settled            left");
    for (scenario, count, members) in SCENARIOS {
        let arguments = [scenario.to_owned(), count.to_string(), members.to_string()];
        let status = std::process::Command::new(program).args(arguments).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("{scenario} {count} failed");
        }
    }
}

/// The scenario without watchers: distinct extensions, each published.
const PUBLICATIONS: &str = "publications";

fn publications(count: usize) {
    let (mut publishers, mut meter) = (Publishers::new(count), Meter::clock());
    publishers.publish(0, 1, &mut Meter::off());
    let before = used();
    publishers.publish(1, count, &mut meter);
    let (publish_ns, fresh) = (meter.take(), used());
    publishers.pass(Duration::from_secs(33));
    lampfield_net::sys::give_memory_back();
    let settled = used();
    publishers.publish(1, count, &mut meter);
    println!(
        "{PUBLICATIONS:>12} {count:>8}       {}  {}   {:.2} us/PUBLISH, changed {:.2}",
        told(before, fresh, count),
        told(before, settled, count),
        publish_ns as f64 / 1e3 / count as f64,
        meter.take() as f64 / 1e3 / count as f64,
    );
    assert_eq!(publishers.count(), count as u64);
}

fn run(scenario: &str, count: usize, member_count: usize) {
    if scenario == PUBLICATIONS {
        return publications(count);
    }
    let is_list = member_count > 0;
    let paths = match scenario {
        "phones-of-10" => Paths::Phones(10),
        "distinct" | "in-order" => Paths::Phones(1),
        _ => Paths::Edge,
    };
    let list_count = match scenario {
        "own-list" => count,
        _ => count.min(1000) * usize::from(is_list),
    };
    // Watchers of one extension lie side by side, those of a thousand far apart.
    let row = if scenario == "in-order" { count / 1000 } else { 1 };
    let plan =
        Plan { extension_count: 1000, row, member_count, list_count, paths, ..Plan::default() };
    let (mut crowd, mut meter) = (Crowd::new(plan), Meter::clock());
    // Extensions, their documents and their parts are there before.
    let first = if is_list { list_count.min(1000) } else { plan.extension_count };
    crowd.subscribe(0, first, &mut Meter::off());
    crowd.expect(first + count);
    settle(&mut crowd);
    let before = used();
    crowd.subscribe(first, first + count, &mut meter);
    let (subscribe_ns, fresh) = (meter.take(), used());
    settle(&mut crowd);
    let settled = used();
    let (mut change_ns, mut answers_ns, mut notify_count) = (0, 0, 0);
    for extension in 0..if is_list { 10 } else { 100 } {
        notify_count += crowd.change(extension, &mut meter);
        change_ns += meter.take();
        crowd.answer(&mut meter);
        answers_ns += meter.take();
    }
    let live = crowd.stats();
    crowd.unsubscribe(first, first + count, &mut Meter::off());
    settle(&mut crowd);
    let left = used();
    println!(
        "{scenario:>12} {count:>8} x{member_count:<4} {}  {}  {}   {:.2} us/subscribe, \
         {:.0} + {:.0} ns/notify",
        told(before, fresh, count),
        told(before, settled, count),
        told(before, left, count),
        subscribe_ns as f64 / 1e3 / count as f64,
        change_ns as f64 / notify_count.max(1) as f64,
        answers_ns as f64 / notify_count.max(1) as f64,
    );
    assert_eq!(live.subscription_count, (first + count) as u64);
}

/// Answered requests are forgotten, and memory is given back, as the node does.
fn settle(crowd: &mut Crowd) {
    crowd.pass(Duration::from_secs(33), &mut Meter::off());
    crowd.answer(&mut Meter::off());
    lampfield_net::sys::give_memory_back();
}
