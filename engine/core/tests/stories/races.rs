//! Things that happen at the same time: joins during a fan-out, reloads during questions, streams
//! that break, many ends at once.

use std::sync::Arc;
use std::time::Duration;

use lampfield_core::Input;
use lampfield_core::command::{Command, Query};
use lampfield_core::config::{Config, Dialect};
use lampfield_core::dialplan::{Globals, Template};
use lampfield_core::limits::Limits;
use lampfield_core::placement::{Placement, ShardId};
use lampfield_core::state::DeviceState;

use super::world::{Phone, Received, T, World, config, dialplan};

fn narrow(notify_per_turn_max: usize, hop_window: u32) -> Config {
    let limits = Limits {
        notify_per_turn_max,
        hop_window_initial: hop_window,
        hop_window_max: hop_window,
        ..config(Dialect::Rfc).limits
    };
    Config { limits, ..config(Dialect::Rfc) }
}

fn set(state: DeviceState) -> Input<'static> {
    Input::Command(Command::SetDevice { tenant: T, device: "Custom:lamp1".into(), state })
}

fn over_tcp(phone: &mut Phone, expires: u32) -> Vec<u8> {
    let request = String::from_utf8(phone.request(Some(expires))).expect("text");
    request.replace("SIP/2.0/UDP", "SIP/2.0/TCP").into()
}

fn is_notify(message: &Received) -> bool {
    message.message().is_request()
}

#[test]
fn who_joins_a_running_fanout_takes_nobodys_turn() {
    let mut world = World::with(1, narrow(1, 8), 0);
    let mut phones: Vec<Phone> = (1..=10).map(|host| Phone::new(host, "lamp1")).collect();
    for phone in &mut phones {
        phone.subscribe(&mut world, Some(600));
    }
    // The fan-out of the first change has passed the first watcher when the second comes.
    world.input(ShardId(0), set(DeviceState::InUse));
    let notify = world.take(phones[0].address).remove(0);
    let ok = answer(&notify);
    world.input(ShardId(0), message(&phones[0], &ok));
    world.input(ShardId(0), set(DeviceState::OnHold));
    for host in 11..=13 {
        let mut late = Phone::new(host, "lamp1");
        let request = late.request(Some(600));
        world.input(ShardId(0), message(&late, &request));
        phones.push(late);
    }
    world.run();
    for phone in &mut phones {
        let last = phone.listen(&mut world).into_iter().rfind(is_notify);
        let body = last.map(|notify| notify.body()).unwrap_or_default();
        assert!(body.contains("On hold"), "{}: {body}", phone.call_id);
    }
}

#[test]
fn answers_are_read_between_the_steps_of_a_fanout_and_send_none_of_it() {
    let mut world = World::with(1, narrow(2, 8), 0);
    let mut phones: Vec<Phone> = (1..=9).map(|host| Phone::new(host, "lamp1")).collect();
    for phone in &mut phones {
        phone.subscribe(&mut world, Some(600));
    }
    let sent = |world: &World| world.stats(|stats| stats.counters.notify_sent);
    let before = sent(&world);
    world.input(ShardId(0), set(DeviceState::InUse));
    assert_eq!(sent(&world), before + 2);
    let first: Vec<Received> = phones.iter().flat_map(|p| world.take(p.address)).collect();
    assert_eq!(first.len(), 2);
    for notify in &first {
        world.input(ShardId(0), message(&phones[0], &answer(notify)));
    }
    assert_eq!(world.stats(|stats| stats.in_flight_count), 0);
    assert_eq!(sent(&world), before + 2);
    world.input(ShardId(0), Input::Tick);
    assert_eq!(sent(&world), before + 4);
    world.run();
    assert_eq!(sent(&world), before + 9);
}

fn message<'a>(phone: &Phone, bytes: &'a [u8]) -> Input<'a> {
    use lampfield_core::flow::{Flow, Transport};
    let local = super::world::SERVER.parse().expect("an address");
    let connection = Default::default();
    let flow = Flow { transport: Transport::Udp, local, peer: phone.address, connection };
    Input::Message { flow, bytes }
}

fn answer(notify: &Received) -> Vec<u8> {
    use lampfield_wire::HeaderName::*;
    let header = |name: lampfield_wire::HeaderName| {
        format!("{}: {}\r\n", name.as_str(), notify.header(name))
    };
    let copied: String = [Via, From, To, CallId, CSeq].map(header).concat();
    format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n").into()
}

/// A pattern's extension of shard 0 whose sources belong to shard 1, and a configuration in which
/// its source belongs to shard 0 and is known there or not.
fn far_extension(is_known: bool) -> (String, Config) {
    let placement = Placement::new(2);
    let far = (10..99)
        .map(|n| format!("77{n}"))
        .find(|exten| {
            let source = |kind: &str| placement.shard_of_source(T, &format!("{kind}:p{exten}"));
            placement.shard_of_extension(T, "hints", exten) == ShardId(0)
                && source("Custom") == ShardId(1)
                && source("CustomPresence") == ShardId(1)
        })
        .expect("one of ninety");
    let near = (0..99)
        .map(|n| if is_known && n < 10 { format!("lamp{n}") } else { format!("near{n}") })
        .filter(|name| name.starts_with("lamp") == is_known)
        .find(|name| {
            placement.shard_of_source(T, &format!("Custom:{name}")) == ShardId(0)
                && (!is_known || placement.shard_of_extension(T, "hints", name) == ShardId(0))
        })
        .expect("one of many");
    let mut plan = dialplan();
    let hint = format!("Custom:{near}");
    let template = Template::parse(&hint, &Globals::default(), "test:3").expect("a template");
    plan.add_pattern(T, "hints", &format!("_{far}"), template).expect("a pattern");
    (far, Config { dialplan: plan, ..config(Dialect::Rfc) })
}

#[test]
fn a_reload_while_sources_are_unknown_darkens_no_lamp_and_loses_no_question() {
    for is_known in [true, false] {
        let (exten, new) = far_extension(is_known);
        let new = Arc::new(new);
        let mut world = World::new(2, Dialect::Rfc);
        let mut phone = Phone::new(9, &exten);
        let request = phone.request(Some(600));
        world.input(ShardId(0), message(&phone, &request));
        world.input(ShardId(0), Input::Command(Command::Reload(Arc::clone(&new))));
        world.input(ShardId(1), Input::Command(Command::Reload(Arc::clone(&new))));
        world.run();
        let told = phone.listen(&mut world);
        assert_eq!(told.iter().filter(|m| is_notify(m)).count(), 1, "known: {is_known}");

        let mut world = World::new(2, Dialect::Rfc);
        let query =
            Query::Extension { tenant: T, context: "hints".into(), exten: exten.as_str().into() };
        world.input(ShardId(0), Input::Query { id: 1, query });
        world.input(ShardId(0), Input::Command(Command::Reload(Arc::clone(&new))));
        world.run();
        assert_eq!(world.ask(&Query::Stats).len(), 3, "the question was answered too");
    }
}

#[test]
fn a_silent_watcher_behind_a_stream_delays_nobody() {
    let mut world = World::with(1, narrow(64, 1), 0);
    let mut phones = [Phone::new(9, "lamp1"), Phone::new(9, "lamp1")];
    phones[1].call_id = "other".into();
    for phone in &mut phones {
        phone.contact = format!("<sip:w@{};transport=tcp>", phone.address);
        let request = over_tcp(phone, 600);
        world.stream(phone.address, 1, &request);
        for notify in world.take(phone.address).iter().filter(|m| is_notify(m)) {
            world.stream(phone.address, 1, &answer(notify));
        }
    }
    let address = phones[0].address;
    world.set_device("Custom:lamp1", DeviceState::InUse);
    assert_eq!(world.take(address).len(), 1, "the window holds one");
    world.pass(Duration::from_millis(600));
    assert_eq!(world.take(address).len(), 1, "after T1 the other one is told");
    world.pass(Duration::from_secs(30));
    assert_eq!(world.take(address), [], "nothing is repeated on a stream");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.stats(|s| s.counters.notify_timed_out), 2);
}

#[test]
fn a_notify_lost_with_its_stream_follows_the_watcher_to_the_next_one() {
    let mut world = World::new(1, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    phone.contact = format!("<sip:w@{};transport=tcp>", phone.address);
    let request = over_tcp(&mut phone, 600);
    world.stream(phone.address, 1, &request);
    for message in world.take(phone.address) {
        match is_notify(&message) {
            true => world.stream(phone.address, 1, &answer(&message)),
            false => phone.to_tag = message.to_tag(),
        }
    }
    world.set_device("Custom:lamp1", DeviceState::InUse);
    assert_eq!(world.take(phone.address).len(), 1, "lost with the connection");
    world.pass(Duration::from_secs(5));
    let request = over_tcp(&mut phone, 600);
    world.stream(phone.address, 2, &request);
    assert_eq!(world.last_connection(phone.address), Some(2));
    let got = world.take(phone.address);
    let notify = got.iter().find(|m| is_notify(m)).expect("told at once");
    assert!(notify.body().contains("On the phone"));
}

/// `count` watchers of lamp1 behind one stream connection.
fn behind_a_stream(world: &mut World, count: u32) -> Phone {
    let mut phone = Phone::new(9, "lamp1");
    phone.contact = format!("<sip:w@{};transport=tcp>", phone.address);
    for number in 0..count {
        (phone.call_id, phone.cseq) = (format!("call-{number}"), 0);
        let request = over_tcp(&mut phone, 600);
        world.stream(phone.address, 1, &request);
        answer_all(world, &phone);
    }
    phone
}

/// Answers every NOTIFY over the stream until no more come; returns them.
fn answer_all(world: &mut World, phone: &Phone) -> Vec<Received> {
    let mut notifies = Vec::new();
    loop {
        let got: Vec<Received> = world.take(phone.address).into_iter().filter(is_notify).collect();
        if got.is_empty() {
            return notifies;
        }
        got.iter().for_each(|notify| world.stream(phone.address, 1, &answer(notify)));
        notifies.extend(got);
    }
}

#[test]
fn news_wait_for_a_full_stream_and_the_newest_is_told_when_it_is_read_again() {
    use lampfield_core::flow::ConnectionId;
    let connection = ConnectionId { shard: 0, serial: 1 };
    for (count, is_closed) in [(1, false), (300, false), (300, true)] {
        let mut world = World::with(1, narrow(64, 64), 0);
        let phone = behind_a_stream(&mut world, count);
        let mut other = Phone::new(8, "lamp1");
        other.subscribe(&mut world, Some(600));
        let full = |is_full| Input::ConnectionFull { connection, peer: phone.address, is_full };
        world.input(ShardId(0), full(true));
        for state in [DeviceState::InUse, DeviceState::Ringing, DeviceState::OnHold] {
            world.set_device("Custom:lamp1", state);
            assert_eq!(world.take(phone.address), [], "{state:?}");
            assert_eq!(other.listen(&mut world).len(), 1, "nobody else waits");
        }
        // One who comes while it is full waits, too, and gets the answer at once.
        let mut late = Phone { call_id: "late".into(), cseq: 0, ..Phone::new(9, "lamp1") };
        late.contact.clone_from(&phone.contact);
        let request = over_tcp(&mut late, 600);
        world.stream(phone.address, 1, &request);
        let got = world.take(phone.address);
        assert_eq!(got.iter().map(Received::status).collect::<Vec<_>>(), [200]);

        let sent = world.stats(|s| s.counters.notify_sent);
        match is_closed {
            false => world.input(ShardId(0), full(false)),
            true => world.input(ShardId(0), Input::ConnectionClosed(connection)),
        }
        let step = world.stats(|s| s.counters.notify_sent) - sent;
        assert!(step <= 64, "{step} in the first step");
        world.run();
        let told = answer_all(&mut world, &phone);
        assert_eq!(told.len(), count as usize + 1, "each once");
        assert!(told.iter().all(|notify| notify.body().contains("On hold")));
        assert_eq!(world.stats(|s| s.waiting_count), 0);
        world.set_device("Custom:lamp1", DeviceState::NotInUse);
        assert_eq!(answer_all(&mut world, &phone).len(), count as usize + 1);
    }
}

#[test]
fn a_stream_that_is_full_again_while_it_is_served_is_told_no_more() {
    use lampfield_core::flow::ConnectionId;
    let mut world = World::with(1, narrow(64, 64), 0);
    let phone = behind_a_stream(&mut world, 300);
    let connection = ConnectionId { shard: 0, serial: 1 };
    let full = |is_full| Input::ConnectionFull { connection, peer: phone.address, is_full };
    world.input(ShardId(0), full(true));
    world.set_device("Custom:lamp1", DeviceState::InUse);
    let mut cseqs = Vec::new();
    for _ in 0..3 {
        world.input(ShardId(0), full(false));
        world.input(ShardId(0), full(true));
        world.run();
        let told = answer_all(&mut world, &phone);
        assert!(told.len() <= 64);
        cseqs.extend(told.iter().map(|n| (n.header(lampfield_wire::HeaderName::CallId), n.cseq())));
    }
    world.set_device("Custom:lamp1", DeviceState::OnHold);
    world.input(ShardId(0), full(false));
    world.run();
    let told = answer_all(&mut world, &phone);
    assert_eq!(told.len(), 300, "all are told the newest");
    cseqs.extend(told.iter().map(|n| (n.header(lampfield_wire::HeaderName::CallId), n.cseq())));
    let all = cseqs.len();
    cseqs.sort_unstable();
    cseqs.dedup();
    assert_eq!(cseqs.len(), all, "no NOTIFY comes twice");
}

#[test]
fn a_lamp_with_few_watchers_does_not_wait_for_the_slices_of_large_ones() {
    let limits = Limits { notify_per_turn_max: 16, ..config(Dialect::Rfc).limits };
    let mut world = World::with(1, Config { limits, ..config(Dialect::Rfc) }, 0);
    // Three extensions with 200 watchers each, and one with a single one.
    let mut crowd = Vec::new();
    for (lamp, number) in (1..=3).flat_map(|lamp| (0..200).map(move |number| (lamp, number))) {
        let mut phone = Phone::new(10 + lamp, &format!("lamp{lamp}"));
        phone.address.set_port(6000 + number);
        phone.contact = format!("<sip:w@{}>", phone.address);
        phone.call_id = format!("{lamp}-{number}");
        phone.subscribe(&mut world, Some(600));
        crowd.push(phone);
    }
    let mut alone = Phone::new(9, "lamp4");
    alone.subscribe(&mut world, Some(600));
    let set = |lamp: u8, state| {
        let device = format!("Custom:lamp{lamp}").into();
        Input::Command(Command::SetDevice { tenant: T, device, state })
    };
    let sent = |world: &World| world.stats(|s| s.counters.notify_sent);
    let start = sent(&world);
    for lamp in 1..=3 {
        world.input(ShardId(0), set(lamp, DeviceState::InUse));
    }
    (0..5).for_each(|_| world.input(ShardId(0), Input::Tick));
    // Its NOTIFY is among those of the next step, whatever else runs.
    world.input(ShardId(0), set(4, DeviceState::InUse));
    let before = sent(&world);
    world.input(ShardId(0), Input::Tick);
    assert_eq!(world.take(alone.address).len(), 1);
    assert!(sent(&world) - before <= 16);
    // The large ones are not starved by small ones that never rest.
    for round in 0..40 {
        let before = sent(&world);
        let state = if round % 2 == 0 { DeviceState::OnHold } else { DeviceState::InUse };
        world.input(ShardId(0), set(4, state));
        world.input(ShardId(0), Input::Tick);
        assert!(sent(&world) - before >= 4 || sent(&world) >= start + 601, "round {round}");
    }
    world.run();
    assert!(crowd.iter().all(|phone| world.take(phone.address).len() == 1));
}

#[test]
fn many_ends_at_once_keep_to_the_budget_of_a_turn() {
    let mut world = World::with(1, narrow(4, 8), 0);
    let mut phones: Vec<Phone> = (1..=20).map(|host| Phone::new(host, "lamp1")).collect();
    for phone in &mut phones {
        phone.subscribe(&mut world, Some(600));
    }
    let sent = world.stats(|s| s.counters.notify_sent);
    let mut new = narrow(4, 8);
    new.endpoints[0].allow_subscribe = false;
    world.input(ShardId(0), Input::Command(Command::Reload(Arc::new(new))));
    assert_eq!(world.stats(|s| s.counters.notify_sent) - sent, 4);
    world.run();
    for phone in &mut phones {
        let got = phone.listen(&mut world);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].state(), "terminated;reason=rejected");
    }
    assert_eq!(world.stats(|s| s.subscription_count), 0);
}
