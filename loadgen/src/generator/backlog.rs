//! Bodies of NOTIFYs that are answered and wait to be read.
//!
//! A server waits for the 200, not for what we make of the body. So NOTIFYs are answered first, all
//! that are there, and their bodies read when nothing else is. They are read in the order in which
//! they came; when too many wait, as many are read as come in.

use super::Generator;
use crate::clock::Nanos;
use crate::limits::BACKLOG_BYTES_MAX;
use crate::watcher::Stage;

/// Bodies are read so many bytes at a time: some 100 us.
const PAGE_BYTES: usize = 64 << 10;
/// Pages kept for later use; after a burst the rest of its memory is given back.
const SPARE_PAGE_COUNT_MAX: usize = 64;

/// A NOTIFY whose body waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unread {
    /// Its watcher, within the thread.
    pub(super) local: u32,
    /// When it came.
    pub(super) arrived_ns: Nanos,
    /// The second reader shall see it.
    pub(super) is_sample: bool,
}

/// Bodies that are read together.
#[derive(Debug, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    /// Each with the end of its content type and that of its body.
    unread: Vec<(Unread, u32, u32)>,
}

/// All bodies that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pages: std::collections::VecDeque<Page>,
    spare: Vec<Page>,
    waiting_bytes: usize,
}

impl Page {
    /// The bodies with their content types, in the order in which they came.
    fn iter(&self) -> impl Iterator<Item = (Unread, &[u8], &[u8])> {
        let mut start = 0;
        self.unread.iter().map(move |(unread, type_end, end)| {
            let (type_end, end) = (*type_end as usize, *end as usize);
            let begin = std::mem::replace(&mut start, end);
            (*unread, &self.bytes[begin..type_end], &self.bytes[type_end..end])
        })
    }
}

impl Backlog {
    /// Keeps a body.
    pub(super) fn push(&mut self, unread: Unread, content_type: &[u8], body: &[u8]) {
        let is_full = |page: &Page| page.bytes.len() >= PAGE_BYTES;
        if self.pages.back().is_none_or(is_full) {
            self.pages.push_back(self.spare.pop().unwrap_or_default());
        }
        let Some(page) = self.pages.back_mut() else { return };
        page.bytes.extend_from_slice(content_type);
        let type_end = page.bytes.len() as u32;
        page.bytes.extend_from_slice(body);
        page.unread.push((unread, type_end, page.bytes.len() as u32));
        self.waiting_bytes += content_type.len() + body.len();
    }

    /// The oldest page, to be given back when it is read.
    fn take(&mut self) -> Option<Page> {
        let page = self.pages.pop_front()?;
        self.waiting_bytes -= page.bytes.len();
        Some(page)
    }

    fn give_back(&mut self, mut page: Page) {
        page.bytes.clear();
        page.unread.clear();
        if self.spare.len() < SPARE_PAGE_COUNT_MAX {
            self.spare.push(page);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Whether more waits than should.
    pub(super) fn is_over(&self) -> bool {
        self.waiting_bytes > BACKLOG_BYTES_MAX
    }
}

impl Generator {
    /// Reads the oldest page of bodies; false: none waits.
    pub(super) fn read_page(&mut self) -> bool {
        let Some(page) = self.backlog.take() else {
            return false;
        };
        for (unread, content_type, body) in page.iter() {
            // The watcher may have left since.
            let stage = self.watcher(unread.local).stage;
            if matches!(stage, Stage::Asking | Stage::Active) {
                self.take_body(unread, content_type, body);
            }
        }
        self.backlog.give_back(page);
        true
    }

    /// Reads everything that waits.
    pub(super) fn read_all(&mut self) {
        while self.read_page() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(local: u32) -> Unread {
        Unread { local, arrived_ns: u64::from(local) * 10, is_sample: local == 1 }
    }

    #[test]
    fn bodies_come_out_whole_and_in_order_over_many_pages() {
        let mut backlog = Backlog::default();
        let body = |number: u32| vec![number as u8; 7_000 + number as usize];
        let mut next = 0;
        for round in 0..3 {
            (0..100).for_each(|number| {
                let number = round * 100 + number;
                backlog.push(unread(number), format!("t/{number}").as_bytes(), &body(number));
            });
            while let Some(page) = backlog.take() {
                for (found, content_type, found_body) in page.iter() {
                    assert_eq!(found, unread(next));
                    assert_eq!(content_type, format!("t/{next}").as_bytes());
                    assert_eq!(found_body, body(next));
                    next += 1;
                }
                backlog.give_back(page);
            }
            assert!(backlog.is_empty() && backlog.waiting_bytes == 0);
        }
        assert_eq!(next, 300);
    }

    #[test]
    fn too_much_is_seen_and_memory_is_given_back() {
        let mut backlog = Backlog::default();
        let body = vec![0; 60_000];
        let mut count = 0;
        while !backlog.is_over() {
            backlog.push(unread(0), b"", &body);
            count += 1;
        }
        assert_eq!(count, BACKLOG_BYTES_MAX / body.len() + 1);
        while let Some(page) = backlog.take() {
            backlog.give_back(page);
        }
        assert!(!backlog.is_over());
        assert_eq!(backlog.spare.len(), SPARE_PAGE_COUNT_MAX);
    }
}
