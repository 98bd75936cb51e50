//! What a change costs a shard: patching a body, and telling 10, 1,000 and 100,000 watchers,
//! answers included. The sockets are not in it.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lampfield_benches::Watched;
use lampfield_core::body::{Body, Format, Shown, View};
use lampfield_core::config::Dialect;
use lampfield_core::state::{ExtensionState, Presence};

fn patch(criterion: &mut Criterion) {
    let presence = Presence::default();
    for format in [Format::Pidf, Format::DialogInfo] {
        let view = View {
            format,
            dialect: Dialect::Rfc,
            digium: false,
            early_inuse_ringing: false,
            exten: "1000",
            entity: "sip:1000@example.org",
        };
        let shown = |state| Shown { state, presence: &presence };
        let mut body = Body::render(&view, &shown(ExtensionState::Idle));
        let mut states = [ExtensionState::Ringing, ExtensionState::Idle].into_iter().cycle();
        criterion.bench_function(&format!("patch {format:?}"), |bencher| {
            bencher.iter(|| {
                let state = states.next().unwrap_or_default();
                body.update(black_box(&view), &shown(state)).changed()
            });
        });
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change and answers");
    group.sample_size(10);
    // Run as a test, the largest is left out: building it takes longer than all the rest.
    let is_test = std::env::args().any(|argument| argument == "--test");
    let counts = if is_test { &[10, 1_000][..] } else { &[10, 1_000, 100_000] };
    for &watcher_count in counts {
        let mut watched = Watched::new(watcher_count);
        group.throughput(Throughput::Elements(u64::from(watcher_count)));
        let id = BenchmarkId::from_parameter(watcher_count);
        group.bench_function(id, |bencher| bencher.iter(|| watched.change()));
    }
    group.finish();
}

criterion_group!(benches, patch, fan_out);
criterion_main!(benches);
