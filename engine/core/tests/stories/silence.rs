//! Phones that do not answer, answer late, or answer badly.

use std::time::Duration;

use lampfield_core::config::{Config, Dialect};
use lampfield_core::limits::Limits;
use lampfield_core::state::DeviceState;

use super::world::{Phone, World, config};

/// A world in which phone 9 watches lamp1 and has answered the first NOTIFY.
fn watched(dialect: Dialect) -> (World, Phone) {
    let mut world = World::new(2, dialect);
    let mut phone = Phone::new(9, "lamp1");
    phone.subscribe(&mut world, Some(3600));
    (world, phone)
}

#[test]
fn an_unanswered_notify_is_repeated_byte_for_byte_by_timer_e() {
    let (mut world, phone) = watched(Dialect::Rfc);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    let first = world.take(phone.address).remove(0);
    for wait_ms in [500, 1000, 2000, 4000, 4000, 4000, 4000, 4000, 4000, 4000] {
        world.pass(Duration::from_millis(wait_ms - 1));
        assert_eq!(world.take(phone.address), []);
        world.pass(Duration::from_millis(1));
        assert_eq!(world.take(phone.address), std::slice::from_ref(&first));
    }
    world.pass(Duration::from_secs(10));
    assert_eq!(world.take(phone.address), [], "silent until the probe");
}

#[test]
fn a_suspect_is_probed_with_the_newest_state_and_recovers() {
    let (mut world, mut phone) = watched(Dialect::Rfc);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    world.pass(Duration::from_secs(33));
    world.take(phone.address);
    assert_eq!(world.stats(|s| s.subscription_count), 1, "one lost answer does not kill");
    world.pass(Duration::from_secs(61));
    let probe = phone.listen(&mut world);
    assert!(!probe.is_empty() && probe.iter().all(|again| *again == probe[0]), "{probe:?}");
    assert!(probe[0].body().contains("On the phone"));
    world.pass(Duration::from_secs(300));
    assert_eq!(phone.listen(&mut world), [], "it answered: no more probes");
    world.set_device("Custom:lamp1", DeviceState::NotInUse);
    assert_eq!(phone.listen(&mut world).len(), 1);
}

#[test]
fn the_second_silence_in_a_row_ends_the_subscription() {
    let (mut world, mut phone) = watched(Dialect::Rfc);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    world.pass(Duration::from_secs(33));
    world.set_device("Custom:lamp1", DeviceState::NotInUse);
    world.pass(Duration::from_secs(33));
    assert_eq!(world.stats(|s| s.subscription_count), 0);
    assert_eq!(world.stats(|s| s.counters.subscription_timed_out), 1);
    world.take(phone.address);
    assert_eq!(phone.subscribe(&mut world, Some(600)).0.status(), 481, "so that it starts over");
}

#[test]
fn answers_are_taken_as_the_dialect_has_them() {
    // Status, extra header, what is left of the subscription in each dialect.
    for (status, extra, rfc, asterisk) in [
        ("481 Gone", "", 0, 0),
        ("404 Not Found", "", 0, 0),
        ("500 Server Error", "", 1, 0),
        ("503 Overload", "Retry-After: 20\r\n", 1, 1),
        ("401 Unauthorized", "", 1, 1),
        ("202 Accepted", "", 1, 1),
    ] {
        for (dialect, left) in [(Dialect::Rfc, rfc), (Dialect::Asterisk, asterisk)] {
            let (mut world, phone) = watched(dialect);
            world.set_device("Custom:lamp1", DeviceState::InUse);
            let notify = world.take(phone.address).remove(0);
            phone.answer(&mut world, &notify, "100 Trying", "");
            phone.answer(&mut world, &notify, status, extra);
            assert_eq!(world.stats(|s| s.subscription_count), left, "{status} {dialect:?}");
            assert_eq!(world.stats(|s| s.in_flight_count), 0);
        }
    }
}

#[test]
fn a_phone_that_asks_for_time_gets_it_and_then_the_state() {
    let (mut world, mut phone) = watched(Dialect::Rfc);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    let notify = world.take(phone.address).remove(0);
    phone.answer(&mut world, &notify, "503 Overload", "Retry-After: 20\r\n");
    world.set_device("Custom:lamp1", DeviceState::OnHold);
    world.pass(Duration::from_secs(19));
    assert_eq!(world.take(phone.address), []);
    world.pass(Duration::from_secs(2));
    let got = phone.listen(&mut world);
    assert_eq!(got.len(), 1);
    assert!(got[0].body().contains("On hold"), "the newest state");
}

#[test]
fn late_doubled_and_forged_answers_change_nothing() {
    let (mut world, mut phone) = watched(Dialect::Rfc);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    let notify = world.take(phone.address).remove(0);
    let strays = |world: &World| world.stats(|s| s.counters.response_stray);
    let mut forged = notify.clone();
    forged.0 = String::from_utf8(forged.0).expect("text").replace("z9hG4bK", "z9hG4bKf").into();
    phone.answer(&mut world, &forged, "481 Gone", "");
    assert_eq!((strays(&world), world.stats(|s| s.subscription_count)), (1, 1));
    phone.answer(&mut world, &notify, "200 OK", "");
    phone.answer(&mut world, &notify, "200 OK", "");
    phone.answer(&mut world, &notify, "481 Gone", "");
    assert_eq!((strays(&world), world.stats(|s| s.subscription_count)), (3, 1));
    world.set_device("Custom:lamp1", DeviceState::NotInUse);
    assert_eq!(phone.listen(&mut world).len(), 1);
}

#[test]
fn one_dead_watcher_delays_nobody_even_behind_the_same_edge() {
    let limits = Limits { hop_window_initial: 2, hop_window_max: 4, ..config(Dialect::Rfc).limits };
    let mut world = World::with(2, Config { limits, ..config(Dialect::Rfc) }, 0);
    let mut phones: Vec<Phone> =
        (0..20).map(|n| Phone::new(9, &format!("lamp{}", n % 2))).collect();
    for (n, phone) in phones.iter_mut().enumerate() {
        phone.call_id = format!("edge-{n}");
        phone.subscribe(&mut world, Some(600));
    }
    world.set_device("Custom:lamp0", DeviceState::InUse);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    // Dialogs 0 to 4 never answer; everybody else must know within a few T1.
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..40 {
        for notify in world.take(phones[0].address) {
            let call_id = notify.header(lampfield_wire::HeaderName::CallId);
            let number: usize = call_id["edge-".len()..].parse().expect("a number");
            if number >= 5 {
                phones[number].answer(&mut world, &notify, "200 OK", "");
                told.insert(number);
            }
        }
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(told.len(), 15, "told within four seconds: {told:?}");
}

#[test]
fn a_third_party_named_as_contact_is_sent_nothing_twice_before_it_answers() {
    let mut world = World::new(2, Dialect::Rfc);
    let (mut phone, third) = (Phone::new(9, "lamp1"), Phone::new(10, "lamp1"));
    phone.contact.clone_from(&third.contact);
    assert_eq!(phone.subscribe(&mut world, Some(3600)).0.status(), 200);
    let told = |world: &mut World| world.take(third.address).len();
    assert_eq!(told(&mut world), 1);
    // Neither again, nor of changes, nor to ask whether it lives more than once.
    for state in [DeviceState::InUse, DeviceState::NotInUse, DeviceState::Ringing] {
        world.set_device("Custom:lamp1", state);
        world.pass(Duration::from_secs(9));
        assert_eq!(told(&mut world), 0, "{state:?}");
    }
    world.pass(Duration::from_secs(120));
    assert_eq!(told(&mut world), 1);
    assert_eq!(world.stats(|s| s.subscription_count), 0, "two silences end it");
}

#[test]
fn whoever_answered_where_nobody_asked_is_a_watcher_like_all() {
    let mut world = World::new(2, Dialect::Rfc);
    let (mut phone, mut other) = (Phone::new(9, "lamp1"), Phone::new(10, "lamp1"));
    phone.contact.clone_from(&other.contact);
    phone.subscribe(&mut world, Some(3600));
    assert_eq!(other.listen(&mut world).len(), 1);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    world.pass(Duration::from_secs(2));
    let repeated = world.take(other.address);
    assert_eq!(repeated.len(), 3, "at once, after T1, after 2 T1");
    other.answer(&mut world, &repeated[0], "200 OK", "");
    // Sent somewhere new by a refresh, it is a stranger's address again.
    let third = Phone::new(11, "lamp1");
    phone.contact.clone_from(&third.contact);
    phone.subscribe(&mut world, Some(3600));
    world.pass(Duration::from_secs(20));
    assert_eq!(world.take(third.address).len(), 1);
}
