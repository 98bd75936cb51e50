//! One shard's loop: read a batch, let the core react, send what it says, sleep when nothing is
//! to do.
//!
//! Each turn takes at most one batch from every socket and some messages from the inbox, and lets
//! the core do one bounded step of its fan-out, so none of the three can starve the others. The
//! clock is read once per turn.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use lampfield_core::command::Command;
use lampfield_core::limits::Limits;
use lampfield_core::placement::ShardId;
use lampfield_core::record::Record;
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};
use lampfield_net::rt::{Sleeper, Woken};
use lampfield_net::sys::{Poller, Ready};

use super::budget::Budget;
use super::clock::Clock;
use super::figures::{LoopCounts, figures};
use super::hold::Held;
use super::latency::Latencies;
use super::mesh::{Mesh, Outbox};
use super::pace::{Moderation, sleep_for};
use super::ports::Ports;
use super::pressure::Pressure;
use super::tide::{Tide, give_back};
use super::watch::Watch;
use crate::channel::{FromShard, Seen, ToShard};
use crate::store::Batch;

/// Messages taken from the inbox in one turn. Each may be a batch of 128.
const INBOX_PER_TURN: usize = 32;

/// While something waits for a receiver that is full, it is tried again this often.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// A shard that ends waits so long for the disk.
const HELD_AT_END_MAX: Duration = Duration::from_secs(5);

/// What a shard's loop is made from.
pub(super) struct LoopSetup {
    pub(super) shard: ShardSetup,
    pub(super) clock: Clock,
    pub(super) ports: Ports,
    pub(super) inbound: Receiver<ToShard>,
    /// Channels to all shards, this one included.
    pub(super) shards: Vec<Sender<ToShard>>,
    pub(super) control: Sender<FromShard>,
    pub(super) store: Option<Sender<Batch>>,
    /// Whether nothing is said before it is on the disk.
    pub(super) syncs_always: bool,
    /// What was kept before the restart.
    pub(super) restore: Arc<Vec<Record>>,
}

/// Runs a shard until it is told to stop or everybody has gone.
pub(super) async fn run(setup: LoopSetup) -> anyhow::Result<()> {
    let restore = Arc::clone(&setup.restore);
    let mut shard_loop = ShardLoop::new(setup)?;
    shard_loop.restore(&restore);
    drop(restore);
    while !shard_loop.stopping {
        if !shard_loop.turn() {
            shard_loop.sleep();
        }
    }
    shard_loop.end();
    Ok(())
}

struct ShardLoop {
    id: ShardId,
    shard: Shard,
    clock: Clock,
    ports: Ports,
    poller: Rc<Poller>,
    sleeper: Sleeper<ToShard>,
    /// What woke the loop, not yet handled.
    woken_by: Option<ToShard>,
    mesh: Mesh,
    control: Outbox<FromShard>,
    store: Option<Outbox<Batch>>,
    /// Told of commits.
    own: Sender<ToShard>,
    held: Held,
    out: Outputs,
    ready: Vec<Ready>,
    moderation: Moderation,
    budget: Budget,
    tide: Tide,
    sent_this_turn: usize,
    counts: LoopCounts,
    latencies: Latencies,
    watch: Watch,
    /// As configured at the start.
    limits: Limits,
    mesh_pressure: Pressure,
    store_pressure: Pressure,
    stopping: bool,
}

impl ShardLoop {
    fn new(setup: LoopSetup) -> anyhow::Result<Self> {
        let poller = Rc::new(Poller::new()?);
        setup.ports.watch(&poller)?;
        let id = setup.shard.id;
        let limits = setup.shard.config.limits.clone();
        Ok(Self {
            id,
            shard: Shard::new(setup.shard),
            clock: setup.clock,
            ports: setup.ports,
            sleeper: Sleeper::new(Rc::clone(&poller), setup.inbound)?,
            poller,
            woken_by: None,
            mesh: Mesh::new(id, &setup.shards),
            control: Outbox::new(setup.control),
            own: setup.shards[usize::from(id.0)].clone(),
            held: Held::new(setup.syncs_always && setup.store.is_some()),
            store: setup.store.map(Outbox::new),
            out: Outputs::default(),
            ready: Vec::new(),
            moderation: Moderation::default(),
            budget: Budget::default(),
            tide: Tide::default(),
            sent_this_turn: 0,
            counts: LoopCounts::default(),
            latencies: Latencies::default(),
            watch: Watch::new(id),
            limits,
            mesh_pressure: Pressure::Low,
            store_pressure: Pressure::Low,
            stopping: false,
        })
    }

    /// Puts back what was kept, before the first message is read.
    fn restore(&mut self, records: &[Record]) {
        for record in records {
            let now = self.clock.now();
            self.shard.handle(Input::Command(Command::Restore(record.clone())), now, &mut self.out);
            self.flush(now);
        }
    }

    /// One turn; false when there was nothing to do.
    fn turn(&mut self) -> bool {
        let now = self.clock.now();
        self.sent_this_turn = 0;
        let received = if self.pressure() < Pressure::Stopped {
            self.read_sockets(now)
        } else {
            self.counts.unread_turn_count += 1;
            0
        };
        let mut worked = received > 0;
        worked |= self.read_inbox(now);
        if self.shard.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.step(now);
            worked = true;
        }
        worked |= self.finish_streams(now);
        self.mesh.flush();
        self.control.flush();
        if let Some(store) = &mut self.store {
            store.flush();
        }
        self.look_at_pressure(now);
        self.moderation.after_turn(now, self.sent_this_turn, received);
        self.counts.turn_count += u64::from(worked);
        if worked {
            self.latencies.turned(now, self.clock.now());
        }
        self.watch.look(now, &self.ports, &self.mesh, &self.control, self.counts);
        worked
    }

    /// Lets the core go on with what it does in steps, and fits their length to what they cost.
    fn step(&mut self, now: Time) {
        let begun = self.clock.now();
        self.shard.handle(Input::Tick, now, &mut self.out);
        let sent_count = self.out.index().len();
        self.flush(now);
        if let Some(budget) = self.budget.after_step(sent_count, self.clock.now().since(begun)) {
            self.shard.handle(Input::StepBudget(budget), now, &mut self.out);
        }
    }

    /// How much waits for others.
    fn pressure(&self) -> Pressure {
        self.mesh_pressure.max(self.store_pressure)
    }

    /// Has the core refuse new work while too much waits for others.
    fn look_at_pressure(&mut self, now: Time) {
        let before = self.pressure();
        let store_waiting = self.store.as_ref().map_or(0, Outbox::waiting_count);
        let store_waiting = store_waiting.max(self.held.len());
        let Limits { mesh_waiting_max, store_waiting_max, .. } = self.limits;
        self.mesh_pressure = self.mesh_pressure.after(self.mesh.longest(), mesh_waiting_max);
        self.store_pressure = self.store_pressure.after(store_waiting, store_waiting_max);
        let (was, is) = (before > Pressure::Low, self.pressure() > Pressure::Low);
        if was != is {
            self.counts.overloaded_count += u64::from(is);
            self.shard.handle(Input::Overloaded(is), now, &mut self.out);
            self.flush(now);
        }
    }

    /// One batch from every socket that has something. Returns the number of messages.
    fn read_sockets(&mut self, now: Time) -> usize {
        let mut ready = std::mem::take(&mut self.ready);
        if let Err(error) = self.poller.wait(Duration::ZERO, &mut ready) {
            tracing::error!(shard = self.id.0, %error, "cannot ask which sockets are ready");
        }
        let mut count = 0;
        for one in &ready {
            if one.token == Sleeper::<ToShard>::BELL_TOKEN {
                self.sleeper.silence();
            } else {
                count += self.read_socket(*one, now);
            }
        }
        self.ready = ready;
        count
    }

    fn read_socket(&mut self, ready: Ready, now: Time) -> usize {
        let Self { ports, poller, shard, out, .. } = self;
        let received = ports.on_ready(poller, ready, now, |flow, bytes| {
            shard.handle(Input::Message { flow, bytes }, now, out);
        });
        let count = received.unwrap_or_else(|error| {
            tracing::error!(shard = self.id.0, %error, "cannot read a UDP socket");
            0
        });
        self.end_batch(count, now);
        count
    }

    /// Some messages of the inbox; false when there were none.
    fn read_inbox(&mut self, now: Time) -> bool {
        for taken in 0..INBOX_PER_TURN {
            let message = match self.woken_by.take() {
                Some(message) => message,
                None => match self.sleeper.inbound().try_recv() {
                    Ok(message) => message,
                    Err(_) => return taken > 0,
                },
            };
            self.take(message, now);
        }
        true
    }

    /// Some inputs have been handled: what the core said to them leaves.
    fn end_batch(&mut self, input_count: usize, now: Time) {
        if input_count > 0 {
            self.latencies.handled(input_count, now, self.clock.now());
        }
        self.flush(now);
    }

    fn take(&mut self, message: ToShard, now: Time) {
        // What an operator asks, and what shards tell each other of streams, is no input to time.
        let mut input_count = 0;
        match message {
            ToShard::Mesh(from, messages) => {
                input_count = messages.len();
                self.counts.mesh_in_count += messages.len() as u64;
                for message in messages {
                    let input = Input::Shard { from, message };
                    self.shard.handle(input, now, &mut self.out);
                }
            }
            ToShard::Command(command) => {
                input_count = 1;
                if matches!(command, Command::ResetLatencies) {
                    self.latencies = Latencies::default();
                }
                self.shard.handle(Input::Command(command), now, &mut self.out);
            }
            ToShard::Change(id, command) => {
                input_count = 1;
                self.shard.handle(Input::Change { id, command }, now, &mut self.out);
            }
            ToShard::Query(id, query) => {
                self.shard.handle(Input::Query { id, query }, now, &mut self.out);
            }
            ToShard::Look(id) => {
                let store = self.store.as_ref();
                let figures = figures(&self.ports, &self.mesh, &self.control, store, self.counts);
                let seen = Seen { figures, latencies: self.latencies.clone() };
                self.control.push(FromShard::Seen(id, Box::new(seen)));
            }
            ToShard::StreamWrite(flow, bytes) => {
                self.ports.send_stream(&self.poller, flow, &bytes, now);
            }
            ToShard::ConnectionClosed(connection) => {
                self.shard.handle(Input::ConnectionClosed(connection), now, &mut self.out);
            }
            ToShard::ConnectionFull(connection, peer, is_full) => {
                let input = Input::ConnectionFull { connection, peer, is_full };
                self.shard.handle(input, now, &mut self.out);
            }
            ToShard::Committed(number) => self.on_committed(number, now),
            ToShard::Stop => self.stopping = true,
        }
        self.end_batch(input_count, now);
    }

    /// Writes the streams, and tells all shards of those that are full or have ended: any of them
    /// may hold a subscription that came over one. False when there was none.
    fn finish_streams(&mut self, now: Time) -> bool {
        let closed = self.ports.finish_streams(&self.poller, now);
        let fullness = self.ports.take_fullness();
        for &(connection, peer, is_full) in &fullness {
            let input = Input::ConnectionFull { connection, peer, is_full };
            self.shard.handle(input, now, &mut self.out);
            self.mesh.send_all(|| ToShard::ConnectionFull(connection, peer, is_full));
        }
        for connection in &closed {
            self.shard.handle(Input::ConnectionClosed(*connection), now, &mut self.out);
            self.mesh.send_all(|| ToShard::ConnectionClosed(*connection));
        }
        self.flush(now);
        !closed.is_empty() || !fullness.is_empty()
    }

    /// Hands stream messages to the executors that hold their connections.
    fn send_streams(&mut self, now: Time) {
        let streams = self.out.messages().filter(|(flow, _)| flow.transport.is_stream());
        for (flow, bytes) in streams {
            let holder = ShardId(flow.connection.shard);
            if flow.connection.serial == 0 || holder == self.id {
                self.ports.send_stream(&self.poller, flow, bytes, now);
            } else {
                self.mesh.send_one(holder, ToShard::StreamWrite(flow, bytes.to_vec()));
            }
        }
    }

    /// Hands on what the core has said since the last flush: records to the store, all else to
    /// whom it is said, or it waits until the records are on the disk.
    fn flush(&mut self, now: Time) {
        if self.out.is_empty() {
            return;
        }
        if let Some(store) = &mut self.store
            && !self.out.records.is_empty()
        {
            let records = std::mem::take(&mut self.out.records);
            let told = self.held.next_batch().map(|number| (self.own.clone(), number));
            store.push(Batch { records, told, copy: None });
        }
        if !self.held.hold(&mut self.out) {
            self.say(now);
        }
    }

    /// Batches are on the disk: what waited for them is said.
    fn on_committed(&mut self, number: u64, now: Time) {
        debug_assert!(self.out.is_empty(), "what was said before has been flushed");
        self.held.set_committed(number);
        while let Some(out) = self.held.next_free() {
            self.out = out;
            self.say(now);
        }
    }

    /// Says what the core has said. Records are the store's already.
    fn say(&mut self, now: Time) {
        let message_count = self.out.index().len();
        let handled = (message_count > 0).then(|| self.clock.now());
        let datagrams = self.out.messages().filter(|(flow, _)| !flow.transport.is_stream());
        self.sent_this_turn += self.ports.send(&self.poller, datagrams);
        self.send_streams(now);
        if let Some(handled) = handled {
            self.latencies.sent(message_count, handled, self.clock.now());
        }
        if !self.out.to_shards.is_empty() {
            self.mesh.send(self.out.to_shards.drain(..));
        }
        if !self.out.replies.is_empty() {
            self.control.push(FromShard::Replies(std::mem::take(&mut self.out.replies)));
        }
        if !self.out.events.is_empty() {
            // Answers are never dropped: there is one per question, and the control plane bounds these.
            if self.control.waiting_count() < self.limits.event_waiting_max {
                self.control.push(FromShard::Events(std::mem::take(&mut self.out.events)));
            } else {
                self.counts.event_dropped_count += self.out.events.len() as u64;
            }
        }
        self.out.clear();
    }

    /// Sleeps until there may be something to do.
    fn sleep(&mut self) {
        let now = self.clock.now();
        let deadlines = [self.shard.next_deadline(), self.ports.next_deadline()];
        let mut at_most = sleep_for(now, deadlines.into_iter().flatten().min());
        if at_most == Some(Duration::ZERO) {
            return;
        }
        let store_waits = self.store.as_ref().is_some_and(|store| store.waiting_count() > 0);
        if store_waits || self.mesh.waiting().0 > 0 || self.control.waiting_count() > 0 {
            at_most = Some(at_most.map_or(RETRY_AFTER, |at_most| at_most.min(RETRY_AFTER)));
        }
        if self.tide.has_ebbed(self.shard.record_count()) {
            give_back(self.id);
        }
        if self.pressure() == Pressure::Stopped {
            // Sockets that nobody reads would wake it at once.
            return self.sleeper.pause(at_most.unwrap_or(RETRY_AFTER));
        }
        if let Some(pause) = self.moderation.before_sleep() {
            let time = at_most.map_or(pause, |at_most| at_most.min(pause));
            return self.sleeper.pause(time);
        }
        match self.sleeper.sleep(at_most) {
            Woken::Message(message) => self.woken_by = Some(message),
            Woken::Closed => self.stopping = true,
            Woken::Readable | Woken::Time => {}
        }
    }

    /// What still waits for the disk is said, if that does not take long.
    fn wait_for_disk(&mut self, now: Time) {
        let until = now + HELD_AT_END_MAX;
        while self.held.len() > 0 && self.clock.now() < until {
            if let Some(store) = &mut self.store {
                store.flush();
            }
            match self.sleeper.inbound().try_recv() {
                Ok(ToShard::Committed(number)) => self.on_committed(number, now),
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Lets go of everything in order: what was said leaves, then the end is told.
    fn end(&mut self) {
        let now = self.clock.now();
        self.flush(now);
        self.wait_for_disk(now);
        self.ports.flush(&self.poller, now);
        self.mesh.flush();
        if let Some(store) = &mut self.store {
            store.drain();
        }
        self.control.push(FromShard::Stopped(self.id));
        self.control.flush();
    }
}
