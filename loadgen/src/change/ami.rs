//! Changes over the Asterisk Manager Interface: `Setvar` of `DEVICE_STATE(device)`, pipelined
//! (reference/ami.md sections 2 and 6).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use lampfield_net::sys::wait_readable;
use lampfield_wire::ami::{AmiMessage, AmiReader};
use md5::{Digest as _, Md5};

use super::{Announcer, Answers, Change, Driver};
use crate::clock::{Clock, Nanos, SECOND};
use crate::outcome::LoadError;

/// Longest wait for the connection, and for each answer while logging in.
const LOGIN_WAIT: Duration = Duration::from_secs(10);

/// A logged-in manager session.
pub struct Ami {
    address: String,
    stream: TcpStream,
    reader: AmiReader,
    clock: Clock,
    /// Changes written and not answered: ActionID, extension, time.
    sent: VecDeque<(u64, u32, Nanos)>,
    next_action_id: u64,
    text: String,
    answers: Answers,
}

impl Ami {
    /// Connects and logs in, by challenge if `md5`.
    ///
    /// # Errors
    ///
    /// Names the step that failed, and what the server said.
    pub fn connect(
        address: &str,
        user: &str,
        secret: &str,
        md5: bool,
        clock: Clock,
    ) -> Result<Ami, LoadError> {
        let stream = open(address).map_err(|error| broken(address, &error.to_string()))?;
        let mut ami = Ami {
            address: address.to_owned(),
            stream,
            reader: AmiReader::for_client(),
            clock,
            sent: VecDeque::new(),
            next_action_id: 1,
            text: String::new(),
            answers: Answers::default(),
        };
        let proof = if md5 {
            let answer = ami.ask("Action: Challenge\r\nAuthType: MD5\r\n")?;
            let challenge = answer
                .get("Challenge")
                .ok_or_else(|| broken(address, &format!("no challenge: {}", said(&answer))))?;
            let key = Md5::new().chain_update(challenge).chain_update(secret).finalize();
            let key = key.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            format!("AuthType: MD5\r\nKey: {key}")
        } else {
            format!("Secret: {secret}")
        };
        let login = format!("Action: Login\r\nUsername: {user}\r\n{proof}\r\nEvents: off\r\n");
        let answer = ami.ask(&login)?;
        if answer.get("Response") != Some("Success") {
            return Err(broken(address, &format!("login as {user}: {}", said(&answer))));
        }
        Ok(ami)
    }

    /// Writes one action and waits for its answer; only before changes are sent.
    fn ask(&mut self, action: &str) -> Result<AmiMessage, LoadError> {
        self.write(&format!("{action}\r\n"))?;
        let deadline_ns = self.clock.now() + LOGIN_WAIT.as_nanos() as Nanos;
        let mut found = None;
        while found.is_none() {
            if self.clock.now() > deadline_ns {
                return Err(broken(&self.address, "no answer to the login within 10 s"));
            }
            self.read(deadline_ns, |_, message| {
                if message.get("Response").is_some() {
                    found = Some(message);
                }
            })?;
        }
        found.ok_or_else(|| broken(&self.address, "no answer"))
    }

    fn write(&mut self, text: &str) -> Result<(), LoadError> {
        self.stream.write_all(text.as_bytes()).map_err(|e| broken(&self.address, &e.to_string()))
    }

    /// Waits until something can be read, and hands every whole message to `take`.
    fn read(
        &mut self,
        until_ns: Nanos,
        mut take: impl FnMut(&mut Ami, AmiMessage),
    ) -> Result<(), LoadError> {
        let left = Duration::from_nanos(until_ns.saturating_sub(self.clock.now()));
        if !wait_readable(self.stream.as_fd(), left).unwrap_or(false) {
            return Ok(());
        }
        let mut buffer = [0; 16 * 1024];
        let length = match self.stream.read(&mut buffer) {
            Ok(0) => return Err(broken(&self.address, "the server closed the connection")),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(broken(&self.address, &error.to_string())),
        };
        let mut input = &buffer[..length];
        while let Some(message) = self.reader.read(&mut input) {
            let message = message.map_err(|error| broken(&self.address, &error.to_string()))?;
            take(self, message);
        }
        Ok(())
    }

    fn take_answer(&mut self, message: &AmiMessage) {
        let Some(response) = message.get("Response") else {
            return;
        };
        let id = message.get("ActionID").and_then(|id| id.parse::<u64>().ok());
        let at = self.sent.iter().position(|(sent_id, ..)| Some(*sent_id) == id);
        let Some((_, extension, sent_ns)) = at.and_then(|at| self.sent.remove(at)) else {
            return;
        };
        if response == "Success" {
            self.answers.accept(self.clock.now().saturating_sub(sent_ns));
        } else {
            self.answers.refuse(extension, &said(message));
        }
    }
}

impl Driver for Ami {
    fn set(&mut self, change: Change, announcer: &Announcer) -> Result<(), LoadError> {
        let id = self.next_action_id;
        self.next_action_id += 1;
        let device = announcer.scenario.device(announcer.extension(change));
        let state = announcer.state(change).token();
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let _ = write!(
            text,
            "Action: Setvar\r\nActionID: {id}\r\nVariable: DEVICE_STATE({device})\r\n\
             Value: {state}\r\n\r\n"
        );
        let sent_ns = announcer.announce(change);
        self.sent.push_back((id, change.extension, sent_ns));
        let written = self.write(&text);
        self.text = text;
        written
    }

    fn serve(&mut self, until_ns: Nanos, _announcer: &Announcer) -> Result<(), LoadError> {
        while !self.sent.is_empty() && self.clock.now() < until_ns {
            self.read(until_ns, |ami, message| ami.take_answer(&message))?;
        }
        Ok(())
    }

    fn outstanding_count(&self) -> usize {
        self.sent.len()
    }

    fn prime_window(&self) -> usize {
        256
    }

    fn answers(&mut self) -> &mut Answers {
        &mut self.answers
    }
}

impl Drop for Ami {
    fn drop(&mut self) {
        let _ = self.stream.write_all(b"Action: Logoff\r\n\r\n");
    }
}

fn open(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LOGIN_WAIT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                // A server that stops reading for this long has failed, not slowed down.
                stream.set_write_timeout(Some(Duration::from_nanos(30 * SECOND)))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn said(message: &AmiMessage) -> String {
    message.get("Message").or_else(|| message.get("Response")).unwrap_or("no message").to_owned()
}

fn broken(address: &str, what: &str) -> LoadError {
    LoadError::Setup(format!("AMI at {address}: {what}"))
}
