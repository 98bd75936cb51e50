//! Changes by datagram: `SET exten STATE`, answered `OK` or `ERR why`; spoken by
//! `lampload null-target` and easy to speak from a test.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use lampfield_net::sys::wait_readable;

use super::{Announcer, Answers, Change, Driver};
use crate::clock::{Clock, Nanos};
use crate::outcome::LoadError;

/// The datagram way.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    clock: Clock,
    sent: VecDeque<(u32, Nanos)>,
    answers: Answers,
}

impl Udp {
    /// Opens a socket towards `address`.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn open(address: SocketAddr, clock: Clock) -> Result<Udp, LoadError> {
        let open = || {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|error: std::io::Error| {
            LoadError::Setup(format!("changes over udp://{address}: {error}"))
        })?;
        Ok(Udp { socket, clock, sent: VecDeque::new(), answers: Answers::default() })
    }

    fn take_answers(&mut self) {
        let mut buffer = [0; 512];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let Some((extension, sent_ns)) = self.sent.pop_front() else {
                return;
            };
            let text = String::from_utf8_lossy(&buffer[..length]);
            match text.trim().strip_prefix("ERR") {
                Some(why) => self.answers.refuse(extension, why.trim()),
                None => self.answers.accept(self.clock.now().saturating_sub(sent_ns)),
            }
        }
    }
}

impl Driver for Udp {
    fn set(&mut self, change: Change, announcer: &Announcer) -> Result<(), LoadError> {
        let (extension, state) = (announcer.extension(change), announcer.state(change).token());
        let sent_ns = announcer.announce(change);
        match self.socket.send(format!("SET {extension} {state}").as_bytes()) {
            Ok(_) => self.sent.push_back((change.extension, sent_ns)),
            Err(error) => self.answers.refuse(change.extension, &error.to_string()),
        }
        Ok(())
    }

    fn serve(&mut self, until_ns: Nanos, _announcer: &Announcer) -> Result<(), LoadError> {
        self.take_answers();
        while !self.sent.is_empty() && self.clock.now() < until_ns {
            let left = Duration::from_nanos(until_ns.saturating_sub(self.clock.now()));
            let _ = wait_readable(self.socket.as_fd(), left);
            self.take_answers();
        }
        Ok(())
    }

    fn outstanding_count(&self) -> usize {
        self.sent.len()
    }

    fn prime_window(&self) -> usize {
        64
    }

    fn answers(&mut self) -> &mut Answers {
        &mut self.answers
    }
}
