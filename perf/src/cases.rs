//! What is run: servers, numbers of watchers, rates.

use serde::Serialize;

/// NOTIFYs asked for per second in steady runs: a rate one core answers easily, and the same for
/// every number of watchers, so that only their number differs.
const NOTIFY_PER_S: f64 = 20_000.0;

/// AMI changes a second at most: beyond it the commands would be measured, not the NOTIFYs.
const CHANGES_PER_S_MAX: f64 = 500.0;

/// Next hops at most; each is a socket, and a usual descriptor limit is 20,000.
const SOCKET_COUNT_MAX: usize = 10_000;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Server {
    /// This project.
    Lampfield { shards: u8 },
    /// Kamailio's presence module, everything in memory.
    Kamailio,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Case {
    pub(crate) server: Server,
    pub(crate) watchers: usize,
    pub(crate) extensions: usize,
    pub(crate) sockets: usize,
    pub(crate) subscribe_per_s: f64,
    pub(crate) changes_per_s: f64,
    pub(crate) seconds: u32,
}

impl Case {
    /// A run at the usual NOTIFY rate.
    pub(crate) fn steady(server: Server, watchers: usize, extensions: usize, seconds: u32) -> Self {
        let watchers_each = (watchers as f64 / extensions as f64).max(1.0);
        Self {
            server,
            watchers,
            extensions,
            sockets: watchers.min(SOCKET_COUNT_MAX),
            subscribe_per_s: 8_000.0,
            changes_per_s: (NOTIFY_PER_S / watchers_each).min(CHANGES_PER_S_MAX),
            seconds,
        }
    }

    /// A run that Kamailio can do: its cost per NOTIFY grows with the watchers of the extension.
    fn modest(server: Server, watchers: usize, changes_per_s: f64, seconds: u32) -> Self {
        let steady = Self::steady(server, watchers, 1, seconds);
        Self { subscribe_per_s: 250.0, changes_per_s, ..steady }
    }

    /// What it is called in tables.
    pub(crate) fn name(&self) -> String {
        match self.server {
            Server::Lampfield { shards: 1 } => "lampfield, 1 shard".to_owned(),
            Server::Lampfield { shards } => format!("lampfield, {shards} shards"),
            Server::Kamailio => "kamailio".to_owned(),
        }
    }

    /// Whether two runs asked for the same.
    pub(crate) fn is_same_load(&self, other: &Self) -> bool {
        Self { server: other.server, ..self.clone() } == *other
    }
}

/// The runs of `perf compare`, in order.
pub(crate) fn compare(quick: bool, with_kamailio: bool) -> Vec<Case> {
    let one = Server::Lampfield { shards: 1 };
    let two = Server::Lampfield { shards: 2 };
    let steady: Vec<(Server, usize, usize)> = if quick {
        vec![(one, 100, 1), (one, 10_000, 1), (two, 10_000, 100)]
    } else {
        let sizes = [100, 1_000, 10_000, 100_000];
        [(one, 1), (one, 100), (two, 100)]
            .into_iter()
            .flat_map(|(server, extensions)| sizes.map(|size| (server, size, extensions)))
            .chain([(two, 100_000, 1)])
            .collect()
    };
    let seconds = if quick { 4 } else { 10 };
    let mut cases: Vec<Case> = steady
        .into_iter()
        .map(|(server, watchers, extensions)| Case::steady(server, watchers, extensions, seconds))
        .collect();
    let modest: &[(usize, f64, u32)] =
        if quick { &[(1_000, 1.0, 5)] } else { &[(1_000, 1.0, 10), (5_000, 0.05, 40)] };
    for &(watchers, changes_per_s, seconds) in modest {
        cases.push(Case::modest(one, watchers, changes_per_s, seconds));
        if with_kamailio {
            cases.push(Case::modest(Server::Kamailio, watchers, changes_per_s, seconds));
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_steady_run_asks_for_the_same_rate_of_notifications() {
        for (watchers, extensions, want) in
            [(100, 1, 200.0), (100_000, 1, 0.2), (100_000, 100, 20.0), (100, 100, 500.0)]
        {
            let server = Server::Lampfield { shards: 1 };
            let case = Case::steady(server, watchers, extensions, 10);
            assert!((case.changes_per_s - want).abs() < 1e-9, "{case:?}");
            assert!(case.sockets <= watchers);
        }
    }

    #[test]
    fn kamailio_runs_stand_beside_a_run_of_ours_with_the_same_load() {
        for quick in [false, true] {
            let cases = compare(quick, true);
            let ours = |case: &Case| matches!(case.server, Server::Lampfield { .. });
            let theirs: Vec<&Case> = cases.iter().filter(|case| !ours(case)).collect();
            assert!(!theirs.is_empty());
            for their in theirs {
                assert!(cases.iter().any(|case| ours(case) && case.is_same_load(their)));
            }
            assert!(compare(quick, false).iter().all(ours));
        }
    }
}
