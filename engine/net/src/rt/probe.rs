//! Whether the kernel gives us io_uring, and if not, why.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::thread::{self, JoinHandle};

use crate::sys::check;

/// glommio refuses to start below this limit.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// What the kernel charges for one executor's rings (measured on Linux 6.18).
const MEMLOCK_BYTES_EACH: u64 = 240 * 1024;

/// Why no executor can be started here.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Turned off by the administrator.
    #[error(
        "io_uring is turned off on this machine: sysctl kernel.io_uring_disabled is {0} \
         (0 allows it, 1 only to the group of kernel.io_uring_group)"
    )]
    Disabled(u8),
    /// Refused although the kernel has it.
    #[error(
        "io_uring is refused ({0}): most likely by the seccomp profile of a container \
         (Docker: --security-opt seccomp=... with io_uring_setup, io_uring_enter and \
         io_uring_register allowed)"
    )]
    Refused(io::Error),
    /// Too little memory may be locked.
    #[error(
        "only {limit_bytes} bytes of memory may be locked, {need_bytes} are needed: raise the \
         memlock limit (LimitMEMLOCK= in a systemd unit, `ulimit -l`); it counts for all \
         processes of the user, and a process that has just ended may still be counted"
    )]
    Memlock {
        /// The limit.
        limit_bytes: u64,
        /// What is needed at least.
        need_bytes: u64,
    },
    /// Something else.
    #[error("io_uring does not work here: {0}")]
    Other(io::Error),
}

/// Asks the kernel for a ring, and for room for as many executors, before glommio does and hides
/// the reason of a refusal.
///
/// # Errors
///
/// The reason, with what to do about it.
pub fn probe(executor_count: usize) -> Result<(), ProbeError> {
    let limit_bytes = memlock_limit_bytes();
    let need_bytes = MEMLOCK_BYTES_MIN.max(MEMLOCK_BYTES_EACH * executor_count as u64);
    if limit_bytes < need_bytes {
        return Err(ProbeError::Memlock { limit_bytes, need_bytes });
    }
    // The kernel takes a closed ring apart later, and interrupts a system call of the thread that
    // set it up to do so (EINTR, about 0.3 s later): that must not be the caller's.
    let asker = thread::Builder::new().name("probe".to_owned());
    let asked = asker.spawn(|| set_up_ring(super::RING_DEPTH as u32)).map(JoinHandle::join);
    let answer = asked.and_then(|answer| {
        answer.unwrap_or_else(|_| Err(io::Error::other("the asking thread panicked")))
    });
    answer.map_err(|error| {
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        explain(error, disabled, limit_bytes, need_bytes)
    })
}

fn explain(error: io::Error, disabled: u8, limit_bytes: u64, need_bytes: u64) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::EPERM) if disabled > 0 => ProbeError::Disabled(disabled),
        Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => ProbeError::Refused(error),
        Some(libc::ENOMEM) => ProbeError::Memlock { limit_bytes, need_bytes },
        _ => ProbeError::Other(error),
    }
}

/// Sets up a ring and closes it again.
fn set_up_ring(entry_count: u32) -> io::Result<()> {
    // struct io_uring_params is 120 bytes and all zeroes asks for nothing special.
    let mut parameters = [0_u64; 15];
    // SAFETY: the parameters are as long as the kernel's structure and valid for writes.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_io_uring_setup, entry_count, parameters.as_mut_ptr())
    })?;
    // SAFETY: a fresh descriptor that nobody else owns; dropped at once.
    drop(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
    Ok(())
}

fn memlock_limit_bytes() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no pointers are involved.
    let root = unsafe { libc::geteuid() } == 0;
    // SAFETY: `limit` is valid for writes.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
    if root || !known { u64::MAX } else { limit.rlim_cur }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_reason() {
        let explained = |errno, disabled| {
            explain(io::Error::from_raw_os_error(errno), disabled, 8 << 20, 1 << 20).to_string()
        };
        for (errno, disabled, want) in [
            (libc::EPERM, 2, "io_uring_disabled is 2"),
            (libc::EPERM, 0, "seccomp"),
            (libc::ENOSYS, 0, "seccomp"),
            (libc::ENOMEM, 0, "memlock"),
            (libc::EMFILE, 0, "Too many open files"),
        ] {
            let text = explained(errno, disabled);
            assert!(text.contains(want), "{errno}: {text}");
        }
    }
}
