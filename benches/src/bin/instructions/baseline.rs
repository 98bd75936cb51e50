//! What is expected: counts of an earlier commit, and what they were counted with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// A count may be this much above the baseline, as a part of it.
const SLACK: f64 = 0.01;

const HEADING: &str =
    "# Instructions per unit of each scenario of benches/src/scenario.rs. Written by
#     cargo run --profile counts -p lampfield-benches --bin instructions -- --write
# and compared by `make test`. docs/MEASURING.md tells how they are counted.\n\n";

/// The file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    pub(crate) toolchain: Toolchain,
    /// By scenario.
    pub(crate) instructions: BTreeMap<String, f64>,
}

/// What decides how many instructions the same source takes. Valgrind shows programs a processor
/// of its own, so the real one matters only by what valgrind can pass on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Toolchain {
    pub(crate) rustc: String,
    pub(crate) valgrind: String,
    pub(crate) libc: String,
    pub(crate) avx2: bool,
}

/// How a count stands to the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Equal(f64),
    /// By this part of the baseline.
    More(f64),
    Less(f64),
    /// The baseline does not know it.
    New,
}

impl Baseline {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let at = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(at)?;
        toml::from_str(&text).with_context(at)
    }

    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut rounded = self.clone();
        let tenths = |count: f64| (count * 10.0).round() / 10.0;
        rounded.instructions.values_mut().for_each(|count| *count = tenths(*count));
        let text = format!("{HEADING}{}", toml::to_string(&rounded)?);
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }

    pub(crate) fn judge(&self, name: &str, count: f64) -> Verdict {
        let Some(expected) = self.instructions.get(name) else { return Verdict::New };
        let change = count / expected - 1.0;
        match change {
            _ if change > SLACK => Verdict::More(change),
            _ if change < -SLACK => Verdict::Less(change),
            _ => Verdict::Equal(change),
        }
    }
}

impl Verdict {
    pub(crate) const fn fails(&self) -> bool {
        matches!(self, Self::More(_) | Self::New)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(change) => write!(f, "{:+.2} %", change * 100.0),
            Self::More(change) => write!(f, "{:+.2} %  MORE", change * 100.0),
            Self::Less(change) => write!(f, "{:+.2} %  less", change * 100.0),
            Self::New => write!(f, "not in the baseline"),
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rustc, valgrind, libc, avx2 } = self;
        write!(f, "{rustc}, {valgrind}, {libc}, AVX2 {}", if *avx2 { "yes" } else { "no" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_percent_is_the_slack_in_both_directions() {
        let toolchain = Toolchain {
            rustc: "r".to_owned(),
            valgrind: "v".to_owned(),
            libc: "l".to_owned(),
            avx2: true,
        };
        let instructions = [("a".to_owned(), 1000.0)].into();
        let baseline = Baseline { toolchain, instructions };
        for (name, count, fails, want) in [
            ("a", 1000.0, false, "+0.00 %"),
            ("a", 1009.9, false, "+0.99 %"),
            ("a", 1010.1, true, "+1.01 %  MORE"),
            ("a", 990.1, false, "-0.99 %"),
            ("a", 900.0, false, "-10.00 %  less"),
            ("b", 1.0, true, "not in the baseline"),
        ] {
            let verdict = baseline.judge(name, count);
            assert_eq!((verdict.fails(), verdict.to_string().as_str()), (fails, want));
        }
    }
}
