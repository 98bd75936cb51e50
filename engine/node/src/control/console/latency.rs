//! `latency`: where the time goes between a change and the answers to its NOTIFYs.

use std::fmt::Write;

use hdrhistogram::Histogram;
use lampfield_core::command::Command;
use lampfield_core::stats::Stats;

use super::figures::{spell_ns, stats};
use super::{Failure, json};
use crate::channel::Seen;
use crate::control::Node;

/// A part of the way.
struct Cause {
    name: &'static str,
    /// Its histogram, from what the core and the loop of one shard know.
    of: for<'a> fn(&'a Stats, &'a Seen) -> &'a Histogram<u64>,
}

const CAUSES: [Cause; 6] = [
    Cause { name: "input to handled", of: |_, seen| &seen.latencies.input_to_handled_ns },
    Cause { name: "handled to sent", of: |_, seen| &seen.latencies.handled_to_sent_ns },
    Cause { name: "sent to acknowledged", of: |stats, _| &stats.sent_to_acked_ns },
    Cause { name: "change to sent", of: |stats, _| &stats.change_to_sent_ns },
    Cause { name: "change to acknowledged", of: |stats, _| &stats.change_to_acked_ns },
    Cause { name: "turn", of: |_, seen| &seen.latencies.turn_ns },
];

/// What is told of a histogram.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// A table: of each cause all shards together, then each of them.
pub(super) async fn show(node: &Node) -> Result<String, Failure> {
    let shards = ask(node).await?;
    let mut text = format!("{:<22} {:>5} {:>12}", "Latency", "shard", "count");
    for (name, _) in QUANTILES {
        let _ = write!(text, " {name:>10}");
    }
    text.push('\n');
    for cause in &CAUSES {
        push_row(&mut text, cause.name, "all", &merged(cause, &shards));
        if shards.len() > 1 {
            for (at, (stats, seen)) in shards.iter().enumerate() {
                push_row(&mut text, "", &at.to_string(), (cause.of)(stats, seen));
            }
        }
    }
    Ok(text)
}

/// The same for programs, in nanoseconds.
pub(super) async fn show_json(node: &Node) -> Result<String, Failure> {
    let shards = ask(node).await?;
    let all = CAUSES.iter().map(|cause| (key(cause.name), told(&merged(cause, &shards))));
    let all: serde_json::Value = all.collect();
    let each = shards.iter().map(|(stats, seen)| {
        CAUSES.iter().map(|cause| (key(cause.name), told((cause.of)(stats, seen)))).collect()
    });
    Ok(json::told(all, each.collect()))
}

/// Latencies are counted anew from now on, on every shard.
pub(super) async fn reset(node: &Node) -> Result<String, Failure> {
    node.client.broadcast(Command::ResetLatencies).await?;
    Ok("Latencies are counted anew\n".to_owned())
}

async fn ask(node: &Node) -> Result<Vec<(Stats, Box<Seen>)>, Failure> {
    let stats = stats(node).await?;
    Ok(stats.into_iter().zip(node.client.look().await?).collect())
}

/// The histograms of all shards in one.
fn merged(cause: &Cause, shards: &[(Stats, Box<Seen>)]) -> Histogram<u64> {
    let mut all = lampfield_core::stats::latency_histogram();
    for (stats, seen) in shards {
        all.add((cause.of)(stats, seen)).expect("all have the same bounds");
    }
    all
}

fn push_row(text: &mut String, name: &str, shard: &str, histogram: &Histogram<u64>) {
    let _ = write!(text, "{name:<22} {shard:>5} {:>12}", histogram.len());
    for (_, quantile) in QUANTILES {
        let value = match histogram.is_empty() {
            true => "-".to_owned(),
            false => spell_ns(at(histogram, quantile)),
        };
        let _ = write!(text, " {value:>10}");
    }
    text.push('\n');
}

/// `p99_9_ns` and the like, and how many there are.
fn told(histogram: &Histogram<u64>) -> serde_json::Value {
    let quantiles = QUANTILES.map(|(name, quantile)| {
        (format!("{}_ns", name.replace('.', "_")), at(histogram, quantile))
    });
    [("count".to_owned(), histogram.len())].into_iter().chain(quantiles).collect()
}

fn at(histogram: &Histogram<u64>, quantile: f64) -> u64 {
    histogram.value_at_quantile(quantile)
}

fn key(name: &str) -> String {
    name.replace(' ', "_")
}
