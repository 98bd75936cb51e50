//! Places in configuration files, and what is wrong there.

use std::fmt;
use std::sync::Arc;

/// A place in a file, or no place (the command line, the whole configuration).
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The file as it was named; empty for no file.
    pub file: Arc<str>,
    /// Line, from 1; 0 for the whole file.
    pub line: u32,
    /// Column in characters, from 1; 0 for the whole line.
    pub column: u32,
}

/// Something wrong, or something not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what was expected or what happens instead.
    pub text: String,
    /// The same again at this many other places.
    pub more_count: usize,
}

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Places of warnings by text, so that one that repeats in a large file is told once.
    warning_index: std::collections::HashMap<String, usize>,
}

impl Place {
    /// A line of a file.
    pub fn line(file: &Arc<str>, line: u32) -> Self {
        Self { file: Arc::clone(file), line, column: 0 }
    }

    /// A file as a whole.
    pub fn file(file: &str) -> Self {
        Self { file: file.into(), ..Self::default() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column } = self;
        match (line, column) {
            (0, _) => write!(f, "{file}"),
            (line, 0) => write!(f, "{file}:{line}"),
            (line, column) => write!(f, "{file}:{line}:{column}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.file.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.text)?;
        match self.more_count {
            0 => Ok(()),
            1 => f.write_str(" (and at 1 more place)"),
            count => write!(f, " (and at {count} more places)"),
        }
    }
}

impl Problems {
    /// Something that keeps the configuration from being used.
    pub(super) fn error(&mut self, place: &Place, text: impl Into<String>) {
        self.errors.push(Problem { place: place.clone(), text: text.into(), more_count: 0 });
    }

    /// Something that is not done; the text says what happens instead.
    pub(super) fn warn(&mut self, place: &Place, text: impl Into<String>) {
        let text = text.into();
        if let Some(&at) = self.warning_index.get(&text) {
            self.warnings[at].more_count += 1;
            return;
        }
        self.warning_index.insert(text.clone(), self.warnings.len());
        self.warnings.push(Problem { place: place.clone(), text, more_count: 0 });
    }
}
