//! Bytes in: scanning hot messages, the short cut for answers, AMI actions.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lampfield_benches::{answer, subscribe};
use lampfield_wire::{AmiReader, Framing, HeaderName, Message, NameAddr, response_key};

const NOTIFY: &[u8] = b"NOTIFY sip:w@192.0.2.77 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK37c00000000472f9ae90000584a\r\n\
    From: <sip:1000@example.org>;tag=lf37c00000000472f9ae9\r\nTo: <sip:w@example.org>;tag=a\r\n\
    Call-ID: bench\r\nCSeq: 22602 NOTIFY\r\nEvent: dialog\r\nContent-Length: 0\r\n\r\n";

fn wire(criterion: &mut Criterion) {
    let (subscribe, ok) = (subscribe(1), answer(NOTIFY));
    criterion.bench_function("scan SUBSCRIBE", |bencher| {
        bencher.iter(|| Message::scan(black_box(&subscribe), Framing::Datagram).map(|m| m.len()));
    });
    criterion.bench_function("scan SUBSCRIBE, read From", |bencher| {
        bencher.iter(|| {
            let message = Message::scan(black_box(&subscribe), Framing::Datagram).ok()?;
            NameAddr::parse(message.header(HeaderName::From)?).ok()?.tag().map(<[u8]>::len)
        });
    });
    criterion.bench_function("scan 200 OK", |bencher| {
        bencher.iter(|| Message::scan(black_box(&ok), Framing::Datagram).map(|m| m.len()));
    });
    criterion.bench_function("code and branch of 200 OK", |bencher| {
        bencher.iter(|| response_key(black_box(&ok)).map(|key| key.status));
    });
    let action = b"Action: Setvar\r\nActionID: 7\r\nVariable: DEVICE_STATE(Custom:x)\r\nValue: INUSE\r\n\r\n";
    criterion.bench_function("AMI Setvar", |bencher| {
        bencher.iter(|| {
            let mut input = &black_box(action)[..];
            AmiReader::for_server().read(&mut input).map(|message| message.is_ok())
        });
    });
}

criterion_group!(benches, wire);
criterion_main!(benches);
