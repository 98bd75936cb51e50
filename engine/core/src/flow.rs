//! Where a message came from and where an answer goes.

use std::net::SocketAddr;

/// Transport protocol of a flow.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A byte stream, framed by Content-Length.
    Tcp,
}

impl Transport {
    /// The token of a Via header's `sent-protocol`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// A stream connection of this process: which shard's executor holds it, and its serial there.
/// `serial` 0 means none (UDP, or a stream still to be opened).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId {
    /// The shard whose executor owns the socket.
    pub shard: u8,
    /// Serial number, never reused within a run; 0 for none.
    pub serial: u32,
}

/// One path to a peer. Messages arrive with a flow, and every output names one.
///
/// On output a stream flow with a known `connection` is written to that connection; if it is gone
/// or none is named, the runtime opens one from `local`'s address family to `peer`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Flow {
    /// The transport protocol.
    pub transport: Transport,
    /// The address on our side, as the peer sees it: goes into Via and Contact.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The stream connection, if there is one.
    pub connection: ConnectionId,
}

impl Flow {
    /// Whether datagrams of this flow go to another host than a request came from: who sent it may
    /// have named somebody who never asked.
    pub(crate) fn is_astray_from(&self, request: Flow) -> bool {
        let [to, from] = [self, &request].map(|flow| flow.peer.ip().to_canonical());
        self.transport == Transport::Udp && to != from
    }
}
