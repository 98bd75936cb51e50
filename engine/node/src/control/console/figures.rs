//! `shards`, `counters`, `net`, `core show uptime`.

use std::fmt::Write;
use std::time::Duration;

use lampfield_core::command::{Answer, Query};
use lampfield_core::stats::Stats;
use tokio::time::Instant;

use super::Failure;
use crate::channel::Figures;
use crate::control::Node;

/// Rates are measured over this long, while the operator waits.
const RATE_WINDOW: Duration = Duration::from_millis(500);

pub(super) async fn shards(node: &Node) -> Result<String, Failure> {
    let before = stats(node).await?;
    let since = Instant::now();
    tokio::time::sleep(RATE_WINDOW).await;
    let after = stats(node).await?;
    let elapsed_s = since.elapsed().as_secs_f64();
    let mut text = format!(
        "{:>5} {:>6} {:>10} {:>10} {:>10} {:>9} {:>9} {:>10}   {:^32}   {:^32}\n",
        "", "", "", "", "", "in", "", "NOTIFY", "change to sent", "sent to acknowledged"
    );
    let quantiles = format!("{:>10} {:>10} {:>10}", "p50", "p99", "p99.9");
    let _ = writeln!(
        text,
        "{:>5} {:>6} {:>10} {:>10} {:>10} {:>9} {:>9} {:>10}   {quantiles}   {quantiles}",
        "Shard", "Queue", "Watchers", "Extensions", "Sources", "flight", "waiting", "per s"
    );
    let mut rate_sum = 0.0;
    for ((shard, new), old) in node.client.placement().shards().zip(&after).zip(&before) {
        let sent = new.counters.notify_sent.saturating_sub(old.counters.notify_sent);
        let rate = sent as f64 / elapsed_s;
        rate_sum += rate;
        let _ = writeln!(
            text,
            "{:>5} {:>6} {:>10} {:>10} {:>10} {:>9} {:>9} {rate:>10.0}   {}   {}",
            shard.0,
            node.client.queue_depth(shard),
            new.subscription_count,
            new.extension_count,
            new.source_count,
            new.in_flight_count,
            new.waiting_count,
            quantile_row(&new.change_to_sent_ns),
            quantile_row(&new.sent_to_acked_ns),
        );
    }
    let sum = |figure: fn(&Stats) -> u64| after.iter().map(figure).sum::<u64>();
    let _ = writeln!(
        text,
        "{:>5} {:>6} {:>10} {:>10} {:>10} {:>9} {:>9} {rate_sum:>10.0}",
        "all",
        "",
        sum(|stats| stats.subscription_count),
        sum(|stats| stats.extension_count),
        sum(|stats| stats.source_count),
        sum(|stats| stats.in_flight_count),
        sum(|stats| stats.waiting_count),
    );
    let publications = sum(|stats| stats.publication_count);
    if publications > 0 {
        let _ = writeln!(text, "{publications} publications of others");
    }
    let members = sum(|stats| stats.list_member_count);
    if members > 0 {
        let parts = sum(|stats| stats.part_count);
        let _ = writeln!(text, "{members} members of lists, from {parts} shared documents");
    }
    Ok(text)
}

pub(super) async fn counters(node: &Node) -> Result<String, Failure> {
    Ok(table(node, "Counter", &counters_by_shard(node).await?))
}

pub(super) async fn net(node: &Node) -> Result<String, Failure> {
    Ok(table(node, "Sockets and queues", &net_by_shard(node).await?))
}

/// Every counter of the core.
pub(super) async fn counters_by_shard(node: &Node) -> Result<Vec<Figures>, Failure> {
    Ok(stats(node).await?.iter().map(|stats| stats.counters.rows().collect()).collect())
}

/// Every figure from around the core.
pub(super) async fn net_by_shard(node: &Node) -> Result<Vec<Figures>, Failure> {
    Ok(node.client.look().await?.into_iter().map(|seen| seen.figures).collect())
}

/// A line per name, with the sum and the figure of every shard.
fn table(node: &Node, heading: &str, shards: &[Figures]) -> String {
    let mut text = format!("{heading:<32} {:>14}", "all");
    for shard in node.client.placement().shards() {
        let _ = write!(text, " {:>14}", format!("shard {}", shard.0));
    }
    text.push('\n');
    let names = shards.first().map_or(&[][..], Vec::as_slice);
    for (place, (name, _)) in names.iter().enumerate() {
        let figures = || shards.iter().filter_map(|rows| Some(rows.get(place)?.1));
        let _ = write!(text, "{name:<32} {:>14}", figures().sum::<u64>());
        for figure in figures() {
            let _ = write!(text, " {figure:>14}");
        }
        text.push('\n');
    }
    text
}

pub(super) fn uptime(node: &Node) -> String {
    let (uptime_s, reload_s) = node.ages_s();
    format!("System uptime: {}\nLast reload: {}\n", spell(uptime_s), spell(reload_s))
}

pub(super) async fn stats(node: &Node) -> Result<Vec<Stats>, Failure> {
    let answers = node.client.ask_all(Query::Stats).await?;
    let stats = answers.into_iter().filter_map(|answer| match answer {
        Answer::Stats(stats) => Some(*stats),
        _ => None,
    });
    Ok(stats.collect())
}

fn quantile_row(histogram: &hdrhistogram::Histogram<u64>) -> String {
    let at = |quantile| match histogram.is_empty() {
        true => "-".to_owned(),
        false => spell_ns(histogram.value_at_quantile(quantile)),
    };
    format!("{:>10} {:>10} {:>10}", at(0.5), at(0.99), at(0.999))
}

/// A time with three digits or so.
pub(super) fn spell_ns(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// `1 day, 2 hours, 5 seconds`.
fn spell(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "day"),
        (seconds / 3600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let parts: Vec<String> = units
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if parts.is_empty() { "0 seconds".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_spelled_out_and_latencies_keep_their_digits() {
        for (seconds, want) in [
            (0, "0 seconds"),
            (61, "1 minute, 1 second"),
            (90_125, "1 day, 1 hour, 2 minutes, 5 seconds"),
        ] {
            assert_eq!(spell(seconds), want);
        }
        for (ns, want) in [(0, "0 ns"), (12_345, "12.3 us"), (12_345_678, "12.3 ms")] {
            assert_eq!(spell_ns(ns), want);
        }
    }
}
