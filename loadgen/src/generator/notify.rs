//! The listening half of a watcher: NOTIFY in, judgement, answer out (RFC 6665 section 4.1.3).

use std::net::SocketAddr;

use lampfield_wire::{CSeq, Framing, HeaderName, Message, NameAddr, SubscriptionState, Via};

use super::Generator;
use super::backlog::Unread;
use super::subscribe::learn_dialog;
use crate::answer::Answer;
use crate::clock::{Nanos, nanos};
use crate::lamp::Lamp;
use crate::population::Watched;
use crate::request::{pad_answer, write_answer};
use crate::truth::Judgement;
use crate::watcher::{Edge, Sequence, Stage, branch_hash};

/// Tag of the answers to requests outside any dialog of ours.
const STRANGER_TAG: &str = "lampload";

/// The parts of a NOTIFY that place it.
struct Placed {
    local: u32,
    cseq: u32,
    branch_hash: u32,
}

/// One extension that a watcher watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// The watcher, within its thread.
    pub(super) local: u32,
    /// The place among its edges.
    pub(super) place: usize,
    /// The extension.
    pub(super) extension: u32,
}

/// What a document told its watcher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// Something it did not show, right or wrong.
    Something,
    /// What it showed already.
    Nothing,
}

impl Generator {
    /// Handles one datagram that came at `now_ns`.
    pub(super) fn handle(&mut self, socket: u16, peer: SocketAddr, bytes: &[u8], now_ns: Nanos) {
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            // A keep-alive.
            return;
        }
        let Ok(message) = Message::scan(bytes, Framing::Datagram) else {
            self.tally.counts.unparsable_count += 1;
            return;
        };
        let is_sample = self.second_reader_is_due();
        if is_sample {
            self.tally.second.compare(bytes, &message);
        }
        match (message.status(), message.method()) {
            (Some(status), _) => self.take_response(&message, status, now_ns),
            (None, Some(b"NOTIFY")) => {
                self.take_notify(socket, peer, &message, now_ns, is_sample);
            }
            (None, method) => {
                self.tally.counts.other_request_count += 1;
                let status = if method == Some(b"OPTIONS") { 200 } else { 405 };
                self.answer(socket, peer, &message, status, true);
            }
        }
    }

    fn take_notify(
        &mut self,
        socket: u16,
        peer: SocketAddr,
        message: &Message<'_>,
        now_ns: Nanos,
        is_sample: bool,
    ) {
        let Some(placed) = self.place(message) else {
            self.tally.counts.foreign_count += 1;
            self.answer(socket, peer, message, 481, false);
            return;
        };
        let (local, cseq) = (placed.local, placed.cseq);
        if self.watcher(local).stage == Stage::Dead {
            self.tally.counts.dead_notify_count += 1;
            self.dead_told.insert(local, now_ns);
            return;
        }
        if self.is_lost_on_the_way(local) {
            return;
        }
        let sequence = self.watcher(local).place(cseq, placed.branch_hash);
        if sequence == Sequence::Retransmission {
            self.tally.counts.notify_retransmitted_count += 1;
            self.answer_as_profiled(local, socket, peer, message, now_ns);
            return;
        }
        self.tally.counts.notify_count += 1;
        self.unanswered_ns.push(self.waiting_since_ns);
        let taken = self.answer_as_profiled(local, socket, peer, message, now_ns);
        match sequence {
            Sequence::Reused => self.tally.counts.duplicate_count += 1,
            Sequence::Falling => self.tally.counts.out_of_order_count += 1,
            // Refused by our profile: the target did its part, but the watcher shows nothing.
            _ if !taken => self.mark_told(local, now_ns),
            _ => self.take_state(message, Unread { local, arrived_ns: now_ns, is_sample }),
        }
    }

    /// Finds the subscription of a NOTIFY; `None` for one that is not ours or makes no sense.
    fn place(&mut self, message: &Message<'_>) -> Option<Placed> {
        let local = self.local_index(message)?;
        let to = NameAddr::parse(message.header(HeaderName::To)?).ok()?;
        let cseq = CSeq::parse(message.header(HeaderName::CSeq)?).ok()?;
        let via = Via::parse(message.values(HeaderName::Via).next()?).ok()?;
        let naming = self.shape.naming;
        let ours = naming.owns_tag(self.first_watcher + local, to.tag()?);
        let stage = self.watcher(local).stage;
        let known = ours && !matches!(stage, Stage::Idle | Stage::Failed);
        let branch_hash = branch_hash(via.branch.unwrap_or_default());
        known.then_some(Placed { local, cseq: cseq.number, branch_hash })
    }

    /// What a NOTIFY in order says: the state of the subscription, and of the extension, later.
    fn take_state(&mut self, message: &Message<'_>, unread: Unread) {
        let local = unread.local;
        let state = message.header(HeaderName::SubscriptionState);
        let Some(state) = state.and_then(|value| SubscriptionState::parse(value).ok()) else {
            self.tally.counts.unparsable_count += 1;
            return;
        };
        let stage = self.watcher(local).stage;
        if state.state.eq_ignore_ascii_case(b"terminated") {
            let reason = state.reason.map_or("no reason".into(), String::from_utf8_lossy);
            match stage {
                Stage::Asking => self.refuse(local, format!("terminated: {reason}")),
                Stage::Active => self.lose(local, format!("terminated: {reason}")),
                _ => self.tally.counts.final_notify_count += 1,
            }
            return;
        }
        if matches!(stage, Stage::Leaving | Stage::Left) {
            return;
        }
        learn_dialog(self.watcher(local), message, HeaderName::From);
        // A pending subscription may have nothing to say yet; the end of the run notices.
        if !message.body().is_empty() {
            let content_type = message.header(HeaderName::ContentType).unwrap_or_default();
            self.backlog.push(unread, content_type, message.body());
        }
        self.mark_told(local, unread.arrived_ns);
    }

    fn mark_told(&mut self, local: u32, now_ns: Nanos) {
        let watcher = self.watcher(local);
        if !watcher.told {
            watcher.told = true;
            let waited_ns = now_ns.saturating_sub(watcher.asked_ns);
            self.tally.first_notify.record(waited_ns);
            self.check_established(local);
        }
    }

    /// Reads a body that has waited.
    pub(super) fn take_body(&mut self, unread: Unread, content_type: &[u8], body: &[u8]) {
        let Unread { local, arrived_ns, .. } = unread;
        match self.watcher(local).watched {
            Watched::Single(extension) => {
                let owed = self.watcher(local).notify_owed;
                let member = Member { local, place: 0, extension };
                let told = self.take_document(member, content_type, body, owed, arrived_ns);
                // News may come between the refresh and its NOTIFY, so only a repeat pays the debt.
                if told == Some(Told::Nothing) && owed {
                    self.tally.counts.refresh_notify_count += 1;
                    self.watcher(local).notify_owed = false;
                } else if told == Some(Told::Nothing) {
                    self.tally.counts.duplicate_count += 1;
                }
            }
            Watched::List(_) => self.take_list(unread, content_type, body),
        }
    }

    /// Takes the document of one extension; `may_repeat`: it was asked for.
    pub(super) fn take_document(
        &mut self,
        member: Member,
        content_type: &[u8],
        body: &[u8],
        may_repeat: bool,
        now_ns: Nanos,
    ) -> Option<Told> {
        let Some(document) = self.bodies.read(member.extension, content_type, body) else {
            self.tally.counts.unparsable_count += 1;
            return None;
        };
        if let Some(version) = document.version {
            let edge = self.edge(member);
            let before = edge.take_document_version(version);
            // A refresh may repeat the document it asks for, version and all.
            let risen =
                before.is_none_or(|before| version > before || may_repeat && version == before);
            self.tally.counts.out_of_order_count += u64::from(!risen);
        }
        Some(self.judge(member, document.lamp, now_ns))
    }

    /// The record of a watcher and one of its extensions.
    pub(super) fn edge(&mut self, member: Member) -> &mut Edge {
        let first = self.watchers[member.local as usize].first_edge as usize;
        &mut self.edges[first + member.place]
    }

    fn judge(&mut self, member: Member, lamp: Lamp, now_ns: Nanos) -> Told {
        let mut view = self.edge(member).view;
        let judgement =
            self.track(member.extension, |timeline| timeline.judge(&mut view, lamp, now_ns));
        self.edge(member).view = view;
        let behaviour = self.watchers[member.local as usize].behaviour;
        let counts = &mut self.tally.counts;
        match judgement {
            Judgement::First => {}
            Judgement::News {
                intended_ns,
                sent_ns,
                superseded_count,
                lost_count,
                needed,
                ambiguous,
            } => {
                // A server waits for a watcher that loses or delays, and newer states win meanwhile.
                let (skipped_count, lost_count) = match behaviour {
                    0 => (superseded_count, lost_count),
                    _ => (superseded_count + lost_count, 0),
                };
                counts.superseded_count += skipped_count;
                counts.lost_count += lost_count;
                counts.delivered_count += u64::from(needed);
                counts.ambiguous_count += u64::from(ambiguous);
                // The news that a run's first states are set is no change to be timed.
                if self.changes_step > 0 {
                    let intended_ns = now_ns.saturating_sub(intended_ns);
                    self.tally.from_intended.record(intended_ns);
                    self.tally.from_sent.record(now_ns.saturating_sub(sent_ns));
                    self.tally.series.at(now_ns).take_latency(intended_ns);
                    let behaviour = &mut self.tally.behaviours[usize::from(behaviour)];
                    behaviour.steps.entry(self.changes_step).or_default().record(intended_ns);
                }
            }
            Judgement::Repeat => return Told::Nothing,
            Judgement::Regressed => counts.out_of_order_count += 1,
            Judgement::Untrue => counts.untrue_count += 1,
        }
        Told::Something
    }

    /// Answers as the profile says; whether the watcher took the NOTIFY.
    fn answer_as_profiled(
        &mut self,
        local: u32,
        socket: u16,
        peer: SocketAddr,
        message: &Message<'_>,
        now_ns: Nanos,
    ) -> bool {
        let profile = self.profile(local);
        match profile.draw(&mut self.random) {
            Answer::Lost => {
                self.tally.counts.answer_lost_count += 1;
                true
            }
            Answer::Status(status) => {
                let refused = status >= 300;
                self.tally.counts.answer_sent_count += 1;
                self.tally.counts.answer_refused_count += u64::from(refused);
                if profile.delay.is_zero() {
                    self.answer(socket, peer, message, status, false);
                    if profile.duplicate > 0.0 && self.random.f64() < profile.duplicate {
                        self.tally.counts.answer_duplicated_count += 1;
                        self.answer(socket, peer, message, status, false);
                    }
                } else {
                    let start = self.buffer().len();
                    write_answer(message, status, None, self.buffer());
                    self.delay(socket, peer, start, now_ns + nanos(profile.delay));
                }
                !refused
            }
        }
    }

    fn answer(
        &mut self,
        socket: u16,
        peer: SocketAddr,
        message: &Message<'_>,
        status: u16,
        add_tag: bool,
    ) {
        let to = message.header(HeaderName::To).and_then(|value| NameAddr::parse(value).ok());
        let untagged = add_tag && to.is_some_and(|to| to.tag().is_none());
        let start = self.buffer().len();
        write_answer(message, status, untagged.then_some(STRANGER_TAG), self.buffer());
        if self.scenario.trains {
            let like = self.answer_bytes;
            self.answer_bytes = pad_answer(start, like, self.buffer());
        }
        self.queue(socket, peer, start);
    }
}
