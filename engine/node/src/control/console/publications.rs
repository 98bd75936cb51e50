//! Publications: what others keep with us by PUBLISH.

use std::fmt::Write;
use std::sync::Arc;

use lampfield_core::command::{Answer, PublicationRow, Query};
use lampfield_core::placement::TenantId;

use lampfield_wire::MessageCounts;

use super::explain::spell_presence;
use super::rows::{gather, write_parameters};
use super::{Failure, ROW_COUNT_MAX};
use crate::control::Node;
use crate::control::node::one_line;

const PJSIP_HEADING: &str = "\
Resource: <Resource/Event.................................................>
  Expiry: <Expiry>  <Endpoint.............................................>
===========================================================================\n\n";

pub(super) async fn list(node: &Node, tenant: TenantId, count: usize) -> Result<String, Failure> {
    let (rows, total) = rows_of(node, tenant, None, count.min(ROW_COUNT_MAX)).await?;
    let mut text = format!(
        "{:<24} {:<20} {:<20} {:<24} {:>7}  {}\n",
        "Extension", "Event", "Endpoint", "From", "Expires", "Says"
    );
    for row in rows.iter().take(count) {
        let _ = writeln!(
            text,
            "{:<24} {:<20} {:<20} {:<24} {:>7}  {}",
            one_line(exten(row)),
            row.event,
            one_line(&row.endpoint),
            row.source,
            row.expires_s,
            one_line(&says(row)),
        );
    }
    let _ = writeln!(text, "{total} publications, {} shown", rows.len().min(count));
    Ok(text)
}

pub(super) async fn pjsip_list(node: &Node, tenant: TenantId) -> Result<String, Failure> {
    let (rows, total) = rows_of(node, tenant, None, ROW_COUNT_MAX).await?;
    let mut text = String::from(PJSIP_HEADING);
    for row in rows {
        let _ = write!(
            text,
            "Resource: {}/{}\n  Expiry: {:>8}  {}\n\n",
            one_line(exten(&row)),
            row.event,
            row.expires_s,
            one_line(&row.endpoint),
        );
    }
    let _ = writeln!(text, "{total} active publications");
    Ok(text)
}

pub(super) async fn pjsip_show(
    node: &Node,
    tenant: TenantId,
    name: &str,
) -> Result<String, Failure> {
    // What servers publish to has a name like an extension.
    let mut rows = Vec::new();
    for label in ["Publication", "Feed"] {
        let presentity = format!("{label}:{name}").into();
        rows.extend(rows_of(node, tenant, Some(presentity), ROW_COUNT_MAX).await?.0);
    }
    if rows.is_empty() {
        let text = format!("There is no publication about '{}'", one_line(name));
        return Err(Failure::Because(text));
    }
    let mut text = String::new();
    for row in rows {
        let parameters = [
            ("Resource", exten(&row)),
            ("Event", row.event),
            ("Expiry", &row.expires_s.to_string()),
            ("Endpoint", &row.endpoint),
            ("From", &row.source.to_string()),
            ("EntityTag", &row.entity_tag),
            ("Says", &says(&row)),
        ];
        write_parameters(&mut text, &parameters);
    }
    Ok(text)
}

/// The name without the label of its source.
fn exten(row: &PublicationRow) -> &str {
    row.presentity.split_once(':').map_or(&row.presentity, |(_, exten)| exten)
}

/// What the publication alone would show.
fn says(row: &PublicationRow) -> String {
    let device = row.device.map(|state| state.token().to_owned());
    let presence =
        row.presence.as_ref().map(|p| spell_presence(p.state.token(), &p.subtype, &p.message));
    let messages = row.messages.map(|messages| {
        let MessageCounts { new, old, .. } = messages.counts;
        format!("{new} new and {old} old messages")
    });
    let server = row.server.map(|(id, count)| format!("{id}: {count} states"));
    let said: Vec<String> = [device, presence, messages, server].into_iter().flatten().collect();
    if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }
}

async fn rows_of(
    node: &Node,
    tenant: TenantId,
    presentity: Option<Arc<str>>,
    limit: usize,
) -> Result<(Vec<PublicationRow>, usize), Failure> {
    let query = Query::Publications { tenant: Some(tenant), presentity, limit };
    let (mut rows, total) = gather(node, query, |answer| match answer {
        Answer::Publications(rows, count) => Some((rows, count)),
        _ => None,
    })
    .await?;
    rows.sort_by(|a, b| {
        (&a.presentity, a.event, &a.entity_tag).cmp(&(&b.presentity, b.event, &b.entity_tag))
    });
    Ok((rows, total))
}
