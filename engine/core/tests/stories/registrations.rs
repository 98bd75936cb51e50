//! Registrations: a phone that can be reached lights its lamp, and one that cannot does not.

use std::collections::BTreeMap;
use std::time::Duration;

use lampfield_core::Input;
use lampfield_core::command::{Answer, Command, Query};
use lampfield_core::config::{Config, Dialect, PublishScope};
use lampfield_core::feed::NameFilter;
use lampfield_core::flow::{ConnectionId, Transport};
use lampfield_core::placement::ShardId;
use lampfield_core::state::DeviceState;
use lampfield_core::stats::Counters;
use lampfield_wire::HeaderName;

use super::world::{Phone, Received, SERVER, T, World, config};

/// A world in which phones may register whom they like.
fn world(shard_count: u8) -> World {
    World::with(shard_count, open(PublishScope::Any), 0)
}

fn open(scope: PublishScope) -> Config {
    let mut config = config(Dialect::Rfc);
    config.endpoints[0].allow_register = scope;
    config
}

/// Who registers: an address, a Call-ID, and the CSeqs so far.
struct Client {
    phone: Phone,
    call_id: &'static str,
    cseq: u32,
    more: &'static str,
}

impl Client {
    fn new(host: u8, call_id: &'static str) -> Self {
        Self { phone: Phone::new(host, ""), call_id, cseq: 0, more: "" }
    }

    fn request(&mut self, user: &str, contacts: &[&str]) -> Vec<u8> {
        self.cseq += 1;
        let (address, Self { call_id, cseq, more, .. }) = (self.phone.address, &self);
        let contacts: String = contacts.iter().map(|c| format!("Contact: {c}\r\n")).collect();
        format!(
            "REGISTER sip:{SERVER} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-{call_id}-{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{SERVER}>;tag=r\r\nTo: <sip:{user}@{SERVER}>\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{contacts}{more}Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    fn register(&mut self, world: &mut World, user: &str, contacts: &[&str]) -> Received {
        let request = self.request(user, contacts);
        world.datagram(self.phone.address, &request, 0);
        let [answer] = world.take(self.phone.address).try_into().expect("one answer");
        answer
    }
}

/// What the contacts in an answer are, without their order.
fn contacts(answer: &Received) -> Vec<String> {
    let message = answer.message();
    let values = message.values(HeaderName::Contact);
    let mut contacts: Vec<String> =
        values.map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    contacts.sort();
    contacts
}

/// What watchers of 2000 see, and what of it is told now.
fn lamp(world: &mut World, watcher: &mut Phone) -> Option<String> {
    let told = watcher.listen(world);
    let note = told.last()?.body();
    Some(note.split("<note>").nth(1)?.split('<').next()?.to_owned())
}

fn watcher(world: &mut World) -> Phone {
    let mut watcher = Phone::new(8, "2000");
    assert_eq!(watcher.subscribe(world, Some(3600)).0.status(), 200);
    watcher
}

#[test]
fn a_registered_phone_is_idle_and_one_without_contacts_is_away() {
    for shard_count in [1, 2, 3] {
        let mut world = world(shard_count);
        let mut watcher = watcher(&mut world);
        let mut client = Client::new(9, "one");
        let answer = client.register(&mut world, "2000", &["<sip:a@192.0.2.9>;expires=120;q=0.5"]);
        assert_eq!(answer.status(), 200);
        assert_eq!(contacts(&answer), ["<sip:a@192.0.2.9>;q=0.5;expires=120"]);
        assert_eq!(lamp(&mut world, &mut watcher).as_deref(), Some("Ready"));
        // A second contact and a refresh change no lamp.
        let answer = client.register(&mut world, "2000", &["<sip:b@192.0.2.9>"]);
        assert_eq!(contacts(&answer).len(), 2);
        assert!(contacts(&answer)[1].ends_with("expires=3600"));
        world.pass(Duration::from_secs(60));
        client.register(&mut world, "2000", &["<sip:a@192.0.2.9>;expires=120"]);
        assert_eq!(lamp(&mut world, &mut watcher), None);
        // Asked without a contact, it changes nothing.
        let answer = client.register(&mut world, "2000", &[]);
        assert_eq!(contacts(&answer).len(), 2);
        let answer = client.register(&mut world, "2000", &["<sip:b@192.0.2.9>;expires=0"]);
        assert_eq!(contacts(&answer), ["<sip:a@192.0.2.9>;expires=120"]);
        assert_eq!(lamp(&mut world, &mut watcher), None);
        world.pass(Duration::from_secs(121));
        assert_eq!(lamp(&mut world, &mut watcher).as_deref(), Some("Unavailable"));
        assert_eq!(world.stats(|stats| stats.registration_count), 0);
        assert_eq!(world.stats(|stats| stats.counters.contact_expired), 1);
    }
}

#[test]
fn all_contacts_go_with_a_star() {
    let mut world = world(2);
    let mut watcher = watcher(&mut world);
    let mut client = Client::new(9, "one");
    client.register(&mut world, "2000", &["<sip:a@192.0.2.9>, <sip:b@192.0.2.9:5070>"]);
    assert_eq!(lamp(&mut world, &mut watcher).as_deref(), Some("Ready"));
    client.more = "Expires: 0\r\n";
    assert_eq!(contacts(&client.register(&mut world, "2000", &["*"])), [""; 0]);
    assert_eq!(lamp(&mut world, &mut watcher).as_deref(), Some("Unavailable"));
}

#[test]
fn calls_are_shown_over_registrations() {
    let mut world = world(2);
    let mut watcher = watcher(&mut world);
    world.set_device("PJSIP/2000", DeviceState::InUse);
    assert_eq!(lamp(&mut world, &mut watcher).as_deref(), Some("On the phone"));
    let mut client = Client::new(9, "one");
    client.register(&mut world, "2000", &["<sip:a@192.0.2.9>"]);
    assert_eq!(lamp(&mut world, &mut watcher), None);
    world.set_device("PJSIP/2000", DeviceState::NotInUse);
    assert_eq!(lamp(&mut world, &mut watcher).as_deref(), Some("Ready"));
}

/// What a REGISTER is refused with, and the counter that moves.
#[test]
fn what_cannot_be_is_refused_and_counted_and_changes_nothing() {
    type Counter = fn(&Counters) -> u64;
    let malformed: Counter = |counters| counters.register_malformed;
    let brief: Counter = |counters| counters.register_too_brief;
    let shed: Counter = |counters| counters.register_shed;
    let many: Vec<String> = (0..11).map(|n| format!("<sip:c{n}@192.0.2.9>")).collect();
    let long = format!("<sip:a@192.0.2.9>;x={}", "y".repeat(5000));
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (contacts, more, status, counter) in [
        (&["<sip:a@192.0.2.9>;expires=59"][..], "", 423, brief),
        (&["<sip:a@192.0.2.9>", "<sip:b@192.0.2.9>;expires=1"], "", 423, brief),
        (&["*"], "", 400, malformed),
        (&["*"], "Expires: 60\r\n", 400, malformed),
        (&["*", "<sip:a@192.0.2.9>"], "Expires: 0\r\n", 400, malformed),
        (&["<sip:a@192.0.2.9>;expires=soon"], "", 400, malformed),
        (&["<sip:a@192.0.2.9>"], "Expires: soon\r\n", 400, malformed),
        (&["<sip:a@"], "", 400, malformed),
        (&["<http://192.0.2.9>"], "", 400, malformed),
        (&many, "", 403, shed),
        (&[&long], "", 513, shed),
    ] {
        let mut world = world(1);
        let mut client = Client::new(9, "one");
        client.register(&mut world, "2000", &["<sip:old@192.0.2.9>"]);
        client.more = more;
        let answer = client.register(&mut world, "2000", contacts);
        assert_eq!(answer.status(), status, "{contacts:?} {more}");
        assert_eq!(world.stats(|stats| counter(&stats.counters)), 1, "{contacts:?} {more}");
        client.more = "";
        let left = super::registrations::contacts(&client.register(&mut world, "2000", &[]));
        assert_eq!(left, ["<sip:old@192.0.2.9>;expires=3600"], "{contacts:?} {more}");
    }
}

#[test]
fn who_may_register_whom_is_configured() {
    let mut filtered = open(PublishScope::Any);
    filtered.registrar.users = Some(NameFilter::parse("^2").expect("an expression"));
    for (config, host, user, status) in [
        (open(PublishScope::None), 9, "2000", 403),
        (open(PublishScope::Own), 9, "2000", 403),
        (open(PublishScope::Own), 9, "phones", 200),
        (open(PublishScope::Any), 9, "2000", 200),
        (filtered, 9, "1000", 404),
    ] {
        let mut world = World::with(1, config, 0);
        let answer = Client::new(host, "one").register(&mut world, user, &["<sip:a@192.0.2.9>"]);
        assert_eq!(answer.status(), status, "{user}");
        let count = world.stats(|stats| stats.registration_count);
        assert_eq!(count, u64::from(status == 200));
    }
}

#[test]
fn an_older_request_changes_nothing_and_a_repeated_one_is_answered_again() {
    let mut world = world(2);
    let mut client = Client::new(9, "one");
    let first = client.request("2000", &["<sip:a@192.0.2.9>;expires=600"]);
    let second = client.request("2000", &["<sip:a@192.0.2.9>;expires=0"]);
    let third = client.request("2000", &["<sip:a@192.0.2.9>;expires=700"]);
    for (request, status, left) in [
        (&first, 200, 1),
        (&first, 200, 1),
        (&second, 200, 0),
        (&second, 200, 0),
        (&third, 200, 1),
        (&second, 500, 1),
        (&first, 500, 1),
    ] {
        world.datagram(client.phone.address, request, 0);
        let [answer] = world.take(client.phone.address).try_into().expect("one answer");
        assert_eq!(answer.status(), status);
        assert_eq!(world.stats(|stats| stats.registration_count), left);
    }
    // Another Call-ID is another client of the same user: the newest wins.
    let answer = Client::new(9, "two").register(&mut world, "2000", &["<sip:a@192.0.2.9>"]);
    assert_eq!(contacts(&answer), ["<sip:a@192.0.2.9>;expires=3600"]);
}

#[test]
fn a_contact_of_a_flow_goes_with_its_connection_and_a_path_is_told_back() {
    let mut world = world(2);
    let mut watcher = watcher(&mut world);
    let mut client = Client::new(9, "one");
    client.more = "Path: <sip:edge.example.com;lr>\r\nSupported: path, outbound\r\n";
    let contact = "<sip:a@192.0.2.9:1;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"";
    let request = client.request("2000", &[contact]);
    world.stream_by(Transport::Tls, client.phone.address, 7, &request);
    let [answer] = world.take(client.phone.address).try_into().expect("one answer");
    assert_eq!(answer.header(HeaderName::Require), "outbound");
    assert_eq!(answer.header(HeaderName::Path), "<sip:edge.example.com;lr>");
    assert_eq!(lamp(&mut world, &mut watcher).as_deref(), Some("Ready"));
    // The device comes back on another connection before the old one is known to be dead.
    let request = client.request(
        "2000",
        &["<sip:a@192.0.2.9:2;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:1>\""],
    );
    world.stream_by(Transport::Tls, client.phone.address, 8, &request);
    let [answer] = world.take(client.phone.address).try_into().expect("one answer");
    assert_eq!(contacts(&answer).len(), 1, "one flow of one device");
    for (serial, want) in [(7, None), (8, Some("Unavailable"))] {
        for shard in [ShardId(0), ShardId(1)] {
            let connection = ConnectionId { shard: 0, serial };
            world.input(shard, Input::ConnectionClosed(connection));
        }
        world.run();
        assert_eq!(lamp(&mut world, &mut watcher).as_deref(), want, "{serial}");
    }
    assert_eq!(world.stats(|stats| stats.counters.contact_lost), 1);
}

#[test]
fn registrations_are_kept_over_a_restart_and_run_out_meanwhile() {
    let mut world = world(2);
    let mut client = Client::new(9, "one");
    client.register(
        &mut world,
        "2000",
        &["<sip:a@192.0.2.9>;expires=600, <sip:b@192.0.2.9>;expires=60"],
    );
    client.register(&mut world, "2001", &["<sip:c@192.0.2.9>;expires=60"]);
    client.register(&mut world, "2002", &["<sip:d@192.0.2.9>"]);
    client.register(&mut world, "2002", &["<sip:d@192.0.2.9>;expires=0"]);
    // The store has the last of each key.
    let records: BTreeMap<_, _> =
        world.records.drain(..).map(|record| (record.key.clone(), record)).collect();
    let mut world = World::with(3, open(PublishScope::Any), 100_000);
    for record in records.into_values() {
        world.command(&Command::Restore(record));
    }
    let rows = world.ask(&Query::Registrations { tenant: Some(T), limit: 10 });
    let rows: Vec<_> = rows
        .into_iter()
        .flat_map(|answer| match answer {
            Answer::Registrations(rows, _) => rows,
            other => panic!("{other:?}"),
        })
        .collect();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&*row.device, &*row.contact), ("PJSIP/2000", "sip:a@192.0.2.9"));
    assert!((499..=501).contains(&row.expires_s), "{}", row.expires_s);
    let mut watcher = Phone::new(8, "2000");
    let (_, notifies) = watcher.subscribe(&mut world, Some(600));
    assert!(notifies[0].body().contains("Ready"));
    assert_eq!(world.stats(|stats| stats.counters.record_lost), 0);
}
