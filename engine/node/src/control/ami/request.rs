//! A request as the actions read it.

use lampfield_wire::ami::AmiMessage;

/// One message of a client.
#[derive(Debug)]
pub(crate) struct Request {
    message: AmiMessage,
}

impl Request {
    /// The first header of this name, in any case; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// As [`Request::get`], telling absent from empty.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.message.get(name)
    }

    /// The action: the first `Action` that is not empty.
    pub(crate) fn action(&self) -> &str {
        self.message.action().unwrap_or_default()
    }

    /// All headers in order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.message.headers()
    }
}

impl From<AmiMessage> for Request {
    fn from(message: AmiMessage) -> Self {
        Self { message }
    }
}
