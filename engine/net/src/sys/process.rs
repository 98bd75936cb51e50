//! What a thread and the process cost, and where they run.

use std::io;
use std::time::Duration;

use libc::{c_int, clockid_t, timespec, timeval};

use super::check;

/// CPU time this thread has used.
pub fn thread_cpu_time() -> Duration {
    cpu_time(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time all threads of the process have used.
pub fn process_cpu_time() -> Duration {
    cpu_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu_time(clock: clockid_t) -> Duration {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes. These clocks always exist on Linux, so the result needs
    // no look: a failure leaves zero.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// How a thread has used its time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ThreadUsage {
    /// CPU time in the program.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Times the thread went to sleep by itself.
    pub voluntary_switch_count: u64,
    /// Times it was pushed off its core.
    pub involuntary_switch_count: u64,
}

/// How this thread has used its time so far.
pub fn thread_usage() -> ThreadUsage {
    // SAFETY: integers only; all zeroes is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for writes; RUSAGE_THREAD always exists on Linux.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    let duration = |time: timeval| {
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs() as u32 * 1000)
    };
    ThreadUsage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        voluntary_switch_count: usage.ru_nvcsw.unsigned_abs(),
        involuntary_switch_count: usage.ru_nivcsw.unsigned_abs(),
    }
}

/// Hands memory that was freed and lies unused to the kernel. Takes a while if it is much; other
/// threads that allocate may wait for it meanwhile.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no preconditions; it takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Cores this process may use.
pub fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The cores this thread may use, counted from 0, in order.
pub fn allowed_cores() -> Vec<usize> {
    // SAFETY: a bit set; all zeroes is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let this_thread = 0;
    // SAFETY: `set` is valid for writes and as long as said. A failure leaves it empty.
    unsafe { libc::sched_getaffinity(this_thread, size_of::<libc::cpu_set_t>(), &raw mut set) };
    let cores = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: `core` is below CPU_SETSIZE.
    cores.filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

/// Keeps the calling thread on one core, counted from 0.
///
/// # Errors
///
/// The kernel's refusal: no such core, or not one this process may use.
pub fn pin_thread_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a bit set; all zeroes is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    let this_thread = 0;
    // SAFETY: `set` is valid and as long as said.
    check(unsafe {
        libc::sched_setaffinity(this_thread, size_of::<libc::cpu_set_t>(), &raw const set)
    })
    .map(|_: c_int| ())
}

/// Bytes of the process that are in memory now.
///
/// # Errors
///
/// `/proc` is not there or not readable.
pub fn resident_bytes() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> =
        text.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    // SAFETY: no pointers are involved.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm is not as expected"))?;
    Ok(pages * page_bytes.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_seen_in_its_own_time_and_in_the_process() {
        let (thread, process) = (thread_cpu_time(), process_cpu_time());
        let mut sum = 0_u64;
        while thread_cpu_time() - thread < Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        // The clocks of thread and process are not read at one moment.
        assert!(process_cpu_time() - process >= Duration::from_millis(25));
        let usage = thread_usage();
        assert!(usage.user + usage.system > Duration::ZERO);
        assert!(resident_bytes().expect("/proc") > 64 * 1024);
    }

    #[test]
    fn a_thread_is_pinned_to_a_core_that_exists() {
        std::thread::spawn(|| {
            assert!(pin_thread_to_core(1_000_000).is_err());
            assert!(pin_thread_to_core(1023).is_err());
            // SAFETY: no arguments.
            let core = unsafe { libc::sched_getcpu() } as usize;
            pin_thread_to_core(core).expect("the core this thread runs on");
            assert_eq!(core_count(), 1);
        })
        .join()
        .expect("no panic");
    }
}
