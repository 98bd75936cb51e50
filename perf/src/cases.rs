//! What is run: servers, who watches, numbers, rates.

use serde::Serialize;

/// NOTIFYs asked for per second in steady runs: a rate one core answers easily, and the same for
/// every number of watchers up to 1,000, so that only their number differs.
const NOTIFY_PER_S: f64 = 20_000.0;

/// The same through trains, of which the generator answers more.
const TRAIN_NOTIFY_PER_S: f64 = 100_000.0;

/// Changes a second at most: beyond it the commands would be measured, not the NOTIFYs.
const CHANGES_PER_S_MAX: f64 = 500.0;

/// Changes a second with 10,000 watchers of one extension: what Kamailio can do.
const CROWD_CHANGES_PER_S: f64 = 0.5;

/// Next hops at most; each is a socket, and a usual descriptor limit is 20,000.
const SOCKET_COUNT_MAX: usize = 10_000;

/// Most watchers of one extension that Kamailio is asked to serve: its cost per NOTIFY grows with them.
const KAMAILIO_WATCHERS_MAX: usize = 10_000;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Server {
    /// This project.
    Lampfield { shards: u8 },
    /// Kamailio's presence module, everything in memory.
    Kamailio,
}

impl Server {
    /// What it is called in tables.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Lampfield { shards: 1 } => "lampfield".to_owned(),
            Self::Lampfield { shards } => format!("lampfield, {shards} shards"),
            Self::Kamailio => "kamailio".to_owned(),
        }
    }

    /// Whether it is this project.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Lampfield { .. })
    }
}

/// Where watchers are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Peers {
    /// Phones with addresses of their own: each is a next hop.
    Phones,
    /// All behind one socket that answers every NOTIFY by itself, as an edge proxy does.
    Edge,
    /// All behind one socket that takes datagrams and answers in trains.
    Train,
}

impl Peers {
    /// What they are called in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Phones => "phones",
            Self::Edge => "one edge",
            Self::Train => "trains",
        }
    }
}

/// How states come in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum States {
    /// In the server's own way: AMI; Kamailio has none but PUBLISH.
    #[default]
    Own,
    /// By PUBLISH, a publication for each extension.
    Published,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Case {
    pub(crate) server: Server,
    pub(crate) peers: Peers,
    pub(crate) watchers: usize,
    pub(crate) extensions: usize,
    pub(crate) changes_per_s: f64,
    pub(crate) seconds: u32,
    pub(crate) states: States,
}

impl Case {
    /// A run at the usual rates; every server is asked for the same.
    pub(crate) fn new(
        server: Server,
        peers: Peers,
        watchers: usize,
        extensions: usize,
        seconds: u32,
    ) -> Self {
        let watchers_each = (watchers as f64 / extensions as f64).max(1.0);
        let (is_crowd, notify_per_s) = match peers {
            // Kamailio does not know trains, so nothing stands beside it that sets the pace.
            Peers::Train => (false, TRAIN_NOTIFY_PER_S),
            _ => (extensions == 1 && watchers >= KAMAILIO_WATCHERS_MAX, NOTIFY_PER_S),
        };
        let changes_per_s = match is_crowd {
            true => CROWD_CHANGES_PER_S,
            false => (notify_per_s / watchers_each).min(CHANGES_PER_S_MAX),
        };
        // Two changes at least.
        let seconds = if is_crowd { seconds.max(4) } else { seconds };
        let states = States::default();
        Self { server, peers, watchers, extensions, changes_per_s, seconds, states }
    }

    /// A thousand extensions that are published, each watched by one phone.
    fn published(server: Server, seconds: u32) -> Self {
        let states = States::Published;
        Self { states, ..Self::new(server, Peers::Phones, 1_000, 1_000, seconds) }
    }

    /// Sockets the watchers have.
    pub(crate) fn sockets(&self) -> usize {
        match self.peers {
            Peers::Phones => self.watchers.min(SOCKET_COUNT_MAX),
            Peers::Edge | Peers::Train => 1,
        }
    }

    /// Whether two runs asked for the same.
    pub(crate) fn is_same_load(&self, other: &Self) -> bool {
        Self { server: other.server, ..self.clone() } == *other
    }
}

/// A part of `perf compare`, to be run alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Bare system calls.
    Limits,
    /// Watchers of one extension, an address each.
    Phones,
    /// The same behind one edge.
    Edge,
    /// Many small extensions, and two shards.
    Extensions,
    /// States that come by PUBLISH.
    Publish,
    /// Resource lists.
    Lists,
    /// At rest, at half load, beside a crowd.
    Moments,
}

impl Case {
    /// The part it belongs to.
    pub(crate) fn part(&self) -> Part {
        if self.states == States::Published {
            return Part::Publish;
        }
        match (self.extensions, self.peers, self.server) {
            (1, _, Server::Lampfield { shards: 2.. }) | (2.., ..) => Part::Extensions,
            (_, Peers::Phones, _) => Part::Phones,
            (_, Peers::Edge | Peers::Train, _) => Part::Edge,
        }
    }
}

/// The runs of `perf compare`, in order.
pub(crate) fn compare(quick: bool, with_kamailio: bool) -> Vec<Case> {
    let (one, two) = (Server::Lampfield { shards: 1 }, Server::Lampfield { shards: 2 });
    let mut runs: Vec<(Server, Peers, usize, usize)> = Vec::new();
    if quick {
        runs.extend([
            (one, Peers::Phones, 1_000, 1),
            (one, Peers::Edge, 1_000, 1),
            (one, Peers::Train, 1_000, 1),
            (one, Peers::Phones, 10_000, 1_000),
        ]);
    } else {
        for peers in [Peers::Phones, Peers::Edge] {
            runs.extend([100, 1_000, 10_000, 100_000].map(|size| (one, peers, size, 1)));
            // Many small extensions.
            runs.push((one, peers, 10_000, 1_000));
        }
        runs.extend([1_000, 10_000, 100_000].map(|size| (one, Peers::Train, size, 1)));
        runs.extend([(two, Peers::Phones, 10_000, 100), (two, Peers::Phones, 100_000, 1)]);
    }
    let has_their = |server, peers| server == one && peers != Peers::Train;
    let fits = |watchers: usize| !quick && watchers <= KAMAILIO_WATCHERS_MAX;
    let theirs: Vec<_> = runs
        .iter()
        .filter(|(server, peers, watchers, _)| {
            with_kamailio && has_their(*server, *peers) && fits(*watchers)
        })
        .map(|&(_, peers, watchers, extensions)| (Server::Kamailio, peers, watchers, extensions))
        .collect();
    let seconds = if quick { 3 } else { 6 };
    // Ours and Kamailio's of the same load stand next to each other in time.
    let mut cases = Vec::new();
    for run in runs {
        let (_, peers, watchers, extensions) = run;
        cases.push(Case::new(run.0, peers, watchers, extensions, seconds));
        let their = (Server::Kamailio, peers, watchers, extensions);
        if run.0 == one && theirs.contains(&their) {
            cases.push(Case::new(Server::Kamailio, peers, watchers, extensions, seconds));
        }
    }
    if !quick {
        cases.push(Case::published(one, seconds));
        cases.extend(with_kamailio.then(|| Case::published(Server::Kamailio, seconds)));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_a_thousand_watchers_every_run_asks_for_the_same_rate_of_notifications() {
        for (watchers, extensions, want) in
            [(100, 1, 200.0), (1_000, 1, 20.0), (10_000, 1, 0.5), (10_000, 1_000, 500.0)]
        {
            let server = Server::Lampfield { shards: 1 };
            let case = Case::new(server, Peers::Phones, watchers, extensions, 6);
            assert!((case.changes_per_s - want).abs() < 1e-9, "{case:?}");
            assert!(case.changes_per_s * f64::from(case.seconds) >= 2.0, "{case:?}");
            assert!(case.sockets() <= watchers);
        }
    }

    #[test]
    fn kamailio_runs_stand_beside_a_run_of_ours_with_the_same_load() {
        let cases = compare(false, true);
        let theirs: Vec<&Case> = cases.iter().filter(|case| !case.server.is_ours()).collect();
        assert_eq!(theirs.len(), 9);
        for their in theirs {
            assert!(cases.iter().any(|case| case.server.is_ours() && case.is_same_load(their)));
        }
        assert!(compare(false, false).iter().all(|case| case.server.is_ours()));
        assert!(compare(true, true).iter().all(|case| case.server.is_ours()));
    }
}
