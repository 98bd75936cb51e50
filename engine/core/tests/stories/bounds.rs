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
