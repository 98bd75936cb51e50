//! Hints and publications of the same extension: which of them a watcher sees.
//!
//! A publication is the state of a source (`Publication:2000`), so a rule is a change to the hint:
//! the hint that is looked up is the configured one with the publication among its sources, or with
//! nothing else, or, where there is no hint, one made for it.

use std::sync::Arc;

use crate::config::{Combination, Config};
use crate::dialplan::{Found, Hint, is_name};
use crate::mailbox;
use crate::placement::TenantId;
use crate::publication::source_name;

impl Config {
    /// Finds the hint of an extension as its watchers see it: that of the dialplan, combined with
    /// publications as the tenant wants it.
    pub fn find_hint(&self, tenant: TenantId, context: &str, exten: &str) -> Option<Found> {
        let found = self.find_configured(tenant, context, exten);
        self.combine(tenant, context, exten, found)
    }

    /// The hint of an extension, or the mailboxes of an address of record, as configured.
    pub(crate) fn find_configured(
        &self,
        tenant: TenantId,
        context: &str,
        exten: &str,
    ) -> Option<Found> {
        match context {
            mailbox::CONTEXT => self.mailboxes.find(tenant, exten),
            _ => self.dialplan.find(tenant, context, exten),
        }
    }

    /// The hint found for an extension, combined with publications.
    pub(crate) fn combine(
        &self,
        tenant: TenantId,
        context: &str,
        exten: &str,
        found: Option<Found>,
    ) -> Option<Found> {
        let rule = self.tenants.get(usize::from(tenant.0)).and_then(|t| t.publications);
        let Some(rule) = rule else { return found };
        match found {
            Some(found) => Some(Found { hint: with(rule.combination, &found), ..found }),
            None if rule.unhinted && is_name(context) && is_name(exten) => {
                let (context, exten): (Arc<str>, Arc<str>) = (context.into(), exten.into());
                let name = source_name(&exten);
                let hint = Hint {
                    text: format!("{name},{name}").into(),
                    devices: vec![Arc::clone(&name)],
                    presence: vec![name],
                    ..Hint::default()
                };
                Some(Found { context, exten, hint: Arc::new(hint), explicit: false })
            }
            None => None,
        }
    }
}

/// A hint with the publication of its extension.
fn with(combination: Combination, found: &Found) -> Arc<Hint> {
    if combination == Combination::Hint {
        return Arc::clone(&found.hint);
    }
    let name = source_name(&found.exten);
    let mut hint = (*found.hint).clone();
    for names in [&mut hint.devices, &mut hint.presence] {
        if combination == Combination::Publication {
            names.clear();
        }
        names.retain(|other| *other != name);
        names.push(Arc::clone(&name));
    }
    hint.last_overrules = combination == Combination::PublicationFirst;
    Arc::new(hint)
}
