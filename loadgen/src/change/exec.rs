//! Changes by shell command: `asterisk -rx "devstate change {device} {state}"` and the like.
//!
//! Commands run side by side, so that their start-up time does not slow the plan down, but never
//! two of one extension: the second could win the race and leave the older state.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Announcer, Answers, Change, Driver};
use crate::clock::{Clock, MILLISECOND, Nanos, SECOND};
use crate::limits::EXEC_RUNNING_MAX;
use crate::outcome::LoadError;
use crate::template::fill;

/// A command that runs longer is ended and counts as failed.
const COMMAND_TIME_MAX_NS: Nanos = 10 * SECOND;
/// How often running commands are looked at.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// The shell way.
#[derive(Debug)]
pub struct Exec {
    command: String,
    clock: Clock,
    running: Vec<(u32, Nanos, Child)>,
    answers: Answers,
}

impl Exec {
    /// Runs `command` for each change, its placeholders filled.
    pub fn new(command: String, clock: Clock) -> Exec {
        Exec { command, clock, running: Vec::new(), answers: Answers::default() }
    }

    fn reap(&mut self) {
        let (now_ns, answers) = (self.clock.now(), &mut self.answers);
        self.running.retain_mut(|(extension, sent_ns, child)| {
            let age_ns = now_ns.saturating_sub(*sent_ns);
            match child.try_wait() {
                Ok(None) if age_ns < COMMAND_TIME_MAX_NS => return true,
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    answers.refuse(*extension, "the command did not end within 10 s");
                }
                Ok(Some(status)) if status.success() => answers.accept(age_ns),
                Ok(Some(status)) => answers.refuse(*extension, &format!("the command: {status}")),
                Err(error) => answers.refuse(*extension, &error.to_string()),
            }
            false
        });
    }

    fn has_room_for(&self, extension: u32) -> bool {
        self.running.len() < EXEC_RUNNING_MAX
            && !self.running.iter().any(|(running, ..)| *running == extension)
    }
}

impl Driver for Exec {
    fn set(&mut self, change: Change, announcer: &Announcer) -> Result<(), LoadError> {
        self.reap();
        while !self.has_room_for(change.extension) {
            std::thread::sleep(LOOK_EVERY);
            self.reap();
        }
        let extension = announcer.extension(change);
        let device = announcer.scenario.device(extension);
        let text = fill(&self.command, extension, &device, announcer.state(change).token());
        let mut command = Command::new("sh");
        command.arg("-c").arg(text).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        let sent_ns = announcer.announce(change);
        match command.spawn() {
            Ok(child) => self.running.push((change.extension, sent_ns, child)),
            Err(error) => return Err(LoadError::Setup(format!("exec: sh: {error}"))),
        }
        Ok(())
    }

    fn serve(&mut self, until_ns: Nanos, _announcer: &Announcer) -> Result<(), LoadError> {
        self.reap();
        while !self.running.is_empty() && self.clock.now() + MILLISECOND < until_ns {
            std::thread::sleep(LOOK_EVERY);
            self.reap();
        }
        Ok(())
    }

    fn outstanding_count(&self) -> usize {
        self.running.len()
    }

    fn prime_window(&self) -> usize {
        EXEC_RUNNING_MAX
    }

    fn answers(&mut self) -> &mut Answers {
        &mut self.answers
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        for (_, _, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
