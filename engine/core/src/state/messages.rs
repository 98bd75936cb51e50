//! Messages that wait in mailboxes.
//!
//! Source: RFC 3842 section 5.2; `res_mwi_devstate` for what a mailbox's lamp shows.

use lampfield_wire::{MessageCounts, MessageSummary};

use super::DeviceState;

/// The messages of a mailbox, or of several together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Messages {
    /// Whether there are new ones. A publisher may say so without counting them.
    pub is_waiting: bool,
    /// Voice messages.
    pub counts: MessageCounts,
}

impl Messages {
    /// So many new ones and so many old ones.
    pub const fn counted(new: u32, old: u32) -> Self {
        let counts = MessageCounts { new, old, urgent_new: 0, urgent_old: 0 };
        Self { is_waiting: new > 0, counts }
    }

    /// Adds those of another mailbox.
    pub fn add(&mut self, other: &Self) {
        let MessageCounts { new, old, urgent_new, urgent_old } = &mut self.counts;
        for (sum, more) in [
            (new, other.counts.new),
            (old, other.counts.old),
            (urgent_new, other.counts.urgent_new),
            (urgent_old, other.counts.urgent_old),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.is_waiting |= other.is_waiting;
    }

    /// What a lamp that hints at the mailbox shows.
    pub const fn device(&self) -> DeviceState {
        if self.is_waiting { DeviceState::InUse } else { DeviceState::NotInUse }
    }
}

impl From<&MessageSummary> for Messages {
    fn from(summary: &MessageSummary) -> Self {
        Self { is_waiting: summary.is_waiting, counts: summary.voice.unwrap_or_default() }
    }
}
