//! What one shard's sockets and queues have seen, for the console's `net`.

use super::mesh::{Mesh, Outbox};
use super::ports::Ports;
use crate::channel::Figures;

/// What a shard's loop has counted beside its sockets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LoopCounts {
    /// Turns in which there was something to do.
    pub(super) turn_count: u64,
    /// Messages of the core that came from other shards.
    pub(super) mesh_in_count: u64,
    /// Times so much waited for others that new work was refused.
    pub(super) overloaded_count: u64,
    /// Turns in which the sockets were not read because of that.
    pub(super) unread_turn_count: u64,
    /// News that the control plane was too slow to take.
    pub(super) event_dropped_count: u64,
}

/// Everything, by name; the order is that of the listing.
pub(super) fn figures<C, S>(
    ports: &Ports,
    mesh: &Mesh,
    control: &Outbox<C>,
    store: Option<&Outbox<S>>,
    counts: LoopCounts,
) -> Figures {
    let mut figures = datagrams(ports);
    figures.extend(streams(ports));
    let (mesh_waiting, mesh_waited) = mesh.waiting();
    let (message_out, batch_out) = mesh.out_counts();
    let store = store.map_or((0, 0), |store| (store.waiting_count() as u64, store.waited_count()));
    figures.extend([
        ("mesh_message_in", counts.mesh_in_count),
        ("mesh_message_out", message_out),
        ("mesh_batch_out", batch_out),
        ("mesh_waiting", mesh_waiting as u64),
        ("mesh_waited", mesh_waited),
        ("control_waiting", control.waiting_count() as u64),
        ("control_waited", control.waited_count()),
        ("event_dropped", counts.event_dropped_count),
        ("store_waiting", store.0),
        ("store_waited", store.1),
        ("overloaded", counts.overloaded_count),
        ("turn_without_reading", counts.unread_turn_count),
        ("turn", counts.turn_count),
    ]);
    figures
}

fn datagrams(ports: &Ports) -> Figures {
    let (ports, no_socket_count) = ports.counts();
    let all: Vec<_> = ports.collect();
    let receive = |of: fn(&lampfield_net::sys::ReceiveCounts) -> u64| {
        all.iter().map(|counts| of(&counts.receive)).sum()
    };
    let send = |of: fn(&lampfield_net::sys::SendCounts) -> u64| {
        all.iter().map(|counts| of(&counts.send)).sum()
    };
    vec![
        ("datagram_in", receive(|counts| counts.message_count)),
        ("datagram_in_lost_by_kernel", receive(|counts| counts.dropped_count)),
        ("datagram_in_truncated", receive(|counts| counts.truncated_count)),
        ("datagram_out", send(|counts| counts.sent_count)),
        ("datagram_out_in_trains", send(|counts| counts.train_datagram_count)),
        ("datagram_out_single", send(|counts| counts.sent_count - counts.train_datagram_count)),
        ("train_out", send(|counts| counts.train_count)),
        ("train_out_too_long", send(|counts| counts.train_too_long_count)),
        ("train_out_refused_by_device", send(|counts| counts.train_device_count)),
        ("train_out_refused_as_invalid", send(|counts| counts.train_invalid_count)),
        ("peer_without_trains", all.iter().map(|counts| counts.trainless_count).sum()),
        ("datagram_out_buffer_full", send(|counts| counts.blocked_count)),
        ("datagram_out_too_long", send(|counts| counts.too_long_count)),
        ("datagram_out_not_permitted", send(|counts| counts.not_permitted_count)),
        ("datagram_out_no_memory", send(|counts| counts.no_buffer_count)),
        ("datagram_out_unreachable", send(|counts| counts.unreachable_count)),
        ("datagram_out_invalid", send(|counts| counts.invalid_count)),
        ("datagram_out_backlog_full", all.iter().map(|counts| counts.backlog_dropped_count).sum()),
        ("datagram_out_no_socket", no_socket_count),
    ]
}

fn streams(ports: &Ports) -> Figures {
    let counts = ports.stream_counts();
    vec![
        ("connection_accepted", counts.accepted_count),
        ("connection_opened", counts.connected_count),
        ("connection_refused", counts.refused_count),
        ("connection_not_opened", counts.connect_failed_count),
        ("connection_closed_by_peer", counts.closed_by_peer_count),
        ("connection_closed_broken", counts.broken_count),
        ("connection_closed_idle", counts.idle_count),
        ("connection_closed_slow", counts.slow_count),
        ("connection_closed_overrun", counts.overrun_count),
        ("connection_closed_crowded", counts.crowded_count),
        ("connection_closed_untrusted", counts.untrusted_count),
        ("connection_closed_error", counts.error_count),
        ("connection_upgrade_refused", counts.upgrade_refused_count),
        ("stream_message_in", counts.message_in_count),
        ("stream_message_out", counts.message_out_count),
        ("stream_message_dropped", counts.message_dropped_count),
        ("stream_write", counts.write_count),
        ("stream_full", counts.full_count),
        ("stream_bytes_waiting", ports.stream_waiting_bytes() as u64),
        ("stream_ping", counts.ping_count),
    ]
}
