//! A slab in chunks: stable slots, no copying growth, memory proportional to the peak.

const CHUNK: usize = 1024;

/// Slots of `T`, numbered from 0. A freed slot is reused last-in first-out.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    count: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), count: 0 }
    }
}

impl<T> Slab<T> {
    /// Occupied slots.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// The slot the next [`Slab::insert`] will take.
    pub(crate) fn next_slot(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| self.slot_count())
    }

    /// Takes a slot.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.count += 1;
        if let Some(slot) = self.free.pop() {
            self.chunks[slot as usize / CHUNK][slot as usize % CHUNK] = Some(value);
            return slot;
        }
        let slot = self.slot_count();
        if (slot as usize).is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[slot as usize / CHUNK].push(Some(value));
        slot
    }

    /// Frees a slot and returns what it held.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?;
        let value = value.take()?;
        self.count -= 1;
        self.free.push(slot);
        if self.count == 0 {
            self.chunks.clear();
            self.free = Vec::new();
        }
        Some(value)
    }

    /// What a slot holds.
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)?.as_ref()
    }

    /// What a slot holds.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?.as_mut()
    }

    /// All occupied slots in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks
            .iter()
            .flatten()
            .enumerate()
            .filter_map(|(slot, value)| value.as_ref().map(|value| (slot as u32, value)))
    }

    fn slot_count(&self) -> u32 {
        self.chunks.last().map_or(0, |last| ((self.chunks.len() - 1) * CHUNK + last.len()) as u32)
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
        assert_eq!((slab.len(), slab.next_slot(), slab.chunks.len()), (0, 0, 0));
    }
}
