//! Events on their way to connections: one text per event, one bounded queue per connection.
//!
//! Shards make events only while somebody listens; the hub tells them when the first listener
//! comes and the last one goes. A connection whose queue is full has lost events, which a client
//! cannot know: it is closed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use lampfield_core::command::{Command, Event};
use lampfield_core::placement::TenantId;
use tokio::sync::{Notify, oneshot};

use super::super::{Node, ShardClient};
use super::class;
use super::event::{self, Frame};
use crate::config::{AmiUser, EventFilter};

/// Events that wait for one connection. At 10,000 changes a second this is some seconds of a
/// client that does not read, and some MB of texts, which all connections share.
const QUEUED_FRAME_COUNT_MAX: usize = 65_536;

/// Knows all connections that may hear events.
#[derive(Default)]
pub(crate) struct Hub {
    queues: RefCell<Vec<Weak<EventQueue>>>,
    /// Those that wait for the shards to know that somebody listens.
    switching: RefCell<Vec<oneshot::Sender<()>>>,
    switch: Notify,
}

/// Events for one connection.
pub(crate) struct EventQueue {
    /// Whose events.
    tenant: TenantId,
    /// Which of them.
    filters: Vec<EventFilter>,
    /// Classes that the connection wants and may hear.
    mask: Cell<u64>,
    frames: RefCell<VecDeque<Rc<Frame>>>,
    overflowed: Cell<bool>,
    /// Wakes the connection.
    arrived: Notify,
}

impl Hub {
    /// A queue for a connection that logged in. It hears nothing until [`Hub::listen`].
    pub(crate) fn join(&self, user: &AmiUser) -> Rc<EventQueue> {
        let queue = Rc::new(EventQueue {
            tenant: user.tenant,
            filters: user.event_filters.clone(),
            mask: Cell::new(0),
            frames: RefCell::default(),
            overflowed: Cell::new(false),
            arrived: Notify::new(),
        });
        let mut queues = self.queues.borrow_mut();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Rc::downgrade(&queue));
        queue
    }

    /// Changes what a connection hears. When this returns the shards know that somebody listens,
    /// so whatever is set afterwards is heard.
    pub(crate) async fn listen(&self, queue: &EventQueue, mask: u64) {
        queue.mask.set(mask);
        let (done, told) = oneshot::channel();
        self.switching.borrow_mut().push(done);
        self.switch.notify_one();
        // Only fails when the node ends.
        let _ = told.await;
    }

    /// Tells the hub that a connection is gone.
    pub(crate) fn leave(&self, queue: &EventQueue) {
        queue.mask.set(0);
        self.switch.notify_one();
    }

    /// Tells the shards whether anybody listens, whenever that changes.
    pub(crate) async fn switch_task(self: Rc<Self>, client: ShardClient) {
        let mut listening = false;
        loop {
            self.switch.notified().await;
            let switching = std::mem::take(&mut *self.switching.borrow_mut());
            let wanted = self.queues().iter().any(|queue| queue.mask.get() & class::CALL != 0);
            if wanted != listening {
                if let Err(error) = client.broadcast(Command::ListenEvents(wanted)).await {
                    tracing::warn!("events may be missing: {error}");
                }
                listening = wanted;
            }
            for told in switching {
                // Whoever waited may be gone.
                let _ = told.send(());
            }
        }
    }

    /// Queues what shards tell for every connection that hears it.
    pub(crate) fn publish(&self, events: &[Event], node: &Node) {
        let queues = self.queues();
        for event in events {
            let tenant = event::tenant_of(event);
            if queues.iter().any(|queue| queue.hears(class::CALL, tenant)) {
                send_to(&queues, event::frame(event, node), node);
            }
        }
    }

    /// Queues one event for every connection that hears it.
    pub(crate) fn send(&self, frame: Frame, node: &Node) {
        send_to(&self.queues(), frame, node);
    }

    fn queues(&self) -> Vec<Rc<EventQueue>> {
        self.queues.borrow().iter().filter_map(Weak::upgrade).collect()
    }
}

fn send_to(queues: &[Rc<EventQueue>], frame: Frame, node: &Node) {
    let config = node.config();
    let disabled = config.ami.as_ref().map_or(&[][..], |ami| &ami.disabled_events);
    if disabled.iter().any(|name| name == frame.name) {
        return;
    }
    let frame = Rc::new(frame);
    for queue in queues.iter().filter(|queue| queue.hears(frame.classes, frame.tenant)) {
        if frame.passes(&queue.filters) {
            queue.push(Rc::clone(&frame));
        }
    }
}

impl EventQueue {
    /// The next event to write.
    pub(crate) fn pop(&self) -> Option<Rc<Frame>> {
        self.frames.borrow_mut().pop_front()
    }

    /// Whether events were lost because the connection did not take them.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed.get()
    }

    /// Classes the connection hears.
    pub(crate) fn mask(&self) -> u64 {
        self.mask.get()
    }

    /// Events that wait.
    pub(crate) fn len(&self) -> usize {
        self.frames.borrow().len()
    }

    /// Waits for more than `held` events, without taking any.
    pub(crate) async fn wait(&self, held: usize) {
        while self.len() <= held && !self.overflowed() {
            self.arrived.notified().await;
        }
    }

    fn hears(&self, classes: u64, tenant: TenantId) -> bool {
        self.tenant == tenant && self.mask.get() & classes == classes
    }

    fn push(&self, frame: Rc<Frame>) {
        let mut frames = self.frames.borrow_mut();
        if frames.len() < QUEUED_FRAME_COUNT_MAX {
            frames.push_back(frame);
        } else {
            self.overflowed.set(true);
        }
        self.arrived.notify_one();
    }
}
