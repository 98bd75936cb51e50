//! Mailboxes of `pjsip.conf`: `mailboxes` and `voicemail_extension` of `type=aor`, and what an
//! endpoint calls its own.
//!
//! An Asterisk tells of an endpoint's own `mailboxes` without being asked, at the contacts that
//! registered. Here they are watched like an address of record of the endpoint's name.

use std::collections::BTreeMap;

use lampfield_core::placement::TenantId;

use super::super::build::Draft;
use super::super::mailboxes::{Account, split};
use super::options;
use super::section::Section;

/// Reads the mailboxes of all `aors` and `endpoints` for `tenant`.
pub(super) fn load(
    aors: &[&Section],
    endpoints: &[&Section],
    default_extension: Option<&str>,
    tenant: TenantId,
    draft: &mut Draft,
) {
    let mut accounts = BTreeMap::new();
    for section in aors {
        options::AOR.check(section, &mut draft.problems);
        let own_extension = text(section, "voicemail_extension");
        let account = Account {
            name: &section.name,
            mailboxes: text(section, "mailboxes").map(split).into_iter().flatten().collect(),
            voicemail_extension: own_extension.or(default_extension),
            by_extension: own_extension.is_some(),
        };
        draft.account(&section.place, tenant, &account);
        accounts.insert(&*section.name, account);
    }
    for section in endpoints {
        let own = Account {
            name: &section.name,
            mailboxes: text(section, "mailboxes").map(split).into_iter().flatten().collect(),
            voicemail_extension: text(section, "voicemail_extension").or(default_extension),
            by_extension: false,
        };
        let names = text(section, "aors").map(split).into_iter().flatten();
        let mut all: Vec<&Account<'_>> = names.filter_map(|name| accounts.get(name)).collect();
        if accounts.get(own.name).is_none_or(|account| account.mailboxes.is_empty()) {
            draft.account(&section.place, tenant, &own);
            all.push(&own);
        }
        draft.own_accounts(&section.place, tenant, &section.name, &all);
    }
}

fn text<'s>(section: &'s Section, name: &str) -> Option<&'s str> {
    section.text(name).filter(|text| !text.is_empty())
}
