//! Tells the operator when datagrams or news are lost or queues run full. Looks every ten seconds
//! while the shard is awake, and speaks only when something got worse.

use std::time::Duration;

use lampfield_core::Time;
use lampfield_core::placement::ShardId;

use super::figures::LoopCounts;
use super::mesh::{Mesh, Outbox};
use super::ports::Ports;
use crate::channel::FromShard;

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What one shard has seen go wrong so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Losses {
    receive_dropped_count: u64,
    receive_truncated_count: u64,
    send_dropped_count: u64,
    no_port_count: u64,
    stream_refused_count: u64,
    stream_slow_count: u64,
    stream_message_dropped_count: u64,
    event_dropped_count: u64,
    queue_full_count: u64,
}

/// Compares losses over time.
#[derive(Debug)]
pub(super) struct Watch {
    shard: ShardId,
    next_look: Time,
    told: Losses,
}

impl Watch {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, next_look: Time::ZERO, told: Losses::default() }
    }

    /// Looks if it is time to.
    pub(super) fn look(
        &mut self,
        now: Time,
        ports: &Ports,
        mesh: &Mesh,
        control: &Outbox<FromShard>,
        counts: LoopCounts,
    ) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        let seen = losses(ports, mesh, control, counts);
        if seen != self.told {
            tracing::warn!(
                shard = self.shard.0,
                receive_dropped = seen.receive_dropped_count - self.told.receive_dropped_count,
                receive_truncated =
                    seen.receive_truncated_count - self.told.receive_truncated_count,
                send_dropped = seen.send_dropped_count - self.told.send_dropped_count,
                no_port = seen.no_port_count - self.told.no_port_count,
                streams_refused = seen.stream_refused_count - self.told.stream_refused_count,
                streams_slow = seen.stream_slow_count - self.told.stream_slow_count,
                stream_messages_dropped =
                    seen.stream_message_dropped_count - self.told.stream_message_dropped_count,
                events_dropped = seen.event_dropped_count - self.told.event_dropped_count,
                queue_full = seen.queue_full_count - self.told.queue_full_count,
                "losses or full queues since the last look"
            );
            self.told = seen;
        }
    }
}

fn losses(ports: &Ports, mesh: &Mesh, control: &Outbox<FromShard>, counts: LoopCounts) -> Losses {
    let streams = ports.stream_counts();
    let (ports, no_port_count) = ports.counts();
    let mut losses = Losses {
        no_port_count,
        stream_refused_count: streams.refused_count,
        stream_slow_count: streams.slow_count + streams.overrun_count + streams.crowded_count,
        stream_message_dropped_count: streams.message_dropped_count,
        event_dropped_count: counts.event_dropped_count,
        queue_full_count: mesh.waiting().1 + control.waited_count(),
        ..Losses::default()
    };
    for port in ports {
        losses.receive_dropped_count += port.receive.dropped_count;
        losses.receive_truncated_count += port.receive.truncated_count;
        losses.send_dropped_count += port.send.dropped_count() + port.backlog_dropped_count;
    }
    losses
}
