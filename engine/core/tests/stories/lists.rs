//! Resource lists: what their watchers are told (`reference/sip-pubsub.md` section 23, rows L1
//! to L14; traces 10 and 11).

use std::sync::Arc;
use std::time::Duration;

use lampfield_core::command::Command;
use lampfield_core::config::{Config, Dialect};
use lampfield_core::dialplan::{Dialplan, Hint};
use lampfield_core::list::{List, ListItem};
use lampfield_core::package::Package;
use lampfield_core::state::DeviceState::{self, *};
use lampfield_wire::HeaderName;

use super::world::{Phone, Received, T, World, config, dialplan};

const DIALECTS: [Dialect; 2] = [Dialect::Rfc, Dialect::Asterisk];

pub(super) fn list(name: &str, items: &str) -> List {
    List {
        name: name.into(),
        package: Package::Presence,
        items: items.split(' ').filter(|i| !i.is_empty()).map(ListItem::parse).collect(),
        full_state: false,
        batch_interval: Duration::ZERO,
        display_names: false,
        origin: "test".into(),
    }
}

pub(super) fn config_with(dialect: Dialect, lists: Vec<List>) -> Config {
    let mut config = config(dialect);
    lists.into_iter().for_each(|list| config.lists.add(T, list).expect("a list"));
    config
}

fn world(dialect: Dialect, lists: Vec<List>) -> World {
    World::with(2, config_with(dialect, lists), 0)
}

pub(super) fn watcher(host: u8, list: &str) -> Phone {
    let mut phone = Phone::new(host, list);
    phone.extra = "Supported: eventlist\r\n".into();
    phone
}

pub(super) fn reload(world: &mut World, config: Config) {
    world.command(&Command::Reload(Arc::new(config)));
}

/// What one NOTIFY of a list shows: version, whether all, and `name:note` or `name:state` each.
pub(super) fn shown(notify: &Received) -> (u32, bool, String) {
    shown_by(&notify.body(), 0)
}

fn shown_by(body: &str, depth: usize) -> (u32, bool, String) {
    let delimiter = format!("\r\n--lf{depth}");
    let parts: Vec<&str> = body.split(&*delimiter).collect();
    assert_eq!((parts[0], *parts.last().expect("one")), ("", "--\r\n"), "{body}");
    let part = |cid: &str| {
        let wanted = format!("Content-ID: <{cid}>");
        let mut found = parts.iter().filter(|part| part.contains(&wanted));
        let part = found.next().unwrap_or_else(|| panic!("no part {cid} in {body}"));
        assert!(found.next().is_none(), "{cid} twice");
        let (head, text) = part.split_once("\r\n\r\n").expect("a head");
        if let Some((_, length)) = head.split_once("Content-Length: ") {
            assert_eq!(length.trim(), text.len().to_string(), "{part}");
        }
        text.to_owned()
    };
    let rlmi = parts[1].split_once("\r\n\r\n").expect("a head").1;
    let mut told = Vec::new();
    for resource in rlmi.split("<resource ").skip(1) {
        let name = between(resource, "<name>", "</name>");
        let said = match resource.split_once(" cid=\"") {
            Some((_, cid)) => {
                let text = part(cid.split('"').next().expect("a quote"));
                match text.starts_with("\r\n--") {
                    true => format!("[{}]", shown_by(&text, depth + 1).2),
                    false if text.contains("<dialog-info") => {
                        between(&text, "<state>", "</state>").to_owned()
                    }
                    false => between(&text, "<note>", "</note>").to_owned(),
                }
            }
            None => between(resource, "state=\"", "\"").to_owned(),
        };
        told.push(format!("{name}:{said}"));
    }
    let rlmi = between(rlmi, "<list ", ">");
    let version = between(rlmi, " version=\"", "\"").parse().expect("a version");
    (version, between(rlmi, "fullState=\"", "\"") == "true", told.join(" "))
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let rest = text.split_once(before).map_or("", |(_, rest)| rest);
    rest.split_once(after).map_or("", |(found, _)| found)
}

pub(super) fn set(world: &mut World, states: &[(&str, DeviceState)]) {
    for (lamp, state) in states {
        world.set_device(&format!("Custom:{lamp}"), *state);
    }
}

#[test]
fn all_after_a_subscribe_then_what_changed_then_all_again() {
    for dialect in DIALECTS {
        let mut world = world(dialect, vec![list("sales", "lamp0 lamp1 lamp2")]);
        set(&mut world, &[("lamp0", NotInUse), ("lamp1", InUse), ("lamp2", NotInUse)]);
        let mut phone = watcher(9, "sales");
        let (response, notifies) = phone.subscribe(&mut world, Some(600));
        assert_eq!(response.header(HeaderName::Require), "eventlist");
        assert_eq!(notifies[0].header(HeaderName::Require), "eventlist");
        let all = "lamp0:Ready lamp1:On the phone lamp2:Ready";
        assert_eq!(shown(&notifies[0]), (0, true, all.into()));
        set(&mut world, &[("lamp2", Ringing)]);
        let got = phone.listen(&mut world);
        assert_eq!(shown(&got[0]), (1, false, "lamp2:Ringing".into()));
        // A lamp that is in no list of his does not concern him.
        set(&mut world, &[("lamp3", Ringing)]);
        assert_eq!(phone.listen(&mut world), []);
        let all = "lamp0:Ready lamp1:On the phone lamp2:Ringing";
        let (_, notifies) = phone.subscribe(&mut world, Some(600));
        assert_eq!(shown(&notifies[0]), (2, true, all.into()));
        let (_, notifies) = phone.subscribe(&mut world, Some(0));
        assert_eq!(notifies.len(), 1);
        assert!(notifies[0].state().starts_with("terminated"));
        assert_eq!(shown(&notifies[0]), (3, true, all.into()));
        let left = world.stats(|s| s.subscription_count + s.part_count + s.list_member_count);
        assert_eq!(left, 0);
    }
}

#[test]
fn full_state_shows_all_every_time() {
    let sales = List { full_state: true, ..list("sales", "lamp0 lamp1") };
    let mut world = world(Dialect::Rfc, vec![sales]);
    let mut phone = watcher(9, "sales");
    phone.subscribe(&mut world, Some(600));
    set(&mut world, &[("lamp1", InUse)]);
    let got = phone.listen(&mut world);
    assert_eq!(shown(&got[0]), (1, true, "lamp0:Ready lamp1:On the phone".into()));
}

#[test]
fn changes_within_the_batch_interval_leave_together() {
    for dialect in DIALECTS {
        let batch_interval = Duration::from_millis(5000);
        let sales = List { batch_interval, ..list("sales", "lamp0 lamp1 lamp2") };
        let mut world = world(dialect, vec![sales]);
        let mut phone = watcher(9, "sales");
        phone.subscribe(&mut world, Some(600));
        set(&mut world, &[("lamp0", InUse), ("lamp0", Ringing)]);
        world.pass(Duration::from_millis(4990));
        set(&mut world, &[("lamp2", InUse)]);
        assert_eq!(phone.listen(&mut world), [], "not before the interval has passed");
        world.pass(Duration::from_millis(10));
        let got = phone.listen(&mut world);
        assert_eq!(got.len(), 1);
        assert_eq!(shown(&got[0]), (1, false, "lamp0:Ringing lamp2:On the phone".into()));
        // A SUBSCRIBE in the middle takes along what waits, and nothing follows.
        for (expires, version) in [(600, 2), (0, 3)] {
            set(&mut world, &[("lamp1", if version == 2 { InUse } else { Ringing })]);
            let (_, notifies) = phone.subscribe(&mut world, Some(expires));
            assert_eq!(notifies.len(), 1);
            assert_eq!(shown(&notifies[0]).0, version);
            assert!(shown(&notifies[0]).1);
            world.pass(Duration::from_millis(6000));
            assert_eq!(phone.listen(&mut world), []);
        }
    }
}

#[test]
fn names_that_come_twice_or_name_nobody_are_left_out() {
    for (dialect, empty) in [(Dialect::Rfc, 200), (Dialect::Asterisk, 500)] {
        let lists = vec![
            list("twice", "lamp0 lamp1 lamp0 lamp0@hints"),
            list("some", "nosuch lamp1"),
            list("none", "nosuch nobody"),
        ];
        let mut world = world(dialect, lists);
        for (name, want) in [("twice", "lamp0:Ready lamp1:Ready"), ("some", "lamp1:Ready")] {
            let (_, notifies) = watcher(9, name).subscribe(&mut world, Some(600));
            assert_eq!(shown(&notifies[0]).2, want);
        }
        let (response, notifies) = watcher(9, "none").subscribe(&mut world, Some(600));
        assert_eq!(response.status(), empty);
        assert_eq!(notifies.iter().map(|n| shown(n).2).collect::<Vec<_>>().concat(), "");
    }
}

#[test]
fn a_list_is_refused_to_those_who_do_not_know_lists() {
    for (dialect, plain) in [(Dialect::Rfc, 421), (Dialect::Asterisk, 404)] {
        let mut world = world(dialect, vec![list("sales", "lamp0"), list("lamp1", "lamp2")]);
        let (refused, _) = Phone::new(9, "sales").subscribe(&mut world, Some(600));
        assert_eq!(refused.status(), plain);
        let (wrong_event, _) =
            watcher(9, "sales").watching_dialogs().subscribe(&mut world, Some(600));
        assert_eq!(wrong_event.status(), 404);
        assert_eq!(watcher(9, "nosuch").subscribe(&mut world, Some(600)).0.status(), 404);
        // The list goes before an extension of its name, which others still see.
        let (_, notifies) = watcher(9, "lamp1").subscribe(&mut world, Some(600));
        assert_eq!(shown(&notifies[0]).2, "lamp2:Ready");
        let (_, notifies) = Phone::new(8, "lamp1").subscribe(&mut world, Some(600));
        assert!(notifies[0].body().starts_with("<?xml") && notifies[0].body().contains("lamp1"));
    }
}

#[test]
fn lists_within_lists_have_versions_of_their_own() {
    for dialect in DIALECTS {
        let lists = vec![
            list("outer", "lamp0 inner lamp1 loop"),
            list("inner", "lamp2 innermost outer lamp0"),
            list("innermost", "lamp3"),
            list("loop", "loop outer nosuch"),
        ];
        let mut world = world(dialect, lists);
        let mut phone = watcher(9, "outer");
        let (_, notifies) = phone.subscribe(&mut world, Some(600));
        let want = "lamp0:Ready inner:[lamp2:Ready innermost:[lamp3:Ready]] lamp1:Ready";
        assert_eq!(shown(&notifies[0]), (0, true, want.into()));
        set(&mut world, &[("lamp1", InUse)]);
        assert_eq!(shown(&phone.listen(&mut world)[0]).2, "lamp1:On the phone");
        set(&mut world, &[("lamp3", InUse)]);
        let got = phone.listen(&mut world);
        let want = "inner:[innermost:[lamp3:On the phone]]";
        assert_eq!(shown(&got[0]), (2, false, want.into()));
        let versions = versions_in(&got[0].body());
        assert_eq!(versions, ["2", "1", "1"], "an inner list counts what it showed");
    }
}

/// Versions of the RLMI documents, in order.
fn versions_in(body: &str) -> Vec<String> {
    let lists = body.split("<list xmlns=").skip(1);
    lists.map(|list| between(list, " version=\"", "\"").to_owned()).collect()
}

#[test]
fn instances_keep_their_names_and_no_content_id_comes_twice() {
    let mut world = world(Dialect::Rfc, vec![list("sales", "lamp0 lamp1")]);
    let mut phone = watcher(9, "sales");
    let (_, mut all) = phone.subscribe(&mut world, Some(600));
    set(&mut world, &[("lamp1", InUse)]);
    all.extend(phone.listen(&mut world));
    all.extend(phone.subscribe(&mut world, Some(600)).1);
    let bodies: Vec<String> = all.iter().map(Received::body).collect();
    let attributes = |name: &str| -> Vec<String> {
        let cut = |body: &String| {
            let pieces = body.split(name).skip(1);
            pieces.map(|p| p.split(['"', '>']).next().unwrap_or("").to_owned()).collect::<Vec<_>>()
        };
        bodies.iter().flat_map(cut).collect()
    };
    let instances = attributes("instance id=\"");
    assert_eq!(instances[0], instances[3]);
    assert_eq!(instances[1], instances[2]);
    assert_ne!(instances[0], instances[1]);
    let mut ids = attributes("Content-ID: <");
    let (count, length) = (ids.len(), ids[0].len());
    assert!(ids.iter().all(|id| id.len() == length));
    ids.sort();
    ids.dedup();
    assert_eq!((count, ids.len()), (8, 8));
}

#[test]
fn members_come_and_go_with_the_configuration() {
    for dialect in DIALECTS {
        let mut world = world(dialect, vec![list("sales", "lamp0 lamp1 late")]);
        let mut phone = watcher(9, "sales");
        phone.subscribe(&mut world, Some(600));
        // A hint is removed: its end is told once, then it is absent.
        let mut smaller = config_with(dialect, vec![list("sales", "lamp0 lamp1 late")]);
        let mut plan = Dialplan::default();
        for exten in ["lamp0", "late"] {
            let hint = Hint::parse(&format!("Custom:{exten}"), "test").expect("a hint");
            plan.add_hint(T, "hints", exten, hint).expect("an extension");
        }
        smaller.dialplan = plan;
        reload(&mut world, smaller);
        let got: Vec<_> = phone.listen(&mut world).iter().map(shown).collect();
        let told: String = got.iter().map(|(_, _, told)| told.clone() + " ").collect();
        assert!(told.contains("lamp1:terminated") && told.contains("late:Ready"), "{told}");
        let (_, notifies) = phone.subscribe(&mut world, Some(600));
        assert_eq!(shown(&notifies[0]).2, "lamp0:Ready late:Ready");
        // It comes back as another instance; the list itself loses one.
        let mut other = config_with(dialect, vec![list("sales", "lamp1 lamp0")]);
        other.dialplan = dialplan();
        reload(&mut world, other);
        let got: Vec<_> = phone.listen(&mut world).iter().map(shown).collect();
        let told: String = got.iter().map(|(_, _, told)| told.clone() + " ").collect();
        assert!(told.contains("lamp1:Ready") && told.contains("late:terminated"), "{told}");
        set(&mut world, &[("lamp1", InUse)]);
        assert_eq!(shown(&phone.listen(&mut world)[0]).2, "lamp1:On the phone");
        // The list is removed.
        reload(&mut world, config_with(dialect, vec![]));
        let got = phone.listen(&mut world);
        assert_eq!(got.len(), 1);
        assert!(got[0].state().starts_with("terminated"));
        assert_eq!(world.stats(|s| s.subscription_count + s.part_count), 0);
    }
}

#[test]
fn what_does_not_fit_follows_in_the_next_versions() {
    let mut config =
        config_with(Dialect::Rfc, vec![list("sales", "lamp0 lamp1 lamp2 lamp3 lamp4")]);
    config.endpoints[0].notify_bytes_max = Some(2600);
    let mut world = World::with(2, config, 0);
    let mut phone = watcher(9, "sales");
    let (_, notifies) = phone.subscribe(&mut world, Some(600));
    let got: Vec<_> = notifies.iter().map(shown).collect();
    assert!(got.len() > 1, "{got:?}");
    let told: Vec<&str> = got.iter().map(|(_, _, told)| told.as_str()).collect();
    let want = "lamp0:Ready lamp1:Ready lamp2:Ready lamp3:Ready lamp4:Ready";
    assert_eq!(told.join(" "), want);
    for (at, (version, is_full, _)) in got.iter().enumerate() {
        assert_eq!((*version, *is_full), (at as u32, at == 0));
        assert!(notifies[at].message().len() <= 2600, "{}", notifies[at].message().len());
    }
}

#[test]
fn a_large_notify_that_nobody_answers_is_followed_by_small_ones() {
    let members = "lamp0 lamp1 lamp2 lamp3 lamp4 lamp5 lamp6 lamp7";
    let dialogs = List { package: Package::Dialog, ..list("sales", members) };
    let mut world = world(Dialect::Rfc, vec![dialogs]);
    let mut phone = watcher(9, "sales").watching_dialogs();
    let request = phone.request(Some(600));
    world.datagram(phone.address, &request, 0);
    let large = world.take(phone.address);
    assert!(large.iter().any(|m| m.message().len() > 3000));
    // A network that drops fragments: all transmissions are lost.
    world.pass(Duration::from_secs(33));
    let lost = world.take(phone.address);
    let small = lost.last().expect("a NOTIFY");
    assert!(small.message().len() <= 1400, "{}", small.message().len());
    phone.answer(&mut world, small, "200 OK", "");
    let mut told = shown(small).2;
    for notify in phone.listen(&mut world) {
        assert!(notify.message().len() <= 1400, "{}", notify.message().len());
        told = format!("{told} {}", shown(&notify).2);
    }
    assert_eq!(told.split(' ').count(), 8, "{told}");
}

#[test]
fn a_watcher_who_has_the_newest_state_is_not_told_it_again() {
    let mut world = world(Dialect::Rfc, vec![list("sales", "lamp0 lamp1")]);
    let mut phone = watcher(9, "sales");
    let (_, notifies) = phone.subscribe(&mut world, Some(600));
    let etag = notifies[0].header(HeaderName::SipEtag);
    let knows = format!("Supported: eventlist\r\nSuppress-If-Match: {etag}\r\n");
    phone.extra.clone_from(&knows);
    let (response, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!((response.status(), notifies.len()), (204, 0));
    set(&mut world, &[("lamp0", InUse)]);
    let got = phone.listen(&mut world);
    assert_eq!(shown(&got[0]), (1, false, "lamp0:On the phone".into()));
    let (response, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!((response.status(), notifies.len()), (200, 1), "the tag is an old one");
    let etag = notifies[0].header(HeaderName::SipEtag);
    phone.extra = format!("Suppress-If-Match: {etag}\r\n");
    let (response, notifies) = phone.subscribe(&mut world, Some(0));
    assert_eq!((response.status(), notifies.len()), (204, 0));
    assert_eq!(world.stats(|s| s.subscription_count), 0);
    // Any state will do: he wants to hear of the subscription only.
    let mut quiet = watcher(8, "sales");
    quiet.extra += "Suppress-If-Match: *\r\n";
    let (_, notifies) = quiet.subscribe(&mut world, Some(600));
    assert_eq!(
        (notifies[0].header(HeaderName::ContentType), notifies[0].body()),
        ("".into(), "".into())
    );
    set(&mut world, &[("lamp0", Ringing)]);
    assert_eq!(quiet.listen(&mut world), []);
}

#[test]
fn a_rate_keeps_notifications_apart() {
    let mut world = world(Dialect::Rfc, vec![list("sales", "lamp0 lamp1")]);
    let mut phone = watcher(9, "sales");
    phone.event = "presence;max-rate=0.1".into();
    let (_, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!(notifies[0].state(), "active;expires=600;max-rate=0.1");
    set(&mut world, &[("lamp0", InUse), ("lamp1", InUse), ("lamp0", Ringing)]);
    world.pass(Duration::from_millis(9_990));
    assert_eq!(phone.listen(&mut world), []);
    world.pass(Duration::from_millis(20));
    let got = phone.listen(&mut world);
    assert_eq!(shown(&got[0]), (1, false, "lamp0:Ringing lamp1:On the phone".into()));
}

#[test]
fn a_list_survives_a_restart() {
    for shard_count in [1, 3] {
        let lists = || vec![list("sales", "lamp0 inner"), list("inner", "lamp1")];
        let mut world = world(Dialect::Rfc, lists());
        let mut phone = watcher(9, "sales");
        let (_, notifies) = phone.subscribe(&mut world, Some(600));
        let before = notifies[0].cseq();
        let records = world.records.clone();
        let mut again = World::with(shard_count, config_with(Dialect::Rfc, lists()), 10_000);
        again.set_device("Custom:lamp1", InUse);
        for record in records {
            again.command(&Command::Restore(record));
        }
        let got = phone.listen(&mut again);
        assert_eq!(got.len(), 1);
        assert!(got[0].cseq() > before);
        let (version, is_full, told) = shown(&got[0]);
        assert!(version > 0 && is_full);
        assert_eq!(told, "lamp0:Ready inner:[lamp1:On the phone]");
        let (_, notifies) = phone.subscribe(&mut again, Some(600));
        assert_eq!(shown(&notifies[0]).0, version + 1);
    }
}

#[test]
fn a_lost_answer_makes_a_list_tell_all() {
    let mut world = world(Dialect::Rfc, vec![list("sales", "lamp0 lamp1")]);
    let mut phone = watcher(9, "sales");
    phone.subscribe(&mut world, Some(3600));
    set(&mut world, &[("lamp0", InUse)]);
    world.pass(Duration::from_secs(33));
    assert!(world.take(phone.address).len() > 5, "retransmissions, all lost");
    set(&mut world, &[("lamp1", InUse)]);
    world.pass(Duration::from_secs(1));
    let got = phone.listen(&mut world);
    let mut told: Vec<_> = got.iter().map(shown).collect();
    told.dedup();
    assert!(told[0].1, "{told:?}");
    let told: Vec<_> = told.iter().map(|(_, _, told)| told.as_str()).collect();
    assert_eq!(told.join(" "), "lamp0:On the phone lamp1:On the phone");
}

#[test]
fn a_request_may_carry_its_list() {
    let mut world = world(Dialect::Rfc, vec![list("sales", "lamp0")]);
    let document = |entries: &[(&str, &str)]| {
        let entry = |(uri, name): &(&str, &str)| {
            format!("<entry uri=\"{uri}\"><display-name>{name}</display-name></entry>")
        };
        let entries: String = entries.iter().map(entry).collect();
        format!(
            "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>"
        )
    };
    let says = "Supported: eventlist\r\nRequire: recipient-list-subscribe\r\n\
        Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n";
    let carrying = |entries: &[(&str, &str)]| {
        let mut phone = Phone::new(9, "rls");
        phone.extra = says.into();
        phone.body = document(entries).into_bytes();
        phone
    };
    let (ours, foreign) = ("sip:lamp1@192.0.2.1:5060", "sip:lamp2@example.net");
    let mut phone = carrying(&[(ours, "One"), ("sip:lamp1@192.0.2.1", "Again"), (foreign, "Two")]);
    let (response, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!(
        (response.status(), response.header(HeaderName::Require)),
        (200, "eventlist".into())
    );
    assert_eq!(shown(&notifies[0]), (0, true, "One:Ready :terminated".into()));
    set(&mut world, &[("lamp1", InUse)]);
    assert_eq!(shown(&phone.listen(&mut world)[0]), (1, false, "One:On the phone".into()));
    // Another list in the same dialog replaces it; without one it stays.
    phone.body = document(&[("sip:lamp3@192.0.2.1", "Three")]).into_bytes();
    let (_, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!(shown(&notifies[0]), (2, true, "Three:Ready lamp1:terminated".into()));
    (phone.body, phone.extra) = (Vec::new(), String::new());
    let (_, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!(shown(&notifies[0]), (3, true, "Three:Ready".into()));
    let refused = |edit: fn(&mut Phone), status| {
        let mut config = config(Dialect::Rfc);
        config.limits.request_list_bytes_max = 2000;
        let mut world = World::with(2, config, 0);
        let mut phone = carrying(&[(ours, "One")]);
        edit(&mut phone);
        let (response, notifies) = phone.subscribe(&mut world, Some(600));
        assert_eq!((response.status(), notifies.len()), (status, 0));
    };
    refused(|p| p.extra = p.extra.replace("eventlist", "x"), 421);
    refused(|p| p.extra = p.extra.replace("resource-lists", "pidf"), 415);
    refused(|p| p.extra += "Content-Encoding: br\r\n", 415);
    refused(|p| p.extra += "Content-Encoding: deflate\r\n", 400);
    refused(|p| p.body.truncate(30), 400);
    refused(|p| p.extra = p.extra.replace("Content-Disposition: recipient-list", "X: y"), 400);
    refused(|p| p.body = vec![b' '; 2001], 413);
}
