//! Sending many datagrams, and what becomes of them.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::RawFd;

use libc::{c_int, c_uint, iovec, mmsghdr};

use super::address::RawAddress;
use super::control::{self, ControlRoom, ROOM_BYTES};
use super::train::{Refusal, Trains};

/// Datagrams per system call. Larger batches gain nothing (measured: the stack below costs far
/// more than the call), smaller ones keep the headers on the stack.
const CALL_MAX: usize = 32;

/// One datagram to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datagram<'a> {
    peer: SocketAddr,
    source: Option<(IpAddr, u32)>,
    bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// A datagram to `peer` from the address the socket is bound to.
    pub fn new(peer: SocketAddr, bytes: &'a [u8]) -> Self {
        Self { peer, source: None, bytes }
    }

    /// The same, sent from `local`: for sockets bound to a wildcard address, so that an answer
    /// leaves from the address the question came to.
    pub fn from_local(mut self, local: SocketAddr) -> Self {
        let interface = if let SocketAddr::V6(v6) = local { v6.scope_id() } else { 0 };
        self.source = Some((local.ip(), interface)).filter(|(ip, _)| !ip.is_unspecified());
        self
    }

    /// The address it leaves from, if one was named (port 0).
    pub fn source(&self) -> Option<SocketAddr> {
        self.source.map(|(ip, interface)| match ip {
            IpAddr::V4(_) => SocketAddr::new(ip, 0),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, 0, 0, interface).into(),
        })
    }

    /// The same, with its interface.
    pub(super) fn from(&self) -> Option<(IpAddr, u32)> {
        self.source
    }

    /// Where it goes.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What it says.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What became of datagrams given to a socket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SendCounts {
    /// Taken by the kernel.
    pub sent_count: u64,
    /// Trains among them, each taken with one call.
    pub train_count: u64,
    /// Datagrams that left in trains.
    pub train_datagram_count: u64,
    /// Trains refused because the path takes no such long segments (`EMSGSIZE`); they left singly,
    /// as do those of the next two.
    pub train_too_long_count: u64,
    /// Trains refused by the device (`EIO`).
    pub train_device_count: u64,
    /// Trains refused by kernel or device (`EINVAL`).
    pub train_invalid_count: u64,
    /// Times the socket's buffer was full (`EAGAIN`); nothing is lost by it.
    pub blocked_count: u64,
    /// Dropped: longer than the path allows (`EMSGSIZE`).
    pub too_long_count: u64,
    /// Dropped: not permitted, as by a firewall (`EPERM`, `EACCES`).
    pub not_permitted_count: u64,
    /// Dropped: the kernel had no memory or the device's queue was full (`ENOBUFS`, `ENOMEM`).
    pub no_buffer_count: u64,
    /// Dropped: no route, host or port (`ENETUNREACH`, `EHOSTUNREACH`, `ECONNREFUSED` twice).
    pub unreachable_count: u64,
    /// Dropped: anything else, as an address of the other family.
    pub invalid_count: u64,
}

impl SendCounts {
    /// Datagrams that did not leave, for whatever reason.
    pub fn dropped_count(&self) -> u64 {
        self.too_long_count
            + self.not_permitted_count
            + self.no_buffer_count
            + self.unreachable_count
            + self.invalid_count
    }

    fn refuse_train(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::TooLong => &mut self.train_too_long_count,
            Refusal::Device => &mut self.train_device_count,
            Refusal::Invalid => &mut self.train_invalid_count,
        };
        *counter += 1;
    }

    fn drop_one(&mut self, errno: c_int) {
        let counter = match errno {
            libc::EMSGSIZE => &mut self.too_long_count,
            libc::EPERM | libc::EACCES => &mut self.not_permitted_count,
            libc::ENOBUFS | libc::ENOMEM => &mut self.no_buffer_count,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ECONNREFUSED | libc::ENETDOWN => {
                &mut self.unreachable_count
            }
            _ => &mut self.invalid_count,
        };
        *counter += 1;
    }
}

/// What sends: a socket, or a test's idea of one.
pub(super) trait Kernel {
    /// As [`send_some`].
    fn send_some(&self, chunk: &[Datagram<'_>]) -> io::Result<usize>;
    /// As [`super::train::send_train`].
    fn send_train(&self, train: &[Datagram<'_>]) -> io::Result<()>;
}

/// Sends from the front; returns how many are done with.
pub(super) fn send_batch(
    batch: &[Datagram<'_>],
    trains: &mut Trains,
    counts: &mut SendCounts,
    kernel: &impl Kernel,
) -> usize {
    let mut done = 0;
    let mut refused_before = false;
    while done < batch.len() {
        let rest = &batch[done..];
        let length = trains.leading(rest);
        let is_train = length > 1;
        let result = if is_train {
            kernel.send_train(&rest[..length]).map(|()| length)
        } else {
            kernel.send_some(&rest[..trains.singles(rest, CALL_MAX)])
        };
        match result {
            Ok(sent) => {
                counts.sent_count += sent as u64;
                if is_train {
                    counts.train_count += 1;
                    counts.train_datagram_count += sent as u64;
                }
                done += sent;
                refused_before = false;
            }
            Err(error) => match error.raw_os_error().unwrap_or(0) {
                libc::EAGAIN => {
                    counts.blocked_count += 1;
                    break;
                }
                libc::EINTR => {}
                // Reports an earlier datagram, not this one: it has not been tried yet.
                libc::ECONNREFUSED if !refused_before => refused_before = true,
                errno => match Refusal::of(errno).filter(|_| is_train) {
                    // The same again, but singly or as a shorter train.
                    Some(refusal) => {
                        counts.refuse_train(refusal);
                        trains.refused(&rest[..length], refusal);
                    }
                    None => {
                        counts.drop_one(errno);
                        done += 1;
                        refused_before = false;
                    }
                },
            },
        }
    }
    done
}

/// One system call for at most [`CALL_MAX`] datagrams. An error is about the first one.
pub(super) fn send_some(fd: RawFd, chunk: &[Datagram<'_>]) -> io::Result<usize> {
    let mut addresses = [const { MaybeUninit::<RawAddress>::uninit() }; CALL_MAX];
    let mut controls = [const { MaybeUninit::<ControlRoom>::uninit() }; CALL_MAX];
    let mut iovecs = [const { MaybeUninit::<iovec>::uninit() }; CALL_MAX];
    let mut headers = [const { MaybeUninit::<mmsghdr>::uninit() }; CALL_MAX];
    for (at, datagram) in chunk.iter().enumerate() {
        let (address, address_bytes) = RawAddress::encode(datagram.peer);
        // SAFETY: integers and pointers only; all zeroes is valid.
        let mut header: mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_name = (addresses[at].write(address) as *mut RawAddress).cast();
        header.msg_hdr.msg_namelen = address_bytes;
        let vector = iovec {
            iov_base: datagram.bytes.as_ptr().cast_mut().cast(),
            iov_len: datagram.bytes.len(),
        };
        header.msg_hdr.msg_iov = iovecs[at].write(vector);
        header.msg_hdr.msg_iovlen = 1;
        if let Some((source, interface)) = datagram.source {
            let room = controls[at].write(ControlRoom([0; ROOM_BYTES]));
            header.msg_hdr.msg_controllen = control::write_source(room, source, interface) as _;
            header.msg_hdr.msg_control = room.0.as_mut_ptr().cast();
        }
        headers[at].write(header);
    }
    // SAFETY: the first `chunk.len()` headers are initialised and point to arrays of this frame
    // and to the caller's bytes, which the kernel only reads.
    let sent = unsafe {
        libc::sendmmsg(
            fd,
            headers.as_mut_ptr().cast::<mmsghdr>(),
            chunk.len() as c_uint,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    super::check(sent).map(|sent| sent as usize)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A kernel that answers each call as the script says: `Ok(n)` takes up to n, `Err` is an
    /// errno. The script's last entry repeats.
    struct Script<'s> {
        answers: &'s [Result<usize, c_int>],
        call_count: Cell<usize>,
        /// Lengths of the trains it took, and of runs of single datagrams.
        taken: RefCell<Vec<usize>>,
    }

    impl Script<'_> {
        fn answer(&self, count: usize) -> io::Result<usize> {
            let call = self.call_count.replace(self.call_count.get() + 1);
            assert!(call < 1000, "does not end: {:?}", self.answers);
            let answer = self.answers[call.min(self.answers.len() - 1)];
            let taken = answer.map(|n| n.min(count)).map_err(io::Error::from_raw_os_error)?;
            self.taken.borrow_mut().push(taken);
            Ok(taken)
        }
    }

    impl Kernel for Script<'_> {
        fn send_some(&self, chunk: &[Datagram<'_>]) -> io::Result<usize> {
            self.answer(chunk.len())
        }

        fn send_train(&self, train: &[Datagram<'_>]) -> io::Result<()> {
            self.answer(train.len()).map(|taken| assert_eq!(taken, train.len(), "all or none"))
        }
    }

    fn run(
        batch_count: usize,
        trains: &mut Trains,
        answers: &[Result<usize, c_int>],
    ) -> (usize, SendCounts, Vec<usize>) {
        let peer = "192.0.2.1:5060".parse().expect("an address");
        let batch = vec![Datagram::new(peer, b"x"); batch_count];
        let mut counts = SendCounts::default();
        let script = Script { answers, call_count: Cell::new(0), taken: RefCell::default() };
        let done = send_batch(&batch, trains, &mut counts, &script);
        (done, counts, script.taken.into_inner())
    }

    #[test]
    fn every_refusal_is_counted_once_and_only_a_full_buffer_ends_the_batch() {
        let none = SendCounts::default();
        let sent = |sent_count| SendCounts { sent_count, ..none };
        for (batch_count, script, want) in [
            (0, &[Err(libc::EPERM)][..], (0, none)),
            (70, &[Ok(64)], (70, sent(70))),
            (3, &[Ok(2), Err(libc::EAGAIN)], (2, SendCounts { blocked_count: 1, ..sent(2) })),
            (3, &[Err(libc::EAGAIN)], (0, SendCounts { blocked_count: 1, ..none })),
            (2, &[Err(libc::EINTR), Ok(2)], (2, sent(2))),
            // Refused once: the same datagram again; twice: given up, and the next one is tried.
            (2, &[Err(libc::ECONNREFUSED), Ok(2)], (2, sent(2))),
            (
                2,
                &[Err(libc::ECONNREFUSED), Err(libc::ECONNREFUSED), Ok(1)],
                (2, SendCounts { unreachable_count: 1, ..sent(1) }),
            ),
            (3, &[Err(libc::EMSGSIZE), Ok(9)], (3, SendCounts { too_long_count: 1, ..sent(2) })),
            (2, &[Err(libc::EPERM)], (2, SendCounts { not_permitted_count: 2, ..none })),
            (1, &[Err(libc::ENOBUFS)], (1, SendCounts { no_buffer_count: 1, ..none })),
            (1, &[Err(libc::ENETUNREACH)], (1, SendCounts { unreachable_count: 1, ..none })),
            (1, &[Err(libc::EAFNOSUPPORT)], (1, SendCounts { invalid_count: 1, ..none })),
        ] {
            let (done, counts, _) = run(batch_count, &mut Trains::new(false), script);
            assert_eq!((done, counts), want, "{script:?}");
            assert_eq!(counts.sent_count + counts.dropped_count(), done as u64, "{script:?}");
        }
    }

    #[test]
    fn a_refused_train_leaves_singly_and_so_do_the_next_ones() {
        let of = |train_count, train_datagram_count, sent_count| SendCounts {
            sent_count,
            train_count,
            train_datagram_count,
            ..SendCounts::default()
        };
        for (errno, count) in [
            (libc::EIO, SendCounts { train_device_count: 1, ..of(0, 0, 40) }),
            (libc::EINVAL, SendCounts { train_invalid_count: 1, ..of(0, 0, 40) }),
            (libc::EMSGSIZE, SendCounts { train_too_long_count: 1, ..of(0, 0, 40) }),
        ] {
            let mut trains = Trains::new(true);
            let (done, counts, taken) = run(40, &mut trains, &[Err(errno), Ok(99)]);
            assert_eq!((done, counts, &taken[..]), (40, count, &[32, 8][..]), "{errno}");
            let (_, counts, _) = run(40, &mut trains, &[Ok(99)]);
            assert_eq!(counts, of(0, 0, 40), "{errno}: not tried again");
        }
    }

    #[test]
    fn a_train_is_sent_whole_or_waits_whole() {
        let trains = || Trains::new(true);
        let (done, counts, taken) = run(300, &mut trains(), &[Ok(999), Ok(999), Err(libc::EAGAIN)]);
        assert_eq!((done, &taken[..]), (256, &[128, 128][..]));
        assert_eq!((counts.train_count, counts.blocked_count), (2, 1));
        // Not permitted, or no memory for so much: one datagram is lost at a time, as ever.
        let (done, counts, taken) = run(3, &mut trains(), &[Err(libc::EPERM), Ok(99)]);
        assert_eq!((done, &taken[..], counts.not_permitted_count), (3, &[2][..], 1));
        // A kernel that knows no such long trains.
        let (done, counts, taken) = run(128, &mut trains(), &[Err(libc::EINVAL), Ok(99)]);
        assert_eq!((done, &taken[..], counts.train_invalid_count), (128, &[64, 64][..], 1));
    }
}
