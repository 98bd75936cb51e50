//! Subscriptions of watchers: our listing, and the ones scripts know from Asterisk's PJSIP.

use std::fmt::Write;
use std::sync::Arc;

use lampfield_core::command::{Answer, Query, SubscriptionRow};
use lampfield_core::placement::TenantId;

use super::rows::{gather, write_parameters};
use super::{Failure, ROW_COUNT_MAX};
use crate::control::Node;
use crate::control::ami::asterisk_state;
use crate::control::node::one_line;

const PJSIP_HEADING: &str = "\
Endpoint: <Endpoint/Caller-ID.............................................>
Resource: <Resource/Event.................................................>
  Expiry: <Expiry>  <Call-id..............................................>
===========================================================================\n\n";

pub(super) async fn list(node: &Node, tenant: TenantId, count: usize) -> Result<String, Failure> {
    let (rows, total) = rows(node, tenant, None, count.min(ROW_COUNT_MAX)).await?;
    let mut text = format!(
        "{:<24} {:<10} {:<28} {:<28} {:<9} {:>7} {:>10}  {:<13} {}\n",
        "Extension",
        "Event",
        "Watcher",
        "Next hop",
        "State",
        "Expires",
        "CSeq",
        "Acknowledged",
        "Now"
    );
    for row in rows.iter().take(count) {
        let _ = writeln!(
            text,
            "{:<24} {:<10} {:<28} {:<28} {:<9} {:>7} {:>10}  {:<13} {}{}",
            one_line(&format!("{}@{}", row.exten, row.context)),
            one_line(&row.event),
            one_line(&row.watcher),
            row.next_hop,
            row.state,
            row.expires_s,
            row.cseq,
            row.acknowledged.map_or("-", |state| state.text()),
            shows(row),
            if row.in_flight { " (in flight)" } else { "" },
        );
    }
    let shown = rows.len().min(count);
    let _ = writeln!(text, "{total} subscriptions, {shown} shown");
    Ok(text)
}

pub(super) async fn show(node: &Node, tenant: TenantId, call_id: &str) -> Result<String, Failure> {
    let (rows, _) = rows(node, tenant, Some(call_id.into()), ROW_COUNT_MAX).await?;
    if rows.is_empty() {
        return Err(not_found(call_id));
    }
    let mut text = String::new();
    for row in rows {
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<16}: {}", one_line(value));
        };
        line("Call-ID", &row.call_id);
        line("Extension", &format!("{}@{}", row.exten, row.context));
        line("Event", &row.event);
        line("Content type", row.content_type);
        line("Endpoint", &row.endpoint);
        line("Watcher", &row.watcher);
        line("Next hop", &row.next_hop);
        line("State", row.state);
        line("Expires in", &format!("{} s", row.expires_s));
        line("CSeq", &row.cseq.to_string());
        line("In flight", if row.in_flight { "yes" } else { "no" });
        line("Acknowledged", &acknowledged(&row));
        match &row.members {
            Some(members) => {
                line("Members", &shows(&row));
                line("Documents", members.content_type);
            }
            None => line("Extension state", &shows(&row)),
        }
        text.push('\n');
    }
    Ok(text)
}

/// What a subscription shows now: a state, or how much of a list is still to be told.
fn shows(row: &SubscriptionRow) -> String {
    match (&row.members, row.extension_state) {
        (Some(members), _) if members.waiting_count > 0 => {
            format!("{} members, {} to be told", members.member_count, members.waiting_count)
        }
        (Some(members), _) => format!("{} members", members.member_count),
        (None, Some(state)) => state.text().into(),
        (None, None) => "-".into(),
    }
}

pub(super) async fn pjsip_list(node: &Node, tenant: TenantId) -> Result<String, Failure> {
    let (rows, total) = rows(node, tenant, None, ROW_COUNT_MAX).await?;
    let mut text = String::from(PJSIP_HEADING);
    for row in rows {
        let _ = write!(
            text,
            "Endpoint: {}/<none>\nResource: {}/{}\n  Expiry: {:>8}  {}\n\n",
            one_line(&row.endpoint),
            one_line(&row.exten),
            one_line(package(&row)),
            row.expires_s,
            one_line(&row.call_id),
        );
    }
    let _ = writeln!(text, "{total} active subscriptions");
    Ok(text)
}

pub(super) fn pjsip_none() -> String {
    format!("{PJSIP_HEADING}0 active subscriptions\n")
}

pub(super) async fn pjsip_show(
    node: &Node,
    tenant: TenantId,
    call_id: &str,
) -> Result<String, Failure> {
    let (rows, _) = rows(node, tenant, Some(call_id.into()), 1).await?;
    let Some(row) = rows.first() else {
        return Err(not_found(call_id));
    };
    let expiry = row.expires_s.to_string();
    let mut parameters = vec![
        ("Resource", &*row.exten),
        ("Event", package(row)),
        ("Expiry", &expiry),
        ("Role", "Notifier"),
        ("Endpoint", &row.endpoint),
        ("Callid", &row.call_id),
        ("State", asterisk_state(row.state)),
        ("Callerid", "Unknown"),
    ];
    // A list is no extension (trace 21).
    if row.members.is_none() {
        parameters.extend([
            ("SubscriptionType", "extension_state"),
            ("Extension", &row.exten),
            ("ExtensionStates", row.acknowledged.map_or("Unknown", |state| state.text())),
        ]);
    }
    let mut text = String::new();
    write_parameters(&mut text, &parameters);
    Ok(text)
}

/// What a watcher last acknowledged, and how long ago.
pub(super) fn acknowledged(row: &SubscriptionRow) -> String {
    match (row.acknowledged, row.acknowledged_age_ms) {
        (Some(state), Some(age_ms)) => format!("{} {}", state.text(), ago(age_ms)),
        (Some(state), None) => state.text().to_owned(),
        (None, _) => "nothing yet".to_owned(),
    }
}

/// `1.234 s ago`, or `5 m 12 s ago`.
pub(super) fn ago(age_ms: u64) -> String {
    let (seconds, ms) = (age_ms / 1000, age_ms % 1000);
    match seconds {
        0..60 => format!("{seconds}.{ms:03} s ago"),
        60..3600 => format!("{} m {} s ago", seconds / 60, seconds % 60),
        _ => format!("{} h {} m ago", seconds / 3600, seconds % 3600 / 60),
    }
}

async fn rows(
    node: &Node,
    tenant: TenantId,
    call_id: Option<Arc<str>>,
    limit: usize,
) -> Result<(Vec<SubscriptionRow>, usize), Failure> {
    let query = Query::Subscriptions { tenant: Some(tenant), call_id, limit };
    let (mut rows, total) = gather(node, query, |answer| match answer {
        Answer::Subscriptions(rows, count) => Some((rows, count)),
        _ => None,
    })
    .await?;
    rows.sort_by(|a, b| (&a.exten, &a.call_id).cmp(&(&b.exten, &b.call_id)));
    Ok((rows, total))
}

/// The event package, without `;id=`.
fn package(row: &SubscriptionRow) -> &str {
    row.event.split(';').next().unwrap_or_default()
}

fn not_found(call_id: &str) -> Failure {
    Failure::Because(format!("There is no subscription with Call-ID '{call_id}'"))
}
