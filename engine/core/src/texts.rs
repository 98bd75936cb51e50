//! The texts of dialogs: what a NOTIFY head is rendered from, beside numbers.
//!
//! What a dialog has of its own lies in an arena: rows of equal cells, one row per length in
//! steps of four bytes. A row has no holes (whoever leaves is replaced by the last), so memory
//! is given back as a crowd leaves, in whatever order. What many dialogs have in common (the
//! presentity's address, the Event, the proxy they came through and the route to it) is kept once,
//! and what two texts of a dialog have in common (the watcher's name) as well.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::index::Numbers;
use crate::slab::Slab;

/// One text of a dialog.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Text {
    CallId,
    /// To of the SUBSCRIBE without tag: From of the NOTIFY.
    Local,
    /// From of the SUBSCRIBE with tag: To of the NOTIFY.
    Remote,
    /// URI of the watcher's Contact: request URI of the NOTIFY.
    Target,
    /// Route header lines, CRLF included; empty without a route set.
    Routes,
    /// Value of the Event header, as subscribed.
    Event,
    /// The watcher's URI, XML-escaped, as bodies show it.
    Watcher,
}

pub(crate) const TEXT_COUNT: usize = 7;

/// All texts of a dialog, in the order of [`Text`].
pub(crate) type AllTexts<'a> = [&'a [u8]; TEXT_COUNT];

/// Names the texts of one subscription. Not `Clone`: whoever drops it without
/// [`Texts::remove`] keeps the memory.
#[derive(Debug)]
pub(crate) struct TextsId {
    /// Chunk, and place in it.
    at: u32,
    /// Texts shared with others.
    shared: u32,
}

/// Bytes of a step.
const STEP: usize = 4;
/// Bytes of a chunk of cells at most, if it is to hold several.
const CHUNK_BYTES: usize = 32 * 1024;
/// Bits of a place in a chunk.
const PLACE_BITS: u32 = 12;

/// Bytes of a cell before its numbers:
///
/// ```text
/// 0  slot of the subscription, to be told when the cell moves
/// 4  form: IS_WIDE, and the length of the source address
/// 5  lengths of Call-ID, Remote, rest of Target, own Routes; start (in Remote) and length of
///    Watcher; how much of Watcher's beginning Target begins with. A byte each, or two if IS_WIDE
///    source address; Call-ID; Remote; Watcher unless Remote holds it; rest of Target; own Routes
/// ```
const HEAD: usize = 5;
const NUMBER_COUNT: usize = 7;
const IS_WIDE: u8 = 1;

/// What dialogs share: Local, Routes unless they are one dialog's own, Event, and with Routes the
/// source address, which is the proxy's.
#[derive(Debug)]
struct Shared {
    bytes: Box<[u8]>,
    ends: [u16; 2],
    user_count: u32,
    source: Option<IpAddr>,
}

impl Shared {
    fn texts(&self) -> [&[u8]; 3] {
        let [a, b] = self.ends.map(usize::from);
        [&self.bytes[..a], &self.bytes[a..b], &self.bytes[b..]]
    }

    fn key(&self) -> ([&[u8]; 3], Option<IpAddr>) {
        (self.texts(), self.source)
    }
}

/// Cells of one length.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// The chunk before it in its row, which is full; [`NONE`] for the first.
    before: u32,
    /// Length of a cell in steps.
    steps: u16,
}

/// No chunk.
const NONE: u32 = u32::MAX;

/// The texts of a shard's dialogs.
#[derive(Debug)]
pub(crate) struct Texts {
    chunks: Slab<Chunk>,
    /// The last chunk of each row, by length in steps.
    rows: Vec<u32>,
    shared: Slab<Shared>,
    index: Numbers,
    hasher: ahash::RandomState,
    /// Where cells are put together.
    scratch: Vec<u8>,
}

/// The texts of one dialog, ready to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialogTexts<'a> {
    /// Of Target the rest only.
    all: AllTexts<'a>,
    /// What Target begins with.
    target_head: &'a [u8],
    source: IpAddr,
}

impl<'a> DialogTexts<'a> {
    /// A text, other than Target.
    #[inline]
    pub(crate) fn get(&self, text: Text) -> &'a [u8] {
        debug_assert!(text != Text::Target, "it is in two pieces");
        self.all[text as usize]
    }

    /// Target, in two pieces.
    #[inline]
    pub(crate) fn target(&self) -> [&'a [u8]; 2] {
        [self.target_head, self.all[Text::Target as usize]]
    }

    /// All texts, in the order of [`Text`].
    pub(crate) fn all(&self) -> [Cow<'a, [u8]>; TEXT_COUNT] {
        let mut all = self.all.map(Cow::Borrowed);
        if !self.target_head.is_empty() {
            all[Text::Target as usize] = self.target().concat().into();
        }
        all
    }

    /// Bytes of all texts.
    pub(crate) fn len(&self) -> usize {
        self.target_head.len() + bytes_of(&self.all)
    }

    /// Where the SUBSCRIBE that made the dialog came from.
    pub(crate) fn source(&self) -> IpAddr {
        self.source
    }
}

/// Texts are not longer than this, all together.
const TEXT_BYTES_MAX: usize = u16::MAX as usize - 64;

/// Bytes of all texts of a dialog.
pub(crate) fn bytes_of(texts: &AllTexts<'_>) -> usize {
    texts.iter().map(|text| text.len()).sum()
}

impl Texts {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Self {
            chunks: Slab::default(),
            rows: Vec::new(),
            shared: Slab::default(),
            index: Numbers::default(),
            hasher,
            scratch: Vec::new(),
        }
    }

    /// Keeps the texts of the subscription in `slot`. `None` if they are longer than 64 KiB.
    pub(crate) fn insert(
        &mut self,
        slot: u32,
        texts: AllTexts<'_>,
        source: IpAddr,
    ) -> Option<TextsId> {
        if bytes_of(&texts) > TEXT_BYTES_MAX {
            return None;
        }
        let [call_id, local, remote, target, routes, event, watcher] = texts;
        let is_own = holds_tag_of(routes, remote);
        let (own, common) = if is_own { (routes, &b""[..]) } else { (&b""[..], routes) };
        // Through a proxy all have its address.
        let common_source = (!common.is_empty()).then_some(source);
        let watcher_at = find(remote, watcher);
        let added = if watcher_at.is_some() { &b""[..] } else { watcher };
        let watcher_at = watcher_at.unwrap_or(remote.len());
        let head_len = watcher.iter().zip(target).take_while(|(a, b)| a == b).count();
        let target = &target[head_len..];
        let cell = &mut self.scratch;
        let lengths = [call_id, remote, target, own].map(<[u8]>::len);
        let numbers = || lengths.into_iter().chain([watcher_at, watcher.len(), head_len]);
        let is_wide = numbers().any(|number| number > usize::from(u8::MAX));
        let octets = match (common_source, source) {
            (Some(_), _) => &[][..],
            (None, IpAddr::V4(source)) => &source.octets(),
            (None, IpAddr::V6(source)) => &source.octets(),
        };
        cell.clear();
        cell.extend_from_slice(&slot.to_le_bytes());
        cell.push(octets.len() as u8 | u8::from(is_wide));
        for number in numbers() {
            let bytes = (number as u16).to_le_bytes();
            cell.extend_from_slice(if is_wide { &bytes } else { &bytes[..1] });
        }
        for text in [octets, call_id, remote, added, target, own] {
            cell.extend_from_slice(text);
        }
        let at = self.push_cell();
        let shared = self.share([local, common, event], common_source);
        Some(TextsId { at, shared })
    }

    /// Puts the cell in `scratch` behind the others of its row.
    fn push_cell(&mut self) -> u32 {
        let steps = self.scratch.len().div_ceil(STEP);
        let cell_bytes = steps * STEP;
        self.scratch.resize(cell_bytes, 0);
        if self.rows.len() <= steps {
            self.rows.resize(steps + 1, NONE);
        }
        let per_chunk = (CHUNK_BYTES / cell_bytes).clamp(1, 1 << PLACE_BITS);
        let last = &mut self.rows[steps];
        let has_room = |chunk: &Chunk| chunk.bytes.len() < per_chunk * cell_bytes;
        if !self.chunks.get(*last).is_some_and(has_room) {
            let bytes = Vec::with_capacity(per_chunk * cell_bytes);
            *last = self.chunks.insert(Chunk { bytes, before: *last, steps: steps as u16 });
        }
        let chunk = &mut self.chunks[*last];
        let place = chunk.bytes.len() / cell_bytes;
        chunk.bytes.extend_from_slice(&self.scratch);
        *last << PLACE_BITS | place as u32
    }

    /// Forgets the texts of a subscription. The subscription whose cell moved into its place: it
    /// must [`TextsId::follow`].
    #[must_use]
    pub(crate) fn remove(&mut self, id: TextsId) -> Option<(u32, MovedTo)> {
        self.unshare(id.shared);
        let (chunk, place) = (id.at >> PLACE_BITS, id.at as usize % (1 << PLACE_BITS));
        let steps = usize::from(self.chunks[chunk].steps);
        let cell_bytes = steps * STEP;
        let last = self.rows[steps];
        let mut bytes = std::mem::take(&mut self.chunks[last].bytes);
        let start = bytes.len() - cell_bytes;
        let is_last = last == chunk && start == place * cell_bytes;
        let slot = bytes[start..].first_chunk().map(|slot| u32::from_le_bytes(*slot));
        if last == chunk {
            bytes.copy_within(start.., place * cell_bytes);
        } else {
            let gap = &mut self.chunks[chunk].bytes[place * cell_bytes..][..cell_bytes];
            gap.copy_from_slice(&bytes[start..]);
        }
        bytes.truncate(start);
        if start > 0 {
            self.chunks[last].bytes = bytes;
        } else if let Some(emptied) = self.chunks.remove(last) {
            self.rows[steps] = emptied.before;
        }
        slot.filter(|_| !is_last).map(|slot| (slot, MovedTo(id.at)))
    }

    #[inline]
    fn cell(&self, at: u32) -> &[u8] {
        let chunk = &self.chunks[at >> PLACE_BITS];
        let cell_bytes = usize::from(chunk.steps) * STEP;
        &chunk.bytes[at as usize % (1 << PLACE_BITS) * cell_bytes..][..cell_bytes]
    }

    /// The texts of a subscription.
    #[inline]
    pub(crate) fn get(&self, id: &TextsId) -> DialogTexts<'_> {
        let cell = self.cell(id.at);
        let form = cell[HEAD - 1];
        let (numbers, rest) = numbers_of(form, &cell[HEAD..]);
        let [call_id_len, remote_len, target_len, own_len, ..] = numbers;
        let [.., watcher_at, watcher_len, head_len] = numbers;
        let shared = &self.shared[id.shared];
        let (octets, rest) = rest.split_at(usize::from(form & !IS_WIDE));
        let source = shared.source.unwrap_or_else(|| address_of(octets));
        let (call_id, rest) = rest.split_at(call_id_len);
        let watcher = &rest[watcher_at..watcher_at + watcher_len];
        let (remote, rest) = rest.split_at(remote_len);
        // One that Remote does not hold lies behind it.
        let added_len = if watcher_at == remote_len { watcher_len } else { 0 };
        let (target, rest) = rest[added_len..].split_at(target_len);
        let own = &rest[..own_len];
        let [local, common, event] = shared.texts();
        let routes = if own.is_empty() { common } else { own };
        let all = [call_id, local, remote, target, routes, event, watcher];
        DialogTexts { all, target_head: &watcher[..head_len], source }
    }

    /// Reads a little of all that [`Texts::get`] will read.
    #[inline]
    pub(crate) fn touch(&self, id: &TextsId) -> u8 {
        let cell = self.cell(id.at);
        cell[0] ^ cell[cell.len() / 2] ^ cell[cell.len() - 1]
    }

    fn share(&mut self, texts: [&[u8]; 3], source: Option<IpAddr>) -> u32 {
        let hash = self.hasher.hash_one((texts, source));
        let is_it = |id: u32| self.shared[id].key() == (texts, source);
        if let Some(id) = self.index.find(hash, is_it) {
            self.shared[id].user_count += 1;
            return id;
        }
        let [a, b] = [texts[0].len(), texts[0].len() + texts[1].len()];
        let ends = [a as u16, b as u16];
        let bytes = texts.concat().into_boxed_slice();
        let id = self.shared.insert(Shared { bytes, ends, user_count: 1, source });
        let Self { shared, index, hasher, .. } = self;
        index.insert(hash, id, |id| hasher.hash_one(shared[id].key()));
        id
    }

    fn unshare(&mut self, id: u32) {
        let shared = &mut self.shared[id];
        shared.user_count -= 1;
        if shared.user_count > 0 {
            return;
        }
        let hash = self.hasher.hash_one(shared.key());
        let Self { shared, index, hasher, .. } = self;
        index.remove(hash, id, |id| hasher.hash_one(shared[id].key()));
        shared.remove(id);
    }
}

/// A place in a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MovedTo(u32);

impl TextsId {
    /// Its cell moved.
    pub(crate) fn follow(&mut self, moved: MovedTo) {
        self.at = moved.0;
    }
}

/// The numbers a cell has behind its head, and the rest of it.
#[inline]
fn numbers_of(form: u8, cell: &[u8]) -> ([usize; NUMBER_COUNT], &[u8]) {
    if form & IS_WIDE == 0 {
        let (numbers, rest) = cell.split_at(NUMBER_COUNT);
        return (std::array::from_fn(|at| usize::from(numbers[at])), rest);
    }
    let (numbers, rest) = cell.split_at(NUMBER_COUNT * 2);
    let number = |at: usize| u16::from_le_bytes([numbers[at * 2], numbers[at * 2 + 1]]);
    (std::array::from_fn(|at| usize::from(number(at))), rest)
}

/// The address of so many octets.
fn address_of(octets: &[u8]) -> IpAddr {
    match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
        (Ok(octets), _) => octets.into(),
        (_, Ok(octets)) => octets.into(),
        _ => IpAddr::from([0; 4]),
    }
}

/// Whether routes name the dialog, as those of a proxy that writes the From tag into them do:
/// no other dialog shares them.
fn holds_tag_of(routes: &[u8], remote: &[u8]) -> bool {
    let Some(start) = find(remote, b";tag=") else { return false };
    let tag = &remote[start + b";tag=".len()..];
    let end = tag.iter().position(|byte| *byte == b';').unwrap_or(tag.len());
    end > 0 && find(routes, &tag[..end]).is_some()
}

/// Where `part` begins in `text`.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let Some(first) = part.first() else { return Some(0) };
    let last = text.len().checked_sub(part.len())?;
    (0..=last).find(|&at| text[at] == *first && text[at..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        Texts::new(ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    const A: AllTexts<'_> = [
        b"call-1",
        b"<sip:10@h>",
        b"<sip:w@h>;tag=abc",
        b"sip:w@192.0.2.7",
        b"Route: <sip:p;lr>\r\n",
        b"dialog",
        b"sip:w@h",
    ];

    #[test]
    fn texts_come_back_as_given_and_what_is_common_is_kept_once() {
        let mut texts = texts();
        let v4 = IpAddr::from([192, 0, 2, 7]);
        let v6 = IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let mut escaped = A;
        (escaped[2], escaped[6]) = (b"<sip:a&b@h>;tag=1", b"sip:a&amp;b@h");
        let mut own = A;
        own[4] = b"Route: <sip:p;lr;ftag=abc>\r\n";
        let mut direct = A;
        (direct[4], direct[3]) = (b"", b"sip:other@192.0.2.7");
        let long = vec![b'x'; 40_000];
        let mut large = A;
        large[0] = &long;
        for (given, source, shared_count) in [
            (A, v4, 1),
            (A, v6, 2),
            (escaped, v4, 2),
            (own, v6, 3),
            (direct, v6, 3),
            ([&b""[..]; TEXT_COUNT], v4, 4),
            (large, v4, 4),
        ] {
            let id = texts.insert(7, given, source).expect("fits");
            let got = texts.get(&id);
            assert_eq!((got.source(), got.len()), (source, bytes_of(&given)));
            assert_eq!(got.all().each_ref().map(|text| &**text), given);
            assert_eq!(got.target().concat(), given[Text::Target as usize]);
            assert_eq!(texts.shared.len(), shared_count);
        }
        let huge = vec![b'x'; 65_536];
        large[0] = &huge;
        assert!(texts.insert(7, large, v4).is_none());
    }

    #[test]
    fn rows_have_no_holes_and_give_memory_back() {
        let mut texts = texts();
        let source = IpAddr::from([192, 0, 2, 7]);
        let name = |slot: u32| format!("call-{slot:06}");
        let mut held: Vec<(u32, TextsId)> = Vec::new();
        for slot in 0..2000 {
            let name = name(slot);
            let mut own = A;
            own[0] = name.as_bytes();
            held.push((slot, texts.insert(slot, own, source).expect("fits")));
        }
        let mut rng = fastrand::Rng::with_seed(1);
        while !held.is_empty() {
            let (_, id) = held.swap_remove(rng.usize(..held.len()));
            if let Some((moved, to)) = texts.remove(id) {
                let moved = held.iter_mut().find(|(slot, _)| *slot == moved).expect("it lives");
                moved.1.follow(to);
            }
            let Some((slot, id)) = held.first() else { break };
            assert_eq!(texts.get(id).get(Text::CallId), name(*slot).as_bytes());
            let bytes: usize = texts.chunks.iter().map(|(_, chunk)| chunk.bytes.len()).sum();
            assert_eq!(bytes, held.len() * texts.cell(id.at).len());
        }
        assert_eq!((texts.chunks.len(), texts.shared.len(), texts.index.len()), (0, 0, 0));
    }
}
