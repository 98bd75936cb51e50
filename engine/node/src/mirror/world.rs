//! Machine and table against a PBX under virtual time, with everything that can go wrong chosen by
//! a seed: delays, cuts at any byte, restarts, servers that fall silent, shards that refuse.
//!
//! Once the faults stop, every source shows what the PBX has; and at no time does a source go back
//! to a state that it had left.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::placement::TenantId;
use lampfield_core::provider::Providers;
use lampfield_core::state::{DeviceState, Presence, PresenceState};
use lampfield_wire::{AmiMessage, AmiReader, AmiWriter};

use super::machine::{Input, Machine, Output, Phase};
use super::state::{Kind, Name, State};
use super::table::{MirrorId, Table};
use crate::config::{MirrorConfig, StalePolicy};

const SEED_COUNT: u64 = 1000;
const STEP_COUNT: usize = 400;
const NAME_COUNT: u32 = 6;
const M: MirrorId = MirrorId(0);

/// A PBX with one connection at most.
struct Pbx {
    states: BTreeMap<Name, State>,
    /// Set for the last time before its last restart: known, but not listed.
    unlisted: BTreeMap<Name, State>,
    reader: AmiReader,
    /// Events that wait to be written.
    events: Vec<u8>,
    is_listening: bool,
    is_booted: bool,
    is_mute: bool,
}

struct World {
    random: fastrand::Rng,
    now: Duration,
    machine: Machine,
    table: Table,
    pbx: Pbx,
    providers: Providers,
    is_connected: bool,
    to_pbx: VecDeque<u8>,
    to_machine: VecDeque<u8>,
    shards: HashMap<Name, State>,
    /// Counts changes; a presence's message says which it came from.
    serial: u64,
    has_faults: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = MirrorConfig {
            name: "pbx".to_owned(),
            stale: StalePolicy::Keep,
            resync: Duration::from_secs(40),
            ..MirrorConfig::default()
        };
        let mut table = Table::default();
        table.add(M, &config);
        Self {
            random: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            machine: Machine::new(config, 100, seed, Duration::ZERO),
            table,
            pbx: Pbx {
                states: BTreeMap::new(),
                unlisted: BTreeMap::new(),
                reader: AmiReader::for_server(),
                events: Vec::new(),
                is_listening: false,
                is_booted: true,
                is_mute: false,
            },
            providers: Providers::default(),
            is_connected: false,
            to_pbx: VecDeque::new(),
            to_machine: VecDeque::new(),
            shards: HashMap::new(),
            serial: 0,
            has_faults: true,
        }
    }

    fn run(&mut self) {
        for _ in 0..STEP_COUNT {
            self.step();
        }
        self.has_faults = false;
        self.pbx.is_mute = false;
        if !self.pbx.is_booted {
            self.boot();
        }
        // Long enough for the longest back-off, and for a comparison.
        let end = self.now + Duration::from_secs(200);
        while self.now < end {
            self.wake();
            while !self.to_pbx.is_empty() || !self.to_machine.is_empty() {
                self.serve();
                self.deliver(usize::MAX);
            }
            self.flush_events();
            self.deliver(usize::MAX);
            while self.table.queue_len() > 0 {
                self.feed();
            }
        }
        assert!(self.machine.sees(), "{:?}", self.machine.last_error);
        let known = self.pbx.states.iter().chain(&self.pbx.unlisted);
        for (name, state) in known {
            let shown = self.shards.get(name);
            // A device it lists as little as it knows it is not its own.
            let is_nobodys = shown.is_none() && *state == State::Device(DeviceState::Invalid);
            assert!(shown == Some(state) || is_nobodys, "{name:?}: {shown:?} of {state:?}");
        }
        assert_eq!(self.table.queue_len(), 0);
    }

    fn step(&mut self) {
        match self.random.u32(0..100) {
            0..25 => self.change(),
            25..50 => {
                let count = self.random.usize(1..400);
                self.deliver(count);
            }
            50..70 => self.serve(),
            70..78 => self.flush_events(),
            78..90 => self.feed(),
            90..96 => self.wake(),
            96 => self.cut("cut"),
            97 => self.restart(),
            98 => self.boot(),
            _ => self.pbx.is_mute = self.random.u32(0..4) == 0,
        }
    }

    /// Time goes on to what the machine wants to do next.
    fn wake(&mut self) {
        self.now = self.now.max(self.machine.wake_at());
        self.input(|machine, now, out| machine.handle(Input::Tick, now, out));
    }

    fn change(&mut self) {
        self.serial += 1;
        let number = self.random.u32(0..NAME_COUNT);
        let (name, state, event) = if self.random.bool() {
            let state = DeviceState::ALL[self.random.usize(1..DeviceState::ALL.len())];
            let text = format!("Device: PJSIP/{number}\r\nState: {}", state.token());
            (Name::device(&format!("PJSIP/{number}")), State::Device(state), ("Device", text))
        } else {
            let (serial, state) = (self.serial, PresenceState::Away);
            let message = serial.to_string().into();
            let presence = Presence { state, message, ..Presence::default() };
            let name =
                Name { kind: Kind::Presence, text: format!("CustomPresence:{number}").into() };
            let text = format!("Presentity: {}\r\nStatus: away\r\nMessage: {serial}", name.text);
            (name, State::Presence(presence), ("Presence", text))
        };
        self.pbx.unlisted.remove(&name);
        self.pbx.states.insert(name, state);
        if self.pbx.is_listening {
            let (kind, text) = event;
            let text = format!("Event: {kind}StateChange\r\nPrivilege: call,all\r\n{text}\r\n\r\n");
            self.pbx.events.extend_from_slice(text.as_bytes());
        }
    }

    fn flush_events(&mut self) {
        if !self.pbx.is_mute {
            self.to_machine.extend(self.pbx.events.drain(..));
        }
    }

    fn deliver(&mut self, count: usize) {
        let count = count.min(self.to_machine.len());
        let bytes: Vec<u8> = self.to_machine.drain(..count).collect();
        if !bytes.is_empty() {
            self.input(|machine, now, out| machine.handle(Input::Received(&bytes), now, out));
        }
    }

    fn cut(&mut self, why: &str) {
        if self.is_connected {
            self.disconnect();
            self.input(|machine, now, out| machine.handle(Input::Lost(why), now, out));
        }
    }

    fn disconnect(&mut self) {
        self.is_connected = false;
        self.pbx.is_listening = false;
        self.pbx.reader = AmiReader::for_server();
        self.pbx.events.clear();
        self.to_pbx.clear();
        self.to_machine.clear();
    }

    /// It forgets which devices had changed, and starts; presences it lists from the beginning.
    fn restart(&mut self) {
        self.cut("restarted");
        self.pbx.is_booted = false;
        let (devices, presences): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pbx.states)
            .into_iter()
            .partition(|(name, _)| name.kind == Kind::Device);
        self.pbx.states.extend(presences);
        self.pbx.unlisted.extend(devices);
    }

    fn boot(&mut self) {
        if !std::mem::replace(&mut self.pbx.is_booted, true) && self.pbx.is_listening {
            self.pbx.events.extend_from_slice(BOOTED);
        }
    }

    /// The PBX takes what has come, and answers each request before it writes events.
    fn serve(&mut self) {
        let bytes: Vec<u8> = self.to_pbx.drain(..).collect();
        let mut rest = &bytes[..];
        while let Some(request) = self.pbx.reader.read(&mut rest) {
            let request = request.expect("a request that reads");
            if !self.pbx.is_mute {
                self.answer(&request);
                self.flush_events();
            }
        }
    }

    fn answer(&mut self, request: &AmiMessage) {
        let mut out = Vec::new();
        let id = request.get("ActionID");
        let answer = |out| AmiWriter::response(out, "Success", id);
        match request.action().expect("an action") {
            "Challenge" => answer(&mut out).header("Challenge", "1").end(),
            "Login" => {
                answer(&mut out).end();
                self.pbx.is_listening = true;
                if self.pbx.is_booted {
                    out.extend_from_slice(BOOTED);
                }
            }
            "Ping" => answer(&mut out).header("Ping", "Pong").end(),
            "Getvar" => {
                let variable = request.get("Variable").unwrap_or_default();
                let device = variable.trim_start_matches("DEVICE_STATE(").trim_end_matches(')');
                let name = Name::device(device);
                let state = self.pbx.states.get(&name).or(self.pbx.unlisted.get(&name));
                let state = state.map_or("INVALID".to_owned(), State::to_string);
                answer(&mut out).header("Value", &state).end();
            }
            "DeviceStateList" => self.list(&mut out, id, Kind::Device),
            "PresenceStateList" => self.list(&mut out, id, Kind::Presence),
            other => panic!("{other} is not asked for"),
        }
        self.to_machine.extend(out);
    }

    fn list(&self, out: &mut Vec<u8>, id: Option<&str>, kind: Kind) {
        AmiWriter::response(out, "Success", id).header("EventList", "start").end();
        let mut count = 0;
        for (name, state) in self.pbx.states.iter().filter(|(name, _)| name.kind == kind) {
            count += 1;
            match state {
                State::Device(state) => AmiWriter::event(out, "DeviceStateChange", None)
                    .action_id(id)
                    .header("Device", &name.text)
                    .header("State", state.token())
                    .end(),
                State::Presence(presence) => AmiWriter::event(out, "PresenceStateChange", None)
                    .action_id(id)
                    .header("Presentity", &name.text)
                    .header("Status", presence.state.token())
                    .header("Message", &presence.message)
                    .end(),
            }
        }
        AmiWriter::event(out, "ListComplete", None)
            .action_id(id)
            .header("EventList", "Complete")
            .header_i64("ListItems", count)
            .end();
    }

    fn input(&mut self, handle: impl FnOnce(&mut Machine, Duration, &mut Vec<Output>)) {
        let mut out = Vec::new();
        handle(&mut self.machine, self.now, &mut out);
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                self.act(output, &mut out);
            }
        }
    }

    fn act(&mut self, output: Output, out: &mut Vec<Output>) {
        match output {
            Output::Connect => {
                let input = match self.has_faults && self.random.u32(0..3) == 0 {
                    true => Input::Lost("refused"),
                    false => {
                        self.is_connected = true;
                        self.to_machine.extend(*b"Asterisk Call Manager/11.0.0\r\n");
                        Input::Connected
                    }
                };
                self.machine.handle(input, self.now, out);
            }
            Output::Send(bytes) => self.to_pbx.extend(bytes),
            Output::Disconnect => {
                self.disconnect();
                self.table.lost(M);
            }
            Output::Synced(snapshot) => {
                let missing = self.table.synced(M, snapshot, &self.providers);
                let mut names: Vec<Arc<str>> = missing;
                // Hints name all of them.
                names.extend((0..NAME_COUNT).map(|n| format!("PJSIP/{n}").into()));
                names.retain(|name| !self.pbx.states.contains_key(&Name::device(name)));
                names.sort_unstable();
                names.dedup();
                self.machine.handle(Input::Ask(names), self.now, out);
            }
            Output::Changed(name, state) => self.table.changed(M, &name, &state, &self.providers),
            Output::Answered(device, state) => {
                self.table.answered(M, &device, state, &self.providers);
            }
            Output::Stale => self.table.set_stale(M),
        }
        let is_idle = matches!(self.machine.phase(), Phase::Waiting | Phase::Connecting);
        assert!(!self.machine.sees() || !is_idle);
    }

    /// The shards take what is queued, or refuse it.
    fn feed(&mut self) {
        for (key, state) in self.table.take(4) {
            let is_ok = !self.has_faults || self.random.u32(0..5) > 0;
            if is_ok {
                let before = self.shards.insert(key.1.clone(), state.clone());
                assert_eq!(key.0, TenantId(0));
                assert_ne!(before.as_ref(), Some(&state), "{key:?}: nothing new");
                assert!(serial(&state) >= before.as_ref().map_or(0, serial), "{key:?} goes back");
            }
            self.table.told(&key, state, is_ok);
        }
    }
}

const BOOTED: &[u8] = b"Event: FullyBooted\r\nPrivilege: system,all\r\n\r\n";

/// The change that a presence came from.
fn serial(state: &State) -> u64 {
    match state {
        State::Presence(presence) => presence.message.parse().unwrap_or(u64::MAX),
        State::Device(_) => 0,
    }
}

#[test]
fn whatever_happens_lamps_show_the_truth_in_the_end_and_never_go_back() {
    for seed in 0..SEED_COUNT {
        // A panic names it.
        let run = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(run.is_ok(), "seed {seed}");
    }
}
