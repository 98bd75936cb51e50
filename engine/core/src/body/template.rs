//! Documents rendered once and patched on change.
//!
//! A slot is a place whose content depends on the state: the value, then blanks up to the slot's
//! width. A value ends with its own closing markup, so the blanks stand between two elements or
//! two attributes, where white space means nothing, and the document's length never changes:
//!
//! ```text
//! <basic>closed</basic>          <basic>open</basic>
//!        ^ start, width 14              ^ start, width 14
//! ```
//!
//! Two holes are filled per watcher while the document is copied out: the version (a slot of its
//! own, `reference/sip-pubsub.md` section 22.1) and the watcher's URI (no bytes here at all).
//! Source: XML 1.0 production 40 (`STag`), RFC 3863 section 4, RFC 4235 section 4.

use super::text;

/// Digits of the largest `u32` and the closing quote.
const VERSION_BYTES: usize = 11;
const SLOT_COUNT_MAX: usize = 4;

/// Bytes a slot of free text may leave unused after a long text gave way to a short one. They
/// would go to every watcher with every change.
const TEXT_UNUSED_BYTES_MAX: usize = 256;

/// Room for a free text to grow without rendering anew, and the step in which its slot widens.
const TEXT_HEADROOM_BYTES: usize = 32;
const NOWHERE: u32 = u32::MAX;

/// Part of a slot's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// Markup, written as it is.
    Markup(&'static str),
    /// Free text, to be escaped and cut.
    Text(&'a str),
    /// Text that is escaped already.
    Escaped(&'a str),
    /// A number of sixteen hex digits.
    Hex(u64),
    /// The presentity's URI, which the document already holds, escaped.
    Entity,
}

/// A slot's value. Lives on the stack.
pub(super) type Value<'a> = smallvec::SmallVec<[Piece<'a>; 8]>;

/// A value does not fit its slot, or left too much of it unused. Its bytes are spoilt: render
/// the document anew.
#[derive(Debug)]
pub(super) struct Misfit;

/// The bytes of a document, and where its changing parts are.
#[derive(Clone, Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    slots: [Slot; SLOT_COUNT_MAX],
    slot_count: u8,
    entity: Slot,
    version_at: u32,
    watcher_at: u32,
    serial_at: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    start: u32,
    width: u32,
    /// Bytes of the value; blanks follow.
    used: u32,
    /// Holds free text: its width follows the text, not the table of states.
    free: bool,
}

impl Template {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(640),
            slots: [Slot::default(); SLOT_COUNT_MAX],
            slot_count: 0,
            entity: Slot::default(),
            version_at: NOWHERE,
            watcher_at: NOWHERE,
            serial_at: NOWHERE,
        }
    }

    /// Appends fixed markup.
    pub(super) fn markup(&mut self, markup: &str) -> &mut Self {
        self.bytes.extend_from_slice(markup.as_bytes());
        self
    }

    /// Appends free text, escaped.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        text::escape(text, |piece| self.bytes.extend_from_slice(piece.as_bytes()));
        self
    }

    /// Appends the presentity's URI and remembers where it stands. Must come before any slot
    /// that names it.
    pub(super) fn entity(&mut self, entity: &str) -> &mut Self {
        let start = self.bytes.len();
        self.text(entity);
        self.entity = Slot {
            start: start as u32,
            width: (self.bytes.len() - start) as u32,
            ..Slot::default()
        };
        self
    }

    /// Appends the place of the version, with the quote that ends it.
    pub(super) fn version(&mut self) -> &mut Self {
        self.version_at = self.bytes.len() as u32;
        self.bytes.resize(self.bytes.len() + VERSION_BYTES, b' ');
        self
    }

    /// Appends the place of the watcher's URI.
    pub(super) fn watcher(&mut self) -> &mut Self {
        self.watcher_at = self.bytes.len() as u32;
        self
    }

    /// Appends a number of eight hex digits that counts the document's changes.
    pub(super) fn serial(&mut self, serial: u32) -> &mut Self {
        self.serial_at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&hex(serial));
        self
    }

    /// Appends a slot for values of up to `width` bytes, holding `value`.
    pub(super) fn slot(&mut self, width: usize, value: &[Piece<'_>]) -> &mut Self {
        self.place(
            Slot { start: self.bytes.len() as u32, width: width as u32, ..Slot::default() },
            value,
        )
    }

    /// Appends a slot for a value with free text, somewhat wider than `value`.
    pub(super) fn free_slot(&mut self, value: &[Piece<'_>]) -> &mut Self {
        let room = self.len_of(value) + TEXT_HEADROOM_BYTES;
        let width = room.next_multiple_of(TEXT_HEADROOM_BYTES) as u32;
        self.place(Slot { start: self.bytes.len() as u32, width, used: 0, free: true }, value)
    }

    fn place(&mut self, slot: Slot, value: &[Piece<'_>]) -> &mut Self {
        self.bytes.resize((slot.start + slot.width) as usize, b' ');
        self.slots[usize::from(self.slot_count)] = slot;
        self.slot_count += 1;
        let fits = self.patch(usize::from(self.slot_count) - 1, value);
        debug_assert!(fits.is_ok(), "a slot is made as wide as its first value at least");
        self
    }

    /// Length of `value` when written into this document.
    pub(super) fn len_of(&self, value: &[Piece<'_>]) -> usize {
        let len = |piece: &Piece<'_>| match piece {
            Piece::Markup(markup) => markup.len(),
            Piece::Text(text) => text::escaped_len(text),
            Piece::Escaped(text) => text.len(),
            Piece::Hex(_) => 16,
            Piece::Entity => self.entity.width as usize,
        };
        value.iter().map(len).sum()
    }

    /// Overwrites slot `index`; true if a byte changed. O(width), no allocation.
    pub(super) fn patch(&mut self, index: usize, value: &[Piece<'_>]) -> Result<bool, Misfit> {
        let Slot { start, width, free, .. } = self.slots[index];
        let (before, slot) = self.bytes.split_at_mut(start as usize);
        let mut pen = Pen { slot: &mut slot[..width as usize], at: 0, changed: false };
        for piece in value {
            match piece {
                Piece::Markup(markup) => pen.put(markup.as_bytes()),
                Piece::Text(text) => text::escape(text, |part| pen.put(part.as_bytes())),
                Piece::Escaped(text) => pen.put(text.as_bytes()),
                Piece::Hex(number) => {
                    pen.put(&hex((number >> 32) as u32));
                    pen.put(&hex(*number as u32));
                }
                Piece::Entity => {
                    let Slot { start, width, .. } = self.entity;
                    pen.put(&before[start as usize..(start + width) as usize]);
                }
            }
        }
        let used = pen.at as u32;
        let changed = pen.finish(if free { TEXT_UNUSED_BYTES_MAX } else { usize::MAX })?;
        self.slots[index].used = used;
        Ok(changed)
    }

    /// Overwrites the count of changes, where the document shows it.
    pub(super) fn set_serial(&mut self, serial: u32) {
        if self.serial_at != NOWHERE {
            let at = self.serial_at as usize;
            self.bytes[at..at + 8].copy_from_slice(&hex(serial));
        }
    }

    /// Whether another document has the same bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }

    /// Length of the copy for a watcher.
    pub(super) fn len_for(&self, watcher_uri: &[u8]) -> usize {
        let named = self.watcher_at != NOWHERE;
        self.bytes.len() + if named { watcher_uri.len() } else { 0 }
    }

    /// Length of the copy for a watcher without the blanks that end slots.
    pub(super) fn dense_len_for(&self, watcher_uri: &[u8]) -> usize {
        let blanks = |slot: &Slot| (slot.width - slot.used) as usize;
        self.len_for(watcher_uri) - self.used_slots().iter().map(blanks).sum::<usize>()
    }

    /// Appends the copy for a watcher without the blanks that end slots.
    pub(super) fn write_dense_for(&self, version: u32, watcher_uri: &[u8], out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        let version = digits.format(version).as_bytes();
        // A document's only version stands before all its slots.
        let version_at = out.len() + self.version_at as usize;
        let mut at = 0;
        for slot in self.used_slots() {
            self.copy(at..(slot.start + slot.used) as usize, watcher_uri, out);
            at = (slot.start + slot.width) as usize;
        }
        self.copy(at..self.bytes.len(), watcher_uri, out);
        if self.version_at != NOWHERE {
            out[version_at..version_at + version.len()].copy_from_slice(version);
            out[version_at + version.len()] = b'"';
        }
    }

    fn copy(&self, range: std::ops::Range<usize>, watcher_uri: &[u8], out: &mut Vec<u8>) {
        let watcher_at = self.watcher_at as usize;
        if range.contains(&watcher_at) {
            out.extend_from_slice(&self.bytes[range.start..watcher_at]);
            out.extend_from_slice(watcher_uri);
            out.extend_from_slice(&self.bytes[watcher_at..range.end]);
        } else {
            out.extend_from_slice(&self.bytes[range]);
        }
    }

    fn used_slots(&self) -> &[Slot] {
        &self.slots[..usize::from(self.slot_count)]
    }

    /// Appends the copy for a watcher.
    pub(super) fn write_for(&self, version: u32, watcher_uri: &[u8], out: &mut Vec<u8>) {
        let base = out.len();
        if self.watcher_at == NOWHERE {
            out.extend_from_slice(&self.bytes);
        } else {
            let (before, after) = self.bytes.split_at(self.watcher_at as usize);
            out.extend_from_slice(before);
            out.extend_from_slice(watcher_uri);
            out.extend_from_slice(after);
        }
        if self.version_at != NOWHERE {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(version).as_bytes();
            let at = base + self.version_at as usize;
            out[at..at + digits.len()].copy_from_slice(digits);
            out[at + digits.len()] = b'"';
        }
    }
}

/// Writes into a slot, noticing whether anything differs.
struct Pen<'s> {
    slot: &'s mut [u8],
    at: usize,
    changed: bool,
}

impl Pen<'_> {
    fn put(&mut self, bytes: &[u8]) {
        // A piece beyond the end only moves the position: `finish` reports it.
        if let Some(place) = self.slot.get_mut(self.at..self.at + bytes.len())
            && place != bytes
        {
            place.copy_from_slice(bytes);
            self.changed = true;
        }
        self.at += bytes.len();
    }

    fn finish(self, unused_max: usize) -> Result<bool, Misfit> {
        let padding = self.slot.get_mut(self.at..).ok_or(Misfit)?;
        if padding.len() > unused_max {
            return Err(Misfit);
        }
        let mut changed = self.changed;
        for byte in padding {
            changed |= *byte != b' ';
            *byte = b' ';
        }
        Ok(changed)
    }
}

fn hex(number: u32) -> [u8; 8] {
    std::array::from_fn(|i| b"0123456789abcdef"[(number >> (28 - 4 * i)) as usize & 0xf])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_keeps_the_length_and_says_whether_it_changed_something() {
        let mut template = Template::new();
        template.markup("<basic>").slot(14, &[Piece::Markup("closed</basic>")]).markup("</status>");
        for (value, want, changed) in [
            ("open</basic>", "<basic>open</basic>  </status>", true),
            ("open</basic>", "<basic>open</basic>  </status>", false),
            ("closed</basic>", "<basic>closed</basic></status>", true),
            ("</basic>", "<basic></basic>      </status>", true),
        ] {
            assert_eq!(template.patch(0, &[Piece::Markup(value)]).ok(), Some(changed), "{value}");
            assert_eq!(str::from_utf8(&template.bytes), Ok(want), "{value}");
        }
        assert!(template.patch(0, &[Piece::Markup("unknown</basic>")]).is_err());
    }

    #[test]
    fn version_and_watcher_are_put_in_while_copying() {
        let mut template = Template::new();
        template.markup("<d version=\"").version().markup(" x=\"").watcher().markup("\"/>");
        for (version, want) in [
            (0, r#"<d version="0"          x="sip:w"/>"#),
            (4_294_967_295, r#"<d version="4294967295" x="sip:w"/>"#),
        ] {
            let mut out = b"head".to_vec();
            template.write_for(version, b"sip:w", &mut out);
            assert_eq!(str::from_utf8(&out[4..]), Ok(want));
            assert_eq!(out.len() - 4, template.len_for(b"sip:w"));
        }
    }

    #[test]
    fn a_dense_copy_is_the_copy_without_the_blanks_of_slots() {
        let mut template = Template::new();
        template.markup("<d version=\"").version().markup(" a=\"").slot(6, &[Piece::Markup("b\"")]);
        template.markup(" x=\"").watcher().markup("\" ").slot(4, &[Piece::Markup("/>")]);
        let mut out = b"head".to_vec();
        template.write_dense_for(7, b"sip:w", &mut out);
        let want = "head<d version=\"7\"          a=\"b\" x=\"sip:w\" />";
        assert_eq!(str::from_utf8(&out), Ok(want));
        assert_eq!(out.len() - 4, template.dense_len_for(b"sip:w"));
    }
}
