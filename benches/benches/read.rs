//! Reading: a SUBSCRIBE, a NOTIFY with body and its 200 from captured traffic, and AMI.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lampfield_wire::ami::AmiReader;
use lampfield_wire::{Framing, Message, response_key};

macro_rules! capture {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../engine/wire/tests/captures/asterisk-", $name, ".sip")),
        )
    };
}

fn sip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    let messages: [(&str, &[u8]); 3] = {
        let (subscribe, a) = capture!("subscribe-initial");
        let (answer, b) = capture!("notify-200");
        let (notify, c) = capture!("notify-pidf-inuse");
        [(subscribe, a), (answer, b), (notify, c)]
    };
    for (name, bytes) in messages {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                Message::scan(black_box(bytes), Framing::Datagram).expect("legal SIP").len()
            });
        });
    }
    let (name, answer) = messages[1];
    group.bench_function(format!("{name}-fast-path"), |bencher| {
        bencher.iter(|| response_key(black_box(answer)).expect("a response").status);
    });
    group.finish();
}

fn ami(criterion: &mut Criterion) {
    let action: &[u8] = b"Action: Setvar\r\nActionID: 4711\r\n\
        Variable: DEVICE_STATE(Custom:lamp1)\r\nValue: INUSE\r\n\r\n";
    let mut group = criterion.benchmark_group("ami");
    group.throughput(Throughput::Bytes(action.len() as u64));
    group.bench_function("setvar", |bencher| {
        let mut reader = AmiReader::for_server();
        bencher.iter(|| {
            let mut input = black_box(action);
            reader.read(&mut input).expect("a whole action").expect("legal").action().is_some()
        });
    });
    group.finish();
}

criterion_group!(benches, sip, ami);
criterion_main!(benches);
