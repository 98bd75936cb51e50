//! Where the `asterisk` dialect differs: codes, headers, repeats (traces 01, 06, 08).

use lampfield_core::command::Command;
use lampfield_core::config::{Config, Dialect};
use lampfield_core::dialplan::{Dialplan, Hint};
use lampfield_core::state::DeviceState;
use lampfield_wire::HeaderName;

use super::world::{Phone, T, World, config};

#[test]
fn asterisk_codes_and_headers() {
    let mut world = World::new(2, Dialect::Asterisk);
    let mut phone = Phone::new(9, "lamp1");
    let (brief, _) = phone.subscribe(&mut world, Some(4));
    assert_eq!((brief.status(), brief.header(HeaderName::MinExpires).as_str()), (423, ""));
    assert_eq!(phone.subscribe(&mut world, Some(0)).0.status(), 400, "no fetch");
    phone.extra = "Require: foo\r\n".into();
    let (response, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!(response.header(HeaderName::Contact), "<sip:192.0.2.1:5060>");
    assert_eq!(notifies[0].header(HeaderName::Contact), "<sip:192.0.2.1:5060>");
    assert!(notifies[0].body().contains("<contact priority=\"1\">sip:w@192.0.2.1</contact>"));
    let (_, notifies) = phone.subscribe(&mut world, Some(0));
    assert_eq!(notifies[0].state(), "terminated", "no reason");
    assert_eq!(phone.subscribe(&mut world, Some(600)).0.status(), 500);
    let mut stranger = Phone::new(9, "lamp1");
    stranger.address = "10.0.0.1:5060".parse().expect("an address");
    let (challenge, _) = stranger.subscribe(&mut world, None);
    assert_eq!(challenge.status(), 401);
    assert!(challenge.header(HeaderName::WwwAuthenticate).starts_with("Digest realm=\"asterisk\""));
}

#[test]
fn a_refresh_without_a_duration_gets_the_one_before_or_the_default() {
    for (dialect, want) in [(Dialect::Asterisk, 600), (Dialect::Rfc, 3600)] {
        let mut world = World::new(2, dialect);
        let mut phone = Phone::new(9, "lamp1");
        phone.subscribe(&mut world, Some(600));
        let (response, _) = phone.subscribe(&mut world, None);
        let granted: u32 = response.header(HeaderName::Expires).parse().expect("a number");
        assert!((want * 9 / 10..=want).contains(&granted), "{dialect:?}: {granted}");
    }
}

#[test]
fn asterisk_reports_every_change_even_if_the_document_shows_nothing_new() {
    let mut world = World::new(2, Dialect::Asterisk);
    let mut phone = Phone::new(9, "multi");
    phone.subscribe(&mut world, Some(600));
    for (device, state, want) in [
        ("Custom:m1", DeviceState::InUse, 1),
        ("Custom:m1", DeviceState::Busy, 1),
        ("Custom:m1", DeviceState::Busy, 0),
        ("Custom:m1", DeviceState::Ringing, 1),
        // Still ringing, but somebody else may: told again.
        ("Custom:m2", DeviceState::NotInUse, 1),
        ("Custom:m1", DeviceState::Unavailable, 1),
        ("Custom:m2", DeviceState::Unavailable, 1),
        ("Custom:m2", DeviceState::Invalid, 0),
    ] {
        world.set_device(device, state);
        assert_eq!(phone.listen(&mut world).len(), want, "{device} {state:?}");
    }
}

#[test]
fn a_removed_hint_ends_its_watchers_and_leaves_the_others_alone() {
    for (dialect, want) in
        [(Dialect::Rfc, "terminated;reason=noresource"), (Dialect::Asterisk, "terminated")]
    {
        let mut world = World::new(2, dialect);
        let (mut gone, mut stays) = (Phone::new(8, "lamp1"), Phone::new(9, "lamp2"));
        gone.subscribe(&mut world, Some(600));
        stays.subscribe(&mut world, Some(600));
        let mut dialplan = Dialplan::default();
        for (exten, hint) in [("lamp2", "Custom:other"), ("new", "Custom:new")] {
            let hint = Hint::parse(hint, "test:1").expect("a hint");
            dialplan.add_hint(T, "hints", exten, hint).expect("an extension");
        }
        world.set_device("Custom:other", DeviceState::InUse);
        let reloaded = Config { dialplan, ..config(dialect) };
        world.command(&Command::Reload(reloaded.into()));
        assert_eq!(gone.listen(&mut world)[0].state(), want);
        let got = stays.listen(&mut world);
        assert_eq!(got.len(), 1, "its hint changed, and so did its lamp");
        assert!(got[0].body().contains("On the phone"));
        assert_eq!(
            gone.subscribe(&mut world, None).0.status(),
            if dialect == Dialect::Rfc { 481 } else { 500 }
        );
        assert_eq!(Phone::new(7, "new").subscribe(&mut world, None).0.status(), 200);
        assert_eq!(Phone::new(7, "lamp1").subscribe(&mut world, None).0.status(), 404);
        assert_eq!(world.stats(|s| s.extension_count), 2);
    }
}

#[test]
fn the_last_document_of_a_removed_hint_is_the_last_state_or_asterisks_idle() {
    for (dialect, event, want) in [
        (Dialect::Rfc, "presence", "On the phone"),
        (Dialect::Rfc, "dialog", "<state>confirmed"),
        (Dialect::Asterisk, "presence", "<note>Ready</note>"),
        (Dialect::Asterisk, "dialog", "<state>terminated"),
    ] {
        let mut world = World::new(2, dialect);
        let mut phone = Phone::new(8, "lamp1");
        phone.event = event.into();
        phone.subscribe(&mut world, Some(600));
        world.set_device("Custom:lamp1", DeviceState::InUse);
        phone.listen(&mut world);
        let without = Config { dialplan: Dialplan::default(), ..config(dialect) };
        world.command(&Command::Reload(without.into()));
        // The hint is back before the last NOTIFY is answered, and somebody watches it again.
        let last = world.take(phone.address);
        world.command(&Command::Reload(config(dialect).into()));
        let (response, first) = Phone { event: event.into(), ..Phone::new(9, "lamp1") }
            .subscribe(&mut world, Some(600));
        assert_eq!((last.len(), response.status()), (1, 200));
        assert!(last[0].state().starts_with("terminated"), "{}", last[0].state());
        assert!(last[0].body().contains(want), "{dialect:?} {}", last[0].body());
        let alive = if event == "presence" { "On the phone" } else { "<state>confirmed" };
        assert!(first[0].body().contains(alive), "{dialect:?} {}", first[0].body());
        phone.answer(&mut world, &last[0], "200 OK", "");
        assert_eq!(world.stats(|s| s.subscription_count), 1);
        assert_eq!(world.stats(|s| s.extension_count), 13, "lamps, and three more");
    }
}

#[test]
fn a_hint_that_loses_its_presence_sources_shows_none() {
    // More shards than sources: the new device is heard of only after the reload.
    for shard_count in [1, 2, 4] {
        for (exten, hint) in [("lamp1", "Custom:other"), ("lamp1", "Custom:lamp1")] {
            let mut world = World::new(shard_count, Dialect::Rfc);
            let mut phone = Phone::new(8, exten);
            phone.user_agent = "Digium D40".into();
            world.set_presence("CustomPresence:lamp1", "dnd,here,there");
            let (_, first) = phone.subscribe(&mut world, Some(600));
            assert!(first[0].body().contains("type=\"dnd\""));
            let mut dialplan = Dialplan::default();
            let hint = Hint::parse(hint, "test:1").expect("a hint");
            dialplan.add_hint(T, "hints", exten, hint).expect("an extension");
            let reloaded = Config { dialplan, ..config(Dialect::Rfc) };
            world.command(&Command::Reload(reloaded.into()));
            let got = phone.listen(&mut world);
            assert_eq!(got.len(), 1, "{shard_count} shards");
            assert!(got[0].body().contains("type=\"not_set\""), "{}", got[0].body());
        }
    }
}

#[test]
fn a_name_that_exists_is_answered_like_one_that_does_not() {
    use lampfield_core::config::{Auth, EndpointId};
    use lampfield_core::digest::{Algorithm, Secret};
    let mut config = super::world::config(Dialect::Rfc);
    config.algorithms = vec![Algorithm::Sha256, Algorithm::Md5];
    let secret = |&algorithm| Secret { algorithm, ha1: algorithm.ha1("w", "asterisk", "secret") };
    config.endpoints[0].auth = Some(Auth {
        username: "w".into(),
        realm: "asterisk".into(),
        secrets: config.algorithms.iter().map(secret).collect(),
    });
    config.identify.users.insert("w".into(), EndpointId(0));
    let mut world = World::with(1, config, 0);
    let mut phone = Phone::new(9, "lamp1");
    phone.address = ([10, 0, 0, 1], 5070).into();
    let known = String::from_utf8(phone.request(Some(600))).expect("text");
    let unknown = known.replace("<sip:w@192.0.2.1:5060>;tag", "<sip:x@192.0.2.1:5060>;tag");
    let names = [known, unknown].map(|request| {
        world.datagram(phone.address, request.as_bytes(), 0);
        let answer = String::from_utf8(world.take(phone.address).remove(0).0).expect("text");
        let name = |line: &str| line.split(':').next().map(str::to_owned);
        answer.lines().filter_map(name).collect::<Vec<_>>()
    });
    assert_eq!(names[0], names[1]);
}
