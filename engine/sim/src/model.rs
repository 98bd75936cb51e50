//! The slow, obvious model of what every watcher must end up knowing.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use lampfield_core::Time;
use lampfield_core::command::Command;
use lampfield_core::config::{Config, Dialect, Endpoint, EndpointId, Identify, Network, Tenant};
use lampfield_core::dialplan::{Dialplan, Globals, Template};
use lampfield_core::limits::Limits;
use lampfield_core::placement::TenantId;
use lampfield_core::state::{DeviceState, Presence, PresenceState};

use crate::facts::{self, Look};
use crate::lists::ListSpec;

/// The one context of the simulated tenants.
pub(crate) const CONTEXT: &str = "blf";

/// The endpoints, by the second byte of their addresses: tenant, dialect, early ringing.
pub(crate) const ENDPOINTS: [(u16, Dialect, bool); 3] =
    [(0, Dialect::Rfc, false), (0, Dialect::Asterisk, true), (1, Dialect::Rfc, true)];

/// An extension that exists, or did.
#[derive(Clone, Debug)]
pub(crate) struct HintSpec {
    pub(crate) tenant: u16,
    pub(crate) exten: String,
    pub(crate) devices: Vec<String>,
    pub(crate) presence: Vec<String>,
    /// Configured now.
    pub(crate) present: bool,
    /// Comes from a pattern.
    pub(crate) pattern: bool,
    /// Name that lists may show.
    pub(crate) display_name: Option<&'static str>,
}

/// All states and hints, as last ordered.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) devices: BTreeMap<(u16, String), DeviceState>,
    pub(crate) presences: BTreeMap<(u16, String), Presence>,
    /// Commands that set them, the last of each name, and when it was taken.
    pub(crate) taken: BTreeMap<(u16, String), (Time, Command)>,
    pub(crate) hints: Vec<HintSpec>,
    pub(crate) lists: Vec<ListSpec>,
    pub(crate) limits: Limits,
    /// The node is told of no batch intervals: a planted bug.
    pub(crate) hides_batches: bool,
    /// The node is told of no bound on NOTIFYs: a planted bug.
    pub(crate) hides_bounds: bool,
}

impl Model {
    /// A world of `exten_count` hints per tenant over few devices, so that they share them.
    pub(crate) fn new(exten_count: usize, limits: Limits, rng: &mut Rng) -> Self {
        let mut hints = Vec::new();
        for tenant in 0..2 {
            for index in 0..exten_count {
                let mut hint = HintSpec {
                    tenant,
                    exten: format!("{}", 100 + index),
                    devices: Vec::new(),
                    presence: Vec::new(),
                    present: true,
                    pattern: false,
                    display_name: None,
                };
                hint.choose_sources(rng);
                hints.push(hint);
            }
            for exten in ["200", "201"] {
                hints.push(HintSpec {
                    tenant,
                    exten: exten.to_owned(),
                    devices: vec![format!("PJSIP/{exten}")],
                    presence: vec![format!("CustomPresence:{exten}")],
                    present: true,
                    pattern: true,
                    display_name: None,
                });
            }
        }
        Self {
            devices: BTreeMap::new(),
            presences: BTreeMap::new(),
            taken: BTreeMap::new(),
            hints,
            lists: Vec::new(),
            limits,
            hides_batches: false,
            hides_bounds: false,
        }
    }

    /// Devices that hints may name.
    pub(crate) fn device_names() -> [&'static str; 7] {
        ["Custom:a", "Custom:b", "PJSIP/c", "PJSIP/d", "PJSIP/200", "PJSIP/201", "Queue:q"]
    }

    /// Presentities that hints may name.
    pub(crate) fn presence_names() -> [&'static str; 4] {
        ["CustomPresence:p", "CustomPresence:q", "CustomPresence:200", "CustomPresence:201"]
    }

    /// A command has reached its shard: from now on it is the truth.
    pub(crate) fn accept(&mut self, command: &Command, now: Time) {
        if let Command::SetDevice { tenant, device: name, .. }
        | Command::SetPresence { tenant, presentity: name, .. } = command
        {
            self.taken.insert((tenant.0, name.to_string()), (now, command.clone()));
        }
        match command {
            Command::SetDevice { tenant, device, state } => {
                self.devices.insert((tenant.0, device.to_string()), *state);
            }
            Command::SetPresence { tenant, presentity, presence, .. } => {
                self.presences.insert((tenant.0, presentity.to_string()), presence.clone());
            }
            _ => {}
        }
    }

    /// What a watcher of the hint must know now.
    pub(crate) fn truth(&self, hint: usize, look: Look) -> String {
        let spec = &self.hints[hint];
        let state = extension_state(spec.devices.iter().map(|device| self.device(spec, device)));
        facts::expected(look, state, &self.presence(spec))
    }

    fn device(&self, spec: &HintSpec, device: &str) -> DeviceState {
        let initial = match device.as_bytes().first() {
            Some(b'P') => DeviceState::Unavailable,
            Some(b'Q') => DeviceState::Invalid,
            _ => DeviceState::Unknown,
        };
        self.devices.get(&(spec.tenant, device.to_owned())).copied().unwrap_or(initial)
    }

    fn presence(&self, spec: &HintSpec) -> Presence {
        let order = |presence: &Presence| match presence.state {
            PresenceState::NotSet => 1,
            PresenceState::Available => 2,
            PresenceState::Unavailable => 3,
            PresenceState::Chat => 4,
            PresenceState::Away => 5,
            PresenceState::Xa => 6,
            PresenceState::Dnd => 7,
        };
        let mut best = Presence::default();
        let mut first = true;
        for name in &spec.presence {
            let key = (spec.tenant, name.clone());
            let presence = self.presences.get(&key).cloned().unwrap_or_default();
            if first || order(&presence) > order(&best) {
                best = presence;
            }
            first = false;
        }
        best
    }

    /// The configuration that the model stands for.
    pub(crate) fn config(&self) -> Arc<Config> {
        let mut config = Config {
            tenants: vec![Tenant { name: "one".into(), ..Tenant::default() }; 2],
            user_agent: "Lampfield-sim".into(),
            limits: self.limits.clone(),
            dialplan: self.dialplan(),
            identify: Identify::default(),
            ..Config::default()
        };
        if self.hides_bounds {
            let limits = &mut config.limits;
            (limits.notify_bytes_max, limits.notify_bytes_whole) = (64_000, 64_000);
        }
        for list in self.lists.iter().filter(|list| list.present) {
            let configured = list.configured(self.hides_batches);
            config.lists.add(TenantId(list.tenant), configured).expect("a new list");
        }
        config.tenants[1].name = "two".into();
        for (index, (tenant, dialect, early)) in ENDPOINTS.into_iter().enumerate() {
            config.endpoints.push(Endpoint {
                name: format!("endpoint{index}").into(),
                tenant: TenantId(tenant),
                context: CONTEXT.into(),
                allow_subscribe: true,
                notify_early_inuse_ringing: early,
                single_dialog: false,
                dialect,
                ..Endpoint::default()
            });
            let network = Network { address: [10, index as u8, 0, 0].into(), prefix: 16 };
            config.identify.networks.push((network, EndpointId(index as u32)));
        }
        Arc::new(config)
    }

    fn dialplan(&self) -> Dialplan {
        let mut dialplan = Dialplan::default();
        for tenant in 0..2 {
            let text = "PJSIP/${EXTEN},CustomPresence:${EXTEN}";
            let template = Template::parse(text, &Globals::default(), "sim").expect("a valid hint");
            dialplan
                .add_pattern(TenantId(tenant), CONTEXT, "_2XX", template)
                .expect("a new pattern");
        }
        for hint in self.hints.iter().filter(|hint| hint.present && !hint.pattern) {
            let text = format!("{},{}", hint.devices.join("&"), hint.presence.join("&"));
            let template = Template::parse(text.trim_end_matches(','), &Globals::default(), "sim")
                .expect("a valid hint");
            let mut hint_of = template.instantiate(CONTEXT, &hint.exten);
            hint_of.display_name = hint.display_name.map(Into::into);
            dialplan
                .add_hint(TenantId(hint.tenant), CONTEXT, &hint.exten, hint_of)
                .expect("a new extension");
        }
        dialplan
    }
}

impl HintSpec {
    /// Other sources for the same extension.
    pub(crate) fn choose_sources(&mut self, rng: &mut Rng) {
        let mut devices = Model::device_names().to_vec();
        rng.shuffle(&mut devices);
        let device_count = if rng.u8(..10) == 0 { 0 } else { rng.usize(1..=3) };
        self.devices = devices[..device_count].iter().map(|d| (*d).to_owned()).collect();
        let mut presences = Model::presence_names().to_vec();
        rng.shuffle(&mut presences);
        let least = usize::from(device_count == 0);
        self.presence = presences[..rng.usize(least..=2)].iter().map(|p| (*p).to_owned()).collect();
    }
}

/// Asterisk's number of the state that `devices` add up to, by counting.
fn extension_state(devices: impl Iterator<Item = DeviceState>) -> i32 {
    use DeviceState::*;
    let mut counts = BTreeMap::new();
    for device in devices {
        *counts.entry(device as u8).or_insert(0) += 1;
    }
    let any = |states: &[DeviceState]| states.iter().any(|s| counts.contains_key(&(*s as u8)));
    let both = any(&[Ringing]) && any(&[InUse, Busy, OnHold]);
    let rows: [(bool, i32); 8] = [
        (both || any(&[RingInUse]), 9),
        (any(&[Busy]), 2),
        (any(&[InUse]), 1),
        (any(&[Ringing]), 8),
        (any(&[OnHold]), 16),
        (any(&[NotInUse]), 0),
        (any(&[Unavailable]), 4),
        (any(&[Unknown]), 0),
    ];
    rows.into_iter().find(|(present, _)| *present).map_or(4, |(_, state)| state)
}
