//! Live progress: a bar per phase on a terminal, one line per finished phase otherwise.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::{Clock, Nanos, SECOND};
use crate::generator::Totals;

/// Length of the bar of a phase: parts per thousand.
const BAR_LENGTH: u64 = 1000;
/// How often the moving line is redrawn.
const REDRAW_EVERY_NS: Nanos = SECOND / 5;

/// Shows how a run goes, on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    clock: Clock,
    /// Time and NOTIFYs when the line was last drawn.
    drawn: (Nanos, u64),
    phase_start_ns: Nanos,
    phase_start: Totals,
    phase: String,
}

impl Progress {
    /// Moving if standard error is a terminal.
    pub fn new(clock: Clock) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(BAR_LENGTH);
            let style = ProgressStyle::with_template(
                "{prefix:<12} [{bar:24}] {percent:>3} % {elapsed:>4}  {msg}",
            );
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let phase_start = Totals::default();
        let phase = String::new();
        Progress { bar, clock, drawn: (0, 0), phase_start_ns: 0, phase_start, phase }
    }

    /// A phase begins.
    pub fn begin(&mut self, phase: &str, totals: Totals) {
        phase.clone_into(&mut self.phase);
        self.phase_start_ns = self.clock.now();
        self.phase_start = totals;
        self.drawn = (self.phase_start_ns, totals.notify_count);
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_prefix(self.phase.clone());
            bar.set_message("");
        }
    }

    /// Redraws the bar, not too often. `changes` are those sent, and the lateness of the last one;
    /// `share` is how much of the phase is done.
    pub fn show(&mut self, totals: Totals, changes: Option<(u64, Nanos)>, share: f64) {
        let (now_ns, (drawn_ns, drawn_count)) = (self.clock.now(), self.drawn);
        let Some(bar) = self.bar.as_ref().filter(|_| now_ns - drawn_ns >= REDRAW_EVERY_NS) else {
            return;
        };
        let seconds = (now_ns - drawn_ns) as f64 / SECOND as f64;
        let per_s = totals.notify_count.saturating_sub(drawn_count) as f64 / seconds;
        self.drawn = (now_ns, totals.notify_count);
        let changes = changes.map_or(String::new(), |(count, late_ns)| {
            format!(", {count} changes, {:.3} ms late", late_ns as f64 / 1e6)
        });
        let latency = match totals.p99_ns {
            0 => String::new(),
            _ => format!(
                ", p50 {:.1} p99 {:.1} ms",
                totals.p50_ns as f64 / 1e6,
                totals.p99_ns as f64 / 1e6
            ),
        };
        bar.set_position((share.clamp(0.0, 1.0) * BAR_LENGTH as f64) as u64);
        bar.set_message(format!("{per_s:.0} NOTIFY/s{latency}{changes}, {}", figures(totals)));
    }

    /// A phase is over.
    pub fn end(&mut self, totals: Totals) {
        let seconds = (self.clock.now() - self.phase_start_ns) as f64 / SECOND as f64;
        let notify_count = totals.notify_count - self.phase_start.notify_count;
        let line = format!(
            "{:<12} {seconds:8.3} s  {notify_count} NOTIFYs, {}",
            self.phase,
            figures(totals)
        );
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the moving line away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn figures(totals: Totals) -> String {
    format!(
        "{} subscribed, {} failed, {} outstanding",
        totals.established_count, totals.failed_count, totals.outstanding_count
    )
}
