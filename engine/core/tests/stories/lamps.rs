//! What a lamp shows, when it is told, and when it is not.

use lampfield_core::command::{Answer, Event, Query};
use lampfield_core::config::Dialect;
use lampfield_core::state::{DeviceState, ExtensionState};

use super::world::{Phone, T, World, config};

#[test]
fn a_change_reaches_the_watcher_whatever_shard_it_crosses() {
    for shard_count in [1, 2, 3] {
        let mut world = World::new(shard_count, Dialect::Rfc);
        for n in 0..10 {
            let mut phone = Phone::new(n + 10, &format!("lamp{n}"));
            let (response, notifies) = phone.subscribe(&mut world, Some(600));
            assert_eq!((response.status(), notifies.len()), (200, 1), "{shard_count} shards");
            assert!(notifies[0].body().contains("<basic>open<"), "{:?}", notifies[0]);
            assert_eq!(notifies[0].state(), "active;expires=600");
            world.set_device(&format!("Custom:lamp{n}"), DeviceState::Unavailable);
            let got = phone.listen(&mut world);
            assert_eq!(got.len(), 1);
            assert!(got[0].body().contains("<basic>closed<"), "{:?}", got[0]);
            assert_eq!(got[0].cseq(), notifies[0].cseq() + 1);
        }
        assert_eq!(world.stats(|s| s.in_flight_count), 0);
    }
}

#[test]
fn a_change_that_shows_nothing_new_sends_nothing() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    phone.subscribe(&mut world, Some(600));
    world.set_device("Custom:lamp1", DeviceState::InUse);
    assert_eq!(phone.listen(&mut world).len(), 1);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    world.set_device("Custom:lamp1", DeviceState::Busy);
    world.set_presence("CustomPresence:lamp1", "away,lunch,soon");
    assert_eq!(phone.listen(&mut world).len(), 0, "PIDF shows the same note for all of these");
    assert_eq!(world.stats(|s| s.counters.notify_suppressed), 2);
    world.set_device("Custom:lamp1", DeviceState::NotInUse);
    assert_eq!(phone.listen(&mut world).len(), 1);
}

#[test]
fn while_a_notify_is_in_flight_only_the_newest_state_waits() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1").watching_dialogs();
    phone.subscribe(&mut world, Some(600));
    let states =
        [DeviceState::InUse, DeviceState::Ringing, DeviceState::OnHold, DeviceState::NotInUse];
    states.iter().for_each(|&state| world.set_device("Custom:lamp1", state));
    let first = world.take(phone.address);
    assert_eq!(first.len(), 1, "one in flight");
    assert!(first[0].body().contains("<state>confirmed<"));
    phone.answer(&mut world, &first[0], "200 OK", "");
    let second = phone.listen(&mut world);
    assert_eq!(second.len(), 1, "the two states between are gone");
    assert!(second[0].body().contains("<state>terminated<"));
    assert!(second[0].body().contains("version=\"2\""), "{}", second[0].body());
}

#[test]
fn several_devices_add_up_and_only_the_sum_is_told() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "multi");
    phone.subscribe(&mut world, Some(600));
    for (device, state, want) in [
        ("Custom:m1", DeviceState::InUse, Some("On the phone")),
        ("Custom:m2", DeviceState::Ringing, Some("Ringing")),
        ("Custom:m1", DeviceState::NotInUse, None),
        ("Custom:m2", DeviceState::OnHold, Some("On hold")),
        ("Custom:m1", DeviceState::OnHold, None),
        ("Custom:m2", DeviceState::Invalid, None),
        ("Custom:m1", DeviceState::Invalid, Some("Unavailable")),
    ] {
        world.set_device(device, state);
        let got = phone.listen(&mut world);
        let notes: Vec<bool> =
            got.iter().map(|m| want.is_some_and(|w| m.body().contains(w))).collect();
        assert_eq!(notes, vec![true; usize::from(want.is_some())], "{device} {state:?}: {got:?}");
    }
}

#[test]
fn a_digium_phone_sees_presence_and_others_do_not() {
    let mut world = World::new(2, Dialect::Rfc);
    let (mut digium, mut other) = (Phone::new(8, "ponly"), Phone::new(9, "ponly"));
    digium.user_agent = "Sangoma P315 4_15_0".into();
    let (_, first) = digium.subscribe(&mut world, Some(600));
    other.subscribe(&mut world, Some(600));
    assert!(first[0].body().contains("type=\"not_set\""), "{}", first[0].body());
    world.set_presence("CustomPresence:ponly", "dnd,s<1,R&D");
    let got = digium.listen(&mut world);
    assert_eq!(got.len(), 1);
    assert!(got[0].body().contains("type=\"dnd\""));
    assert!(got[0].body().contains("subtype=\"s&lt;1\"") && got[0].body().contains("R&amp;D"));
    assert_eq!(other.listen(&mut world), []);
}

#[test]
fn a_pattern_makes_an_extension_on_first_use_and_forgets_it_after_the_last() {
    let mut world = World::new(3, Dialect::Rfc);
    let before = world.stats(|s| s.extension_count);
    world.set_device("Custom:p7701", DeviceState::Ringing);
    let mut phone = Phone::new(9, "7701");
    let (response, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!(response.status(), 200);
    assert!(notifies[0].body().contains("Ringing"), "the first NOTIFY waits for the sources");
    assert_eq!(world.stats(|s| s.extension_count), before + 1);
    phone.subscribe(&mut world, Some(0));
    assert_eq!(world.stats(|s| s.extension_count), before);
    assert_eq!(Phone::new(9, "7801").subscribe(&mut world, None).0.status(), 404);
}

#[test]
fn the_control_plane_hears_of_changes_and_can_ask() {
    let mut world = World::new(2, Dialect::Rfc);
    world.set_device("Custom:lamp3", DeviceState::InUse);
    world.set_presence("CustomPresence:lamp3", "away,,x");
    world.set_presence("custompresence:lamp3", "away,,x");
    let events = std::mem::take(&mut world.events);
    let names: Vec<&str> = events
        .iter()
        .map(|event| match event {
            Event::DeviceStateChange { .. } => "device",
            Event::ExtensionStatus { state: Some(ExtensionState::InUse), .. } => "extension",
            Event::PresenceStateChange { presentity, .. } => presentity,
            Event::PresenceStatus { .. } => "presence",
            Event::ExtensionStatus { .. } | Event::MessageWaiting { .. } => "other",
        })
        .collect();
    assert_eq!(
        names,
        ["device", "extension", "CustomPresence:lamp3", "presence", "custompresence:lamp3"]
    );
    let (context, exten) = ("hints".into(), "lamp3".into());
    let answers = world.ask(&Query::Explain { tenant: T, context, exten });
    let mut explained = answers.into_iter().filter_map(|answer| match answer {
        Answer::Explain(Some(explanation)) => Some(explanation),
        _ => None,
    });
    let explanation = explained.next().expect("its owner explains");
    let sources: Vec<_> = explanation.sources.iter().map(|s| (&*s.name, &*s.state)).collect();
    assert_eq!(
        sources,
        [("Custom:lamp3", "INUSE"), ("CustomPresence:lamp3", "away (\"\", \"x\")")]
    );
    assert!(explained.next().is_none(), "and nobody else does");
}

#[test]
fn a_context_with_autohints_gains_a_hint_at_a_devices_first_state() {
    for shard_count in [1, 3] {
        let mut config = config(Dialect::Rfc);
        config.dialplan.set_autohints(T, "hints").expect("a context");
        let mut world = World::with(shard_count, config, 0);
        let mut phone = Phone::new(9, "door");
        assert_eq!(phone.subscribe(&mut world, None).0.status(), 404);
        world.set_device("Custom:door", DeviceState::Ringing);
        let (response, notifies) = phone.subscribe(&mut world, None);
        assert_eq!(response.status(), 200, "{shard_count} shards");
        assert!(notifies[0].body().contains("Ringing"));
        world.set_device("Custom:door", DeviceState::NotInUse);
        assert_eq!(phone.listen(&mut world).len(), 1);
    }
}
