//! Registrations: who can be reached, and where.

use std::fmt::Write;

use lampfield_core::command::{Answer, Query};
use lampfield_core::placement::TenantId;

use super::rows::gather;
use super::{Failure, ROW_COUNT_MAX};
use crate::control::Node;
use crate::control::node::one_line;

pub(super) async fn list(node: &Node, tenant: TenantId, count: usize) -> Result<String, Failure> {
    let count = count.min(ROW_COUNT_MAX);
    let query = Query::Registrations { tenant: Some(tenant), limit: count };
    let (mut rows, total) = gather(node, query, |answer| match answer {
        Answer::Registrations(rows, count) => Some((rows, count)),
        _ => None,
    })
    .await?;
    rows.sort_by(|a, b| (&a.device, &a.contact).cmp(&(&b.device, &b.contact)));
    let mut text = format!(
        "{:<24} {:<44} {:>7}  {:<4} {:<24} {}\n",
        "Device", "Contact", "Expires", "By", "From", "Path"
    );
    for row in rows.iter().take(count) {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<24} {:<44} {:>7}  {:<4} {:<24} {}",
            one_line(&row.device),
            one_line(&row.contact),
            row.expires_s,
            row.flow.transport.token(),
            row.flow.peer,
            one_line(&row.path),
        );
    }
    let _ = writeln!(text, "{total} contacts, {} shown", rows.len().min(count));
    Ok(text)
}
