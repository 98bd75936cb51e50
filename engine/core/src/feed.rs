//! Which servers tell us of their devices and mailboxes, and what we take of it: the inbound side of
//! a mesh of Asterisk servers (`type=inbound-publication`, `type=asterisk-publication`).
//!
//! Source: `reference/pua.md` section 7.2.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::placement::TenantId;

/// Bytes a compiled filter may take.
const FILTER_BYTES_MAX: usize = 1 << 16;

/// A filter of names, as POSIX extended regular expressions are read: anywhere in the name, in any
/// letter case.
#[derive(Clone, Debug)]
pub struct NameFilter(Regex);

impl NameFilter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// What is wrong with the expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut builder = RegexBuilder::new(text);
        let built = builder.case_insensitive(true).size_limit(FILTER_BYTES_MAX).build();
        // The lines before the last point into the expression.
        let reason = |text: String| {
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        };
        built.map(Self).map_err(|error| reason(error.to_string()))
    }

    /// Whether a name passes.
    pub fn passes(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl PartialEq for NameFilter {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What is taken of servers' states of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedRules {
    /// Whether states are taken at all. If not they are answered and forgotten, as an Asterisk does.
    pub accepts: bool,
    /// Only names that pass.
    pub filter: Option<NameFilter>,
}

impl FeedRules {
    /// Whether a state of this name is taken.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.accepts && self.filter.as_ref().is_none_or(|filter| filter.passes(name))
    }
}

/// A name to which servers publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// Whose devices and mailboxes they are.
    pub tenant: TenantId,
    /// The user part servers publish to.
    pub name: Arc<str>,
    /// Only this endpoint may.
    pub endpoint: Option<Arc<str>>,
    /// For Event `asterisk-devicestate`; `None` if that is not configured.
    pub devices: Option<FeedRules>,
    /// For Event `asterisk-mwi`.
    pub mailboxes: Option<FeedRules>,
}

/// The feeds of a node. There are few.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feeds {
    /// In the order of the configuration.
    pub rows: Vec<Feed>,
}

impl Feeds {
    /// The feed of this name.
    pub fn find(&self, tenant: TenantId, name: &str) -> Option<&Feed> {
        self.rows.iter().find(|feed| feed.tenant == tenant && *feed.name == *name)
    }
}
