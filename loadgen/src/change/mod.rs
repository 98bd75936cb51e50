//! Whoever changes states: one thread, paced by the plan, over one of four ways.
//!
//! A change is announced to the generator threads, then sent: a NOTIFY can never be seen before
//! the change that caused it is known. The loop is open: the plan's times do not wait for answers.

mod ami;
mod exec;
mod publish;
mod udp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

pub use self::ami::Ami;
pub use self::exec::Exec;
pub use self::publish::Publish;
pub use self::udp::Udp;
use crate::clock::{Clock, MILLISECOND, Nanos, SECOND};
use crate::generator::Note;
use crate::lamp::DeviceState;
use crate::limits::ERROR_TEXT_MAX;
use crate::measure::Times;
use crate::outcome::LoadError;
use crate::plan::ChangePlan;
use crate::scenario::{ChangeBy, Scenario};
use crate::series::Series;

/// Longest wait for the answers that are due when all changes are sent.
const ANSWERS_WAIT_NS: Nanos = 35 * SECOND;
/// A send that takes longer was held up by the target.
const BLOCKED_NS: Nanos = MILLISECOND;

/// A way of setting states.
pub trait Driver {
    /// Announces and sends one change, or queues it behind an earlier one of the same extension.
    ///
    /// # Errors
    ///
    /// The way is broken: no change can be made any more.
    fn set(&mut self, change: Change, announcer: &Announcer) -> Result<(), LoadError>;

    /// Sends what is buffered and serves answers until `until_ns`, or returns early when none is
    /// due.
    ///
    /// # Errors
    ///
    /// The way is broken.
    fn serve(&mut self, until_ns: Nanos, announcer: &Announcer) -> Result<(), LoadError>;

    /// Changes without an answer so far.
    fn outstanding_count(&self) -> usize;

    /// Changes that may be outstanding before the first states are held back.
    fn prime_window(&self) -> usize;

    /// What became of the answers.
    fn answers(&mut self) -> &mut Answers;
}

/// One change on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change {
    /// Index of the extension.
    pub extension: u32,
    /// Index of the state.
    pub state: u8,
    /// When it was due.
    pub intended_ns: Nanos,
}

/// What the target answered to changes.
#[derive(Debug, Default)]
pub struct Answers {
    /// Changes taken.
    pub accepted_count: u64,
    /// Changes refused or failed.
    pub refused_count: u64,
    /// Different error texts, the first few.
    pub errors: Vec<String>,
    /// Extensions whose change was refused since the last look.
    pub refused: Vec<u32>,
    /// Time from sending to the answer.
    pub answer_time: Times,
}

/// Tells the generator threads about changes.
#[derive(Debug)]
pub struct Announcer {
    /// The run's clock.
    pub clock: Clock,
    /// The run.
    pub scenario: Arc<Scenario>,
    notes: Vec<Sender<Note>>,
}

/// Whoever changes states: the way, the listeners, and what each extension was given last.
pub struct Changer {
    /// The way.
    pub driver: Box<dyn Driver + Send>,
    /// Those that must know.
    pub announcer: Announcer,
    /// Index of the state of each extension.
    pub states: Vec<u8>,
}

/// What the change thread brings home.
#[derive(Debug, Default)]
pub struct ChangeReport {
    /// Changes sent in the change phase.
    pub sent_count: u64,
    /// What the target answered.
    pub answers: Answers,
    /// Changes that never got an answer.
    pub unanswered_count: u64,
    /// Lateness of our own making.
    pub lateness: Times,
    /// Sends held up by the target.
    pub blocked: Times,
    /// Changes and lateness over time.
    pub series: Series,
}

impl ChangeReport {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: ChangeReport) {
        self.sent_count += other.sent_count;
        self.unanswered_count += other.unanswered_count;
        self.lateness.merge(&other.lateness);
        self.blocked.merge(&other.blocked);
        self.series.merge(&other.series);
        self.answers.accepted_count += other.answers.accepted_count;
        self.answers.refused_count += other.answers.refused_count;
        self.answers.answer_time.merge(&other.answers.answer_time);
        other.answers.errors.iter().for_each(|error| self.answers.note(error));
    }
}

/// Live figures of the change thread.
#[derive(Debug, Default)]
pub struct LiveChanges {
    sent_count: AtomicU64,
    late_ns: AtomicU64,
}

impl LiveChanges {
    /// Changes sent, and the lateness of the last one.
    pub fn read(&self) -> (u64, Nanos) {
        (self.sent_count.load(Ordering::Relaxed), self.late_ns.load(Ordering::Relaxed))
    }
}

impl Answers {
    /// Notes a change that was taken.
    pub fn accept(&mut self, waited_ns: Nanos) {
        self.accepted_count += 1;
        self.answer_time.record(waited_ns);
    }

    /// Notes a change that was not.
    pub fn refuse(&mut self, extension: u32, error: &str) {
        self.refused_count += 1;
        self.refused.push(extension);
        self.note(error);
    }

    fn note(&mut self, error: &str) {
        if self.errors.len() < ERROR_TEXT_MAX && !self.errors.iter().any(|known| known == error) {
            self.errors.push(error.chars().take(200).collect());
        }
    }
}

impl Announcer {
    /// For the given generator threads.
    pub fn new(clock: Clock, scenario: Arc<Scenario>, notes: Vec<Sender<Note>>) -> Announcer {
        Announcer { clock, scenario, notes }
    }

    /// Announces a change that is sent right after; returns the time noted as its sending.
    pub fn announce(&self, change: Change) -> Nanos {
        let sent_ns = self.clock.now();
        let Change { extension, intended_ns, .. } = change;
        let lamps = self.state(change).lamps(self.scenario.format);
        self.tell(Note::Change { extension, lamps, intended_ns, sent_ns });
        sent_ns
    }

    /// The name of the extension of a change.
    pub fn extension(&self, change: Change) -> &str {
        &self.scenario.extensions[change.extension as usize]
    }

    /// The state of a change.
    pub fn state(&self, change: Change) -> DeviceState {
        self.scenario.states[usize::from(change.state)]
    }

    fn tell(&self, note: Note) {
        for sender in &self.notes {
            // A thread that is gone has failed, which ends the run elsewhere.
            let _ = sender.send(note);
        }
    }
}

/// Opens the way the scenario asks for.
///
/// # Errors
///
/// The target of the changes cannot be reached or refuses us.
pub fn connect(
    scenario: &Scenario,
    clock: Clock,
    run_id: u32,
) -> Result<Box<dyn Driver + Send>, LoadError> {
    Ok(match &scenario.change_by {
        ChangeBy::Ami { address, user, secret, md5 } => {
            Box::new(Ami::connect(address, user, secret, *md5, clock)?)
        }
        ChangeBy::Exec(command) => Box::new(Exec::new(command.clone(), clock)),
        ChangeBy::Publish => Box::new(Publish::open(scenario, clock, run_id)?),
        ChangeBy::Udp(address) => Box::new(Udp::open(*address, clock)?),
    })
}

/// Gives every extension the state it should have and waits until all are taken.
///
/// # Errors
///
/// A state was refused or not answered: the run would be about nothing.
pub fn prime(changer: &mut Changer) -> Result<(), LoadError> {
    let Changer { driver, announcer, states } = changer;
    let (driver, clock) = (driver.as_mut(), announcer.clock);
    for (extension, state) in states.iter().enumerate() {
        let deadline_ns = clock.now() + ANSWERS_WAIT_NS;
        while driver.outstanding_count() >= driver.prime_window() {
            if clock.now() > deadline_ns {
                return Err(LoadError::Setup("first states: the target does not answer".into()));
            }
            driver.serve(clock.now() + MILLISECOND, announcer)?;
        }
        if driver.answers().refused_count > 0 {
            // One refusal ends the run; a target in trouble is not asked thousands of times more.
            break;
        }
        let (extension, state) = (extension as u32, *state);
        driver.set(Change { extension, state, intended_ns: clock.now() }, announcer)?;
    }
    finish(driver, announcer)?;
    let (outstanding, answers) = (driver.outstanding_count(), driver.answers());
    if answers.refused_count > 0 || outstanding > 0 {
        let errors = answers.errors.join("; ");
        let refused = answers.refused_count;
        return Err(LoadError::Setup(format!(
            "first states: {refused} refused ({errors}), {outstanding} without an answer"
        )));
    }
    *answers = Answers::default();
    Ok(())
}

/// Makes all changes of the plan at their times.
///
/// # Errors
///
/// The way broke.
pub fn change(
    changer: &mut Changer,
    mut plan: ChangePlan,
    live: &LiveChanges,
) -> Result<ChangeReport, LoadError> {
    let Changer { driver, announcer, states } = changer;
    let (driver, clock) = (driver.as_mut(), announcer.clock);
    let mut report = ChangeReport::default();
    let mut held_until_ns = 0;
    while let Some(next_ns) = plan.next_ns() {
        driver.serve(next_ns, announcer)?;
        clock.sleep_until(next_ns);
        while let Some(planned) = plan.take_due(clock.now()) {
            let start_ns = clock.now();
            // While the target held us up we could not be on time; that is its latency.
            let due_ns = planned.intended_ns.max(held_until_ns);
            let late_ns = start_ns.saturating_sub(due_ns);
            report.lateness.record(late_ns);
            report.series.at(start_ns).take_change(late_ns);
            live.late_ns.store(late_ns, Ordering::Relaxed);
            live.sent_count.store(report.sent_count + 1, Ordering::Relaxed);
            let (extension, state) = (planned.extension, planned.state);
            let intended_ns = planned.intended_ns;
            driver.set(Change { extension, state, intended_ns }, announcer)?;
            report.sent_count += 1;
            let end_ns = clock.now();
            if end_ns - start_ns > BLOCKED_NS {
                held_until_ns = end_ns;
                report.blocked.record(end_ns - start_ns);
            }
        }
        doubt_refused(driver, announcer);
    }
    *states = plan.into_states();
    finish(driver, announcer)?;
    report.unanswered_count = driver.outstanding_count() as u64;
    report.answers = std::mem::take(driver.answers());
    Ok(report)
}

/// Waits for the answers that are due.
fn finish(driver: &mut dyn Driver, announcer: &Announcer) -> Result<(), LoadError> {
    let clock = announcer.clock;
    let deadline_ns = clock.now() + ANSWERS_WAIT_NS;
    driver.serve(clock.now(), announcer)?;
    while driver.outstanding_count() > 0 && clock.now() < deadline_ns {
        driver.serve(clock.now() + MILLISECOND, announcer)?;
    }
    doubt_refused(driver, announcer);
    Ok(())
}

fn doubt_refused(driver: &mut dyn Driver, announcer: &Announcer) {
    for extension in driver.answers().refused.drain(..) {
        announcer.tell(Note::Doubt { extension });
    }
}
