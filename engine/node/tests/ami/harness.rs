//! A node with several users, and what a client does often.

use std::io::Write as _;

pub(crate) use crate::ami_client::{Client, Message, value};
use crate::lab::{Lab, Setup};

/// Users, all with their name as secret, beside `lab`, who may everything: `calls` hears calls
/// only, `writer` hears nothing, `powerless` may only listen, `single` may be logged in once,
/// `far` may not come from here, `near` may; `fast` is never dropped because this machine is slow.
pub(crate) const USERS: &str = "
[calls]
secret=calls
read=call
write=call

[writer]
secret=writer
write=call

[powerless]
secret=powerless
read=all

[single]
secret=single
read=all
write=all
allowmultiplelogin=no

[fast]
secret=fast
read=all
writetimeout=20000

[far]
secret=far
read=all
write=all
deny=0.0.0.0/0
permit=10.0.0.0/8

[near]
secret=near
read=all
write=all
deny=0.0.0.0/0
permit=127.0.0.0/8
";

/// A running node with [`USERS`].
pub(crate) fn start() -> Lab {
    Lab::start(&Setup { managers: USERS, ..Setup::default() })
}

impl Client {
    /// Connects and logs in; events as `events` says.
    pub(crate) fn login(lab: &Lab, user: &str, events: &str) -> Self {
        let mut client = Self::connect(lab.ami);
        let request =
            format!("Action: Login\r\nUsername: {user}\r\nSecret: {user}\r\nEvents: {events}");
        assert_eq!(client.ask(&request)[1], header("Message", "Authentication accepted"));
        client
    }

    /// Sends bytes to a server that may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a request and reads its reply, passing over events before it.
    pub(crate) fn ask(&mut self, request: &str) -> Message {
        self.send(format!("{}\r\n\r\n", request.trim_end()).as_bytes());
        loop {
            let message = self.message().expect("a reply");
            if message[0].0 == "Response" {
                return message;
            }
        }
    }

    /// Messages until `done` says that it has enough.
    pub(crate) fn until(&mut self, mut done: impl FnMut(&Message) -> bool) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.message().expect("more messages"));
            if done(messages.last().unwrap()) {
                return messages;
            }
        }
    }
}

pub(crate) fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
