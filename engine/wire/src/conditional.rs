//! What a watcher may say about when it wants to be told: entity-tags and rates.
//!
//! Sources: RFC 5839 (Suppress-If-Match), RFC 3903 (entity-tag), RFC 6446 (rates).

use std::fmt;
use std::time::Duration;

use crate::chars::{is_token_str, parse_decimal, trim};
use crate::header::{Event, HeaderError, SubscriptionState, refuse};
use crate::list::find_param;

/// A Suppress-If-Match value: which state the watcher needs no copy of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuppressIfMatch<'a> {
    /// `*`: whatever the state is, no body (RFC 5839 section 5.3).
    Any,
    /// The state of that entity-tag.
    Tag(&'a [u8]),
}

impl<'a> SuppressIfMatch<'a> {
    /// Reads `*` or an entity-tag.
    ///
    /// # Errors
    ///
    /// Neither of them.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        match trim(value) {
            b"*" => Ok(SuppressIfMatch::Any),
            tag => parse_entity_tag(tag).map(SuppressIfMatch::Tag),
        }
    }

    /// Whether the state of that entity-tag is meant.
    pub fn matches(&self, entity_tag: &[u8]) -> bool {
        match self {
            SuppressIfMatch::Any => true,
            SuppressIfMatch::Tag(tag) => *tag == entity_tag,
        }
    }
}

/// Reads a SIP-ETag or SIP-If-Match value; compared byte for byte.
///
/// # Errors
///
/// Not a token.
pub fn parse_entity_tag(value: &[u8]) -> Result<&[u8], HeaderError> {
    let tag = trim(value);
    if is_token_str(tag) { Ok(tag) } else { refuse("entity-tag is not a token", 0) }
}

/// Notifications per second, from 0.0000000001 to 99.9999999999, exact.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rate {
    /// In units of 10^-10 per second; never 0.
    units: u64,
}

/// Digits behind the point.
const FRACTION_DIGITS: usize = 10;
const UNITS_PER_HZ: u64 = 10_000_000_000;

impl Rate {
    /// Reads one or two digits, and up to ten more behind a point; zero is no rate.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn parse(value: &[u8]) -> Result<Rate, HeaderError> {
        let value = trim(value);
        let (whole, fraction) = match memchr::memchr(b'.', value) {
            Some(point) => (&value[..point], Some(&value[point + 1..])),
            None => (value, None),
        };
        let units = if whole.len() > 2 { None } else { parse_decimal(whole, 99) };
        let Some(units) = units else { return refuse("rate is not one or two digits", 0) };
        let mut units = u64::from(units) * UNITS_PER_HZ;
        if let Some(digits) = fraction {
            let is_fraction = (1..=FRACTION_DIGITS).contains(&digits.len())
                && digits.iter().all(u8::is_ascii_digit);
            if !is_fraction {
                return refuse("rate has not one to ten digits behind its point", whole.len());
            }
            let mut place = UNITS_PER_HZ;
            for digit in digits {
                place /= 10;
                units += u64::from(digit - b'0') * place;
            }
        }
        if units == 0 { refuse("rate is zero", 0) } else { Ok(Rate { units }) }
    }

    /// Shortest time between two notifications that keeps below this rate, rounded up.
    pub const fn interval(self) -> Duration {
        Duration::from_nanos((1_000_000_000 * UNITS_PER_HZ).div_ceil(self.units))
    }

    /// The same in whole milliseconds.
    pub const fn interval_ms(self) -> u64 {
        (1_000 * UNITS_PER_HZ).div_ceil(self.units)
    }
}

/// As the headers spell it, without needless zeros.
impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.units / UNITS_PER_HZ, self.units % UNITS_PER_HZ);
        if fraction == 0 {
            return write!(out, "{whole}");
        }
        let digits = format!("{fraction:0FRACTION_DIGITS$}");
        write!(out, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// The rates of an Event or Subscription-State value.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rates {
    /// `max-rate`: at most so many.
    pub max: Option<Rate>,
    /// `min-rate`: at least so many, even without a change.
    pub min: Option<Rate>,
    /// `adaptive-min-rate`: on average at least so many.
    pub adaptive_min: Option<Rate>,
}

impl Rates {
    /// Reads the rates among parameters; unreadable ones count as missing, since they are wishes
    /// a notifier may leave unfulfilled.
    pub fn from_params(params: &[u8]) -> Rates {
        let rate = |name| find_param(params, name).and_then(|value| Rate::parse(value).ok());
        Rates {
            max: rate("max-rate"),
            min: rate("min-rate"),
            adaptive_min: rate("adaptive-min-rate"),
        }
    }
}

impl Event<'_> {
    /// The rates the watcher asks for.
    pub fn rates(&self) -> Rates {
        Rates::from_params(self.params)
    }
}

impl SubscriptionState<'_> {
    /// The rates the notifier promises.
    pub fn rates(&self) -> Rates {
        Rates::from_params(self.params)
    }
}
