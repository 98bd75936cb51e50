//! What is bounded, and what somebody hears who reaches a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use lampfield_core::Input;
use lampfield_core::command::Command;
use lampfield_core::config::{Config, Dialect};
use lampfield_core::limits::Limits;
use lampfield_core::placement::ShardId;
use lampfield_core::record::Record;
use lampfield_core::state::DeviceState;
use lampfield_wire::HeaderName;

use super::world::{Phone, T, World, config};

fn limited(limits: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config(Dialect::Rfc);
    limits(&mut config.limits);
    config
}

/// One dialog of many behind the address of phone 9.
fn dialog(number: usize) -> Phone {
    Phone { call_id: format!("dialog-{number}"), ..Phone::new(9, "lamp1") }
}

#[test]
fn an_address_has_so_many_subscriptions_and_a_place_for_each_that_leaves() {
    let two = || limited(|limits| limits.subscription_per_source_max = 2);
    let mut world = World::with(1, two(), 0);
    let mut dialogs: Vec<Phone> = (0..3).map(dialog).collect();
    let status = |world: &mut World, phone: &mut Phone, expires_s| {
        phone.subscribe(world, Some(expires_s)).0.status()
    };
    assert_eq!(status(&mut world, &mut dialogs[0], 600), 200);
    assert_eq!(status(&mut world, &mut dialogs[1], 60), 200);
    let (refused, _) = dialogs[2].subscribe(&mut world, Some(600));
    assert_eq!(refused.status(), 503);
    assert!(!refused.header(HeaderName::RetryAfter).is_empty());
    assert!(String::from_utf8_lossy(&refused.0).contains("subscriptions of one address"));
    assert_eq!(world.stats(|s| s.counters.request_shed_per_source), 1);
    assert_eq!(status(&mut world, &mut dialogs[0], 600), 200, "a refresh takes no place");
    assert_eq!(status(&mut world, &mut Phone::new(8, "lamp1"), 600), 200, "another address");

    // A place is free after an end, after a fetch, and after an expiry.
    assert_eq!(status(&mut world, &mut dialogs[0], 0), 200);
    assert_eq!(status(&mut world, &mut dialog(3), 0), 200);
    assert_eq!(status(&mut world, &mut dialogs[2], 600), 200);
    assert_eq!(status(&mut world, &mut dialog(4), 600), 503);
    world.pass(Duration::from_secs(61));
    dialogs[1].listen(&mut world);
    assert_eq!(status(&mut world, &mut dialog(5), 600), 200);

    // Those who come back after a restart count.
    let mut store = BTreeMap::new();
    for Record { key, value } in world.records.drain(..) {
        store.insert(key, value);
    }
    let mut world = World::with(1, two(), 62_000);
    for (key, value) in store {
        world.command(&Command::Restore(Record { key, value }));
    }
    dialogs[2].listen(&mut world);
    assert_eq!(world.stats(|s| s.subscription_count), 3);
    assert_eq!(status(&mut world, &mut dialog(6), 600), 503);
    assert_eq!(status(&mut world, &mut dialogs[2], 0), 200);
    assert_eq!(status(&mut world, &mut dialog(7), 600), 200);
}

/// Takes what was sent, and counts the last NOTIFYs in it.
fn ends(world: &mut World, phone: &Phone) -> usize {
    let sent = world.take(phone.address);
    sent.iter().filter(|notify| notify.state() == "terminated;reason=timeout").count()
}

#[test]
fn a_mass_expiry_is_taken_in_steps_and_a_lamp_in_between_is_served_at_once() {
    let count = 1000;
    let bounds =
        limited(|limits| (limits.hop_window_initial, limits.hop_window_max) = (5000, 5000));
    let per_turn = bounds.limits.notify_per_turn_max;
    let mut world = World::with(1, bounds, 0);
    for number in 0..count {
        dialog(number).subscribe(&mut world, Some(60));
    }
    let mut lamp = Phone::new(8, "lamp2");
    lamp.subscribe(&mut world, Some(600));
    world.now = world.now + Duration::from_secs(61);
    let mut told = 0;
    for turn in 1.. {
        assert_eq!(world.is_due(), told < count, "due at once until the last one is told");
        if told == count {
            break;
        }
        world.input(ShardId(0), Input::Tick);
        let step = ends(&mut world, &dialog(0));
        assert!((1..=per_turn).contains(&step), "{step} in turn {turn}");
        told += step;
        if turn == 2 {
            let (device, state) = ("Custom:lamp2".into(), DeviceState::InUse);
            let change = Command::SetDevice { tenant: T, device, state };
            world.input(ShardId(0), Input::Command(change));
            assert_eq!(world.take(lamp.address).len(), 1, "before the others have ended");
        }
    }
    assert_eq!(world.stats(|s| s.counters.subscription_expired), count as u64);
}

#[test]
fn a_stranger_is_challenged_in_no_more_bytes_than_he_sent_or_not_at_all() {
    let mut dialect = config(Dialect::Rfc);
    dialect.dialect = Dialect::Asterisk;
    let mut world = World::with(1, dialect, 0);
    let address = ([10, 0, 0, 1], 5070).into();
    let head = "SUBSCRIBE sip:lamp1@192.0.2.1 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1;rport\r\n\
        From: <sip:w@192.0.2.1>;tag=1\r\nTo: <sip:lamp1@192.0.2.1>\r\nCall-ID: c1\r\n";
    // Bytes beyond the mandatory headers; how the answer is written.
    for (extra_bytes, want) in [(400, Some("WWW-Authenticate")), (110, Some("v:SIP")), (0, None)] {
        let extra = "x".repeat(extra_bytes);
        let request = format!("{head}CSeq: 1 SUBSCRIBE\r\nX: {extra}\r\n\r\n");
        world.datagram(address, request.as_bytes(), 0);
        let answers = world.take(address);
        assert_eq!(answers.len(), usize::from(want.is_some()), "{extra_bytes}");
        for answer in &answers {
            assert_eq!(answer.status(), 401);
            assert!(answer.0.len() <= request.len(), "{} of {}", answer.0.len(), request.len());
            let text = String::from_utf8_lossy(&answer.0);
            assert!(want.is_some_and(|want| text.contains(want)), "{text}");
            assert!(text.contains("nonce=\"") && text.contains("qop=\"auth\""), "{text}");
            assert_eq!(text.contains("algorithm=MD5"), extra_bytes == 400, "{text}");
        }
    }
    assert_eq!(world.stats(|s| s.counters.response_withheld), 1);
}

#[test]
fn a_request_that_does_not_scan_is_refused_where_it_says_enough() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    let whole = String::from_utf8(phone.request(Some(600))).expect("text");
    for (from, to, want) in [
        ("Event: presence", "Event presence", Some((400, "without a valid name"))),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\n", Some((400, "bare CR or LF"))),
        ("SIP/2.0\r\nVia", "SIP/7.0\r\nVia", Some((505, "version is not 2.0"))),
        ("Content-Length: 0", "Content-Length: 99", Some((400, "announced"))),
        ("Call-ID:", "Call ID:", None),
        ("SUBSCRIBE sip:lamp1@192.0.2.1:5060 SIP/2.0", "SIP/2.0 two hundred", None),
        ("SUBSCRIBE sip:lamp1@192.0.2.1:5060", "ACK  sip:lamp1@192.0.2.1:5060", None),
    ] {
        let broken = whole.replacen(from, to, 1);
        assert_ne!(broken, whole);
        let malformed = world.stats(|s| s.counters.message_malformed);
        world.datagram(phone.address, broken.as_bytes(), 0);
        let got = world.take(phone.address);
        let told: Vec<_> = got.iter().map(|m| (m.status(), m.0.len() <= broken.len())).collect();
        assert_eq!(told, want.map(|(status, _)| (status, true)).into_iter().collect::<Vec<_>>());
        for answer in &got {
            let (text, (_, why)) = (String::from_utf8_lossy(&answer.0), want.expect("an answer"));
            assert!(text.contains(why) && text.contains(&phone.call_id), "{text}");
        }
        let is_response = to.starts_with("SIP/2.0 ");
        let counted = world.stats(|s| s.counters.message_malformed) - malformed;
        assert_eq!(counted, u64::from(!is_response), "{to}");
    }
    assert_eq!(world.stats(|s| s.subscription_count), 0);
}
