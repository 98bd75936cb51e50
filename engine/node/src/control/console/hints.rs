//! `core show hints` and `core show hint`.

use std::fmt::Write;

use lampfield_core::command::{Answer, Query};
use lampfield_core::placement::TenantId;

use super::{Failure, ROW_COUNT_MAX};
use crate::control::Node;
use crate::control::node::one_line;

/// A hint as it is listed.
struct Row {
    /// `exten@context`.
    name: String,
    hint: String,
    state: &'static str,
    presence: &'static str,
    watcher_count: u32,
}

pub(super) async fn all(node: &Node, tenant: TenantId) -> Result<String, Failure> {
    let rows = rows(node, tenant, "").await?;
    if rows.is_empty() {
        return Ok("There are no registered dialplan hints\n".to_owned());
    }
    let mut text = String::from("\n    -= Registered Asterisk Dial Plan Hints =-\n");
    write_rows(&mut text, &rows);
    let _ = write!(text, "----------------\n- {} hints registered\n", rows.len());
    Ok(text)
}

pub(super) async fn matching(node: &Node, tenant: TenantId, name: &str) -> Result<String, Failure> {
    let rows = rows(node, tenant, name).await?;
    if rows.is_empty() {
        return Ok(format!("No hints matching extension {name}\n"));
    }
    let mut text = String::new();
    write_rows(&mut text, &rows);
    let plural = if rows.len() == 1 { "" } else { "s" };
    let _ = writeln!(text, "{} hint{plural} matching extension {name}", rows.len());
    Ok(text)
}

/// Hints whose `exten@context` begins with `prefix` in any case, sorted. Patterns are listed as
/// written: they have neither state nor watchers, only the extensions made from them do.
async fn rows(node: &Node, tenant: TenantId, prefix: &str) -> Result<Vec<Row>, Failure> {
    let wanted =
        |name: &str| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    let mut rows = Vec::new();
    for answer in node.client.ask_all(Query::Extensions(tenant)).await? {
        let Answer::Extensions(extensions) = answer else { continue };
        for extension in extensions {
            let name = format!("{}@{}", extension.exten, extension.context);
            if wanted(&name) {
                rows.push(Row {
                    name,
                    hint: extension.hint.text.to_string(),
                    state: extension.state.text(),
                    presence: extension.presence.state.token(),
                    watcher_count: extension.watcher_count,
                });
            }
        }
    }
    for (context, pattern) in node.config().core.dialplan.pattern_hints(tenant) {
        let name = format!("{}@{context}", pattern.text);
        if wanted(&name) {
            let hint = pattern.template.text.to_string();
            rows.push(Row { name, hint, state: "Unavailable", presence: "", watcher_count: 0 });
        }
    }
    rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

fn write_rows(text: &mut String, rows: &[Row]) {
    for row in rows.iter().take(ROW_COUNT_MAX) {
        let Row { name, hint, state, presence, watcher_count } = row;
        let (name, hint) = (one_line(name), one_line(hint));
        let _ = writeln!(
            text,
            "{name:<30.30}: {hint:<60.60}  State:{state:<15.15} Presence:{presence:<15.15} \
             Watchers {watcher_count:>2}"
        );
    }
    if rows.len() > ROW_COUNT_MAX {
        let _ = writeln!(text, "... and {} more", rows.len() - ROW_COUNT_MAX);
    }
}
