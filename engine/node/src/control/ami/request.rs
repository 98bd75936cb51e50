//! Reading AMI messages from a byte stream: lines of at most [`LINE_BYTES_MAX`] bytes, at most
//! [`HEADER_COUNT_MAX`] of them, ended by an empty line.
//!
//! Source: `reference/ami.md` section 1. Memory for one message is bounded by the two limits. A
//! message that breaks one is reported when it ends, and the connection stays usable. Empty lines
//! between messages are skipped.

/// Bytes of one line, its end not counted.
pub const LINE_BYTES_MAX: usize = 1024;
/// Headers of one message.
pub const HEADER_COUNT_MAX: usize = 128;

/// One message of a client.
#[derive(Debug, Default)]
pub(crate) struct Request {
    headers: Vec<(String, String)>,
    /// What was wrong with its shape, if anything.
    pub(crate) fault: Option<Fault>,
}

/// How a message broke the framing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    LineTooLong,
    TooManyLines,
}

impl Fault {
    /// The text Asterisk answers.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::LineTooLong => "Failed to parse message: line too long",
            Self::TooManyLines => "Too many lines in message or allocation failure",
        }
    }
}

impl Request {
    /// The first header of this name, in any case; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// As [`Request::get`], telling absent from empty.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The action: the first `Action` that is not empty.
    pub(crate) fn action(&self) -> &str {
        self.all("Action").find(|action| !action.is_empty()).unwrap_or_default()
    }

    /// All headers in order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Puts messages together from whatever pieces the stream delivers.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    line: Vec<u8>,
    line_too_long: bool,
    request: Request,
    /// Lines of the message so far, kept or not.
    line_count: usize,
}

impl Requests {
    /// Takes bytes from the front of `bytes` up to the end of a message, which is returned, or
    /// all of them.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Option<Request> {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            let (head, tail) = bytes.split_at(end);
            *bytes = &tail[1..];
            self.add(head);
            if let Some(request) = self.end_line() {
                return Some(request);
            }
        }
        self.add(bytes);
        *bytes = &[];
        None
    }

    fn add(&mut self, bytes: &[u8]) {
        // One more than allowed for the CR before the LF.
        let room = LINE_BYTES_MAX + 1 - self.line.len().min(LINE_BYTES_MAX + 1);
        self.line_too_long |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) -> Option<Request> {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let too_long = self.line_too_long || line.len() > LINE_BYTES_MAX;
        if line.is_empty() && !too_long {
            self.line.clear();
            let empty = std::mem::take(&mut self.line_count) == 0;
            let request = std::mem::take(&mut self.request);
            return (!empty).then_some(request);
        }
        self.line_count += 1;
        if too_long {
            self.request.fault.get_or_insert(Fault::LineTooLong);
        } else if self.line_count > HEADER_COUNT_MAX {
            self.request.fault.get_or_insert(Fault::TooManyLines);
        } else {
            let text = String::from_utf8_lossy(line);
            // A line without a colon is no header; Asterisk skips it as well.
            if let Some((name, value)) = text.split_once(':') {
                let value = value.trim_start_matches([' ', '\t']);
                self.request.headers.push((name.to_owned(), value.to_owned()));
            }
        }
        self.line.clear();
        self.line_too_long = false;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], piece_bytes: usize) -> Vec<Request> {
        let mut requests = Requests::default();
        let mut all = Vec::new();
        for mut piece in bytes.chunks(piece_bytes) {
            while let Some(request) = requests.next(&mut piece) {
                all.push(request);
            }
        }
        all
    }

    #[test]
    fn messages_come_out_whole_from_any_pieces() {
        let bytes = b"\r\nAction: Ping\r\nActionID:  x \r\n\r\n\naction:\nAction: b\nX\nExten:\n\n";
        for piece_bytes in 1..=bytes.len() {
            let all = read(bytes, piece_bytes);
            assert_eq!(all.len(), 2, "pieces of {piece_bytes}");
            assert_eq!((all[0].action(), all[0].get("actionid")), ("Ping", "x "));
            assert_eq!((all[1].action(), all[1].get("Action")), ("b", ""));
            assert_eq!((all[1].find("Exten"), all[1].find("X")), (Some(""), None));
        }
    }

    #[test]
    fn limits_are_told_when_the_message_ends_and_the_next_one_is_fine() {
        let line = |bytes: usize| format!("X: {}\r\n", "a".repeat(bytes - 3));
        for (message, want) in [
            (line(LINE_BYTES_MAX), None),
            (line(LINE_BYTES_MAX + 1), Some(Fault::LineTooLong)),
            (line(1_000_000), Some(Fault::LineTooLong)),
            (line(10).repeat(HEADER_COUNT_MAX), None),
            (line(10).repeat(HEADER_COUNT_MAX + 1), Some(Fault::TooManyLines)),
            (line(2000) + &line(10).repeat(200), Some(Fault::LineTooLong)),
        ] {
            for piece_bytes in [1, 7, 4096] {
                let bytes = format!("{message}\r\nAction: Ping\r\n\r\n");
                let all = read(bytes.as_bytes(), piece_bytes);
                let faults: Vec<_> = all.iter().map(|request| request.fault).collect();
                assert_eq!(faults, [want, None]);
                assert_eq!(all[1].action(), "Ping");
            }
        }
    }
}
