//! A slab in chunks: stable slots, growth without copying, and memory given back chunk by chunk.

const CHUNK: usize = 1024;

/// No slot of a chunk.
const NONE: u16 = u16::MAX;

/// Slots of `T`, numbered from 0. The lowest chunk with room is filled first, so that the memory
/// in use gathers at low numbers; a chunk that empties is given back.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// One bit per chunk: it has room.
    open: Vec<u64>,
    /// Words of `open` before this one are 0.
    first_open: usize,
    /// Empty chunks that are kept for the next one that is needed, for a slab that breathes.
    spare: Vec<Vec<Slot<T>>>,
    spare_max: usize,
    count: u32,
}

#[derive(Debug)]
struct Chunk<T> {
    slots: Vec<Slot<T>>,
    /// The slot freed last; [`NONE`] if all are in use.
    free: u16,
    used: u16,
}

/// As large as `T`, if `T` has a niche.
#[derive(Debug)]
enum Slot<T> {
    Used(T),
    /// The slot that was freed before it.
    Free(u16),
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::breathing(1)
    }
}

impl<T> Slab<T> {
    /// What a slot takes.
    #[cfg(test)]
    pub(crate) const SLOT_BYTES: usize = size_of::<Slot<T>>();

    /// A slab that keeps so many empty chunks.
    pub(crate) const fn breathing(spare_max: usize) -> Self {
        Self {
            chunks: Vec::new(),
            open: Vec::new(),
            first_open: 0,
            spare: Vec::new(),
            spare_max,
            count: 0,
        }
    }

    /// Occupied slots.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// The slot the next [`Slab::insert`] will take.
    pub(crate) fn next_slot(&self) -> u32 {
        let at = self.open_chunk();
        let place = match self.chunks.get(at) {
            Some(chunk) if chunk.free != NONE => usize::from(chunk.free),
            Some(chunk) => chunk.slots.len(),
            None => 0,
        };
        (at * CHUNK + place) as u32
    }

    /// The lowest chunk with room; the one to be added if there is none.
    fn open_chunk(&self) -> usize {
        let words = self.open.iter().enumerate().skip(self.first_open);
        let mut open = words.filter(|(_, word)| **word != 0);
        open.next().map_or(self.chunks.len(), |(at, word)| at * 64 + word.trailing_zeros() as usize)
    }

    /// Takes a slot.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let at = self.open_chunk();
        if at == self.chunks.len() {
            self.chunks.push(Chunk { slots: Vec::new(), free: NONE, used: 0 });
            self.open.resize(at / 64 + 1, 0);
            self.open[at / 64] |= 1 << (at % 64);
        }
        self.first_open = at / 64;
        let chunk = &mut self.chunks[at];
        if chunk.slots.capacity() == 0 {
            chunk.slots = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK));
        }
        let place = match usize::from(chunk.free) {
            free if free < chunk.slots.len() => {
                let before = std::mem::replace(&mut chunk.slots[free], Slot::Used(value));
                chunk.free = if let Slot::Free(before) = before { before } else { NONE };
                free
            }
            _ => {
                chunk.slots.push(Slot::Used(value));
                chunk.slots.len() - 1
            }
        };
        chunk.used += 1;
        if usize::from(chunk.used) == CHUNK {
            self.open[at / 64] &= !(1 << (at % 64));
        }
        self.count += 1;
        (at * CHUNK + place) as u32
    }

    /// Frees a slot and returns what it held.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let (at, place) = (slot as usize / CHUNK, slot as usize % CHUNK);
        let chunk = self.chunks.get_mut(at)?;
        let held = chunk.slots.get_mut(place).filter(|held| matches!(held, Slot::Used(_)))?;
        let held = std::mem::replace(held, Slot::Free(chunk.free));
        (chunk.free, chunk.used) = (place as u16, chunk.used - 1);
        if chunk.used == 0 {
            let mut slots = std::mem::take(&mut chunk.slots);
            chunk.free = NONE;
            slots.clear();
            if self.spare.len() < self.spare_max {
                self.spare.push(slots);
            }
        }
        self.open[at / 64] |= 1 << (at % 64);
        self.first_open = self.first_open.min(at / 64);
        self.count -= 1;
        match held {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// What a slot holds.
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        match self.chunks.get(slot as usize / CHUNK)?.slots.get(slot as usize % CHUNK)? {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// What a slot holds.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        match self.chunks.get_mut(slot as usize / CHUNK)?.slots.get_mut(slot as usize % CHUNK)? {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// All occupied slots in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().enumerate().flat_map(|(at, chunk)| {
            chunk.slots.iter().enumerate().filter_map(move |(place, slot)| match slot {
                Slot::Used(value) => Some(((at * CHUNK + place) as u32, value)),
                Slot::Free(_) => None,
            })
        })
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        self.get(slot).expect("the slot is occupied: its owner holds the number")
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        self.get_mut(slot).expect("the slot is occupied: its owner holds the number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks_held<T>(slab: &Slab<T>) -> usize {
        slab.chunks.iter().filter(|chunk| chunk.slots.capacity() > 0).count()
    }

    #[test]
    fn slots_are_stable_reused_and_given_back() {
        let mut slab = Slab::default();
        let slots: Vec<u32> = (0..3000).map(|n| slab.insert(n)).collect();
        assert_eq!(slots, (0..3000).collect::<Vec<_>>());
        assert_eq!(slab.remove(7), Some(7));
        assert_eq!(slab.remove(7), None);
        assert_eq!((slab.get(7), slab.get(8), slab.get(99_999)), (None, Some(&8), None));
        assert_eq!((slab.next_slot(), slab.insert(70), slab[7]), (7, 7, 70));
        assert_eq!(slab.iter().count(), 3000);
        for slot in slots {
            slab.remove(slot);
        }
        assert_eq!((slab.len(), slab.next_slot(), chunks_held(&slab)), (0, 0, 0));
        assert_eq!(slab.spare.len(), 1, "one is kept for those who come next");
    }

    #[test]
    fn a_chunk_in_the_middle_is_given_back_and_low_slots_are_filled_first() {
        let mut slab = Slab::default();
        (0..5000_u32).for_each(|n| assert_eq!(slab.insert(n), n));
        (1024..2048).chain([4500, 10]).for_each(|slot| assert_eq!(slab.remove(slot), Some(slot)));
        assert_eq!(chunks_held(&slab), 4);
        let next: Vec<u32> = (0..1026)
            .map(|n| {
                let next = slab.next_slot();
                assert_eq!(slab.insert(n), next);
                next
            })
            .collect();
        let want: Vec<u32> = [10].into_iter().chain(1024..2048).chain([4500]).collect();
        assert_eq!(next, want);
        assert_eq!((slab.next_slot(), slab.iter().count()), (5000, 5000));
    }
}
