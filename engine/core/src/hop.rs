//! Next hops: where NOTIFYs go, interned, with a window of unanswered ones each.
//!
//! An edge proxy stands for many phones behind one socket. Its receive buffer holds about a
//! hundred NOTIFYs by default (`FASTPATH.md` section 2.2), so a fan-out to it is paced by its
//! answers. The window counts only NOTIFYs younger than T1: a dead phone behind the edge stops
//! counting when its first retransmission is due, and so delays nobody else.

use std::collections::VecDeque;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::Time;
use crate::flow::{ConnectionId, Flow, Transport};
use crate::index::Numbers;
use crate::limits::Limits;
use crate::slab::Slab;
use crate::stream::Streams;

/// A slot of [`Hops`].
pub(crate) type HopId = u32;

/// Header bytes that depend on our own address only, shared by all hops it reaches.
#[derive(Debug)]
pub(crate) struct LocalRuns {
    transport: Transport,
    local: SocketAddr,
    /// ` SIP/2.0`, and behind its line end `Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=`
    pub(crate) via: Box<[u8]>,
    /// `192.0.2.1:5060`, with `;transport=tcp` on a stream; then `>`, and behind its line end
    /// `Call-ID: `
    pub(crate) contact: Box<[u8]>,
    /// Whether a `sips` URI is reached by this.
    pub(crate) is_secure: bool,
}

impl LocalRuns {
    fn new(flow: Flow) -> Self {
        let (transport, local) = (flow.transport, flow.local);
        let token = transport.token();
        let contact = format!("{local}{}>\r\nCall-ID: ", transport.uri_param());
        let via = format!(" SIP/2.0\r\nVia: SIP/2.0/{token} {local};rport;branch=");
        Self {
            transport,
            local,
            via: via.into_bytes().into(),
            contact: contact.into_bytes().into(),
            is_secure: transport.is_secure(),
        }
    }
}

/// A phone watches fewer extensions; what has this many subscriptions stands for many phones.
const EDGE_SUBSCRIPTION_COUNT: u32 = 64;

/// One next hop. A hundred thousand phones are as many of them, so it is small: what only matters
/// while several subscriptions share one is in its [`Window`].
#[derive(Debug)]
pub(crate) struct Hop {
    peer: Peer,
    connection: ConnectionId,
    /// Subscriptions that go there.
    subscription_count: u32,
    /// Place of our own address in [`Hops::runs`].
    runs: u16,
    /// `None` while one subscription alone goes there: it has one NOTIFY in flight at most.
    window: Option<Box<Window>>,
}

/// A peer's address, packed.
#[derive(Clone, Copy, Debug)]
enum Peer {
    V4(SocketAddrV4),
    /// A slot of [`Hops::long`].
    V6(u32),
}

/// Unanswered NOTIFYs to one next hop.
#[derive(Debug)]
struct Window {
    /// Those younger than T1.
    in_flight: u32,
    size: u32,
    acked: u32,
    lost: u32,
    judged_at: Time,
    /// Length the last NOTIFY was padded to.
    padded_bytes: u16,
    /// Subscriptions whose NOTIFY waits for the window, first come first served.
    waiting: VecDeque<u32>,
    /// The stream connection that is full: news wait until it is not.
    blocked_by: Option<ConnectionId>,
    /// Those who wait are being served in steps.
    is_resuming: bool,
}

impl Hop {
    /// Whether several subscriptions go there.
    pub(crate) fn is_shared(&self) -> bool {
        self.subscription_count > 1
    }

    /// Takes a place in the window, if there is one and nobody waits.
    pub(crate) fn try_take(&mut self) -> bool {
        let Some(window) = &mut self.window else { return true };
        let free = window.has_room() && window.waiting.is_empty();
        window.in_flight += u32::from(free);
        free
    }

    /// Waits for a place.
    pub(crate) fn wait(&mut self, slot: u32) {
        if let Some(window) = &mut self.window {
            window.waiting.push_back(slot);
        }
    }

    /// An answer came: gives the places back, and lets the window grow while it is the bound.
    pub(crate) fn acked(&mut self, places: u16, limits: &Limits) {
        let Some(window) = &mut self.window else { return };
        window.give_back(places);
        window.acked += 1;
        if !window.waiting.is_empty() && window.size < limits.hop_window_max {
            window.size += 1;
        }
    }

    /// T1 passed without an answer: gives the places back, and shrinks the window if that happens
    /// to more than one NOTIFY in eight.
    pub(crate) fn lost(&mut self, places: u16, now: Time, limits: &Limits) {
        let Some(window) = &mut self.window else { return };
        window.give_back(places);
        window.lost += 1;
        if now.since(window.judged_at) < limits.t1 {
            return;
        }
        if window.lost.saturating_mul(8) > window.acked {
            window.size = (window.size / 2).max(limits.hop_window_initial.min(16)).max(1);
        }
        (window.acked, window.lost, window.judged_at) = (0, 0, now);
    }

    /// Remembers the length a NOTIFY was padded to.
    pub(crate) fn set_padded_bytes(&mut self, padded_bytes: u16) {
        if let Some(window) = &mut self.window {
            window.padded_bytes = padded_bytes;
        }
    }

    /// The places of a NOTIFY that will not be answered any more are given back.
    pub(crate) fn give_back(&mut self, places: u16) {
        if let Some(window) = &mut self.window {
            window.give_back(places);
        }
    }

    /// The subscription that waited longest, if there is a place for it.
    pub(crate) fn next_waiting(&mut self) -> Option<u32> {
        let window = self.window.as_mut()?;
        if !window.has_room() {
            return None;
        }
        window.waiting.pop_front()
    }

    /// Notes whether those who wait are being served in steps; returns whether they were before.
    pub(crate) fn set_resuming(&mut self, is_resuming: bool) -> bool {
        let flag = self.window.as_mut().map(|window| &mut window.is_resuming);
        flag.is_some_and(|flag| std::mem::replace(flag, is_resuming))
    }

    /// Takes places for one that waited, or more for a long NOTIFY: it may reach beyond the
    /// window's end.
    pub(crate) fn take(&mut self, places: u16) {
        if let Some(window) = &mut self.window {
            window.in_flight += u32::from(places);
        }
    }
}

impl Window {
    fn new(transport: Transport, limits: &Limits) -> Self {
        // A stream says itself when it has no room.
        let size = match transport.is_stream() {
            true => limits.hop_window_max,
            false => limits.hop_window_initial,
        };
        Self {
            in_flight: 0,
            size: size.max(1),
            acked: 0,
            lost: 0,
            judged_at: Time::ZERO,
            padded_bytes: 0,
            waiting: VecDeque::new(),
            blocked_by: None,
            is_resuming: false,
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.size && self.blocked_by.is_none()
    }

    fn give_back(&mut self, places: u16) {
        self.in_flight = self.in_flight.saturating_sub(u32::from(places));
    }
}

/// All next hops of a shard.
#[derive(Debug)]
pub(crate) struct Hops {
    hops: Slab<Hop>,
    index: Numbers,
    /// Addresses that are longer than a hop has room for.
    long: Slab<SocketAddrV6>,
    streams: Streams,
    runs: Vec<LocalRuns>,
    hasher: ahash::RandomState,
}

impl Hops {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, 1, 2, 0x686f70);
        let (hops, index, long) = (Slab::default(), Numbers::default(), Slab::default());
        Self { hops, index, long, streams: Streams::default(), runs: Vec::new(), hasher }
    }

    /// The hop of `flow`, counted as used by one more subscription.
    pub(crate) fn acquire(&mut self, flow: Flow, limits: &Limits) -> HopId {
        let hash = self.hasher.hash_one(flow);
        if let Some(id) = self.index.find(hash, |id| self.flow(id) == flow) {
            let hop = &mut self.hops[id];
            hop.subscription_count += 1;
            hop.window.get_or_insert_with(|| Box::new(Window::new(flow.transport, limits)));
            return id;
        }
        let runs = self.runs_of(flow);
        let peer = match flow.peer {
            SocketAddr::V4(peer) => Peer::V4(peer),
            SocketAddr::V6(peer) => Peer::V6(self.long.insert(peer)),
        };
        let connection = flow.connection;
        let window = self.streams.blocker_of(flow).map(|connection| {
            let blocked_by = Some(connection);
            Box::new(Window { blocked_by, ..Window::new(flow.transport, limits) })
        });
        let id = self.hops.insert(Hop { peer, connection, subscription_count: 1, runs, window });
        self.streams.add(flow, id);
        let Self { hops, index, long, runs, hasher, .. } = self;
        index.insert(hash, id, |id| hasher.hash_one(flow_of(&hops[id], long, runs)));
        id
    }

    /// The place of our own address's runs; a node has a handful of addresses.
    fn runs_of(&mut self, flow: Flow) -> u16 {
        let same = |runs: &LocalRuns| (runs.transport, runs.local) == (flow.transport, flow.local);
        let place = self.runs.iter().position(same).unwrap_or_else(|| {
            self.runs.push(LocalRuns::new(flow));
            self.runs.len() - 1
        });
        place as u16
    }

    /// One subscription less; an unused hop is forgotten.
    pub(crate) fn release(&mut self, id: HopId) {
        let hop = &mut self.hops[id];
        hop.subscription_count -= 1;
        if hop.subscription_count > 0 {
            return;
        }
        let flow = self.flow(id);
        self.streams.remove(flow, id);
        let hash = self.hasher.hash_one(flow);
        let Self { hops, index, long, runs, hasher, .. } = self;
        index.remove(hash, id, |id| hasher.hash_one(flow_of(&hops[id], long, runs)));
        if let Some(Hop { peer: Peer::V6(long), .. }) = self.hops.remove(id) {
            self.long.remove(long);
        }
    }

    /// A connection to `peer` has become full: its hops have no room until it is not.
    pub(crate) fn set_full(&mut self, connection: ConnectionId, peer: SocketAddr, limits: &Limits) {
        for id in self.streams.fill(connection, peer) {
            let transport = self.runs[usize::from(self.hops[id].runs)].transport;
            let new = || Box::new(Window::new(transport, limits));
            let window = self.hops[id].window.get_or_insert_with(new);
            window.blocked_by.get_or_insert(connection);
        }
    }

    /// A connection is not full any more, or has ended; returns the hops that go on.
    pub(crate) fn set_drained(&mut self, connection: ConnectionId) -> Vec<HopId> {
        let mut freed = self.streams.drain(connection);
        freed.retain(|&id| {
            let flow = flow_of(&self.hops[id], &self.long, &self.runs);
            let Some(window) = &mut self.hops[id].window else { return false };
            let is_freed = window.blocked_by == Some(connection);
            if is_freed {
                window.blocked_by = self.streams.blocker_of(flow);
            }
            is_freed && window.blocked_by.is_none() && !window.waiting.is_empty()
        });
        freed
    }

    /// Hops in use: 0 when the last subscription is gone.
    pub(crate) fn len(&self) -> u32 {
        self.hops.len()
    }

    /// The path to a hop.
    pub(crate) fn flow(&self, id: HopId) -> Flow {
        flow_of(&self.hops[id], &self.long, &self.runs)
    }

    /// Header bytes that depend on our own address on the way to a hop.
    pub(crate) fn runs(&self, id: HopId) -> &LocalRuns {
        &self.runs[usize::from(self.hops[id].runs)]
    }

    /// Length the last NOTIFY to an edge was padded to, 0 if none was yet; `None` if this is no edge
    /// or a stream, where lengths do not matter.
    pub(crate) fn edge_padded_bytes(&self, id: HopId) -> Option<u16> {
        let hop = &self.hops[id];
        let is_edge = hop.subscription_count >= EDGE_SUBSCRIPTION_COUNT && !self.is_reliable(id);
        hop.window.as_ref().filter(|_| is_edge).map(|window| window.padded_bytes)
    }

    /// Whether what is sent there arrives, in order, or the connection ends.
    pub(crate) fn is_reliable(&self, id: HopId) -> bool {
        self.runs(id).transport.is_stream()
    }

    /// The hop in a slot that may have been given back since.
    pub(crate) fn find_mut(&mut self, id: HopId) -> Option<&mut Hop> {
        self.hops.get_mut(id)
    }

    pub(crate) fn get(&self, id: HopId) -> &Hop {
        &self.hops[id]
    }

    pub(crate) fn get_mut(&mut self, id: HopId) -> &mut Hop {
        &mut self.hops[id]
    }
}

fn flow_of(hop: &Hop, long: &Slab<SocketAddrV6>, runs: &[LocalRuns]) -> Flow {
    let LocalRuns { transport, local, .. } = runs[usize::from(hop.runs)];
    let peer = match hop.peer {
        Peer::V4(peer) => peer.into(),
        Peer::V6(peer) => long[peer].into(),
    };
    Flow { transport, local, peer, connection: hop.connection }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_small_and_has_the_flow_it_was_made_with() {
        assert_eq!(size_of::<Hop>(), 32);
        let mut hops = Hops::new(1);
        let local = "[2001:db8::1]:5060".parse().expect("an address");
        let peer = "[2001:db8::2]:5061".parse().expect("an address");
        let connection = ConnectionId { shard: 3, serial: 7 };
        let long = Flow { transport: Transport::Tcp, local, peer, connection };
        for flow in [flow(1), long, Flow { connection: Default::default(), ..long }] {
            let id = hops.acquire(flow, &Limits::default());
            assert_eq!(hops.flow(id), flow);
            hops.release(id);
            assert_eq!((hops.len(), hops.long.len()), (0, 0));
        }
    }

    fn flow(port: u16) -> Flow {
        Flow {
            transport: Transport::Udp,
            local: ([127, 0, 0, 1], 5060).into(),
            peer: ([127, 0, 0, 2], port).into(),
            connection: Default::default(),
        }
    }

    #[test]
    fn a_hop_lives_while_somebody_uses_it() {
        let limits = Limits::default();
        let mut hops = Hops::new(1);
        let (a, b, again) = (
            hops.acquire(flow(1), &limits),
            hops.acquire(flow(2), &limits),
            hops.acquire(flow(1), &limits),
        );
        assert_eq!((a == again, a == b, hops.len()), (true, false, 2));
        hops.release(a);
        hops.release(b);
        assert_eq!((hops.len(), hops.flow(a)), (1, flow(1)));
        hops.release(again);
        assert_eq!(hops.len(), 0);
    }

    #[test]
    fn the_window_grows_with_answers_shrinks_with_losses_and_serves_in_order() {
        let size = |hop: &Hop| hop.window.as_ref().map_or(0, |window| window.size);
        let limits = Limits { hop_window_initial: 2, hop_window_max: 3, ..Limits::default() };
        let mut hops = Hops::new(1);
        let id = hops.acquire(flow(1), &limits);
        assert!((0..9).all(|_| hops.get_mut(id).try_take()), "one alone needs no window");
        hops.acquire(flow(1), &limits);
        let hop = hops.get_mut(id);
        assert_eq!([hop.try_take(), hop.try_take(), hop.try_take()], [true, true, false]);
        (10..13).for_each(|slot| hop.wait(slot));
        hop.acked(1, &limits);
        for waited in [10, 11] {
            assert_eq!(hop.next_waiting(), Some(waited));
            hop.take(1);
        }
        assert_eq!((hop.next_waiting(), size(hop)), (None, 3));
        hop.lost(1, Time::from_secs(10), &limits);
        assert_eq!(size(hop), 2, "one lost, one answered: halved, but not below the start");
    }
}
