//! `lampload fanout`: leads a run through its phases and gathers what the threads found.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lampfield_net::sys::{BatchSocket, SocketOptions};

use crate::change::{self, Announcer, ChangeReport, Driver};
use crate::cli::{FanoutArgs, Outputs};
use crate::clock::{Clock, MILLISECOND, Nanos, SECOND, nanos};
use crate::generator::timers::GIVE_UP_AFTER_NS;
use crate::generator::{
    Assignment, Generator, Note, Phase, PhaseCost, Shared, ThreadReport, Totals,
};
use crate::measure::Tally;
use crate::outcome::{LoadError, Outcome};
use crate::plan::{ChangePlan, Pacer};
use crate::progress::Progress;
use crate::report::text;
use crate::request::SubscribeShape;
use crate::scenario::Scenario;
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

/// Runs `lampload fanout` and prints its result.
///
/// # Errors
///
/// The command line is wrong, or the run could not be set up.
pub fn run(args: FanoutArgs) -> Result<Outcome, LoadError> {
    let (scenario, outputs) = args.into_scenario()?;
    let found = Lead::start(scenario)?.run()?;
    let report = summary::build(&found, &outputs.thresholds);
    let to_stdout = outputs.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if !to_stdout {
        print!("{}", text::summary(&report));
    }
    write_files(&outputs, &report, &found)?;
    Ok(summary::outcome(&report))
}

fn write_files(
    outputs: &Outputs,
    report: &crate::report::Report,
    found: &Found,
) -> Result<(), LoadError> {
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text)
            .map_err(|error| LoadError::Setup(format!("{}: {error}", path.display())))
    };
    if let Some(path) = &outputs.json {
        let text = report.json().map_err(|error| LoadError::Setup(error.to_string()))?;
        if path.as_os_str() == "-" {
            print!("{text}");
        } else {
            write(path, &text)?;
        }
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
    driver: Option<Box<dyn Driver + Send>>,
    announcer: Option<Announcer>,
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
        let (driver, announcer) = (Some(driver), Some(announcer));
        Ok(Lead {
            scenario,
            clock,
            shared,
            threads,
            driver,
            announcer,
            locals,
            resident_bytes: 0,
            progress,
        })
    }

    fn run(mut self) -> Result<Found, LoadError> {
        let led = self.lead();
        self.shared.enter(Phase::Done, self.clock.now());
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
        let changes = led?;
        if tally.counts.established_count == 0 {
            return Err(nothing_established(&self.scenario, &tally));
        }
        let kernel_dropped_count = crate::honesty::kernel_dropped_count(&self.locals);
        let (scenario, resident_bytes) = (self.scenario, self.resident_bytes);
        Ok(Found { scenario, tally, costs, changes, kernel_dropped_count, resident_bytes })
    }

    /// Leads through all phases but the last.
    fn lead(&mut self) -> Result<ChangeReport, LoadError> {
        if self.scenario.prime {
            self.progress.begin(Phase::Prime, self.shared.totals());
            if let (Some(driver), Some(announcer)) = (&mut self.driver, &self.announcer) {
                change::prime(driver.as_mut(), announcer)?;
            }
            self.progress.end(Phase::Prime, self.shared.totals());
        }
        let watcher_count = self.scenario.watcher_count as u64;
        let paced_ns =
            nanos(Duration::from_secs_f64(watcher_count as f64 / self.scenario.subscribe_rate));
        let patience_ns = paced_ns + 2 * GIVE_UP_AFTER_NS;
        self.phase(Phase::Subscribe, patience_ns, |totals, _| {
            totals.established_count + totals.failed_count >= watcher_count
        })?;
        if self.shared.totals().established_count == 0 {
            return Ok(ChangeReport::default());
        }
        let warmup_ns = nanos(self.scenario.warmup);
        self.phase(Phase::Warmup, warmup_ns, |_, _| false)?;
        let changes = self.changes()?;
        let settle_ns = nanos(self.scenario.settle_max).max(QUIET_NS);
        // Everything is still there: records, dialogs, timelines, buffers.
        self.resident_bytes = lampfield_net::sys::resident_bytes().unwrap_or(0);
        let mut last = (0, 0);
        self.phase(Phase::Settle, settle_ns, move |totals, now_ns| {
            if totals.notify_count != last.0 || last.1 == 0 {
                last = (totals.notify_count, now_ns);
            }
            totals.outstanding_count == 0 && now_ns - last.1 >= QUIET_NS
        })?;
        let leaving = self.scenario.unsubscribe;
        self.phase(Phase::Unsubscribe, patience_ns, move |totals, _| {
            !leaving || totals.left_count >= watcher_count
        })?;
        Ok(changes)
    }

    /// Runs one phase until `over`, at most `patience_ns`.
    fn phase(
        &mut self,
        phase: Phase,
        patience_ns: Nanos,
        mut over: impl FnMut(Totals, Nanos) -> bool,
    ) -> Result<(), LoadError> {
        self.progress.begin(phase, self.shared.totals());
        let start_ns = self.clock.now() + LEAD_NS;
        self.shared.enter(phase, start_ns);
        loop {
            std::thread::sleep(LOOK_EVERY);
            self.check_threads()?;
            let (totals, now_ns) = (self.shared.totals(), self.clock.now());
            self.progress.show(totals, None);
            let begun = self.shared.all_in(phase);
            if begun && (over(totals, now_ns) || now_ns > start_ns + patience_ns) {
                self.progress.end(phase, totals);
                return Ok(());
            }
        }
    }

    /// The change phase: another thread changes, this one watches.
    fn changes(&mut self) -> Result<ChangeReport, LoadError> {
        let (Some(mut driver), Some(announcer)) = (self.driver.take(), self.announcer.take())
        else {
            return Ok(ChangeReport::default());
        };
        let scenario = &self.scenario;
        self.progress.begin(Phase::Changes, self.shared.totals());
        let start_ns = self.clock.now() + LEAD_NS;
        self.shared.enter(Phase::Changes, start_ns);
        let pacer = Pacer::new(start_ns, scenario.changes_rate, scenario.change_count());
        let plan = ChangePlan::new(
            pacer,
            scenario.pick,
            scenario.extensions.len() as u32,
            scenario.states.len() as u8,
            scenario.seed,
        );
        let live = Arc::new(change::LiveChanges::default());
        let shown = Arc::clone(&live);
        let thread =
            spawn("changes", move || change::change(driver.as_mut(), &announcer, plan, &live))?;
        while !thread.is_finished() {
            std::thread::sleep(LOOK_EVERY);
            self.check_threads()?;
            self.progress.show(self.shared.totals(), Some(shown.read()));
        }
        let report =
            thread.join().map_err(|_| LoadError::Setup("the change thread panicked".into()))??;
        self.progress.end(Phase::Changes, self.shared.totals());
        Ok(report)
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
        gro: true,
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

/// CPU share of a thread in a phase.
pub(crate) fn cpu_share(cost: &PhaseCost) -> f64 {
    cost.cpu_ns as f64 / cost.wall_ns.max(1) as f64
}

/// Seconds of a time.
pub(crate) fn seconds(time_ns: Nanos) -> f64 {
    time_ns as f64 / SECOND as f64
}
