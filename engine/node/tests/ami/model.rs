//! What the tests have instead of shards: threads that answer from one small shared model, and
//! insist that everything reaches the shard that owns it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lampfield::channel::{FromShard, ToShard};
use lampfield_core::canonical_name;
use lampfield_core::command::{
    Answer, Command, DeviceRow, Event, ExplainedSource, Explanation, ExtensionRow, PresenceRow,
    Query, Reply, SubscriptionRow,
};
use lampfield_core::config::Config;
use lampfield_core::dialplan::Hint;
use lampfield_core::placement::{Placement, ShardId, TenantId};
use lampfield_core::state::{
    DeviceAggregate, DeviceState, ExtensionState, Presence, PresenceState,
};

/// All states and hints, of one tenant.
pub(crate) struct Model {
    placement: Placement,
    config: Arc<Config>,
    devices: BTreeMap<Arc<str>, DeviceState>,
    presences: BTreeMap<Arc<str>, (Presence, Arc<str>)>,
    extensions: BTreeMap<(Arc<str>, Arc<str>), Extension>,
    pub(crate) subscriptions: Vec<SubscriptionRow>,
    /// Watchers of extensions, by name.
    pub(crate) watchers: BTreeMap<String, u32>,
    /// How often a configuration was handed over.
    pub(crate) reloads: usize,
}

struct Extension {
    hint: Arc<Hint>,
    state: ExtensionState,
    presence: Presence,
}

pub(crate) type SharedModel = Arc<Mutex<Model>>;

impl Model {
    pub(crate) fn new(config: Arc<Config>, placement: Placement) -> Self {
        let mut model = Self {
            placement,
            config: Arc::clone(&config),
            devices: BTreeMap::new(),
            presences: BTreeMap::new(),
            extensions: BTreeMap::new(),
            subscriptions: Vec::new(),
            watchers: BTreeMap::new(),
            reloads: 0,
        };
        for (context, exten, hint) in config.dialplan.explicit_hints(TenantId(0)) {
            model.add_extension(context, exten, hint);
        }
        model
    }

    fn set_device(&mut self, device: &str, state: DeviceState) -> Vec<Event> {
        let device = &*canonical_name(&self.config.providers, device);
        if self.devices.insert(device.into(), state) == Some(state) {
            return Vec::new();
        }
        let device: Arc<str> = device.into();
        let mut events = vec![Event::DeviceStateChange {
            tenant: TenantId(0),
            device: Arc::clone(&device),
            state,
        }];
        let keys: Vec<_> = self.extensions.keys().cloned().collect();
        for key in keys {
            let hint = Arc::clone(&self.extensions[&key].hint);
            let state = self.extension_state(&hint);
            let extension = self.extensions.get_mut(&key).expect("just listed");
            let again = state.rings() && hint.devices.contains(&device);
            if std::mem::replace(&mut extension.state, state) != state || again {
                let (context, extension) = key;
                let (tenant, state) = (TenantId(0), Some(state));
                events.push(Event::ExtensionStatus { extension, context, tenant, hint, state });
            }
        }
        events
    }

    /// Makes an extension exist that only a pattern has.
    pub(crate) fn touch(&mut self, context: &str, exten: &str) {
        let found = self.config.dialplan.find(TenantId(0), context, exten).expect("a hint");
        self.add_extension(&found.context, &found.exten, &found.hint);
    }

    fn add_extension(&mut self, context: &Arc<str>, exten: &Arc<str>, hint: &Arc<Hint>) {
        let state = self.extension_state(hint);
        let presence = self.presence_of(hint);
        let hint = Arc::clone(hint);
        let key = (Arc::clone(context), Arc::clone(exten));
        self.extensions.entry(key).or_insert(Extension { hint, state, presence });
    }

    fn take_presence(
        &mut self,
        presentity: Arc<str>,
        presence: Presence,
        written: Arc<str>,
    ) -> Vec<Event> {
        let tenant = TenantId(0);
        let published = presence.clone();
        let name = canonical_name(&self.config.providers, &presentity);
        self.presences.insert(name, (presence, written));
        let mut events =
            vec![Event::PresenceStateChange { tenant, presentity, presence: published }];
        let keys: Vec<_> = self.extensions.keys().cloned().collect();
        for key in keys {
            let hint = Arc::clone(&self.extensions[&key].hint);
            let presence = self.presence_of(&hint);
            let extension = self.extensions.get_mut(&key).expect("just listed");
            if extension.presence != presence {
                extension.presence = presence.clone();
                let (context, extension) = key;
                events.push(Event::PresenceStatus { extension, context, tenant, hint, presence });
            }
        }
        events
    }

    fn device(&self, name: &str) -> DeviceRow {
        let state = self.devices.get(name).copied();
        DeviceRow {
            device: name.into(),
            state: state.unwrap_or_else(|| self.config.providers.initial_device(name)),
            reported: state.is_some(),
        }
    }

    fn extension_state(&self, hint: &Hint) -> ExtensionState {
        let states = hint.devices.iter().map(|device| self.device(device).state);
        ExtensionState::from_devices(states.collect::<DeviceAggregate>().state())
    }

    fn presence_of(&self, hint: &Hint) -> Presence {
        let known = |name| self.presences.get(name).map(|(presence, _)| presence.clone());
        let all = hint.presence.iter().filter_map(known);
        all.max_by_key(|presence| presence.state.rank()).unwrap_or_default()
    }

    fn row(&self, key: &(Arc<str>, Arc<str>)) -> Option<ExtensionRow> {
        let extension = self.extensions.get(key)?;
        Some(ExtensionRow {
            tenant: TenantId(0),
            context: Arc::clone(&key.0),
            exten: Arc::clone(&key.1),
            hint: Arc::clone(&extension.hint),
            state: extension.state,
            presence: extension.presence.clone(),
            watcher_count: self.watchers.get(&*key.1).copied().unwrap_or_default(),
        })
    }

    fn explain(&self, key: &(Arc<str>, Arc<str>)) -> Option<Box<Explanation>> {
        let extension = self.row(key)?;
        let source = |name: &Arc<str>, state: String| ExplainedSource {
            name: Arc::clone(name),
            state: state.into(),
            age_ms: Some(61_000),
            owner: self.placement.shard_of_source(TenantId(0), name),
        };
        let devices = extension.hint.devices.iter();
        let mut sources: Vec<_> =
            devices.map(|name| source(name, self.device(name).state.token().to_owned())).collect();
        sources.extend(extension.hint.presence.iter().map(|name| {
            let state = self.presences.get(name).map(|(presence, _)| presence.state);
            source(name, state.unwrap_or(PresenceState::NotSet).token().to_owned())
        }));
        let watchers =
            self.subscriptions.iter().filter(|row| row.exten == extension.exten).cloned().collect();
        Some(Box::new(Explanation { extension, sources, watchers }))
    }

    fn answer(&mut self, shard: ShardId, query: Query) -> Answer {
        let placement = self.placement.clone();
        let config = Arc::clone(&self.config);
        let owns = |name: &str| {
            let name = canonical_name(&config.providers, name);
            placement.shard_of_source(TenantId(0), &name) == shard
        };
        let owns_exten = |context: &str, exten: &str| {
            placement.shard_of_extension(TenantId(0), context, exten) == shard
        };
        match query {
            Query::Device(_, name) => {
                assert!(owns(&name), "{name} asked of shard {shard:?}");
                Answer::Devices(vec![self.device(&canonical_name(&config.providers, &name))])
            }
            Query::Presence(_, name) => {
                assert!(owns(&name), "{name} asked of shard {shard:?}");
                let name = canonical_name(&config.providers, &name);
                let known = self.presences.get(&name).cloned();
                let (presence, written) = known.unwrap_or_default();
                Answer::Presences(vec![PresenceRow { presentity: name, presence, written }])
            }
            Query::Devices(_) => {
                let hinted = self.extensions.values().flat_map(|e| e.hint.devices.iter());
                let names: std::collections::BTreeSet<_> =
                    hinted.chain(self.devices.keys()).filter(|name| owns(name)).collect();
                Answer::Devices(names.into_iter().map(|name| self.device(name)).collect())
            }
            Query::Presences(_) => {
                let rows = self.presences.iter().filter(|(name, _)| owns(name));
                Answer::Presences(
                    rows.map(|(name, (presence, written))| PresenceRow {
                        presentity: Arc::clone(name),
                        presence: presence.clone(),
                        written: Arc::clone(written),
                    })
                    .collect(),
                )
            }
            Query::Extension { context, exten, .. } => {
                assert!(owns_exten(&context, &exten), "{exten} asked of shard {shard:?}");
                self.touch(&context, &exten);
                Answer::Extensions(self.row(&(context, exten)).into_iter().collect())
            }
            Query::Extensions(_) => {
                let keys = self.extensions.keys().filter(|(c, e)| owns_exten(c, e));
                Answer::Extensions(keys.filter_map(|key| self.row(key)).collect())
            }
            Query::Explain { context, exten, .. } => {
                assert!(owns_exten(&context, &exten), "{exten} asked of shard {shard:?}");
                Answer::Explain(self.explain(&(context, exten)))
            }
            Query::Subscriptions { call_id, limit, .. } => {
                let mine = |row: &&SubscriptionRow| {
                    owns_exten(&row.context, &row.exten)
                        && call_id.as_ref().is_none_or(|id| **id == *row.call_id)
                };
                let rows: Vec<_> = self.subscriptions.iter().filter(mine).cloned().collect();
                let total = rows.len();
                Answer::Subscriptions(rows.into_iter().take(limit).collect(), total)
            }
            Query::Stats => Answer::Stats(Box::default()),
        }
    }

    fn obey(&mut self, shard: ShardId, command: Command) -> Vec<Event> {
        let owns = |name: &str| {
            let name = canonical_name(&self.config.providers, name);
            self.placement.shard_of_source(TenantId(0), &name) == shard
        };
        match command {
            Command::SetDevice { device, state, .. } => {
                assert!(owns(&device), "{device} set on shard {shard:?}");
                self.set_device(&device, state)
            }
            Command::SetPresence { presentity, presence, written, .. } => {
                assert!(owns(&presentity), "{presentity} set on shard {shard:?}");
                self.take_presence(presentity, presence, written)
            }
            Command::Reload(_) => {
                self.reloads += 1;
                Vec::new()
            }
            Command::Restore(_) | Command::ListenEvents(_) => Vec::new(),
        }
    }
}

/// One shard's thread: answers until its queue ends.
pub(crate) fn run_shard(
    shard: ShardId,
    model: &SharedModel,
    inbox: &async_channel::Receiver<ToShard>,
    to_control: &async_channel::Sender<FromShard>,
) {
    let mut listening = false;
    while let Ok(message) = inbox.recv_blocking() {
        let reply = match message {
            ToShard::Command(Command::ListenEvents(on)) => {
                listening = on;
                None
            }
            ToShard::Command(command) => {
                let events = model.lock().expect("no panic elsewhere").obey(shard, command);
                (listening && !events.is_empty()).then_some(FromShard::Events(events))
            }
            ToShard::Change(id, command) => {
                let events = model.lock().expect("no panic elsewhere").obey(shard, command);
                if listening && !events.is_empty() {
                    let _ = to_control.send_blocking(FromShard::Events(events));
                }
                let answer = Answer::Changed(Ok(Box::default()));
                Some(FromShard::Replies(vec![Reply { id, shard, answer }]))
            }
            ToShard::Query(id, query) => {
                let answer = model.lock().expect("no panic elsewhere").answer(shard, query);
                Some(FromShard::Replies(vec![Reply { id, shard, answer }]))
            }
            ToShard::Figures(id) => {
                Some(FromShard::Figures(id, vec![("turn", u64::from(shard.0) + 1)]))
            }
            ToShard::Stop => break,
            other => panic!("the control plane sends no {other:?}"),
        };
        if let Some(reply) = reply
            && to_control.send_blocking(reply).is_err()
        {
            break;
        }
    }
}
