//! A client of the console socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// One connection to a node's console.
pub(crate) struct Console {
    stream: BufReader<UnixStream>,
}

impl Console {
    pub(crate) fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Runs a command: what it printed, and whether it went well.
    pub(crate) fn run(&mut self, command: &str) -> (String, bool) {
        self.ask("run", command)
    }

    pub(crate) fn ask(&mut self, verb: &str, text: &str) -> (String, bool) {
        self.stream.get_mut().write_all(format!("{verb} {text}\n").as_bytes()).unwrap();
        let mut output = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).unwrap(), 0, "the console hung up");
            match line.as_str() {
                "ok\n" => return (output, true),
                "failed\n" => return (output, false),
                line => output.push_str(line.strip_prefix('|').unwrap()),
            }
        }
    }
}
