//! Checks of what must hold when the dust has settled.

use std::collections::BTreeMap;
use std::time::Duration;

use lampfield_core::command::{Answer, Query};
use lampfield_core::placement::TenantId;

use crate::model::ENDPOINTS;
use crate::phone::{Stage, TRANSACTION};
use crate::world::World;

/// The bound of invariant 1: one retransmission budget and a second.
const TRUTH_WITHIN: Duration = Duration::from_secs(33);
/// How soon a change reaches everybody when nothing is wrong. The small windows and turns of some
/// plans are part of it.
const CALM_TRUTH_WITHIN: Duration = Duration::from_secs(2);

impl World {
    /// The whole story: trouble, calm, one more change, the end of all subscriptions.
    pub(crate) fn play(&mut self) -> Result<(), String> {
        let mut end = lampfield_core::Time::ZERO + self.plan.trouble;
        self.run_until(end)?;
        if !self.node_is_up {
            end = end + Duration::from_secs(3);
            self.run_until(end)?;
        }
        self.is_calm = true;
        end = end + TRUTH_WITHIN;
        self.run_until(end)?;
        self.check_settled("33 s after the last fault")?;
        self.change_every_device();
        end = end + CALM_TRUTH_WITHIN;
        self.run_until(end)?;
        self.check_settled("2 s after a change without faults")?;
        self.is_ending = true;
        // Everything granted runs out; each end is a NOTIFY that may go unanswered to the last.
        let life = Duration::from_secs(self.plan.expires_max_s.into());
        self.run_until(end + life + 2 * TRANSACTION + self.plan.limits.probe_after * 2)?;
        self.check_empty()
    }

    fn check_settled(&mut self, when: &str) -> Result<(), String> {
        self.audit.check_answers(self.now)?;
        self.check_truth(when)?;
        self.check_owners()
    }

    /// Every live watcher knows the truth, and every lost one had to be lost.
    fn check_truth(&mut self, when: &str) -> Result<(), String> {
        let rows = self.cluster.subscriptions(self.now);
        let mut held = BTreeMap::new();
        for (_, row) in &rows {
            held.insert(row.call_id.to_string(), row);
        }
        for phone in self.phones.iter().filter(|phone| phone.is_up) {
            for dialog in &phone.dialogs {
                let (Stage::Active, Some(hint)) = (dialog.stage, dialog.hint) else { continue };
                if dialog.expires_at <= self.now + Duration::from_secs(1) {
                    continue;
                }
                let tag = dialog.remote_tag.as_deref().unwrap_or("");
                let excuse = self.audit.excuse(&dialog.call_id, tag, self.now);
                let Some(row) = held.get(&dialog.call_id) else {
                    if excuse.is_some() {
                        continue;
                    }
                    return Err(format!(
                        "{when}: the node forgot {} of phone {} for {:?}: {}",
                        dialog.call_id,
                        phone.index,
                        self.model.hints[hint],
                        self.audit.describe(&dialog.call_id, tag)
                    ));
                };
                if excuse.is_some() {
                    continue;
                }
                let truth = self.model.truth(hint, dialog.look);
                if dialog.known.as_ref() != Some(&truth) {
                    return Err(format!(
                        "{when}: lamp of phone {} for {} ({}) shows {:?}, the truth is {truth:?}; the node says {row:?}; {}",
                        phone.index,
                        self.model.hints[hint].exten,
                        dialog.call_id,
                        dialog.known,
                        self.audit.describe(&dialog.call_id, tag)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Nothing is owned twice, or by a shard that the placement does not name.
    fn check_owners(&mut self) -> Result<(), String> {
        let placement = self.cluster.placement.clone();
        for (shard, row) in self.cluster.subscriptions(self.now) {
            let tenant =
                row.endpoint.strip_prefix("endpoint").and_then(|n| n.parse::<usize>().ok());
            let Some((tenant, ..)) = tenant.and_then(|n| ENDPOINTS.get(n)) else {
                return Err(format!("a subscription of endpoint {}", row.endpoint));
            };
            let owner = placement.shard_of_extension(TenantId(*tenant), &row.context, &row.exten);
            if owner != shard {
                return Err(format!("{shard:?} has {} of {owner:?}", row.call_id));
            }
        }
        for tenant in [0, 1].map(TenantId) {
            let mut seen = BTreeMap::new();
            for (shard, answer) in self.cluster.ask(&Query::Extensions(tenant), self.now) {
                let Answer::Extensions(rows) = answer else { continue };
                for row in rows {
                    let owner = placement.shard_of_extension(tenant, &row.context, &row.exten);
                    let twice = seen.insert((row.context.clone(), row.exten.clone()), shard);
                    if owner != shard || twice.is_some() {
                        return Err(format!("{shard:?} has {}, as {twice:?}", row.exten));
                    }
                }
            }
        }
        Ok(())
    }

    /// Nothing is left of the subscriptions.
    fn check_empty(&mut self) -> Result<(), String> {
        let rows = self.cluster.subscriptions(self.now);
        if let Some((shard, row)) = rows.first() {
            return Err(format!("{shard:?} still has {row:?}"));
        }
        let kept_max = self.model.devices.len() + self.model.presences.len();
        if self.cluster.stored_count() > kept_max {
            return Err(format!(
                "the store has {} records, of {kept_max} sources",
                self.cluster.stored_count()
            ));
        }
        for stats in self.cluster.stats(self.now) {
            let gauges = [stats.subscription_count, stats.in_flight_count, stats.waiting_count];
            if gauges != [0; 3] {
                return Err(format!("subscriptions, in flight, waiting: {gauges:?} are left"));
            }
            let c = stats.counters;
            if !self.plan.has_restarts {
                let ended = c.subscription_unsubscribed
                    + c.subscription_expired
                    + c.subscription_rejected_by_peer
                    + c.subscription_timed_out
                    + c.subscription_hint_removed
                    + c.subscription_endpoint_removed;
                if ended != c.subscription_created {
                    return Err(format!(
                        "{} subscriptions were created, {ended} ended",
                        c.subscription_created
                    ));
                }
            }
        }
        Ok(())
    }
}
