//! The node under test: its shards, the mesh between them, the store behind them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::command::{Answer, Command, Query, SubscriptionRow};
use lampfield_core::config::Config;
use lampfield_core::flow::{ConnectionId, Flow, Transport};
use lampfield_core::mesh::ShardMessage;
use lampfield_core::placement::{Placement, ShardId};
use lampfield_core::record::Record;
use lampfield_core::stats::Stats;
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};

/// The node's own address.
pub(crate) const NODE: ([u8; 4], u16) = ([10, 99, 0, 1], 5060);
/// Unix time at the start of the simulation, in milliseconds.
const UNIX_AT_START_MS: u64 = 1_800_000_000_000;

/// The shards of one node.
pub(crate) struct Cluster {
    shards: Vec<Shard>,
    pub(crate) placement: Placement,
    /// Simulated time at which the node last started: its own time counts from there.
    started_at: Time,
    /// Rises with every start; what was meant for an earlier run is lost.
    pub(crate) epoch: u32,
    store: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Records on their way to the disk, and when they will be there.
    commits: VecDeque<(Time, Record)>,
    commit_lag: Duration,
    out: Outputs,
}

/// What a shard sent in one reaction.
#[derive(Debug, Default)]
pub(crate) struct Reaction {
    pub(crate) packets: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) to_shards: Vec<(ShardId, ShardMessage)>,
    answers: Vec<Answer>,
}

impl Cluster {
    pub(crate) fn new(
        shard_count: u8,
        config: &Arc<Config>,
        seed: u64,
        commit_lag: Duration,
    ) -> Self {
        let mut cluster = Self {
            shards: Vec::new(),
            placement: Placement::new(shard_count),
            started_at: Time::ZERO,
            epoch: 0,
            store: BTreeMap::new(),
            commits: VecDeque::new(),
            commit_lag,
            out: Outputs::default(),
        };
        cluster.boot(config, seed, Time::ZERO);
        cluster
    }

    /// Kills the node: what is not on the disk is lost.
    pub(crate) fn kill(&mut self, now: Time) {
        self.commit(now);
        self.commits.clear();
    }

    /// Starts the node again from what the store has. What the shards say while
    /// they come up is returned, to be delivered.
    pub(crate) fn restart(
        &mut self,
        config: &Arc<Config>,
        seed: u64,
        now: Time,
    ) -> Vec<(ShardId, Reaction)> {
        self.epoch += 1;
        self.boot(config, seed, now);
        let records: Vec<Record> = self
            .store
            .iter()
            .map(|(key, value)| Record { key: key.clone(), value: Some(value.clone()) })
            .collect();
        let mut reactions = Vec::new();
        for record in records {
            for shard in self.placement.shards() {
                let input = Input::Command(Command::Restore(record.clone()));
                reactions.push((shard, self.handle(shard, input, now)));
            }
        }
        reactions
    }

    fn boot(&mut self, config: &Arc<Config>, seed: u64, now: Time) {
        self.started_at = now;
        let setup = |id| ShardSetup {
            id,
            placement: self.placement.clone(),
            config: Arc::clone(config),
            seed: seed ^ u64::from(self.epoch) << 32 ^ u64::from(id.0) << 56,
            unix_at_zero_ms: UNIX_AT_START_MS + now.as_nanos() / 1_000_000,
            durable: true,
        };
        self.shards = self.placement.shards().map(|id| Shard::new(setup(id))).collect();
    }

    /// Hands one input to one shard.
    pub(crate) fn handle(&mut self, shard: ShardId, input: Input<'_>, now: Time) -> Reaction {
        let local = self.local(now);
        self.shards[usize::from(shard.0)].handle(input, local, &mut self.out);
        let mut reaction = Reaction {
            packets: self.out.messages().map(|(flow, bytes)| (flow.peer, bytes.to_vec())).collect(),
            to_shards: std::mem::take(&mut self.out.to_shards),
            answers: self.out.replies.drain(..).map(|reply| reply.answer).collect(),
        };
        reaction.packets.shrink_to_fit();
        let due = now + self.commit_lag;
        self.commits.extend(self.out.records.drain(..).map(|record| (due, record)));
        self.out.clear();
        self.commit(now);
        reaction
    }

    fn commit(&mut self, now: Time) {
        while let Some((_, record)) = self.commits.pop_front_if(|(due, _)| *due <= now) {
            match record.value {
                Some(value) => self.store.insert(record.key, value),
                None => self.store.remove(&record.key),
            };
        }
    }

    /// The flow of a packet from `peer`.
    pub(crate) fn flow(peer: SocketAddr) -> Flow {
        Flow {
            transport: Transport::Udp,
            local: NODE.into(),
            peer,
            connection: ConnectionId::default(),
        }
    }

    /// When a shard next wants a tick, in simulated time.
    pub(crate) fn deadline(&self, shard: ShardId) -> Option<Time> {
        let local = self.shards[usize::from(shard.0)].next_deadline()?;
        Some(self.started_at + Duration::from_nanos(local.as_nanos()))
    }

    /// Asks every shard; the answers come with the shard that gave them.
    pub(crate) fn ask(&mut self, query: &Query, now: Time) -> Vec<(ShardId, Answer)> {
        let mut answers = Vec::new();
        for shard in self.placement.shards() {
            let input = Input::Query { id: 1, query: query.clone() };
            let reaction = self.handle(shard, input, now);
            answers.extend(reaction.answers.into_iter().map(|answer| (shard, answer)));
        }
        answers
    }

    /// Every subscription, with the shard that has it.
    pub(crate) fn subscriptions(&mut self, now: Time) -> Vec<(ShardId, SubscriptionRow)> {
        let query = Query::Subscriptions { tenant: None, call_id: None, limit: usize::MAX };
        let rows = |(shard, answer)| match answer {
            Answer::Subscriptions(rows, _) => {
                rows.into_iter().map(|row| (shard, row)).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        };
        self.ask(&query, now).into_iter().flat_map(rows).collect()
    }

    /// The counters of every shard.
    pub(crate) fn stats(&mut self, now: Time) -> Vec<Stats> {
        let stats = |(_, answer)| match answer {
            Answer::Stats(stats) => Some(*stats),
            _ => None,
        };
        self.ask(&Query::Stats, now).into_iter().filter_map(stats).collect()
    }

    /// How many keys the store holds.
    pub(crate) fn stored_count(&self) -> usize {
        self.store.len()
    }

    fn local(&self, now: Time) -> Time {
        Time::from_nanos(now.since(self.started_at).as_nanos() as u64)
    }
}
