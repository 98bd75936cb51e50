//! Dialogs whose subscription ended a short while ago: an Asterisk answers 500 in them, not 481.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;
use crate::tag::Tag;

/// How long an Asterisk remembers (64 T1).
const MEMORY: Duration = Duration::from_secs(32);
/// Remembered at once; beyond, the oldest are forgotten and get 481.
const COUNT_MAX: usize = 4096;

/// The memory of one shard.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    tags: VecDeque<(Time, Tag)>,
}

impl Ended {
    pub(crate) fn remember(&mut self, tag: Tag, now: Time) {
        self.forget(now);
        if self.tags.len() >= COUNT_MAX {
            self.tags.pop_front();
        }
        self.tags.push_back((now + MEMORY, tag));
    }

    /// Whether a tag is remembered. Walks the memory: asked only for tags of no subscription.
    pub(crate) fn contains(&self, tag: Tag) -> bool {
        self.tags.iter().any(|(_, ended)| *ended == tag)
    }

    pub(crate) fn forget(&mut self, now: Time) {
        while self.tags.front().is_some_and(|(until, _)| *until <= now) {
            self.tags.pop_front();
        }
    }
}
