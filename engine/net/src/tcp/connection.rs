//! One connection: bytes in, messages out; messages in, bytes out.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use lampfield_wire::frame::{Frame, next_frame};
use lampfield_wire::limits::MESSAGE_BYTES_MAX;

use super::channel::{Channel, Got};
use super::web_socket::{Next, WebSocket, push_message};
use super::{Layers, StreamCounts, StreamLimits};
use crate::sys::Poller;

/// Bytes looked at for one message, over all looks. A message of 64 KiB in pieces of 1 KiB stays
/// below; one in single bytes would cost seconds of work and is not sent by anybody honest.
const LOOKED_BYTES_MAX: usize = 64 * MESSAGE_BYTES_MAX;

/// A buffer that has grown beyond this is given back when it is empty.
const KEPT_BYTES_MAX: usize = 4096;

/// Write buffers kept for the next turn: few connections are written to in most turns.
const SPARE_COUNT_MAX: usize = 16;

/// A write buffer that has grown beyond this is not kept.
const SPARE_BYTES_MAX: usize = 256 * 1024;

/// Empty write buffers, shared by all connections: an idle one holds none.
#[derive(Debug, Default)]
pub(super) struct Spares(Vec<Vec<u8>>);

impl Spares {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARE_COUNT_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The peer has closed it, and nothing is left to be written.
    ByPeer,
    /// Not SIP, too long, in too many pieces.
    Broken,
    /// Its upgrade to WebSocket was refused.
    NotUpgraded,
    /// No keys could be agreed on, or TLS was broken later.
    Untrusted,
    /// An error of the socket.
    Error,
    /// It could not be opened.
    NotConnected,
    /// The peer does not read, or too little.
    Slow,
    /// More waits for the peer than may.
    Overrun,
    /// More waits for all peers than may.
    Crowded,
    /// Nothing came for too long.
    Idle,
}

#[derive(Debug)]
pub(super) struct Connection {
    channel: Channel,
    /// `None`: SIP lies in the bytes as it is.
    web_socket: Option<Box<WebSocket>>,
    token: u64,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) layers: Layers,
    /// The attempt to open it has not ended.
    connecting: bool,
    /// A whole message has come, or the connection is ours.
    greeted: bool,
    /// The peer sends no more, or nobody reads it.
    read_closed: bool,
    /// Why it ends once nothing is left to be written.
    ends_as: End,
    /// What the poller watches it for.
    watched: (bool, bool),
    /// Begin of a message that is not whole.
    inbound: Vec<u8>,
    looked_bytes: usize,
    /// Since when the message in `inbound` is awaited.
    inbound_since: Duration,
    outbound: Vec<u8>,
    written: usize,
    /// The last write took less than it was given; the poller tells when to go on.
    is_blocked: bool,
    /// Since when bytes wait of which the peer takes none.
    stalled_since: Duration,
    /// Since when it is full.
    full_since: Option<Duration>,
    last_active: Duration,
}

impl Connection {
    pub(super) fn accepted(
        channel: Channel,
        web_socket: Option<WebSocket>,
        token: u64,
        (local, peer): (SocketAddr, SocketAddr),
        now: Duration,
    ) -> Self {
        let layers = Layers { tls: channel.is_secure(), web_socket: web_socket.is_some() };
        Self {
            channel,
            web_socket: web_socket.map(Box::new),
            token,
            peer,
            local,
            layers,
            connecting: false,
            greeted: false,
            read_closed: false,
            ends_as: End::ByPeer,
            watched: (true, false),
            inbound: Vec::new(),
            looked_bytes: 0,
            inbound_since: now,
            outbound: Vec::new(),
            written: 0,
            is_blocked: false,
            stalled_since: now,
            full_since: None,
            last_active: now,
        }
    }

    pub(super) fn opening(
        channel: Channel,
        token: u64,
        addresses: (SocketAddr, SocketAddr),
        now: Duration,
    ) -> Self {
        let accepted = Self::accepted(channel, None, token, addresses, now);
        Self { connecting: true, greeted: true, watched: (true, true), ..accepted }
    }

    /// Begins to watch it.
    pub(super) fn register(&self, poller: &Poller) -> io::Result<()> {
        poller.add(self.channel.stream().as_fd(), self.token, self.watched.1)
    }

    /// Reads once, and hands on every whole message.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        now: Duration,
        counts: &mut StreamCounts,
        limits: &StreamLimits,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), End> {
        if self.connecting || self.read_closed {
            return Ok(());
        }
        let length = match self.channel.read(scratch) {
            Ok(Got { length, is_end }) => {
                self.read_closed = is_end;
                length
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(End::Untrusted),
            Err(_) => return Err(End::Error),
        };
        if length == 0 {
            return Ok(());
        }
        self.last_active = now;
        if self.inbound.is_empty() {
            let used = self.split(&scratch[..length], now, counts, limits, each)?;
            self.inbound.extend_from_slice(&scratch[used..length]);
            self.inbound_since = now;
        } else {
            let mut inbound = std::mem::take(&mut self.inbound);
            inbound.extend_from_slice(&scratch[..length]);
            let used = self.split(&inbound, now, counts, limits, each)?;
            if used > 0 {
                inbound.drain(..used);
                self.inbound_since = now;
            }
            if inbound.is_empty() && inbound.capacity() > KEPT_BYTES_MAX {
                inbound = Vec::new();
            }
            self.inbound = inbound;
        }
        Ok(())
    }

    /// Hands on the whole messages at the front of `bytes`; returns how many bytes they take.
    fn split(
        &mut self,
        bytes: &[u8],
        now: Duration,
        counts: &mut StreamCounts,
        limits: &StreamLimits,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, End> {
        if self.web_socket.is_some() {
            return self.split_frames(bytes, now, counts, limits, each);
        }
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let taken = match next_frame(rest).map_err(|_| End::Broken)? {
                Frame::NeedMore => return self.look_again(rest.len()).map(|()| used),
                Frame::KeepAlive { bytes } => {
                    counts.ping_count += 1;
                    self.queue_bytes(b"\r\n", &mut Spares::default(), limits, now)?;
                    bytes
                }
                Frame::Blank { bytes } => bytes,
                Frame::Message { bytes } => {
                    counts.message_in_count += 1;
                    self.greeted = true;
                    each(&rest[..bytes]);
                    bytes
                }
            };
            self.looked_bytes = 0;
            used += taken;
        }
    }

    /// Counts bytes that were looked at and held no whole message.
    fn look_again(&mut self, length: usize) -> Result<(), End> {
        self.looked_bytes += length;
        if self.looked_bytes > LOOKED_BYTES_MAX { Err(End::Broken) } else { Ok(()) }
    }

    /// What [`Self::split`] does, on a WebSocket.
    fn split_frames(
        &mut self,
        bytes: &[u8],
        now: Duration,
        counts: &mut StreamCounts,
        limits: &StreamLimits,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, End> {
        let Some(web_socket) = &mut self.web_socket else { return Ok(0) };
        let (mut reply, mut message_count) = (Vec::new(), 0);
        let (used, next) = web_socket.take(bytes, &mut reply, &mut |message| {
            message_count += 1;
            each(message);
        });
        counts.message_in_count += message_count;
        self.greeted |= message_count > 0;
        if !reply.is_empty() {
            self.queue_bytes(&reply, &mut Spares::default(), limits, now)?;
        }
        match next {
            Next::Reads if used == 0 => self.look_again(bytes.len())?,
            Next::Reads => self.looked_bytes = 0,
            Next::Ends => self.read_closed = true,
            Next::Refused => (self.read_closed, self.ends_as) = (true, End::NotUpgraded),
            Next::Broken => (self.read_closed, self.ends_as) = (true, End::Broken),
        }
        Ok(used)
    }

    /// Puts a message behind what waits to be written.
    pub(super) fn queue(
        &mut self,
        message: &[u8],
        spares: &mut Spares,
        limits: &StreamLimits,
        now: Duration,
    ) -> Result<(), End> {
        if self.web_socket.is_none() {
            return self.queue_bytes(message, spares, limits, now);
        }
        let mut framed = Vec::with_capacity(message.len() + 10);
        push_message(message, &mut framed);
        self.queue_bytes(&framed, spares, limits, now)
    }

    fn queue_bytes(
        &mut self,
        message: &[u8],
        spares: &mut Spares,
        limits: &StreamLimits,
        now: Duration,
    ) -> Result<(), End> {
        if self.waiting_bytes() + message.len() > limits.queue_bytes_max {
            return Err(if self.connecting { End::NotConnected } else { End::Overrun });
        }
        if self.outbound.is_empty() {
            self.stalled_since = now;
        }
        if self.outbound.capacity() == 0 {
            self.outbound = spares.take();
        }
        self.outbound.extend_from_slice(message);
        Ok(())
    }

    /// The attempt to open it has ended: how?
    pub(super) fn on_writable(&mut self, now: Duration) -> Result<bool, End> {
        self.is_blocked = false;
        if !self.connecting {
            return Ok(false);
        }
        let stream = self.channel.stream();
        match stream.take_error() {
            Ok(None) if stream.peer_addr().is_ok() => {
                self.connecting = false;
                self.last_active = now;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Ok(Some(_)) | Err(_) => Err(End::NotConnected),
        }
    }

    /// Writes as far as the peer takes it.
    pub(super) fn write(&mut self, counts: &mut StreamCounts, now: Duration) -> Result<(), End> {
        while !self.is_blocked() && (self.waiting_bytes() > 0 || self.channel.wants_write()) {
            counts.write_count += 1;
            match self.channel.write(&self.outbound[self.written..]) {
                Ok(written) => {
                    self.written += written;
                    (self.last_active, self.stalled_since) = (now, now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_blocked = true,
                // The kernel has waited for the peer as long as it was told to.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(End::Slow),
                Err(_) => return Err(End::Error),
            }
        }
        Ok(())
    }

    /// Writes as far as the peer takes it, and watches for what comes next.
    pub(super) fn flush(
        &mut self,
        poller: &Poller,
        counts: &mut StreamCounts,
        spares: &mut Spares,
        now: Duration,
    ) -> Result<(), End> {
        self.write(counts, now)?;
        if self.written == self.outbound.len() {
            if self.outbound.capacity() > 0 {
                spares.give(std::mem::take(&mut self.outbound));
            }
            self.written = 0;
        } else if self.written > self.outbound.len() / 2 {
            self.outbound.drain(..self.written);
            self.written = 0;
        }
        if self.read_closed && self.outbound.is_empty() && !self.channel.wants_write() {
            return Err(self.ends_as);
        }
        let writes = !self.outbound.is_empty() && !self.channel.is_handshaking();
        let wanted = (!self.read_closed, self.connecting || writes || self.channel.wants_write());
        if wanted != self.watched {
            self.watched = wanted;
            let watched =
                poller.watch(self.channel.stream().as_fd(), self.token, wanted.0, wanted.1);
            watched.map_err(|_| End::Error)?;
        }
        Ok(())
    }

    /// Looks how much waits after a flush, with `full_bytes` as the bound; `Some` if the
    /// connection has become full, or is not any more.
    pub(super) fn look_at_fullness(&mut self, full_bytes: usize, now: Duration) -> Option<bool> {
        let waiting_bytes = self.waiting_bytes();
        match self.full_since {
            None if waiting_bytes > full_bytes => self.full_since = Some(now),
            Some(_) if waiting_bytes <= full_bytes / 4 => self.full_since = None,
            _ => return None,
        }
        Some(self.full_since.is_some())
    }

    /// Until when it may stay as it is, and why it ends then.
    pub(super) fn deadline(&self, limits: &StreamLimits) -> (Duration, End) {
        if self.connecting {
            return (self.last_active + limits.connect_max, End::NotConnected);
        }
        if self.channel.is_handshaking() {
            return (self.inbound_since + limits.connect_max, End::Untrusted);
        }
        if !self.outbound.is_empty() {
            let stalled = self.stalled_since + limits.unacknowledged_max;
            let full = self.full_since.map(|since| since + limits.full_max);
            return (full.map_or(stalled, |full| full.min(stalled)), End::Slow);
        }
        if !self.inbound.is_empty() || !self.greeted {
            return (self.inbound_since + limits.message_max, End::Idle);
        }
        (self.last_active + limits.idle_max, End::Idle)
    }

    /// Tells the peer that the connection ends, where the layers below have words for that.
    pub(super) fn say_goodbye(&mut self) {
        if !self.connecting {
            self.channel.say_goodbye();
        }
    }

    /// Bytes that were queued and have not left.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.outbound.len() - self.written
    }

    /// Tries to write no more until the poller says that it can be written to.
    pub(super) fn is_blocked(&self) -> bool {
        self.connecting || self.is_blocked
    }
}
