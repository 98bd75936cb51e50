//! A shard's UDP port: a socket with its receive buffers and what waits for a full send buffer.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::{
    BatchSocket, Datagram, ReceiveBatch, ReceiveCounts, Received, SendCounts, SocketOptions,
};

/// Messages read with one call. More gain nothing: the stack below costs far more than the call.
const BATCH_MAX: usize = 64;

/// Room for the longest datagram and the longest train.
const BUFFER_BYTES: usize = 65_536;

/// Receive buffer asked for: what 10,000 answers of 300 bytes occupy in the kernel's counting.
pub const RECEIVE_BUFFER_BYTES: usize = 32 << 20;

/// Datagrams that wait while the socket's send buffer is full. Beyond, the newest are dropped and
/// counted, as a full device queue would do; SIP repeats what matters.
pub const BACKLOG_COUNT_MAX: usize = 4096;

/// One UDP socket of a shard.
#[derive(Debug)]
pub struct UdpPort {
    socket: BatchSocket,
    batch: ReceiveBatch,
    backlog: Backlog,
}

/// What happened on a port so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UdpCounts {
    /// On the receiving side.
    pub receive: ReceiveCounts,
    /// On the sending side.
    pub send: SendCounts,
    /// Datagrams dropped because too many waited for a full send buffer.
    pub backlog_dropped_count: u64,
    /// Peers that get single datagrams now because a train was refused.
    pub trainless_count: u64,
}

/// Datagrams that wait for a full send buffer, in order.
#[derive(Debug, Default)]
struct Backlog {
    waiting: VecDeque<Waiting>,
    dropped_count: u64,
}

#[derive(Debug)]
struct Waiting {
    peer: SocketAddr,
    source: Option<SocketAddr>,
    bytes: Box<[u8]>,
}

impl Waiting {
    fn datagram(&self) -> Datagram<'_> {
        let datagram = Datagram::new(self.peer, &self.bytes);
        self.source.map_or(datagram, |source| datagram.from_local(source))
    }
}

impl Backlog {
    /// Sends what waits, then `batch`; keeps what `send` does not take, up to the bound.
    fn send(&mut self, batch: &[Datagram<'_>], mut send: impl FnMut(&[Datagram<'_>]) -> usize) {
        let done = if self.flush(&mut send) { send(batch) } else { 0 };
        let rest = &batch[done..];
        let kept = &rest[..rest.len().min(BACKLOG_COUNT_MAX - self.waiting.len())];
        self.dropped_count += (rest.len() - kept.len()) as u64;
        self.waiting.extend(kept.iter().map(|datagram| Waiting {
            peer: datagram.peer(),
            source: datagram.source(),
            bytes: datagram.bytes().into(),
        }));
    }

    fn flush(&mut self, mut send: impl FnMut(&[Datagram<'_>]) -> usize) -> bool {
        while !self.waiting.is_empty() {
            let batch: Vec<_> =
                self.waiting.iter().take(BATCH_MAX).map(Waiting::datagram).collect();
            let (done, tried) = (send(&batch), batch.len());
            self.waiting.drain(..done);
            if done < tried {
                return false;
            }
        }
        true
    }
}

impl UdpPort {
    /// Opens a port on `address` that can be shared with other shards; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let options = SocketOptions {
            reuse_port: true,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            gro: true,
            local_address: address.ip().is_unspecified(),
            trains: true,
            rarely_fragment: true,
            ..SocketOptions::default()
        };
        Ok(Self {
            socket: BatchSocket::bind(address, &options)?,
            batch: ReceiveBatch::new(BATCH_MAX, BUFFER_BYTES),
            backlog: Backlog::default(),
        })
    }

    /// Lets the kernel find the shard of a datagram, for all ports on this address: see
    /// [`BatchSocket::steer`].
    ///
    /// # Errors
    ///
    /// The kernel's refusal: the shards hand on what is another's, as they do anyway.
    pub fn steer(&self, shown_as: SocketAddr, shard_count: u8) -> io::Result<()> {
        self.socket.steer(shown_as, shard_count)
    }

    /// Checks that nobody else serves `address`. Sharing a port is for the shards of one process;
    /// without this check a second process of the same user would silently get a part of the
    /// datagrams.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn claim(address: SocketAddr) -> io::Result<()> {
        BatchSocket::bind(address, &SocketOptions::default()).map(|_| ())
    }

    /// The address the port is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    /// Bytes of the receive buffer the kernel gave.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn receive_buffer_bytes(&self) -> io::Result<usize> {
        self.socket.receive_buffer_bytes()
    }

    /// Reads one batch, at most 64 messages, without waiting. True if there may be more.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn receive(&mut self) -> io::Result<bool> {
        Ok(self.socket.receive(&mut self.batch)? == BATCH_MAX)
    }

    /// The datagrams of the last batch, each with the address on our side as its peer sees it.
    pub fn received(&self) -> impl Iterator<Item = (SocketAddr, Received<'_>)> {
        self.batch.datagrams().map(|got| (self.socket.local_addr_seen(got.local), got))
    }

    /// Whether a datagram must name the address it leaves from.
    pub fn is_wildcard(&self) -> bool {
        self.local_addr().ip().is_unspecified()
    }

    /// Sends `batch` in order, behind what waits. What does not fit waits for the socket
    /// ([`UdpPort::is_blocked`]). On a wildcard port give each datagram the address it leaves from
    /// ([`Datagram::from_local`]).
    pub fn send(&mut self, batch: &[Datagram<'_>]) {
        self.backlog.send(batch, |batch| self.socket.send(batch));
    }

    /// Sends what waits; true when nothing does any more.
    pub fn flush(&mut self) -> bool {
        self.backlog.flush(|batch| self.socket.send(batch))
    }

    /// Whether datagrams wait until the socket can be written.
    pub fn is_blocked(&self) -> bool {
        !self.backlog.waiting.is_empty()
    }

    /// What happened so far.
    pub fn counts(&self) -> UdpCounts {
        UdpCounts {
            receive: self.batch.counts(),
            send: self.socket.send_counts(),
            backlog_dropped_count: self.backlog.dropped_count,
            trainless_count: self.socket.trainless_count(),
        }
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_socket_does_not_take_leaves_later_in_order_and_bounded() {
        let peer = "192.0.2.1:5060".parse().expect("an address");
        let local: SocketAddr = "192.0.2.9:5060".parse().expect("an address");
        let texts: Vec<[u8; 2]> = (0..10_000_u16).map(u16::to_be_bytes).collect();
        let datagrams: Vec<_> =
            texts.iter().map(|text| Datagram::new(peer, text).from_local(local)).collect();
        let (mut backlog, mut left) = (Backlog::default(), Vec::new());
        // A socket with room for this many datagrams.
        let mut send = |room: usize, batch: &[Datagram<'_>]| {
            let taken = &batch[..room.min(batch.len())];
            left.extend(taken.iter().map(|d| u16::from_be_bytes([d.bytes()[0], d.bytes()[1]])));
            assert!(taken.iter().all(|d| d.source().map(|s| s.ip()) == Some(local.ip())));
            taken.len()
        };
        backlog.send(&datagrams[..100], |batch| send(40, batch));
        assert_eq!(backlog.waiting.len(), 60);
        // Still full: new ones queue behind, none overtakes.
        backlog.send(&datagrams[100..200], |batch| send(0, batch));
        assert_eq!(backlog.waiting.len(), 160);
        assert!(!backlog.flush(|batch| send(7, batch)));
        assert!(backlog.flush(|batch| send(usize::MAX, batch)));
        // Beyond the bound the newest are dropped and counted.
        backlog.send(&datagrams[200..], |batch| send(0, batch));
        assert_eq!(backlog.waiting.len(), BACKLOG_COUNT_MAX);
        assert_eq!(backlog.dropped_count, (9_800 - BACKLOG_COUNT_MAX) as u64);
        assert!(backlog.flush(|batch| send(usize::MAX, batch)));
        let want: Vec<u16> = (0..200 + BACKLOG_COUNT_MAX as u16).collect();
        assert_eq!(left, want);
    }
}
