//! TCP sockets that never block, set up before they are bound or connected.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_int;

use super::address::RawAddress;
use super::check;
use super::socket::set_option;

/// Connections that may wait to be accepted. The system's `net.core.somaxconn` caps it.
const ACCEPT_BACKLOG: c_int = 4096;

/// Opens a listening socket; port 0 takes a free one. With `shared`, several sockets of this
/// process may listen on the address and the kernel spreads connections over them; without, it is
/// refused if anybody listens there.
///
/// # Errors
///
/// The kernel's refusal.
pub fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let fd = open(address)?;
    if address.is_ipv6() {
        set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    // A restart must not wait for connections of the last run to be forgotten.
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if shared {
        set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    bind(&fd, address)?;
    // SAFETY: no pointers are involved.
    check(unsafe { libc::listen(fd.as_raw_fd(), ACCEPT_BACKLOG) })?;
    Ok(fd.into())
}

/// Starts to connect to `peer`, from `local` if given. The stream is writable when the attempt has
/// ended; [`TcpStream::take_error`] tells how.
///
/// # Errors
///
/// The kernel's refusal to try.
pub fn connect(local: Option<IpAddr>, peer: SocketAddr) -> io::Result<TcpStream> {
    let fd = open(peer)?;
    if let Some(local) = local.filter(|local| !local.is_unspecified()) {
        // The port is chosen together with the peer, so that many connections can share one.
        let _ = set_option(&fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
        bind(&fd, SocketAddr::new(local, 0))?;
    }
    let (raw, length) = RawAddress::encode(peer);
    // SAFETY: `raw` is a valid address of `length` bytes that outlives the call.
    match check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const raw).cast(), length) }) {
        Ok(_) => Ok(fd.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(fd.into()),
        Err(error) => Err(error),
    }
}

/// Bytes that the kernel keeps for a peer that has no room for them. More would only grow old
/// there: what waits in our own queue is the newest when it leaves.
const UNSENT_BYTES_MAX: c_int = 128 * 1024;

/// Sends small messages at once, gives up on a peer that acknowledges nothing for
/// `unacknowledged`, and keeps little for one that does not read.
///
/// # Errors
///
/// The kernel's refusal.
pub fn tune(stream: &TcpStream, unacknowledged: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    set_option(stream, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)?;
    let milliseconds = c_int::try_from(unacknowledged.as_millis()).unwrap_or(c_int::MAX);
    set_option(stream, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, milliseconds)
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are involved.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let (raw, length) = RawAddress::encode(address);
    // SAFETY: `raw` is a valid address of `length` bytes that outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), length) }).map(|_| ())
}
