//! Ranges of numbers that share one hint template, as `1000..=999999`. A range costs the same
//! whatever its length: an extension exists once somebody asks for it.

use std::sync::Arc;

use super::template::Template;

/// Digits of a number in a range: what fits in 64 bits.
pub const RANGE_DIGIT_COUNT_MAX: usize = 18;

/// A range of numbers and its template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HintRange {
    /// The first number, as written.
    pub first: Arc<str>,
    /// The last number, as written.
    pub last: Arc<str>,
    /// Its hint.
    pub template: Template,
}

/// Why two texts are not a range.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RangeError {
    /// No `..=`.
    #[error("a range is written FIRST..=LAST, as 1000..=1999")]
    Syntax,
    /// Something else than digits.
    #[error("'{0}' is not a number of 1 to {RANGE_DIGIT_COUNT_MAX} digits")]
    Number(String),
    /// It ends before it begins.
    #[error("the range {0}..={1} ends before it begins")]
    Backwards(String, String),
    /// `0100..=99999`.
    #[error("a range from the zero-padded {0} needs a last number of the same length, not {1}")]
    Width(String, String),
    /// Numbers in two ranges of one context.
    #[error("overlaps with the range {0}..={1} of the same context")]
    Overlap(Arc<str>, Arc<str>),
}

/// The ranges of one context. They never overlap, so that a lookup is one binary search.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    rows: Vec<HintRange>,
    /// Numbers of one length each, sorted.
    spans: Vec<Span>,
}

/// Numbers of `digit_count` digits from `first` to `last`.
#[derive(Clone, Copy, Debug)]
struct Span {
    digit_count: usize,
    first: u64,
    last: u64,
    row: usize,
}

/// Reads `first..=last` into its two numbers, as written.
///
/// # Errors
///
/// What is wrong with the text.
pub fn split_range(text: &str) -> Result<(&str, &str), RangeError> {
    let (first, last) = text.split_once("..=").ok_or(RangeError::Syntax)?;
    Ok((first.trim(), last.trim()))
}

/// How many numbers a range holds.
///
/// # Errors
///
/// What is wrong with the numbers.
pub fn range_size(first: &str, last: &str) -> Result<u64, RangeError> {
    Ok(spans(first, last, 0)?.iter().map(|span| span.last - span.first + 1).sum())
}

impl Ranges {
    /// Adds a range.
    pub(super) fn add(&mut self, range: HintRange) -> Result<(), RangeError> {
        let spans = spans(&range.first, &range.last, self.rows.len())?;
        for new in &spans {
            let same_length = self.spans.iter().filter(|span| span.digit_count == new.digit_count);
            for old in same_length {
                if new.first <= old.last && old.first <= new.last {
                    let HintRange { first, last, .. } = &self.rows[old.row];
                    return Err(RangeError::Overlap(Arc::clone(first), Arc::clone(last)));
                }
            }
        }
        self.spans.extend(spans);
        self.spans.sort_unstable_by_key(|span| (span.digit_count, span.first));
        self.rows.push(range);
        Ok(())
    }

    /// The range `exten` is in.
    pub(super) fn find(&self, exten: &str) -> Option<&HintRange> {
        if self.spans.is_empty() {
            return None;
        }
        let number = number(exten)?;
        let key = (exten.len(), number);
        let after = self.spans.partition_point(|span| (span.digit_count, span.first) <= key);
        let span = self.spans[..after].last()?;
        let inside = span.digit_count == exten.len() && number <= span.last;
        inside.then(|| &self.rows[span.row])
    }

    /// All ranges in the order they were added.
    pub(super) fn rows(&self) -> &[HintRange] {
        &self.rows
    }
}

/// Cuts a range into numbers of equal length: `8..=12` is `8..=9` and `10..=12`. A zero-padded
/// first number keeps the length.
fn spans(first: &str, last: &str, row: usize) -> Result<Vec<Span>, RangeError> {
    let read = |text: &str| number(text).ok_or_else(|| RangeError::Number(text.into()));
    let (from, to) = (read(first)?, read(last)?);
    if from > to {
        return Err(RangeError::Backwards(first.into(), last.into()));
    }
    let padded = |text: &str| text.len() > 1 && text.starts_with('0');
    if padded(first) || padded(last) {
        if first.len() != last.len() {
            return Err(RangeError::Width(first.into(), last.into()));
        }
        return Ok(vec![Span { digit_count: first.len(), first: from, last: to, row }]);
    }
    let span = |digit_count: usize| Span {
        digit_count,
        first: from.max(if digit_count == 1 { 0 } else { 10_u64.pow(digit_count as u32 - 1) }),
        last: to.min(10_u64.pow(digit_count as u32) - 1),
        row,
    };
    Ok((first.len()..=last.len()).map(span).collect())
}

/// A number of digits alone, short enough for 64 bits.
fn number(text: &str) -> Option<u64> {
    let digits = (1..=RANGE_DIGIT_COUNT_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::template::Globals;
    use super::*;

    fn range(text: &str) -> HintRange {
        let (first, last) = split_range(text).unwrap();
        let template = Template::parse("Custom:{exten}", &Globals::new(), "").unwrap();
        HintRange { first: first.into(), last: last.into(), template }
    }

    #[test]
    fn a_number_is_found_in_its_range_by_value_and_length() {
        let mut ranges = Ranges::default();
        for text in ["1000..=999999", "0000..=0999", "8..=12", "007..=009", "20..=20"] {
            ranges.add(range(text)).unwrap();
        }
        for (exten, want) in [
            ("1000", Some("1000")),
            ("999999", Some("1000")),
            ("54321", Some("1000")),
            ("1000000", None),
            ("01000", None),
            ("0999", Some("0000")),
            ("999", None),
            ("8", Some("8")),
            ("12", Some("8")),
            ("08", None),
            ("13", None),
            ("007", Some("007")),
            ("7", None),
            ("20", Some("20")),
            ("19", None),
            ("21", None),
            ("1a00", None),
            ("", None),
            ("-1000", None),
            ("１０００", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(ranges.find(exten).map(|range| &*range.first), want, "{exten}");
        }
    }

    #[test]
    fn what_is_no_range_says_why() {
        let mut ranges = Ranges::default();
        ranges.add(range("100..=199")).unwrap();
        for (text, want) in [
            ("150..=160", "overlaps with the range 100..=199"),
            ("0..=99999", "overlaps with the range 100..=199"),
            ("300..=200", "ends before it begins"),
            ("010..=1000", "zero-padded 010 needs a last number of the same length"),
            ("x..=9", "'x' is not a number"),
            ("0..=9999999999999999999", "is not a number of 1 to 18 digits"),
        ] {
            let error = ranges.add(range(text)).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert_eq!(split_range("1-9"), Err(RangeError::Syntax));
        assert_eq!(range_size("1000", "999999"), Ok(999_000));
    }
}
