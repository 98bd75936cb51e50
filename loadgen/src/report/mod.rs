//! The result of a run: built once, printed for people ([`text`]) and as JSON.
//!
//! The JSON is described by `report.schema.json`; a test holds the two together.

pub mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measure::Quantiles;

/// Version of the JSON's shape; rises when a field changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

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
    pub target: String,
    pub event: &'static str,
    pub accept: String,
    pub extensions_count: usize,
    pub watchers_count: usize,
    pub sockets_count: usize,
    pub cores_count: usize,
    pub expires_s: u32,
    pub subscribe_rate_per_s: f64,
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
    pub name: &'static str,
    /// How long it took.
    pub duration_s: f64,
    /// NOTIFYs received in it.
    pub notify_count: u64,
    /// CPU of all generator threads in it.
    pub cpu_s: f64,
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
    /// How long each NOTIFY can have waited for us, at most.
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
