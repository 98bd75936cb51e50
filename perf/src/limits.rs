//! Limits of the machine: bare system calls of NOTIFYs and answers between two sockets, in the ways
//! there are. No server can be cheaper than the way it uses.
//!
//! As in `raw.rs` one thread plays both sides, and only the server's side is timed.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use lampfield_net::sys::{BatchSocket, Datagram, ReceiveBatch, SocketOptions, thread_cpu_time};
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;

use crate::raw::on_core_0;
use crate::sizes::Sizes;

/// Datagrams per round: a train's length, and less than a receive buffer holds singly.
const ROUND: usize = 60;

/// Rounds of each way.
const ROUND_COUNT: usize = 2_000;

/// Buffer of a socket, to hold a round.
const BUFFER_BYTES: usize = 4 << 20;

/// Microseconds of CPU per NOTIFY and answer, one edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Limits {
    pub(crate) notify_bytes: usize,
    pub(crate) answer_bytes: usize,
    /// `sendto`, `recvfrom`.
    pub(crate) plain_us: f64,
    /// `sendmmsg`, `recvmmsg`.
    pub(crate) batched_us: f64,
    /// Trains out (UDP_SEGMENT), the peer reads and answers singly.
    pub(crate) train_to_plain_us: f64,
    /// Trains out, the peer reads trains (UDP_GRO) and answers in trains, read as such.
    pub(crate) train_to_train_us: f64,
}

/// Measures every way.
pub(crate) fn measure(sizes: Sizes) -> anyhow::Result<Limits> {
    let sizes = sizes.check()?;
    anyhow::ensure!(sizes.notify_bytes * ROUND <= 65_000, "{sizes:?}: a round is no train");
    on_core_0(move || {
        Ok(Limits {
            notify_bytes: sizes.notify_bytes,
            answer_bytes: sizes.answer_bytes,
            plain_us: plain(sizes)?,
            batched_us: batched(sizes)?,
            train_to_plain_us: trains(sizes, false)?,
            train_to_train_us: trains(sizes, true)?,
        })
    })
}

/// Lines for people.
pub(crate) fn describe(limits: &Limits) -> String {
    let Limits { plain_us, batched_us, train_to_plain_us, train_to_train_us, .. } = limits;
    let ratio = |us: &f64| plain_us / us;
    format!(
        "bare system calls, one edge, {} B out and {} B in, us of CPU: sendto + recvfrom {plain_us:.2}; \
         sendmmsg + recvmmsg {batched_us:.2} = 1/{:.1}; trains to a plain peer {train_to_plain_us:.2} = \
         1/{:.1}; trains both ways {train_to_train_us:.2} = 1/{:.1}",
        limits.notify_bytes,
        limits.answer_bytes,
        ratio(batched_us),
        ratio(train_to_plain_us),
        ratio(train_to_train_us),
    )
}

fn plain(sizes: Sizes) -> std::io::Result<f64> {
    let (server, peer) = pair()?;
    let to = peer.local_addr()?;
    let (notify, mut buffer) = (vec![b'n'; sizes.notify_bytes], vec![0; 65_536]);
    rounds(|answer| {
        let begun = thread_cpu_time();
        (0..ROUND).try_for_each(|_| server.send_to(&notify, to).map(|_| ()))?;
        let sent = thread_cpu_time() - begun;
        answer_singly(&peer, server.local_addr()?, sizes, answer)?;
        let begun = thread_cpu_time();
        (0..ROUND).try_for_each(|_| server.recv_from(&mut buffer).map(|_| ()))?;
        Ok(sent + (thread_cpu_time() - begun))
    })
}

fn batched(sizes: Sizes) -> std::io::Result<f64> {
    let options = SocketOptions { gro: true, rarely_fragment: true, ..Default::default() };
    let server = BatchSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &options)?;
    let (_, peer) = pair()?;
    let to = peer.local_addr()?;
    let (notify, mut batch) = (vec![b'n'; sizes.notify_bytes], ReceiveBatch::new(ROUND, 65_536));
    rounds(|answer| {
        let begun = thread_cpu_time();
        let datagrams: Vec<_> = (0..ROUND).map(|_| Datagram::new(to, &notify)).collect();
        server.send(&datagrams);
        let sent = thread_cpu_time() - begun;
        answer_singly(&peer, server.local_addr(), sizes, answer)?;
        let begun = thread_cpu_time();
        server.receive(&mut batch)?;
        Ok(sent + (thread_cpu_time() - begun))
    })
}

/// One `sendto` of a train whose datagrams the kernel cuts; the server copies each NOTIFY into it.
fn trains(sizes: Sizes, both_ways: bool) -> std::io::Result<f64> {
    let (server, peer) = pair()?;
    let (from, to) = (server.local_addr()?, peer.local_addr()?);
    setsockopt(&server, sockopt::UdpGsoSegment, &(sizes.notify_bytes as i32))?;
    setsockopt(&server, sockopt::UdpGroSegment, &true)?;
    if both_ways {
        setsockopt(&peer, sockopt::UdpGsoSegment, &(sizes.answer_bytes as i32))?;
        setsockopt(&peer, sockopt::UdpGroSegment, &true)?;
    }
    let (notify, mut train) = (vec![b'n'; sizes.notify_bytes], Vec::with_capacity(65_536));
    let answers = vec![b'a'; sizes.answer_bytes * ROUND];
    let mut buffer = vec![0; 65_536];
    rounds(|answer| {
        let begun = thread_cpu_time();
        train.clear();
        (0..ROUND).for_each(|_| train.extend_from_slice(&notify));
        server.send_to(&train, to)?;
        let sent = thread_cpu_time() - begun;
        if both_ways {
            read(&peer, sizes.notify_bytes * ROUND, &mut buffer)?;
            peer.send_to(&answers, from)?;
        } else {
            answer_singly(&peer, from, sizes, answer)?;
        }
        let begun = thread_cpu_time();
        read(&server, answers.len(), &mut buffer)?;
        Ok(sent + (thread_cpu_time() - begun))
    })
}

/// Reads until `want` bytes have come, singly or in trains.
fn read(socket: &UdpSocket, want: usize, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut got = 0;
    while got < want {
        got += socket.recv_from(buffer)?.0;
    }
    Ok(())
}

fn answer_singly(
    peer: &UdpSocket,
    server: SocketAddr,
    sizes: Sizes,
    buffer: &mut [u8],
) -> std::io::Result<()> {
    for _ in 0..ROUND {
        peer.recv_from(buffer)?;
        peer.send_to(&buffer[..sizes.answer_bytes], server)?;
    }
    Ok(())
}

/// Two sockets with room for a round.
fn pair() -> std::io::Result<(UdpSocket, UdpSocket)> {
    let bind = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES)?;
        Ok::<_, std::io::Error>(socket)
    };
    Ok((bind()?, bind()?))
}

/// Median time of a round, per NOTIFY.
fn rounds(mut round: impl FnMut(&mut [u8]) -> std::io::Result<Duration>) -> std::io::Result<f64> {
    let mut buffer = vec![b'a'; 65_536];
    let mut times = Vec::with_capacity(ROUND_COUNT);
    for _ in 0..ROUND_COUNT {
        times.push(round(&mut buffer)?);
    }
    times.sort_unstable();
    let median = times.get(ROUND_COUNT / 2).copied().unwrap_or_default();
    Ok(median.as_secs_f64() * 1e6 / ROUND as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::TYPICAL;

    #[test]
    fn trains_are_the_cheapest_way() {
        let limits = measure(TYPICAL).expect("measured");
        assert!(limits.train_to_train_us > 0.0, "{limits:?}");
        assert!(limits.train_to_train_us < limits.plain_us, "{limits:?}");
        assert!(limits.train_to_plain_us < limits.plain_us, "{limits:?}");
    }
}
