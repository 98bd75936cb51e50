//! The wish to end the node: asked for by a signal or the console, waited for by everybody.

use tokio::sync::watch;

/// A request to end, shared by all threads of the process. Clones are the same request.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { requested: watch::Sender::new(false) }
    }
}

impl Shutdown {
    /// Asks the node to end. Asking again changes nothing.
    pub fn request(&self) {
        self.requested.send_replace(true);
    }

    /// Whether the node was asked to end.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Waits until the node is asked to end. Works in any async runtime.
    pub async fn wait(&self) {
        let mut requested = self.requested.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = requested.wait_for(|requested| *requested).await;
    }
}
