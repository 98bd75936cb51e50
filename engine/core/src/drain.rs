//! Sending watchers elsewhere before a node goes: no new subscription is taken, and those there are
//! end one after the other with `deactivated`, on which a watcher subscribes anew (RFC 6665 section
//! 4.1.3), through its proxy and to another node.
//!
//! Requests within dialogs and changes of states are served as ever: whoever is still here sees the
//! truth until he is sent away.

use std::time::Duration;

use lampfield_wire::HeaderName;

use crate::subscribe::Request;
use crate::subscription::{Lifecycle, Reason};
use crate::{Outputs, Shard, Time};

/// Subscriptions are ended in steps this long.
const STEP: Duration = Duration::from_millis(10);

/// What a shard does about leaving; by default nothing.
#[derive(Debug, Default)]
pub(crate) struct Drain(Option<Running>);

#[derive(Debug)]
struct Running {
    /// Subscriptions a second.
    per_s: u32,
    since: Time,
    next_step: Time,
    /// Visited since then.
    ended_count: u64,
    /// Those there were, by slot and check, the last one first. Nobody has come since.
    left: Vec<(u32, u32)>,
}

impl Running {
    /// How many should have been visited by now.
    fn due_count(&self, now: Time) -> u64 {
        let passed_ms = now.since(self.since).as_millis() as u64;
        passed_ms.saturating_mul(self.per_s.into()) / 1000
    }
}

impl Drain {
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.0.as_ref().filter(|running| !running.left.is_empty()).map(|running| running.next_step)
    }
}

impl Shard {
    /// Begins to send watchers away, so many a second; `None` ends that: who was not sent away
    /// stays. Told again it only changes the pace.
    pub(crate) fn set_drain(&mut self, per_s: Option<u32>, now: Time) {
        let Some(per_s) = per_s.map(|per_s| per_s.max(1)) else {
            self.drain = Drain::default();
            return;
        };
        let left = match self.drain.0.take() {
            Some(running) => running.left,
            None => {
                let mut left: Vec<_> =
                    self.subscriptions.iter().map(|(slot, s)| (slot, s.tag.check)).collect();
                left.reverse();
                left
            }
        };
        self.drain.0 = Some(Running { per_s, since: now, next_step: now, ended_count: 0, left });
    }

    /// Whether a request would make something new here, which is to be made elsewhere.
    pub(crate) fn is_to_go_elsewhere(&self, request: &Request<'_, '_>) -> bool {
        self.drain.0.is_some()
            && request.basics.to_tag.is_none()
            && request.message.header(HeaderName::SipIfMatch).is_none()
    }

    /// Ends those whose turn it is.
    pub(crate) fn on_drain(&mut self, now: Time, out: &mut Outputs) {
        let Some(running) = self.drain.0.as_mut().filter(|running| running.next_step <= now) else {
            return;
        };
        running.next_step = now + STEP;
        let due_count = running.due_count(now);
        let sent_max = self.sent_max();
        while self.stats.counters.notify_sent < sent_max {
            let Some(running) = self.drain.0.as_mut().filter(|r| r.ended_count < due_count) else {
                return;
            };
            let Some((slot, check)) = running.left.pop() else { return };
            running.ended_count += 1;
            let is_there = self.subscriptions.get(slot).is_some_and(|subscription| {
                subscription.tag.check == check && subscription.state == Lifecycle::Active
            });
            if is_there {
                self.end_subscription(slot, Reason::Deactivated, now, out);
                self.kick(slot, now, out);
            }
        }
    }
}
