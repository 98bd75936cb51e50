//! All connections of one shard, and the sockets they come by.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::channel::Channel;
use super::connection::{Connection, End, Spares};
use super::web_socket::WebSocket;
use super::{Layers, StreamCounts, StreamLimits, StreamOptions, StreamTarget};
use crate::sys::{Poller, Ready, stream};

/// Tokens of listening sockets and connections begin here; smaller ones are somebody else's.
const LISTENER_TOKENS: u64 = 1 << 40;
const CONNECTION_TOKENS: u64 = 1 << 41;

/// Connections accepted from one socket in one turn.
const ACCEPT_PER_TURN: usize = 64;

/// Accepting rests this long when descriptors have run out.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Deadlines are looked at no more often than this.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Bytes read from one connection in one turn.
const SCRATCH_BYTES: usize = 64 * 1024;

/// What waits for one connection is written when it has grown to this, before the turn's end.
/// Measured: beyond 64 KiB longer writes gain nothing.
const WRITE_BYTES: usize = 64 * 1024;

/// A message that came over a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamMessage<'a> {
    /// The connection.
    pub serial: u32,
    /// Our address, as the peer sees it.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// What the connection is made of.
    pub layers: Layers,
    /// Head and body.
    pub bytes: &'a [u8],
}

/// A connection has become full, or is not any more; one that has ended is not told of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fullness {
    /// The connection.
    pub serial: u32,
    /// The peer's address: messages for it that name no connection, or one that has ended, go to
    /// this one.
    pub peer: SocketAddr,
    /// Whether it is full now.
    pub is_full: bool,
}

/// Connections of one shard. Moments are given as time since the start of the process.
#[derive(Debug)]
pub struct StreamTable {
    limits: StreamLimits,
    listeners: Vec<Listener>,
    connections: HashMap<u32, Connection>,
    by_peer: HashMap<(SocketAddr, Layers), u32>,
    count_by_source: HashMap<IpAddr, usize>,
    last_serial: u32,
    /// Connections with something to write or to decide.
    dirty: Vec<u32>,
    closed: Vec<u32>,
    fullness: Vec<Fullness>,
    /// Bytes that wait for all peers.
    waiting_bytes: usize,
    spares: Spares,
    next_sweep: Option<Duration>,
    counts: StreamCounts,
    scratch: Box<[u8]>,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    options: StreamOptions,
    resting_until: Option<Duration>,
}

impl StreamTable {
    /// A table without sockets.
    pub fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            listeners: Vec::new(),
            connections: HashMap::new(),
            by_peer: HashMap::new(),
            count_by_source: HashMap::new(),
            last_serial: 0,
            dirty: Vec::new(),
            closed: Vec::new(),
            fullness: Vec::new(),
            waiting_bytes: 0,
            spares: Spares::default(),
            next_sweep: None,
            counts: StreamCounts::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        }
    }

    /// Checks that nobody else listens on `address`; see [`crate::udp::UdpPort::claim`].
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn claim(address: SocketAddr) -> io::Result<()> {
        stream::listen(address, false).map(|_| ())
    }

    /// Listens on `address`, shared with other shards; port 0 takes a free one. Returns the real
    /// address.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn listen(
        &mut self,
        address: SocketAddr,
        options: StreamOptions,
    ) -> io::Result<SocketAddr> {
        let socket = stream::listen(address, true)?;
        let address = socket.local_addr()?;
        self.listeners.push(Listener { socket, address, options, resting_until: None });
        Ok(address)
    }

    /// Begins to watch the listening sockets.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn watch(&self, poller: &Poller) -> io::Result<()> {
        self.listeners.iter().enumerate().try_for_each(|(at, listener)| {
            poller.add(listener.socket.as_fd(), LISTENER_TOKENS + at as u64, false)
        })
    }

    /// Whether a ready descriptor is one of this table's.
    pub fn owns(token: u64) -> bool {
        token >= LISTENER_TOKENS
    }

    /// Accepts or reads from what is ready, and hands every message on. Returns their number.
    pub fn on_ready(
        &mut self,
        poller: &Poller,
        ready: Ready,
        now: Duration,
        mut each: impl FnMut(StreamMessage<'_>),
    ) -> usize {
        if ready.token < CONNECTION_TOKENS {
            self.accept(poller, (ready.token - LISTENER_TOKENS) as usize, now);
            return 0;
        }
        let serial = (ready.token - CONNECTION_TOKENS) as u32;
        let Some(connection) = self.connections.get_mut(&serial) else { return 0 };
        let waiting_before = connection.waiting_bytes();
        let mut result = Ok(());
        if ready.writable {
            result = connection.on_writable(now).map(|opened| {
                self.counts.connected_count += u64::from(opened);
            });
        }
        let (local, peer, layers, mut count) =
            (connection.local, connection.peer, connection.layers, 0);
        if ready.readable && result.is_ok() {
            let mut message = |bytes: &[u8]| {
                count += 1;
                each(StreamMessage { serial, local, peer, layers, bytes });
            };
            let (scratch, counts, limits) = (&mut self.scratch, &mut self.counts, &self.limits);
            result = connection.read(scratch, now, counts, limits, &mut message);
        }
        self.waiting_bytes += connection.waiting_bytes() - waiting_before;
        match result {
            Ok(()) => self.dirty.push(serial),
            Err(end) => self.close(serial, end),
        }
        count
    }

    /// Queues a message for the connection it names, else for one to its peer, else for one that
    /// is opened now.
    pub fn send(&mut self, poller: &Poller, target: StreamTarget, message: &[u8], now: Duration) {
        let named = Some(target.serial).filter(|serial| self.connections.contains_key(serial));
        let found = named.or_else(|| self.by_peer.get(&(target.peer, target.layers)).copied());
        let Some(serial) = found.or_else(|| self.connect(poller, target, now)) else {
            self.counts.message_dropped_count += 1;
            return;
        };
        if let Err(end) = self.queue(serial, message, now) {
            self.counts.message_dropped_count += 1;
            self.close(serial, end);
        }
    }

    fn queue(&mut self, serial: u32, message: &[u8], now: Duration) -> Result<(), End> {
        let Some(connection) = self.connections.get_mut(&serial) else { return Ok(()) };
        let has_room = self.waiting_bytes + message.len() <= self.limits.queue_bytes_total_max;
        if !has_room && connection.is_blocked() {
            return Err(End::Crowded);
        }
        let waiting_before = connection.waiting_bytes();
        connection.queue(message, &mut self.spares, &self.limits, now)?;
        self.counts.message_out_count += 1;
        self.waiting_bytes += connection.waiting_bytes() - waiting_before;
        if self.dirty.last() != Some(&serial) {
            self.dirty.push(serial);
        }
        let waiting_bytes = connection.waiting_bytes();
        if waiting_bytes >= WRITE_BYTES && !connection.is_blocked() {
            let result = connection.write(&mut self.counts, now);
            self.waiting_bytes -= waiting_bytes - connection.waiting_bytes();
            result?;
        }
        Ok(())
    }

    /// Writes what was queued in this turn.
    pub fn flush(&mut self, poller: &Poller, now: Duration) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for serial in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(&serial) else { continue };
            let waiting_before = connection.waiting_bytes();
            let result = connection.flush(poller, &mut self.counts, &mut self.spares, now);
            self.waiting_bytes -= waiting_before - connection.waiting_bytes();
            match result {
                Ok(()) => self.look_at_fullness(serial, now),
                Err(end) => self.close(serial, end),
            }
        }
        self.dirty = dirty;
    }

    /// Closes connections whose time is over, and accepts again.
    pub fn sweep(&mut self, poller: &Poller, now: Duration) {
        if self.next_sweep.is_none_or(|due| now < due) {
            return;
        }
        for (at, listener) in self.listeners.iter_mut().enumerate() {
            if listener.resting_until.is_some_and(|until| until <= now) {
                listener.resting_until = None;
                let token = LISTENER_TOKENS + at as u64;
                let _ = poller.watch(listener.socket.as_fd(), token, true, false);
            }
        }
        let (mut ended, mut next) = (Vec::new(), None::<Duration>);
        for (serial, connection) in &self.connections {
            let (deadline, end) = connection.deadline(&self.limits);
            if deadline <= now {
                ended.push((*serial, end));
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        for (serial, end) in ended {
            self.close(serial, end);
        }
        let resting = self.listeners.iter().filter_map(|listener| listener.resting_until).min();
        self.next_sweep = next.map(|next| next.max(now + SWEEP_EVERY));
        self.next_sweep = self.next_sweep.into_iter().chain(resting).min();
    }

    /// When [`StreamTable::sweep`] has something to do.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.next_sweep
    }

    /// Connections that have become full since the last call, and those that are not any more, in
    /// order.
    pub fn take_fullness(&mut self) -> Vec<Fullness> {
        std::mem::take(&mut self.fullness)
    }

    /// Bytes that wait for all peers.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Connections that have ended since the last call.
    pub fn take_closed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.closed)
    }

    /// Connections open now.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// What happened so far.
    pub fn counts(&self) -> StreamCounts {
        self.counts
    }

    fn look_at_fullness(&mut self, serial: u32, now: Duration) {
        let is_crowded = self.waiting_bytes > self.limits.queue_bytes_total_max / 2;
        let full_bytes = if is_crowded { 0 } else { self.limits.full_bytes };
        let Some(connection) = self.connections.get_mut(&serial) else { return };
        if let Some(is_full) = connection.look_at_fullness(full_bytes, now) {
            let peer = connection.peer;
            self.counts.full_count += u64::from(is_full);
            self.fullness.push(Fullness { serial, peer, is_full });
            let deadline = connection.deadline(&self.limits).0;
            self.sweep_by(deadline);
        } else if connection.is_blocked() {
            let deadline = connection.deadline(&self.limits).0;
            self.sweep_by(deadline);
        }
    }

    fn accept(&mut self, poller: &Poller, at: usize, now: Duration) {
        for _ in 0..ACCEPT_PER_TURN {
            let Some(listener) = self.listeners.get_mut(at) else { return };
            let (stream, peer) = match listener.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        // The connection stays in the backlog and the socket ready: looking again
                        // at once would only burn the core.
                        self.counts.refused_count += 1;
                        listener.resting_until = Some(now + ACCEPT_REST);
                        let token = LISTENER_TOKENS + at as u64;
                        let _ = poller.watch(listener.socket.as_fd(), token, false, false);
                        self.sweep_by(now + ACCEPT_REST);
                    }
                    return;
                }
            };
            let options = listener.options.clone();
            let local = options.advertised.map_or_else(|| stream.local_addr(), Ok);
            let session = options.tls.as_ref().map(|tls| tls.accept()).transpose();
            let prepared = stream
                .set_nonblocking(true)
                .and_then(|()| stream::tune(&stream, self.limits.unacknowledged_max));
            let (Ok(local), Ok(()), Ok(session), Some(serial)) =
                (local, prepared, session, self.next_serial(peer.ip()))
            else {
                self.counts.refused_count += 1;
                continue;
            };
            let token = CONNECTION_TOKENS + u64::from(serial);
            let web_socket = options.web_socket.map(WebSocket::new);
            let channel = Channel::new(stream, session);
            let connection = Connection::accepted(channel, web_socket, token, (local, peer), now);
            if self.insert(poller, serial, connection).is_some() {
                self.counts.accepted_count += 1;
            }
        }
    }

    /// Opens a connection; `None` if that is refused at once.
    fn connect(&mut self, poller: &Poller, target: StreamTarget, now: Duration) -> Option<u32> {
        let serial = self.next_serial(target.peer.ip()).or_else(|| {
            self.counts.refused_count += 1;
            None
        })?;
        let session = match self.session(target) {
            Ok(session) => session,
            Err(_) => {
                self.counts.connect_failed_count += 1;
                return None;
            }
        };
        // The advertised address may not be one of this machine's; the system chooses then.
        let opened = stream::connect(Some(target.local.ip()), target.peer)
            .or_else(|_| stream::connect(None, target.peer));
        let tuned = opened.and_then(|stream| {
            stream::tune(&stream, self.limits.unacknowledged_max)?;
            Ok(stream)
        });
        let Ok(stream) = tuned else {
            self.counts.connect_failed_count += 1;
            return None;
        };
        let token = CONNECTION_TOKENS + u64::from(serial);
        let addresses = (target.local, target.peer);
        self.insert(
            poller,
            serial,
            Connection::opening(Channel::new(stream, session), token, addresses, now),
        )
    }

    /// Our side of TLS for a connection to be opened, if it is to have any: as on the address it
    /// comes from. Nobody can connect to a browser.
    fn session(&self, target: StreamTarget) -> io::Result<Option<rustls::Connection>> {
        if target.layers.web_socket {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if !target.layers.tls {
            return Ok(None);
        }
        let secure = self.listeners.iter().filter(|listener| !listener.options.layers().web_socket);
        let is_local = |listener: &&Listener| {
            listener.options.advertised.unwrap_or(listener.address) == target.local
        };
        let mut tls = secure
            .clone()
            .filter(is_local)
            .chain(secure.clone())
            .filter_map(|listener| listener.options.tls.as_ref());
        let tls = tls.next().ok_or(io::ErrorKind::Unsupported)?;
        tls.connect(target.peer.ip()).map(Some)
    }

    /// A serial for a connection to or from `source`; `None` if there is no place for it.
    fn next_serial(&mut self, source: IpAddr) -> Option<u32> {
        let of_source = self.count_by_source.get(&source).copied().unwrap_or(0);
        if self.connections.len() >= self.limits.connection_count_max
            || of_source >= self.limits.per_source_max
        {
            return None;
        }
        // Never 0, never one in use, and not reused before all others were.
        loop {
            self.last_serial = self.last_serial.wrapping_add(1).max(1);
            if !self.connections.contains_key(&self.last_serial) {
                return Some(self.last_serial);
            }
        }
    }

    fn insert(&mut self, poller: &Poller, serial: u32, connection: Connection) -> Option<u32> {
        if connection.register(poller).is_err() {
            self.counts.refused_count += 1;
            return None;
        }
        self.by_peer.insert((connection.peer, connection.layers), serial);
        *self.count_by_source.entry(connection.peer.ip()).or_default() += 1;
        self.sweep_by(connection.deadline(&self.limits).0);
        self.connections.insert(serial, connection);
        Some(serial)
    }

    fn sweep_by(&mut self, moment: Duration) {
        self.next_sweep = Some(self.next_sweep.map_or(moment, |next| next.min(moment)));
    }

    fn close(&mut self, serial: u32, end: End) {
        let Some(mut connection) = self.connections.remove(&serial) else { return };
        connection.say_goodbye();
        let counter = match end {
            End::ByPeer => &mut self.counts.closed_by_peer_count,
            End::Broken => &mut self.counts.broken_count,
            End::NotUpgraded => &mut self.counts.upgrade_refused_count,
            End::Untrusted => &mut self.counts.untrusted_count,
            End::Error => &mut self.counts.error_count,
            End::NotConnected => &mut self.counts.connect_failed_count,
            End::Slow => &mut self.counts.slow_count,
            End::Overrun => &mut self.counts.overrun_count,
            End::Crowded => &mut self.counts.crowded_count,
            End::Idle => &mut self.counts.idle_count,
        };
        *counter += 1;
        self.waiting_bytes -= connection.waiting_bytes();
        self.counts.message_dropped_count += u64::from(connection.waiting_bytes() > 0);
        let by_peer = (connection.peer, connection.layers);
        if self.by_peer.get(&by_peer) == Some(&serial) {
            self.by_peer.remove(&by_peer);
        }
        let source = connection.peer.ip();
        if let Some(count) = self.count_by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.count_by_source.remove(&source);
            }
        }
        self.closed.push(serial);
    }
}

#[cfg(test)]
impl StreamTable {
    /// TLS of the first address.
    pub(super) fn listeners_tls(&self) -> Option<std::sync::Arc<crate::tls::Tls>> {
        self.listeners.first().and_then(|listener| listener.options.tls.clone())
    }
}
