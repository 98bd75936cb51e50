//! Published calls: what a watcher learns of who calls whom.

use std::sync::Arc;
use std::time::Duration;

use lampfield_core::command::Command;
use lampfield_core::config::{CallDetails, Combination, Config, Dialect};
use lampfield_core::state::DeviceState;
use lampfield_wire::{DialogFacts, DialogInfoFacts};

use super::publications::publishing;
use super::publisher::{Publisher, counters, dialog, shows};
use super::restart::kept;
use super::world::{Phone, Received, World};

fn telling(details: CallDetails) -> Config {
    let mut config = publishing(Combination::Merged);
    if let Some(publications) = &mut config.tenants[0].publications {
        publications.call_details = details;
    }
    config
}

/// One branch of a call, as `pua_dialoginfo` of Kamailio writes it.
fn kamailio(call_id: &str, state: &str, direction: &str, caller: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" \
         version=\"00000000000\" state=\"partial\" entity=\"sip:771@h\"><dialog id=\"{call_id}\" \
         call-id=\"{call_id}\" local-tag=\"lt&amp;\" remote-tag=\"rt\" direction=\"{direction}\">\
         <state>{state}</state><remote><identity display=\"Bob &lt;3\">sip:{caller}@h</identity>\
         <target uri=\"sip:{caller}@h:5080\"/></remote><local><identity>sip:771@h</identity>\
         <target uri=\"sip:771@secret\"/></local></dialog></dialog-info>"
    )
}

fn told(got: &[Received]) -> Vec<DialogFacts> {
    let body = got.last().expect("a NOTIFY").body();
    DialogInfoFacts::parse(body.as_bytes()).expect("dialog-info").dialogs
}

/// State, Call-ID and other side of each dialog.
fn rows(got: &[Received]) -> Vec<String> {
    let row = |dialog: &DialogFacts| {
        let call_id = dialog.call_id.as_deref().unwrap_or("-");
        format!("{} {call_id} {}", dialog.state, dialog.remote.identity)
    };
    told(got).iter().map(row).collect()
}

#[test]
fn a_call_is_told_with_all_that_picks_it_up() {
    for shard_count in [1, 3] {
        let mut world = World::with(shard_count, telling(CallDetails::All), 0);
        let mut lamp = Phone::new(9, "771").watching_dialogs();
        lamp.subscribe(&mut world, Some(600));
        let mut proxy = Publisher::new(100, "771", "dialog");
        proxy.publish(&mut world, Some(300), &kamailio("c1", "early", "recipient", "bob"));
        let got = lamp.listen(&mut world);
        let dialog = &told(&got)[0];
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        assert_eq!((&*dialog.id, &*dialog.direction), ("771", "recipient"));
        assert_eq!(
            [text(&dialog.call_id), text(&dialog.local_tag), text(&dialog.remote_tag)],
            ["c1", "lt&", "rt"]
        );
        assert_eq!(dialog.remote.identity, "sip:bob@h");
        assert_eq!(dialog.remote.display, "Bob <3");
        assert_eq!(dialog.remote.target, "sip:bob@h:5080");
        assert!(!got[0].body().contains("secret"), "where a phone is, is not told");
        // Another caller in the same state is news; the same words again are not.
        proxy.publish(&mut world, Some(300), &kamailio("c1", "early", "recipient", "eve"));
        assert_eq!(rows(&lamp.listen(&mut world)), ["early c1 sip:eve@h"]);
        proxy.publish(&mut world, Some(300), &kamailio("c1", "early", "recipient", "eve"));
        assert_eq!(lamp.listen(&mut world), []);
        proxy.publish(&mut world, Some(300), &kamailio("c1", "confirmed", "recipient", "eve"));
        assert_eq!(rows(&lamp.listen(&mut world)), ["confirmed c1 sip:eve@h"]);
        // A second call is another publication; the first ends.
        let mut second = Publisher::new(101, "771", "dialog");
        second.publish(&mut world, Some(300), &kamailio("c2", "early", "recipient", "ann"));
        assert_eq!(
            rows(&lamp.listen(&mut world)),
            ["confirmed c1 sip:eve@h", "early c2 sip:ann@h"]
        );
        proxy.publish(&mut world, Some(0), &kamailio("c1", "terminated", "recipient", "eve"));
        assert_eq!(rows(&lamp.listen(&mut world)), ["early c2 sip:ann@h"]);
        let (_, first) = Phone::new(10, "771").watching_dialogs().subscribe(&mut world, Some(60));
        assert_eq!(rows(&first), ["early c2 sip:ann@h"], "who comes later sees the same");
        second.publish(&mut world, Some(0), "");
        let got = lamp.listen(&mut world);
        assert_eq!(rows(&got), ["terminated - "]);
    }
}

#[test]
fn an_extension_that_calls_is_confirmed_and_the_other_side_is_named() {
    let mut world = World::with(2, telling(CallDetails::All), 0);
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    let mut proxy = Publisher::new(100, "771", "dialog");
    proxy.publish(&mut world, Some(300), &kamailio("c1", "early", "initiator", "bob"));
    let got = lamp.listen(&mut world);
    assert_eq!(rows(&got), ["confirmed c1 sip:bob@h"]);
    assert_eq!(told(&got)[0].direction, "initiator");
    proxy.publish(&mut world, Some(300), &kamailio("c1", "confirmed", "initiator", "bob"));
    assert_eq!(lamp.listen(&mut world), [], "it looked like that already");
}

#[test]
fn a_tenant_says_what_is_told_and_a_reload_changes_it() {
    let mut world = World::with(2, telling(CallDetails::All), 0);
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    let mut proxy = Publisher::new(100, "771", "dialog");
    proxy.publish(&mut world, Some(300), &kamailio("c1", "early", "recipient", "bob"));
    lamp.listen(&mut world);
    for (details, want) in [
        (CallDetails::Parties, "early - sip:bob@h"),
        (CallDetails::None, "early - "),
        (CallDetails::All, "early c1 sip:bob@h"),
    ] {
        world.command(&Command::Reload(Arc::new(telling(details))));
        assert_eq!(rows(&lamp.listen(&mut world)), [want]);
    }
}

#[test]
fn calls_outlive_a_restart_and_give_way_where_another_device_is_busy() {
    let mut world = World::with(2, telling(CallDetails::All), 0);
    let mut lamp = Phone::new(9, "lamp1").watching_dialogs();
    lamp.subscribe(&mut world, Some(3600));
    let body = kamailio("c1", "early", "recipient", "bob").replace("sip:771@h", "sip:lamp1@h");
    Publisher::new(100, "lamp1", "dialog").publish(&mut world, Some(600), &body);
    assert_eq!(rows(&lamp.listen(&mut world)), ["early c1 sip:bob@h"]);
    let records = kept(&world);
    let mut world = World::with(1, telling(CallDetails::All), 1000);
    records.into_iter().for_each(|record| world.command(&Command::Restore(record)));
    world.run();
    assert_eq!(rows(&lamp.listen(&mut world)), ["early c1 sip:bob@h"]);
    world.set_device("Custom:lamp1", DeviceState::InUse);
    assert_eq!(rows(&lamp.listen(&mut world)), ["confirmed - "], "of which nothing is known");
    world.set_device("Custom:lamp1", DeviceState::NotInUse);
    assert_eq!(rows(&lamp.listen(&mut world)), ["early c1 sip:bob@h"]);
    world.pass(Duration::from_secs(700));
    assert_eq!(rows(&lamp.listen(&mut world)), ["terminated - "]);
}

#[test]
fn watchers_as_asterisk_has_them_are_not_told_twice_what_did_not_change() {
    let mut config = telling(CallDetails::All);
    config.endpoints[0].dialect = Dialect::Asterisk;
    let mut world = World::with(1, config, 0);
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    let mut screen = Phone::new(10, "771");
    lamp.subscribe(&mut world, Some(600));
    screen.subscribe(&mut world, Some(600));
    let mut proxy = Publisher::new(100, "771", "dialog");
    proxy.publish(&mut world, Some(300), &dialog("771", "c1", "confirmed"));
    assert_eq!(shows(&screen.listen(&mut world)), "On the phone");
    lamp.listen(&mut world);
    proxy.publish(&mut world, Some(300), &kamailio("c1", "confirmed", "recipient", "bob"));
    assert_eq!(rows(&lamp.listen(&mut world)), ["confirmed c1 sip:bob@h"]);
    assert_eq!(screen.listen(&mut world), [], "a screen shows no calls");
    assert_eq!(counters(&world, "publication_modified"), 1);
}

#[test]
fn the_last_word_on_a_call_may_be_brief() {
    let mut config = telling(CallDetails::All);
    config.limits.publication_expires_min_s = 60;
    let mut world = World::with(1, config, 0);
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    let mut proxy = Publisher::new(100, "771", "dialog");
    let confirmed = kamailio("c1", "confirmed", "recipient", "bob");
    assert_eq!(proxy.publish(&mut world, Some(11), &confirmed).status(), 423);
    assert_eq!(proxy.publish(&mut world, Some(300), &confirmed).status(), 200);
    assert_eq!(rows(&lamp.listen(&mut world)), ["confirmed c1 sip:bob@h"]);
    assert_eq!(proxy.publish(&mut world, Some(11), "").status(), 423);
    // Kamailio does not take a publication back: it says for 10 s that the call is over.
    let over = kamailio("c1", "terminated", "recipient", "bob");
    assert_eq!(proxy.publish(&mut world, Some(11), &over).status(), 200);
    assert_eq!(rows(&lamp.listen(&mut world)), ["terminated - "]);
    world.pass(Duration::from_secs(13));
    assert_eq!(world.stats(|s| s.publication_count), 0);
}

#[test]
fn a_call_that_one_observer_began_to_tell_twice_is_one_call() {
    let mut world = World::with(1, telling(CallDetails::All), 0);
    let mut lamp = Phone::new(9, "771").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    let tags = " local-tag=\"lt&amp;\" remote-tag=\"rt\"";
    let told = |call_id: &str, state: &str| kamailio(call_id, state, "initiator", "bob");
    let untold = |call_id: &str| told(call_id, "trying").replace(tags, "");
    // Its first word has no tags; the second does not wait for the entity-tag of the first.
    let mut first = Publisher::new(100, "771", "dialog");
    first.publish(&mut world, Some(3600), &untold("c1"));
    assert_eq!(rows(&lamp.listen(&mut world)), ["confirmed c1 sip:bob@h"]);
    let mut second = Publisher::new(100, "771", "dialog");
    second.cseq = 10;
    second.publish(&mut world, Some(3600), &told("c1", "confirmed"));
    assert_eq!(rows(&lamp.listen(&mut world)), ["confirmed c1 sip:bob@h"]);
    second.publish(&mut world, Some(11), &told("c1", "terminated"));
    assert_eq!(shows(&lamp.listen(&mut world)), "terminated", "nobody takes the first one back");
    // Another call, or one with tags of its own, is told by who tells it.
    first.publish(&mut world, Some(3600), &untold("c2"));
    lamp.listen(&mut world);
    second.publish(&mut world, Some(3600), &told("c22", "confirmed"));
    assert_eq!(rows(&lamp.listen(&mut world)).len(), 2);
    first.publish(&mut world, Some(3600), &told("c22", "early"));
    lamp.listen(&mut world);
    second.publish(&mut world, Some(3600), &told("c22", "terminated"));
    let both = ["confirmed c2 sip:bob@h", "confirmed c22 sip:bob@h"];
    assert_eq!(rows(&lamp.listen(&mut world)), both, "each with tags, each its own");
}
