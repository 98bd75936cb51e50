//! `[[list]]` and `[[list_range]]` of `lampfield.toml`.

use std::sync::Arc;
use std::time::Duration;

use lampfield_core::dialplan::split_range;
use lampfield_core::list::{self, ListError};
use lampfield_core::package::Package;
use toml::Spanned;

use super::super::lists::Items;
use super::Native;
use super::file::{List, ListItem, ListItemTable, ListRange};

impl Native<'_> {
    pub(super) fn lists(&mut self, lists: Vec<Spanned<List>>) {
        for entry in lists {
            let file = entry.get_ref();
            let items = self.list_items(&file.items);
            let tenants = self.tenants_of(file.tenant.as_ref(), &entry);
            let place = self.source.place(&file.name);
            for package in self.list_packages(&file.name, file.event.as_ref(), &file.events) {
                let list = list::List {
                    name: file.name.get_ref().as_str().into(),
                    package,
                    items: Arc::clone(&items),
                    full_state: file.full_state,
                    batch_interval: Duration::from_millis(file.batch_interval_ms.into()),
                    display_names: file.display_names,
                    origin: self.origin(&file.name),
                };
                for &tenant in &tenants {
                    self.draft.list(&place, false, tenant, list.clone());
                }
            }
        }
    }

    pub(super) fn list_ranges(&mut self, ranges: Vec<Spanned<ListRange>>) {
        for entry in ranges {
            let file = entry.get_ref();
            let tenants = self.tenants_of(file.tenant.as_ref(), &entry);
            let (first, last) = match split_range(file.range.get_ref()) {
                Ok((first, last)) => (Arc::<str>::from(first), Arc::<str>::from(last)),
                Err(error) => {
                    self.error(&file.range, error.to_string());
                    continue;
                }
            };
            for package in self.list_packages(&file.name, file.event.as_ref(), &file.events) {
                let range = list::ListRange {
                    name: file.name.get_ref().as_str().into(),
                    first: Arc::clone(&first),
                    last: Arc::clone(&last),
                    group_size: *file.group_size.get_ref(),
                    with_self: file.with_self,
                    package,
                    full_state: file.full_state,
                    batch_interval: Duration::from_millis(file.batch_interval_ms.into()),
                    display_names: file.display_names,
                    origin: self.origin(&file.name),
                };
                if self.list_range_is_right(file, &range) {
                    for &tenant in &tenants {
                        self.draft.core.lists.add_range(tenant, range.clone());
                    }
                }
            }
        }
    }

    fn list_range_is_right(&mut self, file: &ListRange, range: &list::ListRange) -> bool {
        if let Err(error) = range.list_count() {
            let text = error.to_string();
            match error {
                ListError::Range(_) => self.error(&file.range, text),
                ListError::GroupSize(_) => self.error(&file.group_size, text),
                _ => self.error(&file.name, text),
            }
            return false;
        }
        // A list is found before the extension of the same name, so each member would be a list.
        let is_member = matches!(&*range.name, "{exten}" | "{first}");
        if is_member {
            let text = format!(
                "'{0}' names lists as their own members are named: more expected, as in blf-{0}",
                range.name
            );
            self.error(&file.name, text);
        }
        !is_member
    }

    fn list_items(&mut self, file: &[Spanned<ListItem>]) -> Arc<[list::ListItem]> {
        let mut items = Items::default();
        for entry in file {
            let place = self.source.place(entry);
            let item = match entry.get_ref() {
                ListItem::Text(text) => list::ListItem::parse(text),
                ListItem::Table(ListItemTable { exten, context, name }) => list::ListItem {
                    name: exten.as_str().into(),
                    context: context.as_deref().map(Arc::from),
                    display_name: name.as_deref().map(Arc::from),
                },
            };
            if item.name.is_empty() || item.context.as_deref().is_some_and(str::is_empty) {
                self.error(entry, "\"EXTEN\" or \"EXTEN@CONTEXT\" expected");
                continue;
            }
            items.add(&place, item, &mut self.draft.problems);
        }
        items.into_items()
    }

    /// The packages of an entry: `event` names one, `events` several.
    fn list_packages(
        &mut self,
        name: &Spanned<String>,
        event: Option<&Spanned<String>>,
        events: &[Spanned<String>],
    ) -> Vec<Package> {
        if event.is_some() != events.is_empty() {
            let text = "either event = \"dialog\" or events = [\"presence\", \"dialog\"] expected";
            self.error(name, format!("list '{}': {text}", name.get_ref()));
            return Vec::new();
        }
        let mut packages = Vec::new();
        for event in event.into_iter().chain(events) {
            let place = self.source.place(event);
            let package = self.draft.list_package(&place, event.get_ref());
            packages.extend(package.filter(|package| !packages.contains(package)));
        }
        packages
    }

    /// File and line, as an origin is shown.
    fn origin(&self, name: &Spanned<String>) -> Arc<str> {
        let mut origin = self.source.place(name);
        origin.column = 0;
        origin.to_string().into()
    }
}
