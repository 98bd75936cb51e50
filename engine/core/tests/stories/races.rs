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
