//! Plain Linux calls, usable on any thread and under any runtime.

mod address;
mod batch;
mod control;
mod event;
mod poll;
mod privileges;
mod process;
mod send;
mod socket;
mod steer;
pub mod stream;
mod train;

pub use batch::{ReceiveBatch, ReceiveCounts, Received};
pub(crate) use event::EventFd;
pub use poll::{Poller, Ready, wait_readable, wait_writable};
pub use privileges::{
    Account, become_account, find_account, forbid_core_dumps, forbid_new_privileges,
    keep_files_private,
};
pub use process::{
    ThreadUsage, allowed_cores, core_count, give_memory_back, pin_thread_to_core, process_cpu_time,
    resident_bytes, thread_cpu_time, thread_usage,
};
pub use send::{Datagram, SendCounts};
pub use socket::{BatchSocket, SocketOptions};

/// Turns the `-1` of a libc call into the error it stands for.
pub(crate) fn check<T: Copy + PartialEq + From<i8>>(returned: T) -> std::io::Result<T> {
    if returned == T::from(-1) { Err(std::io::Error::last_os_error()) } else { Ok(returned) }
}
