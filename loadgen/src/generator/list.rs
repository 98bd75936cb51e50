//! The NOTIFY of a list: the rules of RFC 4662 section 5, and every member's lamp.

use super::Generator;
use super::backlog::Unread;
use super::notify::{Member, Told};
use crate::clock::Nanos;
use crate::list_body::{self, EntryState, How, ListBody};
use crate::population::Watched;

impl Generator {
    /// Takes the body of a list NOTIFY.
    pub(super) fn take_list(&mut self, unread: Unread, content_type: &[u8], body: &[u8]) {
        let local = unread.local;
        let kind = content_type.get(..10).unwrap_or_default();
        if !kind.eq_ignore_ascii_case(b"multipart/") {
            self.tally.counts.not_a_list_count += 1;
            return;
        }
        let list = list_body::read(content_type, body, How::Fast);
        if unread.is_sample {
            let again = list_body::read(content_type, body, How::Full);
            self.tally.second.compare_lists(&list, &again);
        }
        let Ok(list) = list else {
            self.tally.counts.unparsable_count += 1;
            return;
        };
        let counts = &mut self.tally.counts;
        counts.list_notify_count += 1;
        counts.list_full_count += u64::from(list.is_full);
        counts.list_body_bytes += body.len() as u64;
        counts.list_member_count += list.entries.len() as u64;
        counts.list_inner_count += list.inner_count;
        counts.cid_unresolved_count += list.unresolved_count;
        counts.part_orphaned_count += list.orphan_count;
        let skipped = self.take_version(local, &list);
        let news = self.take_members(local, &list, unread.arrived_ns);
        if list.is_full {
            let owed = std::mem::replace(&mut self.watcher(local).notify_owed, false);
            let counts = &mut self.tally.counts;
            counts.refresh_notify_count += u64::from(owed && !news);
            counts.duplicate_count += u64::from(!owed && !news);
        }
        if skipped && self.watcher(local).is_active() {
            self.tally.counts.resubscribed_count += 1;
            let now_ns = self.clock.now();
            self.refresh(local, now_ns, now_ns);
        }
    }

    /// Checks the list's version; whether one was skipped, so that something may be missing.
    fn take_version(&mut self, local: u32, list: &ListBody<'_>) -> bool {
        let before = self.watcher(local).take_list_version(list.version);
        let counts = &mut self.tally.counts;
        let Some(before) = before else {
            counts.first_not_full_count += u64::from(!list.is_full);
            counts.first_version_not_zero_count += u64::from(list.version != 0);
            return false;
        };
        let skipped = list.version > before.wrapping_add(1);
        counts.version_back_count += u64::from(list.version <= before);
        // A whole list tells everything, whatever was skipped: a server that has been restarted
        // may not know its last version and be on the safe side.
        counts.version_jump_count += u64::from(skipped && list.is_full);
        let gap = skipped && !list.is_full;
        counts.version_gap_count += u64::from(gap);
        gap
    }

    /// Judges every member told of; whether any of them was told something new.
    fn take_members(&mut self, local: u32, list: &ListBody<'_>, now_ns: Nanos) -> bool {
        let watched = self.watcher(local).watched;
        let member_count = self.scenario.population.member_count(watched);
        let mut seen = std::mem::take(&mut self.seen);
        seen.clear();
        seen.resize(member_count, false);
        let mut news = false;
        for entry in &list.entries {
            let Some(member) = self.member(local, watched, &entry.user) else {
                self.tally.counts.stranger_count += 1;
                continue;
            };
            if std::mem::replace(&mut seen[member.place], true) {
                self.tally.counts.member_twice_count += 1;
                continue;
            }
            self.take_instance(member, entry.instance_hash);
            news |= match entry.state {
                EntryState::Document(content_type, body) => {
                    let told = self.take_document(member, content_type, body, list.is_full, now_ns);
                    let repeated = told == Some(Told::Nothing);
                    // In a full state repetition is the rule.
                    self.tally.counts.duplicate_count += u64::from(repeated && !list.is_full);
                    !repeated
                }
                EntryState::Gone => self.darken(member),
                EntryState::Nothing => {
                    self.tally.counts.member_without_state_count += 1;
                    self.darken(member)
                }
            };
        }
        if list.is_full && list.is_whole {
            for place in (0..member_count).filter(|place| !seen[*place]) {
                let extension = self.scenario.population.member(watched, place);
                news |= self.darken(Member { local, place, extension });
            }
        }
        self.seen = seen;
        news
    }

    fn member(&self, local: u32, watched: Watched, user: &str) -> Option<Member> {
        let extension = *self.scenario.numbers.get(user)?;
        let place = self.scenario.population.place(watched, extension)?;
        Some(Member { local, place, extension })
    }

    fn take_instance(&mut self, member: Member, hash: u32) {
        if hash == 0 {
            return;
        }
        let edge = self.edge(member);
        let before = std::mem::replace(&mut edge.instance_hash, hash);
        self.tally.counts.instance_changed_count += u64::from(before != 0 && before != hash);
    }

    /// The member is not there any more; whether it had been.
    fn darken(&mut self, member: Member) -> bool {
        let mut view = self.edge(member).view;
        let was_shown = self.track(member.extension, |timeline| timeline.hide(&mut view));
        self.edge(member).view = view;
        self.tally.counts.member_gone_count += u64::from(was_shown);
        was_shown
    }
}
