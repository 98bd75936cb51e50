//! Next hops: where NOTIFYs go, interned, with a window of unanswered ones each.
//!
//! An edge proxy stands for many phones behind one socket. Its receive buffer holds about a
//! hundred NOTIFYs by default (`FASTPATH.md` section 2.2), so a fan-out to it is paced by its
//! answers. The window counts only NOTIFYs younger than T1: a dead phone behind the edge stops
//! counting when its first retransmission is due, and so delays nobody else.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::Time;
use crate::flow::{Flow, Transport};
use crate::limits::Limits;
use crate::slab::Slab;

/// A slot of [`Hops`].
pub(crate) type HopId = u32;

/// Header bytes that depend on our own address only, shared by all hops it reaches.
#[derive(Debug)]
pub(crate) struct LocalRuns {
    transport: Transport,
    local: SocketAddr,
    /// `Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=`
    pub(crate) via: Box<[u8]>,
    /// `192.0.2.1:5060`, with `;transport=tcp` on a stream.
    pub(crate) contact: Box<[u8]>,
}

impl LocalRuns {
    fn new(flow: Flow) -> Self {
        let (transport, local) = (flow.transport, flow.local);
        let token = transport.token();
        let contact = match transport {
            Transport::Udp => local.to_string(),
            Transport::Tcp => format!("{local};transport=tcp"),
        };
        let via = format!("Via: SIP/2.0/{token} {local};rport;branch=");
        Self {
            transport,
            local,
            via: via.into_bytes().into(),
            contact: contact.into_bytes().into(),
        }
    }
}

/// One next hop.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) flow: Flow,
    pub(crate) runs: Rc<LocalRuns>,
    /// Subscriptions that go there.
    subscription_count: u32,
    /// Unanswered NOTIFYs younger than T1.
    in_flight: u32,
    window: u32,
    acked: u32,
    lost: u32,
    judged_at: Time,
    /// Subscriptions whose NOTIFY waits for the window, first come first served.
    waiting: VecDeque<u32>,
}

impl Hop {
    pub(crate) fn is_reliable(&self) -> bool {
        self.flow.transport != Transport::Udp
    }

    /// Whether several subscriptions go there.
    pub(crate) fn is_shared(&self) -> bool {
        self.subscription_count > 1
    }

    /// Takes a place in the window, if there is one and nobody waits.
    pub(crate) fn try_take(&mut self) -> bool {
        let free = self.in_flight < self.window && self.waiting.is_empty();
        self.in_flight += u32::from(free);
        free
    }

    /// Waits for a place.
    pub(crate) fn wait(&mut self, slot: u32) {
        self.waiting.push_back(slot);
    }

    /// An answer came: gives the places back, and lets the window grow while it is the bound.
    pub(crate) fn acked(&mut self, places: u16, limits: &Limits) {
        self.give_back(places);
        self.acked += 1;
        if !self.waiting.is_empty() && self.window < limits.hop_window_max {
            self.window += 1;
        }
    }

    /// T1 passed without an answer: gives the places back, and shrinks the window if that happens
    /// to more than one NOTIFY in eight.
    pub(crate) fn lost(&mut self, places: u16, now: Time, limits: &Limits) {
        self.give_back(places);
        self.lost += 1;
        if now.since(self.judged_at) < limits.t1 {
            return;
        }
        if self.lost.saturating_mul(8) > self.acked {
            self.window = (self.window / 2).max(limits.hop_window_initial.min(16)).max(1);
        }
        (self.acked, self.lost, self.judged_at) = (0, 0, now);
    }

    /// The places of a NOTIFY that will not be answered any more are given back.
    pub(crate) fn give_back(&mut self, places: u16) {
        self.in_flight = self.in_flight.saturating_sub(u32::from(places));
    }

    /// The subscription that waited longest, if there is a place for it.
    pub(crate) fn next_waiting(&mut self) -> Option<u32> {
        if self.in_flight >= self.window {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Takes places for one that waited, or more for a long NOTIFY: it may reach beyond the
    /// window's end.
    pub(crate) fn take(&mut self, places: u16) {
        self.in_flight += u32::from(places);
    }
}

/// All next hops of a shard.
#[derive(Debug)]
pub(crate) struct Hops {
    hops: Slab<Hop>,
    index: hashbrown::HashTable<HopId>,
    runs: Vec<Rc<LocalRuns>>,
    hasher: ahash::RandomState,
}

impl Hops {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, 1, 2, 0x686f70);
        Self { hops: Slab::default(), index: hashbrown::HashTable::new(), runs: Vec::new(), hasher }
    }

    /// The hop of `flow`, counted as used by one more subscription.
    pub(crate) fn acquire(&mut self, flow: Flow, limits: &Limits) -> HopId {
        let hash = self.hasher.hash_one(flow);
        if let Some(&id) = self.index.find(hash, |&id| self.hops[id].flow == flow) {
            self.hops[id].subscription_count += 1;
            return id;
        }
        let runs = self.runs_of(flow);
        let id = self.hops.insert(Hop {
            flow,
            runs,
            subscription_count: 1,
            in_flight: 0,
            window: limits.hop_window_initial.max(1),
            acked: 0,
            lost: 0,
            judged_at: Time::ZERO,
            waiting: VecDeque::new(),
        });
        let Self { hops, index, hasher, .. } = self;
        index.insert_unique(hash, id, |&id| hasher.hash_one(hops[id].flow));
        id
    }

    /// The runs of our own address; a node has a handful of addresses.
    fn runs_of(&mut self, flow: Flow) -> Rc<LocalRuns> {
        let same =
            |runs: &&Rc<LocalRuns>| (runs.transport, runs.local) == (flow.transport, flow.local);
        if let Some(runs) = self.runs.iter().find(same) {
            return Rc::clone(runs);
        }
        self.runs.push(Rc::new(LocalRuns::new(flow)));
        Rc::clone(&self.runs[self.runs.len() - 1])
    }

    /// One subscription less; an unused hop is forgotten.
    pub(crate) fn release(&mut self, id: HopId) {
        let hop = &mut self.hops[id];
        hop.subscription_count -= 1;
        if hop.subscription_count > 0 {
            return;
        }
        let hash = self.hasher.hash_one(hop.flow);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.hops.remove(id);
    }

    /// Hops in use: 0 when the last subscription is gone.
    pub(crate) fn len(&self) -> u32 {
        self.hops.len()
    }

    pub(crate) fn get(&self, id: HopId) -> &Hop {
        &self.hops[id]
    }

    pub(crate) fn get_mut(&mut self, id: HopId) -> &mut Hop {
        &mut self.hops[id]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((hops.len(), hops.get(a).flow), (1, flow(1)));
        hops.release(again);
        assert_eq!(hops.len(), 0);
    }

    #[test]
    fn the_window_grows_with_answers_shrinks_with_losses_and_serves_in_order() {
        let limits = Limits { hop_window_initial: 2, hop_window_max: 3, ..Limits::default() };
        let mut hops = Hops::new(1);
        let id = hops.acquire(flow(1), &limits);
        let hop = hops.get_mut(id);
        assert_eq!([hop.try_take(), hop.try_take(), hop.try_take()], [true, true, false]);
        (10..13).for_each(|slot| hop.wait(slot));
        hop.acked(1, &limits);
        for waited in [10, 11] {
            assert_eq!(hop.next_waiting(), Some(waited));
            hop.take(1);
        }
        assert_eq!((hop.next_waiting(), hop.window), (None, 3));
        hop.lost(1, Time::from_secs(10), &limits);
        assert_eq!(hop.window, 2, "one lost, one answered: halved, but not below the start");
    }
}
