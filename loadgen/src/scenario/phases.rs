//! From the phases of a scenario file to the steps of a run.

use std::time::Duration;

use super::check::Problem;
use super::file::{
    CallsTable, HotTable, PhaseTable, Pick, Rate, ScenarioFile, Spacing, Span, StormOf,
};
use super::step::{Calls, Hot, Pace, Process, Step, StepKind};
use crate::lamp::DeviceState;
use crate::limits;
use crate::population::Population;

/// How long a subscription may take: timers F and N of one that is tried, in a row.
const PATIENCE: Duration = Duration::from_secs(64);
/// How long everybody may take when nothing else is asked for.
const STORM_TIMEOUT: Duration = Duration::from_secs(600);
/// Unanswered SUBSCRIBEs of a storm unless asked otherwise.
const WINDOW: usize = 1000;
/// Changes a second of a storm unless asked otherwise.
const STORM_RATE: f64 = 20_000.0;
/// States of the call model, in the order a call takes them.
pub const CALL_STATES: [DeviceState; 3] =
    [DeviceState::NotInUse, DeviceState::Ringing, DeviceState::InUse];

/// The cycle of states: that of the file, or that of a call if any phase has calls.
pub(super) fn states(file: &ScenarioFile, cycle: Vec<DeviceState>) -> Vec<DeviceState> {
    let has_calls = |phase: &PhaseTable| matches!(phase, PhaseTable::Steady { calls: Some(_), .. });
    if file.phase.iter().any(has_calls) { CALL_STATES.to_vec() } else { cycle }
}

/// The steps of all phases.
pub(super) fn steps(
    file: &ScenarioFile,
    population: &Population,
    watcher_count: usize,
) -> Result<Vec<Step>, Problem> {
    let mut builder = Builder { steps: Vec::new(), population, watcher_count, index: 0 };
    if !matches!(file.phase.first(), Some(PhaseTable::Ramp { .. })) {
        return Err(Problem::at("phase", "the first one must be a ramp"));
    }
    for (index, phase) in file.phase.iter().enumerate() {
        builder.index = index;
        builder.add(phase)?;
        let is_last = index + 1 == file.phase.len();
        if is_last != matches!(phase, PhaseTable::Drain { .. }) {
            return Err(builder.problem("kind", "the last one must be a drain, and no other"));
        }
        if index > 0 && matches!(phase, PhaseTable::Ramp { .. }) {
            return Err(builder.problem("kind", "only the first one can be a ramp"));
        }
    }
    if builder.steps.len() > limits::STEP_COUNT_MAX {
        return Err(Problem::at("phase", format!("more than {} steps", limits::STEP_COUNT_MAX)));
    }
    Ok(builder.steps)
}

struct Builder<'a> {
    steps: Vec<Step>,
    population: &'a Population,
    watcher_count: usize,
    index: usize,
}

impl Builder<'_> {
    fn add(&mut self, phase: &PhaseTable) -> Result<(), Problem> {
        match phase {
            PhaseTable::Ramp { rate, window, prime, timeout, pause, behave } => {
                let pace = self.pace(rate, window)?;
                let timeout = self.timeout(timeout, pace)?;
                let pause = self.wait("pause", *pause)?;
                if *prime {
                    self.push("prime", StepKind::Prime, *behave);
                }
                self.push("subscribe", StepKind::Subscribe { pace, timeout }, *behave);
                if !pause.is_zero() {
                    self.push("warm-up", StepKind::Pause(pause), *behave);
                }
                Ok(())
            }
            PhaseTable::Steady {
                name,
                duration,
                rate,
                spacing,
                pick,
                calls,
                hot,
                settle,
                behave,
            } => {
                let hot = self.hot(hot)?;
                let process = match (rate, calls) {
                    (Some(Rate(rate)), None) => {
                        Process::Rate { rate: *rate, spacing: *spacing, pick: *pick, hot }
                    }
                    (None, Some(calls)) => Process::Calls(self.calls(calls, hot)?),
                    _ => return Err(self.problem("rate", "expected either rate or calls")),
                };
                let name = if name.is_empty() { "changes" } else { name.as_str() };
                self.changes(name, process, duration.0, *settle, *behave)
            }
            PhaseTable::Storm { name, of, rate, window, settle, behave } => {
                let name = if name.is_empty() { "storm" } else { name.as_str() };
                match of {
                    StormOf::Changes => {
                        let rate = rate.map_or(STORM_RATE, |rate| rate.0);
                        let (spacing, pick) = (Spacing::Even, Pick::Round);
                        let process = Process::Rate { rate, spacing, pick, hot: None };
                        let seconds = self.population.extension_count as f64 / rate;
                        let duration = Duration::from_secs_f64(seconds * (1.0 + 1e-9));
                        self.changes(name, process, duration, *settle, *behave)
                    }
                    StormOf::Refreshes => {
                        let pace = self.pace(rate, window)?;
                        let timeout = self.timeout(&None, pace)?;
                        self.push(name, StepKind::Refresh { pace, timeout }, *behave);
                        self.settle(*settle, *behave)
                    }
                }
            }
            PhaseTable::Restart { command, prime, timeout } => {
                let timeout = self.wait("timeout", *timeout)?;
                let (command, prime) = (command.clone(), *prime);
                self.push("restart", StepKind::Restart { command, prime, timeout }, true);
                Ok(())
            }
            PhaseTable::Drain { settle, unsubscribe, rate, timeout } => {
                let rate = rate.or_else(|| self.ramp_rate());
                let pace = self.pace(&rate, &None)?;
                let timeout = self.timeout(timeout, pace)?;
                if !matches!(self.steps.last(), Some(Step { kind: StepKind::Settle(_), .. })) {
                    self.settle(*settle, true)?;
                }
                let pace = unsubscribe.then_some(pace);
                self.push("unsubscribe", StepKind::Unsubscribe { pace, timeout }, true);
                Ok(())
            }
        }
    }

    fn push(&mut self, name: &str, kind: StepKind, behave: bool) {
        self.steps.push(Step { name: name.to_owned(), kind, behave });
    }

    fn changes(
        &mut self,
        name: &str,
        process: Process,
        duration: Duration,
        settle: Span,
        behave: bool,
    ) -> Result<(), Problem> {
        let rate = process.mean_rate();
        let duration_s = duration.as_secs_f64();
        let below = |key: &str, value: f64, max: f64| {
            let problem = || self.problem(key, &format!("{value} is over {max}"));
            (value <= max).then_some(()).ok_or_else(problem)
        };
        below("rate", rate, limits::CHANGE_RATE_MAX)?;
        below("duration", duration_s, limits::DURATION_MAX.as_secs_f64())?;
        let count = rate * duration_s;
        let too_many = format!("{count:.0} changes, at most {}", limits::CHANGE_COUNT_MAX);
        if count > limits::CHANGE_COUNT_MAX as f64 {
            return Err(self.problem("duration", &too_many));
        }
        let edges_each = self.population.edge_count() as f64;
        let edges_each = edges_each / self.population.extension_count as f64;
        let notify_rate = rate * edges_each.max(1.0);
        if notify_rate > limits::NOTIFY_RATE_MAX {
            let why = format!(
                "asks for {notify_rate:.0} NOTIFYs a second, at most {}",
                limits::NOTIFY_RATE_MAX
            );
            return Err(self.problem("rate", &why));
        }
        self.push(name, StepKind::Changes { process, duration }, behave);
        self.settle(settle, behave)
    }

    fn settle(&mut self, settle: Span, behave: bool) -> Result<(), Problem> {
        let settle = self.wait("settle", settle)?;
        self.push("settle", StepKind::Settle(settle), behave);
        Ok(())
    }

    fn pace(&self, rate: &Option<Rate>, window: &Option<usize>) -> Result<Pace, Problem> {
        match (rate, window) {
            (Some(_), Some(_)) => Err(self.problem("window", "expected rate or window, not both")),
            (Some(Rate(rate)), None) if *rate > limits::SUBSCRIBE_RATE_MAX => {
                let why = format!("{rate} is over {}", limits::SUBSCRIBE_RATE_MAX);
                Err(self.problem("rate", &why))
            }
            (Some(Rate(rate)), None) => Ok(Pace::Rate(*rate)),
            (None, Some(0)) => Err(self.problem("window", "expected at least 1")),
            (None, Some(window)) => Ok(Pace::Window(*window)),
            (None, None) => Ok(Pace::Window(WINDOW)),
        }
    }

    fn timeout(&self, asked: &Option<Span>, pace: Pace) -> Result<Duration, Problem> {
        match (asked, pace) {
            (Some(span), _) => self.wait("timeout", *span),
            (None, Pace::Rate(rate)) => {
                let seconds = self.watcher_count as f64 / rate;
                Ok(Duration::from_secs_f64(seconds) + PATIENCE)
            }
            (None, Pace::Window(_)) => Ok(STORM_TIMEOUT),
        }
    }

    fn wait(&self, key: &str, span: Span) -> Result<Duration, Problem> {
        if span.0 > limits::WAIT_MAX {
            return Err(self.problem(key, "more than an hour"));
        }
        Ok(span.0)
    }

    fn hot(&self, table: &Option<HotTable>) -> Result<Option<Hot>, Problem> {
        let Some(HotTable { share, weight }) = table else {
            return Ok(None);
        };
        let fits = (0.0..=1.0).contains(share) && (0.0..=1.0).contains(weight);
        if !fits || *share == 0.0 {
            return Err(self.problem("hot.share", "share and weight are 0 to 1"));
        }
        Ok(Some(Hot { share: *share, weight: *weight }))
    }

    fn calls(&self, table: &CallsTable, hot: Option<Hot>) -> Result<Calls, Problem> {
        let per_hour = table.per_extension_per_hour;
        let rate = per_hour * self.population.extension_count as f64 / 3600.0;
        if !(per_hour > 0.0 && rate <= limits::CHANGE_RATE_MAX) {
            let why = format!("{per_hour} calls an hour");
            return Err(self.problem("calls.per_extension_per_hour", &why));
        }
        if !(0.0..=1.0).contains(&table.answered) {
            return Err(self.problem("calls.answered", "is a share from 0 to 1"));
        }
        let ring = self.wait("calls.ring", table.ring)?;
        let hold = self.wait("calls.hold", table.hold)?;
        Ok(Calls { rate, ring, hold, answered: table.answered, hot })
    }

    /// The rate of the ramp, which the drain has too unless it says otherwise.
    fn ramp_rate(&self) -> Option<Rate> {
        self.steps.iter().find_map(|step| match step.kind {
            StepKind::Subscribe { pace: Pace::Rate(rate), .. } => Some(Rate(rate)),
            _ => None,
        })
    }

    fn problem(&self, key: &str, why: &str) -> Problem {
        Problem::at(format!("phase.{}.{key}", self.index), why)
    }
}
