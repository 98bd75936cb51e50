//! `mwi`: messages that wait in mailboxes, under the names of Asterisk's `res_mwi_external`.

use std::fmt::Write;

use lampfield_core::placement::TenantId;
use lampfield_core::state::Messages;
use lampfield_wire::MessageCounts;

use super::Failure;
use crate::control::node::one_line;
use crate::control::{MailboxPattern, Node};

/// The mailboxes that `pattern` names, or all of them.
pub(super) async fn list(
    node: &Node,
    tenant: TenantId,
    pattern: Option<MailboxPattern>,
) -> Result<String, Failure> {
    let rows = node.mailboxes(tenant, &pattern.unwrap_or_default()).await?;
    let mut text = format!("{:>8} {:>8} {:>8} {:>8}  Mailbox\n", "New", "Old", "Urgent", "UrgOld");
    for row in &rows {
        let MessageCounts { new, old, urgent_new, urgent_old } = row.messages.counts;
        let name = one_line(&row.mailbox);
        let _ = writeln!(text, "{new:>8} {old:>8} {urgent_new:>8} {urgent_old:>8}  {name}");
    }
    let _ = writeln!(text, "{} mailboxes", rows.len());
    Ok(text)
}

pub(super) async fn show(node: &Node, tenant: TenantId, name: &str) -> Result<String, Failure> {
    let rows = node.mailboxes(tenant, &MailboxPattern::One(name.into())).await?;
    let Some(row) = rows.first() else {
        let text = format!("Nobody has counted the messages of '{}'", one_line(name));
        return Err(Failure::Because(text));
    };
    let MessageCounts { new, old, urgent_new, urgent_old } = row.messages.counts;
    Ok(format!(
        "Mailbox: {}\nNew Messages: {new} ({urgent_new} urgent)\n\
         Old Messages: {old} ({urgent_old} urgent)\n",
        one_line(&row.mailbox)
    ))
}

pub(super) async fn update(
    node: &Node,
    tenant: TenantId,
    name: &str,
    [new, old]: [u32; 2],
) -> Result<String, Failure> {
    let updated = node.set_mailbox(tenant, name, Some(Messages::counted(new, old))).await;
    updated.map_err(|error| Failure::Because(error.to_string()))?;
    Ok(format!("Updated mailbox {} to {new} new, {old} old\n", one_line(name)))
}

pub(super) async fn delete(
    node: &Node,
    tenant: TenantId,
    pattern: &MailboxPattern,
) -> Result<String, Failure> {
    let deleted = node.delete_mailboxes(tenant, pattern).await;
    let count = deleted.map_err(|error| Failure::Because(error.to_string()))?;
    Ok(format!("Deleted {count} mailboxes\n"))
}

/// The pattern of a `like`.
pub(super) fn like(regex: &str) -> Result<MailboxPattern, Failure> {
    let text = || format!("'{}' is no regular expression", one_line(regex));
    MailboxPattern::like(regex).ok_or_else(|| Failure::Because(text()))
}
