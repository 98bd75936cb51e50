//! The bare system calls beside a peer: a burst of NOTIFY-sized datagrams to sockets that another
//! thread on the other core sleeps on, wakes for, and answers; the way of a shard and a crowd of
//! phones, without a program in between.
//!
//! `sendmmsg` and `recvmmsg` on a socket like a shard's, answers read between the batches and
//! gathered after them, as a shard does. The sender pays for waking the peer, for sockets that are
//! not in its caches, and for cache lines that the peer has just written: what `raw.rs`, where one
//! thread plays both sides, does not see.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lampfield_net::sys::{
    BatchSocket, Datagram, Poller, ReceiveBatch, SocketOptions, pin_thread_to_core, thread_cpu_time,
};

use crate::raw::{RawCost, on_core_0};
use crate::sizes::Sizes;

/// Datagrams per call.
const BATCH: usize = 64;

/// Datagrams all bursts send together.
const DATAGRAM_COUNT: usize = 30_000;

/// How long answers gather, as in a shard.
const GATHER_FOR: Duration = Duration::from_micros(250);

/// Between bursts, so that the peer sleeps.
const REST: Duration = Duration::from_millis(10);

/// A burst that is not answered by then has lost something, and ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// Measures bursts to so many sockets, one datagram each; CPU time of the sender.
pub(crate) fn measure(sizes: Sizes, peer_count: usize) -> anyhow::Result<RawCost> {
    let (sizes, peer_count) = (sizes.check()?, peer_count.max(BATCH));
    on_core_0(move || {
        let options = SocketOptions { gro: true, rarely_fragment: true, ..Default::default() };
        let server = BatchSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &options)?;
        let peers = bind(peer_count)?;
        let addresses: Vec<SocketAddr> =
            peers.iter().map(UdpSocket::local_addr).collect::<std::io::Result<_>>()?;
        let (stop, address) = (AtomicBool::new(false), server.local_addr());
        std::thread::scope(|scope| {
            let peer = scope.spawn(|| answer(&peers, address, sizes, &stop));
            let burst_count = (DATAGRAM_COUNT / peer_count).max(1);
            let bursts = bursts(&server, &addresses, sizes, burst_count);
            stop.store(true, Ordering::Relaxed);
            let answered =
                peer.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
            answered.and(bursts)
        })
    })
}

fn bind(count: usize) -> std::io::Result<Vec<UdpSocket>> {
    let bind = |_| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (0..count).map(bind).collect()
}

/// The peer: answers every datagram until it is told to stop.
fn answer(
    peers: &[UdpSocket],
    server: SocketAddr,
    sizes: Sizes,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    pin_thread_to_core(1)?;
    let poller = Poller::new()?;
    for (at, peer) in peers.iter().enumerate() {
        poller.add(peer.as_fd(), at as u64, false)?;
    }
    let (answer, mut buffer, mut ready) =
        (vec![b'a'; sizes.answer_bytes], vec![0; 65_536], Vec::new());
    while !stop.load(Ordering::Relaxed) {
        poller.wait(Duration::from_millis(20), &mut ready)?;
        for one in ready.drain(..) {
            let peer = &peers[one.token as usize];
            if peer.recv(&mut buffer).is_ok() {
                peer.send_to(&answer, server)?;
            }
        }
    }
    Ok(())
}

fn bursts(
    server: &BatchSocket,
    peers: &[SocketAddr],
    sizes: Sizes,
    burst_count: usize,
) -> std::io::Result<RawCost> {
    let notify = vec![b'n'; sizes.notify_bytes];
    let mut batch = ReceiveBatch::new(BATCH, 65_536);
    let (mut sending, mut receiving, mut answered_count) = (Duration::ZERO, Duration::ZERO, 0);
    for _ in 0..burst_count {
        std::thread::sleep(REST);
        let mut batches = peers.chunks(BATCH);
        let (begun, mut open_count) = (Instant::now(), peers.len());
        while open_count > 0 && begun.elapsed() < PATIENCE {
            let before = thread_cpu_time();
            let is_sending = match batches.next() {
                Some(peers) => {
                    let datagrams: Vec<_> =
                        peers.iter().map(|peer| Datagram::new(*peer, &notify)).collect();
                    server.send(&datagrams);
                    true
                }
                None => false,
            };
            let sent = thread_cpu_time();
            let received_count = server.receive(&mut batch)?;
            if received_count == 0 && !is_sending {
                std::thread::sleep(GATHER_FOR);
            }
            sending += sent - before;
            receiving += thread_cpu_time() - sent;
            open_count = open_count.saturating_sub(received_count);
            answered_count += received_count;
        }
    }
    if answered_count == 0 {
        return Err(std::io::Error::other("nothing was answered"));
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / answered_count as f64;
    Ok(RawCost { sizes, send_us: each(sending), receive_us: each(receiving) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::TYPICAL;

    #[test]
    fn bursts_are_answered_and_cost_something() {
        if lampfield_net::sys::core_count() < 2 {
            return;
        }
        let cost = measure(TYPICAL, 200).expect("measured");
        assert!(cost.send_us > 0.2 && cost.receive_us > 0.05, "{cost:?}");
        assert!(cost.total_us() < 1_000.0, "{cost:?}");
    }
}
