//! A mesh of servers: what each says of its devices and mailboxes, and what all say together.

use std::time::Duration;

use lampfield_core::command::{Command, Event};
use lampfield_core::config::{Config, Dialect};
use lampfield_core::feed::{Feed, FeedRules, Feeds, NameFilter};
use lampfield_core::record::Record;
use lampfield_core::state::DeviceState;
use lampfield_wire::HeaderName;

use super::lists::reload;
use super::publisher::{Publisher, counters, shows};
use super::restart::kept;
use super::world::{Phone, T, World, config};

const DEVICES: &str = "asterisk-devicestate";
const MAILBOXES: &str = "asterisk-mwi";

/// Servers publish to `mesh`: devices but those of `Local`, and all mailboxes. `only` is for another
/// endpoint; `closed` takes nothing.
fn meshed(dialect: Dialect) -> Config {
    let mut config = config(dialect);
    let rules = |accepts, filter: Option<&str>| {
        let filter = filter.map(|text| NameFilter::parse(text).expect("a filter"));
        Some(FeedRules { accepts, filter })
    };
    let feed = |name: &str, endpoint: Option<&str>, devices, mailboxes| Feed {
        tenant: T,
        name: name.into(),
        endpoint: endpoint.map(Into::into),
        devices,
        mailboxes,
    };
    config.feeds = Feeds {
        rows: vec![
            feed("mesh", None, rules(true, Some("^(custom|mwi|pjsip)")), rules(true, None)),
            feed("only", Some("early"), rules(true, None), None),
            feed("closed", None, rules(false, None), rules(false, None)),
        ],
    };
    config.mailboxes.add(T, "2000".into(), &["2000@default"], None, "").expect("mailboxes");
    config
}

fn world(shard_count: u8) -> World {
    World::with(shard_count, meshed(Dialect::Rfc), 0)
}

fn server(host: u8, event: &str) -> Publisher {
    Publisher { extra: format!("X-Server: {host}\r\n"), ..Publisher::new(host, "mesh", event) }
}

fn device(server: u8, device: &str, state: &str) -> String {
    format!(
        r#"{{"type":"devicestate","device":"{device}","state":"{state}","cachable":1,"eid":"02:00:00:00:00:{server:02x}"}}"#
    )
}

fn mailbox(server: u8, mailbox: &str, new: u32) -> String {
    format!(
        r#"{{"type":"mailboxstate","uniqueid":"{mailbox}","old":1,"new":{new},"eid":"02:00:00:00:00:{server:02x}"}}"#
    )
}

/// A watcher of `lamp1`, and a server that told it to be lit.
fn lit() -> (World, Phone, Publisher) {
    let mut world = world(2);
    let mut lamp = Phone::new(9, "lamp1").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    let mut server = server(100, DEVICES);
    server.publish(&mut world, Some(600), &device(1, "Custom:lamp1", "INUSE"));
    lamp.listen(&mut world);
    (world, lamp, server)
}

#[test]
fn states_of_servers_add_up_and_those_of_a_silent_one_go() {
    for shard_count in [1, 3] {
        let mut world = world(shard_count);
        let mut lamp = Phone::new(9, "lamp1").watching_dialogs();
        lamp.subscribe(&mut world, Some(3600));
        let (mut a, mut b) = (server(100, DEVICES), server(101, DEVICES));
        let say = |world: &mut World, who: &mut Publisher, id, name: &str, state: &str| {
            let answer = who.publish(world, Some(600), &device(id, name, state));
            assert_eq!((answer.status(), answer.header(HeaderName::Expires)), (200, "600".into()));
        };
        say(&mut world, &mut a, 1, "Custom:lamp1", "INUSE");
        assert_eq!(shows(&lamp.listen(&mut world)), "confirmed");
        say(&mut world, &mut b, 2, "Custom:lamp1", "RINGING");
        world.pass(Duration::from_secs(300));
        lamp.listen(&mut world);
        say(&mut world, &mut a, 1, "Custom:lamp1", "NOT_INUSE");
        assert_eq!(shows(&lamp.listen(&mut world)), "early", "it rings at the other");
        say(&mut world, &mut a, 1, "Custom:lamp2", "INUSE");
        // Ours counts among them.
        world.set_device("Custom:lamp1", DeviceState::InUse);
        assert_eq!(shows(&lamp.listen(&mut world)), "confirmed", "rings while in use");
        world.set_device("Custom:lamp1", DeviceState::NotInUse);
        assert_eq!(shows(&lamp.listen(&mut world)), "early");
        world.events.clear();
        // The second server is silent from now on; the first goes on.
        world.pass(Duration::from_secs(301));
        assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
        let events: Vec<_> = world.events.iter().filter_map(changed).collect();
        assert_eq!(events, ["Custom:lamp1 NOT_INUSE"]);
        assert_eq!(counters(&world, "publication_expired"), 1);
        a.publish(&mut world, Some(0), "");
        assert_eq!(world.stats(|s| s.publication_count), 0);
        let mut other = Phone::new(10, "lamp2").watching_dialogs();
        assert_eq!(shows(&other.subscribe(&mut world, Some(60)).1), "terminated");
    }
}

fn changed(event: &Event) -> Option<String> {
    match event {
        Event::DeviceStateChange { device, state, .. } => {
            Some(format!("{device} {}", state.token()))
        }
        _ => None,
    }
}

#[test]
fn a_server_that_starts_anew_keeps_what_it_tells_again() {
    let mut world = world(2);
    let mut lamps = [1, 2].map(|n| Phone::new(8 + n, &format!("lamp{n}")).watching_dialogs());
    lamps.iter_mut().for_each(|lamp| drop(lamp.subscribe(&mut world, Some(3600))));
    let mut before = server(100, DEVICES);
    for name in ["Custom:lamp1", "Custom:lamp2"] {
        before.publish(&mut world, Some(300), &device(1, name, "INUSE"));
        lamps.iter_mut().for_each(|lamp| drop(lamp.listen(&mut world)));
    }
    world.pass(Duration::from_secs(100));
    let mut after = server(101, DEVICES);
    after.publish(&mut world, Some(600), &device(1, "Custom:lamp1", "INUSE"));
    lamps.iter_mut().for_each(|lamp| drop(lamp.listen(&mut world)));
    world.pass(Duration::from_secs(202));
    assert_eq!(lamps[0].listen(&mut world), [], "it was told again");
    assert_eq!(shows(&lamps[1].listen(&mut world)), "terminated", "it was not");
}

#[test]
fn mailboxes_of_servers_reach_phones_and_lamps() {
    let mut world = world(2);
    let mut desk = Phone::new(9, "2000");
    desk.event = "message-summary".into();
    desk.subscribe(&mut world, Some(600));
    let (mut counts, mut lamps) = (server(100, MAILBOXES), server(100, DEVICES));
    // A real one tells both, in either order.
    lamps.publish(&mut world, Some(600), &device(1, "MWI:2000@default", "NOT_INUSE"));
    counts.publish(&mut world, Some(300), &mailbox(1, "2000@default", 2));
    let shown = |got: Vec<super::world::Received>| got.last().expect("told").body();
    assert!(shown(desk.listen(&mut world)).contains("Voice-Message: 2/1"));
    counts.publish(&mut world, Some(300), &mailbox(1, "2000@default", 0));
    assert!(shown(desk.listen(&mut world)).contains("Voice-Message: 0/1"));
    server(101, MAILBOXES).publish(&mut world, Some(600), &mailbox(2, "2000@default", 5));
    assert!(shown(desk.listen(&mut world)).contains("Voice-Message: 5/2"), "of both servers");
    world.pass(Duration::from_secs(302));
    assert!(shown(desk.listen(&mut world)).contains("Voice-Message: 5/1"));
}

#[test]
fn what_servers_told_survives_a_restart() {
    for shard_count in [1, 2, 3, 5] {
        let mut world = world(2);
        let mut lamp = Phone::new(9, "lamp1").watching_dialogs();
        lamp.subscribe(&mut world, Some(3600));
        let mut a = server(100, DEVICES);
        a.publish(&mut world, Some(600), &device(1, "Custom:lamp1", "RINGING"));
        a.publish(&mut world, Some(600), &device(1, "Custom:lamp2", "INUSE"));
        server(101, DEVICES).publish(&mut world, Some(20), &device(2, "Custom:lamp1", "INUSE"));
        lamp.listen(&mut world);
        let before = kept(&world);
        let mut world = World::with(shard_count, meshed(Dialect::Rfc), 100_000);
        before.iter().for_each(|record| world.command(&Command::Restore(record.clone())));
        world.run();
        let got = lamp.listen(&mut world);
        assert_eq!((got.len(), shows(&got)), (1, "early"), "the other server is long gone");
        assert_eq!(counters(&world, "record_lost"), 0);
        let answer = a.publish(&mut world, Some(600), &device(1, "Custom:lamp1", "INUSE"));
        assert_eq!(answer.status(), 200, "its entity-tag is known");
        assert_eq!(shows(&lamp.listen(&mut world)), "confirmed");
        a.publish(&mut world, Some(0), "");
        assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
        // Nothing of either is in the store any more.
        let forgotten = |record: &Record| {
            world.records.iter().any(|new| new.key == record.key && new.value.is_none())
        };
        let of_servers = || before.iter().filter(|record| matches!(record.key[0], b'E' | b'F'));
        assert_eq!(of_servers().count(), 5);
        assert!(of_servers().all(forgotten));
        assert!(kept(&world).iter().all(|record| !matches!(record.key[0], b'E' | b'F')));
    }
}

#[test]
fn a_feed_that_is_no_longer_configured_takes_its_states_along() {
    let (mut world, mut lamp, mut a) = lit();
    reload(&mut world, config(Dialect::Rfc));
    world.pass(Duration::from_secs(1));
    assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
    assert_eq!(a.publish(&mut world, Some(600), "").status(), 404);
}

#[test]
fn what_servers_may_not_say_gets_its_code_and_changes_nothing() {
    let good = device(1, "Custom:lamp1", "INUSE");
    let moment = good.replace(r#""cachable":1"#, r#""cachable":0"#);
    let deep = "[".repeat(10_000);
    let refresh = r#"{"type":"refresh","eid":"02:00:00:00:00:01"}"#;
    let rows: [(&str, &str, &str, u16, &str); 14] = [
        ("mesh", DEVICES, "", 400, "publish_malformed"),
        ("mesh", DEVICES, "{", 400, "publish_malformed"),
        ("mesh", DEVICES, &deep, 400, "publish_malformed"),
        ("mesh", DEVICES, r#"{"type":"devicestate"}"#, 400, "publish_malformed"),
        ("mesh", DEVICES, &mailbox(1, "x", 1), 400, "publish_foreign"),
        ("mesh", MAILBOXES, &good, 400, "publish_foreign"),
        ("mesh", DEVICES, &device(1, "Local/x", "INUSE"), 200, "publish_filtered"),
        ("mesh", DEVICES, &moment, 200, "publish_filtered"),
        ("closed", DEVICES, &good, 200, "publish_filtered"),
        ("mesh", DEVICES, refresh, 200, "publish_refresh_wanted"),
        ("only", DEVICES, &good, 403, "publish_forbidden"),
        ("only", MAILBOXES, refresh, 404, "request_refused"),
        ("nosuch", DEVICES, &good, 404, "request_refused"),
        ("lamp1", "presence", "x", 403, "publish_forbidden"),
    ];
    for (name, event, body, status, counter) in rows {
        let mut world = world(2);
        let mut lamp = Phone::new(9, "lamp1").watching_dialogs();
        lamp.subscribe(&mut world, Some(600));
        let mut publisher = Publisher { exten: name.into(), ..server(100, event) };
        let before = counters(&world, counter);
        assert_eq!(publisher.publish(&mut world, Some(60), body).status(), status, "{name} {body}");
        assert_eq!(counters(&world, counter), before + 1, "{name} {event} {body}");
        assert_eq!(lamp.listen(&mut world), [], "{body}");
    }
}

#[test]
fn a_broken_word_leaves_what_the_server_said_before() {
    let (mut world, mut lamp, mut a) = lit();
    for (body, status) in
        [("{\"type\":", 400), (&*device(2, "Custom:lamp1", "NOT_INUSE"), 400), ("", 200)]
    {
        assert_eq!(a.publish(&mut world, Some(600), body).status(), status, "{body}");
        assert_eq!(lamp.listen(&mut world), []);
    }
    a.content_type = "text/plain".into();
    assert_eq!(a.publish(&mut world, Some(600), "x").status(), 415);
    a.entity_tag = "17".into();
    assert_eq!(a.publish(&mut world, Some(600), "").status(), 412);
    assert_eq!(counters(&world, "publish_unmatched"), 1);
}

#[test]
fn a_publication_tells_of_so_many_sources_and_no_more() {
    let mut config = meshed(Dialect::Asterisk);
    config.limits.publication_told_max = 2;
    let mut world = World::with(1, config, 0);
    let mut a = server(100, DEVICES);
    let statuses = [1, 2, 3].map(|n| {
        a.publish(&mut world, Some(600), &device(1, &format!("Custom:x{n}"), "INUSE")).status()
    });
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(a.publish(&mut world, Some(600), &device(1, "Custom:x1", "BUSY")).status(), 200);
    assert_eq!(counters(&world, "publish_shed"), 1);
}
