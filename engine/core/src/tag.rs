//! Tags and branches that carry their slot: an in-dialog request or a response finds its
//! subscription without a hash lookup, and its shard without asking.
//!
//! ```text
//! To-tag  lf PPP SSSSSSSS CCCCCCCC           partition, slot, check (hexadecimal)
//! branch  z9hG4bK PPP SSSSSSSS CCCCCCCC QQQQQQQQ     … and the CSeq of the NOTIFY
//! ```
//!
//! The check is random per subscription (32 bits, as RFC 3261 section 19.3 asks of a tag): a
//! guessed tag does not match. The partition, not the shard, is carried, so that a tag survives
//! a restart with another number of shards. The kernel reads it, too, to find the shard's socket
//! (`engine/net/src/sys/steer.rs`): both begin with three digits, whatever follows.

use crate::placement::PARTITION_COUNT;

/// Names one subscription of this node, for as long as it lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Tag {
    /// Partition of its extension.
    pub(crate) partition: u16,
    /// Slot it was created in. After a restart it may live in another.
    pub(crate) slot: u32,
    /// Random value.
    pub(crate) check: u32,
}

const MARK: &[u8] = b"lf";
const COOKIE: &[u8] = b"z9hG4bK";

/// Bytes of a tag and of a branch.
pub(crate) const TAG_BYTES: usize = MARK.len() + DIGITS;
pub(crate) const BRANCH_BYTES: usize = COOKIE.len() + DIGITS + 8;

/// Digits of partition, slot and check.
const DIGITS: usize = 3 + 8 + 8;

impl Tag {
    /// The To-tag.
    #[inline]
    pub(crate) fn text(self) -> [u8; TAG_BYTES] {
        let mut text = [0; TAG_BYTES];
        let (mark, digits) = text.split_at_mut(MARK.len());
        mark.copy_from_slice(MARK);
        self.write_digits(digits);
        text
    }

    /// Appends the To-tag.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text());
    }

    #[inline]
    fn write_digits(self, digits: &mut [u8]) {
        let partition = &hex(u32::from(self.partition))[5..];
        digits[..3].copy_from_slice(partition);
        digits[3..11].copy_from_slice(&hex(self.slot));
        digits[11..DIGITS].copy_from_slice(&hex(self.check));
    }

    /// Reads a To-tag of ours.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let digits = text.strip_prefix(MARK)?;
        if digits.len() != DIGITS {
            return None;
        }
        Self::read_digits(digits)
    }

    fn read_digits(digits: &[u8]) -> Option<Self> {
        let partition = read_hex(digits.get(..3)?)? as u16;
        if u64::from(partition) >= PARTITION_COUNT {
            return None;
        }
        let (slot, check) = (read_hex(digits.get(3..11)?)?, read_hex(digits.get(11..19)?)?);
        Some(Self { partition, slot, check })
    }
}

/// The branch of a NOTIFY: `slot` is where the subscription lives now.
#[inline]
pub(crate) fn branch_text(tag: Tag, slot: u32, cseq: u32) -> [u8; BRANCH_BYTES] {
    let mut text = [0; BRANCH_BYTES];
    let (cookie, digits) = text.split_at_mut(COOKIE.len());
    cookie.copy_from_slice(COOKIE);
    Tag { slot, ..tag }.write_digits(digits);
    digits[DIGITS..].copy_from_slice(&hex(cseq));
    text
}

/// Reads a branch of ours: the tag (with the slot it lives in now) and the CSeq.
pub(crate) fn read_branch(branch: &[u8]) -> Option<(Tag, u32)> {
    let digits = branch.strip_prefix(COOKIE)?;
    if digits.len() != DIGITS + 8 {
        return None;
    }
    Some((Tag::read_digits(digits)?, read_hex(&digits[DIGITS..])?))
}

/// Appends the last `width` of eight digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, value: u32, width: usize) {
    out.extend_from_slice(&hex(value)[8 - width..]);
}

/// Eight digits. Every NOTIFY has some seventy: all eight are made at once, in the bytes of one
/// word.
#[inline]
fn hex(value: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let halves = u64::from(value & 0xffff_0000) << 16 | u64::from(value & 0xffff);
    let bytes = (halves & 0xff00_0000_ff00) << 8 | halves & 0x00ff_0000_00ff;
    let nibbles = (bytes & 0x00f0_00f0_00f0_00f0) << 4 | bytes & 0x000f_000f_000f_000f;
    // One in each byte that is ten or more: a letter, further up than the digits.
    let letters = ((nibbles + ONES * 6) >> 4) & ONES;
    let gap = u64::from(b'a' - 10 - b'0');
    (nibbles + ONES * u64::from(b'0') + letters * gap).to_be_bytes()
}

/// Values of hexadecimal digits in lower case; what is none has a high bit set.
const VALUES: [u8; 256] = {
    let mut values = [0x80; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

fn read_hex(digits: &[u8]) -> Option<u32> {
    let (mut value, mut seen) = (0u32, 0);
    for &digit in digits {
        let digit = VALUES[usize::from(digit)];
        seen |= digit;
        value = value << 4 | u32::from(digit);
    }
    (seen < 16).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_branches_read_back_and_nothing_else_reads() {
        let tag = Tag { partition: 1023, slot: 0xdead_beef, check: 7 };
        let (text, branch) = (tag.text(), branch_text(tag, 5, u32::MAX));
        assert_eq!(text, *b"lf3ffdeadbeef00000007");
        assert_eq!(Tag::read(&text), Some(tag));
        assert_eq!(read_branch(&branch), Some((Tag { slot: 5, ..tag }, u32::MAX)));
        for value in [0, 9, 10, 0x9a9a_9a9a, 0x0123_4567, 0x89ab_cdef, u32::MAX] {
            let mut digits = Vec::new();
            push_hex(&mut digits, value, 8);
            push_hex(&mut digits, value, 3);
            assert_eq!(digits, format!("{value:08x}{:03x}", value & 0xfff).as_bytes());
            assert_eq!(read_hex(&digits[..8]), Some(value));
        }
        for wrong in
            ["", "lf", "lf400deadbeef00000007", "lf3ffDEADBEEF00000007", "xx3ffdeadbeef00000007"]
        {
            assert_eq!(Tag::read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(read_branch(&branch[..branch.len() - 1]), None);
        assert_eq!(read_branch(b"z9hG4bK-foreign"), None);
    }
}
