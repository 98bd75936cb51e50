//! `[[mailbox]]` of `lampfield.toml`.

use std::collections::BTreeMap;

use toml::Spanned;

use super::super::mailboxes::Account;
use super::Native;
use super::file::Mailbox;

impl Native<'_> {
    /// Reads all entries. Endpoints must be known already: entries name those they belong to.
    pub(super) fn mailboxes(&mut self, entries: &[Spanned<Mailbox>]) {
        let mut own: BTreeMap<u32, (&Spanned<String>, Vec<Account<'_>>)> = BTreeMap::new();
        for entry in entries {
            let file = entry.get_ref();
            if file.name.get_ref().is_empty() || file.mailboxes.get_ref().is_empty() {
                self.error(&file.name, "a name and mailboxes = [\"2000@default\"] expected");
                continue;
            }
            let account = Account {
                name: file.name.get_ref(),
                mailboxes: file.mailboxes.get_ref().iter().map(String::as_str).collect(),
                voicemail_extension: file.voicemail_extension.as_deref(),
                by_extension: true,
            };
            let place = self.source.place(&file.name);
            for tenant in self.tenants_of(file.tenant.as_ref(), entry) {
                self.draft.account(&place, tenant, &account);
            }
            for endpoint in &file.endpoints {
                match self.draft.find_endpoint(endpoint.get_ref()) {
                    Some(id) => {
                        let (_, accounts) = own.entry(id.0).or_insert((endpoint, Vec::new()));
                        accounts.push(account.clone());
                    }
                    None => {
                        let text = format!("there is no [[endpoint]] named {}", endpoint.get_ref());
                        self.error(endpoint, text);
                    }
                }
            }
        }
        for (id, (endpoint, accounts)) in own {
            let place = self.source.place(endpoint);
            let tenant = self.draft.core.endpoints[id as usize].tenant;
            let accounts: Vec<&Account<'_>> = accounts.iter().collect();
            self.draft.own_accounts(&place, tenant, endpoint.get_ref(), &accounts);
        }
    }
}
