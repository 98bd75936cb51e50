//! A client of the manager interface, which blocks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A message: its headers in order.
pub(crate) type Message = Vec<(String, String)>;

/// How long a client waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection to a node's manager interface.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    text: Vec<u8>,
}

impl Client {
    /// Connects and reads the banner.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        let mut client = Self { stream, text: Vec::new() };
        assert_eq!(client.line().as_deref(), Some("Asterisk Call Manager/11.0.0"));
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next message; `None` when the server closed the connection.
    pub(crate) fn message(&mut self) -> Option<Message> {
        let mut message = Message::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(message);
            }
            message.push(header_of(&line));
        }
    }

    fn line(&mut self) -> Option<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.text.windows(2).position(|window| window == b"\r\n") {
                let rest = self.text.split_off(place + 2);
                let line = std::mem::replace(&mut self.text, rest);
                return Some(String::from_utf8(line[..place].to_vec()).unwrap());
            }
            if !self.fill(end) {
                assert!(Instant::now() < end, "the server says nothing");
                return None;
            }
        }
    }

    /// Reads more; false at the end of the connection or of the time.
    fn fill(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.stream.set_read_timeout(Some(left)).unwrap();
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.text.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }
}

/// A header as it is written in a line.
pub(crate) fn header_of(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header: {line}"));
    (name.to_owned(), value.to_owned())
}

/// The value of a header.
pub(crate) fn value<'m>(message: &'m Message, name: &str) -> &'m str {
    let found = message.iter().find(|(n, _)| n == name);
    found.map_or("", |(_, value)| value)
}
