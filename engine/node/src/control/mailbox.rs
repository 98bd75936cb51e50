//! Mailboxes as AMI and console name them.

use std::sync::Arc;

use lampfield_core::command::{Answer, Command, MailboxRow, Query};
use lampfield_core::mailbox::mailbox_source;
use lampfield_core::placement::TenantId;
use lampfield_core::state::Messages;
use regex::{Regex, RegexBuilder};

use super::node::{Node, SetError};
use super::{Change, ShardError};
use crate::mirror::state::Kind;

/// Bytes a compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 16;

/// Which mailboxes are meant.
#[derive(Clone, Debug, Default)]
pub(crate) enum MailboxPattern {
    /// Every one.
    #[default]
    All,
    /// The one of this name.
    One(Arc<str>),
    /// Those in whose name the expression is found.
    Like(Regex),
}

impl MailboxPattern {
    /// Those in whose name `regex` is found; `None` if it is none.
    pub(crate) fn like(regex: &str) -> Option<Self> {
        RegexBuilder::new(regex).size_limit(REGEX_BYTES_MAX).build().ok().map(Self::Like)
    }

    fn matches(&self, mailbox: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(name) => **name == *mailbox,
            Self::Like(regex) => regex.is_match(mailbox),
        }
    }
}

impl Node {
    /// Tells how many messages a mailbox has; `None`: it is no more. Waits until it is applied.
    pub(crate) async fn set_mailbox(
        &self,
        tenant: TenantId,
        mailbox: &str,
        messages: Option<Messages>,
    ) -> Result<(), SetError> {
        Ok(self.begin_mailbox(tenant, mailbox, messages).await?.applied().await?)
    }

    async fn begin_mailbox(
        &self,
        tenant: TenantId,
        mailbox: &str,
        messages: Option<Messages>,
    ) -> Result<Change, SetError> {
        let mailbox = mailbox_source(mailbox);
        self.check_own(tenant, Kind::Device, &mailbox)?;
        let command = Command::SetMailbox { tenant, mailbox, messages };
        Ok(self.client.change(command, &self.config().core.providers).await?)
    }

    /// The mailboxes whose messages were counted, by name.
    pub(crate) async fn mailboxes(
        &self,
        tenant: TenantId,
        pattern: &MailboxPattern,
    ) -> Result<Vec<MailboxRow>, ShardError> {
        let mut rows = Vec::new();
        for answer in self.client.ask_all(Query::Mailboxes(tenant)).await? {
            if let Answer::Mailboxes(more) = answer {
                rows.extend(more.into_iter().filter(|row| pattern.matches(&row.mailbox)));
            }
        }
        rows.sort_unstable_by(|a, b| a.mailbox.cmp(&b.mailbox));
        Ok(rows)
    }

    /// Forgets the messages of mailboxes; how many.
    pub(crate) async fn delete_mailboxes(
        &self,
        tenant: TenantId,
        pattern: &MailboxPattern,
    ) -> Result<usize, SetError> {
        let rows = self.mailboxes(tenant, pattern).await?;
        for row in &rows {
            self.set_mailbox(tenant, &row.mailbox, None).await?;
        }
        Ok(rows.len())
    }
}
