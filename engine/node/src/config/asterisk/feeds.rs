//! `type=inbound-publication` and `type=asterisk-publication` of `pjsip.conf`.
//!
//! Source: `reference/pua.md` section 7.2.

use std::sync::Arc;

use lampfield_core::feed::{Feed, FeedRules};
use lampfield_core::placement::TenantId;

use super::super::build::Draft;
use super::super::feeds::rules;
use super::super::problem::Problems;
use super::options;
use super::section::Section;

/// Reads all of them for `tenant`. Endpoints must be known already.
pub(super) fn load(
    inbound: &[&Section],
    publications: &[&Section],
    tenant: TenantId,
    draft: &mut Draft,
) {
    for section in publications {
        options::ASTERISK_PUBLICATION.check(section, &mut draft.problems);
    }
    for section in inbound {
        options::INBOUND_PUBLICATION.check(section, &mut draft.problems);
        let endpoint = section.get("endpoint").filter(|entry| !entry.value.is_empty());
        let only = endpoint.map(|entry| draft.feed_endpoint(&entry.place, tenant, &entry.value));
        if only == Some(None) {
            continue;
        }
        let mut of = |event: &str, kind: &str| {
            let entry = section.get(event)?;
            let found = publications.iter().find(|named| *named.name == *entry.value);
            if found.is_none() {
                let text = format!("{event}: there is no asterisk-publication {}", entry.value);
                draft.problems.error(&entry.place, text);
            }
            Some(taken(found?, kind, &mut draft.problems))
        };
        let devices = of("event_asterisk-devicestate", "device_state");
        let mailboxes = of("event_asterisk-mwi", "mailbox_state");
        let name = Arc::clone(&section.name);
        let feed = Feed { tenant, name, endpoint: only.flatten(), devices, mailboxes };
        draft.feed(&section.place, feed);
    }
}

/// `device_state` or `mailbox_state` and its filter.
fn taken(section: &Section, kind: &str, problems: &mut Problems) -> FeedRules {
    let accepts = section.flag(kind, false, problems);
    let filter = section.get(&format!("{kind}_filter"));
    rules(accepts, filter.map(|entry| (entry.place.clone(), entry.value.as_str())), problems)
}
