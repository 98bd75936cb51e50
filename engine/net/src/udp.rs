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
    backlog: VecDeque<Waiting>,
    backlog_dropped_count: u64,
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
}

#[derive(Debug)]
struct Waiting {
    peer: SocketAddr,
    local: SocketAddr,
    bytes: Box<[u8]>,
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
            send_buffer_bytes: 0,
            gro: true,
            local_address: address.ip().is_unspecified(),
        };
        Ok(Self {
            socket: BatchSocket::bind(address, &options)?,
            batch: ReceiveBatch::new(BATCH_MAX, BUFFER_BYTES),
            backlog: VecDeque::new(),
            backlog_dropped_count: 0,
        })
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
        let done = if self.flush() { self.socket.send(batch) } else { 0 };
        let room = BACKLOG_COUNT_MAX - self.backlog.len();
        let rest = &batch[done..];
        let kept = &rest[..rest.len().min(room)];
        self.backlog_dropped_count += (rest.len() - kept.len()) as u64;
        self.backlog.extend(kept.iter().map(|datagram| Waiting {
            peer: datagram.peer(),
            local: datagram.source().unwrap_or(self.socket.local_addr()),
            bytes: datagram.bytes().into(),
        }));
    }

    /// Sends what waits; true when nothing does any more.
    pub fn flush(&mut self) -> bool {
        while !self.backlog.is_empty() {
            let batch: Vec<_> = self
                .backlog
                .iter()
                .take(BATCH_MAX)
                .map(|waiting| {
                    Datagram::new(waiting.peer, &waiting.bytes).from_local(waiting.local)
                })
                .collect();
            let (done, tried) = (self.socket.send(&batch), batch.len());
            self.backlog.drain(..done);
            if done < tried {
                return false;
            }
        }
        true
    }

    /// Whether datagrams wait until the socket can be written.
    pub fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// What happened so far.
    pub fn counts(&self) -> UdpCounts {
        UdpCounts {
            receive: self.batch.counts(),
            send: self.socket.send_counts(),
            backlog_dropped_count: self.backlog_dropped_count,
        }
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
