//! A node that is to go sends its watchers elsewhere: at a pace, with a reason, and not the same
//! ones twice.

use std::time::Duration;

use lampfield_core::command::Command;
use lampfield_core::config::Dialect;
use lampfield_core::state::DeviceState;
use lampfield_wire::HeaderName;

use super::world::{Phone, Received, World};

fn watchers(world: &mut World, count: u8) -> Vec<Phone> {
    let mut phones: Vec<Phone> = (1..=count).map(|host| Phone::new(host, "lamp1")).collect();
    for phone in &mut phones {
        assert_eq!(phone.subscribe(world, Some(600)).0.status(), 200);
    }
    phones
}

/// How many were told something. What nobody answered meanwhile came more than once.
fn heard(told: &[Vec<Received>]) -> usize {
    told.iter().filter(|notifies| !notifies.is_empty()).count()
}

/// What each was told meanwhile, answered.
fn told(world: &mut World, phones: &mut [Phone]) -> Vec<Vec<Received>> {
    phones.iter_mut().map(|phone| phone.listen(world)).collect()
}

#[test]
fn watchers_are_sent_away_at_the_pace_and_see_the_truth_until_then() {
    for dialect in [Dialect::Rfc, Dialect::Asterisk] {
        let mut world = World::new(2, dialect);
        let mut phones = watchers(&mut world, 20);
        world.command(&Command::Drain(Some(10)));
        world.pass(Duration::from_millis(1050));
        let away = heard(&told(&mut world, &mut phones));
        assert_eq!(away, 10, "ten a second of the one shard that has them");
        world.set_device("Custom:lamp1", DeviceState::InUse);
        let changed: Vec<_> = told(&mut world, &mut phones);
        assert_eq!(heard(&changed), 10);
        assert!(changed.iter().flatten().all(|notify| notify.body().contains("On the phone")));
        world.pass(Duration::from_secs(2));
        let last = told(&mut world, &mut phones);
        assert_eq!(heard(&last), 10, "each once");
        let state = "terminated;reason=deactivated";
        assert!(last.iter().flatten().all(|notify| notify.state() == state), "{dialect:?}");
        assert_eq!(world.stats(|stats| stats.subscription_count), 0);
        assert_eq!(world.stats(|stats| stats.counters.subscription_deactivated), 20);
    }
}

#[test]
fn nobody_new_is_taken_and_who_is_here_may_refresh_and_leave() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phones = watchers(&mut world, 2);
    world.command(&Command::Drain(Some(1)));
    let mut late = Phone::new(9, "lamp1");
    let (refused, notifies) = late.subscribe(&mut world, Some(600));
    assert_eq!((refused.status(), notifies.len()), (503, 0));
    assert!(!refused.header(HeaderName::RetryAfter).is_empty());
    assert_eq!(phones[0].subscribe(&mut world, Some(600)).0.status(), 200, "a refresh");
    assert_eq!(phones[1].subscribe(&mut world, Some(0)).0.status(), 200, "an end");
    // Kept after all: the one who was not sent away stays, and new ones are taken.
    world.command(&Command::Drain(None));
    world.pass(Duration::from_secs(5));
    assert_eq!(late.subscribe(&mut world, Some(600)).0.status(), 200);
    assert_eq!(world.stats(|stats| stats.subscription_count), 2);
    assert_eq!(world.stats(|stats| stats.counters.subscription_deactivated), 0);
}

#[test]
fn a_new_pace_goes_on_where_the_old_one_was() {
    let mut world = World::new(1, Dialect::Rfc);
    let mut phones = watchers(&mut world, 12);
    world.command(&Command::Drain(Some(2)));
    world.pass(Duration::from_millis(1040));
    assert_eq!(heard(&told(&mut world, &mut phones)), 2);
    world.command(&Command::Drain(Some(100)));
    world.pass(Duration::from_millis(300));
    assert_eq!(heard(&told(&mut world, &mut phones)), 10, "each once");
    assert_eq!(world.stats(|stats| stats.subscription_count), 0);
}

#[test]
fn who_was_being_sent_away_at_a_crash_is_sent_away_after_it() {
    let mut world = World::new(1, Dialect::Rfc);
    let mut phones = watchers(&mut world, 3);
    world.command(&Command::Drain(Some(1000)));
    world.pass(Duration::from_millis(20));
    // Nobody has answered yet.
    let records = std::mem::take(&mut world.records);
    let mut world = World::new(1, Dialect::Rfc);
    for record in records {
        world.command(&Command::Restore(record));
    }
    world.pass(Duration::from_secs(60));
    for notifies in told(&mut world, &mut phones) {
        let last = notifies.last().expect("a NOTIFY after the restart");
        assert_eq!(last.state(), "terminated;reason=deactivated");
    }
}
