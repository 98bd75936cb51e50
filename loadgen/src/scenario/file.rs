//! The scenario file: its tables as TOML names them, nothing checked but their types.
//!
//! Unknown keys are errors. What the values may be is in `super::check`; docs/LOADGEN.md shows
//! the whole file.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::units::{parse_duration, parse_rate};

/// A whole scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are those of the file, explained in docs/LOADGEN.md")]
pub struct ScenarioFile {
    #[serde(default)]
    pub name: String,
    pub target: TargetTable,
    pub states: StatesTable,
    pub population: PopulationTable,
    pub lists: Option<ListsTable>,
    #[serde(default)]
    pub watchers: WatchersTable,
    #[serde(default)]
    pub sources: SourcesTable,
    #[serde(default)]
    pub generator: GeneratorTable,
    #[serde(default)]
    pub behaviour: Vec<BehaviourTable>,
    pub phase: Vec<PhaseTable>,
    #[serde(default)]
    pub thresholds: Thresholds,
}

/// The server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct TargetTable {
    pub address: String,
    pub domain: Option<String>,
}

/// How states are set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct StatesTable {
    pub by: String,
    #[serde(default = "default_device")]
    pub device: String,
    #[serde(default = "default_cycle")]
    pub cycle: Vec<String>,
}

/// Who is watched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct PopulationTable {
    pub extensions: String,
    #[serde(default = "one")]
    pub tenants: usize,
}

/// Resource lists and their watchers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct ListsTable {
    pub name: String,
    pub members: Option<usize>,
    #[serde(default = "one")]
    pub watchers_each: usize,
    pub nested: Option<usize>,
    #[serde(default)]
    pub in_request: bool,
    #[serde(default)]
    pub batch_ms: u32,
}

/// What subscriptions ask for, and how many watch a single extension.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct WatchersTable {
    pub single: usize,
    pub event: String,
    pub accept: Option<String>,
    pub expires_s: u32,
}

/// Where packets come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct SourcesTable {
    pub address: Option<String>,
    pub sockets: Option<usize>,
    pub edge: bool,
    pub trains: bool,
}

/// The generator itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct GeneratorTable {
    pub cores: usize,
    pub pin: Option<usize>,
    pub seed: u64,
    pub second_reader_every: u32,
    pub max_own_lateness: Span,
}

/// How a share of the watchers behaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct BehaviourTable {
    pub name: String,
    pub share: f64,
    #[serde(default)]
    pub lose: f64,
    #[serde(default)]
    pub receive_loss: f64,
    #[serde(default)]
    pub duplicate: f64,
    #[serde(default)]
    pub delay: Span,
    pub reject: Option<u16>,
    #[serde(default)]
    pub reject_share: f64,
    #[serde(default)]
    pub dead: bool,
}

/// One phase.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub enum PhaseTable {
    Ramp {
        rate: Option<Rate>,
        window: Option<usize>,
        #[serde(default = "yes")]
        prime: bool,
        timeout: Option<Span>,
        #[serde(default)]
        pause: Span,
        #[serde(default = "yes")]
        behave: bool,
    },
    Steady {
        #[serde(default)]
        name: String,
        duration: Span,
        rate: Option<Rate>,
        #[serde(default)]
        spacing: Spacing,
        #[serde(default)]
        pick: Pick,
        calls: Option<CallsTable>,
        hot: Option<HotTable>,
        #[serde(default = "default_settle")]
        settle: Span,
        #[serde(default = "yes")]
        behave: bool,
    },
    Storm {
        #[serde(default)]
        name: String,
        of: StormOf,
        rate: Option<Rate>,
        window: Option<usize>,
        #[serde(default = "default_settle")]
        settle: Span,
        #[serde(default = "yes")]
        behave: bool,
    },
    Restart {
        command: Option<String>,
        #[serde(default)]
        prime: bool,
        #[serde(default = "default_restart")]
        timeout: Span,
    },
    Drain {
        #[serde(default = "default_settle")]
        settle: Span,
        #[serde(default = "yes")]
        unsubscribe: bool,
        rate: Option<Rate>,
        timeout: Option<Span>,
    },
}

/// The busy-hour call model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct CallsTable {
    pub per_extension_per_hour: f64,
    pub ring: Span,
    pub hold: Span,
    #[serde(default = "full_share")]
    pub answered: f64,
}

/// Members that change more often than others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct HotTable {
    pub share: f64,
    pub weight: f64,
}

/// How changes follow each other.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// Equal distances.
    #[default]
    Even,
    /// Exponential distances: a Poisson process.
    Poisson,
}

/// How the extension of the next change is chosen.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// All extensions in turn, in an order drawn once from the seed: changes of one extension are
    /// as far apart as the rate allows.
    #[default]
    Round,
    /// Any extension, drawn each time: bursts on one extension happen, as in real traffic.
    Random,
}

/// What comes all at once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum StormOf {
    /// Every extension changes once.
    Changes,
    /// Every subscription is refreshed.
    Refreshes,
}

/// Limits that decide between exit codes 0 and 1; absent ones are not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "see docs/LOADGEN.md")]
pub struct Thresholds {
    pub p50: Option<Span>,
    pub p99: Option<Span>,
    pub p999: Option<Span>,
    pub first_notify_p99: Option<Span>,
    pub p99_growth: Option<f64>,
    pub notify_rate: Option<f64>,
    pub superseded: Option<u64>,
    pub duplicate: Option<u64>,
    pub dead_told: Option<u64>,
    pub wrong: u64,
    pub untrue: u64,
    pub lost: u64,
    pub out_of_order: u64,
    pub unparsable: u64,
    pub list_errors: u64,
    pub failed: u64,
    pub change_errors: u64,
}

/// A time such as `"20s"`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span(pub Duration);

/// A rate such as `"5000/s"`, or a number of events a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl Default for WatchersTable {
    fn default() -> WatchersTable {
        WatchersTable { single: 0, event: "presence".into(), accept: None, expires_s: 3600 }
    }
}

impl Default for GeneratorTable {
    fn default() -> GeneratorTable {
        GeneratorTable {
            cores: 1,
            pin: None,
            seed: 1,
            second_reader_every: 1000,
            max_own_lateness: Span(Duration::from_millis(5)),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Span).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(f64),
            Whole(u32),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Number(number) => number.to_string(),
            Written::Whole(number) => number.to_string(),
        };
        parse_rate(&text).map(Rate).map_err(serde::de::Error::custom)
    }
}

fn default_device() -> String {
    "Custom:{exten}".into()
}

fn default_cycle() -> Vec<String> {
    vec!["NOT_INUSE".into(), "INUSE".into()]
}

fn default_settle() -> Span {
    Span(Duration::from_secs(35))
}

fn default_restart() -> Span {
    Span(Duration::from_secs(120))
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

fn full_share() -> f64 {
    1.0
}
