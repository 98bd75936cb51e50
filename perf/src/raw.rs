//! The bare system calls: what one datagram out and one in cost on core 0 without any program.
//!
//! One thread plays both sides, so nobody is woken: NOTIFY-sized datagrams to sockets of their own
//! (timed), their answers (not timed), reading these (timed). Medians over many rounds, CPU time of
//! the thread, with few sockets, all of it in the caches. `beside.rs` is the way of a shard.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use lampfield_net::sys::{pin_thread_to_core, thread_cpu_time};
use serde::Serialize;

use crate::sizes::Sizes;

/// Sizes for when no server was asked.
pub(crate) const TYPICAL: Sizes = Sizes { notify_bytes: 900, answer_bytes: 330 };

/// Sockets of the other side.
const PEER_COUNT: usize = 1024;

/// Datagrams per round; a default receive buffer holds some 90.
const ROUND: usize = 64;

/// Rounds.
const ROUND_COUNT: usize = 400;

/// Microseconds of CPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct RawCost {
    pub(crate) sizes: Sizes,
    pub(crate) send_us: f64,
    pub(crate) receive_us: f64,
}

impl RawCost {
    /// Of one NOTIFY and its answer.
    pub(crate) fn total_us(&self) -> f64 {
        self.send_us + self.receive_us
    }
}

/// One line for people.
pub(crate) fn describe(cost: &RawCost) -> String {
    let Sizes { notify_bytes, answer_bytes } = cost.sizes;
    format!(
        "raw: sendto {notify_bytes} B {:.2} us + recvfrom {answer_bytes} B {:.2} us = {:.2} us",
        cost.send_us,
        cost.receive_us,
        cost.total_us()
    )
}

/// Measures `sendto` and `recvfrom` in a thread of its own, on core 0.
pub(crate) fn measure(sizes: Sizes) -> anyhow::Result<RawCost> {
    let sizes = sizes.check()?;
    on_core_0(move || {
        let server = UdpSocket::bind("127.0.0.1:0")?;
        let (notify, mut buffer) = (vec![b'n'; sizes.notify_bytes], vec![0; 65_536]);
        rounds(sizes, server.local_addr()?, |part| match part {
            Part::Send(peers) => {
                peers.iter().try_for_each(|peer| server.send_to(&notify, peer.1).map(|_| ()))
            }
            Part::Receive => (0..ROUND).try_for_each(|_| server.recv(&mut buffer).map(|_| ())),
        })
    })
}

/// The server's part of a round.
enum Part<'a> {
    Send(&'a [(UdpSocket, SocketAddr)]),
    Receive,
}

pub(crate) fn on_core_0<T: Send + 'static>(
    measure: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let thread = std::thread::spawn(move || {
        pin_thread_to_core(0)?;
        measure()
    });
    thread.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked"))).map_err(Into::into)
}

fn rounds(
    sizes: Sizes,
    server: SocketAddr,
    mut part: impl FnMut(Part<'_>) -> std::io::Result<()>,
) -> std::io::Result<RawCost> {
    let peers: Vec<(UdpSocket, _)> = (0..PEER_COUNT)
        .map(|_| {
            let peer = UdpSocket::bind("127.0.0.1:0")?;
            let address = peer.local_addr()?;
            Ok((peer, address))
        })
        .collect::<std::io::Result<_>>()?;
    let (answer, mut buffer) = (vec![b'a'; sizes.answer_bytes], vec![0; 65_536]);
    let (mut sends, mut receives) = (Vec::new(), Vec::new());
    for peers in peers.chunks_exact(ROUND).cycle().take(ROUND_COUNT) {
        let begun = thread_cpu_time();
        part(Part::Send(peers))?;
        sends.push(thread_cpu_time() - begun);
        for (peer, _) in peers {
            peer.recv_from(&mut buffer)?;
            peer.send_to(&answer, server)?;
        }
        let begun = thread_cpu_time();
        part(Part::Receive)?;
        receives.push(thread_cpu_time() - begun);
    }
    Ok(RawCost { sizes, send_us: median_us(sends), receive_us: median_us(receives) })
}

fn median_us(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort_unstable();
    let median = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
    median.as_secs_f64() * 1e6 / ROUND as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_take_time_and_not_much() {
        let cost = measure(TYPICAL).expect("measured");
        assert!(cost.send_us > 0.2 && cost.receive_us > 0.05, "{cost:?}");
        assert!(cost.total_us() < 1_000.0, "{cost:?}");
    }
}
