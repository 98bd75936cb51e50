//! `type=resource_list` of `pjsip.conf`.
//!
//! Source: `reference/sip-pubsub.md` section 10.2.

use std::sync::Arc;
use std::time::Duration;

use lampfield_core::list::{List, ListItem};
use lampfield_core::placement::TenantId;

use super::super::build::Draft;
use super::super::lists::Items;
use super::options;
use super::section::Section;

/// Reads one list for `tenant`.
pub(super) fn list(section: &Section, tenant: TenantId, draft: &mut Draft) {
    options::RESOURCE_LIST.check(section, &mut draft.problems);
    let Some(event) = section.get("event") else {
        let text = format!(
            "resource list {} needs event = presence, dialog or message-summary",
            section.name
        );
        return draft.problems.error(&section.place, text);
    };
    let Some(package) = draft.list_package(&event.place, &event.value) else { return };
    let mut items = Items::default();
    for entry in section.all("list_item") {
        let names = entry.value.split(',').map(str::trim).filter(|name| !name.is_empty());
        for name in names {
            items.add(&entry.place, ListItem::parse(name), &mut draft.problems);
        }
    }
    let problems = &mut draft.problems;
    let interval_ms = section.number("notification_batch_interval", 0_u32, 0, problems);
    let list = List {
        name: Arc::clone(&section.name),
        package,
        items: items.into_items(),
        full_state: section.flag("full_state", false, problems),
        batch_interval: Duration::from_millis(interval_ms.into()),
        display_names: section.flag("resource_display_name", false, problems),
        origin: section.place.to_string().into(),
    };
    draft.list(&section.place, true, tenant, list);
}
