//! `drain`: sending watchers elsewhere before a node goes.

use lampfield_core::stats::Stats;

use super::{Failure, figures};
use crate::control::Node;

/// Watchers a second, unless the operator says it.
pub(super) const PER_S: u32 = 1000;

pub(super) async fn start(node: &Node, per_s: u32) -> Result<String, Failure> {
    node.drain(Some(per_s)).await?;
    show(node).await
}

pub(super) async fn stop(node: &Node) -> Result<String, Failure> {
    node.drain(None).await?;
    show(node).await
}

/// How far it has come.
pub(super) async fn show(node: &Node) -> Result<String, Failure> {
    let stats = figures::stats(node).await?;
    let sum = |figure: fn(&Stats) -> u64| stats.iter().map(figure).sum::<u64>();
    let (here, sent_away) = (
        sum(|stats| stats.subscription_count),
        sum(|stats| stats.counters.subscription_deactivated),
    );
    let state = match (node.draining(), here) {
        (None, _) => "Not drained: new subscriptions are taken".to_owned(),
        (Some(_), 0) => "Drained: nobody is left".to_owned(),
        (Some(per_s), _) => format!("Draining, {per_s} subscriptions a second"),
    };
    Ok(format!("{state}\n{here} subscriptions here, {sent_away} sent elsewhere since the start\n"))
}
