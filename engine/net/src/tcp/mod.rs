//! SIP over TCP, TLS and WebSocket: a shard's connections, framed, bounded, and written once per turn.
//!
//! RFC 3261 section 18: a connection carries many dialogs in both directions; a response goes back
//! over the connection its request came by; a request for a peer we have a connection to uses it,
//! else one is opened. RFC 5626 section 3.5.1: a double CRLF is answered with a single one.
//!
//! Nothing here blocks. What is said to one connection in a turn leaves with one write, or one per
//! 64 KiB. A peer that reads more slowly than it is told makes its connection *full*: whoever has
//! news for it holds them back until it is not full any more ([`StreamTable::take_fullness`]), so
//! that it is told the newest state then, and not all that were. One that stays full is closed.

mod channel;
mod connection;
mod table;
#[cfg(test)]
mod tests;
mod web_socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::tls::Tls;

pub use table::{Fullness, StreamMessage, StreamTable};
pub use web_socket::WebOrigins;

/// Bounds of one shard's connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamLimits {
    /// Connections at once. Beyond: new ones are closed at once.
    pub connection_count_max: usize,
    /// Connections of one source address at once: one broken host must not take all places. A
    /// NAT may hide a whole site behind an address.
    pub per_source_max: usize,
    /// A connection that has carried nothing for this long is closed. Longer than the longest
    /// subscription: a phone that refreshes keeps its connection without any keep-alive.
    pub idle_max: Duration,
    /// Time for the first whole message of a new connection, and for the rest of any message
    /// once it has begun.
    pub message_max: Duration,
    /// Time for a connection we open.
    pub connect_max: Duration,
    /// A peer that acknowledges nothing, or takes nothing of what waits, for this long is gone.
    pub unacknowledged_max: Duration,
    /// Bytes that wait for a peer that does not read from which on its connection is full; it is
    /// not any more when a quarter of them is left.
    pub full_bytes: usize,
    /// A peer that reads so little that its connection stays full for this long is closed.
    pub full_max: Duration,
    /// Bytes that wait for one peer: what answers and one turn's news add to a connection that is
    /// full already. Beyond: it is closed.
    pub queue_bytes_max: usize,
    /// Bytes that wait for all peers together. From half of them on a connection is full as soon
    /// as anything has to wait. Beyond: a connection for which more would have to wait is closed.
    pub queue_bytes_total_max: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connection_count_max: 50_000,
            per_source_max: 2_000,
            idle_max: Duration::from_secs(3_900),
            message_max: Duration::from_secs(30),
            connect_max: Duration::from_secs(8),
            unacknowledged_max: Duration::from_secs(30),
            full_bytes: 64 << 10,
            full_max: Duration::from_secs(60),
            queue_bytes_max: 8 << 20,
            queue_bytes_total_max: 256 << 20,
        }
    }
}

/// What happened to connections so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StreamCounts {
    /// Connections accepted.
    pub accepted_count: u64,
    /// Connections opened by us.
    pub connected_count: u64,
    /// Connections refused because a limit was reached or descriptors ran out.
    pub refused_count: u64,
    /// Attempts to open a connection that failed or took too long.
    pub connect_failed_count: u64,
    /// Connections closed because what came was not SIP, too long, or in too many pieces.
    pub broken_count: u64,
    /// Connections closed because a message did not come or did not end in time, or nothing came
    /// for long.
    pub idle_count: u64,
    /// Connections closed because the peer did not read, or too little, for too long.
    pub slow_count: u64,
    /// Connections closed because more waited for the peer than may.
    pub overrun_count: u64,
    /// Connections closed because more waited for all peers than may.
    pub crowded_count: u64,
    /// Times a connection became full.
    pub full_count: u64,
    /// Connections closed because no keys could be agreed on, a certificate was not trusted, or TLS
    /// was broken later.
    pub untrusted_count: u64,
    /// Upgrades to WebSocket that were refused.
    pub upgrade_refused_count: u64,
    /// Connections closed by an error.
    pub error_count: u64,
    /// Connections closed by their peer.
    pub closed_by_peer_count: u64,
    /// Messages not sent because no connection could be had.
    pub message_dropped_count: u64,
    /// Messages read.
    pub message_in_count: u64,
    /// Messages queued to be written.
    pub message_out_count: u64,
    /// Calls that wrote them.
    pub write_count: u64,
    /// Pings answered.
    pub ping_count: u64,
}

/// What lies between TCP and SIP on a connection.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Layers {
    /// TLS.
    pub tls: bool,
    /// WebSocket, above TLS if there is both.
    pub web_socket: bool,
}

/// How one address is listened on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamOptions {
    /// What peers are told instead of the address.
    pub advertised: Option<SocketAddr>,
    /// Serves TLS.
    pub tls: Option<Arc<Tls>>,
    /// Serves WebSocket, to these pages.
    pub web_socket: Option<WebOrigins>,
}

impl StreamOptions {
    /// What connections to the address are made of.
    pub fn layers(&self) -> Layers {
        Layers { tls: self.tls.is_some(), web_socket: self.web_socket.is_some() }
    }
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamTarget {
    /// The connection, 0 for none.
    pub serial: u32,
    /// The peer's address, to find or open a connection if that one is gone.
    pub peer: SocketAddr,
    /// Our address, as the peer shall see it in messages of a connection that is opened.
    pub local: SocketAddr,
    /// What the connection is to be made of.
    pub layers: Layers,
}
