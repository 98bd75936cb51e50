//! Dialplan patterns (`_77XX`) and their order of preference.
//!
//! A pattern starts with `_`. `X`, `Z` and `N` (in either case) stand for the digits from 0, 1
//! and 2 on, `[1-37a]` for a set, `\` before a character for that character, `.` for one or more
//! characters of any kind and `!` for any number of them; whatever follows these two is unused.
//! Blanks and dashes in a pattern, and dashes in the number compared with it, are decoration.
//!
//! Several patterns of one context may fit a number. The one that is stricter at the first
//! position where they differ is tried first, as in Asterisk.
//!
//! Source: `reference/states.md` section 5.

use std::cmp::Ordering;

/// A compiled pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pattern {
    sets: Vec<ByteSet>,
    tail: Tail,
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with an underscore, or nothing follows it.
    #[error("a pattern is an underscore and at least one element, as _2XXX")]
    Empty,
    /// A `[` has no `]`.
    #[error("the set opened with '[' is not closed with ']'")]
    OpenSet,
    /// `[]`.
    #[error("the set '[]' is empty")]
    EmptySet,
    /// A range runs downwards.
    #[error("the range {0}-{1} runs downwards")]
    Backwards(char, char),
    /// A backslash ends the text.
    #[error("nothing follows the backslash")]
    OpenEscape,
}

/// How a pattern ends. The order is that of preference.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Tail {
    /// `.`: at least one more character.
    Some,
    /// `!`: any number of characters.
    Any,
    /// The number ends here.
    End,
}

/// A set of bytes, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct ByteSet([u64; 4]);

impl Pattern {
    /// Compiles `text`, underscore included.
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut rest = text.strip_prefix('_').ok_or(PatternError::Empty)?.as_bytes();
        let (mut sets, mut tail) = (Vec::new(), Tail::End);
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b' ' | b'-' => {}
                b'X' | b'x' => sets.push(ByteSet::of(b'0', b'9')),
                b'Z' | b'z' => sets.push(ByteSet::of(b'1', b'9')),
                b'N' | b'n' => sets.push(ByteSet::of(b'2', b'9')),
                b'[' => {
                    let (set, after) = ByteSet::parse(rest)?;
                    sets.push(set);
                    rest = after;
                }
                b'.' => tail = Tail::Some,
                b'!' => tail = Tail::Any,
                b'\\' => {
                    let (&literal, after) = rest.split_first().ok_or(PatternError::OpenEscape)?;
                    sets.push(ByteSet::of(literal, literal));
                    rest = after;
                }
                literal => sets.push(ByteSet::of(literal, literal)),
            }
            if tail != Tail::End {
                break;
            }
        }
        if sets.is_empty() && tail == Tail::End {
            return Err(PatternError::Empty);
        }
        Ok(Self { sets, tail })
    }

    /// Whether `exten` fits.
    pub(super) fn matches(&self, exten: &str) -> bool {
        let mut bytes = exten.bytes().filter(|&byte| byte != b'-');
        let fits = self.sets.iter().all(|set| bytes.next().is_some_and(|byte| set.contains(byte)));
        fits && match self.tail {
            Tail::End => bytes.next().is_none(),
            Tail::Some => bytes.next().is_some(),
            Tail::Any => true,
        }
    }

    /// [`Ordering::Less`] if `self` is to be tried before `other`.
    pub(super) fn preference(&self, other: &Self) -> Ordering {
        for (a, b) in self.sets.iter().zip(&other.sets) {
            let order = a.strictness().cmp(&b.strictness()).then_with(|| b.0.cmp(&a.0));
            if order != Ordering::Equal {
                return order;
            }
        }
        // The longer pattern is stricter; at equal length the tails decide.
        other.sets.len().cmp(&self.sets.len()).then(self.tail.cmp(&other.tail))
    }
}

impl ByteSet {
    fn of(first: u8, last: u8) -> Self {
        let mut set = Self::default();
        (first..=last).for_each(|byte| set.insert(byte));
        set
    }

    /// Reads the inside of `[…]`; returns what follows the closing bracket.
    fn parse(mut rest: &[u8]) -> Result<(Self, &[u8]), PatternError> {
        let mut set = Self::default();
        loop {
            match *rest {
                [] => return Err(PatternError::OpenSet),
                [b']', ..] if set == Self::default() => return Err(PatternError::EmptySet),
                [b']', ref after @ ..] => return Ok((set, after)),
                [b'\\', literal, ref after @ ..] => {
                    set.insert(literal);
                    rest = after;
                }
                [first, b'-', last, ref after @ ..] if last != b']' => {
                    if first > last {
                        return Err(PatternError::Backwards(first.into(), last.into()));
                    }
                    (first..=last).for_each(|byte| set.insert(byte));
                    rest = after;
                }
                [byte, ref after @ ..] => {
                    set.insert(byte);
                    rest = after;
                }
            }
        }
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] & 1 << (byte % 64) != 0
    }

    /// Fewer bytes are stricter; among equally many the one with the lower first byte goes first.
    fn strictness(&self) -> (u32, u32) {
        let count = self.0.iter().map(|word| word.count_ones()).sum();
        let word = self.0.iter().position(|&word| word != 0).unwrap_or_default();
        (count, word as u32 * 64 + self.0[word].trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_asterisk_says_it_fits() {
        for (pattern, fits, misses) in [
            ("_77XX", &["7701", "7799", "77-01"][..], &["770", "77011", "7a01", "77XX", ""][..]),
            ("_ZX", &["10", "99"], &["00", "1a"]),
            ("_NXX", &["200", "999"], &["100", "099"]),
            ("_nxz", &["201"], &["200", "101"]),
            ("_[1-37a]0", &["10", "20", "30", "70", "a0"], &["40", "80", "-0"]),
            ("_[-1]", &["1"], &["2"]),
            ("_2.", &["20", "2abc", "2 "], &["2", "30"]),
            ("_2!", &["2", "20", "2abc"], &["3", ""]),
            ("_!", &["", "x"], &[]),
            ("_.", &["x", "xyz"], &[""]),
            ("_1.9", &["10", "1777"], &["1"]),
            ("_9-1X", &["910", "9-10"], &["9", "91"]),
            ("_\\X1", &["X1"], &["11"]),
            ("_lampX", &["lamp3"], &["Lamp3", "lampx"]),
            ("_é", &["é"], &["e"]),
        ] {
            let compiled = Pattern::parse(pattern).unwrap();
            for exten in fits {
                assert!(compiled.matches(exten), "{pattern} fits {exten:?}");
            }
            for exten in misses {
                assert!(!compiled.matches(exten), "{pattern} does not fit {exten:?}");
            }
        }
    }

    #[test]
    fn the_stricter_pattern_goes_first() {
        let sorted = [
            "_1234", "_123[45]", "_123N", "_123Z", "_123X", "_12XX", "_12XX.", "_1[23]00", "_1NXX",
            "_1XXXX", "_1XXX", "_1.", "_1!", "_N", "_X", "_.", "_!",
        ];
        // `_12XX.` is longer than `_12XX`, therefore stricter.
        let mut want = sorted;
        want.swap(5, 6);
        let mut patterns: Vec<_> = sorted.iter().rev().collect();
        let parse = |text: &str| Pattern::parse(text).unwrap();
        patterns.sort_by(|a, b| parse(a).preference(&parse(b)));
        assert_eq!(patterns, want.iter().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, want) in [
            ("77XX", PatternError::Empty),
            ("_", PatternError::Empty),
            ("_- ", PatternError::Empty),
            ("_1[23", PatternError::OpenSet),
            ("_1[]", PatternError::EmptySet),
            ("_1[9-2]", PatternError::Backwards('9', '2')),
            ("_1\\", PatternError::OpenEscape),
        ] {
            assert_eq!(Pattern::parse(text), Err(want), "{text}");
        }
    }
}
