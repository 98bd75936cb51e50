//! Sleeping until something happens.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_channel::Receiver;
use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::Timer;

use crate::sys::Poller;

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

/// Lets a task sleep on three things: an epoll set, a channel and time.
///
/// Each of the three may be polled often and dropped half-way without loss: a ring poll reads
/// nothing, and a channel hands out a message only with the wake-up.
pub struct Sleeper<T> {
    poller: Rc<Poller>,
    inbound: Receiver<T>,
    /// The poll armed in the ring; kept over sleeps that end otherwise, since arming costs.
    armed: Option<Readiness>,
}

impl<T> Sleeper<T> {
    /// A sleeper on `poller` and `inbound`.
    pub fn new(poller: Rc<Poller>, inbound: Receiver<T>) -> Self {
        Self { poller, inbound, armed: None }
    }

    /// The channel, to take messages from without sleeping.
    pub fn inbound(&self) -> &Receiver<T> {
        &self.inbound
    }

    /// Sleeps until a message comes, `at_most` has passed or, if `readable`, a descriptor of the
    /// epoll set is ready. May end with [`Woken::Readable`] although nothing is ready.
    pub async fn sleep(&mut self, readable: bool, at_most: Option<Duration>) -> Woken<T> {
        let Self { poller, inbound, armed } = self;
        let mut message = pin!(inbound.recv());
        let mut timer = at_most.map(Timer::new);
        if readable && armed.is_none() {
            match Readiness::arm(poller.as_fd()) {
                Ok(readiness) => *armed = Some(readiness),
                // Out of descriptors: looking again now and then is slow, but alive.
                Err(_) => timer = Some(Timer::new(at_most.unwrap_or(RETRY_AFTER).min(RETRY_AFTER))),
            }
        }
        poll_fn(|context| {
            if let Poll::Ready(message) = message.as_mut().poll(context) {
                return Poll::Ready(message.map_or(Woken::Closed, Woken::Message));
            }
            if readable
                && let Some(readiness) = armed
                && readiness.poll(context).is_ready()
            {
                *armed = None;
                return Poll::Ready(Woken::Readable);
            }
            if let Some(timer) = &mut timer
                && Pin::new(timer).poll(context).is_ready()
            {
                return Poll::Ready(Woken::Time);
            }
            Poll::Pending
        })
        .await
    }
}

impl<T> std::fmt::Debug for Sleeper<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleeper").field("armed", &self.armed.is_some()).finish_non_exhaustive()
    }
}

const RETRY_AFTER: Duration = Duration::from_millis(10);

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
