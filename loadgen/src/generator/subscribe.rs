//! The asking half of a watcher: SUBSCRIBE, its answer, its timers, refresh and un-SUBSCRIBE
//! (RFC 6665 section 4.1.2).

use lampfield_wire::{CSeq, HeaderName, Message, NameAddr, parse_expires};

use super::Generator;
use super::timers::Asked;
use crate::clock::{Nanos, SECOND};
use crate::population::Watched;
use crate::request::Asking;
use crate::watcher::{RemoteDialog, Stage, Watcher};

/// Refreshes are spread over these shares of the granted time, so that subscriptions made in a
/// burst are not refreshed in one.
const REFRESH_SHARE: (f64, f64) = (0.75, 0.90);

impl Generator {
    /// Sends the first SUBSCRIBE of a watcher.
    pub(super) fn ask(&mut self, local: u32, intended_ns: Nanos, now_ns: Nanos) {
        let watcher = self.watcher(local);
        watcher.stage = Stage::Asking;
        let watched = watcher.watched;
        watcher.notify_owed = matches!(watched, Watched::List(_));
        self.asking_count += 1;
        for member in 0..self.scenario.population.member_count(watched) {
            let extension = self.scenario.population.member(watched, member);
            self.track(extension, crate::truth::Timeline::join);
        }
        self.tally.counts.subscribe_sent_count += 1;
        self.start_transaction(local, intended_ns, now_ns);
    }

    /// Sends the un-SUBSCRIBE of a watcher that is there to leave.
    pub(super) fn leave(&mut self, local: u32, intended_ns: Nanos, now_ns: Nanos) {
        if !self.watcher(local).is_active() {
            self.absent_count += 1;
            return;
        }
        self.depart(local, Stage::Leaving);
        self.start_transaction(local, intended_ns, now_ns);
    }

    /// Refreshes a subscription that is there.
    pub(super) fn refresh(&mut self, local: u32, intended_ns: Nanos, now_ns: Nanos) {
        if self.watcher(local).is_active() {
            self.watcher(local).notify_owed = true;
            self.start_transaction(local, intended_ns, now_ns);
        }
    }

    /// Retransmits, gives up and refreshes what is due.
    pub(super) fn work_off_subscriptions(&mut self, now_ns: Nanos) {
        while let Some(asked) = {
            let watchers = &self.watchers;
            let open = |asked: Asked| is_open(&watchers[asked.watcher as usize], asked.cseq);
            self.transactions.take_retransmit(now_ns, open)
        } {
            self.tally.counts.subscribe_retransmitted_count += 1;
            self.write_subscribe(asked.watcher);
        }
        while let Some(asked) = self.transactions.take_give_up(now_ns) {
            self.give_up(asked);
        }
        while let Some(local) = self.refreshes.take_due(now_ns) {
            self.refresh(local, now_ns, now_ns);
        }
    }

    /// Takes a response to one of our SUBSCRIBEs.
    pub(super) fn take_response(&mut self, message: &Message<'_>, status: u16, now_ns: Nanos) {
        let cseq = message.header(HeaderName::CSeq).and_then(|value| CSeq::parse(value).ok());
        let local = self.local_index(message);
        let (Some(local), Some(cseq)) = (local, cseq) else {
            self.tally.counts.stray_response_count += 1;
            return;
        };
        if !is_open(self.watcher(local), cseq.number) || cseq.method != b"SUBSCRIBE" {
            // Copies of an answer to a SUBSCRIBE that was sent twice are to be expected.
            let again = self.watcher(local).cseq == cseq.number;
            self.tally.counts.stray_response_count += u64::from(!again);
            return;
        }
        if status < 200 || self.is_lost_on_the_way(local) {
            return;
        }
        self.watcher(local).answered = true;
        self.open_count -= 1;
        let stage = self.watcher(local).stage;
        match stage {
            Stage::Leaving => {
                self.watcher(local).stage = Stage::Left;
                self.tally.counts.unsubscribed_count += 1;
            }
            Stage::Asking | Stage::Active if status < 300 => {
                self.take_acceptance(local, message, now_ns);
            }
            Stage::Asking => self.refuse(local, status.to_string()),
            Stage::Active => self.lose(local, format!("refresh answered {status}")),
            Stage::Idle | Stage::Left | Stage::Failed | Stage::Dead => {}
        }
    }

    /// Draws whether a datagram for this watcher is lost before it arrives.
    pub(super) fn is_lost_on_the_way(&mut self, local: u32) -> bool {
        let share = self.profile(local).receive_loss;
        let lost = share > 0.0 && self.random.f64() < share;
        self.tally.counts.receive_lost_count += u64::from(lost);
        lost
    }

    /// A watcher is established once it has both the 2xx and a NOTIFY.
    pub(super) fn check_established(&mut self, local: u32) {
        let watcher = self.watcher(local);
        if watcher.stage == Stage::Asking && watcher.answered && watcher.told {
            watcher.stage = Stage::Active;
            self.asking_count -= 1;
            self.tally.counts.established_count += 1;
        }
    }

    /// A subscription that never came to be.
    pub(super) fn refuse(&mut self, local: u32, reason: String) {
        self.depart(local, Stage::Failed);
        self.tally.counts.subscribe_failed_count += 1;
        *self.tally.failures.entry(reason).or_default() += 1;
    }

    /// A subscription that had been there and is gone without us asking.
    pub(super) fn lose(&mut self, local: u32, reason: String) {
        self.depart(local, Stage::Failed);
        self.tally.counts.ended_by_target_count += 1;
        *self.tally.endings.entry(reason).or_default() += 1;
    }

    /// The local index of the watcher a message belongs to.
    pub(super) fn local_index(&self, message: &Message<'_>) -> Option<u32> {
        let index = self.shape.naming.index_of(message.header(HeaderName::CallId)?)?;
        let local = index.checked_sub(self.first_watcher)?;
        ((local as usize) < self.watchers.len()).then_some(local)
    }

    pub(super) fn start_transaction(&mut self, local: u32, intended_ns: Nanos, now_ns: Nanos) {
        // One that is replaced by a newer one waits no longer.
        self.open_count += usize::from(self.watcher(local).answered);
        let watcher = self.watcher(local);
        watcher.cseq += 1;
        watcher.answered = false;
        watcher.asked_ns = intended_ns;
        let asked = Asked { watcher: local, cseq: watcher.cseq };
        self.transactions.start(asked, now_ns);
        self.write_subscribe(local);
    }

    fn write_subscribe(&mut self, local: u32) {
        let watcher = &self.watchers[local as usize];
        let leaving = watcher.stage == Stage::Leaving;
        let expires_s = if leaving { 0 } else { self.scenario.expires_s };
        let (index, socket) = (self.first_watcher + local, watcher.socket);
        let asking = Asking {
            index,
            watcher,
            local: self.local_addr(socket),
            expires_s,
            scenario: &self.scenario,
        };
        let start = self.outgoing_bytes.len();
        self.shape.write(&asking, &mut self.outgoing_bytes);
        self.queue(socket, self.scenario.target, start);
    }

    fn take_acceptance(&mut self, local: u32, message: &Message<'_>, now_ns: Nanos) {
        let granted_s = message
            .header(HeaderName::Expires)
            .and_then(parse_expires)
            .unwrap_or(self.scenario.expires_s);
        let (low, high) = REFRESH_SHARE;
        let share = low + (high - low) * self.random.f64();
        let after_ns = (f64::from(granted_s) * share * SECOND as f64) as Nanos;
        self.refreshes.schedule(local, now_ns + after_ns);
        learn_dialog(self.watcher(local), message, HeaderName::To);
        let watcher = self.watcher(local);
        if watcher.stage == Stage::Asking {
            let waited_ns = now_ns.saturating_sub(watcher.asked_ns);
            self.tally.subscribe_answer.record(waited_ns);
            self.check_established(local);
        } else {
            self.tally.counts.refreshed_count += 1;
        }
    }

    fn give_up(&mut self, asked: Asked) {
        let watcher = self.watcher(asked.watcher);
        if watcher.cseq != asked.cseq {
            return;
        }
        match (watcher.stage, watcher.answered) {
            (Stage::Asking, false) => self.refuse(asked.watcher, "no answer".into()),
            (Stage::Asking, true) => self.refuse(asked.watcher, "no first NOTIFY".into()),
            (Stage::Active, false) => self.lose(asked.watcher, "refresh not answered".into()),
            (Stage::Leaving, false) => {
                self.open_count -= 1;
                let watcher = self.watcher(asked.watcher);
                (watcher.stage, watcher.answered) = (Stage::Failed, true);
                self.tally.counts.unsubscribe_failed_count += 1;
                let reason = "un-SUBSCRIBE not answered".into();
                *self.tally.endings.entry(reason).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Whether the SUBSCRIBE with this CSeq still waits for its answer.
fn is_open(watcher: &Watcher, cseq: u32) -> bool {
    let asking = matches!(watcher.stage, Stage::Asking | Stage::Active | Stage::Leaving);
    asking && watcher.cseq == cseq && !watcher.answered
}

/// Takes the remote tag, target and route set from the message that creates the dialog, and a new
/// target from every later one. `remote` is the header that names the target's side.
pub(super) fn learn_dialog(watcher: &mut Watcher, message: &Message<'_>, remote: HeaderName) {
    let contact = message.values(HeaderName::Contact).next();
    let contact = contact.and_then(|value| NameAddr::parse(value).ok());
    if let Some(dialog) = &mut watcher.remote {
        if let Some(contact) = contact
            && *dialog.target_uri != *contact.uri
        {
            dialog.target_uri = contact.uri.into();
        }
        return;
    }
    let tag = message.header(remote).and_then(|value| NameAddr::parse(value).ok());
    let (Some(tag), Some(contact)) = (tag.and_then(|address| address.tag()), contact) else {
        return;
    };
    let mut routes: Vec<&[u8]> = message.values(HeaderName::RecordRoute).collect();
    if !message.is_request() {
        // RFC 3261 section 12.1.2: whoever sent the request reads the route set backwards.
        routes.reverse();
    }
    let routes: Vec<u8> =
        routes.into_iter().flat_map(|route| [b"Route: ", route, b"\r\n"].concat()).collect();
    watcher.remote = Some(Box::new(RemoteDialog {
        tag: tag.into(),
        target_uri: contact.uri.into(),
        routes: routes.into(),
    }));
}
