//! Starting programs on given cores, and ending them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long a program may take to end before it is killed.
const END_WITHIN: Duration = Duration::from_secs(15);

/// A program we started. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    name: String,
}

/// A command that runs `program` on `cores` only (`0` or `0,1`).
pub(crate) fn pinned(cores: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    // taskset becomes the program: the process id stays.
    command.args(["-c", cores]).arg(program);
    command
}

impl Started {
    /// Starts `command`; `name` is for messages.
    pub(crate) fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until `is_ready`, for at most `within`. What it wrote to `log` is told if it fails.
    pub(crate) fn wait_ready(
        &mut self,
        within: Duration,
        log: &Path,
        mut is_ready: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                anyhow::bail!("{} ended at once: {status}; it said: {said}", self.name);
            }
            anyhow::ensure!(start.elapsed() < within, "{} is not ready in {within:?}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        let start = Instant::now();
        while start.elapsed() < END_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_runs_on_its_core_and_ends_with_its_owner() {
        let mut command = pinned("0", "sleep");
        let mut started = Started::start("sleep", command.arg("60")).expect("started");
        let status = format!("/proc/{}/status", started.id());
        let on_core_0 = || {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            text.contains("Name:\tsleep") && text.contains("Cpus_allowed_list:\t0\n")
        };
        started.wait_ready(Duration::from_secs(10), Path::new(""), on_core_0).expect("pinned");
        drop(started);
        assert!(!std::path::Path::new(&status).exists());
    }

    #[test]
    fn a_program_that_ends_is_not_waited_for() {
        let mut started = Started::start("false", &mut Command::new("false")).expect("started");
        let error = started
            .wait_ready(Duration::from_secs(10), Path::new(""), || false)
            .expect_err("it ended");
        assert!(error.to_string().contains("ended at once"), "{error}");
    }
}
