//! Addresses of record with mailboxes, from either kind of file.

use std::sync::Arc;

use lampfield_core::mailbox::Mailboxes;
use lampfield_core::placement::TenantId;

use super::build::Draft;
use super::problem::Place;

/// Somebody's mailboxes as a file names them.
#[derive(Clone, Debug, Default)]
pub(super) struct Account<'a> {
    /// What is subscribed to.
    pub(super) name: &'a str,
    /// Mailboxes as `2000@default`.
    pub(super) mailboxes: Vec<&'a str>,
    /// The extension to call for the messages.
    pub(super) voicemail_extension: Option<&'a str>,
    /// Whether it is watched by that extension, too.
    pub(super) by_extension: bool,
}

/// Names separated by commas.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

impl Draft {
    /// Adds an address of record; one without mailboxes is none.
    pub(super) fn account(&mut self, place: &Place, tenant: TenantId, account: &Account<'_>) {
        if account.mailboxes.is_empty() {
            return;
        }
        let extension = account.voicemail_extension.map(Arc::from);
        let name = account.name.into();
        let mut origin = place.clone();
        origin.column = 0;
        let origin = origin.to_string();
        let added = self.core.mailboxes.add(tenant, name, &account.mailboxes, extension, &origin);
        if let Err(error) = added {
            self.problems.error(place, format!("mailboxes: {error}"));
        }
    }

    /// Adds what an endpoint watches without naming anything, and by voicemail extensions.
    pub(super) fn own_accounts(
        &mut self,
        place: &Place,
        tenant: TenantId,
        endpoint: &str,
        accounts: &[&Account<'_>],
    ) {
        for account in accounts.iter().filter(|account| account.by_extension) {
            if let Some(extension) = account.voicemail_extension {
                let (endpoint, name) = (endpoint.into(), account.name.into());
                self.core.mailboxes.add_extension(tenant, endpoint, extension, name);
            }
        }
        let name = Mailboxes::name_of_all(endpoint);
        let mailboxes = accounts.iter().flat_map(|account| account.mailboxes.iter().copied());
        let all = Account { name: &name, mailboxes: mailboxes.collect(), ..Account::default() };
        self.account(place, tenant, &all);
    }
}
