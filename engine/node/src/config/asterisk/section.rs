//! Sections of a configuration file, and typed looks at their values.

use std::str::FromStr;
use std::sync::Arc;

use super::super::problem::{Place, Problems};

/// A section with everything it has and inherits. Two sections may have one name.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: Arc<str>,
    pub(super) is_template: bool,
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
}

/// One `name = value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) value: String,
    pub(super) place: Place,
}

impl Section {
    pub(super) fn new(name: &str, place: Place) -> Self {
        Self { name: name.into(), is_template: false, place, entries: Vec::new() }
    }

    /// The last entry of a name: it replaces those before it.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// The value of [`Section::get`].
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|entry| entry.value.as_str())
    }

    /// All entries of a name, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// A yes or no.
    pub(super) fn flag(&self, name: &str, default: bool, problems: &mut Problems) -> bool {
        let Some(entry) = self.get(name) else { return default };
        truth(&entry.value).unwrap_or_else(|| {
            let text = format!("{name} = {}: yes or no expected", entry.value);
            problems.error(&entry.place, text);
            default
        })
    }

    /// A number from `min` on.
    pub(super) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        name: &str,
        default: T,
        min: T,
        problems: &mut Problems,
    ) -> T {
        let Some(entry) = self.get(name) else { return default };
        match entry.value.parse() {
            Ok(number) if number >= min => number,
            _ => {
                let text = format!("{name} = {}: a number from {min} on expected", entry.value);
                problems.error(&entry.place, text);
                default
            }
        }
    }
}

/// Asterisk's words for yes and no.
pub(super) fn truth(text: &str) -> Option<bool> {
    let is = |word: &&str| text.eq_ignore_ascii_case(word);
    if ["yes", "true", "y", "t", "1", "on"].iter().any(is) {
        return Some(true);
    }
    ["no", "false", "n", "f", "0", "off"].iter().any(is).then_some(false)
}
