//! Runs this program under callgrind, so that two runs of one build count the same.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::baseline::Toolchain;

/// The function callgrind counts in; generic, so there are several.
const COUNTED: &str = "--toggle-collect=*lampfield_benches*meter*measured*";

/// Instructions per unit of one scenario.
pub(crate) fn count(name: &str) -> anyhow::Result<f64> {
    let program = std::env::current_exe().context("where this program is")?;
    let file = std::env::temp_dir().join(format!("callgrind.{}.out", std::process::id()));
    let out = format!("--callgrind-out-file={}", file.display());
    // Addresses and environment are the same in every run.
    let ran = Command::new("setarch")
        .args(["-R", "valgrind", "--tool=callgrind", "-q", "--collect-atstart=no", COUNTED, &out])
        .arg(program)
        .args(["--step", name])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .context("cannot start setarch (util-linux) with valgrind")?;
    let written = std::fs::read_to_string(&file);
    // It may not be there, which is told below.
    let _ = std::fs::remove_file(&file);
    ensure!(
        ran.status.success(),
        "{name} failed under valgrind: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let written = written.context("callgrind wrote nothing")?;
    let total = written.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total.context("callgrind wrote no total")?.trim().parse()?;
    let units: f64 = String::from_utf8_lossy(&ran.stdout).trim().parse().context("no units")?;
    if total == 0.0 {
        bail!("{name}: callgrind saw no instruction within the meter; is `measured` inlined?");
    }
    Ok(total / units)
}

/// What is counted with here.
pub(crate) fn toolchain() -> anyhow::Result<Toolchain> {
    let rustc = std::env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Ok(Toolchain {
        rustc: said(Command::new(rustc).arg("--version"))?,
        valgrind: said(Command::new("valgrind").arg("--version"))?,
        libc: said(Command::new("getconf").arg("GNU_LIBC_VERSION"))?,
        avx2: processor.split_ascii_whitespace().any(|flag| flag == "avx2"),
    })
}

/// The first line a program prints.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let ran = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(ran.status.success(), "{command:?} failed");
    let text = String::from_utf8_lossy(&ran.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
