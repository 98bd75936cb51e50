//! What lies between a connection and its socket: nothing, or TLS.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use rustls::Connection;

/// Room that one round of decryption may need: what the library keeps, and a record.
const ROUND_BYTES_MAX: usize = 40 << 10;

/// The way of a connection's bytes.
#[derive(Debug)]
pub(super) struct Channel {
    stream: TcpStream,
    session: Option<Box<Connection>>,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Got {
    /// Bytes put into the buffer.
    pub(super) length: usize,
    /// The peer sends no more.
    pub(super) is_end: bool,
}

impl Channel {
    pub(super) fn new(stream: TcpStream, session: Option<Connection>) -> Self {
        Self { stream, session: session.map(Box::new) }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn is_secure(&self) -> bool {
        self.session.is_some()
    }

    /// Whether the peers have still to agree on keys.
    pub(super) fn is_handshaking(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_handshaking())
    }

    /// Something is to be written that is not the caller's: a handshake, or what it gave before.
    pub(super) fn wants_write(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.wants_write())
    }

    /// Reads what is there, as far as `buffer` goes, which must hold [`ROUND_BYTES_MAX`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`]: the peer breaks the rules of TLS, or we of its. `WouldBlock` is
    /// none: then nothing was got.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        let Self { stream, session } = self;
        match session {
            None => match stream.read(buffer) {
                Ok(length) => Ok(Got { length, is_end: length == 0 }),
                Err(error) if is_no_error(&error) => Ok(Got { length: 0, is_end: false }),
                Err(error) => Err(error),
            },
            Some(session) => read_tls(stream, session, buffer),
        }
    }

    /// Takes some of `bytes` and writes as far as the peer takes it. Returns how many were taken;
    /// with none to give, what was taken earlier is written.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the peer takes nothing now; others end the connection.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { stream, session } = self;
        let Some(session) = session else { return stream.write(bytes) };
        let taken = session.writer().write(bytes)?;
        while session.wants_write() {
            match session.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What was taken is the library's now; the next call meets the same error.
                Err(_) if taken > 0 => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
        // Before the keys are agreed on the library takes only so much.
        if taken == 0 && !bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Tells the peer why the connection ends, or that it does, if it listens; waits for nothing.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(session) = &mut self.session {
            session.send_close_notify();
            let _ = session.write_tls(&mut self.stream);
        }
    }
}

fn read_tls(
    stream: &mut TcpStream,
    session: &mut Connection,
    buffer: &mut [u8],
) -> io::Result<Got> {
    let mut got = Got { length: 0, is_end: false };
    while buffer.len() - got.length >= ROUND_BYTES_MAX && !got.is_end {
        match session.read_tls(stream) {
            Ok(read) => got.is_end = read == 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
        let state = session.process_new_packets();
        let state = state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        // A peer that goes without a word has gone all the same: SIP frames its messages itself.
        got.is_end |= state.peer_has_closed();
        while state.plaintext_bytes_to_read() > 0 {
            match session.reader().read(&mut buffer[got.length..]) {
                Ok(0) => break,
                Ok(length) => got.length += length,
                Err(_) => break,
            }
        }
    }
    Ok(got)
}

fn is_no_error(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
