//! Leads a run through its steps and gathers what the threads found.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lampfield_net::sys::{BatchSocket, SocketOptions};

use crate::change::{self, Announcer, ChangeReport, Changer};
use crate::cli::Outputs;
use crate::clock::{Clock, MILLISECOND, Nanos, SECOND, nanos};
use crate::generator::{
    Assignment, Generator, Note, Shared, StepCost, StepNumber, ThreadReport, Totals,
};
use crate::measure::Tally;
use crate::outcome::{LoadError, Outcome};
use crate::plan::ChangePlan;
use crate::progress::Progress;
use crate::report::{Report, html, text};
use crate::request::SubscribeShape;
use crate::restart;
use crate::scenario::step::{Process, StepKind};
use crate::scenario::{Loaded, Scenario};
use crate::summary::{self, Found};
use crate::watcher::Naming;

/// How often the leading thread looks at the others.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Quiet time that ends the settling: duplicates of the last changes would come in it.
const QUIET_NS: Nanos = 300 * MILLISECOND;
/// Pause between the announcement of a paced phase and its first event.
const LEAD_NS: Nanos = 20 * MILLISECOND;
/// Receive buffers of all sockets together ask for at most this.
const RECEIVE_BUFFERS_BYTES_MAX: usize = 256 << 20;

/// Runs a scenario, prints its result and writes the files asked for.
///
/// # Errors
///
/// The run could not be set up, or a file not be written.
pub fn run(loaded: Loaded, outputs: &Outputs) -> Result<Outcome, LoadError> {
    let found = Lead::start(loaded.scenario)?.run()?;
    let report = summary::build(&found, &loaded.thresholds);
    let to_stdout = outputs.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if !to_stdout {
        print(&text::summary(&report));
    }
    write_files(outputs, &report, &found)?;
    Ok(summary::outcome(&report))
}

/// Writes to standard output.
pub fn print(text: &str) {
    // A reader that went away (`| head`) ends the output, not the run.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn write_files(outputs: &Outputs, report: &Report, found: &Found) -> Result<(), LoadError> {
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text)
            .map_err(|error| LoadError::Setup(format!("{}: {error}", path.display())))
    };
    if let Some(path) = &outputs.json {
        let text = report.json().map_err(|error| LoadError::Setup(error.to_string()))?;
        if path.as_os_str() == "-" {
            print(&text);
        } else {
            write(path, &text)?;
        }
    }
    if let Some(path) = &outputs.report {
        write(path, &html::page(report, &found.tally.from_intended))?;
    }
    match &outputs.hgrm {
        // A distribution is a claim as well.
        Some(path) if report.latency.is_some() => write(path, &found.tally.from_intended.hgrm()),
        _ => Ok(()),
    }
}

/// The leading thread's state.
struct Lead {
    scenario: Arc<Scenario>,
    clock: Clock,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<ThreadReport, LoadError>>>,
    /// With the change thread while states change.
    changer: Option<Changer>,
    changes: ChangeReport,
    /// What each step left open: watchers that did not show the newest state when it was over.
    outstanding: Vec<u64>,
    run_id: u32,
    locals: Vec<SocketAddr>,
    resident_bytes: u64,
    progress: Progress,
}

impl Lead {
    /// Opens sockets, connects whoever changes states, starts the threads.
    fn start(scenario: Scenario) -> Result<Lead, LoadError> {
        let scenario = Arc::new(scenario);
        let clock = Clock::start();
        let run_id = run_id(scenario.seed);
        let sockets = open_sockets(&scenario)?;
        let locals = sockets.iter().map(BatchSocket::local_addr).collect();
        let driver = change::connect(&scenario, clock, run_id)?;
        let shared = Arc::new(Shared::new(scenario.core_count));
        let shape = SubscribeShape {
            domain: scenario.domain.clone(),
            event: scenario.event,
            accept: scenario.accept.clone(),
            naming: Naming { run_id },
        };
        let (notes, threads) = start_threads(&scenario, clock, &shared, sockets, &shape)?;
        let announcer = Announcer::new(clock, Arc::clone(&scenario), notes);
        let progress = Progress::new(clock);
        let states = vec![0; scenario.extensions.len()];
        let changer = Some(Changer { driver, announcer, states });
        Ok(Lead {
            scenario,
            clock,
            shared,
            threads,
            changer,
            changes: ChangeReport::default(),
            outstanding: Vec::new(),
            run_id,
            locals,
            resident_bytes: 0,
            progress,
        })
    }

    fn run(mut self) -> Result<Found, LoadError> {
        let led = self.lead();
        self.shared.enter(self.scenario.steps.len() + 1, self.clock.now());
        let (mut tally, mut costs) = (Tally::default(), Vec::new());
        let mut broken = None;
        for thread in std::mem::take(&mut self.threads) {
            match thread.join() {
                Ok(Ok(report)) => {
                    tally.merge(&report.tally);
                    costs.push(report.costs);
                }
                Ok(Err(error)) => broken = Some(error),
                Err(_) => broken = Some(LoadError::Setup("a generator thread panicked".into())),
            }
        }
        self.progress.finish();
        if let Some(error) = broken {
            return Err(error);
        }
        led?;
        if tally.counts.established_count == 0 {
            return Err(nothing_established(&self.scenario, &tally));
        }
        let kernel_dropped_count = crate::honesty::kernel_dropped_count(&self.locals);
        tally.series.merge(&self.changes.series);
        Ok(Found {
            scenario: self.scenario,
            tally,
            costs,
            changes: self.changes,
            outstanding: self.outstanding,
            kernel_dropped_count,
            resident_bytes: self.resident_bytes,
        })
    }

    /// Leads through all steps.
    fn lead(&mut self) -> Result<(), LoadError> {
        let scenario = Arc::clone(&self.scenario);
        let watcher_count = scenario.watcher_count as u64;
        for (index, step) in scenario.steps.iter().enumerate() {
            let number = index + 1;
            let share = |part: u64, all: u64| part as f64 / all.max(1) as f64;
            match &step.kind {
                StepKind::Prime => self.prime(number)?,
                StepKind::Subscribe { timeout, .. } => {
                    self.step(number, nanos(*timeout), |totals, _| {
                        share(totals.established_count + totals.failed_count, watcher_count)
                    })?;
                    if self.shared.totals().established_count == 0 {
                        return Ok(());
                    }
                }
                StepKind::Pause(pause) => {
                    let pause_ns = nanos(*pause).max(1);
                    self.step(number, pause_ns, |_, spent_ns| {
                        (spent_ns as f64 / pause_ns as f64).min(0.999)
                    })?;
                }
                StepKind::Changes { process, duration } => {
                    self.change(number, *process, *duration)?;
                }
                StepKind::Refresh { timeout, .. } => {
                    self.step(number, nanos(*timeout), |totals, _| {
                        1.0 - share(totals.pending_count, watcher_count)
                    })?;
                }
                StepKind::Restart { command, prime, timeout } => {
                    self.restart(number, command.as_deref(), *prime, *timeout)?;
                }
                StepKind::Settle(max) => self.settle(number, *max)?,
                StepKind::Unsubscribe { pace, timeout } => {
                    let leaving = pace.is_some();
                    self.step(number, nanos(*timeout), |totals, _| {
                        if leaving { share(totals.left_count, watcher_count) } else { 1.0 }
                    })?;
                }
            }
            self.outstanding.push(self.shared.totals().outstanding_count);
        }
        Ok(())
    }

    fn prime(&mut self, number: StepNumber) -> Result<(), LoadError> {
        self.begin(number);
        if let Some(changer) = &mut self.changer {
            change::prime(changer)?;
        }
        self.end(number)
    }

    /// Ends a step that the threads only have to have seen.
    fn end(&mut self, number: StepNumber) -> Result<(), LoadError> {
        while !self.shared.all_in(number) {
            self.check_threads()?;
            std::thread::sleep(LOOK_EVERY);
        }
        self.progress.end(self.shared.totals());
        Ok(())
    }

    fn begin(&mut self, number: StepNumber) -> Nanos {
        self.progress.begin(&self.scenario.steps[number - 1].name, self.shared.totals());
        let start_ns = self.clock.now() + LEAD_NS;
        self.shared.enter(number, start_ns);
        start_ns
    }

    /// Runs one step until `done`, given the time spent in it, says 1; at most `patience_ns`.
    fn step(
        &mut self,
        number: StepNumber,
        patience_ns: Nanos,
        mut done: impl FnMut(Totals, Nanos) -> f64,
    ) -> Result<(), LoadError> {
        let start_ns = self.begin(number);
        loop {
            std::thread::sleep(LOOK_EVERY);
            self.check_threads()?;
            let begun = self.shared.all_in(number);
            let (totals, now_ns) = (self.shared.totals(), self.clock.now());
            let share = done(totals, now_ns.saturating_sub(start_ns));
            self.progress.show(totals, None, share);
            if begun && (share >= 1.0 || now_ns > start_ns + patience_ns) {
                self.progress.end(totals);
                return Ok(());
            }
        }
    }

    /// Waits until every lamp is right and nothing comes any more.
    fn settle(&mut self, number: StepNumber, max: Duration) -> Result<(), LoadError> {
        // Everything is still there: records, dialogs, timelines, buffers.
        let resident_bytes = lampfield_net::sys::resident_bytes().unwrap_or(0);
        self.resident_bytes = self.resident_bytes.max(resident_bytes);
        let clock = self.clock;
        let mut last = (0, 0);
        self.step(number, nanos(max).max(QUIET_NS), move |totals, _| {
            let now_ns = clock.now();
            if totals.notify_count != last.0 || last.1 == 0 {
                last = (totals.notify_count, now_ns);
            }
            let settled = totals.outstanding_count == 0 && now_ns - last.1 >= QUIET_NS;
            if settled { 1.0 } else { 0.0 }
        })
    }

    /// States change: another thread changes, this one watches.
    fn change(
        &mut self,
        number: StepNumber,
        process: Process,
        duration: Duration,
    ) -> Result<(), LoadError> {
        let Some(mut changer) = self.changer.take() else {
            return Ok(());
        };
        let start_ns = self.begin(number);
        let plan = ChangePlan::new(
            process,
            start_ns,
            duration,
            std::mem::take(&mut changer.states),
            self.scenario.states.len() as u8,
            self.scenario.seed.wrapping_add(number as u64),
        );
        let live = Arc::new(change::LiveChanges::default());
        let shown = Arc::clone(&live);
        let thread = spawn("changes", move || {
            let changed = change::change(&mut changer, plan, &live);
            (changer, changed)
        })?;
        while !thread.is_finished() {
            std::thread::sleep(LOOK_EVERY);
            self.check_threads()?;
            let spent_ns = self.clock.now().saturating_sub(start_ns);
            let share = spent_ns as f64 / nanos(duration).max(1) as f64;
            self.progress.show(self.shared.totals(), Some(shown.read()), share.min(1.0));
        }
        let (changer, changed) =
            thread.join().map_err(|_| LoadError::Setup("the change thread panicked".into()))?;
        self.changer = Some(changer);
        self.changes.merge(changed?);
        self.progress.end(self.shared.totals());
        Ok(())
    }

    /// The server goes away and comes back; whoever changes states logs in again.
    fn restart(
        &mut self,
        number: StepNumber,
        command: Option<&str>,
        prime: bool,
        timeout: Duration,
    ) -> Result<(), LoadError> {
        self.begin(number);
        restart::restart(&self.scenario, command, timeout)?;
        self.check_threads()?;
        if let Some(changer) = &mut self.changer {
            changer.driver = change::connect(&self.scenario, self.clock, self.run_id)?;
            if prime {
                change::prime(changer)?;
            }
        }
        self.end(number)
    }

    fn check_threads(&self) -> Result<(), LoadError> {
        if self.shared.has_failed() {
            return Err(LoadError::Setup("a generator thread has stopped".into()));
        }
        Ok(())
    }
}

type Threads = (Vec<Sender<Note>>, Vec<JoinHandle<Result<ThreadReport, LoadError>>>);

fn start_threads(
    scenario: &Arc<Scenario>,
    clock: Clock,
    shared: &Arc<Shared>,
    mut sockets: Vec<BatchSocket>,
    shape: &SubscribeShape,
) -> Result<Threads, LoadError> {
    let (mut notes, mut threads) = (Vec::new(), Vec::new());
    let cores = scenario.core_count;
    for number in 0..cores {
        let share = |count: usize| count * number / cores..count * (number + 1) / cores;
        let socket_count = share(scenario.socket_count).len();
        let (sender, receiver) = channel();
        notes.push(sender);
        let assignment = Assignment {
            scenario: Arc::clone(scenario),
            clock,
            shared: Arc::clone(shared),
            number,
            sockets: sockets.drain(..socket_count).collect(),
            watchers: share(scenario.watcher_count),
            notes: receiver,
            shape: shape.clone(),
        };
        let generator = Generator::new(assignment)?;
        let shared = Arc::clone(shared);
        threads.push(spawn(&format!("load-{number}"), move || {
            generator.run().inspect_err(|_| shared.fail())
        })?);
    }
    Ok((notes, threads))
}

fn open_sockets(scenario: &Scenario) -> Result<Vec<BatchSocket>, LoadError> {
    let count = scenario.socket_count;
    let options = SocketOptions {
        receive_buffer_bytes: (RECEIVE_BUFFERS_BYTES_MAX / count).clamp(256 << 10, 16 << 20),
        gro: scenario.trains,
        trains: scenario.trains,
        arrival_time: true,
        ..SocketOptions::default()
    };
    let sockets = (0..count).map(|index| {
        let address = SocketAddr::new(scenario.sources.address(index), 0);
        BatchSocket::bind(address, &options).map_err(|error| {
            let hint = "see `ulimit -n` when there are many";
            LoadError::Setup(format!("socket {index} of {count} at {address}: {error}; {hint}"))
        })
    });
    sockets.collect()
}

/// Differs between runs started at different times, so that late packets of the last run are seen
/// as foreign; the seed alone would not do.
fn run_id(seed: u64) -> u32 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = time.map_or(0, |time| time.as_nanos() as u64);
    fastrand::Rng::with_seed(seed ^ nanos ^ u64::from(std::process::id()) << 32).u32(..)
}

fn spawn<R: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> R + Send + 'static,
) -> Result<JoinHandle<R>, LoadError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| LoadError::Setup(format!("thread {name}: {error}")))
}

fn nothing_established(scenario: &Scenario, tally: &Tally) -> LoadError {
    let reasons: Vec<String> =
        tally.failures.iter().map(|(reason, count)| format!("{count} x {reason}")).collect();
    LoadError::Setup(format!(
        "no subscription at {} could be established: {}",
        scenario.target,
        reasons.join(", ")
    ))
}

/// CPU share of a thread in a step.
pub(crate) fn cpu_share(cost: &StepCost) -> f64 {
    cost.cpu_ns as f64 / cost.wall_ns.max(1) as f64
}

/// Seconds of a time.
pub(crate) fn seconds(time_ns: Nanos) -> f64 {
    time_ns as f64 / SECOND as f64
}
