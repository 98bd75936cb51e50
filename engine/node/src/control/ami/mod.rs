//! The AMI server: Asterisk's manager protocol, as far as it concerns states and hints.
//!
//! Source: `reference/ami.md`, `traces/20-ami-presence.txt`, `traces/21-cli.txt`.
//!
//! One task serves one connection. It handles a request to completion, list events included,
//! before it writes live events, so these never come inside a list; after the reply they follow
//! at once, unless the request says `SuppressEvents`. A connection sees and sets the states of
//! its user's tenant only.
//!
//! Line ends in a state's texts are always escaped (`\n`), in events and in replies, so nobody
//! can forge a message by setting a text; option `e` of `PRESENCE_STATE` reads them exactly.

mod actions;
pub mod class;
mod connection;
mod event;
mod hub;
mod request;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

pub(crate) use actions::asterisk_state;
pub(crate) use hub::Hub;

use super::Node;
use connection::Connection;

/// First line of every connection. The version is that of `traces/20-ami-presence.txt`
/// (Asterisk 22), which clients parse to learn what to expect.
pub const BANNER: &str = "Asterisk Call Manager/11.0.0\r\n";

/// Connections served at once. Each costs some tens of KiB, and far fewer are ever needed.
const CONNECTION_COUNT_MAX: u32 = 4096;

/// Connections that have not logged in, and how long one may stay so, where the configuration
/// says 0 (Asterisk's own defaults).
const AUTH_LIMIT_DEFAULT: u32 = 50;
const AUTH_TIMEOUT_DEFAULT_S: u32 = 30;

/// Pause after `accept` failed (out of file descriptors): it would fail again at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listening AMI socket.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Who is connected, for the limits on that.
#[derive(Default)]
struct Gate {
    connections: Cell<u32>,
    /// Those of them that have not logged in.
    unauthenticated: Cell<u32>,
    /// Logins per user.
    users: RefCell<HashMap<String, u32>>,
}

impl Server {
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves connections until the task is dropped.
    pub(crate) async fn run(self, node: Rc<Node>) {
        let gate = Rc::new(Gate::default());
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("AMI cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            if let Err(reason) = gate.admit(&node) {
                // Without a banner, as Asterisk does: the client sees the connection end.
                tracing::warn!(%peer, "AMI connection refused: {reason}");
                continue;
            }
            tokio::task::spawn_local(serve(stream, peer, Rc::clone(&node), Rc::clone(&gate)));
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, node: Rc<Node>, gate: Rc<Gate>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, "AMI connection keeps its delay: {error}");
    }
    let mut connection = Connection::new(stream, peer, node, gate);
    match connection.run().await {
        Ok(()) => tracing::debug!(%peer, "AMI connection ended"),
        Err(error) => tracing::info!(%peer, "AMI connection closed: {error}"),
    }
}

impl Gate {
    /// Counts a new connection in, or says why not.
    fn admit(&self, node: &Node) -> Result<(), &'static str> {
        let auth_limit = match node.config().ami.as_ref().map_or(0, |ami| ami.auth_limit) {
            0 => AUTH_LIMIT_DEFAULT,
            limit => limit,
        };
        if self.connections.get() >= CONNECTION_COUNT_MAX {
            return Err("too many connections");
        }
        if self.unauthenticated.get() >= auth_limit {
            return Err("too many connections that have not logged in (authlimit)");
        }
        self.connections.set(self.connections.get() + 1);
        self.unauthenticated.set(self.unauthenticated.get() + 1);
        Ok(())
    }

    /// Counts a login.
    fn log_in(&self, user: &str) {
        self.unauthenticated.set(self.unauthenticated.get() - 1);
        *self.users.borrow_mut().entry(user.to_owned()).or_default() += 1;
    }

    fn is_active(&self, user: &str) -> bool {
        self.users.borrow().contains_key(user)
    }

    /// Counts a connection out.
    fn leave(&self, user: Option<&str>) {
        self.connections.set(self.connections.get() - 1);
        let Some(user) = user else {
            self.unauthenticated.set(self.unauthenticated.get() - 1);
            return;
        };
        let mut users = self.users.borrow_mut();
        if let Some(count) = users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                users.remove(user);
            }
        }
    }
}
