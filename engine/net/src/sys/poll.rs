//! Waiting for descriptors, for threads without a runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use libc::{c_int, epoll_event, pollfd, timespec};

use super::check;

/// Waits until `fd` can be read (or has an error to tell), at most `timeout`; false on time-out.
///
/// # Errors
///
/// The kernel's refusal.
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    wait_one(fd, libc::POLLIN, timeout)
}

/// Waits until `fd` can be written (or has an error to tell), at most `timeout`; false on
/// time-out.
///
/// # Errors
///
/// The kernel's refusal.
pub fn wait_writable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    wait_one(fd, libc::POLLOUT, timeout)
}

fn wait_one(fd: BorrowedFd<'_>, events: libc::c_short, timeout: Duration) -> io::Result<bool> {
    let mut one = pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let timeout = timespec_of(timeout);
    // SAFETY: one valid pollfd, a valid timespec, no signal mask.
    let ready = unsafe { libc::ppoll(&raw mut one, 1, &raw const timeout, ptr::null()) };
    match check(ready) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

/// An epoll instance for many descriptors, level-triggered, with sub-millisecond time-outs.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
}

/// One ready descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ready {
    /// The number it was added under.
    pub token: u64,
    /// Something can be read, or the peer has gone.
    pub readable: bool,
    /// Something can be written, or an error is to be told.
    pub writable: bool,
}

impl Poller {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// The kernel's refusal (no more descriptors).
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `fd` is a fresh descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Watches `fd` for reading (and `writable`: for writing too) under `token`. A descriptor that
    /// is closed disappears by itself.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, as for a descriptor added twice.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, writable: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest(true, writable))
    }

    /// Changes what a descriptor is watched for.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, as for a descriptor never added.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, writable: bool) -> io::Result<()> {
        self.watch(fd, token, true, writable)
    }

    /// Changes what a descriptor is watched for. Watched for neither, it is ready only when it has
    /// an error to tell.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, as for a descriptor never added.
    pub fn watch(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        readable: bool,
        writable: bool,
    ) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest(readable, writable))
    }

    fn control(&self, what: c_int, fd: BorrowedFd<'_>, token: u64, events: u32) -> io::Result<()> {
        let mut event = epoll_event { events, u64: token };
        // SAFETY: `event` is valid for the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd.as_raw_fd(), &raw mut event) })
            .map(|_| ())
    }

    /// Waits at most `timeout` and replaces `ready` by what is ready now; empty on time-out.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn wait(&self, timeout: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let mut events = [epoll_event { events: 0, u64: 0 }; 256];
        let timeout = timespec_of(timeout);
        // SAFETY: `events` has room for the number of events given; the timespec is valid.
        let count = unsafe {
            libc::epoll_pwait2(
                self.fd.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as c_int,
                &raw const timeout,
                ptr::null(),
            )
        };
        let count = match check(count) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        ready.extend(events[..count].iter().map(|event| {
            let (flags, token) = (event.events as c_int, event.u64);
            let gone = flags & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            Ready {
                token,
                readable: gone || flags & libc::EPOLLIN != 0,
                writable: gone || flags & libc::EPOLLOUT != 0,
            }
        }));
        Ok(())
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn interest(readable: bool, writable: bool) -> u32 {
    let input = if readable { libc::EPOLLIN } else { 0 };
    let output = if writable { libc::EPOLLOUT } else { 0 };
    (input | output) as u32
}

fn timespec_of(duration: Duration) -> timespec {
    timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_poller_names_the_descriptor_that_is_ready() {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
        let poller = Poller::new().expect("epoll");
        for (token, socket) in sockets.iter().enumerate() {
            poller.add(socket.as_fd(), token as u64, false).expect("add");
        }
        let mut ready = Vec::new();
        poller.wait(Duration::from_micros(100), &mut ready).expect("wait");
        assert_eq!(ready, []);
        let to = sockets[1].local_addr().expect("bound");
        sockets[0].send_to(b"x", to).expect("sent");
        poller.wait(Duration::from_secs(5), &mut ready).expect("wait");
        assert_eq!(ready, [Ready { token: 1, readable: true, writable: false }]);
        poller.modify(sockets[0].as_fd(), 7, true).expect("modify");
        poller.wait(Duration::from_secs(5), &mut ready).expect("wait");
        assert!(ready.contains(&Ready { token: 7, readable: false, writable: true }));
        assert!(wait_readable(sockets[1].as_fd(), Duration::ZERO).expect("poll"));
        assert!(!wait_readable(sockets[0].as_fd(), Duration::ZERO).expect("poll"));
        assert!(wait_writable(sockets[0].as_fd(), Duration::ZERO).expect("poll"));
    }
}
