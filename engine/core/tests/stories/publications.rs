//! Publications: what others keep with us, how it adds up, and whose watchers see it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::command::{Answer, Command, Event, Query};
use lampfield_core::config::{Combination, Config, Dialect, Publications, PublishScope};
use lampfield_core::record::Record;
use lampfield_core::state::{DeviceState, PresenceState};
use lampfield_wire::HeaderName;

use super::publisher::{Publisher, counters, dialog, presence, shows};
use super::restart::kept;
use super::world::{Phone, T, World, config};

/// The phones may publish; extensions without a hint may be published and watched.
pub(super) fn publishing(combination: Combination) -> Config {
    let mut config = config(Dialect::Rfc);
    config.tenants[0].publications =
        Some(Publications { combination, unhinted: true, ..Publications::default() });
    config.endpoints[0].allow_publish = PublishScope::Any;
    config
}

fn world(shard_count: u8) -> World {
    World::with(shard_count, publishing(Combination::Merged), 0)
}

#[test]
fn a_publication_shows_from_its_first_document_until_it_is_removed() {
    for shard_count in [1, 2, 3] {
        let mut world = world(shard_count);
        for n in 0..6 {
            let exten = format!("77{n}");
            let mut publisher = Publisher::new(100 + n, &exten, "dialog");
            let mut lamp = Phone::new(10 + n, &exten).watching_dialogs();
            let mut screen = Phone::new(30 + n, &exten);
            let (response, first) = lamp.subscribe(&mut world, Some(600));
            assert_eq!((response.status(), shows(&first)), (200, "terminated"), "no dialogs yet");
            assert_eq!(shows(&screen.subscribe(&mut world, Some(600)).1), "Unavailable", "closed");
            let answer = publisher.publish(&mut world, Some(300), &dialog(&exten, "a", "early"));
            assert_eq!((answer.status(), answer.header(HeaderName::Expires)), (200, "300".into()));
            assert_eq!(shows(&lamp.listen(&mut world)), "early");
            assert_eq!(shows(&screen.listen(&mut world)), "Ringing", "dialogs show in presence");
            let first_tag = publisher.entity_tag.clone();
            publisher.publish(&mut world, Some(300), &dialog(&exten, "a", "confirmed"));
            assert_ne!(publisher.entity_tag, first_tag);
            assert_eq!(shows(&lamp.listen(&mut world)), "confirmed");
            let (answer, tag) =
                (publisher.publish(&mut world, Some(60), ""), &publisher.entity_tag);
            assert_eq!((answer.status(), tag.len()), (200, 32));
            assert_eq!(lamp.listen(&mut world), [], "a refresh changes nothing");
            let answer = publisher.publish(&mut world, Some(0), "");
            assert_eq!((answer.status(), answer.header(HeaderName::Expires)), (200, "0".into()));
            assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
            screen.listen(&mut world);
            assert_eq!(publisher.publish(&mut world, Some(60), "").status(), 412);
            lamp.subscribe(&mut world, Some(0));
            screen.subscribe(&mut world, Some(0));
        }
        for (name, want) in [
            ("publication_created", 6),
            ("publication_modified", 6),
            ("publication_refreshed", 6),
            ("publication_removed", 6),
            ("publish_unmatched", 6),
        ] {
            assert_eq!(counters(&world, name), want, "{name}");
        }
        assert_eq!(world.stats(|s| s.publication_count), 0);
        let sources = world.stats(|s| s.source_count);
        let hinted = World::with(shard_count, publishing(Combination::Merged), 0);
        assert_eq!(sources, hinted.stats(|s| s.source_count), "nothing is left behind");
    }
}

#[test]
fn a_publication_ends_by_itself_unless_it_is_refreshed() {
    let mut world = world(2);
    let mut publisher = Publisher::new(100, "771", "dialog");
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(3600));
    publisher.publish(&mut world, Some(60), &dialog("771", "a", "confirmed"));
    assert_eq!(shows(&lamp.listen(&mut world)), "confirmed");
    world.pass(Duration::from_secs(50));
    publisher.publish(&mut world, Some(60), "");
    world.pass(Duration::from_secs(50));
    assert_eq!(lamp.listen(&mut world), []);
    // Shorter than what was left: the earlier time counts.
    publisher.publish(&mut world, Some(3600), "");
    publisher.publish(&mut world, Some(20), "");
    world.pass(Duration::from_secs(19));
    assert_eq!(lamp.listen(&mut world), []);
    world.pass(Duration::from_secs(2));
    assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
    assert_eq!(
        (counters(&world, "publication_expired"), counters(&world, "publication_removed")),
        (1, 0)
    );
    assert_eq!(publisher.publish(&mut world, None, "").status(), 412, "it starts over");
    publisher.entity_tag.clear();
    let answer = publisher.publish(&mut world, None, &dialog("771", "a", "confirmed"));
    assert_eq!(answer.header(HeaderName::Expires), "3600", "the default");
    let answer = publisher.publish(&mut world, Some(90_000), "");
    assert_eq!(answer.header(HeaderName::Expires), "3600", "the bound");
}

#[test]
fn one_that_expires_at_once_is_shown_for_a_second() {
    let mut world = world(2);
    let mut publisher = Publisher::new(100, "771", "dialog");
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    let answer = publisher.publish(&mut world, Some(0), &dialog("771", "a", "early"));
    assert_eq!((answer.status(), answer.header(HeaderName::Expires)), (200, "0".into()));
    assert_eq!(shows(&lamp.listen(&mut world)), "early");
    assert_eq!(kept(&world).iter().filter(|record| record.key[0] == b'E').count(), 0);
    assert_eq!(publisher.publish(&mut world, Some(60), "").status(), 412);
    world.pass(Duration::from_secs(2));
    assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
}

#[test]
fn several_publishers_add_up_and_each_takes_back_its_own() {
    let mut world = world(3);
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    let [mut one, mut two] = [100, 101].map(|host| Publisher::new(host, "771", "dialog"));
    let mut status = Publisher::new(102, "771", "presence");
    status.publish(&mut world, Some(600), &presence("771", "open", ""));
    assert_eq!(lamp.listen(&mut world), [], "open and no dialogs: the lamp stays dark");
    one.publish(&mut world, Some(600), &dialog("771", "a", "confirmed"));
    assert_eq!(shows(&lamp.listen(&mut world)), "confirmed");
    two.publish(&mut world, Some(600), &dialog("771", "a", "early"));
    let both = lamp.listen(&mut world)[0].body();
    assert!(both.find(">confirmed<") < both.find(">early<"), "the leading one first: {both}");
    one.publish(&mut world, Some(600), &dialog("771", "a", "terminated"));
    assert_eq!(shows(&lamp.listen(&mut world)), "early", "the other's call still rings");
    two.publish(&mut world, Some(0), &dialog("771", "a", "terminated"));
    assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
    let request = one.request(&status.entity_tag, Some(60), "");
    assert_eq!(one.send(&mut world, &request).status(), 412, "a tag of another package");
}

#[test]
fn what_a_person_says_reaches_digium_phones_and_the_control_plane() {
    let mut world = world(2);
    let mut digium = Phone::new(8, "lamp1");
    digium.user_agent = "Sangoma P315 4_15_0".into();
    digium.subscribe(&mut world, Some(600));
    world.events.clear();
    let mut publisher = Publisher::new(100, "lamp1", "presence");
    let meeting = "<d:person id='p'><r:activities><r:meeting/></r:activities><d:note>R&amp;D</d:note></d:person>";
    publisher.publish(&mut world, Some(600), &presence("lamp1", "open", meeting));
    let body = digium.listen(&mut world).remove(0).body();
    assert!(body.contains("type=\"dnd\"") && body.contains("subtype=\"meeting\""), "{body}");
    assert!(body.contains("R&amp;D"), "{body}");
    let events = std::mem::take(&mut world.events);
    let presences: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::PresenceStateChange { presentity, presence, .. } => {
                Some((presentity.to_string(), presence.state))
            }
            Event::PresenceStatus { extension, presence, .. } => {
                Some((extension.to_string(), presence.state))
            }
            _ => None,
        })
        .collect();
    let dnd = PresenceState::Dnd;
    assert_eq!(presences, [("Publication:lamp1".into(), dnd), ("lamp1".into(), dnd)]);
    // A hint's own presence counts beside it: the higher rank shows.
    world.set_presence("CustomPresence:lamp1", "away");
    assert_eq!(digium.listen(&mut world), []);
    publisher.publish(&mut world, Some(0), "");
    assert!(digium.listen(&mut world).remove(0).body().contains("type=\"away\""));
}

#[test]
fn hints_and_publications_combine_as_the_tenant_wants() {
    use Combination::{Hint, Merged, Publication, PublicationFirst};
    // The lamp before a publication, with an idle one, with one that rings, and after it.
    for (combination, want) in [
        (Merged, ["On the phone", "On the phone", "Ringing", "On the phone"]),
        (PublicationFirst, ["On the phone", "Ready", "Ringing", "On the phone"]),
        (Publication, ["Unavailable", "Ready", "Ringing", "Unavailable"]),
    ] {
        let mut world = World::with(2, publishing(combination), 0);
        world.set_device("Custom:lamp1", DeviceState::InUse);
        let mut phone = Phone::new(9, "lamp1");
        let mut shown = shows(&phone.subscribe(&mut world, Some(600)).1);
        let mut seen = vec![shown];
        let mut publisher = Publisher::new(100, "lamp1", "dialog");
        for state in ["terminated", "early", ""] {
            match state {
                "" => publisher.publish(&mut world, Some(0), ""),
                state => publisher.publish(&mut world, Some(60), &dialog("lamp1", "a", state)),
            };
            let got = phone.listen(&mut world);
            shown = if got.is_empty() { shown } else { shows(&got) };
            seen.push(shown);
        }
        assert_eq!(seen, want, "{combination:?}");
    }
    let mut world = World::with(2, publishing(Hint), 0);
    let mut publisher = Publisher::new(100, "lamp1", "dialog");
    let answer = publisher.publish(&mut world, Some(60), &dialog("lamp1", "a", "early"));
    assert_eq!(answer.status(), 403);
    assert!(answer.header(HeaderName::Warning).contains("takes no publications"));
    publisher.exten = "unhinted".into();
    let answer = publisher.publish(&mut world, Some(60), &dialog("unhinted", "a", "early"));
    assert_eq!(answer.status(), 200);
}

#[test]
fn who_may_publish_is_decided_before_anything_is_kept() {
    let body = presence("lamp1", "open", "");
    let mut config = publishing(Combination::Merged);
    config.tenants[0].publications = Some(Publications::default());
    config.endpoints[2].allow_publish = PublishScope::Own;
    let mut world = World::with(2, config, 0);
    let from = |world: &mut World, network: [u8; 3], exten: &str| {
        let mut publisher = Publisher::new(9, exten, "presence");
        let [a, b, c] = network;
        publisher.address = SocketAddr::from(([a, b, c, 9], 5080));
        let answer = publisher.publish(world, Some(60), &presence(exten, "open", ""));
        (answer.status(), answer.header(HeaderName::Warning))
    };
    for (network, exten, status, why) in [
        ([192, 0, 2], "lamp1", 200, ""),
        ([192, 0, 2], "nobody", 404, ""),
        ([198, 51, 100], "lamp1", 403, "may not publish"),
        ([203, 0, 113], "lamp1", 403, "about itself only"),
        ([10, 0, 0], "lamp1", 403, ""),
    ] {
        let (got, warning) = from(&mut world, network, exten);
        assert_eq!(got, status, "{network:?} {exten} {warning}");
        assert!(warning.contains(why), "{warning}");
    }
    // Known by the From user, or as nobody in particular, is not known enough.
    for is_anonymous in [false, true] {
        let mut config = publishing(Combination::Merged);
        config.identify.networks.clear();
        match is_anonymous {
            false => drop(
                config.identify.users.insert("p".into(), lampfield_core::config::EndpointId(0)),
            ),
            true => config.identify.anonymous = Some(lampfield_core::config::EndpointId(0)),
        }
        let mut world = World::with(1, config, 0);
        let answer = Publisher::new(9, "lamp1", "presence").publish(&mut world, Some(60), &body);
        assert_eq!(answer.status(), 403);
        assert!(answer.header(HeaderName::Warning).contains("credentials"));
        assert_eq!(world.stats(|s| s.publication_count), 0);
    }
    // An Asterisk knows no such handler.
    let mut world = World::new(1, Dialect::Asterisk);
    let answer = Publisher::new(9, "lamp1", "presence").publish(&mut world, Some(60), &body);
    assert_eq!(answer.status(), 489);
}

#[test]
fn every_broken_publication_gets_its_code_and_the_state_stays() {
    let mut config = publishing(Combination::Merged);
    config.limits.publication_bytes_max = 2000;
    let mut world = World::with(2, config, 0);
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    let mut good = Publisher::new(100, "771", "dialog");
    good.publish(&mut world, Some(600), &dialog("771", "a", "confirmed"));
    lamp.listen(&mut world);
    let idle = dialog("771", "a", "terminated");
    let deep = format!("{}{}", "<x>".repeat(80), "</x>".repeat(80));
    let long = idle.replace('>', &format!(">{}", " ".repeat(400)));
    let twice = idle.replace("</dialog>", "</dialog><dialog id='a'><state>early</state></dialog>");
    let stale = "0".repeat(32);
    type Edit = fn(&mut Publisher);
    let none: Edit = |_| {};
    type Row<'a> = (&'a str, &'a str, Option<u32>, Edit, u16, &'a str);
    let rows: [Row<'_>; 17] = [
        (&idle, "", Some(60), |p| p.event = "refer".into(), 489, "request_refused"),
        (&idle, "", Some(60), |p| p.event.clear(), 489, "request_refused"),
        (&idle, "", Some(60), |p| p.event = "dialog;sla".into(), 489, "request_refused"),
        ("", "", Some(60), none, 400, "publish_malformed"),
        (&idle, "a b", Some(60), none, 400, "publish_malformed"),
        (&idle, "made-up", Some(60), none, 412, "publish_unmatched"),
        (&idle, &stale, Some(60), none, 412, "publish_unmatched"),
        ("", &stale, Some(0), none, 412, "publish_unmatched"),
        (&idle, "", Some(9), none, 423, "publish_too_brief"),
        (&idle, "", Some(60), |p| p.content_type = "text/plain".into(), 415, "publish_unsupported"),
        (
            &idle,
            "",
            Some(60),
            |p| p.extra = "Content-Encoding: br\r\n".into(),
            415,
            "publish_unsupported",
        ),
        (
            &idle,
            "",
            Some(60),
            |p| p.extra = "Content-Encoding: gzip\r\n".into(),
            400,
            "publish_malformed",
        ),
        (&idle[..90], "", Some(60), none, 400, "publish_malformed"),
        (&deep, "", Some(60), none, 400, "publish_malformed"),
        (&twice, "", Some(60), none, 400, "publish_malformed"),
        (&long, "", Some(60), none, 413, "publish_oversized"),
        (&dialog("772", "a", "early"), "", Some(60), none, 400, "publish_foreign"),
    ];
    for (body, entity_tag, expires, edit, status, counter) in rows {
        let mut publisher = Publisher::new(101, "771", "dialog");
        edit(&mut publisher);
        let before = counters(&world, counter);
        let request = publisher.request(entity_tag, expires, body);
        let answer = publisher.send(&mut world, &request);
        assert_eq!(answer.status(), status, "{:?}", String::from_utf8(request));
        assert_eq!(counters(&world, counter), before + 1, "{counter}");
        for (code, name) in [
            (489, HeaderName::AllowEvents),
            (423, HeaderName::MinExpires),
            (400, HeaderName::Warning),
            (413, HeaderName::Warning),
        ] {
            assert!(status != code || !answer.header(name).is_empty(), "{name:?} of {status}");
        }
        if status == 415 {
            let accepts = answer.header(HeaderName::Accept);
            assert!(
                accepts == "application/dialog-info+xml"
                    || answer.0.windows(15).any(|w| w == b"Accept-Encoding")
            );
        }
    }
    assert_eq!(lamp.listen(&mut world), [], "the state stays");
    assert_eq!(world.stats(|s| s.publication_count), 1);
    assert_eq!(good.publish(&mut world, Some(60), "").status(), 200, "and so does its tag");
}

#[test]
fn a_publish_that_comes_again_is_answered_as_before() {
    let mut world = world(2);
    let mut publisher = Publisher::new(100, "771", "dialog");
    let request = publisher.request("", Some(60), &dialog("771", "a", "early"));
    let [first, again] = [0; 2].map(|_| publisher.send(&mut world, &request));
    assert_eq!(first, again);
    assert_eq!(world.stats(|s| s.publication_count), 1);
    let other_path =
        String::from_utf8(request.clone()).expect("text").replace("z9hG4bK-", "z9hG4bK-x");
    assert_eq!(publisher.send(&mut world, other_path.as_bytes()).status(), 482);
    // After its time the same bytes are a new request.
    world.pass(Duration::from_secs(33));
    assert_eq!(publisher.send(&mut world, &request).status(), 200);
    assert_eq!(world.stats(|s| s.publication_count), 2);
}

#[test]
fn publications_survive_a_restart_with_their_tags_and_time() {
    for (before, after) in [(1, 1), (2, 3), (3, 2)] {
        let mut world = world(before);
        let mut lamp = Phone::new(9, "771").watching_dialogs();
        lamp.subscribe(&mut world, Some(3600));
        let mut call = Publisher::new(100, "771", "dialog");
        let mut person = Publisher::new(101, "lamp1", "presence");
        let mut brief = Publisher::new(102, "lamp2", "presence");
        let mut removed = Publisher::new(103, "lamp3", "presence");
        call.publish(&mut world, Some(60), &dialog("771", "a", "early"));
        call.publish(&mut world, Some(600), &dialog("771", "a", "confirmed"));
        lamp.listen(&mut world);
        let away = "<d:person id='p'><r:activities><r:away/></r:activities></d:person>";
        person.publish(&mut world, Some(600), &presence("lamp1", "open", away));
        brief.publish(&mut world, Some(60), &presence("lamp2", "open", ""));
        removed.publish(&mut world, Some(600), &presence("lamp3", "open", ""));
        removed.publish(&mut world, Some(0), "");
        world.pass(Duration::from_secs(50));
        let records = kept(&world);

        let mut world = World::with(after, publishing(Combination::Merged), 100_000);
        for record in records {
            world.command(&Command::Restore(record));
        }
        world.run();
        assert_eq!(world.stats(|s| s.publication_count), 2, "{before} to {after} shards");
        assert_eq!(shows(&lamp.listen(&mut world)), "confirmed");
        let mut digium = Phone::new(10, "lamp1");
        digium.user_agent = "Digium D60".into();
        let (_, first) = digium.subscribe(&mut world, Some(600));
        assert!(first[0].body().contains("type=\"away\""), "{}", first[0].body());
        let tag = call.entity_tag.clone();
        assert_eq!(call.publish(&mut world, Some(600), "").status(), 200);
        assert!(call.entity_tag > tag, "tags rise over a restart: none comes twice");
        assert_eq!(brief.publish(&mut world, Some(60), "").status(), 412);
        assert_eq!(removed.publish(&mut world, Some(60), "").status(), 412);
        world.pass(Duration::from_secs(498));
        assert_eq!(person.publish(&mut world, Some(60), "").status(), 200, "a second is left");
        world.pass(Duration::from_secs(110));
        let rows = publications(&mut world);
        assert_eq!(rows, Vec::<String>::new(), "all has run out by now");
        assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
    }
}

fn publications(world: &mut World) -> Vec<String> {
    let query = Query::Publications { tenant: Some(T), presentity: None, limit: 100 };
    let rows = world.ask(&query).into_iter().flat_map(|answer| match answer {
        Answer::Publications(rows, _) => rows,
        _ => Vec::new(),
    });
    rows.map(|row| format!("{} {} {} {:?}", row.presentity, row.event, row.endpoint, row.device))
        .collect()
}

#[test]
fn records_of_publications_that_make_no_sense_are_left_alone() {
    let mut world = world(1);
    let mut publisher = Publisher::new(100, "771", "dialog");
    publisher.publish(&mut world, Some(600), &dialog("771", "a", "confirmed"));
    let whole = kept(&world).into_iter().find(|record| record.key[0] == b'E').expect("its record");
    let value = whole.value.clone().expect("a value");
    let mut world = self::world(1);
    for length in 0..value.len() {
        let cut = Record { key: whole.key.clone(), value: Some(value[..length].into()) };
        world.command(&Command::Restore(cut));
    }
    for length in 0..whole.key.len() {
        let cut = Record { key: whole.key[..length].into(), value: whole.value.clone() };
        world.command(&Command::Restore(cut));
    }
    let before = world.stats(|s| s.publication_count);
    // One of a newer version, or of nobody's making.
    world.command(&Command::Restore(Record { key: [b'?', 1][..].into(), ..whole.clone() }));
    let lost = (value.len() + whole.key.len() + 1) as u64 - before;
    assert_eq!(counters(&world, "record_lost"), lost);
    world.command(&Command::Restore(whole));
    assert_eq!(counters(&world, "record_lost"), lost);
    assert_eq!(world.stats(|s| s.publication_count), before + 1);
}

#[test]
fn a_reload_ends_what_may_not_be_published_any_more() {
    let mut world = world(2);
    let mut lamp = Phone::new(9, "lamp1").watching_dialogs();
    let mut stranger = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    stranger.subscribe(&mut world, Some(600));
    for exten in ["lamp1", "771"] {
        let body = dialog(exten, "a", "confirmed");
        Publisher::new(100, exten, "dialog").publish(&mut world, Some(600), &body);
    }
    assert_eq!(publications(&mut world).len(), 2);
    assert_eq!(shows(&lamp.listen(&mut world)), "confirmed");
    let mut silent = publishing(Combination::Merged);
    silent.endpoints[0].allow_publish = PublishScope::None;
    world.command(&Command::Reload(Arc::new(silent)));
    assert_eq!(publications(&mut world), Vec::<String>::new());
    assert_eq!(counters(&world, "publication_ended"), 2);
    assert_eq!(shows(&lamp.listen(&mut world)), "terminated");
    // Without the rule the extension without a hint is gone as well.
    world.command(&Command::Reload(Arc::new(config(Dialect::Rfc))));
    let last = stranger.listen(&mut world);
    assert_eq!(last.last().expect("a last word").state(), "terminated;reason=noresource");
    assert_eq!(lamp.listen(&mut world), []);
}

#[test]
fn limits_bound_publications_and_say_which() {
    let limited = |edit: fn(&mut Config)| {
        let mut config = publishing(Combination::Merged);
        edit(&mut config);
        World::with(1, config, 0)
    };
    for (edit, second, why) in [
        ((|c| c.limits.publication_count_max = 1) as fn(&mut Config), "772", "of the shard"),
        (|c| c.limits.publication_per_tenant_max = 1, "772", "of the tenant"),
        (|c| c.limits.publication_per_source_max = 1, "772", "of one address"),
        (|c| c.limits.publication_per_presentity_max = 1, "771", "of one presentity"),
        (|c| c.limits.source_count_max = 39, "772", "sources of the shard"),
    ] {
        let mut world = limited(edit);
        let room = world.stats(|s| s.source_count);
        let mut first = Publisher::new(100, "771", "presence");
        assert_eq!(
            first.publish(&mut world, Some(60), &presence("771", "open", "")).status(),
            200,
            "{why} {room}"
        );
        let mut other = Publisher::new(100, second, "dialog");
        let answer = other.publish(&mut world, Some(60), &dialog(second, "a", "early"));
        assert_eq!(answer.status(), 503, "{why}");
        assert!(answer.header(HeaderName::Warning).contains(why), "{answer:?}");
        assert!(!answer.header(HeaderName::RetryAfter).is_empty());
        assert_eq!(counters(&world, "publish_shed"), 1);
        // What is there can be changed, and gives its place back.
        assert_eq!(
            first.publish(&mut world, Some(60), &presence("771", "closed", "")).status(),
            200
        );
        assert_eq!(first.publish(&mut world, Some(0), "").status(), 200);
        assert_eq!(
            other.publish(&mut world, Some(60), &dialog(second, "a", "early")).status(),
            200
        );
    }
}
