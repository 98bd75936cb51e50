//! Stream connections that are full, and the hops whose messages go there.
//!
//! A peer that reads more slowly than it is told must not be sent every state there was: its news
//! wait in the core, where a newer state replaces an older one, and not in a queue of bytes. The
//! runtime says when a connection is full ([`Input::ConnectionFull`]) and when it is not any more.
//!
//! [`Input::ConnectionFull`]: crate::Input::ConnectionFull

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::fanout::Fanout;
use crate::flow::{ConnectionId, Flow};
use crate::hop::HopId;
use crate::{Outputs, Shard, Time};

/// What leads from a connection to the hops that use it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Key {
    /// The flow names this connection.
    Connection(ConnectionId),
    /// The flow goes to this peer, by whatever connection there is.
    Peer(SocketAddr),
}

/// Stream hops by connection and by peer, and the connections that are full.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    hops: BTreeSet<(Key, HopId)>,
    full: BTreeMap<ConnectionId, SocketAddr>,
    full_by_peer: BTreeSet<(SocketAddr, ConnectionId)>,
}

impl Streams {
    pub(crate) fn add(&mut self, flow: Flow, id: HopId) {
        self.hops.extend(keys_of(flow).map(|key| (key, id)));
    }

    pub(crate) fn remove(&mut self, flow: Flow, id: HopId) {
        for key in keys_of(flow) {
            self.hops.remove(&(key, id));
        }
    }

    /// The full connection that messages of `flow` would go to.
    pub(crate) fn blocker_of(&self, flow: Flow) -> Option<ConnectionId> {
        if self.full.is_empty() || !flow.transport.is_stream() {
            return None;
        }
        if self.full.contains_key(&flow.connection) {
            return Some(flow.connection);
        }
        let first = (flow.peer, ConnectionId::default());
        let next = self.full_by_peer.range(first..).next();
        next.filter(|(peer, _)| *peer == flow.peer).map(|(_, connection)| *connection)
    }

    /// A connection has become full; returns the hops whose messages go there.
    pub(crate) fn fill(&mut self, connection: ConnectionId, peer: SocketAddr) -> Vec<HopId> {
        self.full.insert(connection, peer);
        self.full_by_peer.insert((peer, connection));
        self.hops_of(connection, peer)
    }

    /// A connection is not full any more; returns the hops whose messages go there.
    pub(crate) fn drain(&mut self, connection: ConnectionId) -> Vec<HopId> {
        match self.full.remove(&connection) {
            Some(peer) => {
                self.full_by_peer.remove(&(peer, connection));
                self.hops_of(connection, peer)
            }
            None => Vec::new(),
        }
    }

    fn hops_of(&self, connection: ConnectionId, peer: SocketAddr) -> Vec<HopId> {
        let mut hops: Vec<HopId> = [Key::Connection(connection), Key::Peer(peer)]
            .into_iter()
            .flat_map(|key| self.hops.range((key, 0)..=(key, HopId::MAX)).map(|(_, id)| *id))
            .collect();
        hops.sort_unstable();
        hops.dedup();
        hops
    }
}

fn keys_of(flow: Flow) -> impl Iterator<Item = Key> {
    let is_stream = flow.transport.is_stream();
    let is_named = is_stream && flow.connection.serial != 0;
    let named = is_named.then_some(Key::Connection(flow.connection));
    named.into_iter().chain(is_stream.then_some(Key::Peer(flow.peer)))
}

impl Shard {
    /// A stream connection has become full, or is not any more.
    pub(crate) fn on_connection_full(
        &mut self,
        connection: ConnectionId,
        peer: SocketAddr,
        is_full: bool,
    ) {
        match is_full {
            true => self.hops.set_full(connection, peer, &self.config.limits),
            false => self.on_connection_closed(connection),
        }
    }

    /// A stream connection has ended: what waited for it opens a new one.
    pub(crate) fn on_connection_closed(&mut self, connection: ConnectionId) {
        for hop in self.hops.set_drained(connection) {
            self.resume(hop);
        }
    }

    /// Serves those who wait for a hop from now on, in steps.
    pub(crate) fn resume(&mut self, id: HopId) {
        if !self.hops.get_mut(id).set_resuming(true) {
            self.fanout.push(Fanout::Hop(id), usize::MAX);
        }
    }

    /// Sends to one that waited for a place in a hop's window and has one now.
    pub(crate) fn serve(&mut self, id: HopId, slot: u32, now: Time, out: &mut Outputs) {
        let waits = self
            .subscriptions
            .get_mut(slot)
            .is_some_and(|s| s.hop == id && std::mem::take(&mut s.is_waiting));
        if !waits {
            return;
        }
        self.stats.waiting_count -= 1;
        // It may have lost its reason meanwhile, or have a new member to wait for.
        if self.has_news(slot) && self.is_ready(slot) {
            self.hops.get_mut(id).take(1);
            self.transmit(slot, now, out);
        }
    }
}
