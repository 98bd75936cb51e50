//! Sleeping until something happens.

use std::future::Future;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_channel::Receiver;

use crate::sys::{EventFd, Poller, wait_readable};

/// No sleep lasts longer. Looking once a second costs 0.01 % of a core, and whatever else the
/// machine does wrong costs this much time and no more.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long to sleep when the kernel refuses to wait.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Why a sleep ended.
#[derive(Debug, Eq, PartialEq)]
pub enum Woken<T> {
    /// A descriptor of the epoll set is ready, or was a moment ago.
    Readable,
    /// This message came.
    Message(T),
    /// Nobody can send messages any more.
    Closed,
    /// The time is over.
    Time,
}

/// Lets a task that is alone on its executor sleep on an epoll set, a channel and time.
///
/// The thread itself sleeps, in one system call: there is nobody to keep waiting, and a sleep
/// through glommio's rings takes sixteen. Whoever sends on the channel rings a bell, an eventfd in
/// the epoll set.
pub struct Sleeper<T> {
    poller: Rc<Poller>,
    inbound: Receiver<T>,
    bell: Arc<Bell>,
    ring_bell: Waker,
}

impl<T> Sleeper<T> {
    /// The bell's token in the epoll set. When it is ready, call [`Sleeper::silence`].
    pub const BELL_TOKEN: u64 = u64::MAX;

    /// A sleeper on `poller` and `inbound`.
    ///
    /// # Errors
    ///
    /// The kernel's refusal of one more descriptor.
    pub fn new(poller: Rc<Poller>, inbound: Receiver<T>) -> io::Result<Self> {
        let bell = Arc::new(Bell(EventFd::new()?));
        poller.add(bell.0.as_fd(), Self::BELL_TOKEN, false)?;
        let ring_bell = Waker::from(Arc::clone(&bell));
        Ok(Self { poller, inbound, bell, ring_bell })
    }

    /// The channel, to take messages from without sleeping.
    pub fn inbound(&self) -> &Receiver<T> {
        &self.inbound
    }

    /// Makes the bell wait for the next message.
    pub fn silence(&self) {
        self.bell.0.clear();
    }

    /// Sleeps until a message comes, `at_most` has passed or a descriptor of the epoll set is
    /// ready. May end sooner with [`Woken::Readable`] or [`Woken::Time`].
    pub fn sleep(&self, at_most: Option<Duration>) -> Woken<T> {
        // Registers the bell with the channel. The future hands out a message only when it is
        // polled, so it can be dropped without loss.
        let mut message = pin!(self.inbound.recv());
        let mut context = Context::from_waker(&self.ring_bell);
        if let Poll::Ready(message) = message.as_mut().poll(&mut context) {
            return message.map_or(Woken::Closed, Woken::Message);
        }
        let at_most = at_most.map_or(SLEEP_MAX, |at_most| at_most.min(SLEEP_MAX));
        match wait_readable(self.poller.as_fd(), at_most) {
            Ok(true) => Woken::Readable,
            Ok(false) => Woken::Time,
            Err(_) => {
                // The kernel is short of memory: looking now and then is slow, but alive.
                self.pause(RETRY_AFTER.min(at_most));
                Woken::Time
            }
        }
    }

    /// Sleeps for `time`, whatever comes.
    pub fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl<T> std::fmt::Debug for Sleeper<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleeper").field("poller", &self.poller).finish_non_exhaustive()
    }
}

/// Wakes by making a descriptor readable.
struct Bell(EventFd);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.set();
    }
}
