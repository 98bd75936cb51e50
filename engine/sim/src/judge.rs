//! Checks of what must hold when the dust has settled.

use std::collections::BTreeMap;
use std::time::Duration;

use lampfield_core::command::{Answer, Query};
use lampfield_core::placement::TenantId;

use crate::model::ENDPOINTS;
use crate::moves::RATE_GAP_MAX;
use crate::phone::{Dialog, Phone, Stage, TRANSACTION, Watch};
use crate::sip;
use crate::world::World;

/// The bound of invariant 1: one retransmission budget and a second.
const TRUTH_WITHIN: Duration = Duration::from_secs(33);
/// How soon a change reaches everybody when nothing is wrong. The small windows and turns of some
/// plans are part of it.
const CALM_TRUTH_WITHIN: Duration = Duration::from_secs(2);
/// NOTIFYs that the longest list of a world needs: one for each member.
const SPLIT_COUNT_MAX: u32 = 9;

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
        end = end + TRUTH_WITHIN + self.pace_max();
        self.run_until(end)?;
        self.check_settled("33 s after the last fault")?;
        self.change_every_device();
        end = end + CALM_TRUTH_WITHIN + self.pace_max();
        self.run_until(end)?;
        self.check_settled("2 s after a change without faults")?;
        self.is_ending = true;
        // Everything granted runs out; each end is a NOTIFY that may go unanswered to the last.
        let life = Duration::from_secs(self.plan.expires_max_s.into());
        self.run_until(end + life + 2 * TRANSACTION + self.plan.limits.probe_after * 2)?;
        self.check_empty()
    }

    /// How much later the truth may come because a watcher, or its list, wants it so.
    fn pace_max(&self) -> Duration {
        if !self.plan.has_lists {
            return Duration::ZERO;
        }
        let batch_max = self.model.lists.iter().map(|list| list.batch_interval * 2).max();
        let notify_count = if self.plan.may_split() { SPLIT_COUNT_MAX } else { 1 };
        batch_max.unwrap_or_default() + RATE_GAP_MAX * notify_count
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
                if dialog.stage != Stage::Active
                    || dialog.expires_at <= self.now + Duration::from_secs(1)
                {
                    continue;
                }
                let Some((what, truth)) = self.truth_of(phone, dialog) else { continue };
                let tag = dialog.remote_tag.as_deref().unwrap_or("");
                let excuse = self.audit.excuse(&dialog.call_id, tag, self.now);
                let row = held.get(&dialog.call_id);
                if excuse.is_some() {
                    continue;
                }
                let Some(row) = row else {
                    return Err(format!(
                        "{when}: the node forgot {} of phone {} for {what}: {}",
                        dialog.call_id,
                        phone.index,
                        self.audit.describe(&dialog.call_id, tag)
                    ));
                };
                // A full state in several NOTIFYs: the first one took away what the others bring.
                let is_telling =
                    row.members.is_some_and(|members| members.waiting_count > 0 || row.in_flight)
                        && self.audit.is_telling(&dialog.call_id, tag, self.pace_max(), self.now);
                if dialog.known.as_ref() != Some(&truth) && !is_telling {
                    return Err(format!(
                        "{when}: phone {} sees {what} ({}) as {:?}, the truth is {truth:?}; the node says {row:?}; {}",
                        phone.index,
                        dialog.call_id,
                        dialog.known,
                        self.audit.describe(&dialog.call_id, tag)
                    ));
                }
            }
        }
        Ok(())
    }

    /// What a dialog watches, and what its phone must know; `None` for one that is told nothing.
    fn truth_of(&self, phone: &Phone, dialog: &Dialog) -> Option<(String, String)> {
        if let Some(source) = dialog.list() {
            let truth = self.model.list_truth(phone.tenant(), source, dialog.look);
            return Some((format!("{source:?}"), truth));
        }
        let Watch::Hint(hint) = dialog.watch else { return None };
        let what = format!("{:?}", self.model.hints[hint]);
        Some((what, self.model.truth(hint, dialog.look)))
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
            let owner = match row.members {
                Some(_) => {
                    let from_tag = sip::param(&row.watcher, "tag").unwrap_or_default();
                    let (call_id, from_tag) = (row.call_id.as_bytes(), from_tag.as_bytes());
                    placement.shard_of_partition(placement.partition_of_dialog(call_id, from_tag))
                }
                None => placement.shard_of_extension(TenantId(*tenant), &row.context, &row.exten),
            };
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
        for tenant in [0, 1].map(TenantId) {
            for (shard, answer) in self.cluster.ask(&Query::Extensions(tenant), self.now) {
                let Answer::Extensions(rows) = answer else { continue };
                let attached = rows.iter().find(|row| row.list_shard_count + row.watcher_count > 0);
                if let Some(row) = attached {
                    return Err(format!("{shard:?}: watchers or lists of {row:?} are left"));
                }
            }
        }
        let kept_max = self.model.devices.len() + self.model.presences.len();
        if self.cluster.stored_count() > kept_max {
            return Err(format!(
                "the store has {} records, of {kept_max} sources",
                self.cluster.stored_count()
            ));
        }
        for stats in self.cluster.stats(self.now) {
            let gauges = [
                stats.subscription_count,
                stats.in_flight_count,
                stats.waiting_count,
                stats.part_count,
                stats.list_member_count,
            ];
            if gauges != [0; 5] {
                return Err(format!(
                    "subscriptions, in flight, waiting, parts, members: {gauges:?} are left"
                ));
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
