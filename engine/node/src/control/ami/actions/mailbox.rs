//! Mailboxes: how many messages wait, told and asked by others (`res_mwi_external_ami`).

use std::sync::Arc;

use lampfield_core::command::MailboxRow;
use lampfield_core::state::Messages;

use super::super::connection::Connection;
use super::super::request::Request;
use crate::control::MailboxPattern;

const NO_MAILBOX: &str = "Missing mailbox parameter in request";

impl Connection {
    /// `MWIUpdate`: a count that is left out is 0.
    pub(super) async fn mailbox_update(&mut self, request: &Request) {
        let mailbox = request.get("Mailbox");
        if mailbox.is_empty() {
            return self.error(request, NO_MAILBOX);
        }
        let mut counts = [0; 2];
        for (name, count) in ["OldMessages", "NewMessages"].into_iter().zip(&mut counts) {
            let text = request.get(name);
            match text.parse() {
                Ok(number) => *count = number,
                Err(_) if text.is_empty() => {}
                Err(_) => return self.error(request, &format!("Invalid {name}: {text}")),
            }
        }
        let [old, new] = counts;
        let messages = Some(Messages::counted(new, old));
        match self.node.set_mailbox(self.tenant(), mailbox, messages).await {
            Ok(()) => self.done(request),
            Err(error) => {
                tracing::warn!(mailbox, "AMI MWIUpdate: {error}");
                self.error(request, "Update attempt failed");
            }
        }
    }

    /// `MWIDelete` of one mailbox, or of all that `/REGEX/` matches.
    pub(super) async fn mailbox_delete(&mut self, request: &Request) {
        let Some(pattern) = self.mailbox_pattern(request) else { return };
        match self.node.delete_mailboxes(self.tenant(), &pattern).await {
            Ok(_) => self.done(request),
            Err(error) => {
                tracing::warn!("AMI MWIDelete: {error}");
                self.error(request, "Delete attempt failed");
            }
        }
    }

    /// `MWIGet` of one mailbox, or of all that `/REGEX/` matches.
    pub(super) async fn mailbox_get(&mut self, request: &Request) -> std::io::Result<()> {
        let Some(pattern) = self.mailbox_pattern(request) else { return Ok(()) };
        let rows = match self.node.mailboxes(self.tenant(), &pattern).await {
            Ok(rows) => rows,
            Err(error) => return self.list_failed(request, error),
        };
        self.begin_list(request, "Mailboxes will follow");
        let count = rows.len();
        for MailboxRow { mailbox, messages } in rows {
            self.row(request, "MWIGet")
                .header("Mailbox", &mailbox)
                .header_i64("OldMessages", messages.counts.old.into())
                .header_i64("NewMessages", messages.counts.new.into())
                .end();
            self.write_row().await?;
        }
        self.end_list(request, "MWIGetComplete", count);
        Ok(())
    }

    fn mailbox_pattern(&mut self, request: &Request) -> Option<MailboxPattern> {
        let mailbox = request.get("Mailbox");
        if mailbox.is_empty() {
            self.error(request, NO_MAILBOX);
            return None;
        }
        let Some(regex) = mailbox.strip_prefix('/') else {
            return Some(MailboxPattern::One(Arc::from(mailbox)));
        };
        let pattern = regex.strip_suffix('/').and_then(MailboxPattern::like);
        if pattern.is_none() {
            self.error(request, &format!("Mailbox regex format invalid in: {mailbox}"));
        }
        pattern
    }

    /// A reply that says yes and no more.
    fn done(&mut self, request: &Request) {
        self.reply(request, "Success").end();
    }
}
