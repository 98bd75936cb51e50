//! A change that was answered is seen by every question asked afterwards, whatever the order in
//! which messages of different shards arrive.

use std::collections::BTreeMap;
use std::sync::Arc;

use lampfield_core::Input;
use lampfield_core::command::{Answer, Command, Query, Refusal, Reply};
use lampfield_core::config::{Config, Dialect};
use lampfield_core::limits::Limits;
use lampfield_core::placement::ShardId;
use lampfield_core::state::{DeviceState, Presence, PresenceState};
use lampfield_wire::HeaderName;

use super::world::{Phone, T, World, config, dialplan};

/// An extension, its presence source, and the newest value that a client may rely on.
struct Lamp {
    exten: String,
    source: String,
    set: u32,
    applied: u32,
}

/// A change that was asked for: which lamp, which value, and who has yet to confirm it.
struct Change {
    lamp: usize,
    value: u32,
    changed: Option<Vec<ShardId>>,
    confirmed: Vec<ShardId>,
}

/// Clients that set and ask, with all their numbers.
struct Clients {
    world: World,
    lamps: Vec<Lamp>,
    changes: BTreeMap<u64, Change>,
    /// Which lamp was asked for, and the value it had to show at least.
    questions: BTreeMap<u64, (usize, u32)>,
    next_id: u64,
}

impl Clients {
    /// An extension that is always there and two that come and go with the questions, all of them
    /// on another shard than their source.
    fn new() -> Self {
        let world = World::new(3, Dialect::Rfc);
        let is_apart = |(exten, source): &(String, String)| {
            world.placement.shard_of_extension(T, "hints", exten)
                != world.placement.shard_of_source(T, source)
        };
        let fixed = (0..10).map(|n| (format!("lamp{n}"), format!("CustomPresence:lamp{n}")));
        let grown = (7700..7800).map(|n| (n.to_string(), format!("CustomPresence:p{n}")));
        let names = fixed.filter(is_apart).take(1).chain(grown.filter(is_apart).take(2));
        let lamp = |(exten, source)| Lamp { exten, source, set: 0, applied: 0 };
        let lamps = names.map(lamp).collect();
        Self { world, lamps, changes: BTreeMap::new(), questions: BTreeMap::new(), next_id: 1 }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Sets the next value, or the same once more.
    fn set(&mut self, at: usize, is_new: bool) {
        let id = self.id();
        let lamp = &mut self.lamps[at];
        lamp.set += u32::from(is_new);
        let value = lamp.set;
        let command = set_presence(&lamp.source, value);
        let owner = self.world.placement.shard_of_source(T, &lamp.source);
        let change = Change { lamp: at, value, changed: None, confirmed: Vec::new() };
        self.changes.insert(id, change);
        self.world.input(owner, Input::Change { id, command });
        self.hear();
    }

    fn ask(&mut self, at: usize) {
        let id = self.id();
        let lamp = &self.lamps[at];
        self.questions.insert(id, (at, lamp.applied));
        let (context, exten): (Arc<str>, Arc<str>) = ("hints".into(), (&*lamp.exten).into());
        let owner = self.world.placement.shard_of_extension(T, &context, &exten);
        let query = Query::Extension { tenant: T, context, exten };
        self.world.input(owner, Input::Query { id, query });
        self.hear();
    }

    fn hear(&mut self) {
        for Reply { id, shard, answer } in std::mem::take(&mut self.world.replies) {
            match answer {
                Answer::Extensions(rows) => {
                    let (at, value_min) = self.questions.remove(&id).expect("one answer each");
                    let shown = rows[0].presence.subtype.parse().unwrap_or(0);
                    let exten = &self.lamps[at].exten;
                    assert!(shown >= value_min, "{exten} shows {shown} after {value_min}");
                }
                Answer::Changed(others) => {
                    let change = self.changes.get_mut(&id).expect("asked for");
                    assert!(change.changed.is_none(), "answered twice");
                    change.changed = Some(others.expect("not refused").into_vec());
                }
                Answer::Confirmed => {
                    self.changes.get_mut(&id).expect("asked for").confirmed.push(shard);
                }
                other => panic!("nobody asked for {other:?}"),
            }
            self.settle(id);
        }
    }

    /// A change that all have confirmed is one to rely on.
    fn settle(&mut self, id: u64) {
        let Some(Change { lamp, value, changed: Some(others), confirmed }) = self.changes.get(&id)
        else {
            return;
        };
        if others.iter().all(|shard| confirmed.contains(shard)) {
            let lamp = &mut self.lamps[*lamp];
            lamp.applied = lamp.applied.max(*value);
            assert_eq!(others.len(), confirmed.len(), "confirmed by somebody who was not told");
            self.changes.remove(&id);
        }
    }
}

fn set_presence(presentity: &str, value: u32) -> Command {
    let written: Arc<str> = format!("away,{value}").into();
    let subtype = value.to_string().into();
    let presence = Presence { state: PresenceState::Away, subtype, message: "".into() };
    Command::SetPresence { tenant: T, presentity: presentity.into(), presence, written }
}

#[test]
fn a_question_after_the_answer_never_sees_the_old_state() {
    let mut confirmed_count = 0;
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut clients = Clients::new();
        clients.world.run();
        for _ in 0..200 {
            let at = rng.usize(..clients.lamps.len());
            match rng.u8(..8) {
                0 => clients.set(at, true),
                1 => clients.set(at, false),
                2 => clients.ask(at),
                _ => {
                    clients.world.deliver_one(rng.usize(..));
                    clients.hear();
                }
            }
        }
        while clients.world.deliver_one(rng.usize(..)) {
            clients.hear();
        }
        assert!(clients.changes.is_empty() && clients.questions.is_empty(), "seed {seed}");
        for lamp in &clients.lamps {
            assert_eq!(lamp.applied, lamp.set, "seed {seed}: {}", lamp.exten);
        }
        confirmed_count += clients.lamps.iter().map(|lamp| lamp.set).sum::<u32>();
    }
    assert!(confirmed_count > 1000, "the story is about nothing");
}

#[test]
fn a_hint_that_grew_is_known_to_every_shard_that_confirmed() {
    let mut plan = dialplan();
    plan.set_autohints(T, "grown").expect("a context");
    let mut world = World::with(3, Config { dialplan: plan, ..config(Dialect::Rfc) }, 0);
    let device: Arc<str> = "PJSIP/4711".into();
    let owner = world.placement.shard_of_source(T, &device);
    // The second report is equal, and may not be answered before the hint of the first is known.
    for id in [7, 8] {
        let command = Command::SetDevice {
            tenant: T,
            device: Arc::clone(&device),
            state: DeviceState::InUse,
        };
        world.input(owner, Input::Change { id, command });
    }
    let told: Vec<usize> = world.replies.iter().filter_map(told_count).collect();
    assert_eq!(told, [2, 2]);
    while world.deliver_one(0) {}
    let confirmed = |id| {
        let is_one = |reply: &&Reply| reply.id == id && matches!(reply.answer, Answer::Confirmed);
        world.replies.iter().filter(is_one).count()
    };
    assert_eq!((confirmed(7), confirmed(8)), (2, 2));
}

fn told_count(reply: &Reply) -> Option<usize> {
    match &reply.answer {
        Answer::Changed(Ok(others)) => Some(others.len()),
        _ => None,
    }
}

#[test]
fn a_change_that_is_refused_says_why_and_changes_nothing() {
    let limits = Limits { source_count_max: 1, ..config(Dialect::Rfc).limits };
    let plan = lampfield_core::dialplan::Dialplan::default();
    let config = Config { limits, dialplan: plan, ..config(Dialect::Rfc) };
    let mut world = World::with(1, config, 0);
    let refused = [
        (set_presence("CustomPresence:a", 1), None),
        (set_presence("CustomPresence:b", 1), Some(Refusal::TooManySources { count_max: 1 })),
        (Command::ListenEvents(false), Some(Refusal::NotAState)),
    ];
    for (id, (command, want)) in refused.into_iter().enumerate() {
        let id = id as u64;
        world.input(ShardId(0), Input::Change { id, command });
        let reply = world.replies.pop().expect("an answer");
        let Answer::Changed(changed) = reply.answer else { panic!("{reply:?}") };
        assert_eq!((reply.id, changed.err()), (id, want));
    }
    assert_eq!(world.stats(|stats| stats.counters.command_refused), 2);
}

#[test]
fn an_overloaded_shard_refuses_what_is_new_and_keeps_what_it_has() {
    for shard_count in [1, 3] {
        let mut world = World::new(shard_count, Dialect::Rfc);
        let mut old = Phone::new(1, "lamp1");
        assert_eq!(old.subscribe(&mut world, Some(600)).0.status(), 200);
        let repeated = old.request(Some(600));
        let overload = |world: &mut World, is_overloaded| {
            for shard in world.placement.clone().shards() {
                world.input(shard, Input::Overloaded(is_overloaded));
            }
        };
        let change = |world: &mut World, state| {
            let device: Arc<str> = "Custom:lamp1".into();
            let owner = world.placement.shard_of_source(T, &device);
            let command = Command::SetDevice { tenant: T, device, state };
            world.input(owner, Input::Change { id: 1, command });
            let reply = world.replies.remove(0);
            world.run();
            world.replies.clear();
            let Answer::Changed(changed) = reply.answer else { panic!("{reply:?}") };
            changed.err()
        };
        assert_eq!(change(&mut world, DeviceState::InUse), None);
        assert_eq!(old.listen(&mut world).len(), 1, "the change is shown");

        overload(&mut world, true);
        let mut new = Phone::new(2, "lamp1");
        let (refused, _) = new.subscribe(&mut world, Some(600));
        assert_eq!(refused.status(), 503);
        let retry_after = refused.header(HeaderName::RetryAfter);
        assert!(retry_after.parse::<u32>().is_ok(), "{retry_after}");
        assert_eq!(change(&mut world, DeviceState::OnHold), Some(Refusal::Overloaded));
        assert_eq!(old.listen(&mut world).len(), 0, "nothing has changed");
        // A watcher that is known refreshes, and is told of what was accepted elsewhere.
        world.datagram(old.address, &repeated, old.arrives_at);
        let got = old.listen(&mut world);
        assert!(got.iter().any(|m| m.status() == 200), "the refresh");
        world.set_device("Custom:lamp1", DeviceState::Ringing);
        assert_eq!(old.listen(&mut world).len(), 1);

        overload(&mut world, false);
        assert_eq!(new.subscribe(&mut world, Some(600)).0.status(), 200);
        assert_eq!(change(&mut world, DeviceState::OnHold), None);
        assert_eq!(world.stats(|stats| stats.counters.request_shed), 1);
        assert_eq!(world.stats(|stats| stats.counters.command_refused), 1);
    }
}
