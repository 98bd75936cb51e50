//! A non-blocking UDP socket, read and written in batches.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_void, socklen_t};

use super::address::RawAddress;
use super::control::UDP_GRO;
use super::send::{Kernel, SendCounts};
use super::train::{Trains, UDP_SEGMENT, send_train};
use super::{Datagram, ReceiveBatch};
use super::{check, send, steer};

/// How a [`BatchSocket`] is set up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SocketOptions {
    /// Let several sockets share the address; the kernel spreads peers over them.
    pub reuse_port: bool,
    /// Receive buffer to ask for; 0 keeps the system's default.
    pub receive_buffer_bytes: usize,
    /// Send buffer to ask for; 0 keeps the system's default.
    pub send_buffer_bytes: usize,
    /// Take trains of datagrams of one peer as one message (`UDP_GRO`). Read it with a
    /// [`ReceiveBatch`] of 64 KiB buffers, which splits them again.
    pub gro: bool,
    /// Learn the local address of every datagram: needed when bound to a wildcard address.
    pub local_address: bool,
    /// Learn when the kernel got every datagram, however late it is read (`SO_TIMESTAMPNS`).
    pub arrival_time: bool,
    /// Let datagrams of one length to one peer leave as trains where the kernel can
    /// (`UDP_SEGMENT`).
    pub trains: bool,
    /// Spare every IPv4 datagram the search for an identification, which is for its fragments
    /// (RFC 6864 section 4.1), unless it is too long for its path and must have some.
    pub rarely_fragment: bool,
}

/// A non-blocking UDP socket, IPv4 or IPv6 (never both), for batches of datagrams.
///
/// It may move between threads but is used by one at a time.
#[derive(Debug)]
pub struct BatchSocket {
    fd: OwnedFd,
    local: SocketAddr,
    rarely_fragments: bool,
    trains: RefCell<Trains>,
    counts: Cell<SendCounts>,
}

impl BatchSocket {
    /// Opens a socket bound to `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The kernel's refusal; a refused buffer size or `UDP_GRO` is not one (see
    /// [`BatchSocket::receive_buffer_bytes`]).
    pub fn bind(address: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are involved.
        let fd = check(unsafe { libc::socket(family, kind, 0) })?;
        // SAFETY: `fd` is a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if address.is_ipv6() {
            set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        if options.reuse_port {
            set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if options.receive_buffer_bytes > 0 {
            let (force, plain) = (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF);
            enlarge_buffer(&fd, force, plain, options.receive_buffer_bytes);
        }
        if options.send_buffer_bytes > 0 {
            let (force, plain) = (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF);
            enlarge_buffer(&fd, force, plain, options.send_buffer_bytes);
        }
        if options.gro {
            // An old kernel without it delivers every datagram by itself, which is right as well.
            let _ = set_option(&fd, libc::SOL_UDP, UDP_GRO, 1);
        }
        if options.local_address {
            let (level, name) = match address {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            };
            set_option(&fd, level, name, 1)?;
        }
        if options.arrival_time {
            set_option(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        }
        let rarely_fragments =
            options.rarely_fragment && address.is_ipv4() && may_fragment(&fd, false).is_ok();
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        let (raw, length) = RawAddress::encode(address);
        // SAFETY: `raw` is a valid address of `length` bytes that outlives the call.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), length) })?;
        let local = local_addr(fd.as_fd())?;
        // An old kernel does not know the option.
        let trains = options.trains && get_option(&fd, libc::SOL_UDP, UDP_SEGMENT).is_ok();
        let (trains, counts) = (RefCell::new(Trains::new(trains)), Cell::default());
        Ok(Self { fd, local, rarely_fragments, trains, counts })
    }

    /// The address the socket is bound to, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address on our side as the peer of a received datagram sees it: for a socket bound to a
    /// wildcard address the one the datagram was sent to (`received_on`), else the bound one.
    pub fn local_addr_seen(&self, received_on: Option<(IpAddr, u32)>) -> SocketAddr {
        match received_on {
            Some((ip, scope)) if self.local.ip().is_unspecified() => match ip {
                IpAddr::V4(_) => SocketAddr::new(ip, self.local.port()),
                IpAddr::V6(v6) => {
                    std::net::SocketAddrV6::new(v6, self.local.port(), 0, scope).into()
                }
            },
            _ => self.local,
        }
    }

    /// Bytes of the receive buffer the kernel really gave, in its own counting: half is usable for
    /// payload at best.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn receive_buffer_bytes(&self) -> io::Result<usize> {
        let bytes = get_option(&self.fd, libc::SOL_SOCKET, libc::SO_RCVBUF)?;
        Ok(usize::try_from(bytes).unwrap_or(0))
    }

    /// Lets the kernel put answers and requests within dialogs into the socket of their shard, for
    /// all sockets that share this address. They must have been bound in the order of the shards,
    /// `socket_count` of them. `shown_as` is the address that our Via names; a wildcard stands for
    /// any. Datagrams that cannot be steered are spread as before.
    ///
    /// # Errors
    ///
    /// The kernel's refusal: nothing is steered then.
    pub fn steer(&self, shown_as: SocketAddr, socket_count: u8) -> io::Result<()> {
        steer::attach(&self.fd, shown_as, socket_count)
    }

    /// Reads what has arrived, at most one batch, without waiting. Returns the number of messages
    /// read (0: nothing there); the datagrams are then in `batch`.
    ///
    /// # Errors
    ///
    /// The kernel's refusal. An error reported for an earlier send (`ECONNREFUSED`) is not one.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.receive(self.fd.as_raw_fd())
    }

    /// Sends datagrams from the front of `batch` without waiting and returns how many are done
    /// with: sent, or refused by the kernel for good and counted. Fewer than all means that the
    /// socket's buffer is full: keep the rest and call again when the socket is writable.
    pub fn send(&self, batch: &[Datagram<'_>]) -> usize {
        let mut counts = self.counts.get();
        let done = send::send_batch(batch, &mut self.trains.borrow_mut(), &mut counts, self);
        self.counts.set(counts);
        done
    }

    /// Sends the first of `chunk` in fragments.
    fn send_long(&self, chunk: &[Datagram<'_>]) -> io::Result<usize> {
        may_fragment(&self.fd, true)?;
        let result = send::send_some(self.fd.as_raw_fd(), &chunk[..1]);
        // Refused only for a value the kernel does not know, and it took this one before.
        let _ = may_fragment(&self.fd, false);
        result
    }

    /// What became of everything sent so far.
    pub fn send_counts(&self) -> SendCounts {
        self.counts.get()
    }

    /// Peers that get single datagrams now because a train was refused.
    pub fn trainless_count(&self) -> u64 {
        self.trains.borrow().refusal_count()
    }
}

impl Kernel for BatchSocket {
    fn send_some(&self, chunk: &[Datagram<'_>]) -> io::Result<usize> {
        match send::send_some(self.as_raw_fd(), chunk) {
            Err(error) if self.rarely_fragments && is_too_long(&error) => self.send_long(chunk),
            result => result,
        }
    }

    fn send_train(&self, train: &[Datagram<'_>]) -> io::Result<()> {
        send_train(self.as_raw_fd(), train)
    }
}

impl AsFd for BatchSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for BatchSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The address a socket is bound to.
pub(crate) fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut raw = RawAddress::empty();
    let mut length: socklen_t = RawAddress::ROOM;
    // SAFETY: both pointers are valid for writes; the kernel writes at most `length` bytes.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut raw).cast(), &raw mut length) })?;
    raw.decode(length).ok_or_else(|| io::Error::other("the socket is neither IPv4 nor IPv6"))
}

/// Sets an integer socket option.
pub(crate) fn set_option(
    fd: &impl AsRawFd,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let length = size_of::<c_int>() as socklen_t;
    let value: *const c_void = (&raw const value).cast();
    // SAFETY: `value` points to an int that lives through the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, length) }).map(|_| ())
}

/// Reads an integer socket option.
pub(crate) fn get_option(fd: &impl AsRawFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    let into: *mut c_void = (&raw mut value).cast();
    // SAFETY: `into` has room for an int, which is what `length` says.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, into, &raw mut length) })?;
    Ok(value)
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// Lets the kernel send fragments of what is too long for its path, as it does by default, or
/// refuse it. An identification is spared only when it must not (`ip_select_ident`).
fn may_fragment(fd: &OwnedFd, may: bool) -> io::Result<()> {
    let how = if may { libc::IP_PMTUDISC_WANT } else { libc::IP_PMTUDISC_DO };
    set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, how)
}

/// Asks for a larger buffer, past the system's limit if allowed, and takes what it gets.
fn enlarge_buffer(fd: &OwnedFd, force: c_int, plain: c_int, bytes: usize) {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    if set_option(fd, libc::SOL_SOCKET, force, bytes).is_err() {
        let _ = set_option(fd, libc::SOL_SOCKET, plain, bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::wait_readable;

    fn bind(address: &str, options: SocketOptions) -> BatchSocket {
        let address: SocketAddr = address.parse().expect(address);
        BatchSocket::bind(address, &options).expect("a loopback socket")
    }

    /// Reads until `count` datagrams have come: (peer, local address seen, bytes).
    fn read(
        socket: &BatchSocket,
        batch: &mut ReceiveBatch,
        count: usize,
    ) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        while all.len() < count {
            let ready = wait_readable(socket.as_fd(), Duration::from_secs(5)).expect("poll");
            assert!(ready, "only {} of {count} datagrams came", all.len());
            socket.receive(batch).expect("recvmmsg");
            all.extend(batch.datagrams().map(|datagram| {
                let local = socket.local_addr_seen(datagram.local);
                (datagram.peer, local, datagram.bytes.to_vec())
            }));
        }
        assert_eq!(socket.receive(batch).expect("recvmmsg"), 0, "more than {count} came");
        all
    }

    #[test]
    fn a_batch_arrives_whole_and_in_order_over_both_families() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let options = SocketOptions { receive_buffer_bytes: 1 << 20, ..Default::default() };
            let (from, to) = (bind(loopback, options), bind(loopback, options));
            let texts: Vec<Vec<u8>> = (0..200).map(|n| vec![b'a'; n]).collect();
            let batch: Vec<_> =
                texts.iter().map(|text| Datagram::new(to.local_addr(), text)).collect();
            assert_eq!(from.send(&batch), 200);
            let mut into = ReceiveBatch::new(64, 2048);
            let got = read(&to, &mut into, 200);
            for (n, (peer, local, bytes)) in got.iter().enumerate() {
                assert_eq!((*peer, *local), (from.local_addr(), to.local_addr()));
                assert_eq!(bytes.len(), n);
            }
            assert_eq!(from.send_counts().sent_count, 200);
            assert_eq!(into.counts().message_count, 200);
        }
    }

    #[test]
    fn a_train_is_split_by_its_segment_size() {
        for (from, to) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
            let options = SocketOptions { gro: true, local_address: true, ..Default::default() };
            let (from, to) = (bind(from, SocketOptions::default()), bind(to, options));
            set_option(&from, libc::SOL_UDP, UDP_SEGMENT, 900).expect("UDP_SEGMENT");
            let train: Vec<u8> = (0..9100_u32).map(|n| (n / 900) as u8).collect();
            from.send(&[Datagram::new(to.local_addr(), &train)]);
            let mut into = ReceiveBatch::new(8, 65_536);
            let got = read(&to, &mut into, 11);
            assert_eq!(into.counts().message_count, 1, "the kernel kept the train together");
            for (n, (_, _, bytes)) in got.iter().enumerate() {
                assert_eq!(bytes.len(), if n == 10 { 100 } else { 900 });
                assert!(bytes.iter().all(|&byte| usize::from(byte) == n), "segment {n} is mixed");
            }
        }
    }

    /// Trains over loopback: equal ones, a short end, what fits no train, too many for one, and from
    /// a wildcard socket.
    #[test]
    fn what_can_be_a_train_leaves_as_one_and_arrives_in_order() {
        let mixed: Vec<usize> = (0..40).map(|n| 500 + n % 7).collect();
        for (lengths, train_count, message_count) in [
            (vec![900; 60], 1, 1),
            ([vec![900; 10], vec![100]].concat(), 1, 1),
            (vec![400; 300], 3, 3),
            (vec![1_400; 100], 3, 3),
            (vec![30_000, 30_000, 30_000, 20_000], 2, 2),
            ([vec![100, 700, 200, 900], vec![300; 20], vec![901]].concat(), 2, 5),
            (mixed, 5, 35),
        ] {
            for (any, local, other) in [
                ("127.0.0.1:0", "127.0.0.1", "127.0.0.1:0"),
                ("0.0.0.0:0", "127.0.0.3", "127.0.0.1:0"),
                ("[::]:0", "::1", "[::1]:0"),
            ] {
                let options = SocketOptions {
                    trains: true,
                    local_address: true,
                    rarely_fragment: true,
                    ..Default::default()
                };
                let receiving = SocketOptions {
                    gro: true,
                    receive_buffer_bytes: 4 << 20,
                    ..Default::default()
                };
                let (from, to) = (bind(any, options), bind(other, receiving));
                let local = SocketAddr::new(local.parse().expect(local), from.local_addr().port());
                let texts: Vec<Vec<u8>> =
                    lengths.iter().enumerate().map(|(n, len)| vec![n as u8; *len]).collect();
                let batch: Vec<_> = texts
                    .iter()
                    .map(|text| Datagram::new(to.local_addr(), text).from_local(local))
                    .collect();
                assert_eq!(from.send(&batch), lengths.len());
                let mut into = ReceiveBatch::new(64, 65_536);
                let got = read(&to, &mut into, lengths.len());
                for ((peer, _, bytes), text) in got.iter().zip(&texts) {
                    assert_eq!((*peer, bytes), (local, text));
                }
                let counts = from.send_counts();
                assert_eq!(counts.sent_count, lengths.len() as u64);
                assert_eq!((counts.train_count, counts.dropped_count()), (train_count, 0));
                assert_eq!(into.counts().message_count, message_count, "{lengths:?}");
            }
        }
    }

    #[test]
    fn the_time_of_arrival_is_not_that_of_reading() {
        use std::time::SystemTime;
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let options = SocketOptions { arrival_time: true, gro: true, ..Default::default() };
            let (from, to) = (bind(loopback, SocketOptions::default()), bind(loopback, options));
            let mut into = ReceiveBatch::new(8, 65_536);
            // The first asker switches the kernel's stamps on, which takes a moment.
            std::thread::sleep(Duration::from_millis(20));
            from.send(&[Datagram::new(to.local_addr(), b"first")]);
            read(&to, &mut into, 1);
            let before = SystemTime::now();
            from.send(&[Datagram::new(to.local_addr(), b"early")]);
            let after = SystemTime::now();
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(to.receive(&mut into).expect("recvmmsg"), 1);
            let arrived = into.datagrams().next().and_then(|datagram| datagram.arrived);
            let arrived = arrived.expect("a time");
            assert!(before <= arrived && arrived <= after, "{before:?} {arrived:?} {after:?}");
            to.send(&[Datagram::new(from.local_addr(), b"untimed")]);
            assert!(wait_readable(from.as_fd(), Duration::from_secs(5)).expect("poll"));
            from.receive(&mut into).expect("recvmmsg");
            assert_eq!(into.datagrams().next().map(|datagram| datagram.arrived), Some(None));
        }
    }

    #[test]
    fn a_wildcard_socket_learns_the_local_address_and_answers_from_it() {
        for (any, local, other) in
            [("0.0.0.0:0", "127.0.0.3", "127.0.0.1:0"), ("[::]:0", "::1", "[::1]:0")]
        {
            let options = SocketOptions { local_address: true, ..Default::default() };
            let (server, client) = (bind(any, options), bind(other, SocketOptions::default()));
            let target = SocketAddr::new(local.parse().expect(local), server.local_addr().port());
            client.send(&[Datagram::new(target, b"question")]);
            let mut into = ReceiveBatch::new(8, 2048);
            let (peer, seen, _) = read(&server, &mut into, 1).remove(0);
            assert_eq!(seen, target);
            assert_eq!(server.send(&[Datagram::new(peer, b"answer").from_local(seen)]), 1);
            let (answered_by, _, bytes) = read(&client, &mut into, 1).remove(0);
            assert_eq!((answered_by, &bytes[..]), (target, &b"answer"[..]));
        }
    }

    #[test]
    fn what_cannot_be_sent_or_read_is_counted_and_the_rest_goes_on() {
        let (from, to) = (
            bind("127.0.0.1:0", SocketOptions::default()),
            bind("127.0.0.1:0", SocketOptions::default()),
        );
        let (long, peer) = (vec![0; 70_000], to.local_addr());
        let other_family = "[::1]:9".parse().expect("an address");
        let batch = [
            Datagram::new(peer, b"first"),
            Datagram::new(peer, &long),
            Datagram::new(other_family, b"no"),
            Datagram::new(peer, b"much too long to be read"),
            Datagram::new(peer, b"last"),
        ];
        assert_eq!(from.send(&batch), 5);
        let counts = from.send_counts();
        assert_eq!((counts.sent_count, counts.too_long_count, counts.invalid_count), (3, 1, 1));
        let mut into = ReceiveBatch::new(8, 10);
        let got: Vec<_> = read(&to, &mut into, 2).into_iter().map(|(_, _, bytes)| bytes).collect();
        assert_eq!(got, [b"first".to_vec(), b"last".to_vec()]);
        assert_eq!(into.counts().truncated_count, 1);
    }

    /// Where the loopback's MTU is small, the long ones leave in fragments.
    #[test]
    fn a_socket_that_rarely_fragments_sends_long_datagrams_all_the_same() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let options = SocketOptions { rarely_fragment: true, ..Default::default() };
            let (from, to) = (bind(loopback, options), bind(loopback, SocketOptions::default()));
            let lengths = [900, 9_000, 900, 30_000, 70_000, 900];
            let texts = lengths.map(|length| vec![b'a'; length]);
            let batch =
                texts.each_ref().map(|text| Datagram::new(to.local_addr(), text.as_slice()));
            assert_eq!(from.send(&batch), 6);
            assert_eq!((from.send_counts().sent_count, from.send_counts().too_long_count), (5, 1));
            let got = read(&to, &mut ReceiveBatch::new(8, 65_536), 5);
            let got: Vec<_> = got.iter().map(|(_, _, bytes)| bytes.len()).collect();
            assert_eq!(got, [900, 9_000, 900, 30_000, 900]);
        }
    }

    #[test]
    fn datagrams_the_kernel_dropped_are_counted() {
        let options = SocketOptions { receive_buffer_bytes: 4096, ..Default::default() };
        let (from, to) =
            (bind("127.0.0.1:0", SocketOptions::default()), bind("127.0.0.1:0", options));
        let flood = [Datagram::new(to.local_addr(), &[0; 500]); 100];
        assert_eq!(from.send(&flood), 100);
        let mut into = ReceiveBatch::new(64, 2048);
        let kept = to.receive(&mut into).expect("recvmmsg");
        assert!((1..100).contains(&kept), "{kept} of 100 fit into 4 KiB");
        from.send(&flood[..1]);
        read(&to, &mut into, 1);
        assert_eq!(into.counts().dropped_count, 100 - kept as u64);
    }

    #[test]
    fn sockets_share_a_port_only_when_asked() {
        let shared = SocketOptions { reuse_port: true, ..Default::default() };
        let first = bind("127.0.0.1:0", shared);
        BatchSocket::bind(first.local_addr(), &shared).expect("a second socket on the port");
        let alone = BatchSocket::bind(first.local_addr(), &SocketOptions::default());
        assert_eq!(alone.map(|_| ()).map_err(|e| e.kind()), Err(io::ErrorKind::AddrInUse));
    }
}
