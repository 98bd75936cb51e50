//! The shards' executors: glommio 0.9.0, and the little of it that is safe to use.
//!
//! Its UDP futures send or eat datagrams when a socket is full or a future is dropped, its shared
//! channels leak a waker on every poll that is raced with another, and its default pre-emption
//! starves I/O. So a shard is one task on one executor that does all I/O with plain non-blocking
//! calls ([`crate::sys`]) over one epoll set ([`Poller`]), and glommio gives it its pinned thread.
//! A task that is alone has nobody to yield to and nothing to cancel at the end, and it sleeps with
//! its thread ([`Sleeper`]): through glommio's rings a sleep takes sixteen system calls instead of
//! one, some 100 us of CPU with the waking, which is most of what a change with few watchers costs.
//!
//! Wake-ups get lost there, too: `LocalExecutor::run_task_queues` runs nothing if the latency ring
//! has an event when it begins, and the executor then goes to sleep although a task is ready to run.
//! Such an event is the pre-emption timer (when the thread was off its core for so long in just that
//! moment) or a wake-up from another thread. The timer is set to hours, since a task that is alone
//! need not be pre-empted, and other threads wake a shard through its epoll set.

mod probe;
mod sleep;

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

pub use probe::{ProbeError, probe};
pub use sleep::{Sleeper, Woken};

use crate::sys;
#[cfg(doc)]
use crate::sys::Poller;

/// Bytes of I/O memory per executor, registered with the kernel. Sockets use none of it; the
/// default of 10 MiB makes every start slow and fails for users with the usual memlock limit.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Ring entries per executor. Hardly any is used; larger rings only cost locked memory.
const RING_DEPTH: usize = 128;

/// Never, in effect: see the module's description.
const PREEMPT_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A running executor and its one task.
#[derive(Debug)]
pub struct Executor<T> {
    thread: JoinHandle<Option<T>>,
    core: Option<usize>,
}

impl<T> Executor<T> {
    /// The core the thread is pinned to; `None` if it runs on any.
    pub fn core(&self) -> Option<usize> {
        self.core
    }

    /// True when the task has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the task's end.
    pub fn join(self) -> T {
        let result = self.thread.join().expect("a panic in the thread has ended the process");
        result.expect("the executor was built, so its task ran")
    }
}

/// Starts an executor in a thread called `name`, on `core` if the process may use it, and gives it
/// one task. A panic of the task ends the process: what is left without a shard would only look
/// alive.
///
/// # Errors
///
/// The kernel's refusal of a thread or of a ring; [`probe`] tells the reason in words.
pub fn spawn<T, F>(
    name: &str,
    core: Option<usize>,
    task: impl FnOnce() -> F + Send + 'static,
) -> io::Result<Executor<T>>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let core = core.filter(|core| sys::allowed_cores().contains(core));
    let (tell, built) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut guard = AbortOnPanic { building: true };
        match build(core) {
            Ok((executor, core)) => {
                guard.building = false;
                let _ = tell.send(Ok(core));
                Some(executor.run(async move { task().await }))
            }
            Err(error) => {
                let _ = tell.send(Err(error));
                None
            }
        }
    })?;
    let built =
        built.recv().map_err(|_| io::Error::other("the executor's thread ended at once"))?;
    Ok(Executor { thread, core: built? })
}

/// An executor on `core`; on any core when that one is refused, as in a container whose cores
/// change under it.
fn build(core: Option<usize>) -> io::Result<(LocalExecutor, Option<usize>)> {
    let on = |placement| {
        LocalExecutorBuilder::new(placement)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT_AFTER)
            .make()
    };
    if let Some(core) = core
        && let Ok(executor) = on(Placement::Fixed(core))
    {
        return Ok((executor, Some(core)));
    }
    let executor = on(Placement::Unbound).map_err(|error| io::Error::other(error.to_string()))?;
    Ok((executor, None))
}

/// Ends the process when it is dropped by a panic; the panic's own message has been printed.
struct AbortOnPanic {
    building: bool,
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            if self.building {
                // glommio panics with "kernel too old" whatever the kernel's reason is.
                eprintln!(
                    "error: an executor was refused although io_uring works: most likely the \
                     memlock limit is used up by this user's processes, or by one that has just \
                     ended; raise it (LimitMEMLOCK=, `ulimit -l`) or start again"
                );
            }
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::rc::Rc;

    use super::*;
    use crate::sys::Poller;

    #[test]
    fn a_sleeper_is_woken_by_bytes_by_messages_and_by_time_and_else_costs_nothing() {
        probe(1).expect("io_uring works here");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("bound");
        let (sender, inbound) = async_channel::bounded::<u32>(8);
        let (tell, told) = mpsc::channel();
        let executor = spawn("sleeper", Some(0), move || async move {
            let poller = Rc::new(Poller::new().expect("epoll"));
            poller.add(socket.as_fd(), 0, false).expect("add");
            let sleeper = Sleeper::new(Rc::clone(&poller), inbound).expect("a bell");
            let mut ready = Vec::new();
            let mut buffer = [0; 16];
            let mut cpu_asleep = Duration::ZERO;
            loop {
                let before = sys::thread_cpu_time();
                let woken = sleeper.sleep(Some(Duration::from_millis(300)));
                match woken {
                    // The bell, or a datagram that was read before its turn.
                    Woken::Readable => {
                        poller.wait(Duration::ZERO, &mut ready).expect("epoll");
                        sleeper.silence();
                        if !ready.iter().any(|ready| ready.token == 0) {
                            continue;
                        }
                        let (length, _) = socket.recv_from(&mut buffer).expect("a datagram");
                        assert_eq!(length, 3);
                    }
                    Woken::Time => cpu_asleep = sys::thread_cpu_time() - before,
                    Woken::Closed => return cpu_asleep,
                    Woken::Message(_) => {}
                }
                tell.send(format!("{woken:?}")).expect("the test listens");
            }
        })
        .expect("an executor");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let next = || told.recv_timeout(Duration::from_secs(5)).expect("woken in time");
        for number in 0..200 {
            client.send_to(b"abc", address).expect("sent");
            assert_eq!(next(), "Readable");
            sender.send_blocking(number).expect("taken");
            assert_eq!(next(), format!("Message({number})"));
        }
        assert_eq!(next(), "Time");
        drop(sender);
        let cpu_asleep = executor.join();
        assert!(cpu_asleep < Duration::from_millis(5), "{cpu_asleep:?} CPU for 300 ms of sleep");
    }

    #[test]
    fn an_executor_runs_on_any_core_when_the_wanted_one_is_not_there() {
        let executor = spawn("anywhere", Some(100_000), || async { 7 }).expect("an executor");
        assert_eq!((executor.core(), executor.join()), (None, 7));
    }
}
