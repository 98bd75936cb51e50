//! Sleeping until something happens.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_channel::Receiver;
use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::Timer;

use crate::sys::{EventFd, Poller};

/// No sleep lasts longer. A wake-up that glommio loses in a way we do not know yet would cost this
/// much time and no more; looking once a second costs 0.01 % of a core.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long to sleep when no poll can be armed.
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

/// Lets a task sleep on an epoll set, a channel and time.
///
/// Whoever sends on the channel rings a bell, an eventfd in the same epoll set: glommio's own way
/// to wake an executor from another thread can get lost (see [`super`]).
pub struct Sleeper<T> {
    poller: Rc<Poller>,
    inbound: Receiver<T>,
    bell: Arc<Bell>,
    ring_bell: Waker,
    /// The poll armed in the ring; kept over sleeps that end otherwise, since arming costs.
    armed: Option<Readiness>,
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
        Ok(Self { poller, inbound, bell, ring_bell, armed: None })
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
    pub async fn sleep(&mut self, at_most: Option<Duration>) -> Woken<T> {
        let Self { poller, inbound, ring_bell, armed, .. } = self;
        // Registers the bell with the channel. The future hands out a message only when it is
        // polled, so it can be dropped without loss.
        let mut message = pin!(inbound.recv());
        if let Poll::Ready(message) = message.as_mut().poll(&mut Context::from_waker(ring_bell)) {
            return message.map_or(Woken::Closed, Woken::Message);
        }
        let mut at_most = at_most.map_or(SLEEP_MAX, |at_most| at_most.min(SLEEP_MAX));
        if armed.is_none() {
            match Readiness::arm(poller.as_fd()) {
                Ok(readiness) => *armed = Some(readiness),
                // Out of descriptors: looking again now and then is slow, but alive.
                Err(_) => at_most = at_most.min(RETRY_AFTER),
            }
        }
        let mut timer = Timer::new(at_most);
        poll_fn(|context| {
            if armed.as_mut().is_some_and(|readiness| readiness.poll(context).is_ready()) {
                *armed = None;
                return Poll::Ready(Woken::Readable);
            }
            Pin::new(&mut timer).poll(context).map(|_| Woken::Time)
        })
        .await
    }

    /// Sleeps for `time`, whatever comes. The thread itself sleeps, and the executor with it: its
    /// one task has nobody to keep waiting, and a short sleep through the ring takes five system
    /// calls instead of one.
    pub fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl<T> std::fmt::Debug for Sleeper<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleeper").field("armed", &self.armed.is_some()).finish_non_exhaustive()
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

/// One poll of an epoll set in the ring.
///
/// glommio has no public way to wait for a descriptor. Its `TcpStream` arms a plain ring poll when
/// it is made from a descriptor and reads only when that poll has completed. An epoll set is not a
/// socket, so this read always fails (`ENOTSOCK`): the failure is the news that the set is ready.
/// The poll is used up then; the next wait takes a new stream.
struct Readiness(TcpStream);

impl Readiness {
    fn arm(set: BorrowedFd<'_>) -> io::Result<Self> {
        let own = set.try_clone_to_owned()?;
        // SAFETY: the descriptor is a fresh duplicate; the stream becomes its only owner.
        Ok(Self(unsafe { TcpStream::from_raw_fd(own.into_raw_fd()) }))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0];
        Pin::new(&mut self.0).poll_read(context, &mut byte).map(|result| {
            debug_assert_eq!(
                result.err().and_then(|error| error.raw_os_error()),
                Some(libc::ENOTSOCK)
            );
        })
    }
}
