//! A queue in chunks: growth without copying, memory given back as it empties, and every entry
//! reachable by its number while it is in.

use std::collections::VecDeque;

const CHUNK: usize = 1024;
/// Empty chunks that are kept: a queue that breathes does not allocate.
const SPARE_MAX: usize = 32;

/// First in, first out.
#[derive(Debug)]
pub(crate) struct Fifo<T> {
    chunks: VecDeque<Vec<T>>,
    spare: Vec<Vec<T>>,
    /// Number of the first entry of the first chunk.
    base: u32,
    /// Entries of the first chunk that have left.
    left: u32,
    len: usize,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), spare: Vec::new(), base: 0, left: 0, len: 0 }
    }
}

impl<T: Copy> Fifo<T> {
    /// Entries in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.chunks.front()?.get(self.left as usize)
    }

    /// The number of the oldest entry; of the next one if there is none.
    pub(crate) fn front_number(&self) -> u32 {
        self.base.wrapping_add(self.left)
    }

    /// Appends an entry; returns its number. Numbers go up by one, and come round.
    pub(crate) fn push_back(&mut self, entry: T) -> u32 {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK) {
            let chunk = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK));
            self.chunks.push_back(chunk);
        }
        let number = self.front_number().wrapping_add(self.len as u32);
        self.chunks.back_mut().expect("one was pushed").push(entry);
        self.len += 1;
        number
    }

    /// Takes the oldest entry.
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let first = self.chunks.front()?;
        let entry = *first.get(self.left as usize)?;
        (self.left, self.len) = (self.left + 1, self.len - 1);
        if self.left as usize == CHUNK || self.len == 0 {
            self.base = self.base.wrapping_add(self.left);
            self.left = 0;
            let mut chunk = self.chunks.pop_front()?;
            if self.spare.len() < SPARE_MAX {
                chunk.clear();
                self.spare.push(chunk);
            }
        }
        Some(entry)
    }

    /// The entry of a number, while it is in.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let place = number.wrapping_sub(self.base);
        if place < self.left {
            return None;
        }
        self.chunks.get(place as usize / CHUNK)?.get(place as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_leave_in_order_and_are_found_by_number_meanwhile() {
        let mut fifo = Fifo { base: u32::MAX - 1500, ..Fifo::default() };
        let mut numbers = VecDeque::new();
        for n in 0..10_000_u32 {
            numbers.push_back((fifo.push_back(n), n));
            if n % 3 == 1 {
                let (number, first) = numbers.pop_front().expect("pushed");
                assert_eq!((fifo.front(), fifo.get(number)), (Some(&first), Some(&first)));
                assert_eq!(fifo.pop_front(), Some(first));
                assert_eq!(fifo.get(number), None);
            }
            let (last, first) = (numbers.back().expect("pushed"), numbers.front());
            assert_eq!((fifo.get(last.0), fifo.len()), (Some(&last.1), numbers.len()));
            assert_eq!(first.and_then(|(number, _)| fifo.get(*number)), fifo.front());
        }
        while let Some((number, n)) = numbers.pop_front() {
            assert_eq!((fifo.get(number).copied(), fifo.pop_front()), (Some(n), Some(n)));
        }
        assert_eq!((fifo.pop_front(), fifo.len(), fifo.chunks.len()), (None, 0, 0));
        assert!(fifo.spare.len() <= SPARE_MAX);
    }
}
