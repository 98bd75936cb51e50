//! Lists generated from a range of extensions that is cut into groups: every phone of a tenant
//! of 50 watches the other 49. One rule stands for any number of lists.

use std::sync::Arc;
use std::time::Duration;

use super::{List, ListError, ListItem};
use crate::dialplan::range_size;
use crate::package::Package;

/// Members of one generated list at most.
pub(super) const GROUP_SIZE_MAX: u32 = 10_000;

/// What the name of a list is made from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Placeholder {
    /// `{exten}`: one list per extension.
    Exten,
    /// `{first}`: one list per group, named after its first extension.
    First,
}

/// A rule that generates lists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListRange {
    /// Names as written: `blf-{exten}` (a list per extension) or `group-{first}` (a list per group).
    pub name: Arc<str>,
    /// The first extension, as written: its length is that of every number padded with zeros.
    pub first: Arc<str>,
    /// The last extension, as written.
    pub last: Arc<str>,
    /// Extensions per group; the last group may be smaller.
    pub group_size: u32,
    /// Whether a list named after an extension shows that extension too.
    pub with_self: bool,
    /// The lists' package.
    pub package: Package,
    /// As [`List::full_state`].
    pub full_state: bool,
    /// As [`List::batch_interval`].
    pub batch_interval: Duration,
    /// As [`List::display_names`].
    pub display_names: bool,
    /// Where it is configured: file and line.
    pub origin: Arc<str>,
}

/// A list of a rule: the number in its name, and its members.
struct Place {
    number: u64,
    start: u64,
    end: u64,
    /// The number itself is no member.
    leaves_out: bool,
}

impl ListRange {
    /// Checks the rule and tells how many lists it stands for.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn list_count(&self) -> Result<u64, ListError> {
        let extension_count = range_size(&self.first, &self.last)?;
        if !(1..=GROUP_SIZE_MAX).contains(&self.group_size) {
            return Err(ListError::GroupSize(self.group_size));
        }
        match self.name_parts() {
            Some((_, Placeholder::Exten, _)) => Ok(extension_count),
            Some((_, Placeholder::First, _)) => {
                Ok(extension_count.div_ceil(u64::from(self.group_size)))
            }
            None => Err(ListError::Template(self.name.to_string())),
        }
    }

    /// Whether the rule makes a list of this name.
    pub(super) fn contains(&self, name: &str, package: Package) -> bool {
        self.place(name, package).is_some()
    }

    /// The list of this name, if the rule makes it.
    pub(super) fn find(&self, name: &str, package: Package) -> Option<List> {
        let Place { number, start, end, leaves_out } = self.place(name, package)?;
        let items =
            (start..=end).filter(|member| !(leaves_out && *member == number)).map(|member| {
                ListItem { name: self.exten(member).into(), context: None, display_name: None }
            });
        Some(List {
            name: name.into(),
            package,
            items: items.collect(),
            full_state: self.full_state,
            batch_interval: self.batch_interval,
            display_names: self.display_names,
            origin: Arc::clone(&self.origin),
        })
    }

    /// Which of its lists a name is.
    fn place(&self, name: &str, package: Package) -> Option<Place> {
        if package != self.package {
            return None;
        }
        let (before, placeholder, after) = self.name_parts()?;
        let digits = name.strip_prefix(before)?.strip_suffix(after)?;
        let (first, last) = (self.first.parse::<u64>().ok()?, self.last.parse::<u64>().ok()?);
        let number = digits.parse::<u64>().ok().filter(|n| (first..=last).contains(n))?;
        // One name per list: neither `+7` nor a zero more.
        if digits != self.exten(number) {
            return None;
        }
        let size = u64::from(self.group_size.max(1));
        let start = first + (number - first) / size * size;
        if placeholder == Placeholder::First && number != start {
            return None;
        }
        let leaves_out = placeholder == Placeholder::Exten && !self.with_self;
        Some(Place { number, start, end: last.min(start + size - 1), leaves_out })
    }

    fn exten(&self, number: u64) -> String {
        format!("{number:0width$}", width = self.first.len())
    }

    fn name_parts(&self) -> Option<(&str, Placeholder, &str)> {
        let split = |word, placeholder| {
            let (before, after) = self.name.split_once(word)?;
            (!after.contains(word)).then_some((before, placeholder, after))
        };
        split("{exten}", Placeholder::Exten).or_else(|| split("{first}", Placeholder::First))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, with_self: bool) -> ListRange {
        ListRange {
            name: name.into(),
            first: "0100".into(),
            last: "0109".into(),
            group_size: 4,
            with_self,
            package: Package::Dialog,
            full_state: false,
            batch_interval: Duration::ZERO,
            display_names: false,
            origin: "".into(),
        }
    }

    fn members(range: &ListRange, name: &str) -> Option<String> {
        let list = range.find(name, Package::Dialog)?;
        Some(list.items.iter().map(|item| &*item.name).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_rule_makes_a_list_per_extension_or_per_group() {
        let per_exten = range("blf-{exten}", false);
        let per_group = range("{first}g", true);
        let with_self = range("{exten}", true);
        for (rule, name, want) in [
            (&per_exten, "blf-0101", Some("0100 0102 0103")),
            (&per_exten, "blf-0109", Some("0108")),
            (&per_exten, "blf-0110", None),
            (&per_exten, "blf-101", None),
            (&per_exten, "blf-00101", None),
            (&per_exten, "0101", None),
            (&per_group, "0104g", Some("0104 0105 0106 0107")),
            (&per_group, "0105g", None),
            (&with_self, "0108", Some("0108 0109")),
        ] {
            assert_eq!(members(rule, name).as_deref(), want, "{name}");
        }
        assert_eq!(per_exten.list_count(), Ok(10));
        assert_eq!(per_group.list_count(), Ok(3));
        assert!(per_exten.find("blf-0101", Package::Presence).is_none());
    }

    #[test]
    fn a_rule_that_makes_no_sense_says_why() {
        for (rule, want) in [
            (range("blf", true), "does not name the number"),
            (range("{exten}{exten}", true), "does not name the number"),
            (ListRange { group_size: 0, ..range("{exten}", true) }, "1 to 10000 members, not 0"),
            (ListRange { first: "x".into(), ..range("{exten}", true) }, "'x' is not a number"),
        ] {
            let error = rule.list_count().expect_err("makes no sense").to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
