//! What listings of all shards have in common.

use std::fmt::Write;

use lampfield_core::command::{Answer, Query};

use super::Failure;
use crate::control::Node;
use crate::control::node::one_line;

/// Asks every shard for rows: those that were told, and how many there are.
pub(super) async fn gather<R>(
    node: &Node,
    query: Query,
    rows_of: impl Fn(Answer) -> Option<(Vec<R>, usize)>,
) -> Result<(Vec<R>, usize), Failure> {
    let answers = node.client.ask_all(query).await?;
    let (rows, counts): (Vec<_>, Vec<_>) = answers.into_iter().filter_map(rows_of).unzip();
    Ok((rows.into_iter().flatten().collect(), counts.into_iter().sum()))
}

/// One thing and what is known of it, as `pjsip show` prints it.
pub(super) fn write_parameters(text: &mut String, parameters: &[(&str, &str)]) {
    let _ = writeln!(text, "{:<20}: ParameterValue\n{}", "ParameterName", "=".repeat(75));
    for (name, value) in parameters {
        let _ = writeln!(text, "{name:<20}: {}", one_line(value));
    }
    text.push('\n');
}
