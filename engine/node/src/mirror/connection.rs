//! A mirror's task: carries bytes and time between its [`Machine`] and a socket, and what the
//! machine learns into the table.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use lampfield_core::canonical_name;
use lampfield_core::command::{Answer, Query};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::Mirrors;
use super::machine::{Input, Machine, Output, Phase};
use super::state::{Kind, Name, State};
use super::table::MirrorId;
use crate::config::{MirrorConfig, NodeConfig};
use crate::control::Node;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// What a mirror's task and the rest of the control plane share.
pub(super) struct Link {
    pub(super) id: MirrorId,
    pub(super) config: MirrorConfig,
    pub(super) machine: RefCell<Machine>,
    /// Asks for a comparison.
    pub(super) resync: Notify,
}

/// Follows a PBX until the task is dropped.
pub(super) async fn follow(link: Rc<Link>, mirrors: Rc<Mirrors>, node: Rc<Node>) {
    remember(&link, &mirrors, &node).await;
    let mut socket = Socket::Idle;
    let mut buffer = vec![0; READ_BYTES];
    let mut out = Vec::new();
    loop {
        let wake = mirrors.instant(link.machine.borrow().wake_at());
        let news = tokio::select! {
            () = sleep_until(wake) => News::Tick,
            () = link.resync.notified() => News::Resync,
            news = socket.next(&mut buffer) => news,
        };
        let input = match &news {
            News::Tick => Input::Tick,
            News::Resync => Input::Resync,
            News::Connected => Input::Connected,
            News::Received(length) => Input::Received(&buffer[..*length]),
            News::Lost(why) => {
                socket = Socket::Idle;
                Input::Lost(why)
            }
        };
        step(&link, &mirrors, input, &mut out);
        // An output may be the reason for another input.
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                act(&link, &mirrors, &node, &mut socket, output, &mut out);
            }
        }
        mirrors.changed.notify_one();
    }
}

fn step(link: &Link, mirrors: &Mirrors, input: Input<'_>, out: &mut Vec<Output>) {
    let mut machine = link.machine.borrow_mut();
    let (before, was_seen) = (machine.phase(), machine.sees());
    machine.handle(input, mirrors.now(), out);
    let name = &link.config.name;
    if machine.sees() && !was_seen {
        tracing::info!("mirror {name}: live");
    }
    if machine.phase() == Phase::Waiting && before != Phase::Waiting {
        let why = machine.last_error.as_ref().map_or("", |(_, why)| why);
        match before {
            Phase::Online => tracing::warn!("mirror {name}: lost: {why}"),
            _ => tracing::info!("mirror {name}: no connection: {why}"),
        }
    }
}

fn act(
    link: &Link,
    mirrors: &Mirrors,
    node: &Node,
    socket: &mut Socket,
    output: Output,
    out: &mut Vec<Output>,
) {
    let config = node.config();
    let providers = &config.core.providers;
    let mut table = mirrors.table.borrow_mut();
    match output {
        Output::Connect => *socket = Socket::connect(link.config.address.clone()),
        Output::Send(bytes) => socket.send(&bytes),
        Output::Disconnect => {
            *socket = Socket::Idle;
            table.lost(link.id);
        }
        Output::Synced(snapshot) => {
            let missing = table.synced(link.id, snapshot, providers);
            let mut names: BTreeSet<Arc<str>> = missing.into_iter().collect();
            for name in hinted(&link.config, &config) {
                let first = link.config.tenants.first().copied().unwrap_or_default();
                let key = (first, Name { kind: Kind::Device, text: name });
                if !table.has(link.id, &key) {
                    names.insert(key.1.text);
                }
            }
            drop(table);
            let names = names.into_iter().take(link.config.name_count_max).collect();
            step(link, mirrors, Input::Ask(names), out);
        }
        Output::Changed(name, state) => table.changed(link.id, &name, &state, providers),
        Output::Answered(device, state) => table.answered(link.id, &device, state, providers),
        Output::Stale => {
            tracing::warn!(
                "mirror {}: not seen for {} s: its states are stale ({})",
                link.config.name,
                link.config.stale_after.as_secs(),
                link.config.stale.token()
            );
            table.set_stale(link.id);
        }
    }
}

/// Devices that hints of a mirror's tenants name and that are its own to know.
fn hinted(mirror: &MirrorConfig, config: &NodeConfig) -> BTreeSet<Arc<str>> {
    let core = &config.core;
    let hints = mirror.tenants.iter().flat_map(|tenant| core.dialplan.explicit_hints(*tenant));
    let names = hints.flat_map(|(_, _, hint)| &hint.devices);
    let names = names.filter(|name| mirror.devices.contains(name));
    names.map(|name| canonical_name(&core.providers, name)).collect()
}

/// States that were kept over a restart are what the PBX last told, as far as nobody else can have
/// set them: they become stale as if it had told them now.
async fn remember(link: &Link, mirrors: &Mirrors, node: &Node) {
    let config = node.config();
    for &tenant in &link.config.tenants {
        let Ok(answers) = node.client.ask_all(Query::Devices(tenant)).await else { continue };
        let mut table = mirrors.table.borrow_mut();
        for answer in answers {
            let Answer::Devices(rows) = answer else { continue };
            let providers = &config.core.providers;
            let is_settable = |name: &str| providers.of_device(name).is_none_or(|p| p.settable);
            for row in rows {
                if row.reported
                    && !is_settable(&row.device)
                    && link.config.devices.contains(&row.device)
                {
                    let name = Name { kind: Kind::Device, text: row.device };
                    table.remember(link.id, (tenant, name), State::Device(row.state));
                }
            }
        }
    }
}

/// What a task is woken by.
enum News {
    Tick,
    Resync,
    Connected,
    Received(usize),
    Lost(String),
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

enum Socket {
    Idle,
    Connecting(Connecting),
    Open { stream: TcpStream, unsent: Vec<u8> },
}

impl Socket {
    fn connect(address: String) -> Self {
        Self::Connecting(Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }))
    }

    /// Queues bytes; what may be queued is bounded by the requests that may be under way.
    fn send(&mut self, bytes: &[u8]) {
        if let Self::Open { unsent, .. } = self {
            unsent.extend_from_slice(bytes);
        }
    }

    /// Waits for something to happen, sending what is queued. Loses nothing when it is dropped.
    async fn next(&mut self, buffer: &mut [u8]) -> News {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Connecting(connecting) => match connecting.await {
                Ok(stream) => {
                    *self = Self::Open { stream, unsent: Vec::new() };
                    News::Connected
                }
                Err(error) => News::Lost(format!("cannot connect: {error}")),
            },
            Self::Open { stream, unsent } => match exchange(stream, unsent, buffer).await {
                Ok(0) => News::Lost("the server closed the connection".to_owned()),
                Ok(length) => News::Received(length),
                Err(error) => News::Lost(format!("the connection broke: {error}")),
            },
        }
    }
}

/// Sends and waits for bytes: how many came, 0 at the end.
async fn exchange(
    stream: &TcpStream,
    unsent: &mut Vec<u8>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let is_real = |error: &io::Error| error.kind() != io::ErrorKind::WouldBlock;
    loop {
        let interest = match unsent.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let ready = stream.ready(interest).await?;
        if ready.is_writable() && !unsent.is_empty() {
            match stream.try_write(unsent) {
                Ok(length) => drop(unsent.drain(..length)),
                Err(error) if is_real(&error) => return Err(error),
                Err(_) => {}
            }
        }
        if ready.is_readable() {
            match stream.try_read(buffer) {
                Err(error) if !is_real(&error) => {}
                result => return result,
            }
        }
    }
}
