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
    /// The same over TLS.
    Tls,
    /// Messages over WebSocket (RFC 7118).
    Ws,
    /// Messages over WebSocket over TLS.
    Wss,
}

impl Transport {
    /// The token of a Via header's `sent-protocol`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The transport with this token, in any letter case.
    pub fn from_token(token: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| token.eq_ignore_ascii_case(known.token().as_bytes()))
    }

    /// The parameter of a URI that is reached by it; none says UDP. There is no `wss`: the
    /// parameter is `ws` there too (RFC 7118 section 5.2.4).
    pub const fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }

    /// Whether what is sent arrives, and in order, or the connection ends.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether a message ends where its carrier says, and not where Content-Length does.
    pub(crate) const fn is_framed(self) -> bool {
        matches!(self, Self::Udp | Self::Ws | Self::Wss)
    }

    /// Whether nobody on the way can read or change what is sent.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// How records name it.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.number() == number)
    }

    const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];
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
        !self.transport.is_stream() && to != from
    }
}
