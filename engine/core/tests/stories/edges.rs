//! Many phones behind one address: NOTIFYs of one length, so that they can leave as trains.

use std::collections::BTreeSet;
use std::time::Duration;

use lampfield_core::config::{Config, Dialect};
use lampfield_core::state::DeviceState;
use lampfield_wire::HeaderName;

use super::world::{Phone, Received, World, config};

/// Phones behind one edge, with Call-IDs of different lengths, all of one lamp.
fn edge(count: usize, config: Config) -> (World, Vec<Phone>) {
    let mut world = World::with(1, config, 0);
    let mut phones: Vec<Phone> = (0..count).map(|_| Phone::new(9, "lamp1")).collect();
    for (n, phone) in phones.iter_mut().enumerate() {
        phone.call_id = format!("edge-{n}-{}", "x".repeat(n % 20));
        phone.subscribe(&mut world, Some(600));
    }
    (world, phones)
}

/// The Call-IDs of the edge make NOTIFYs differ by forty bytes: under this name no step of lengths
/// falls between them.
fn named() -> Config {
    Config { user_agent: "lf-tests".into(), ..config(Dialect::Rfc) }
}

fn change(world: &mut World, phones: &[Phone], state: DeviceState) -> Vec<Received> {
    world.set_device("Custom:lamp1", state);
    world.take(phones[0].address)
}

fn lengths(notifies: &[Received]) -> BTreeSet<usize> {
    notifies.iter().map(|notify| notify.0.len()).collect()
}

/// The NOTIFY without the spaces that mean nothing.
fn tight(notify: &Received) -> String {
    let text = String::from_utf8(notify.0.clone()).expect("text");
    let line = text.lines().find(|line| line.starts_with("User-Agent:")).expect("a user agent");
    let value = line["User-Agent:".len()..].trim_start();
    text.replace(line, &format!("User-Agent: {value}"))
}

#[test]
fn notifies_to_an_edge_are_of_one_length_and_mean_the_same() {
    let (mut world, phones) = edge(80, named());
    // The first ones grow to a length that suits all.
    change(&mut world, &phones, DeviceState::InUse)
        .iter()
        .for_each(|notify| phones[0].answer(&mut world, notify, "200 OK", ""));
    let padded = change(&mut world, &phones, DeviceState::Ringing);
    assert!(padded.len() >= 64, "{} fill a train", padded.len());
    assert_eq!(lengths(&padded).len(), 1, "{:?}", lengths(&padded));
    let (mut plain, same) = edge(80, {
        let mut config = named();
        config.endpoints.iter_mut().for_each(|endpoint| endpoint.is_unpadded = true);
        config
    });
    change(&mut plain, &same, DeviceState::InUse)
        .iter()
        .for_each(|notify| same[0].answer(&mut plain, notify, "200 OK", ""));
    let unpadded = change(&mut plain, &same, DeviceState::Ringing);
    assert!(lengths(&unpadded).len() > 10, "{:?}", lengths(&unpadded));
    for (padded, unpadded) in padded.iter().zip(&unpadded) {
        assert_eq!(padded.header(HeaderName::UserAgent), unpadded.header(HeaderName::UserAgent));
        assert_eq!(tight(padded).len(), unpadded.0.len());
        assert_eq!(padded.body(), unpadded.body());
    }
}

#[test]
fn what_is_sent_again_is_the_same_bytes() {
    let (mut world, phones) = edge(64, config(Dialect::Rfc));
    let first = change(&mut world, &phones, DeviceState::InUse);
    world.pass(Duration::from_millis(500));
    let again = world.take(phones[0].address);
    let [first, again] = [first, again]
        .map(|notifies| notifies.into_iter().map(|notify| notify.0).collect::<BTreeSet<_>>());
    assert_eq!(first, again);
}

#[test]
fn few_subscriptions_of_one_phone_and_long_notifies_are_left_as_they_are() {
    let (mut world, phones) = edge(63, config(Dialect::Rfc));
    assert!(lengths(&change(&mut world, &phones, DeviceState::InUse)).len() > 10);
    let mut without = config(Dialect::Rfc);
    without.limits.train_padding_bytes_max = 0;
    let (mut world, phones) = edge(80, without);
    assert!(lengths(&change(&mut world, &phones, DeviceState::InUse)).len() > 10);
}
