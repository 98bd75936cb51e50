//! What a PBX says of everything at once: two lists, and the changes that came while they were
//! taken.

use std::collections::HashMap;

use super::state::{Name, State};

/// States by the names the PBX gives them, while they are collected.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    rows: HashMap<Name, Row>,
    /// Rows there was no room for.
    pub(crate) dropped_count: usize,
}

#[derive(Debug)]
struct Row {
    state: State,
    /// Told by a change: of several spellings it is the true one.
    is_news: bool,
}

impl Snapshot {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Takes in a row of a list, or a change: what comes last is the newest.
    pub(crate) fn add(&mut self, (name, state): (Name, State), is_news: bool, count_max: usize) {
        if let Some(row) = self.rows.get_mut(&name) {
            *row = Row { state, is_news };
        } else if self.rows.len() < count_max {
            self.rows.insert(name, Row { state, is_news });
        } else {
            self.dropped_count += 1;
        }
    }

    /// The states by canonical name, in the order of names.
    ///
    /// A PBX may list one source in several spellings (`custompresence:bob` beside
    /// `CustomPresence:bob`) of which only the last written is true, and cannot be told from the
    /// others. A change counts before a list; else what is `known` stays, if one of them says so,
    /// that nothing flickers; else the canonical spelling counts.
    pub(crate) fn into_canonical(
        self,
        canonical: impl Fn(&Name) -> Name,
        known: impl Fn(&Name) -> Option<State>,
    ) -> Vec<(Name, State)> {
        let mut rows: Vec<(Name, bool, Row)> = self
            .rows
            .into_iter()
            .map(|(name, row)| {
                let as_owned = canonical(&name);
                let is_exact = as_owned == name;
                (as_owned, is_exact, row)
            })
            .collect();
        let rank = |name: &Name, is_exact: bool, row: &Row| {
            let is_known = !row.is_news && known(name).as_ref() == Some(&row.state);
            (row.is_news, is_known, is_exact)
        };
        rows.sort_by(|(a, a_exact, a_row), (b, b_exact, b_row)| {
            let order = a.cmp(b);
            // Ranks are only asked for where a name comes twice.
            order.then_with(|| rank(b, *b_exact, b_row).cmp(&rank(a, *a_exact, a_row)))
        });
        rows.dedup_by(|later, first| later.0 == first.0);
        rows.into_iter().map(|(name, _, row)| (name, row.state)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampfield_core::state::DeviceState::{self, Busy, InUse, NotInUse};

    fn row(name: &str, state: DeviceState) -> (Name, State) {
        (Name::device(name), State::Device(state))
    }

    fn canonical(name: &Name) -> Name {
        Name::device(&name.text.replace("custom:", "Custom:"))
    }

    #[test]
    fn the_last_word_on_a_name_counts_and_of_spellings_a_change_then_what_is_known() {
        type Case =
            (&'static [(&'static str, DeviceState, bool)], Option<DeviceState>, DeviceState);
        let cases: [Case; 7] = [
            (&[("Custom:a", InUse, false)], None, InUse),
            (&[("Custom:a", InUse, true), ("Custom:a", NotInUse, false)], None, NotInUse),
            (&[("Custom:a", InUse, true), ("Custom:a", NotInUse, true)], None, NotInUse),
            (&[("Custom:a", InUse, false), ("custom:a", Busy, false)], None, InUse),
            (&[("Custom:a", InUse, false), ("custom:a", Busy, false)], Some(Busy), Busy),
            (&[("Custom:a", InUse, false), ("custom:a", Busy, false)], Some(NotInUse), InUse),
            (&[("Custom:a", InUse, false), ("custom:a", Busy, true)], Some(InUse), Busy),
        ];
        for (rows, known, want) in cases {
            let mut snapshot = Snapshot::default();
            for &(name, state, is_news) in rows {
                snapshot.add(row(name, state), is_news, 10);
            }
            let got = snapshot.into_canonical(canonical, |_| known.map(State::Device));
            assert_eq!(got, [row("Custom:a", want)], "{rows:?}");
        }
    }

    #[test]
    fn it_takes_no_more_names_than_it_may() {
        let mut snapshot = Snapshot::default();
        for (name, state) in [("a", InUse), ("b", InUse), ("c", InUse), ("a", Busy)] {
            snapshot.add(row(name, state), false, 2);
        }
        assert_eq!((snapshot.len(), snapshot.dropped_count), (2, 1));
        let got = snapshot.into_canonical(Name::clone, |_| None);
        assert_eq!(got, [row("a", Busy), row("b", InUse)]);
    }
}
