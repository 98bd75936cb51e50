//! Receiving many datagrams with one system call.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::ptr;
use std::time::SystemTime;

use libc::{c_int, c_uint, iovec, mmsghdr, msghdr};

use super::address::RawAddress;
use super::control::{self, Ancillary, ControlRoom, ROOM_BYTES};

/// Reusable buffers for one `recvmmsg`: the datagrams last read are in it.
pub struct ReceiveBatch {
    // The headers point into the four boxes, which never move or grow.
    headers: Box<[mmsghdr]>,
    _iovecs: Box<[iovec]>,
    addresses: Box<[RawAddress]>,
    _controls: Box<[ControlRoom]>,
    bytes: Box<[u8]>,
    buffer_bytes: usize,
    filled: usize,
    counts: ReceiveCounts,
    drop_count_seen: u32,
}

/// What happened on the receiving side so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReceiveCounts {
    /// Messages read; a train counts once.
    pub message_count: u64,
    /// Messages longer than their buffer or without room for their ancillary data: not handed out.
    pub truncated_count: u64,
    /// Datagrams the kernel dropped because the receive buffer was full (`SO_RXQ_OVFL`): known
    /// only when the next one arrives.
    pub dropped_count: u64,
}

/// One received datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received<'a> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// The address it was sent to with its interface (link-local only), if the socket was asked
    /// to say.
    pub local: Option<(IpAddr, u32)>,
    /// When the kernel got it, if the socket was asked to say; datagrams of a train share it.
    pub arrived: Option<SystemTime>,
    /// Its bytes.
    pub bytes: &'a [u8],
}

// SAFETY: the raw pointers in the headers point only into boxes owned by the same value, so the
// value may move between threads with them. (No `Sync`: `&self` methods read buffers a `&mut self`
// call has filled, which is fine, but nothing needs sharing.)
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Buffers for up to `message_count` messages of up to `buffer_bytes` each. On a socket with
    /// `gro`, `buffer_bytes` must be 65,536. Untouched buffers cost address space only.
    pub fn new(message_count: usize, buffer_bytes: usize) -> Self {
        assert!((1..=1024).contains(&message_count) && (1..=65_536).contains(&buffer_bytes));
        let mut bytes = vec![0; message_count * buffer_bytes].into_boxed_slice();
        let mut addresses = vec![RawAddress::empty(); message_count].into_boxed_slice();
        let mut controls = vec![ControlRoom([0; ROOM_BYTES]); message_count].into_boxed_slice();
        let mut iovecs: Box<[iovec]> = bytes
            .chunks_exact_mut(buffer_bytes)
            .map(|buffer| iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer_bytes })
            .collect();
        let headers = (0..message_count)
            .map(|at| {
                // SAFETY: a msghdr is integers and pointers; all zeroes is valid.
                let mut header: mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = (&raw mut addresses[at]).cast();
                header.msg_hdr.msg_iov = &raw mut iovecs[at];
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = controls[at].0.as_mut_ptr().cast();
                reset(&mut header.msg_hdr);
                header
            })
            .collect();
        Self {
            headers,
            _iovecs: iovecs,
            addresses,
            _controls: controls,
            bytes,
            buffer_bytes,
            filled: 0,
            counts: ReceiveCounts::default(),
            drop_count_seen: 0,
        }
    }

    /// Reads at most one batch without waiting; 0 when nothing is there.
    pub(super) fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        // The kernel has changed only what the last call filled.
        self.headers[..self.filled].iter_mut().for_each(|header| reset(&mut header.msg_hdr));
        self.filled = 0;
        let count = self.headers.len() as c_uint;
        // An asynchronous error of an earlier send is reported once and says nothing about what
        // waits to be read; more than a few in a row end the attempt.
        for _ in 0..4 {
            // SAFETY: every header points to buffers owned by `self`, which outlive the call and
            // are not borrowed by anybody (`&mut self`).
            let read = unsafe {
                libc::recvmmsg(
                    fd,
                    self.headers.as_mut_ptr(),
                    count,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                )
            };
            if read >= 0 {
                self.filled = read as usize;
                self.counts.message_count += read as u64;
                self.take_drop_count();
                return Ok(self.filled);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(0),
                Some(libc::EINTR | libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => {
                }
                _ => return Err(error),
            }
        }
        Ok(0)
    }

    /// The datagrams last read, trains split again, in order of arrival.
    pub fn datagrams(&self) -> impl Iterator<Item = Received<'_>> {
        (0..self.filled).filter_map(|at| self.message(at)).flat_map(|(peer, ancillary, bytes)| {
            // A chunk size of 0 is not possible; an empty datagram still is one.
            let segment_bytes = ancillary.segment_bytes.unwrap_or(bytes.len()).max(1);
            let empty = bytes.is_empty().then_some(bytes);
            empty.into_iter().chain(bytes.chunks(segment_bytes)).map(move |bytes| Received {
                peer,
                local: ancillary.local,
                arrived: ancillary.arrived,
                bytes,
            })
        })
    }

    /// What happened so far.
    pub fn counts(&self) -> ReceiveCounts {
        self.counts
    }

    /// One message; `None` if it was cut or its sender is unknown.
    fn message(&self, at: usize) -> Option<(SocketAddr, Ancillary, &[u8])> {
        let header = &self.headers[at];
        if is_cut(&header.msg_hdr) {
            return None;
        }
        let start = at * self.buffer_bytes;
        let bytes = self.bytes.get(start..start + header.msg_len as usize)?;
        let peer = self.addresses[at].decode(header.msg_hdr.msg_namelen)?;
        // SAFETY: the header was filled by the last successful recvmmsg (`at < filled`), and its
        // control buffer belongs to `self`.
        let ancillary = unsafe { control::read(&header.msg_hdr) };
        Some((peer, ancillary, bytes))
    }

    /// Notes the kernel's running drop counter, carried by the last message, and cut messages.
    fn take_drop_count(&mut self) {
        let headers = &self.headers[..self.filled];
        self.counts.truncated_count += headers.iter().filter(|h| is_cut(&h.msg_hdr)).count() as u64;
        let Some(last) = headers.last() else { return };
        // SAFETY: filled by the recvmmsg that has just succeeded; its buffer belongs to `self`.
        if let Some(seen) = unsafe { control::read(&last.msg_hdr) }.drop_count {
            self.counts.dropped_count += u64::from(seen.wrapping_sub(self.drop_count_seen));
            self.drop_count_seen = seen;
        }
    }
}

impl std::fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveBatch")
            .field("message_count", &self.headers.len())
            .field("buffer_bytes", &self.buffer_bytes)
            .field("filled", &self.filled)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

fn is_cut(header: &msghdr) -> bool {
    header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) as c_int != 0
}

/// Sets the fields the kernel overwrites back to the room there is.
fn reset(header: &mut msghdr) {
    header.msg_namelen = RawAddress::ROOM;
    header.msg_controllen = ROOM_BYTES as _;
    header.msg_flags = 0;
}
