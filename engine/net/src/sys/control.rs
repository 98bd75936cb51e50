//! Ancillary data of datagrams: local address, segment size, drop counter, time of arrival.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use libc::{c_int, c_uint, cmsghdr, in_pktinfo, in6_pktinfo, msghdr, timespec};

/// `SOL_UDP`, and the option that carries the segment size of an aggregated datagram.
pub(crate) const UDP_GRO: c_int = 104;

/// Room for everything a receiving socket may be told about one datagram (16-byte headers, bodies
/// padded to 8): packet information 16 + 24, segment size 16 + 8, drops 16 + 8, time 16 + 16; and
/// half as much again.
pub(crate) const ROOM_BYTES: usize = 192;

/// Ancillary data must be aligned like its header.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlRoom(pub(crate) [u8; ROOM_BYTES]);

/// What the kernel said about a received datagram besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ancillary {
    /// The address on our side the datagram was sent to, with the interface for link-local ones.
    pub(crate) local: Option<(IpAddr, u32)>,
    /// Size of the segments the datagram is made of.
    pub(crate) segment_bytes: Option<usize>,
    /// Datagrams the kernel dropped on this socket so far (wraps).
    pub(crate) drop_count: Option<u32>,
    /// When it came, by the kernel's clock.
    pub(crate) arrived: Option<SystemTime>,
}

/// Reads the ancillary data of a message the kernel has just filled in.
///
/// # Safety
///
/// `header` must come from a successful `recvmsg`/`recvmmsg` whose control buffer is still alive.
pub(crate) unsafe fn read(header: &msghdr) -> Ancillary {
    let mut ancillary = Ancillary::default();
    // SAFETY: the caller vouches for the header and its control buffer; CMSG_FIRSTHDR checks the
    // length.
    let mut next: *const cmsghdr = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: non-null, so within the control buffer, aligned by the kernel.
        let item = unsafe { &*next };
        // SAFETY: the body follows its header inside the control buffer.
        let body = unsafe { libc::CMSG_DATA(next) };
        match (item.cmsg_level, item.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel writes a whole in_pktinfo under this type.
                let info = unsafe { body.cast::<in_pktinfo>().read_unaligned() };
                let ip = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                ancillary.local = Some((IpAddr::V4(ip), 0));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel writes a whole in6_pktinfo under this type.
                let info = unsafe { body.cast::<in6_pktinfo>().read_unaligned() };
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                let scope = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                ancillary.local = Some((IpAddr::V6(ip), scope as u32));
            }
            (libc::SOL_UDP, UDP_GRO) => {
                // SAFETY: the kernel writes an int under this type.
                let segment = unsafe { body.cast::<c_int>().read_unaligned() };
                ancillary.segment_bytes = usize::try_from(segment).ok().filter(|&bytes| bytes > 0);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the kernel writes a 32-bit counter under this type.
                ancillary.drop_count = Some(unsafe { body.cast::<u32>().read_unaligned() });
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the kernel writes a whole timespec under this type.
                let time = unsafe { body.cast::<timespec>().read_unaligned() };
                ancillary.arrived = system_time(time);
            }
            _ => {}
        }
        // SAFETY: `next` is an item of this header's control buffer.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    ancillary
}

/// The same time for the standard library; `None` before 1970.
fn system_time(time: timespec) -> Option<SystemTime> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// Writes "send from this address" and returns the length of the ancillary data. `interface` is
/// the scope of a link-local IPv6 address, else 0.
pub(crate) fn write_source(room: &mut ControlRoom, source: IpAddr, interface: u32) -> usize {
    match source {
        IpAddr::V4(ip) => {
            let body = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_item(room, 0, libc::IPPROTO_IP, libc::IP_PKTINFO, body)
        }
        IpAddr::V6(ip) => {
            let body = in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                ipi6_ifindex: interface as _,
            };
            write_item(room, 0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, body)
        }
    }
}

/// Writes "cut into segments of this length" behind the first `at` bytes of ancillary data, and
/// returns the length of all of it.
pub(crate) fn write_segment(room: &mut ControlRoom, at: usize, segment_bytes: u16) -> usize {
    write_item(room, at, libc::SOL_UDP, super::train::UDP_SEGMENT, segment_bytes)
}

/// Writes an item behind the first `at` bytes, whole items all, and returns the length of all.
fn write_item<T: Copy>(
    room: &mut ControlRoom,
    at: usize,
    level: c_int,
    kind: c_int,
    body: T,
) -> usize {
    // SAFETY: pure arithmetic on a small constant.
    let (space, length) = unsafe {
        (
            libc::CMSG_SPACE(size_of::<T>() as c_uint) as usize,
            libc::CMSG_LEN(size_of::<T>() as c_uint) as usize,
        )
    };
    let header = room.0[at..at + space].as_mut_ptr().cast::<cmsghdr>();
    debug_assert!(header.is_aligned(), "items are padded to the alignment of their header");
    // SAFETY: the slice holds header and body, and is aligned for a header like the room: `at` is
    // the end of an item.
    unsafe {
        header.write(cmsghdr { cmsg_len: length as _, cmsg_level: level, cmsg_type: kind });
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(body);
    }
    at + space
}
