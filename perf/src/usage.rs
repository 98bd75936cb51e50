//! What a process and its children use, from `/proc`.
//!
//! CPU: `sum_exec_runtime` of every thread (`schedstat`, nanoseconds). Threads that have ended are
//! missing, so it is read while the servers keep theirs. Memory: the proportional set (`Pss`), so
//! that memory shared between worker processes counts once; of one process it is the resident set
//! but for shared libraries.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// A reading.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
}

/// Reads process `id` and all its descendants.
pub(crate) fn read(id: u32) -> anyhow::Result<Usage> {
    let mut usage = Usage::default();
    let mut waiting = vec![id];
    while let Some(id) = waiting.pop() {
        usage.resident_bytes += proportional_bytes(id)?;
        let tasks = fs::read_dir(format!("/proc/{id}/task")).context("a server has ended")?;
        for task in tasks {
            let path = task?.path();
            let schedstat = fs::read_to_string(path.join("schedstat"))?;
            usage.cpu += running_time(&schedstat).context("schedstat is not as expected")?;
            let children = fs::read_to_string(path.join("children")).unwrap_or_default();
            waiting
                .extend(children.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
    }
    Ok(usage)
}

fn running_time(schedstat: &str) -> Option<Duration> {
    schedstat.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn proportional_bytes(id: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{id}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("Pss:")?.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(kib.with_context(|| format!("no Pss in {path}"))? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_of_this_process_are_seen() {
        let id = std::process::id();
        let before = read(id).expect("readable");
        let block = vec![1_u8; 32 << 20];
        let mut sum = 0_u64;
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            sum = block.iter().step_by(4096).fold(sum, |sum, byte| sum + u64::from(*byte));
        }
        let after = read(id).expect("readable");
        assert!(sum > 0);
        assert!(after.cpu > before.cpu, "{before:?} {after:?}");
        let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
        assert!((30 << 20..64 << 20).contains(&grown), "{grown}");
    }

    #[test]
    fn schedstat_is_nanoseconds_first() {
        assert_eq!(running_time("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(running_time(""), None);
    }
}
