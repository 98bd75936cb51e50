//! A shard's sockets: which datagram came over which flow, and which socket an output leaves by.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use anyhow::Context as _;
use lampfield_core::Time;
use lampfield_core::flow::{ConnectionId, Flow, Transport};
use lampfield_core::placement::ShardId;
use lampfield_net::sys::{Datagram, Poller, Ready, Received};
use lampfield_net::tcp::{
    Fullness, Layers, StreamCounts, StreamLimits, StreamMessage, StreamOptions, StreamTable,
    StreamTarget,
};
use lampfield_net::udp::{UdpCounts, UdpPort};

use crate::config::Listen;

/// A listen address as it was really bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound {
    /// Transport protocol.
    pub transport: Transport,
    /// Address, with the real port.
    pub address: SocketAddr,
}

/// Sockets of one shard.
pub(super) struct Ports {
    own: ShardId,
    udp: Vec<Port>,
    streams: StreamTable,
    no_port_count: u64,
}

struct Port {
    port: UdpPort,
    advertised: Option<SocketAddr>,
    write_armed: bool,
}

impl Ports {
    /// Binds the sockets of all shards; they share every address. Returns what was really bound.
    pub(super) fn bind_all(
        listen: &[Listen],
        shard_count: u8,
    ) -> anyhow::Result<(Vec<Self>, Vec<Bound>)> {
        let mut all: Vec<Self> = (0..shard_count).map(|id| Self::new(ShardId(id))).collect();
        let mut bound = Vec::with_capacity(listen.len());
        for listen in listen {
            let transport = listen.transport;
            let token = transport.token().to_ascii_lowercase();
            let refused = || format!("cannot serve SIP on {token} {}", listen.bind);
            match transport {
                Transport::Udp => UdpPort::claim(listen.bind),
                _ => StreamTable::claim(listen.bind),
            }
            .with_context(refused)?;
            // The first shard finds a free port where none is named; the others share it.
            let mut address = listen.bind;
            for ports in &mut all {
                address = ports.bind(address, listen).with_context(refused)?;
            }
            if transport == Transport::Udp && shard_count > 1 {
                all[0].steer(shard_count);
            }
            bound.push(Bound { transport, address });
        }
        Ok((all, bound))
    }

    fn new(own: ShardId) -> Self {
        let streams = StreamTable::new(StreamLimits::default());
        Self { own, udp: Vec::new(), streams, no_port_count: 0 }
    }

    fn bind(&mut self, address: SocketAddr, listen: &Listen) -> io::Result<SocketAddr> {
        let advertised = listen.advertised;
        match listen.transport {
            Transport::Udp => {
                let port = UdpPort::bind(address)?;
                let address = port.local_addr();
                self.udp.push(Port { port, advertised, write_armed: false });
                Ok(address)
            }
            _ => self.streams.listen(address, stream_options(listen)),
        }
    }

    /// Lets the kernel find the shard of what comes to the address bound last, by the shards in
    /// their order. Without it they hand on what is another's.
    fn steer(&self, shard_count: u8) {
        let Some(Port { port, advertised, .. }) = self.udp.last() else { return };
        let address = port.local_addr();
        if let Err(error) = port.steer(advertised.unwrap_or(address), shard_count) {
            tracing::info!("udp {address}: the kernel steers no answers to their shards: {error}");
        }
    }

    /// The smallest receive buffer among the UDP sockets, in bytes of the kernel's counting.
    pub(super) fn receive_buffer_bytes(&self) -> Option<usize> {
        self.udp.iter().filter_map(|port| port.port.receive_buffer_bytes().ok()).min()
    }

    /// Watches all sockets.
    pub(super) fn watch(&self, poller: &Poller) -> io::Result<()> {
        self.udp
            .iter()
            .enumerate()
            .try_for_each(|(at, port)| poller.add(port.port.as_fd(), at as u64, false))?;
        self.streams.watch(poller)
    }

    /// Does what a ready socket is ready for, and hands on every message with its flow. Returns
    /// the number of messages.
    pub(super) fn on_ready(
        &mut self,
        poller: &Poller,
        ready: Ready,
        now: Time,
        mut each: impl FnMut(Flow, &[u8]),
    ) -> io::Result<usize> {
        if StreamTable::owns(ready.token) {
            let shard = self.own.0;
            return Ok(self.streams.on_ready(poller, ready, since_start(now), |message| {
                let StreamMessage { serial, local, peer, layers, bytes } = message;
                let connection = ConnectionId { shard, serial };
                each(Flow { transport: transport(layers), local, peer, connection }, bytes);
            }));
        }
        let at = ready.token as usize;
        if ready.writable {
            self.on_writable(poller, at);
        }
        if ready.readable { self.receive(at, each) } else { Ok(0) }
    }

    /// Reads one batch from UDP socket `at` and hands every datagram on with its flow.
    fn receive(&mut self, at: usize, mut each: impl FnMut(Flow, &[u8])) -> io::Result<usize> {
        let Some(Port { port, advertised, .. }) = self.udp.get_mut(at) else { return Ok(0) };
        port.receive()?;
        let mut count = 0;
        for (local, Received { peer, bytes, .. }) in port.received() {
            let local = advertised.unwrap_or(local);
            let connection = ConnectionId::default();
            each(Flow { transport: Transport::Udp, local, peer, connection }, bytes);
            count += 1;
        }
        Ok(count)
    }

    /// Sends datagrams in order. Neighbours that leave by the same socket go together.
    pub(super) fn send<'a>(
        &mut self,
        poller: &Poller,
        messages: impl Iterator<Item = (Flow, &'a [u8])> + Clone,
    ) -> usize {
        let (mut run, mut run_at, mut count) = (Vec::with_capacity(64), 0, 0);
        // Answers before requests, so that the answer to a storm of SUBSCRIBEs and the NOTIFYs that
        // follow each are two trains. Only NOTIFYs wait for answers, never the other way round.
        let is_answer = |(_, bytes): &(Flow, &[u8])| bytes.starts_with(b"SIP/2.0 ");
        let requests = messages.clone().filter(|message| !is_answer(message));
        for (flow, bytes) in messages.filter(is_answer).chain(requests) {
            let Some((at, datagram)) = self.datagram(flow, bytes) else {
                self.no_port_count += 1;
                continue;
            };
            if at != run_at && !run.is_empty() {
                self.udp[run_at].send(poller, run_at, &run);
                run.clear();
            }
            run_at = at;
            run.push(datagram);
            count += 1;
        }
        if !run.is_empty() {
            self.udp[run_at].send(poller, run_at, &run);
        }
        count
    }

    /// UDP socket `at` can be written again.
    fn on_writable(&mut self, poller: &Poller, at: usize) {
        if let Some(port) = self.udp.get_mut(at) {
            port.port.flush();
            port.arm(poller, at);
        }
    }

    /// Queues a message for a stream of this shard: the one the flow names, one to the same peer,
    /// or one that is opened now. It leaves with [`Ports::finish_streams`].
    pub(super) fn send_stream(&mut self, poller: &Poller, flow: Flow, bytes: &[u8], now: Time) {
        let Flow { local, peer, connection, .. } = flow;
        let serial = if connection.shard == self.own.0 { connection.serial } else { 0 };
        let target = StreamTarget { serial, peer, local, layers: layers(flow.transport) };
        self.streams.send(poller, target, bytes, since_start(now));
    }

    /// Writes what was queued for streams, ends those whose time is over, and returns those that
    /// have ended since the last call.
    pub(super) fn finish_streams(&mut self, poller: &Poller, now: Time) -> Vec<ConnectionId> {
        let moment = since_start(now);
        self.streams.flush(poller, moment);
        self.streams.sweep(poller, moment);
        let shard = self.own.0;
        let closed = self.streams.take_closed().into_iter();
        closed.map(|serial| ConnectionId { shard, serial }).collect()
    }

    /// Streams that have become full since the last call, and those that are not any more: with
    /// their peer, in order.
    pub(super) fn take_fullness(&mut self) -> Vec<(ConnectionId, SocketAddr, bool)> {
        let shard = self.own.0;
        let changes = self.streams.take_fullness().into_iter();
        let id = |serial| ConnectionId { shard, serial };
        changes.map(|Fullness { serial, peer, is_full }| (id(serial), peer, is_full)).collect()
    }

    /// Bytes that wait for the peers of streams.
    pub(super) fn stream_waiting_bytes(&self) -> usize {
        self.streams.waiting_bytes()
    }

    /// When [`Ports::finish_streams`] has something to end.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.streams.next_deadline().map(|moment| Time::ZERO + moment)
    }

    /// Sends what waits for a full send buffer, as far as it goes. For a shard that is to end.
    pub(super) fn flush(&mut self, poller: &Poller, now: Time) {
        for port in &mut self.udp {
            port.port.flush();
        }
        self.streams.flush(poller, since_start(now));
    }

    /// Counts of all streams.
    pub(super) fn stream_counts(&self) -> StreamCounts {
        self.streams.counts()
    }

    /// Counts of all UDP sockets, and outputs for which there was no socket.
    pub(super) fn counts(&self) -> (impl Iterator<Item = UdpCounts>, u64) {
        (self.udp.iter().map(|port| port.port.counts()), self.no_port_count)
    }

    fn datagram<'a>(&self, flow: Flow, bytes: &'a [u8]) -> Option<(usize, Datagram<'a>)> {
        let at = self.udp.iter().position(|port| port.owns(flow.local))?;
        let datagram = Datagram::new(flow.peer, bytes);
        let port = &self.udp[at];
        let named = port.port.is_wildcard() && port.advertised.is_none();
        Some((at, if named { datagram.from_local(flow.local) } else { datagram }))
    }
}

impl Port {
    /// Whether flows with this local address are this socket's.
    fn owns(&self, local: SocketAddr) -> bool {
        if let Some(advertised) = self.advertised {
            return advertised == local;
        }
        let bound = self.port.local_addr();
        bound.port() == local.port()
            && bound.is_ipv4() == local.is_ipv4()
            && (bound.ip() == local.ip() || self.port.is_wildcard())
    }

    fn send(&mut self, poller: &Poller, at: usize, run: &[Datagram<'_>]) {
        self.port.send(run);
        self.arm(poller, at);
    }

    /// Watches for writing exactly while something waits.
    fn arm(&mut self, poller: &Poller, at: usize) {
        if self.port.is_blocked() != self.write_armed {
            self.write_armed = self.port.is_blocked();
            // Refused only for a descriptor that was never added.
            let _ = poller.modify(self.port.as_fd(), at as u64, self.write_armed);
        }
    }
}

fn stream_options(listen: &Listen) -> StreamOptions {
    let layers = layers(listen.transport);
    StreamOptions {
        advertised: listen.advertised,
        tls: listen.tls.clone().filter(|_| layers.tls),
        web_socket: layers.web_socket.then(|| listen.origins.clone()),
    }
}

/// What connections of a transport are made of.
fn layers(transport: Transport) -> Layers {
    Layers {
        tls: transport.is_secure(),
        web_socket: matches!(transport, Transport::Ws | Transport::Wss),
    }
}

fn transport(layers: Layers) -> Transport {
    match layers {
        Layers { tls: false, web_socket: false } => Transport::Tcp,
        Layers { tls: true, web_socket: false } => Transport::Tls,
        Layers { tls: false, web_socket: true } => Transport::Ws,
        Layers { tls: true, web_socket: true } => Transport::Wss,
    }
}

/// A core's time as the moment the sockets count with.
fn since_start(now: Time) -> std::time::Duration {
    now.since(Time::ZERO)
}
