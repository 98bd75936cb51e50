//! Times of all scenarios, and what it costs to keep a latency.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lampfield_benches::meter::Meter;
use lampfield_benches::scenario::{LARGE, SCENARIOS, Scenario};
use lampfield_core::stats::latency_histogram;

fn scenarios(criterion: &mut Criterion) {
    for scenario in SCENARIOS {
        time(criterion, scenario);
    }
}

fn large(criterion: &mut Criterion) {
    time(criterion, &LARGE);
}

/// Times one scenario. What criterion calls an element is the scenario's unit.
fn time(criterion: &mut Criterion, scenario: &Scenario) {
    let (name, what) = scenario.name.split_once('/').expect("group/what");
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    let mut step = None;
    group.bench_function(what, |bencher| {
        let step = step.get_or_insert_with(scenario.make);
        bencher.iter_custom(|rounds| {
            let (mut meter, mut units) = (Meter::clock(), 0);
            // A step does many units; it is done at least once.
            while units < rounds as usize {
                units += step(&mut meter);
            }
            Duration::from_nanos(meter.take()).mul_f64(rounds as f64 / units as f64)
        });
    });
    group.finish();
}

/// Keeping a latency: the histogram alone, and as a loop does it for a batch, with its clock.
fn latency(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("latency");
    let mut histogram = latency_histogram();
    let mut ns = 0_u64;
    group.bench_function("record", |bencher| {
        bencher.iter(|| {
            ns = ns.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            histogram.saturating_record(black_box(ns >> 40));
        });
    });
    for batch in [1, 64] {
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("batch-{batch}"), |bencher| {
            let mut last = Instant::now();
            bencher.iter(|| {
                let now = Instant::now();
                let ns = now.duration_since(last).as_nanos() as u64;
                histogram.saturating_record_n(black_box(ns), batch);
                last = now;
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = scenarios, latency
}
criterion_group! {
    name = large_benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500));
    targets = large
}
criterion_main!(benches, large_benches);
