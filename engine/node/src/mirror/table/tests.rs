//! Stories of one and several mirrors: what their sources show, and whose they are.

use super::*;
use lampfield_core::state::{Presence, PresenceState};

const T: TenantId = TenantId(0);
const A: MirrorId = MirrorId(0);
const B: MirrorId = MirrorId(1);

fn table(policy: StalePolicy) -> Table {
    let mut table = Table::default();
    for (id, name) in [(A, "a"), (B, "b")] {
        let config =
            MirrorConfig { name: name.to_owned(), stale: policy, ..MirrorConfig::default() };
        table.add(id, &config);
    }
    table
}

fn device(name: &str) -> Key {
    (T, Name::device(name))
}

fn snapshot(rows: &[(&str, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, state) in rows {
        let row = match name.strip_prefix("CustomPresence:") {
            Some(_) => {
                let state = PresenceState::from_token(state).unwrap();
                let name = Name { kind: Kind::Presence, text: (*name).into() };
                (name, State::Presence(Presence { state, ..Presence::default() }))
            }
            None => (Name::device(name), State::Device(DeviceState::from_token(state))),
        };
        snapshot.add(row, false, 100);
    }
    snapshot
}

impl Table {
    fn sync(&mut self, id: MirrorId, rows: &[(&str, &str)]) -> Vec<String> {
        let missing = self.synced(id, snapshot(rows), &Providers::default());
        missing.iter().map(|name| name.to_string()).collect()
    }

    fn change(&mut self, id: MirrorId, device: &str, state: DeviceState) {
        self.changed(id, &Name::device(device), &State::Device(state), &Providers::default());
    }

    fn answer(&mut self, id: MirrorId, device: &str, state: DeviceState) {
        self.answered(id, device, state, &Providers::default());
    }

    /// Tells the shards, which take everything: what they were told, sorted.
    fn flush(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let batch = self.take(2);
            if batch.is_empty() {
                told.sort();
                return told;
            }
            for (key, state) in batch {
                told.push(format!("{} {state}", key.1.text));
                self.told(&key, state, true);
            }
        }
    }
}

#[test]
fn a_comparison_tells_only_what_differs() {
    let mut table = table(StalePolicy::Keep);
    assert!(table.sync(A, &[("PJSIP/1", "INUSE"), ("PJSIP/2", "NOT_INUSE")]).is_empty());
    assert_eq!(table.flush(), ["PJSIP/1 INUSE", "PJSIP/2 NOT_INUSE"]);
    table.lost(A);
    assert!(table.flush().is_empty());
    let rows = [("PJSIP/1", "INUSE"), ("PJSIP/2", "RINGING"), ("pjsip/3", "BUSY")];
    assert!(table.sync(A, &rows).is_empty());
    assert_eq!(table.flush(), ["PJSIP/2 RINGING", "PJSIP/3 BUSY"]);
    assert!(table.sync(A, &rows).is_empty());
    assert!(table.flush().is_empty(), "nothing new");
    let counts = table.counts(A);
    assert_eq!((counts.device_count, counts.presentity_count), (3, 0));
}

#[test]
fn what_the_pbx_lists_no_more_is_asked_for_and_given_up() {
    let mut table = table(StalePolicy::Keep);
    table.sync(A, &[("PJSIP/1", "INUSE"), ("Custom:x", "BUSY"), ("CustomPresence:p", "away")]);
    table.flush();
    assert_eq!(table.sync(A, &[]), ["Custom:x", "PJSIP/1"]);
    assert_eq!(table.flush(), ["CustomPresence:p not_set"]);
    table.answer(A, "PJSIP/1", DeviceState::NotInUse);
    table.answer(A, "Custom:x", DeviceState::Unknown);
    table.answer(A, "Custom:local", DeviceState::Unknown);
    assert_eq!(table.flush(), ["Custom:x UNKNOWN", "PJSIP/1 NOT_INUSE"]);
    let owner = |name| table.owner(T, &Name::device(name)).map(|name| name.to_string());
    assert_eq!(owner("PJSIP/1").as_deref(), Some("a"));
    assert_eq!((owner("Custom:x"), owner("Custom:local")), (None, None), "anybody's again");
    assert_eq!(table.entries.len(), 1, "nothing is kept of it");
}

#[test]
fn a_lost_pbx_shows_what_its_policy_says_and_comes_back_without_flicker() {
    for (policy, device, presence) in [
        (StalePolicy::Keep, None, None),
        (StalePolicy::Unknown, Some("UNKNOWN"), Some("not_set")),
        (StalePolicy::Unavailable, Some("UNAVAILABLE"), Some("not_set")),
    ] {
        let mut table = table(policy);
        let rows = [("PJSIP/1", "INUSE"), ("PJSIP/2", "BUSY"), ("CustomPresence:p", "away")];
        table.sync(A, &rows);
        table.flush();
        table.lost(A);
        assert!(table.flush().is_empty(), "not at once");
        assert!(!table.origins(T, &Name::device("PJSIP/1"))[0].is_seen);
        table.set_stale(A);
        let mut want: Vec<String> = Vec::new();
        want.extend(presence.map(|state| format!("CustomPresence:p {state}")));
        want.extend(device.map(|state| format!("PJSIP/1 {state}")));
        want.extend(device.map(|state| format!("PJSIP/2 {state}")));
        assert_eq!(table.flush(), want);
        assert_eq!(table.origins(T, &Name::device("PJSIP/1"))[0].is_replaced, device.is_some());
        // It is back: each goes to its true state at once.
        let rows = [("PJSIP/1", "INUSE"), ("PJSIP/2", "RINGING"), ("CustomPresence:p", "away")];
        table.sync(A, &rows);
        let told = table.flush();
        match policy {
            StalePolicy::Keep => assert_eq!(told, ["PJSIP/2 RINGING"]),
            _ => assert_eq!(told, ["CustomPresence:p away", "PJSIP/1 INUSE", "PJSIP/2 RINGING"]),
        }
    }
}

#[test]
fn several_pbxs_add_up_as_the_devices_of_a_hint_do() {
    let mut table = table(StalePolicy::Unavailable);
    table.sync(A, &[("PJSIP/1", "UNAVAILABLE"), ("CustomPresence:p", "available")]);
    table.sync(B, &[("PJSIP/1", "NOT_INUSE"), ("CustomPresence:p", "dnd")]);
    assert_eq!(table.flush(), ["CustomPresence:p dnd", "PJSIP/1 NOT_INUSE"]);
    table.change(A, "PJSIP/1", DeviceState::Ringing);
    table.change(B, "PJSIP/1", DeviceState::InUse);
    assert_eq!(table.flush(), ["PJSIP/1 RINGINUSE"]);
    table.set_stale(B);
    assert_eq!(table.flush(), ["CustomPresence:p available", "PJSIP/1 RINGING"]);
    assert_eq!(table.origins(T, &Name::device("PJSIP/1")).len(), 2);
    table.remove(A);
    assert_eq!(table.flush(), ["CustomPresence:p not_set", "PJSIP/1 UNAVAILABLE"]);
    let owner = table.owner(T, &Name::device("PJSIP/1"));
    assert_eq!(owner.map(|name| &**name), Some("b"));
    table.remove(B);
    assert!(table.flush().is_empty(), "that is what they show already");
    assert!(table.entries.is_empty() && table.owner(T, &Name::device("PJSIP/1")).is_none());
}

#[test]
fn a_source_waits_once_and_the_newest_state_goes() {
    let mut table = table(StalePolicy::Keep);
    for state in [DeviceState::Ringing, DeviceState::InUse, DeviceState::NotInUse] {
        table.change(A, "PJSIP/1", state);
    }
    assert_eq!(table.queue_len(), 1);
    let batch = table.take(10);
    assert_eq!(batch, [(device("PJSIP/1"), State::Device(DeviceState::NotInUse))]);
    // It changes while it is told, and back: nothing more to tell.
    table.change(A, "PJSIP/1", DeviceState::Busy);
    table.change(A, "PJSIP/1", DeviceState::NotInUse);
    table.told(&batch[0].0, batch[0].1.clone(), true);
    assert!(table.flush().is_empty());
    // A shard refuses: it is told again.
    table.change(A, "PJSIP/1", DeviceState::Busy);
    let batch = table.take(10);
    table.told(&batch[0].0, batch[0].1.clone(), false);
    assert_eq!(table.flush(), ["PJSIP/1 BUSY"]);
}

#[test]
fn a_mirror_has_no_more_names_than_it_may_and_feeds_all_its_tenants() {
    let mut table = Table::default();
    let config = MirrorConfig {
        name_count_max: 3,
        tenants: vec![T, TenantId(1)],
        ..MirrorConfig::default()
    };
    table.add(A, &config);
    table.sync(A, &[("PJSIP/1", "INUSE"), ("PJSIP/2", "BUSY")]);
    assert_eq!(table.flush(), ["PJSIP/1 INUSE", "PJSIP/1 INUSE", "PJSIP/2 BUSY"]);
    assert_eq!(table.counts(A).dropped_count, 1);
    table.change(A, "PJSIP/1", DeviceState::NotInUse);
    assert_eq!(table.flush(), ["PJSIP/1 NOT_INUSE", "PJSIP/1 NOT_INUSE"]);
}

#[test]
fn states_kept_over_a_restart_get_stale_like_others() {
    let mut table = table(StalePolicy::Unavailable);
    table.remember(A, device("PJSIP/1"), State::Device(DeviceState::InUse));
    table.remember(A, device("PJSIP/2"), State::Device(DeviceState::InUse));
    assert!(table.flush().is_empty());
    assert_eq!(table.sync(A, &[("PJSIP/1", "INUSE")]), ["PJSIP/2"]);
    assert!(table.flush().is_empty(), "as it was");
    table.set_stale(A);
    assert_eq!(table.flush(), ["PJSIP/1 UNAVAILABLE", "PJSIP/2 UNAVAILABLE"]);
}
