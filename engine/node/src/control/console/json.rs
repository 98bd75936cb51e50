//! Answers for programs: figures as one line of JSON, all shards together and each of them.

use super::figures::{counters_by_shard, net_by_shard};
use super::table::{Command, Kind};
use super::{Failure, latency};
use crate::channel::Figures;
use crate::control::Node;

/// Runs a command that has an answer for programs.
pub(super) async fn run(
    node: &Node,
    command: &Command,
    arguments: &[&str],
) -> Result<String, Failure> {
    match (command.kind, arguments) {
        (Kind::Latency, []) => latency::show_json(node).await,
        (Kind::Counters, []) => Ok(figures(&counters_by_shard(node).await?)),
        (Kind::Net, []) => Ok(figures(&net_by_shard(node).await?)),
        (Kind::Latency | Kind::Counters | Kind::Net, _) => Err(command.usage()),
        _ => Err(Failure::Because("Only latency, counters and net can be told as JSON".to_owned())),
    }
}

/// The answer about all shards.
pub(super) fn told(all: serde_json::Value, shards: Vec<serde_json::Value>) -> String {
    format!("{}\n", serde_json::json!({ "all": all, "shards": shards }))
}

fn figures(shards: &[Figures]) -> String {
    let names = shards.first().map_or(&[][..], Vec::as_slice);
    let sum =
        |place: usize| -> u64 { shards.iter().filter_map(|rows| Some(rows.get(place)?.1)).sum() };
    let all = names.iter().enumerate().map(|(place, (name, _))| (*name, sum(place))).collect();
    told(all, shards.iter().map(|rows| rows.iter().copied().collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_and_told_by_shard() {
        let shards = [vec![("a", 1), ("b", 2)], vec![("a", 10), ("b", 0)]];
        let want = r#"{"all":{"a":11,"b":2},"shards":[{"a":1,"b":2},{"a":10,"b":0}]}"#;
        assert_eq!(figures(&shards).trim_end(), want);
    }
}
