//! One AMI connection: reads requests, writes replies and events, and keeps the time.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lampfield_wire::ami::{AmiReader, AmiWriter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{Change, Node};
use super::hub::EventQueue;
use super::request::Request;
use super::{AUTH_TIMEOUT_DEFAULT_S, BANNER, Gate};
use crate::config::AmiUser;

/// Replies are written out when they have grown to this, so a long list never lies in memory.
const WRITE_BYTES: usize = 64 * 1024;

/// Without a user (or with one that says 0): how long a client may refuse to take bytes.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

/// Bytes taken from the socket at once.
const READ_BYTES: usize = 8 * 1024;

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    Continue,
    Close,
}

/// One connection and what it has said about itself.
pub(super) struct Connection {
    pub(super) node: Rc<Node>,
    pub(super) gate: Rc<Gate>,
    pub(super) peer: SocketAddr,
    pub(super) login: Option<Login>,
    /// Text of the MD5 challenge, once asked for.
    pub(super) challenge: Option<String>,
    pub(super) replies: Vec<u8>,
    /// Changes under way, oldest first. Those that come in one piece are made together and
    /// answered together, in order; every other request waits until they are applied.
    pub(super) changes: Vec<Changing>,
    /// The last request said `SuppressEvents`.
    holds_events: bool,
    /// Events that wait for the next one because of that.
    held_count: usize,
    stream: TcpStream,
}

/// A change under way, and what its reply repeats.
pub(super) struct Changing {
    pub(super) request: Request,
    pub(super) change: Change,
}

/// A user who logged in.
pub(super) struct Login {
    pub(super) user: AmiUser,
    pub(super) queue: Rc<EventQueue>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, node: Rc<Node>, gate: Rc<Gate>) -> Self {
        let (login, challenge, replies) = (None, None, Vec::new());
        let (changes, holds_events, held_count) = (Vec::new(), false, 0);
        Self {
            node,
            gate,
            peer,
            login,
            challenge,
            replies,
            changes,
            holds_events,
            held_count,
            stream,
        }
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(&mut self) -> std::io::Result<()> {
        write_all(&mut self.stream, BANNER.as_bytes(), WRITE_TIMEOUT, None).await?;
        let auth_timeout_s = match self.node.config().ami.as_ref().map_or(0, |a| a.auth_timeout_s) {
            0 => AUTH_TIMEOUT_DEFAULT_S,
            timeout_s => timeout_s,
        };
        let auth_deadline = Instant::now() + Duration::from_secs(auth_timeout_s.into());
        let mut reader = AmiReader::for_server();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let Some(read) = self.read(&mut buffer, auth_deadline).await? else {
                self.write_events().await?;
                continue;
            };
            if read == 0 {
                return Ok(());
            }
            let mut bytes = &buffer[..read];
            while let Some(message) = reader.read(&mut bytes) {
                match message {
                    // An empty line between messages.
                    Ok(message) if message.is_empty() => {}
                    Ok(message) => {
                        if self.serve(message.into()).await? == Next::Close {
                            return Ok(());
                        }
                    }
                    Err(error) => {
                        self.finish_changes().await;
                        let reply = AmiWriter::response(&mut self.replies, "Error", None);
                        reply.header("Message", &error.to_string()).end();
                        self.write_replies(0).await?;
                    }
                }
            }
            if !self.changes.is_empty() {
                self.finish_changes().await;
                self.write_out().await?;
            }
        }
    }

    /// Handles one request, writes its reply, then the events that came meanwhile. A change is
    /// only begun.
    async fn serve(&mut self, request: Request) -> std::io::Result<Next> {
        self.holds_events = !request.get("SuppressEvents").is_empty();
        let next = self.act(request).await?;
        if self.changes.is_empty() {
            self.write_out().await?;
        }
        Ok(next)
    }

    /// Writes replies, then events.
    async fn write_out(&mut self) -> std::io::Result<()> {
        self.write_replies(0).await?;
        if self.holds_events {
            self.held_count = self.login.as_ref().map_or(0, |login| login.queue.len());
            return Ok(());
        }
        self.write_events().await
    }

    /// Writes out replies if at least `bytes_min` bytes of them have come together.
    pub(super) async fn write_replies(&mut self, bytes_min: usize) -> std::io::Result<()> {
        if self.replies.len() < bytes_min.max(1) {
            return Ok(());
        }
        let write_timeout = self.write_timeout();
        let queue = self.login.as_ref().map(|login| &*login.queue);
        write_all(&mut self.stream, &self.replies, write_timeout, queue).await?;
        self.replies.clear();
        self.replies.shrink_to(WRITE_BYTES);
        Ok(())
    }

    /// As [`Connection::write_replies`], for the rows of a list.
    pub(super) async fn write_row(&mut self) -> std::io::Result<()> {
        self.write_replies(WRITE_BYTES).await
    }

    /// Waits until events are queued or the time is over, and takes those that are queued. A client
    /// that goes away meanwhile is noticed.
    pub(super) async fn wait_for_events(&mut self, time: Option<Duration>) -> std::io::Result<()> {
        let Some(Login { queue, .. }) = &self.login else { return Ok(()) };
        let queue = Rc::clone(queue);
        let stream = &self.stream;
        let gone = async {
            match stream.peek(&mut [0]).await {
                Ok(0) => Error::from(ErrorKind::UnexpectedEof),
                // The next request waits for this one.
                Ok(_) => std::future::pending().await,
                Err(error) => error,
            }
        };
        let over = async {
            match time {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = queue.wait(0) => Ok(()),
            () = over => Ok(()),
            error = gone => Err(error),
        }
    }

    /// Moves what is queued behind the replies.
    pub(super) async fn reply_events(&mut self) -> std::io::Result<()> {
        let Some(Login { queue, .. }) = &self.login else { return Ok(()) };
        let queue = Rc::clone(queue);
        // Only those that are there now: others may come faster than they are written.
        for _ in 0..queue.len() {
            let Some(frame) = queue.pop() else { break };
            self.replies.extend_from_slice(&frame.text);
            self.write_row().await?;
        }
        Ok(())
    }

    async fn write_events(&mut self) -> std::io::Result<()> {
        self.held_count = 0;
        let write_timeout = self.write_timeout();
        let Some(Login { queue, .. }) = &self.login else {
            return Ok(());
        };
        let mut text = Vec::new();
        while let Some(frame) = queue.pop() {
            text.extend_from_slice(&frame.text);
            if text.len() >= WRITE_BYTES {
                write_all(&mut self.stream, &text, write_timeout, Some(queue)).await?;
                text.clear();
            }
        }
        write_all(&mut self.stream, &text, write_timeout, Some(queue)).await
    }

    /// Bytes from the client; `None` when events wait. Without a login it ends in time.
    async fn read(
        &mut self,
        buffer: &mut [u8],
        auth_deadline: Instant,
    ) -> std::io::Result<Option<usize>> {
        match &self.login {
            Some(Login { queue, .. }) => tokio::select! {
                read = self.stream.read(buffer) => read.map(Some),
                () = queue.wait(self.held_count) => Ok(None),
            },
            None => tokio::select! {
                read = self.stream.read(buffer) => read.map(Some),
                () = sleep_until(auth_deadline) => {
                    Err(Error::new(ErrorKind::TimedOut, "no login in time (authtimeout)"))
                }
            },
        }
    }

    fn write_timeout(&self) -> Duration {
        match self.login.as_ref().map(|login| login.user.write_timeout_ms) {
            None | Some(0) => WRITE_TIMEOUT,
            Some(ms) => Duration::from_millis(ms.into()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gate.leave(self.login.as_ref().map(|login| login.user.name.as_str()));
        if let Some(login) = &self.login {
            self.node.hub.leave(&login.queue);
        }
    }
}

/// Writes everything, as long as the client takes some of it within `write_timeout` and has not
/// fallen so far behind with events that some are lost.
async fn write_all(
    stream: &mut TcpStream,
    mut bytes: &[u8],
    write_timeout: Duration,
    queue: Option<&EventQueue>,
) -> std::io::Result<()> {
    while !bytes.is_empty() {
        if queue.is_some_and(EventQueue::overflowed) {
            return Err(Error::new(ErrorKind::TimedOut, "too slow: its event queue is full"));
        }
        match timeout(write_timeout, stream.write(bytes)).await {
            Ok(Ok(0)) => return Err(ErrorKind::WriteZero.into()),
            Ok(Ok(written)) => bytes = &bytes[written..],
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let text = format!("too slow: took nothing for {} ms", write_timeout.as_millis());
                return Err(Error::new(ErrorKind::TimedOut, text));
            }
        }
    }
    Ok(())
}
