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
    fn memory_and_time_of_a_process_are_seen() {
        // Not of this one: threads of other tests end meanwhile, and take their time with them.
        let text = "echo; read x; a=$(head -c 33554432 /dev/zero | tr '\\0' x); echo; read x";
        let mut child = std::process::Command::new("sh")
            .args(["-c", text])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut said = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let mut told = child.stdin.take().expect("piped");
        let mut after_line = || {
            std::io::BufRead::read_line(&mut said, &mut String::new()).expect("a line");
            read(child.id()).expect("readable")
        };
        let before = after_line();
        std::io::Write::write_all(&mut told, b"\n").expect("written");
        let after = after_line();
        drop(told);
        assert!(after.cpu > before.cpu, "{before:?} {after:?}");
        let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
        assert!((30 << 20..160 << 20).contains(&grown), "{grown}");
        child.wait().expect("an end");
    }

    #[test]
    fn schedstat_is_nanoseconds_first() {
        assert_eq!(running_time("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(running_time(""), None);
    }
}
