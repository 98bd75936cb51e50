//! The control plane: everything cold, on one thread of its own beside the shards.
//!
//! A tokio `current_thread` runtime carries the AMI server ([`ami`]), the console ([`console`])
//! and reloads. It owns no state of extensions or sources: it asks the shards that do, through
//! [`ShardClient`], and hears their news as events. All queues to and from it are bounded, and it
//! always drains what the shards tell it, so it can be late but never block them.
//!
//! Tasks of this thread share data by `Rc`; nothing here needs a lock.

pub mod ami;
mod client;
pub mod console;
mod mailbox;
mod node;
mod shutdown;

use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use lampfield_core::placement::Placement;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

pub use client::{Change, ChangeError, ShardClient, ShardError};
pub(crate) use mailbox::MailboxPattern;
pub(crate) use node::Node;
pub use shutdown::Shutdown;

use crate::channel::{FromShard, ToShard};
use crate::config::NodeConfig;

/// Reads the configuration again, from where it was read at start. Called on a thread that may
/// block, with the names of the tenants there are or were, by place. An error changes nothing and is
/// shown to whoever asked for the reload.
pub type Reload = Arc<dyn Fn(&[Arc<str>]) -> anyhow::Result<NodeConfig> + Send + Sync>;

/// What the control plane is made from.
pub struct ControlSetup {
    /// The configuration the shards were started with.
    pub config: NodeConfig,
    /// Who owns what.
    pub placement: Placement,
    /// Queues to the shards, by [`lampfield_core::placement::ShardId`].
    pub shards: Vec<async_channel::Sender<ToShard>>,
    /// What the shards answer and tell.
    pub from_shards: async_channel::Receiver<FromShard>,
    /// Reads the configuration again.
    pub reload: Reload,
    /// The way to the store, if there is one.
    pub records: Option<async_channel::Sender<crate::store::Batch>>,
    /// Ends the control plane, and is how the console ends the node.
    pub shutdown: Shutdown,
}

/// Serves AMI and console until `setup.shutdown` is requested. Ending the shards afterwards is
/// the caller's part.
///
/// # Errors
///
/// An address or socket that cannot be bound. Nothing that a client does ends it.
pub async fn serve(setup: ControlSetup) -> anyhow::Result<()> {
    Control::bind(setup).await?.run().await
}

/// A control plane whose sockets are bound and not yet served.
pub struct Control {
    node: Rc<Node>,
    from_shards: async_channel::Receiver<FromShard>,
    ami: Option<ami::Server>,
    console: console::Server,
}

impl Control {
    /// Binds the sockets.
    ///
    /// # Errors
    ///
    /// Which address or path could not be bound, and why.
    pub async fn bind(setup: ControlSetup) -> anyhow::Result<Self> {
        let ControlSetup { config, placement, shards, from_shards, reload, records, shutdown } =
            setup;
        let ami = match config.ami.as_ref().and_then(|ami| ami.bind) {
            Some(address) => Some(
                ami::Server::bind(address)
                    .await
                    .with_context(|| format!("cannot listen for AMI on {address}"))?,
            ),
            None => None,
        };
        let console = console::Server::bind(&config.console_socket)?;
        let client = ShardClient::new(placement, shards);
        let node = Rc::new(Node::new(client, config, reload, records, shutdown));
        Ok(Self { node, from_shards, ami, console })
    }

    /// Where AMI listens; `None` if it is not served.
    pub fn ami_address(&self) -> Option<std::net::SocketAddr> {
        self.ami.as_ref().map(ami::Server::address)
    }

    /// Serves until shutdown is requested.
    ///
    /// # Errors
    ///
    /// When the shards are gone without a shutdown.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { node, from_shards, ami, console } = self;
        let tasks = LocalSet::new();
        if let Some(ami) = ami {
            tasks.spawn_local(ami.run(Rc::clone(&node)));
        }
        tasks.spawn_local(Rc::clone(&node.hub).switch_task(node.client.clone()));
        tasks.spawn_local(console.run(Rc::clone(&node)));
        tasks.spawn_local(Rc::clone(&node.mirrors).run(Rc::clone(&node)));
        tasks.spawn_local(reload_on_hangup(Rc::clone(&node)));
        let shutdown = node.shutdown.clone();
        let result = tasks
            .run_until(async move {
                tokio::select! {
                    () = shutdown.wait() => Ok(()),
                    () = hear(&node, from_shards) => {
                        anyhow::ensure!(shutdown.is_requested(), "the shards ended by themselves");
                        Ok(())
                    }
                }
            })
            .await;
        // Connections and their tasks end here, with the task set.
        drop(tasks);
        result
    }
}

/// SIGHUP reads the configuration again; a bad one changes nothing.
async fn reload_on_hangup(node: Rc<Node>) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "cannot watch SIGHUP: reload by the console");
            return;
        }
    };
    while hangup.recv().await.is_some() {
        match node.reload().await {
            Ok(()) => tracing::info!("SIGHUP: configuration reloaded"),
            Err(error) => tracing::error!("SIGHUP: configuration unchanged: {error:#}"),
        }
    }
}

/// Passes on what the shards say. Never waits for a client.
async fn hear(node: &Node, from_shards: async_channel::Receiver<FromShard>) {
    while let Ok(message) = from_shards.recv().await {
        match message {
            FromShard::Replies(replies) => node.client.deliver(replies),
            FromShard::Seen(id, seen) => node.client.deliver_seen(id, seen),
            FromShard::Events(events) => node.hub.publish(&events, node),
            FromShard::Stopped(shard) => tracing::info!(shard = shard.0, "shard ended"),
        }
    }
}
