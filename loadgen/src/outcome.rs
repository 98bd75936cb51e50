//! How a run ends: the exit codes, and the errors that lead to them.

use std::process::ExitCode;

/// The meaning of each exit code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The run was valid and every threshold was met.
    Ok = 0,
    /// The run was valid and a threshold was missed.
    ThresholdMissed = 1,
    /// The command line asks for something impossible.
    Usage = 2,
    /// The generator itself was the limit; its numbers say nothing about the target.
    GeneratorBottleneck = 3,
    /// The target could not be reached or the run could not be set up.
    SetupFailed = 4,
}

impl Outcome {
    /// The word used in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ThresholdMissed => "threshold_missed",
            Outcome::Usage => "usage",
            Outcome::GeneratorBottleneck => "generator_bottleneck",
            Outcome::SetupFailed => "setup_failed",
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome as u8)
    }
}

/// Why no result could be produced.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The caller's mistake; the text names the option and what was expected.
    #[error("{0}")]
    Usage(String),
    /// The environment's or the target's; the text names the step that failed.
    #[error("{0}")]
    Setup(String),
}

impl LoadError {
    /// The exit code of this error.
    pub const fn outcome(&self) -> Outcome {
        match self {
            LoadError::Usage(_) => Outcome::Usage,
            LoadError::Setup(_) => Outcome::SetupFailed,
        }
    }
}
