//! From a change to the answer: what a shard keeps of its latencies.

use std::time::Duration;

use lampfield_core::command::Command;
use lampfield_core::config::Dialect;
use lampfield_core::state::DeviceState::{self, InUse, NotInUse};
use lampfield_core::stats::Stats;

use super::lists::{config_with, list, watcher};
use super::world::{Phone, World};

const LAMP: &str = "Custom:lamp1";

/// From change to answer: how many, and the longest in milliseconds.
fn change_to_acked(world: &World) -> (u64, u64) {
    let longest = |stats: &Stats| stats.change_to_acked_ns.max();
    let count = world.stats(|stats| stats.change_to_acked_ns.len());
    (count, (world.stats(longest) + 5_000_000) / 10_000_000 * 10)
}

/// The lamp changes, and its NOTIFY is answered after so long, if it is not lost.
fn change(world: &mut World, phone: &mut Phone, state: DeviceState, wait_ms: u64) {
    world.set_device(LAMP, state);
    world.pass(Duration::from_millis(wait_ms));
    phone.listen(world);
}

#[test]
fn the_way_from_change_to_answer_is_told_of_single_watchers_and_of_lists() {
    for mut phone in [Phone::new(9, "lamp1"), watcher(9, "sales")] {
        let config = config_with(Dialect::Rfc, vec![list("sales", "lamp1 lamp2")]);
        let mut world = World::with(2, config, 0);
        phone.subscribe(&mut world, Some(3600));
        phone.subscribe(&mut world, Some(3600));
        assert_eq!(change_to_acked(&world), (0, 0), "what was asked for tells no change");
        change(&mut world, &mut phone, InUse, 200);
        assert_eq!(change_to_acked(&world), (1, 200));
        assert_eq!(world.stats(|s| s.sent_to_acked_ns.len()), 3);
        assert_eq!(world.stats(|s| s.change_to_sent_ns.len()), 1);
        // Lost and sent again: on the way for longer, though nobody knows which one was answered.
        world.set_device(LAMP, NotInUse);
        world.take(phone.address);
        world.pass(Duration::from_millis(600));
        phone.listen(&mut world);
        assert_eq!(change_to_acked(&world), (2, 600));
        assert_eq!(world.stats(|s| s.sent_to_acked_ns.len()), 3);
        world.command(&Command::ResetLatencies);
        assert_eq!(change_to_acked(&world), (0, 0));
        assert_eq!(world.stats(|s| s.counters.notify_acked), 4, "counters stay");
    }
}

#[test]
fn a_change_that_a_newer_one_overtook_is_not_told() {
    let mut world = World::new(1, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    phone.subscribe(&mut world, Some(3600));
    world.set_device(LAMP, InUse);
    world.pass(Duration::from_millis(100));
    let overtaken = world.take(phone.address).remove(0);
    world.set_device(LAMP, NotInUse);
    world.pass(Duration::from_millis(200));
    phone.answer(&mut world, &overtaken, "200 OK", "");
    assert_eq!(change_to_acked(&world).0, 0);
    world.pass(Duration::from_millis(100));
    phone.listen(&mut world);
    assert_eq!(change_to_acked(&world), (1, 300), "the newer one, with its wait");
}
