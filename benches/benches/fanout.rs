//! Fan-out through one shard: a change to all watchers of an extension, and their answers.
//! Each watcher is a next hop of its own. Network and executor are not part of it.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lampfield_benches::Stage;

fn fanout(criterion: &mut Criterion) {
    for watcher_count in [10, 1000] {
        let mut stage = Stage::new(watcher_count);
        let mut group = criterion.benchmark_group(format!("{watcher_count}-watchers"));
        group.throughput(Throughput::Elements(watcher_count as u64));
        for (name, is_change) in [("change", true), ("answers", false)] {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|rounds| {
                    (0..rounds)
                        .map(|_| {
                            let (change, answers) = (stage.change(), stage.answer());
                            if is_change { change } else { answers }
                        })
                        .sum()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, fanout);
criterion_main!(benches);
