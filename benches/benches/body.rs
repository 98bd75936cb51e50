//! Bodies: rendering a document, patching it when the state changes, copying it for a watcher.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lampfield_core::body::{Body, Format, Shown, View};
use lampfield_core::config::Dialect;
use lampfield_core::state::{ExtensionState, Presence};

const WATCHER: &[u8] = b"sip:watcher@192.0.2.77:5060";

fn bodies(criterion: &mut Criterion) {
    let presence = Presence::default();
    let idle = Shown { state: ExtensionState::Idle, presence: &presence };
    let in_use = Shown { state: ExtensionState::InUse, presence: &presence };
    for (name, format) in
        [("pidf", Format::Pidf), ("xpidf", Format::Xpidf), ("dialog-info", Format::DialogInfo)]
    {
        let view = View {
            format,
            dialect: Dialect::Rfc,
            digium: false,
            early_inuse_ringing: false,
            exten: "1000",
            entity: "sip:1000@example.com",
        };
        let mut group = criterion.benchmark_group(name);
        group.bench_function("render", |bencher| {
            bencher.iter(|| Body::render(black_box(&view), black_box(&idle)));
        });
        group.bench_function("patch", |bencher| {
            let mut body = Body::render(&view, &idle);
            let mut shown = [in_use, idle].into_iter().cycle();
            bencher.iter(|| {
                let shown = shown.next().expect("a cycle");
                assert!(body.update(&view, black_box(&shown)).changed());
            });
        });
        group.bench_function("copy", |bencher| {
            let body = Body::render(&view, &idle);
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                body.write_for(black_box(7), WATCHER, &mut out);
                out.len()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bodies);
criterion_main!(benches);
