//! `[[feed]]` of `lampfield.toml`.

use lampfield_core::feed::{Feed, FeedRules};
use toml::Spanned;

use super::super::feeds::rules;
use super::Native;
use super::file;

impl Native<'_> {
    /// Reads all entries. Endpoints must be known already.
    pub(super) fn feeds(&mut self, entries: &[Spanned<file::Feed>]) {
        for entry in entries {
            let file = entry.get_ref();
            if file.name.get_ref().is_empty() || !(file.devices || file.mailboxes) {
                self.error(entry, "a name, and devices = true or mailboxes = true expected");
                continue;
            }
            let Some(tenant) = self.tenant_of(file.tenant.as_ref(), entry) else { continue };
            let only = file.endpoint.as_ref().map(|name| {
                let place = self.source.place(name);
                self.draft.feed_endpoint(&place, tenant, name.get_ref())
            });
            if only == Some(None) {
                continue;
            }
            let devices = self.feed_rules(file.devices, file.device_filter.as_ref());
            let mailboxes = self.feed_rules(file.mailboxes, file.mailbox_filter.as_ref());
            let name = file.name.get_ref().as_str().into();
            let feed = Feed { tenant, name, endpoint: only.flatten(), devices, mailboxes };
            self.draft.feed(&self.source.place(&file.name), feed);
        }
    }

    fn feed_rules(&mut self, accepts: bool, filter: Option<&Spanned<String>>) -> Option<FeedRules> {
        let filter = filter.map(|filter| (self.source.place(filter), filter.get_ref().as_str()));
        accepts.then(|| rules(true, filter, &mut self.draft.problems))
    }
}
