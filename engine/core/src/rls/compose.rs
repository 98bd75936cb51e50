//! What one NOTIFY of a list shows: all members or the dirty ones, as many as fit.

use std::sync::Arc;

use super::{Face, ListWatch, Parts, Shape, rlmi};
use crate::Time;
use crate::body::{Body, Format};
use crate::subscription::Shown;

/// The members one NOTIFY shows. A retransmission repeats it byte for byte, whatever happened to
/// the list since.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) shape: Arc<Shape>,
    pub(crate) format: Format,
    pub(crate) is_full: bool,
    /// In the order of the list.
    pub(crate) entries: Vec<Entry>,
    /// Members that left the list.
    pub(crate) leaving: Vec<Arc<Face>>,
    /// Of those a request names and nobody here knows, how many it shows.
    pub(crate) stranger_count: usize,
    /// Versions of the nested lists, in the order of [`Shape::nested`].
    pub(crate) versions: Box<[u32]>,
    /// When the oldest change it tells happened.
    pub(crate) changed_at: Option<Time>,
}

/// One member of a NOTIFY.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) member: u32,
    pub(crate) face: Arc<Face>,
    /// Its document; `None`: it has ended.
    pub(crate) body: Option<Arc<Body>>,
}

/// Room for the members of one NOTIFY.
struct Room {
    left: usize,
    is_empty: bool,
}

impl Room {
    /// Takes room for a member. The first one always fits: there is nothing smaller to send.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.is_empty || bytes <= self.left;
        if fits {
            self.left = self.left.saturating_sub(bytes);
            self.is_empty = false;
        }
        fits
    }
}

impl ListWatch {
    /// The body of the next NOTIFY, and whether it shows all that is to be shown.
    pub(crate) fn show(
        &mut self,
        parts: &mut Parts,
        owes_all: bool,
        body_bytes_max: usize,
        watcher: &[u8],
    ) -> (Shown, bool) {
        if self.is_quenched {
            (self.last_bytes, self.changed_at) = (0, None);
            return (Shown::Nothing, true);
        }
        let content = self.compose(parts, owes_all, body_bytes_max, watcher);
        (Shown::List(Box::new(content)), !self.has_rest())
    }

    /// Puts the next NOTIFY together. `owes_all`: a SUBSCRIBE or an end wants the full state.
    /// `body_bytes_max` bounds the body; `watcher` is what documents name the watcher by.
    fn compose(
        &mut self,
        parts: &mut Parts,
        owes_all: bool,
        body_bytes_max: usize,
        watcher: &[u8],
    ) -> Content {
        let is_full = owes_all || (self.shape.full_state && !self.is_continued);
        let fixed = rlmi::list_bytes(&self.shape);
        let mut room = Room { left: body_bytes_max.saturating_sub(fixed), is_empty: true };
        let leaving = self.take_leaving(&mut room);
        let mut content = Content {
            shape: Arc::clone(&self.shape),
            format: self.view.format,
            is_full,
            entries: Vec::new(),
            leaving,
            stranger_count: 0,
            versions: Box::default(),
            changed_at: self.changed_at.take(),
        };
        if is_full {
            self.take_all(parts, &mut room, watcher, &mut content.entries);
            self.know_all(parts);
        } else {
            self.take_dirty(parts, &mut room, watcher, &mut content.entries);
        }
        self.is_continued = self.has_rest();
        if is_full && !self.is_continued {
            // Absence says the same of those who find no room.
            let bytes = self.shape.strangers.iter().map(|uri| rlmi::stranger_bytes(uri));
            content.stranger_count = bytes.take_while(|bytes| room.take(*bytes)).count();
        }
        self.last_bytes = body_bytes_max.saturating_sub(room.left);
        content.versions = self.versions.as_slice().into();
        for (nested, version) in self.shape.nested.iter().zip(&mut self.versions) {
            let range = nested.first..nested.end;
            let is_shown = content.entries.iter().any(|entry| range.contains(&entry.member));
            *version += u32::from(is_shown);
        }
        content
    }

    /// Something had no room in the last NOTIFY, or waits for the next.
    fn has_rest(&self) -> bool {
        self.dirty.any() || !self.leaving.is_empty()
    }

    /// The ends that find room; the others follow.
    fn take_leaving(&mut self, room: &mut Room) -> Vec<Arc<Face>> {
        let shape = &self.shape;
        let bytes = self.leaving.iter().map(|face| rlmi::face_bytes(u32::MAX, face, shape));
        let count = bytes.take_while(|bytes| room.take(*bytes)).count();
        self.leaving.drain(..count).collect()
    }

    fn take_all(
        &mut self,
        parts: &Parts,
        room: &mut Room,
        watcher: &[u8],
        entries: &mut Vec<Entry>,
    ) {
        entries.reserve_exact(self.members.len());
        for member in 0..self.members.len() {
            let Some((entry, bytes)) = self.entry(member, parts, watcher) else { continue };
            // One that ended is told once; after that its absence says so.
            if entry.body.is_none() && !self.dirty.is_set(member) {
                continue;
            }
            if !room.take(bytes) {
                (member..self.members.len()).for_each(|rest| self.dirty.set(rest));
                return;
            }
            self.dirty.clear(member);
            entries.push(entry);
        }
    }

    /// A fan-out that has still to come by finds this list told: all is shown, or dirty.
    fn know_all(&self, parts: &mut Parts) {
        for member in &self.members {
            let part = parts.get_mut(member.part).filter(|part| part.round.is_running());
            let Some(part) = part else { continue };
            if let Some(told) = part.told.get_mut(member.position as usize) {
                *told = part.news;
            }
        }
    }

    fn take_dirty(
        &mut self,
        parts: &Parts,
        room: &mut Room,
        watcher: &[u8],
        entries: &mut Vec<Entry>,
    ) {
        let mut dirty: smallvec::SmallVec<[usize; 8]> = self.dirty.iter().collect();
        // Goes on behind the last one shown, so that nobody at the end of a long list starves.
        let next = dirty.partition_point(|member| *member <= self.last_shown as usize);
        dirty.rotate_left(next);
        for member in dirty {
            let Some((entry, bytes)) = self.entry(member, parts, watcher) else { continue };
            if !room.take(bytes) {
                break;
            }
            self.dirty.clear(member);
            entries.push(entry);
            self.last_shown = member as u32;
        }
        entries.sort_unstable_by_key(|entry| entry.member);
    }

    /// One member as it would be shown, and the bytes that takes.
    fn entry(&self, member: usize, parts: &Parts, watcher: &[u8]) -> Option<(Entry, usize)> {
        let part = parts.get(self.members.get(member)?.part)?;
        let (face, body) = (Arc::clone(&part.face), part.body.clone());
        let document = body.as_ref().map_or(0, |body| body.dense_len_for(watcher));
        let bytes = rlmi::face_bytes(member as u32, &face, &self.shape) + document;
        Some((Entry { member: member as u32, face, body }, bytes))
    }
}
