//! Was it the target, or was it us? The evidence, and the refusal to claim a number.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::{MILLISECOND, nanos};
use crate::measure::Times;

/// A generator thread that uses more of its core than this has no room to be punctual.
const CPU_SHARE_MAX: f64 = 0.95;

/// What a run says about the generator itself.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// Lateness of changes, caused by us.
    pub lateness: &'a Times,
    /// How long each NOTIFY waited for our answer.
    pub wait: &'a Times,
    /// CPU share of the busiest generator thread in the change phase.
    pub cpu_share_max: f64,
    /// Datagrams the kernel dropped because our sockets were full.
    pub kernel_dropped_count: u64,
    /// Datagrams our sockets did not take.
    pub send_dropped_count: u64,
    /// Lateness that is tolerated.
    pub lateness_max: Duration,
}

/// Why the run says nothing about the target; empty if it does.
pub fn objections(evidence: &Evidence<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    let limit_ns = nanos(evidence.lateness_max);
    let limit_ms = limit_ns as f64 / MILLISECOND as f64;
    for (times, what) in
        [(evidence.lateness, "changes left late"), (evidence.wait, "NOTIFYs were answered late")]
    {
        let p99_ns = times.at_quantile_ns(0.99);
        if times.count() > 0 && p99_ns > limit_ns {
            let p99_ms = p99_ns as f64 / MILLISECOND as f64;
            reasons.push(format!("{what}: p99 {p99_ms:.3} ms, tolerated {limit_ms:.3} ms"));
        }
    }
    if evidence.cpu_share_max > CPU_SHARE_MAX {
        let percent = evidence.cpu_share_max * 100.0;
        reasons.push(format!("a generator thread used {percent:.0} % of its core"));
    }
    if evidence.kernel_dropped_count > 0 {
        let count = evidence.kernel_dropped_count;
        reasons.push(format!("the kernel dropped {count} datagrams at our full sockets"));
    }
    if evidence.send_dropped_count > 0 {
        let count = evidence.send_dropped_count;
        reasons.push(format!("{count} of our datagrams did not leave"));
    }
    reasons
}

/// Datagrams the kernel has dropped at these sockets since they were opened.
pub fn kernel_dropped_count(locals: &[SocketAddr]) -> u64 {
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|table| dropped_in(&table, locals))
        .sum()
}

/// Sums the last column over the rows of our sockets. A row reads
/// `sl local_address rem_address ... drops`, the address as `HEX:PORT`.
fn dropped_in(table: &str, locals: &[SocketAddr]) -> u64 {
    let names: std::collections::HashSet<String> = locals.iter().map(kernel_name).collect();
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let ours = names.contains(words.nth(1)?);
        ours.then(|| words.last()?.parse::<u64>().ok()).flatten()
    });
    rows.sum()
}

/// The address as the kernel prints it: 32-bit words in host order, port in hex.
fn kernel_name(address: &SocketAddr) -> String {
    let port = address.port();
    match address {
        SocketAddr::V4(v4) => format!("{:08X}:{port:04X}", u32::from_ne_bytes(v4.ip().octets())),
        SocketAddr::V6(v6) => {
            let words = v6.ip().octets();
            let words = words.chunks_exact(4).map(|word| {
                let word = [word[0], word[1], word[2], word[3]];
                format!("{:08X}", u32::from_ne_bytes(word))
            });
            format!("{}:{port:04X}", words.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ms: &[u64]) -> Times {
        let mut times = Times::default();
        ms.iter().for_each(|ms| times.record(ms * MILLISECOND));
        times
    }

    #[test]
    fn each_kind_of_evidence_objects_by_itself() {
        let (good, late) = (times(&[1; 100]), times(&[20; 100]));
        let honest = Evidence {
            lateness: &good,
            wait: &good,
            cpu_share_max: 0.5,
            kernel_dropped_count: 0,
            send_dropped_count: 0,
            lateness_max: Duration::from_millis(5),
        };
        assert_eq!(objections(&honest), Vec::<String>::new());
        for (evidence, want) in [
            (Evidence { lateness: &late, ..honest.clone() }, "changes left late: p99 20.0"),
            (Evidence { wait: &late, ..honest.clone() }, "NOTIFYs were answered late"),
            (Evidence { cpu_share_max: 0.96, ..honest.clone() }, "96 % of its core"),
            (Evidence { kernel_dropped_count: 3, ..honest.clone() }, "dropped 3 datagrams"),
            (Evidence { send_dropped_count: 2, ..honest.clone() }, "2 of our datagrams"),
        ] {
            let reasons = objections(&evidence);
            assert!(reasons.len() == 1 && reasons[0].contains(want), "{want}: {reasons:?}");
        }
    }

    #[test]
    fn drops_are_read_for_our_sockets_only() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt \
            uid  timeout inode ref pointer drops\n\
            1: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 3 7\n\
            2: 0100007F:13C5 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 3 9\n";
        let ours = ["127.0.0.1:5060".parse().expect("an address")];
        assert_eq!(dropped_in(table, &ours), 7);
        let v6 = "[::1]:5060".parse().expect("an address");
        assert_eq!(kernel_name(&v6), "00000000000000000000000001000000:13C4");
    }

    #[test]
    fn a_full_socket_is_seen() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let local = receiver.local_addr().expect("bound");
        assert_eq!(kernel_dropped_count(&[local]), 0);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for _ in 0..20_000 {
            sender.send_to(&[0; 1000], local).expect("sent");
        }
        assert!(kernel_dropped_count(&[local]) > 0);
    }
}
