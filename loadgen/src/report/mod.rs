//! The result of a run: built once, printed for people ([`text`]), as JSON and as a page with
//! plots ([`html`]).
//!
//! The JSON is described by `report.schema.json`; a test holds the two together.

pub mod html;
pub mod plot;
pub mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measure::Quantiles;

/// Version of the JSON's shape; rises when a field changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 2;

/// Everything a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// Name and version of the program.
    pub tool: String,
    /// How the run ended, as a word.
    pub outcome: &'static str,
    /// The exit code that goes with it.
    pub exit_code: u8,
    /// What was asked for.
    pub scenario: ScenarioPart,
    /// The phases, in order.
    pub phases: Vec<PhasePart>,
    /// Subscribing.
    pub subscribe: SubscribePart,
    /// Changing.
    pub changes: ChangesPart,
    /// Notifications.
    pub notify: NotifyPart,
    /// Latency; absent when the generator was the bottleneck: it would not be the target's.
    pub latency: Option<LatencyPart>,
    /// The lamps.
    pub lamps: LampsPart,
    /// Lists, if the run has any.
    pub lists: Option<ListsPart>,
    /// How different watchers fared.
    pub behaviours: Vec<BehaviourPart>,
    /// The run over time.
    pub series: SeriesPart,
    /// The generator itself.
    pub generator: GeneratorPart,
    /// `rsip` beside our scanner.
    pub second_reader: SecondReaderPart,
    /// Limits asked for, and whether they were kept.
    pub thresholds: Vec<Threshold>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of the options")]
pub struct ScenarioPart {
    pub name: String,
    pub target: String,
    pub event: &'static str,
    pub accept: String,
    pub extensions_count: usize,
    pub watchers_count: usize,
    pub lists_count: usize,
    pub list_members_count: usize,
    pub list_watchers_count: usize,
    pub edges_count: usize,
    pub sockets_count: usize,
    /// Datagrams were taken and sent in trains.
    pub trains: bool,
    pub cores_count: usize,
    pub expires_s: u32,
    pub subscribe_rate_per_s: Option<f64>,
    pub changes_rate_per_s: f64,
    pub duration_s: f64,
    pub change_by: String,
    pub states: Vec<&'static str>,
    pub seed: u64,
}

/// One phase.
#[derive(Clone, Debug, Serialize)]
pub struct PhasePart {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub duration_s: f64,
    /// NOTIFYs received in it.
    pub notify_count: u64,
    /// CPU of all generator threads in it.
    pub cpu_s: f64,
    /// Lamps that did not show the newest state when it was over.
    pub outstanding_count: u64,
    /// From the time a change of this phase was due; none without changes, or without a claim.
    pub latency: Option<Quantiles>,
}

/// Subscribing.
#[derive(Clone, Debug, Serialize)]
pub struct SubscribePart {
    /// First SUBSCRIBEs sent.
    pub sent_count: u64,
    /// With 2xx and first NOTIFY.
    pub established_count: u64,
    /// Without.
    pub failed_count: u64,
    /// Why, by status code or reason.
    pub failures: BTreeMap<String, u64>,
    /// SUBSCRIBEs sent again (timer E).
    pub retransmitted_count: u64,
    /// Refreshes answered with 2xx.
    pub refreshed_count: u64,
    /// Active subscriptions that ended without us asking.
    pub ended_by_target_count: u64,
    /// Why.
    pub endings: BTreeMap<String, u64>,
    /// Ended as asked.
    pub unsubscribed_count: u64,
    /// Un-SUBSCRIBEs without an answer.
    pub unsubscribe_failed_count: u64,
    /// Established per second of the subscribe phase.
    pub established_per_s: f64,
    /// Time to the answer.
    pub answer: Option<Quantiles>,
    /// Time to the first NOTIFY.
    pub first_notify: Option<Quantiles>,
}

/// Changing.
#[derive(Clone, Debug, Serialize)]
pub struct ChangesPart {
    /// Changes sent.
    pub sent_count: u64,
    /// Changes refused.
    pub refused_count: u64,
    /// Changes without an answer.
    pub unanswered_count: u64,
    /// Some of the errors.
    pub errors: Vec<String>,
    /// Time to the answer.
    pub answer: Option<Quantiles>,
    /// Times the target held the sending up.
    pub blocked: Option<Quantiles>,
}

/// Notifications.
#[derive(Clone, Debug, Serialize)]
pub struct NotifyPart {
    /// NOTIFYs received, retransmissions not counted.
    pub received_count: u64,
    /// Received per second of the change phase.
    pub per_s: f64,
    /// That changes required.
    pub needed_count: u64,
    /// Required and received.
    pub delivered_count: u64,
    /// Required, but a newer state came first.
    pub superseded_count: u64,
    /// Required and never received.
    pub lost_count: u64,
    /// Latencies that might belong to a newer change.
    pub ambiguous_count: u64,
    /// Received because of a refresh.
    pub refresh_count: u64,
    /// Sent again by the target.
    pub retransmitted_count: u64,
    /// Without news, or with a CSeq used before.
    pub duplicate_count: u64,
    /// CSeq, version or state not rising.
    pub out_of_order_count: u64,
    /// With a lamp never set.
    pub untrue_count: u64,
    /// Unreadable messages and bodies.
    pub unparsable_count: u64,
    /// For no subscription of this run.
    pub foreign_count: u64,
    /// Answered.
    pub answered_count: u64,
    /// Answers withheld as the profile says.
    pub answer_lost_count: u64,
    /// Refused as the profile says.
    pub answer_refused_count: u64,
    /// Answers sent twice as the profile says.
    pub answer_duplicated_count: u64,
    /// Datagrams lost before they arrived, as the profile says.
    pub receive_lost_count: u64,
    /// Watchers switched off as their behaviour says; they are not judged.
    pub dead_watchers_count: u64,
    /// NOTIFYs, sent again or not, that these got.
    pub dead_notify_count: u64,
    /// Those that were still sent some in the last half minute: not given up.
    pub dead_told_count: u64,
}

/// Latency of NOTIFYs on both clocks.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyPart {
    /// From the time the change was due.
    pub from_intended: Option<Quantiles>,
    /// From the time the change was sent.
    pub from_sent: Option<Quantiles>,
}

/// The lamps at the end.
#[derive(Clone, Debug, Serialize)]
pub struct LampsPart {
    /// Lamps whose truth is known.
    pub judged_count: u64,
    /// Showing the last state set.
    pub right_count: u64,
    /// Not showing it: the three below together.
    pub wrong_lamps_count: u64,
    /// Showing an older state.
    pub stale_count: u64,
    /// Showing what was never set.
    pub wrong_count: u64,
    /// Showing nothing.
    pub missing_count: u64,
    /// Truth unknown.
    pub unjudged_count: u64,
}

/// NOTIFYs of lists. The first eight after the means are errors, the last ones facts.
#[derive(Clone, Debug, Serialize)]
pub struct ListsPart {
    /// NOTIFYs with a list.
    pub notify_count: u64,
    /// Those with the whole list.
    pub full_count: u64,
    /// Bytes of a body.
    pub body_bytes_mean: f64,
    /// Members in a body.
    pub members_mean: f64,
    /// Lists inside lists.
    pub inner_lists_count: u64,
    /// The errors below together.
    pub errors_count: u64,
    /// Versions skipped by a part of a list.
    pub version_gap_count: u64,
    /// Versions not rising.
    pub version_back_count: u64,
    /// First NOTIFYs without the whole list.
    pub first_not_full_count: u64,
    /// SUBSCRIBEs not followed by the whole list.
    pub full_state_missing_count: u64,
    /// Content-IDs without a part.
    pub cid_unresolved_count: u64,
    /// Members that do not belong to the list.
    pub stranger_count: u64,
    /// Members named twice in one NOTIFY.
    pub member_twice_count: u64,
    /// NOTIFYs that are no list.
    pub not_a_list_count: u64,
    /// Lists asked for again after a skipped version.
    pub resubscribed_count: u64,
    /// Parts nothing refers to.
    pub part_orphaned_count: u64,
    /// Lamps that went dark because the member was gone.
    pub member_gone_count: u64,
    /// Members named without a state.
    pub member_without_state_count: u64,
    /// Members whose instance id changed.
    pub instance_changed_count: u64,
    /// First versions other than 0.
    pub first_version_not_zero_count: u64,
    /// Versions skipped by a whole list.
    pub version_jump_count: u64,
}

/// A share of the watchers.
#[derive(Clone, Debug, Serialize)]
pub struct BehaviourPart {
    /// Its name.
    pub name: String,
    /// Share of all watchers.
    pub share: f64,
    /// Their lamps.
    pub lamps: LampsPart,
    /// Their latency, phase by phase.
    pub latency: Vec<PhaseLatency>,
}

/// Latency in one phase, from the time a change was due.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseLatency {
    /// Name of the phase.
    pub phase: String,
    /// The latency.
    pub times: Quantiles,
}

/// The run over time.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesPart {
    /// Width of a point.
    pub width_s: f64,
    /// The points, from the start of the run on.
    pub points: Vec<SeriesPoint>,
}

/// One stretch of time.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesPoint {
    /// Its start.
    pub at_s: f64,
    /// NOTIFYs received.
    pub notify_per_s: f64,
    /// Changes sent.
    pub changes_per_s: f64,
    /// Latencies in it.
    pub p50_ms: Option<f64>,
    /// 99 % of them.
    pub p99_ms: Option<f64>,
    /// All of them.
    pub max_ms: Option<f64>,
    /// Greatest lateness of a change.
    pub late_ms: f64,
    /// Longest time from a NOTIFY to our answer.
    pub wait_ms: f64,
}

/// The generator itself.
#[derive(Clone, Debug, Serialize)]
pub struct GeneratorPart {
    /// Whether it was the bottleneck.
    pub bottleneck: bool,
    /// Why.
    pub objections: Vec<String>,
    /// Lateness of changes.
    pub lateness: Option<Quantiles>,
    /// Lateness of SUBSCRIBEs.
    pub subscribe_lateness: Option<Quantiles>,
    /// Time from each NOTIFY to our answer.
    pub wait: Option<Quantiles>,
    /// CPU share of the busiest thread in the change phase.
    pub cpu_share_max: f64,
    /// CPU per NOTIFY received and answered in the change phase.
    pub cpu_us_per_notify: Option<f64>,
    /// Dropped by the kernel at our sockets.
    pub kernel_dropped_count: u64,
    /// Not taken by our sockets.
    pub send_dropped_count: u64,
    /// Resident memory with all subscriptions in place.
    pub resident_bytes: u64,
}

/// The second reader's findings.
#[derive(Clone, Debug, Serialize)]
pub struct SecondReaderPart {
    /// Messages read by both.
    pub compared_count: u64,
    /// Refused by `rsip`.
    pub refused_count: u64,
    /// Read differently.
    pub disagreed_count: u64,
    /// The first difference.
    pub example: Option<String>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// The option's name.
    pub name: &'static str,
    /// The limit.
    pub limit: f64,
    /// What the run had; absent when there was nothing to measure, which misses the limit.
    pub actual: Option<f64>,
    /// Whether it was kept.
    pub met: bool,
}

impl Report {
    /// The JSON text, ended by a line end.
    ///
    /// # Errors
    ///
    /// None in practice: all keys are strings and all numbers finite.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}
