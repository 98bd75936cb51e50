//! The event loop: node, phones, attacker and network under one clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use lampfield_core::command::Command;
use lampfield_core::placement::ShardId;
use lampfield_core::{Input, Time};

use crate::attacker::{self, Attacker};
use crate::audit::Audit;
use crate::cluster::{Cluster, Reaction};
use crate::digest::Digest;
use crate::lists::ListSpec;
use crate::model::Model;
use crate::network::Link;
use crate::phone::{Phone, Times};
use crate::plan::Plan;
use crate::queue::{Due, Queue};
use crate::sabotage::Saboteur;
use crate::sip::Sip;

/// A change of members has reached everybody: two transactions and the pauses between them.
const STABLE_AFTER: Duration = Duration::from_secs(100);

/// Everything there is.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    pub(crate) queue: Queue,
    pub(crate) cluster: Cluster,
    pub(crate) node_is_up: bool,
    pub(crate) model: Model,
    pub(crate) phones: Vec<Phone>,
    pub(crate) attacker: Attacker,
    pub(crate) audit: Audit,
    /// When a member of a list may last have gone.
    pub(crate) disrupted_at: Option<Time>,
    /// Faults have stopped.
    pub(crate) is_calm: bool,
    /// Phones let their subscriptions run out.
    pub(crate) is_ending: bool,
    pub(crate) digest: Digest,
    pub(crate) packet_count: u64,
    saboteur: Saboteur,
    /// Order per sender and receiver is kept on the mesh and towards a shard.
    mesh_until: HashMap<(u8, u8), Time>,
    ticks: Vec<Option<Time>>,
    wakes: Vec<Option<Time>>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let mut model = Model::new(plan.exten_count, plan.limits.clone(), &mut rng);
        if plan.has_lists {
            model.lists = ListSpec::all(&model, &mut rng);
        }
        plan.sabotage.hide_from(&mut model);
        let config = model.config();
        let cluster = Cluster::new(plan.shard_count, &config, rng.u64(..), plan.commit_lag);
        let phones: Vec<Phone> = (0..plan.phone_count)
            .map(|index| {
                let behind_edge = rng.u8(..3) == 0;
                let link = Link::random(&mut rng);
                let link = if plan.network_is_bad { link } else { link.calm() };
                let rudeness_percent = [0, plan.rudeness_percent][rng.usize(..2)];
                Phone::new(index, rng.usize(..3), behind_edge, link, rudeness_percent)
            })
            .collect();
        let plan_bytes_max = plan.limits.notify_bytes_max;
        let mut world = Self {
            saboteur: Saboteur::new(plan.sabotage),
            ticks: vec![None; usize::from(plan.shard_count)],
            wakes: vec![None; phones.len()],
            plan,
            rng,
            now: Time::ZERO,
            queue: Queue::default(),
            cluster,
            node_is_up: true,
            model,
            phones,
            attacker: Attacker::default(),
            audit: Audit::new(plan_bytes_max),
            disrupted_at: None,
            is_calm: false,
            is_ending: false,
            digest: Digest::default(),
            packet_count: 0,
            mesh_until: HashMap::new(),
        };
        // A fresh shard may have something to say to the others at once.
        for shard in world.cluster.placement.shards() {
            world.queue.push(Time::ZERO, Due::Tick { epoch: 0, shard });
        }
        world.queue.push(Time::ZERO, Due::Move);
        world
    }

    /// Runs until `end`.
    pub(crate) fn run_until(&mut self, end: Time) -> Result<(), String> {
        while let Some((at, due)) = self.queue.pop_before(end) {
            self.now = at.max(self.now);
            self.react(due)?;
        }
        self.now = end.max(self.now);
        Ok(())
    }

    fn react(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::ToNode { peer, bytes } => self.packet_to_node(peer, &bytes),
            Due::ToPhone { phone, bytes } => {
                let message = Sip::parse(&bytes)?;
                let times = self.times();
                self.phones[phone].receive(&message, times, &mut self.rng).map_err(|fault| {
                    format!("phone {phone}: {fault}\n{}", String::from_utf8_lossy(&bytes))
                })?;
                self.after_phone(phone);
                Ok(())
            }
            Due::Mesh { epoch, from, to, message } if self.is_current(epoch) => {
                self.input(to, Input::Shard { from, message }, false)
            }
            Due::Command { epoch, shard, command } if self.is_current(epoch) => {
                self.model.accept(&command, self.now);
                self.input(shard, Input::Command(*command), false)
            }
            Due::Tick { epoch, shard } if self.is_current(epoch) => {
                self.ticks[usize::from(shard.0)] = None;
                self.input(shard, Input::Tick, false)
            }
            Due::Mesh { .. } | Due::Command { .. } | Due::Tick { .. } => Ok(()),
            Due::Wake { phone } => {
                if self.wakes[phone].is_some_and(|at| at <= self.now) {
                    self.wakes[phone] = None;
                    if self.phones[phone].is_up && !self.is_ending {
                        self.phones[phone].wake(self.now, &mut self.rng);
                    }
                    self.after_phone(phone);
                }
                Ok(())
            }
            Due::Leave { phone, bytes } => {
                self.carry_to_node(phone, &bytes);
                Ok(())
            }
            Due::Move => self.next_move(),
            Due::Boot => self.boot(),
        }
    }

    fn times(&self) -> Times {
        let disrupted_at = self.disrupted_at;
        let is_stable = disrupted_at.is_none_or(|at| self.now.since(at) >= STABLE_AFTER);
        Times { is_calm: self.is_calm, is_stable, now: self.now }
    }

    fn is_current(&self, epoch: u32) -> bool {
        self.node_is_up && epoch == self.cluster.epoch
    }

    fn packet_to_node(&mut self, peer: SocketAddr, bytes: &[u8]) -> Result<(), String> {
        if !self.node_is_up {
            return Ok(());
        }
        let is_stranger = attacker::is_stranger(peer);
        self.audit.incoming(peer, is_stranger, bytes, self.now);
        // SO_REUSEPORT spreads by address; a socket more or less moves everybody.
        let spread = match peer {
            SocketAddr::V4(peer) => u32::from(*peer.ip()),
            SocketAddr::V6(_) => 0,
        };
        let moved = u32::from(self.rng.u8(..8) == 0);
        let shard =
            ShardId(((spread.wrapping_add(moved)) % u32::from(self.plan.shard_count)) as u8);
        let is_answer = bytes.starts_with(b"SIP/2.0 2");
        let flow = Cluster::flow(peer);
        self.input(shard, Input::Message { flow, bytes }, is_answer)
    }

    /// Hands an input to a shard and delivers what it says.
    fn input(&mut self, shard: ShardId, input: Input<'_>, is_answer: bool) -> Result<(), String> {
        let reaction = self.cluster.handle(shard, input, self.now);
        self.deliver(shard, reaction, is_answer)
    }

    pub(crate) fn deliver(
        &mut self,
        shard: ShardId,
        reaction: Reaction,
        is_answer: bool,
    ) -> Result<(), String> {
        for (peer, bytes) in reaction.packets {
            self.digest.number(self.now.as_nanos());
            self.digest.bytes(&bytes);
            self.packet_count += 1;
            if self.saboteur.is_idle() {
                self.packet_from_node(peer, bytes)?;
                continue;
            }
            let stranger = attacker::ADDRESS.into();
            let falsified = self.saboteur.falsify(peer, &bytes, is_answer, stranger);
            for (peer, bytes) in falsified.send {
                self.packet_from_node(peer, bytes)?;
            }
            if let Some(answer) = falsified.feed_back {
                self.queue.push(self.now, Due::ToNode { peer, bytes: answer });
            }
        }
        let epoch = self.cluster.epoch;
        for (to, message) in reaction.to_shards {
            let at = self.mesh_arrival(shard.0, to);
            for message in self.saboteur.falsify_mesh(message) {
                self.queue.push(at, Due::Mesh { epoch, from: shard, to, message });
            }
        }
        self.arm(shard);
        Ok(())
    }

    /// Arms a shard's next tick; ticks may come late.
    fn arm(&mut self, shard: ShardId) {
        let Some(deadline) = self.cluster.deadline(shard) else { return };
        let armed = &mut self.ticks[usize::from(shard.0)];
        if armed.is_some_and(|at| at <= deadline.max(self.now)) {
            return;
        }
        let late = Duration::from_micros(self.rng.u64(1..1_500));
        let at = deadline.max(self.now) + late;
        *armed = Some(at);
        self.queue.push(at, Due::Tick { epoch: self.cluster.epoch, shard });
    }

    /// When something sent now reaches a shard: later than what was sent before.
    fn mesh_arrival(&mut self, from: u8, to: ShardId) -> Time {
        let delay_us = if self.is_calm { 50 } else { self.rng.u64(5..5_000) };
        let until = self.mesh_until.entry((from, to.0)).or_default();
        *until = (self.now + Duration::from_micros(delay_us)).max(*until);
        *until
    }

    fn packet_from_node(&mut self, peer: SocketAddr, bytes: Vec<u8>) -> Result<(), String> {
        let is_stranger = attacker::is_stranger(peer);
        self.audit
            .outgoing(peer, is_stranger, &bytes, self.now)
            .map_err(|fault| format!("{fault}\n{}", String::from_utf8_lossy(&bytes)))?;
        if is_stranger {
            return Ok(());
        }
        let message = Sip::parse(&bytes)?;
        let call_id = message.header("Call-ID");
        let phone = call_id.strip_prefix('p').and_then(|rest| rest.split_once('.')?.0.parse().ok());
        let Some(phone) = phone.filter(|phone: &usize| *phone < self.phones.len()) else {
            // An answer to a forgery in the name of a phone.
            return Ok(());
        };
        if self.phones[phone].address != peer {
            return Err(format!("{call_id} of {} is sent to {peer}", self.phones[phone].address));
        }
        if self.plan.is_attacked {
            self.attacker.capture(&bytes, &mut self.rng);
        }
        let link = self.link(phone);
        if !link.fits(bytes.len()) {
            return Ok(());
        }
        for delay in link.carry(&mut self.rng) {
            self.queue.push(self.now + delay, Due::ToPhone { phone, bytes: bytes.clone() });
        }
        Ok(())
    }

    fn link(&self, phone: usize) -> Link {
        let link = self.phones[phone].link;
        if self.is_calm { link.calm() } else { link }
    }

    fn carry_to_node(&mut self, phone: usize, bytes: &[u8]) {
        let (link, peer) = (self.link(phone), self.phones[phone].address);
        if self.plan.is_attacked {
            self.attacker.capture(bytes, &mut self.rng);
        }
        for delay in link.carry(&mut self.rng) {
            self.queue.push(self.now + delay, Due::ToNode { peer, bytes: bytes.to_vec() });
        }
    }

    /// Sends what a phone has written, and arms its timer.
    pub(crate) fn after_phone(&mut self, phone: usize) {
        for (pause, bytes) in std::mem::take(&mut self.phones[phone].outbox) {
            self.queue.push(self.now + pause, Due::Leave { phone, bytes });
        }
        if self.is_ending {
            return;
        }
        let Some(at) = self.phones[phone].next_wake().map(|at| at.max(self.now)) else { return };
        if self.wakes[phone].is_none_or(|armed| at < armed) {
            self.wakes[phone] = Some(at);
            self.queue.push(at, Due::Wake { phone });
        }
    }

    /// Sends a command to one shard, after those sent before.
    pub(crate) fn command(&mut self, shard: ShardId, command: Command) {
        let at = self.mesh_arrival(u8::MAX, shard);
        let epoch = self.cluster.epoch;
        self.queue.push(at, Due::Command { epoch, shard, command: Box::new(command) });
    }

    /// Kills the node.
    pub(crate) fn kill(&mut self) {
        self.node_is_up = false;
        self.disrupted_at = Some(self.now);
        self.cluster.kill(self.now);
        self.audit.node_killed(self.now, self.plan.commit_lag);
        let down = Duration::from_millis(self.rng.u64(1..3_000));
        self.queue.push(self.now + down, Due::Boot);
    }

    fn boot(&mut self) -> Result<(), String> {
        self.node_is_up = true;
        self.mesh_until.clear();
        self.ticks.fill(None);
        let config = self.model.config();
        let seed = self.rng.u64(..);
        for (shard, reaction) in self.cluster.restart(&config, seed, self.now) {
            self.deliver(shard, reaction, false)?;
        }
        for shard in self.cluster.placement.shards() {
            self.queue.push(self.now, Due::Tick { epoch: self.cluster.epoch, shard });
        }
        self.report_again();
        Ok(())
    }
}
