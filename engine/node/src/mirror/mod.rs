//! Live mirrors: states of PBXs (Asterisk and what speaks like it) followed over AMI.
//!
//! ```text
//! socket -- bytes --> Machine -- news --> Table -- commands --> shards
//!           connection.rs      connection.rs     feed()
//! ```
//!
//! Each mirror is a task of the control plane with a [`machine::Machine`] of its own; all of them
//! share one [`table::Table`], which knows what every source is to show. One more task tells the
//! shards, by the same commands as AMI does, and waits for their answers: a shard that refuses is
//! told again later.
//!
//! A name whose state a PBX tells is that PBX's: nobody sets it here ([`Mirrors::owner`]).

mod connection;
pub(crate) mod machine;
mod snapshot;
pub(crate) mod state;
pub(crate) mod table;
#[cfg(test)]
mod world;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::canonical_name;
use lampfield_core::placement::TenantId;
use lampfield_core::provider::Providers;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;

use self::connection::{Link, follow};
use self::machine::{Figures, Machine, Phase};
use self::state::{Kind, Name, State};
use self::table::{Counts, Key, MirrorId, Origin, Table};
use crate::config::MirrorConfig;
use crate::control::{ChangeError, Node};

/// Changes under way to the shards at once.
const CHANGE_WINDOW: usize = 256;

/// Pause before a shard that refused is told again.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// All mirrors of a node.
pub(crate) struct Mirrors {
    table: RefCell<Table>,
    running: RefCell<Vec<Running>>,
    next_id: Cell<u32>,
    /// Something may wait for the shards.
    changed: Notify,
    /// There is another configuration.
    reconfigured: Notify,
    started: Instant,
    refused_count: Cell<u64>,
    /// Sources whose shards have not answered yet.
    under_way_count: Cell<usize>,
}

struct Running {
    link: Rc<Link>,
    task: AbortHandle,
}

/// A mirror, for people.
pub(crate) struct MirrorRow {
    pub(crate) config: MirrorConfig,
    pub(crate) phase: Phase,
    /// Whether its states are known to be those of its PBX.
    pub(crate) is_seen: bool,
    /// How long it has been in this phase.
    pub(crate) phase_age: Duration,
    /// Until the next attempt to connect.
    pub(crate) attempt_in: Option<Duration>,
    pub(crate) figures: Figures,
    pub(crate) counts: Counts,
    /// How long ago, and what.
    pub(crate) last_error: Option<(Duration, String)>,
}

impl Mirrors {
    pub(crate) fn new() -> Self {
        Self {
            table: RefCell::default(),
            running: RefCell::default(),
            next_id: Cell::new(0),
            changed: Notify::new(),
            reconfigured: Notify::new(),
            started: Instant::now(),
            refused_count: Cell::new(0),
            under_way_count: Cell::new(0),
        }
    }

    /// Runs the mirrors the configuration names, and those of every later one, until the task is
    /// dropped.
    pub(crate) async fn run(self: Rc<Self>, node: Rc<Node>) {
        spawn_local(feed(Rc::clone(&self), Rc::clone(&node)));
        loop {
            self.apply(&node);
            self.reconfigured.notified().await;
        }
    }

    /// Tells that there is another configuration.
    pub(crate) fn reconfigure(&self) {
        self.reconfigured.notify_one();
    }

    /// The mirror whose PBX says what a source shows, if there is one.
    pub(crate) fn owner(
        &self,
        tenant: TenantId,
        kind: Kind,
        name: &str,
        providers: &Providers,
    ) -> Option<Arc<str>> {
        let name = Name { kind, text: canonical_name(providers, name) };
        self.table.borrow().owner(tenant, &name).cloned()
    }

    /// Every mirror that feeds a source.
    pub(crate) fn origins(&self, tenant: TenantId, kind: Kind, name: &Arc<str>) -> Vec<Origin> {
        self.table.borrow().origins(tenant, &Name { kind, text: Arc::clone(name) })
    }

    /// All mirrors, in the order of the configuration.
    pub(crate) fn rows(&self) -> Vec<MirrorRow> {
        let (now, table) = (self.now(), self.table.borrow());
        let row = |running: &Running| {
            let link = &running.link;
            let machine = link.machine.borrow();
            MirrorRow {
                config: link.config.clone(),
                phase: machine.phase(),
                is_seen: machine.sees(),
                phase_age: now.saturating_sub(machine.phase_since),
                attempt_in: machine.attempt_at().map(|at| at.saturating_sub(now)),
                figures: machine.figures,
                counts: table.counts(link.id),
                last_error: machine
                    .last_error
                    .as_ref()
                    .map(|(at, why)| (now.saturating_sub(*at), why.clone())),
            }
        };
        self.running.borrow().iter().map(row).collect()
    }

    /// Sources that wait for their shards, and how often a shard refused.
    pub(crate) fn waiting(&self) -> (usize, u64) {
        let queued_count = self.table.borrow().queue_len();
        (queued_count + self.under_way_count.get(), self.refused_count.get())
    }

    /// Starts, ends and keeps mirrors as the configuration says. One that is kept compares
    /// everything again, because there may be new hints.
    fn apply(self: &Rc<Self>, node: &Rc<Node>) {
        let config = node.config();
        let mut before = std::mem::take(&mut *self.running.borrow_mut());
        let mut after = Vec::with_capacity(config.mirrors.len());
        let mut new = Vec::new();
        for mirror in &config.mirrors {
            match before.iter().position(|running| running.link.config == *mirror) {
                Some(at) => {
                    let running = before.swap_remove(at);
                    running.link.resync.notify_one();
                    after.push(running);
                }
                None => new.push(mirror),
            }
        }
        // New ones first: what they know already is not shown as lost with the old ones.
        let text_bytes_max = config.core.limits.presence_text_bytes_max;
        for mirror in new {
            after.push(self.start(mirror.clone(), text_bytes_max, node));
        }
        for Running { link, task } in before {
            task.abort();
            self.table.borrow_mut().remove(link.id);
            tracing::info!("mirror {}: ended", link.config.name);
        }
        after.sort_by_key(|running| {
            config.mirrors.iter().position(|mirror| *mirror == running.link.config)
        });
        *self.running.borrow_mut() = after;
        self.changed.notify_one();
    }

    fn start(
        self: &Rc<Self>,
        config: MirrorConfig,
        text_bytes_max: usize,
        node: &Rc<Node>,
    ) -> Running {
        let id = MirrorId(self.next_id.get());
        self.next_id.set(id.0 + 1);
        self.table.borrow_mut().add(id, &config);
        let machine = Machine::new(config.clone(), text_bytes_max, fastrand::u64(..), self.now());
        let machine = RefCell::new(machine);
        let link = Rc::new(Link { id, config, machine, resync: Notify::new() });
        let task = spawn_local(follow(Rc::clone(&link), Rc::clone(self), Rc::clone(node)));
        Running { link, task: task.abort_handle() }
    }

    /// Time since start, which the machines know.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn instant(&self, at: Duration) -> Instant {
        // Far enough for never.
        self.started + at.min(self.now() + Duration::from_secs(86_400))
    }
}

/// Tells the shards what is queued, and queues again what they refuse.
async fn feed(mirrors: Rc<Mirrors>, node: Rc<Node>) {
    loop {
        let batch = mirrors.table.borrow_mut().take(CHANGE_WINDOW);
        if batch.is_empty() {
            mirrors.changed.notified().await;
            continue;
        }
        mirrors.under_way_count.set(batch.len());
        let refused = tell(&mirrors, &node, batch).await;
        mirrors.under_way_count.set(0);
        if let Some(error) = refused {
            tracing::warn!("mirrors: a state was not taken, and is told again: {error}");
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    }
}

/// Tells the owners of some sources. The first refusal, if there is one.
async fn tell(mirrors: &Mirrors, node: &Node, batch: Vec<(Key, State)>) -> Option<ChangeError> {
    let config = node.config();
    let mut under_way = Vec::with_capacity(batch.len());
    let mut refused = None;
    let done = |key: &Key, state, is_ok: bool| {
        mirrors.table.borrow_mut().told(key, state, is_ok);
        mirrors.refused_count.set(mirrors.refused_count.get() + u64::from(!is_ok));
    };
    for (key, state) in batch {
        // One that does not take a command keeps all others waiting: once is enough.
        if refused.is_some() {
            done(&key, state, false);
            continue;
        }
        let command = state.command(key.0, &key.1.text);
        match node.client.change(command, &config.core.providers).await {
            Ok(change) => under_way.push((key, state, change)),
            Err(error) => {
                done(&key, state, false);
                refused = Some(error.into());
            }
        }
    }
    for (key, state, change) in under_way {
        match change.applied().await {
            Ok(()) | Err(ChangeError::Unconfirmed(_)) => done(&key, state, true),
            Err(error) => {
                done(&key, state, false);
                refused = Some(error);
            }
        }
    }
    refused
}
