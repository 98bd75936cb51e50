//! One watcher: the subscriber's side of a subscription (RFC 6665 section 4.1), packed.
//!
//! The index of a watcher is written into its Call-ID and tag, so that a NOTIFY or a response
//! finds its record without a hash, and one of another run is told apart by the run id.

use crate::clock::Nanos;
use crate::population::Watched;
use crate::truth::View;

/// Stands for "no version yet".
const NONE: u32 = u32::MAX;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Stage {
    /// Not asked for yet.
    #[default]
    Idle,
    /// SUBSCRIBE sent; the 2xx, the first NOTIFY or both are still missing.
    Asking,
    /// Established.
    Active,
    /// Un-SUBSCRIBE sent.
    Leaving,
    /// Ended as asked.
    Left,
    /// Refused, timed out or ended by the target.
    Failed,
    /// Switched off, as its behaviour says.
    Dead,
}

/// What a watcher knows about one extension it watches: 16 bytes, because there are many.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The state it shows.
    pub view: View,
    /// Newest document version (dialog-info).
    document_version: u32,
    /// Hash of the instance id in the list; 0 before the first.
    pub instance_hash: u32,
}

/// The dialog state learnt from the target.
#[derive(Debug, Default)]
pub struct RemoteDialog {
    /// Its tag.
    pub tag: Box<[u8]>,
    /// Its Contact URI: where the next SUBSCRIBE of this dialog goes.
    pub target_uri: Box<[u8]>,
    /// Route header values, ready to be written; usually empty.
    pub routes: Box<[u8]>,
}

/// One watcher.
#[derive(Debug)]
pub struct Watcher {
    /// What the target said about the dialog.
    pub remote: Option<Box<RemoteDialog>>,
    /// When its newest SUBSCRIBE was due.
    pub asked_ns: Nanos,
    /// What it watches.
    pub watched: Watched,
    /// Its first edge, an index within its thread.
    pub first_edge: u32,
    /// Newest version of the list.
    list_version: u32,
    /// Socket it lives on, an index within its thread.
    pub socket: u16,
    /// Its behaviour, an index into those of the scenario.
    pub behaviour: u8,
    /// Where the subscription stands.
    pub stage: Stage,
    /// CSeq of our newest SUBSCRIBE; 0 before the first.
    pub cseq: u32,
    /// That SUBSCRIBE has its final answer.
    pub answered: bool,
    /// A NOTIFY with a state has come.
    pub told: bool,
    /// A NOTIFY without news is owed because a SUBSCRIBE asked for it.
    pub notify_owed: bool,
    /// CSeq and branch hash of the two newest NOTIFYs, newest first.
    pub recent: [Option<(u32, u32)>; 2],
}

/// How a NOTIFY's CSeq compares with the ones before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sequence {
    /// Higher than all before.
    Rising,
    /// The same request again: the target did not get our answer.
    Retransmission,
    /// The number of an earlier request on a new transaction.
    Reused,
    /// Lower than the newest.
    Falling,
}

impl Default for Edge {
    fn default() -> Edge {
        Edge { view: View::default(), document_version: NONE, instance_hash: 0 }
    }
}

impl Edge {
    /// Takes the version of a document, and returns the one before.
    pub fn take_document_version(&mut self, version: u32) -> Option<u32> {
        let before = std::mem::replace(&mut self.document_version, version);
        (before != NONE).then_some(before)
    }
}

impl Watcher {
    /// One that has not subscribed yet.
    pub fn new(watched: Watched, first_edge: u32, socket: u16, behaviour: u8) -> Watcher {
        Watcher {
            remote: None,
            asked_ns: 0,
            watched,
            first_edge,
            list_version: NONE,
            socket,
            behaviour,
            stage: Stage::Idle,
            cseq: 0,
            answered: true,
            told: false,
            notify_owed: false,
            recent: [None; 2],
        }
    }

    /// Takes the version of a list, and returns the one before.
    pub fn take_list_version(&mut self, version: u32) -> Option<u32> {
        let before = std::mem::replace(&mut self.list_version, version);
        (before != NONE).then_some(before)
    }

    /// Places a NOTIFY by CSeq and branch, and remembers it if it is new.
    pub fn place(&mut self, cseq: u32, branch_hash: u32) -> Sequence {
        let Some((newest, _)) = self.recent[0] else {
            self.recent[0] = Some((cseq, branch_hash));
            return Sequence::Rising;
        };
        if cseq > newest {
            self.recent = [Some((cseq, branch_hash)), self.recent[0]];
            return Sequence::Rising;
        }
        if self.recent.contains(&Some((cseq, branch_hash))) {
            return Sequence::Retransmission;
        }
        let known = self.recent.iter().flatten().any(|(number, _)| *number == cseq);
        if known { Sequence::Reused } else { Sequence::Falling }
    }

    /// Whether the full state that the newest SUBSCRIBE asked for has not come.
    pub fn owes_full_state(&self) -> bool {
        self.notify_owed && self.answered
    }

    /// Whether the subscription counts towards the truth.
    pub fn is_active(&self) -> bool {
        self.stage == Stage::Active
    }
}

/// Writes and reads the names that carry a watcher's index.
#[derive(Clone, Copy, Debug)]
pub struct Naming {
    /// Drawn per run, so that packets of an earlier run are recognised as foreign.
    pub run_id: u32,
}

impl Naming {
    /// `xxxxxxxx.INDEX@lampload`.
    pub fn call_id(self, index: u32) -> String {
        format!("{:08x}.{index:x}@lampload", self.run_id)
    }

    /// The watcher a Call-ID belongs to; `None` for one that is not of this run.
    pub fn index_of(self, call_id: &[u8]) -> Option<u32> {
        let (run, rest) = call_id.split_at_checked(8)?;
        let index = rest.strip_prefix(b".")?.strip_suffix(b"@lampload")?;
        if parse_hex(run)? != self.run_id || index.len() > 1 && index[0] == b'0' {
            return None;
        }
        parse_hex(index)
    }

    /// Our tag: `w` and the index.
    pub fn tag(self, index: u32) -> String {
        format!("w{index:x}")
    }

    /// Whether `tag` is the tag of watcher `index`.
    pub fn owns_tag(self, index: u32, tag: &[u8]) -> bool {
        tag.strip_prefix(b"w").and_then(parse_hex) == Some(index)
    }
}

fn parse_hex(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 8 {
        return None;
    }
    text.iter().try_fold(0u32, |number, byte| {
        let digit = (*byte as char).to_digit(16).filter(|_| !byte.is_ascii_uppercase())?;
        Some(number << 4 | digit)
    })
}

/// A short hash to tell branches of one dialog apart (FNV-1a).
pub fn branch_hash(branch: &[u8]) -> u32 {
    branch
        .iter()
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_the_watcher_and_foreign_ones_do_not() {
        let naming = Naming { run_id: 0xab };
        for index in [0, 9, 10, 0xffff, u32::MAX] {
            assert_eq!(naming.index_of(naming.call_id(index).as_bytes()), Some(index));
            assert!(naming.owns_tag(index, naming.tag(index).as_bytes()));
            assert!(!naming.owns_tag(index.wrapping_add(1), naming.tag(index).as_bytes()));
        }
        for foreign in [
            "000000ac.1@lampload",
            "000000ab.@lampload",
            "000000ab.01@lampload",
            "000000AB.1@lampload",
            "000000ab.1@else",
            "000000ab.111111111@lampload",
            "",
            "x",
        ] {
            assert_eq!(naming.index_of(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn sequence_numbers_are_placed() {
        use Sequence::{Falling, Retransmission, Reused, Rising};
        let mut watcher = Watcher::new(Watched::Single(0), 0, 0, 0);
        for (cseq, branch, want) in [
            (5, 1, Rising),
            (5, 1, Retransmission),
            (5, 2, Reused),
            (7, 3, Rising),
            (5, 1, Retransmission),
            (6, 4, Falling),
            (5, 9, Reused),
            (8, 5, Rising),
            (5, 1, Falling),
        ] {
            assert_eq!(watcher.place(cseq, branch), want, "{cseq} {branch}");
        }
    }

    #[test]
    fn a_watcher_is_small() {
        assert!(size_of::<Watcher>() <= 80, "{}", size_of::<Watcher>());
        assert_eq!(size_of::<Edge>(), 16);
    }
}
