//! Trains: datagrams of one length to one peer that leave with one system call, as one packet that
//! the kernel or the device cuts (`UDP_SEGMENT`).
//!
//! Only this makes sending cheaper; batches of system calls do not. Measured with 960 bytes on
//! loopback: 4 us a datagram alone, 0.7 us in trains of 64, 0.12 us if the receiver takes trains.
//!
//! Where a train is refused it leaves as single datagrams, and the next ones for that peer do so
//! from the start, for a while: see [`Refusals`]. What is known of refusals: `EINVAL` where the
//! device's checksums are off or the kernel is old, `EIO` from some drivers, `EMSGSIZE` where a
//! segment is longer than the path allows, even if it could be sent in fragments.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use libc::{c_int, iovec, msghdr};

use super::Datagram;
use super::address::RawAddress;
use super::control::{self, ControlRoom, ROOM_BYTES};

/// The option of `SOL_UDP` that carries the length of the segments.
pub(super) const UDP_SEGMENT: c_int = 103;

/// Segments of a train at most (`UDP_MAX_SEGMENTS`).
const SEGMENT_COUNT_MAX: usize = 128;

/// The same in kernels before Linux 6.9, which answer more with `EINVAL`.
const SEGMENT_COUNT_MAX_BEFORE: usize = 64;

/// Bytes of a train at most. A longer one is cut before it reaches a receiver that takes trains.
const TRAIN_BYTES_MAX: usize = 65_000;

/// Peers remembered for having refused a train; the oldest is forgotten for another.
const REFUSAL_COUNT_MAX: usize = 64;

/// How long a refusal counts. Devices and routes change.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// Trains of one socket: how long they may be, and who cannot be sent any.
#[derive(Debug)]
pub(super) struct Trains {
    /// 0: none at all.
    segment_count_max: usize,
    refusals: Refusals,
}

/// What a refused train is answered with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// Segments of this length are too long for the path.
    TooLong,
    /// The driver failed (`EIO`).
    Device,
    /// The kernel or device cannot (`EINVAL`).
    Invalid,
}

impl Refusal {
    /// Whether an error says that the datagrams cannot leave as a train, but may singly.
    pub(super) fn of(errno: c_int) -> Option<Self> {
        match errno {
            libc::EMSGSIZE => Some(Self::TooLong),
            libc::EIO => Some(Self::Device),
            libc::EINVAL | libc::EOPNOTSUPP | libc::ENOPROTOOPT => Some(Self::Invalid),
            _ => None,
        }
    }
}

impl Trains {
    /// `is_possible`: the kernel knows segments, and the socket's owner wants trains.
    pub(super) fn new(is_possible: bool) -> Self {
        let segment_count_max = if is_possible { SEGMENT_COUNT_MAX } else { 0 };
        Self { segment_count_max, refusals: Refusals::default() }
    }

    /// How many datagrams from the front of `batch` make a train; less than two: none.
    pub(super) fn leading(&mut self, batch: &[Datagram<'_>]) -> usize {
        let [first, second, ..] = batch else { return 0 };
        if !joins(first, second) {
            return 0;
        }
        let segment_bytes = first.bytes().len();
        let count_max = (TRAIN_BYTES_MAX / segment_bytes).min(self.segment_count_max);
        if count_max < 2 || self.refusals.holds(first.peer(), segment_bytes) {
            return 0;
        }
        let rest = batch.windows(2).take(count_max - 1);
        let equal = 1 + rest.take_while(|pair| is_like(&pair[0], &pair[1])).count();
        // A shorter one ends the train, unless it begins the next.
        let last = batch.get(equal).filter(|last| equal < count_max && joins(first, last));
        let begins_next = |last| batch.get(equal + 1).is_some_and(|next| is_like(last, next));
        equal + usize::from(last.is_some_and(|last| !begins_next(last)))
    }

    /// How many datagrams from the front of `batch`, `count_max` at most, leave singly.
    pub(super) fn singles(&mut self, batch: &[Datagram<'_>], count_max: usize) -> usize {
        let count_max = batch.len().min(count_max);
        (1..count_max).find(|&at| self.leading(&batch[at..]) > 1).unwrap_or(count_max)
    }

    /// Remembers that `train` was refused, so that it leaves singly.
    pub(super) fn refused(&mut self, train: &[Datagram<'_>], refusal: Refusal) {
        if refusal == Refusal::Invalid && train.len() > SEGMENT_COUNT_MAX_BEFORE {
            self.segment_count_max = SEGMENT_COUNT_MAX_BEFORE;
            return;
        }
        let Some(first) = train.first() else { return };
        let segment_bytes_max = match refusal {
            Refusal::TooLong => first.bytes().len() - 1,
            Refusal::Device | Refusal::Invalid => 0,
        };
        self.refusals.add(first.peer(), segment_bytes_max);
    }

    /// Peers that get single datagrams, all or long ones.
    pub(super) fn refusal_count(&self) -> u64 {
        self.refusals.rows.len() as u64
    }
}

/// Whether `next` may follow `this` in a train, as a segment or as its shorter end.
fn joins(this: &Datagram<'_>, next: &Datagram<'_>) -> bool {
    let (this_bytes, next_bytes) = (this.bytes().len(), next.bytes().len());
    next_bytes <= this_bytes && next_bytes > 0 && goes_together(this, next)
}

/// Whether both are segments of one train.
fn is_like(this: &Datagram<'_>, next: &Datagram<'_>) -> bool {
    this.bytes().len() == next.bytes().len() && goes_together(this, next)
}

fn goes_together(this: &Datagram<'_>, next: &Datagram<'_>) -> bool {
    this.peer() == next.peer() && this.from() == next.from()
}

/// Peers that refused a train.
#[derive(Debug, Default)]
struct Refusals {
    /// In the order in which they will be forgotten.
    rows: Vec<Refused>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    peer: SocketAddr,
    /// Segments up to this length may be tried.
    segment_bytes_max: usize,
    until: Instant,
}

impl Refusals {
    /// Whether segments of this length are known to be refused. Nearly always there is no row.
    fn holds(&mut self, peer: SocketAddr, segment_bytes: usize) -> bool {
        let holds = |row: &Refused| row.peer == peer && segment_bytes > row.segment_bytes_max;
        if self.rows.is_empty() || !self.rows.iter().any(holds) {
            return false;
        }
        self.forget(Instant::now());
        self.rows.iter().any(holds)
    }

    fn add(&mut self, peer: SocketAddr, segment_bytes_max: usize) {
        let known = self.rows.iter().position(|row| row.peer == peer);
        if let Some(at) = known.or((self.rows.len() >= REFUSAL_COUNT_MAX).then_some(0)) {
            self.rows.remove(at);
        }
        self.rows.push(Refused { peer, segment_bytes_max, until: Instant::now() + REFUSED_FOR });
    }

    fn forget(&mut self, now: Instant) {
        self.rows.retain(|row| row.until > now);
    }
}

/// One system call for one train.
pub(super) fn send_train(fd: RawFd, train: &[Datagram<'_>]) -> io::Result<()> {
    let [first, ..] = train else { return Ok(()) };
    let mut iovecs = [const { MaybeUninit::<iovec>::uninit() }; SEGMENT_COUNT_MAX];
    let iovec_count = lay(train, &mut iovecs);
    let (mut address, address_bytes) = RawAddress::encode(first.peer());
    let mut room = ControlRoom([0; ROOM_BYTES]);
    let segment_bytes = first.bytes().len() as u16;
    // SAFETY: integers and pointers only; all zeroes is valid.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = address_bytes;
    header.msg_iov = iovecs.as_mut_ptr().cast();
    header.msg_iovlen = iovec_count as _;
    header.msg_controllen = write_control(&mut room, first.from(), segment_bytes) as _;
    header.msg_control = room.0.as_mut_ptr().cast();
    // SAFETY: the first `iovec_count` entries are initialised and point to the caller's bytes; the
    // other pointers are to values of this frame. The kernel only reads all of it.
    let sent =
        unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    super::check(sent).map(|_| ())
}

fn write_control(
    room: &mut ControlRoom,
    source: Option<(IpAddr, u32)>,
    segment_bytes: u16,
) -> usize {
    let at = source.map_or(0, |(ip, interface)| control::write_source(room, ip, interface));
    control::write_segment(room, at, segment_bytes)
}

/// Describes the bytes of a train; those that lie end to end are one piece. Returns the number of
/// pieces.
fn lay(train: &[Datagram<'_>], iovecs: &mut [MaybeUninit<iovec>; SEGMENT_COUNT_MAX]) -> usize {
    let mut count = 0;
    let mut piece = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    for datagram in &train[..train.len().min(SEGMENT_COUNT_MAX)] {
        let bytes = datagram.bytes();
        if piece.iov_base.wrapping_byte_add(piece.iov_len).cast_const().cast() == bytes.as_ptr() {
            piece.iov_len += bytes.len();
        } else {
            count += usize::from(!piece.iov_base.is_null());
            piece = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        }
        iovecs[count].write(piece);
    }
    count + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    /// Datagrams of these lengths, to this port each.
    fn batch<'a>(bytes: &'a [u8], rows: &[(u16, usize)]) -> Vec<Datagram<'a>> {
        rows.iter().map(|&(port, length)| Datagram::new(peer(port), &bytes[..length])).collect()
    }

    /// Lengths of the trains and single datagrams a batch leaves as.
    fn cut(trains: &mut Trains, mut batch: &[Datagram<'_>]) -> Vec<usize> {
        let mut pieces = Vec::new();
        while !batch.is_empty() {
            let length = match trains.leading(batch) {
                0 | 1 => trains.singles(batch, 32),
                length => length,
            };
            pieces.push(length);
            batch = &batch[length..];
        }
        pieces
    }

    #[test]
    fn a_train_has_one_peer_one_source_one_length_and_perhaps_a_short_end() {
        let bytes = vec![b'x'; 70_000];
        for (rows, want) in [
            (&[(1, 900)][..], &[1][..]),
            (&[(1, 900), (1, 900), (1, 900)], &[3]),
            (&[(1, 900), (1, 900), (1, 300)], &[3]),
            // The short one begins a train of its own.
            (&[(1, 900), (1, 900), (1, 300), (1, 300)], &[2, 2]),
            (&[(1, 900), (1, 300), (1, 900), (1, 300)], &[2, 2]),
            (&[(1, 300), (1, 900), (1, 900)], &[1, 2]),
            (&[(1, 900), (1, 300), (1, 300)], &[1, 2]),
            (&[(1, 900), (2, 900), (3, 900), (3, 900), (1, 900)], &[2, 2, 1]),
            (&[(1, 0), (1, 0)], &[2]),
            (&[(1, 900), (1, 0)], &[2]),
            (&[(1, 40_000), (1, 40_000)], &[2]),
            (&[(1, 32_500), (1, 32_500), (1, 32_500)], &[2, 1]),
        ] {
            assert_eq!(cut(&mut Trains::new(true), &batch(&bytes, rows)), want, "{rows:?}");
        }
        let no_trains = batch(&bytes, &[(1, 0), (1, 0)]);
        assert_eq!(Trains::new(true).leading(&no_trains), 0);
        let alike = batch(&bytes, &[(1, 960); 300]);
        assert_eq!(cut(&mut Trains::new(true), &alike), [67, 67, 67, 67, 32]);
        let short = batch(&bytes, &[(1, 100); 300]);
        assert_eq!(cut(&mut Trains::new(true), &short), [128, 128, 44]);
        assert_eq!(cut(&mut Trains::new(false), &short[..40]), [32, 8]);
    }

    #[test]
    fn datagrams_of_two_sources_share_no_train() {
        let from = |host| SocketAddr::from(([192, 0, 2, host], 5060));
        let one = |host| Datagram::new(peer(1), b"text").from_local(from(host));
        let batch = [one(1), one(1), one(2), one(2), Datagram::new(peer(1), b"text")];
        assert_eq!(cut(&mut Trains::new(true), &batch), [2, 2, 1]);
    }

    #[test]
    fn a_peer_that_refuses_gets_single_datagrams_until_it_is_forgotten() {
        let bytes = vec![b'x'; 2_000];
        let mut trains = Trains::new(true);
        let (long, short) = (batch(&bytes, &[(1, 1_500); 3]), batch(&bytes, &[(1, 1_000); 3]));
        let other = batch(&bytes, &[(2, 1_500); 3]);
        trains.refused(&long, Refusal::TooLong);
        let lengths = [&long, &short, &other].map(|batch| trains.leading(batch));
        assert_eq!(lengths, [0, 3, 3], "that length to that peer");
        trains.refused(&short, Refusal::Device);
        let lengths = [&long, &short, &other].map(|batch| trains.leading(batch));
        assert_eq!((lengths, trains.refusal_count()), ([0, 0, 3], 1), "that peer");
        trains.refusals.forget(Instant::now() + REFUSED_FOR);
        assert_eq!((trains.leading(&long), trains.refusal_count()), (3, 0));
    }

    #[test]
    fn an_old_kernel_gets_shorter_trains_and_the_table_is_bounded() {
        let bytes = vec![b'x'; 200];
        let mut trains = Trains::new(true);
        let many = batch(&bytes, &[(1, 200); 128]);
        trains.refused(&many, Refusal::Invalid);
        assert_eq!((trains.leading(&many), trains.refusal_count()), (64, 0));
        for port in 0..1_000 {
            trains.refused(&batch(&bytes, &[(port, 200); 2]), Refusal::Invalid);
        }
        assert_eq!(trains.refusal_count(), REFUSAL_COUNT_MAX as u64);
        assert_eq!(trains.leading(&batch(&bytes, &[(999, 200); 2])), 0);
        assert_eq!(trains.leading(&batch(&bytes, &[(0, 200); 2])), 2, "forgotten for another");
    }

    #[test]
    fn bytes_that_lie_end_to_end_are_one_piece() {
        let bytes = [b'x'; 100];
        let of = |ranges: &[std::ops::Range<usize>]| {
            let train: Vec<_> =
                ranges.iter().map(|range| Datagram::new(peer(1), &bytes[range.clone()])).collect();
            let mut iovecs = [const { MaybeUninit::uninit() }; SEGMENT_COUNT_MAX];
            let count = lay(&train, &mut iovecs);
            // SAFETY: `lay` has written the first `count`.
            iovecs[..count].iter().map(|piece| unsafe { piece.assume_init() }.iov_len).collect()
        };
        let lengths: Vec<usize> = of(&[0..10, 10..20, 20..25]);
        assert_eq!(lengths, [25]);
        let lengths: Vec<usize> = of(&[0..10, 20..30, 30..40, 10..20]);
        assert_eq!(lengths, [10, 20, 10]);
    }
}
