//! Message waiting: whose messages wait, and who is told (RFC 3842).

use std::time::Duration;

use lampfield_core::command::{Answer, Command, Event, Query};
use lampfield_core::config::{Combination, Config, Dialect, Publications, PublishScope};
use lampfield_core::dialplan::Hint;
use lampfield_core::list::List;
use lampfield_core::mailbox::mailbox_source;
use lampfield_core::package::Package;
use lampfield_core::state::{DeviceState, Messages};
use lampfield_wire::{HeaderName, MessageCounts};

use super::lists::{config_with, list, reload, watcher};
use super::publisher::{Publisher, counters};
use super::restart::kept;
use super::world::{Phone, Received, T, World};

const SUMMARY: &str = "application/simple-message-summary";

/// Addresses of record: `2000` has one mailbox, `2001` two in two contexts, and both are of the
/// endpoint `phones`; `lamp0` is an extension, too.
fn config(dialect: Dialect) -> Config {
    let mut config = super::world::config(dialect);
    let rows: [(&str, &[&str], _); 4] = [
        ("2000", &["2000@default"], Some("*97")),
        ("2001", &["2001@default", "7@sales"], None),
        ("@phones", &["2000@default", "2001@default", "7@sales"], None),
        ("lamp0", &["lamp0@default"], None),
    ];
    for (name, mailboxes, extension) in rows {
        let extension = extension.map(Into::into);
        config.mailboxes.add(T, name.into(), mailboxes, extension, "test:1").expect("mailboxes");
    }
    config.mailboxes.add_extension(T, "phones".into(), "*97", "2000".into());
    let hint = Hint::parse("MWI:2000@default", "test:2").expect("a hint");
    config.dialplan.add_hint(T, "hints", "vm", hint).expect("an extension");
    config
}

fn world(shard_count: u8, dialect: Dialect) -> World {
    World::with(shard_count, config(dialect), 0)
}

fn phone(host: u8, user: &str) -> Phone {
    let mut phone = Phone::new(host, user);
    phone.event = "message-summary".into();
    phone
}

fn count(world: &mut World, mailbox: &str, new: u32, old: u32) {
    set(world, mailbox, Some(Messages::counted(new, old)));
}

fn set(world: &mut World, mailbox: &str, messages: Option<Messages>) {
    let mailbox = mailbox_source(mailbox);
    let owner = world.placement.shard_of_source(T, &mailbox);
    let command = Command::SetMailbox { tenant: T, mailbox, messages };
    world.input(owner, lampfield_core::Input::Command(command));
    world.run();
}

/// Body of the only NOTIFY.
fn body(got: &[Received]) -> String {
    assert_eq!(got.len(), 1, "one NOTIFY");
    assert_eq!(got[0].header(HeaderName::ContentType), SUMMARY);
    got[0].body()
}

fn none() -> Vec<Received> {
    Vec::new()
}

#[test]
fn a_phone_is_told_what_waits_as_an_asterisk_tells_it() {
    for (shard_count, dialect) in [(1, Dialect::Rfc), (3, Dialect::Rfc), (2, Dialect::Asterisk)] {
        let mut world = world(shard_count, dialect);
        let mut desk = phone(9, "2000");
        let (response, got) = desk.subscribe(&mut world, Some(600));
        assert_eq!(response.status(), 200);
        let account = "Message-Account: sip:*97@192.0.2.1:5060\r\n";
        let summary = |line: &str, counts: &str| {
            format!("Messages-Waiting: {line}\r\n{account}Voice-Message: {counts}\r\n")
        };
        assert_eq!(body(&got), summary("no", "0/0 (0/0)"), "nobody counted yet");
        count(&mut world, "2000@default", 2, 8);
        assert_eq!(body(&desk.listen(&mut world)), summary("yes", "2/8 (0/0)"));
        count(&mut world, "2000@default", 2, 8);
        assert_eq!(desk.listen(&mut world), none(), "an equal count is no news");
        count(&mut world, "2001@default", 5, 5);
        assert_eq!(desk.listen(&mut world), none(), "another's mailbox");
        let counts = MessageCounts { new: 1, old: 3, urgent_new: 1, urgent_old: 2 };
        set(&mut world, "2000@default", Some(Messages { is_waiting: true, counts }));
        let urgent = if dialect == Dialect::Rfc { "1/3 (1/2)" } else { "1/3 (0/0)" };
        assert_eq!(body(&desk.listen(&mut world)), summary("yes", urgent));
        set(&mut world, "2000@default", None);
        assert_eq!(body(&desk.listen(&mut world)), summary("no", "0/0 (0/0)"));
        let (response, got) = desk.subscribe(&mut world, Some(0));
        assert_eq!((response.status(), got.len()), (200, 1));
        assert_eq!(world.stats(|s| s.subscription_count), 0);
    }
}

#[test]
fn mailboxes_add_up_by_address_of_record_and_by_endpoint() {
    let mut world = world(2, Dialect::Rfc);
    count(&mut world, "2000@default", 1, 0);
    count(&mut world, "7@sales", 2, 3);
    for (user, want) in [
        ("2001", "Messages-Waiting: yes\r\nVoice-Message: 2/3 (0/0)\r\n"),
        // Nothing named: all that is the endpoint's.
        ("", "Messages-Waiting: yes\r\nVoice-Message: 3/3 (0/0)\r\n"),
    ] {
        let mut desk = phone(9, user);
        assert_eq!(body(&desk.subscribe(&mut world, Some(600)).1), want, "{user}");
        desk.subscribe(&mut world, Some(0));
    }
    // By the extension it calls for its messages.
    let got = phone(9, "*97").subscribe(&mut world, Some(600)).1;
    assert!(body(&got).contains("Voice-Message: 1/0"));
    let mut desk = phone(10, "2001");
    desk.subscribe(&mut world, Some(600));
    count(&mut world, "2001@default", u32::MAX, 1);
    assert!(body(&desk.listen(&mut world)).contains("Voice-Message: 4294967295/4 (0/0)"));
    set(&mut world, "7@sales", None);
    assert!(body(&desk.listen(&mut world)).contains("Voice-Message: 4294967295/1 (0/0)"));
}

#[test]
fn what_is_no_mailbox_or_no_summary_is_refused() {
    for (user, event, accept, status) in [
        ("2000", "message-summary", "", 200),
        ("2000", "message-summary", SUMMARY, 200),
        ("nosuch", "message-summary", "", 404),
        ("lamp1", "message-summary", "", 404),
        ("2000", "message-summary", "application/pidf+xml", 489),
        ("lamp0", "presence", SUMMARY, 489),
        ("%40phones", "presence", "", 404),
    ] {
        for dialect in [Dialect::Rfc, Dialect::Asterisk] {
            let mut desk = phone(9, user);
            (desk.event, desk.accept) = (event.into(), accept.into());
            let (response, _) = desk.subscribe(&mut world(2, dialect), Some(600));
            assert_eq!(response.status(), status, "{user} {event} {accept}");
        }
    }
    let (response, got) = phone(9, "2000").subscribe(&mut world(2, Dialect::Rfc), Some(0));
    assert_eq!((response.status(), got.len()), (200, 1), "a fetch");
}

#[test]
fn messages_and_lamps_of_one_name_do_not_disturb_each_other() {
    for dialect in [Dialect::Rfc, Dialect::Asterisk] {
        let mut world = world(2, dialect);
        let (mut desk, mut lamp) = (phone(9, "lamp0"), Phone::new(10, "lamp0").watching_dialogs());
        desk.subscribe(&mut world, Some(600));
        lamp.subscribe(&mut world, Some(600));
        world.set_device("Custom:lamp0", DeviceState::Ringing);
        assert_eq!((desk.listen(&mut world).len(), lamp.listen(&mut world).len()), (0, 1));
        count(&mut world, "lamp0@default", 1, 0);
        assert_eq!((desk.listen(&mut world).len(), lamp.listen(&mut world).len()), (1, 0));
    }
}

#[test]
fn a_lamp_that_hints_at_a_mailbox_is_lit_while_messages_wait() {
    let mut world = world(3, Dialect::Rfc);
    let mut lamp = Phone::new(9, "vm").watching_dialogs();
    lamp.subscribe(&mut world, Some(600));
    for (new, old, want) in [(1, 0, "confirmed"), (2, 0, ""), (0, 2, "terminated")] {
        count(&mut world, "2000@default", new, old);
        let got = lamp.listen(&mut world);
        let shown = got.first().map(Received::body).unwrap_or_default();
        assert!(shown.contains(want) && got.is_empty() == want.is_empty(), "{new}/{old}: {shown}");
    }
}

#[test]
fn the_control_plane_hears_of_messages_and_can_list_them() {
    let mut world = world(2, Dialect::Rfc);
    let mut desk = phone(9, "2000");
    desk.subscribe(&mut world, Some(600));
    world.events.clear();
    count(&mut world, "2000@default", 1, 2);
    count(&mut world, "9@new", 0, 4);
    let events: Vec<String> = world.events.drain(..).map(|event| spell(&event)).collect();
    // The address of record is no hint of the dialplan: only `vm` is.
    assert_eq!(
        events,
        ["MWI:2000@default INUSE", "2000@default 1/2", "vm", "MWI:9@new NOT_INUSE", "9@new 0/4"]
    );
    let rows = |world: &mut World| {
        let answers = world.ask(&Query::Mailboxes(T)).into_iter();
        let mut rows: Vec<String> = answers
            .flat_map(|answer| match answer {
                Answer::Mailboxes(rows) => rows,
                _ => Vec::new(),
            })
            .map(|row| format!("{} {}", row.mailbox, row.messages.counts.new))
            .collect();
        rows.sort();
        rows
    };
    assert_eq!(rows(&mut world), ["2000@default 1", "9@new 0"]);
    set(&mut world, "9@new", None);
    set(&mut world, "9@new", None);
    assert_eq!(rows(&mut world), ["2000@default 1"]);
    assert_eq!(counters(&world, "source_repeated"), 1);
}

fn spell(event: &Event) -> String {
    match event {
        Event::DeviceStateChange { device, state, .. } => format!("{device} {}", state.token()),
        Event::MessageWaiting { mailbox, messages, .. } => {
            format!("{mailbox} {}/{}", messages.counts.new, messages.counts.old)
        }
        Event::ExtensionStatus { extension, .. } => extension.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn messages_and_their_watchers_survive_a_restart() {
    for (before, after) in [(1, 3), (3, 2)] {
        let mut world = world(before, Dialect::Rfc);
        let mut desk = phone(9, "2001");
        desk.subscribe(&mut world, Some(600));
        count(&mut world, "7@sales", 2, 3);
        count(&mut world, "2001@default", 1, 1);
        let last = desk.listen(&mut world).pop().expect("two");
        set(&mut world, "2001@default", None);
        desk.listen(&mut world);
        let records = kept(&world);
        let mut world = World::with(after, config(Dialect::Rfc), 10_000);
        for record in records {
            world.command(&Command::Restore(record));
        }
        world.run();
        let got = desk.listen(&mut world);
        assert!(got[0].cseq() > last.cseq());
        assert_eq!(body(&got), "Messages-Waiting: yes\r\nVoice-Message: 2/3 (0/0)\r\n");
        count(&mut world, "7@sales", 0, 5);
        assert!(body(&desk.listen(&mut world)).contains("0/5"));
    }
}

#[test]
fn a_reload_takes_mailboxes_away_and_moves_the_voicemail_extension() {
    let mut world = world(2, Dialect::Rfc);
    let (mut moved, mut gone) = (phone(9, "2000"), phone(10, "2001"));
    moved.subscribe(&mut world, Some(600));
    gone.subscribe(&mut world, Some(600));
    let mut smaller = super::world::config(Dialect::Rfc);
    let boxes = ["2000@default", "more@default"];
    smaller.mailboxes.add(T, "2000".into(), &boxes, Some("vm".into()), "").expect("mailboxes");
    reload(&mut world, smaller);
    assert!(body(&moved.listen(&mut world)).contains("Message-Account: sip:vm@192.0.2.1:5060\r\n"));
    assert_eq!(gone.listen(&mut world)[0].state(), "terminated;reason=noresource");
    count(&mut world, "more@default", 1, 0);
    assert!(body(&moved.listen(&mut world)).contains("Voice-Message: 1/0"));
}

#[test]
fn lists_of_mailboxes_show_each_and_then_what_changed() {
    for dialect in [Dialect::Rfc, Dialect::Asterisk] {
        let mailboxes = list("all", "2000 2001 nosuch 2000@default");
        let lists = vec![List { package: Package::MessageSummary, ..mailboxes }];
        let config = Config { lists: config_with(dialect, lists).lists, ..config(dialect) };
        let mut world = World::with(2, config, 0);
        count(&mut world, "2000@default", 1, 1);
        let mut panel = watcher(9, "all");
        panel.event = "message-summary".into();
        let (response, got) = panel.subscribe(&mut world, Some(600));
        assert_eq!((response.status(), got.len()), (200, 1));
        assert_eq!(got[0].header(HeaderName::Require), "eventlist");
        let summaries = |notify: &Received| notify.body().matches(SUMMARY).count();
        assert_eq!(summaries(&got[0]), 2);
        let first = got[0].body();
        assert!(first.contains("Voice-Message: 1/1 (0/0)\r\n"), "{first}");
        assert!(first.contains("uri=\"sip:2001@192.0.2.1:5060\""), "{first}");
        count(&mut world, "7@sales", 4, 0);
        let got = panel.listen(&mut world);
        assert_eq!((got.len(), summaries(&got[0])), (1, 1));
        assert!(got[0].body().contains("Voice-Message: 4/0 (0/0)\r\n"));
    }
}

/// The phones may publish; what has no mailbox may be published and watched.
fn publishing(combination: Combination) -> World {
    let mut config = config(Dialect::Rfc);
    config.tenants[0].publications =
        Some(Publications { combination, unhinted: true, ..Publications::default() });
    config.endpoints[0].allow_publish = PublishScope::Any;
    World::with(2, config, 0)
}

fn summary(account: &str, new: u32, old: u32) -> String {
    let waiting = if new > 0 { "yes" } else { "no" };
    let account = match account {
        "" => String::new(),
        account => format!("Message-Account: {account}\r\n"),
    };
    format!("Messages-Waiting: {waiting}\r\n{account}Voice-Message: {new}/{old}\r\n")
}

#[test]
fn summaries_are_published_and_add_up_over_accounts() {
    let mut world = publishing(Combination::Merged);
    let mut desk = phone(9, "2000");
    desk.subscribe(&mut world, Some(3600));
    count(&mut world, "2000@default", 1, 1);
    desk.listen(&mut world);
    let voice = |host| Publisher::new(host, "2000", "message-summary");
    let (mut one, mut two, mut three) = (voice(100), voice(101), voice(102));
    for (publisher, text, want) in [
        (&mut one, summary("sip:a@h", 2, 0), "3/1 (0/0)"),
        (&mut two, summary("sip:b@h", 4, 0), "7/1 (0/0)"),
        (&mut three, summary("sip:a@h", 0, 6), "5/7 (0/0)"),
    ] {
        assert_eq!(publisher.publish(&mut world, Some(600), &text).status(), 200);
        let shown = body(&desk.listen(&mut world));
        assert!(shown.ends_with(&format!("Voice-Message: {want}\r\n")), "{shown}");
    }
    three.publish(&mut world, Some(0), "");
    assert!(body(&desk.listen(&mut world)).contains("7/1"), "what the other says counts again");
    let records = kept(&world);
    world = publishing(Combination::Merged);
    for record in records {
        world.command(&Command::Restore(record));
    }
    world.run();
    assert!(desk.listen(&mut world)[0].body().contains("7/1"));
    world.pass(Duration::from_secs(605));
    assert!(desk.listen(&mut world).last().expect("told").body().contains("1/1"));
    assert_eq!(counters(&world, "publication_expired"), 2);
}

#[test]
fn a_publication_can_go_first_or_stand_alone() {
    let mut world = publishing(Combination::PublicationFirst);
    count(&mut world, "2000@default", 1, 1);
    let (mut desk, mut stranger) = (phone(9, "2000"), phone(10, "nobody"));
    desk.subscribe(&mut world, Some(600));
    let (response, got) = stranger.subscribe(&mut world, Some(600));
    assert_eq!(
        (response.status(), &*body(&got)),
        (200, "Messages-Waiting: no\r\nVoice-Message: 0/0 (0/0)\r\n")
    );
    let mut own = Publisher::new(100, "2000", "message-summary");
    own.publish(&mut world, Some(600), &summary("", 0, 9));
    assert!(body(&desk.listen(&mut world)).contains("0/9"));
    own.publish(&mut world, Some(0), "");
    assert!(body(&desk.listen(&mut world)).contains("1/1"));
    let mut other = Publisher::new(101, "nobody", "message-summary");
    other.publish(&mut world, Some(600), "Messages-Waiting: yes\r\n");
    assert_eq!(body(&stranger.listen(&mut world)), "Messages-Waiting: yes\r\n", "uncounted");
    // A lamp of the same name has nothing to do with it.
    let mut lamp = Phone::new(11, "nobody").watching_dialogs();
    assert!(lamp.subscribe(&mut world, Some(600)).1[0].body().contains(">terminated<"));
}

#[test]
fn a_broken_summary_changes_nothing() {
    let mut world = publishing(Combination::Merged);
    let mut desk = phone(9, "2000");
    desk.subscribe(&mut world, Some(600));
    let mut publisher = Publisher::new(100, "2000", "message-summary");
    publisher.publish(&mut world, Some(600), &summary("", 1, 0));
    desk.listen(&mut world);
    for (content_type, text, status, counter) in [
        (SUMMARY, "Voice-Message: 1/0", 400, "publish_malformed"),
        (SUMMARY, "Messages-Waiting: yes\r\nVoice-Message: x/0", 400, "publish_malformed"),
        ("application/pidf+xml", "Messages-Waiting: yes\r\n", 415, "publish_unsupported"),
    ] {
        let before = counters(&world, counter);
        publisher.content_type = content_type.into();
        let answer = publisher.publish(&mut world, Some(600), text);
        assert_eq!((answer.status(), counters(&world, counter)), (status, before + 1), "{text}");
        assert_eq!(desk.listen(&mut world), none());
    }
}
