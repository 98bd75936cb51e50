//! A restart: dialogs go on, states are remembered, no number comes twice.

use std::collections::BTreeMap;
use std::time::Duration;

use lampfield_core::command::Command;
use lampfield_core::config::{Config, Dialect};
use lampfield_core::dialplan::Dialplan;
use lampfield_core::record::Record;
use lampfield_core::state::DeviceState;
use lampfield_wire::HeaderName;

use super::world::{Phone, World, config};

/// What a store would hold.
pub(crate) fn kept(world: &World) -> Vec<Record> {
    let mut store = BTreeMap::new();
    for record in &world.records {
        match &record.value {
            Some(value) => store.insert(record.key.clone(), value.clone()),
            None => store.remove(&record.key),
        };
    }
    store.into_iter().map(|(key, value)| Record { key, value: Some(value) }).collect()
}

#[test]
fn dialogs_states_and_numbers_survive_even_with_another_number_of_shards() {
    for (before, after) in [(1, 1), (2, 2), (1, 3), (3, 2)] {
        let mut world = World::new(before, Dialect::Rfc);
        let mut left = Phone::new(7, "lamp2");
        left.subscribe(&mut world, Some(600));
        left.subscribe(&mut world, Some(0));
        let mut phone = Phone::new(9, "lamp1").watching_dialogs();
        phone.subscribe(&mut world, Some(600));
        world.set_device("Custom:lamp1", DeviceState::Ringing);
        let last = phone.listen(&mut world).remove(0);
        world.pass(Duration::from_secs(100));
        let records = kept(&world);

        // The new process starts 110 seconds after the old one did.
        let mut world = World::with(after, config(Dialect::Rfc), 110_000);
        for record in records {
            world.command(&Command::Restore(record));
        }
        world.run();
        let got = phone.listen(&mut world);
        assert_eq!(got.len(), 1, "one NOTIFY after the restart ({before} to {after} shards)");
        assert!(got[0].cseq() > last.cseq(), "CSeq goes on");
        assert!(got[0].body().contains("<state>early<"), "the state is remembered");
        let expires: u32 = got[0].state()["active;expires=".len()..].parse().expect("a number");
        assert!((488..=491).contains(&expires), "{expires}");
        let (response, notifies) = phone.subscribe(&mut world, Some(300));
        assert_eq!((response.status(), notifies.len()), (200, 1), "the dialog goes on");
        world.set_device("Custom:lamp1", DeviceState::NotInUse);
        assert_eq!(phone.listen(&mut world).len(), 1);
        assert_eq!(phone.subscribe(&mut world, Some(0)).0.status(), 200);
        assert_eq!(world.stats(|s| s.subscription_count), 0);
        assert_eq!(left.listen(&mut world), [], "who had left is not bothered");
    }
}

#[test]
fn an_expired_subscription_does_not_come_back() {
    let mut world = World::new(1, Dialect::Rfc);
    Phone::new(9, "lamp1").subscribe(&mut world, Some(60));
    let records = kept(&world);
    let mut world = World::with(1, config(Dialect::Rfc), 61_000);
    for record in records {
        world.command(&Command::Restore(record));
    }
    assert_eq!(world.stats(|s| s.subscription_count), 0);
    assert!(world.records.iter().all(|record| record.value.is_none()), "and is forgotten");
    assert_eq!(world.records.len(), 1);
}

#[test]
fn records_that_make_no_sense_are_left_alone() {
    let mut world = World::new(2, Dialect::Rfc);
    for (key, value) in [
        (&b""[..], &b""[..]),
        (b"S", b"\x01"),
        (b"D\0\0x", b"\x01\xff\xff"),
        (b"S\0\0\0\0\0\0\0\0\0\0", b"\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"?", b"\x02"),
    ] {
        let record = Record { key: key.into(), value: Some(value.into()) };
        world.command(&Command::Restore(record));
    }
    assert_eq!(
        world.stats(|s| s.subscription_count + s.source_count),
        world.stats(|s| s.source_count)
    );
}

#[test]
fn a_hint_that_went_while_the_node_was_down_ends_its_watchers() {
    for (dialect, state, note) in [
        (Dialect::Rfc, "terminated;reason=noresource", "Unavailable"),
        (Dialect::Asterisk, "terminated", "Ready"),
    ] {
        let mut world = World::new(2, dialect);
        let mut phone = Phone::new(9, "lamp1");
        phone.subscribe(&mut world, Some(600));
        let records = kept(&world);
        let without = Config { dialplan: Dialplan::default(), ..config(dialect) };
        let mut world = World::with(2, without, 10_000);
        for record in records {
            world.command(&Command::Restore(record));
        }
        world.run();
        let got = phone.listen(&mut world);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].state(), state);
        assert!(got[0].body().contains(note), "{}", got[0].body());
        assert_eq!(world.stats(|s| s.subscription_count + s.extension_count), 0);
        assert_eq!(kept(&world), [], "and is forgotten");
    }
}

/// The store commits in groups: a run may end before its own records are on the disk, and the
/// next one starts from the same records again.
#[test]
fn runs_from_the_same_records_never_share_a_number() {
    let mut world = World::new(1, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1").watching_dialogs();
    phone.subscribe(&mut world, Some(600));
    let records = kept(&world);
    let mut last = (0, 0);
    for run in 1..5 {
        let mut world = World::with(1, config(Dialect::Rfc), run * 100);
        for record in records.clone() {
            world.command(&Command::Restore(record));
        }
        world.run();
        for state in [DeviceState::InUse, DeviceState::NotInUse].repeat(20) {
            world.set_device("Custom:lamp1", state);
            for notify in phone.listen(&mut world) {
                let body = notify.body();
                let version = body.split("version=\"").nth(2).and_then(|v| v.split('"').next());
                let version = version.and_then(|v| v.parse::<u32>().ok()).expect("a version");
                assert!(notify.cseq() > last.0 && version > last.1, "run {run}");
                last = (notify.cseq(), version);
            }
        }
    }
    assert!(last.0 > 0);
}

#[test]
fn a_hint_that_grew_by_itself_is_there_again_for_its_watchers() {
    let grown = || {
        let mut config = config(Dialect::Rfc);
        config.dialplan.set_autohints(super::world::T, "hints").expect("a context");
        config
    };
    let mut world = World::with(2, grown(), 0);
    world.set_device("Custom:extra", DeviceState::InUse);
    let mut phone = Phone::new(9, "extra");
    assert_eq!(phone.subscribe(&mut world, Some(600)).0.status(), 200);
    let records = kept(&world);
    let mut world = World::with(2, grown(), 10_000);
    for record in records {
        world.command(&Command::Restore(record));
    }
    let got = phone.listen(&mut world);
    assert_eq!(got.len(), 1);
    assert!(got[0].body().contains("On the phone"));
}

#[test]
fn a_dialog_comes_back_only_to_an_endpoint_that_may_still_watch_and_with_numbers_to_use() {
    let mut world = World::new(1, Dialect::Rfc);
    Phone::new(9, "lamp1").subscribe(&mut world, Some(600));
    let records = kept(&world);
    let restored = |config, records: &[Record]| {
        let mut world = World::with(1, config, 10_000);
        for record in records {
            world.command(&Command::Restore(record.clone()));
        }
        let mut phone = Phone::new(9, "lamp1");
        let ends = phone.listen(&mut world);
        let told = ends.iter().filter(|notify| notify.state() == "terminated;reason=rejected");
        (world.stats(|s| s.subscription_count), told.count())
    };
    assert_eq!(restored(config(Dialect::Rfc), &records), (1, 0));
    let mut mute = config(Dialect::Rfc);
    mute.endpoints[0].allow_subscribe = false;
    assert_eq!(restored(mute, &records), (0, 1), "it may not subscribe any more");
    let mut moved = config(Dialect::Rfc);
    moved.endpoints[0].tenant = lampfield_core::placement::TenantId(1);
    assert_eq!(restored(moved, &records), (0, 1), "it belongs to another tenant now");
    let mut used_up = records;
    for record in &mut used_up {
        let value = record.value.as_mut().expect("a value");
        value[17..21].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    assert_eq!(restored(config(Dialect::Rfc), &used_up), (0, 0), "no CSeq is left");
}

/// The node dies after the hint or the endpoint went, and before the watcher has heard of it.
#[test]
fn an_end_that_was_not_told_is_told_after_the_restart() {
    let mute = || {
        let mut config = config(Dialect::Rfc);
        config.endpoints[0].allow_subscribe = false;
        config
    };
    let without = || Config { dialplan: Dialplan::default(), ..config(Dialect::Rfc) };
    let reloads: [(&dyn Fn() -> Config, &str); 2] =
        [(&without, "terminated;reason=noresource"), (&mute, "terminated;reason=rejected")];
    for (reloaded, want) in reloads {
        for comes_back in [false, true] {
            let mut world = World::new(2, Dialect::Rfc);
            let mut phone = Phone::new(9, "lamp1");
            phone.subscribe(&mut world, Some(600));
            world.command(&Command::Reload(reloaded().into()));
            assert_eq!(world.take(phone.address).len(), 1, "lost, as the node is");
            let records = kept(&world);
            let config = if comes_back { config(Dialect::Rfc) } else { reloaded() };
            let mut world = World::with(2, config, 10_000);
            for record in records {
                world.command(&Command::Restore(record));
            }
            let got = phone.listen(&mut world);
            assert_eq!(got.len(), 1, "{want}, comes back {comes_back}");
            assert_eq!(got[0].state(), want);
            assert_eq!(world.stats(|s| s.subscription_count), 0);
            assert_eq!(kept(&world), []);
        }
    }
}

#[test]
fn an_asterisk_refresh_without_a_duration_gets_the_one_from_before_the_restart() {
    let mut world = World::new(1, Dialect::Asterisk);
    let mut phone = Phone::new(9, "lamp1");
    phone.subscribe(&mut world, Some(600));
    let records = kept(&world);
    // The layout before knows neither what was granted nor whether it ends, nor the source.
    let tail_bytes = 1 + 4 + 2 + "192.0.2.9".len();
    let mut before = records.clone();
    for record in &mut before {
        let value = record.value.take().expect("a value");
        assert_eq!(value[0], 3);
        record.value = Some([&[2], &value[1..value.len() - tail_bytes]].concat().into());
    }
    let mut later = records.clone();
    later.iter_mut().for_each(|record| record.value.as_mut().expect("a value")[0] = 4);
    for (records, want) in [(records, Some("600")), (before, Some("3600")), (later, None)] {
        let mut world = World::with(1, config(Dialect::Asterisk), 10_000);
        for record in records {
            world.command(&Command::Restore(record));
        }
        let mut phone =
            Phone { cseq: phone.cseq, to_tag: phone.to_tag.clone(), ..Phone::new(9, "lamp1") };
        phone.listen(&mut world);
        let (response, _) = phone.subscribe(&mut world, None);
        let granted = (response.status() == 200).then(|| response.header(HeaderName::Expires));
        assert_eq!(granted.as_deref(), want);
    }
}
