//! Resource lists whose members, names and places change while somebody watches.

use std::time::Duration;

use lampfield_core::config::Dialect;
use lampfield_core::dialplan::{Dialplan, Hint};
use lampfield_core::list::List;
use lampfield_core::state::DeviceState::{InUse, NotInUse};
use lampfield_core::{Input, command::Command, placement::ShardId};

use super::lists::{config_with, list, reload, set, shown, watcher};
use super::world::{Phone, Received, T, World};

/// Changes lists, and hints with their display names.
type Edit = fn(&mut Vec<List>, &mut Vec<(&str, &str)>);

/// Reloads lists and hints while a watcher's NOTIFY is in flight. What it is told then, and the
/// bodies that say so.
fn told_after(edits: &[Edit]) -> (String, String) {
    let mut lists = vec![list("sales", "a inner b"), list("inner", "c d")];
    lists[0].display_names = true;
    let mut hints = vec![("a", ""), ("b", ""), ("c", ""), ("d", "")];
    let configured = |lists: &[List], hints: &[(&str, &str)]| {
        let mut config = config_with(Dialect::Rfc, lists.to_vec());
        let mut plan = Dialplan::default();
        for (exten, name) in hints {
            let mut hint = Hint::parse(&format!("Custom:{exten}"), "test").expect("a hint");
            hint.display_name = (!name.is_empty()).then(|| (*name).into());
            plan.add_hint(T, "hints", exten, hint).expect("an extension");
        }
        config.dialplan = plan;
        config
    };
    let mut world = World::with(2, configured(&lists, &hints), 0);
    let mut phone = watcher(9, "sales");
    phone.subscribe(&mut world, Some(600));
    // In flight while the configuration changes.
    set(&mut world, &[("a", InUse)]);
    let in_flight = world.take(phone.address);
    for edit in edits {
        edit(&mut lists, &mut hints);
        reload(&mut world, configured(&lists, &hints));
    }
    phone.answer(&mut world, &in_flight[0], "200 OK", "");
    let got = phone.listen(&mut world);
    let told = got.iter().map(shown).map(|(_, is_full, told)| format!("{is_full}: {told}"));
    let bodies: String = got.iter().map(Received::body).collect();
    (told.collect::<Vec<_>>().join("; "), bodies)
}

#[test]
fn what_a_reload_moves_renames_or_ends_is_told() {
    // The same places, but other members: only the full state says which list they stand in.
    let (told, _) = told_after(&[|lists, _| {
        lists[0] = List { display_names: true, ..list("sales", "c inner b") };
        lists[1] = list("inner", "a d");
    }]);
    let full = "true: c:Ready inner:[a:On the phone d:Ready] b:Ready";
    assert_eq!(told, full);
    // A hint gets a display name.
    let (told, _) = told_after(&[|_, hints| hints[1].1 = "Bob"]);
    assert_eq!(told, "false: Bob:Ready");
    // A hint goes, and then its list does not name it any more: its end is not told yet.
    let (told, _) = told_after(&[
        |_, hints| hints.retain(|(exten, _)| *exten != "b"),
        |lists, _| {
            lists[0] = List { display_names: true, ..list("sales", "a inner") };
        },
    ]);
    assert!(told.contains("b:terminated"), "{told}");
    // A hint goes and comes back: one resource, whose old instance ended and whose new one lives.
    let (_, bodies) = told_after(&[
        |_, hints| hints.retain(|(exten, _)| *exten != "b"),
        |_, hints| hints.push(("b", "")),
    ]);
    let (_, resource) = bodies.split_once("<resource uri=\"sip:b@").expect("a resource");
    let (resource, rest) = resource.split_once("</resource>").expect("its end");
    assert!(!rest.contains("<resource uri=\"sip:b@"), "{bodies}");
    for state in ["active", "terminated"] {
        assert_eq!(resource.matches(&format!("state=\"{state}\"")).count(), 1, "{resource}");
    }
}

#[test]
fn a_nested_list_keeps_its_instance_wherever_it_stands() {
    let configured = |items| {
        config_with(
            Dialect::Rfc,
            vec![list("sales", items), list("in", "lamp1"), list("out", "lamp2")],
        )
    };
    let mut world = World::with(2, configured("in out"), 0);
    let mut phone = watcher(9, "sales");
    let (_, before) = phone.subscribe(&mut world, Some(600));
    reload(&mut world, configured("out in"));
    let after = phone.listen(&mut world);
    for name in ["in", "out"] {
        let instance = |notifies: &[Received]| {
            let body = notifies[0].body();
            let (_, rest) = body.split_once(&format!("<resource uri=\"sip:{name}@")).expect("it");
            let (_, id) = rest.split_once("<instance id=\"").expect("an instance");
            id.split('"').next().map(str::to_owned)
        };
        assert_eq!(instance(&before), instance(&after));
    }
}

#[test]
fn ends_are_split_and_the_rest_does_not_wait_for_the_interval() {
    let members = "lamp0 lamp1 lamp2 lamp3 lamp4 lamp5 lamp6 lamp7 lamp8 lamp9";
    let batch_interval = Duration::from_secs(5);
    let bounded = |members: &str| {
        let sales = List { batch_interval, ..list("sales", members) };
        let mut config = config_with(Dialect::Rfc, vec![sales]);
        config.endpoints[0].notify_bytes_max = Some(2200);
        config
    };
    let mut world = World::with(2, bounded(members), 0);
    let mut phone = watcher(9, "sales");
    let (_, notifies) = phone.subscribe(&mut world, Some(600));
    let told: Vec<_> = notifies.iter().map(|notify| shown(notify).2).collect();
    assert_eq!(told.join(" ").split(' ').filter(|said| said.ends_with("Ready")).count(), 10);
    reload(&mut world, bounded("lamp0"));
    world.pass(batch_interval);
    let got = phone.listen(&mut world);
    let ends: Vec<_> = got.iter().map(|notify| shown(notify).2).collect();
    assert_eq!(ends.join(" ").matches("terminated").count(), 9, "{ends:?}");
    for notify in notifies.iter().chain(&got) {
        assert!(notify.message().len() <= 2200, "{}", notify.message().len());
    }
}

/// A list keeps the document of an extension alive when its last watcher leaves in the middle of
/// being told; who comes after that is told again.
#[test]
fn watchers_that_leave_while_a_list_stays_take_nobodys_turn() {
    let mut config = config_with(Dialect::Rfc, vec![list("sales", "lamp1")]);
    config.limits.notify_per_turn_max = 1;
    let mut world = World::with(1, config, 0);
    watcher(7, "sales").subscribe(&mut world, Some(600));
    let leaving = [Phone::new(8, "lamp1"), Phone::new(9, "lamp1")];
    let leaving = leaving.map(|mut phone| {
        phone.subscribe(&mut world, Some(600));
        phone
    });
    let device = "Custom:lamp1".into();
    let change = Command::SetDevice { tenant: T, device, state: InUse };
    world.input(ShardId(0), Input::Command(change));
    // The first is told; its leaving hands its turn to the other.
    for phone in &leaving {
        let notify = world.take(phone.address).remove(0);
        let gone = phone.response(&notify, "481 Gone", "");
        world.arrive(phone.address, &gone, 0);
    }
    world.run();
    assert_eq!(world.stats(|s| s.subscription_count), 1);
    let mut late = Phone::new(10, "lamp1");
    late.subscribe(&mut world, Some(600));
    set(&mut world, &[("lamp1", NotInUse)]);
    assert_eq!(late.listen(&mut world).len(), 1);
}

/// A hint goes, and the lists that named it are looked up again before all of them were told of it.
#[test]
fn who_was_not_told_of_an_end_yet_is_told_when_the_member_leaves_the_list() {
    let configured = |extens: &[&str]| {
        let mut config = config_with(Dialect::Rfc, vec![list("sales", "a b")]);
        config.limits.notify_per_turn_max = 1;
        let mut plan = Dialplan::default();
        for exten in extens {
            let hint = Hint::parse(&format!("Custom:{exten}"), "test").expect("a hint");
            plan.add_hint(T, "hints", exten, hint).expect("an extension");
        }
        config.dialplan = plan;
        config
    };
    for shard_count in [1, 2] {
        let mut world = World::with(shard_count, configured(&["a", "b"]), 0);
        let mut phones: Vec<Phone> = (1..=5).map(|host| watcher(host, "sales")).collect();
        phones.iter_mut().for_each(|phone| drop(phone.subscribe(&mut world, Some(600))));
        reload(&mut world, configured(&["b"]));
        world.pass(Duration::from_secs(1));
        for phone in &mut phones {
            let told: String = phone.listen(&mut world).iter().map(|got| shown(got).2).collect();
            assert!(told.contains("a:terminated"), "{told}");
        }
    }
}
