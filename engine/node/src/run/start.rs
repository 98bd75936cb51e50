//! Starting the parts of a node in an order in which every refusal is told before anything runs.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use async_channel::{Receiver, Sender};
use lampfield_core::ShardSetup;
use lampfield_core::placement::{Placement, ShardId};
use lampfield_net::rt::{self, Executor};
use lampfield_net::sys;

use super::clock::Clock;
use super::ports::{Bound, Ports};
use super::turn::{self, LoopSetup};
use crate::channel::{FromShard, ToShard};
use crate::config::NodeConfig;
use crate::control::{Control, ControlSetup, Reload, Shutdown};
use crate::store::{Batch, Store, StoreThread};
use crate::tenants;

/// Messages that may wait for one shard; batches of up to 128 count once.
const TO_SHARD_MAX: usize = 1024;

/// Batches of answers and news that may wait for the control plane.
const FROM_SHARD_MAX: usize = 1024;

/// Shards of one process: the partitions would be spread too unevenly over more.
const SHARD_COUNT_MAX: usize = 64;

/// Below this a burst of answers overruns the receive buffer (kernel counting, 2 KiB a datagram).
const RECEIVE_BUFFER_BYTES_WANTED: usize = 4 << 20;

/// A running node.
#[derive(Debug)]
pub struct Node {
    bound: Vec<Bound>,
    ami: Option<SocketAddr>,
    shards: Vec<(Sender<ToShard>, Executor<anyhow::Result<()>>)>,
    control: JoinHandle<anyhow::Result<()>>,
    store: Option<StoreThread>,
    shutdown: Shutdown,
}

impl Node {
    /// Starts shards, control plane and store.
    ///
    /// # Errors
    ///
    /// What cannot be had: io_uring, an address, the state directory. Nothing runs then.
    pub fn start(mut config: NodeConfig, reload: Reload) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let shard_count = shard_count(&config);
        anyhow::ensure!(!config.listen.is_empty(), "no address to serve SIP on is configured");
        let (ports, bound) = Ports::bind_all(&config.listen, shard_count)?;
        warn_of_small_buffers(&ports);
        give_up_rights(&config)?;
        rt::probe(shard_count.into())?;
        let (store, restore) = match &config.state_dir {
            Some(state_dir) => {
                let store = Store::open(state_dir)?;
                let mut records = store.load()?;
                let known = tenants::take_out(&mut records);
                if !tenants::are_in_place(&known, &config.core) {
                    config = reload(&known)?;
                }
                let new = tenants::records(known.len(), &config.core);
                if !new.is_empty() {
                    store.commit(&new)?;
                }
                (Some(store), records)
            }
            None => (None, Vec::new()),
        };
        let restored_count = restore.len();
        let (records, store): (Option<_>, _) = store.map(Store::start).transpose()?.unzip();

        let placement = Placement::new(shard_count);
        let (senders, inbounds): (Vec<_>, Vec<_>) =
            placement.shards().map(|_| async_channel::bounded(TO_SHARD_MAX)).unzip();
        let (to_control, from_shards) = async_channel::bounded(FROM_SHARD_MAX);
        let shutdown = Shutdown::default();
        let (control, ami) = start_control(ControlSetup {
            config: config.clone(),
            placement: placement.clone(),
            shards: senders.clone(),
            from_shards,
            reload,
            records: records.clone(),
            shutdown: shutdown.clone(),
        })?;
        let parts = ShardParts {
            config: &config,
            placement,
            clock,
            to_control,
            records,
            restore: Arc::new(restore),
        };
        let started = parts.start_all(&senders, inbounds, ports);
        let shards = match started {
            Ok(executors) => senders.into_iter().zip(executors).collect(),
            Err(error) => {
                shutdown.request();
                let _ = control.join();
                for sender in &senders {
                    sender.close();
                }
                return Err(error);
            }
        };
        let node = Self { bound, ami, shards, control, store, shutdown };
        node.tell(&config, restored_count);
        Ok(node)
    }

    /// The SIP addresses really bound, in the order of the configuration.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// Where AMI listens; `None` if it is not served.
    pub fn ami(&self) -> Option<SocketAddr> {
        self.ami
    }

    /// The wish to end: request it, or wait until somebody does. It does not end the shards;
    /// [`Node::stop`] does.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Ends the node: control plane first, then the shards, which send what is to be sent, then
    /// the store, which writes what is to be written.
    ///
    /// # Errors
    ///
    /// What did not end well; everything has ended then, too.
    pub fn stop(self) -> anyhow::Result<()> {
        let Self { shards, control, store, shutdown, .. } = self;
        shutdown.request();
        let control = control
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the control plane's thread panicked")));
        for (sender, _) in &shards {
            // A full queue is one the shard is working on. A closed one has no shard any more.
            let _ = sender.send_blocking(ToShard::Stop);
        }
        let (senders, executors): (Vec<_>, Vec<_>) = shards.into_iter().unzip();
        drop(senders);
        let ended: Vec<_> = executors.into_iter().map(Executor::join).collect();
        let stored = store.map_or(Ok(()), StoreThread::join);
        ended.into_iter().collect::<anyhow::Result<()>>().and(control).and(stored)
    }

    fn tell(&self, config: &NodeConfig, restored_count: usize) {
        let core = &config.core;
        let hint_count: usize = core
            .tenant_ids()
            .flat_map(|tenant| core.dialplan.contexts(tenant))
            .map(|context| context.hint_count() + context.patterns().len() + context.ranges().len())
            .sum();
        let cores: Vec<String> = self
            .shards
            .iter()
            .map(|(_, executor)| executor.core().map_or("any".to_owned(), |core| core.to_string()))
            .collect();
        tracing::info!("{} shards on cores {}", self.shards.len(), cores.join(", "));
        tracing::info!(
            "{} tenants, {} endpoints, {hint_count} hints, patterns and ranges",
            core.tenant_ids().count(),
            core.endpoints.len(),
        );
        match &config.state_dir {
            Some(dir) => tracing::info!("state in {}: {restored_count} records", dir.display()),
            None => tracing::info!("no state directory: states end with the process"),
        }
        for Bound { transport, address } in &self.bound {
            tracing::info!("listening {} {address}", transport.token().to_ascii_lowercase());
        }
        if let Some(ami) = self.ami {
            tracing::info!("listening ami {ami}");
        }
        tracing::info!("console at {}", config.console_socket.display());
    }
}

/// What all shards are made from.
struct ShardParts<'a> {
    config: &'a NodeConfig,
    placement: Placement,
    clock: Clock,
    to_control: Sender<FromShard>,
    records: Option<Sender<Batch>>,
    restore: Arc<Vec<lampfield_core::record::Record>>,
}

impl ShardParts<'_> {
    fn start_all(
        self,
        senders: &[Sender<ToShard>],
        inbounds: Vec<Receiver<ToShard>>,
        ports: Vec<Ports>,
    ) -> anyhow::Result<Vec<Executor<anyhow::Result<()>>>> {
        let cores = sys::allowed_cores();
        // One for all: a shard must know the nonces of another that passes a request on.
        let seed = secret_seed();
        let mut executors = Vec::with_capacity(ports.len());
        for (id, (ports, inbound)) in ports.into_iter().zip(inbounds).enumerate() {
            let setup = LoopSetup {
                shard: ShardSetup {
                    id: ShardId(id as u8),
                    placement: self.placement.clone(),
                    config: Arc::clone(&self.config.core),
                    seed,
                    unix_at_zero_ms: self.clock.unix_at_zero_ms(),
                    durable: self.records.is_some(),
                },
                clock: self.clock,
                ports,
                inbound,
                shards: senders.to_vec(),
                control: self.to_control.clone(),
                store: self.records.clone(),
                syncs_always: self.config.syncs_always,
                restore: Arc::clone(&self.restore),
            };
            // More shards than cores: two pinned to one core would be in each other's way.
            let core = cores.get(id).copied().filter(|_| senders.len() <= cores.len());
            let executor = rt::spawn(&format!("shard-{id}"), core, move || turn::run(setup))
                .with_context(|| format!("cannot start shard {id}"))?;
            executors.push(executor);
        }
        Ok(executors)
    }
}

/// Starts the control plane in a thread of its own, once its sockets are bound.
fn start_control(
    setup: ControlSetup,
) -> anyhow::Result<(JoinHandle<anyhow::Result<()>>, Option<SocketAddr>)> {
    let (tell, bound) = mpsc::sync_channel(1);
    let shutdown = setup.shutdown.clone();
    let thread = thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let result = runtime.block_on(async {
                match Control::bind(setup).await {
                    Ok(control) => {
                        let _ = tell.send(Ok(control.ami_address()));
                        control.run().await
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        Ok(())
                    }
                }
            });
            // Without its control plane a node cannot be told anything: it ends.
            shutdown.request();
            result
        })
        .context("cannot start the control plane's thread")?;
    let ami = bound.recv().context("the control plane did not start")??;
    Ok((thread, ami))
}

/// Nothing that needs root comes after the addresses are bound.
fn give_up_rights(config: &NodeConfig) -> anyhow::Result<()> {
    if !config.core_dumps {
        sys::forbid_core_dumps().context("cannot forbid core dumps")?;
    }
    sys::forbid_new_privileges().context("cannot forbid new privileges")?;
    sys::keep_files_private();
    let Some(user) = &config.user else { return Ok(()) };
    let account = sys::find_account(user).context("cannot look up users")?;
    let account = account.with_context(|| format!("there is no user {user}"))?;
    sys::become_account(user, account).with_context(|| format!("cannot become user {user}"))?;
    tracing::info!("running as user {user}");
    Ok(())
}

fn shard_count(config: &NodeConfig) -> u8 {
    let wanted = config.shard_count.map_or_else(sys::core_count, usize::from);
    wanted.clamp(1, SHARD_COUNT_MAX) as u8
}

fn warn_of_small_buffers(ports: &[Ports]) {
    let smallest = ports.iter().filter_map(Ports::receive_buffer_bytes).min();
    if let Some(bytes) = smallest.filter(|&bytes| bytes < RECEIVE_BUFFER_BYTES_WANTED) {
        tracing::warn!(
            "UDP receive buffer is only {bytes} bytes: bursts of answers will be lost; raise \
             sysctl net.core.rmem_max to {RECEIVE_BUFFER_BYTES_WANTED} or give CAP_NET_ADMIN"
        );
    }
}

/// A seed nobody can guess: the standard hasher is keyed by the operating system's randomness.
fn secret_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
