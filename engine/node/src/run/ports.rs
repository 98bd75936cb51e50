//! A shard's sockets: which datagram came over which flow, and which socket an output leaves by.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use anyhow::Context as _;
use lampfield_core::flow::{ConnectionId, Flow, Transport};
use lampfield_net::sys::{Datagram, Poller, Received};
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
    udp: Vec<Port>,
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
        let mut all: Vec<Self> =
            (0..shard_count).map(|_| Self { udp: Vec::new(), no_port_count: 0 }).collect();
        let mut bound = Vec::new();
        for listen in listen.iter().filter(|listen| listen.transport == Transport::Udp) {
            let mut address = listen.bind;
            let refused = |address: SocketAddr| format!("cannot serve SIP on udp {address}");
            UdpPort::claim(address).with_context(|| refused(address))?;
            for ports in &mut all {
                let port = UdpPort::bind(address).with_context(|| refused(address))?;
                address = port.local_addr();
                let advertised = listen.advertised;
                ports.udp.push(Port { port, advertised, write_armed: false });
            }
            bound.push(Bound { transport: Transport::Udp, address });
        }
        Ok((all, bound))
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
            .try_for_each(|(at, port)| poller.add(port.port.as_fd(), at as u64, false))
    }

    /// Reads one batch from UDP socket `at` and hands every datagram on with its flow.
    pub(super) fn receive(
        &mut self,
        at: usize,
        mut each: impl FnMut(Flow, &[u8]),
    ) -> io::Result<usize> {
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
        messages: impl Iterator<Item = (Flow, &'a [u8])>,
    ) -> usize {
        let (mut run, mut run_at, mut count) = (Vec::with_capacity(64), 0, 0);
        for (flow, bytes) in messages {
            let Some((at, datagram)) = self.datagram(flow, bytes) else {
                self.no_port();
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
    pub(super) fn on_writable(&mut self, poller: &Poller, at: usize) {
        if let Some(port) = self.udp.get_mut(at) {
            port.port.flush();
            port.arm(poller, at);
        }
    }

    /// Sends what waits for a full send buffer, as far as it goes. For a shard that is to end.
    pub(super) fn flush(&mut self) {
        for port in &mut self.udp {
            port.port.flush();
        }
    }

    /// Notes an output for which there is no socket.
    pub(super) fn no_port(&mut self) {
        self.no_port_count += 1;
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
