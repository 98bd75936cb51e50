//! The table for people: every run beside the bare system calls, ours beside Kamailio's.

use std::fmt::Write as _;

use crate::cases::{Case, Server};
use crate::run::Outcome;

/// Writes everything that was found.
pub(crate) fn write(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "\nserver               watchers  ext. sockets  NOTIFYs  us CPU per   raw   ratio batched bytes per \
         p50/p99 ms       repeated wrong\n                                             \
         answered NOTIFY+200 us/N  to raw   us/N  subscript.                  NOTIFYs lamps\n",
    );
    for outcome in outcomes {
        line(&mut text, outcome);
    }
    text.push('\n');
    for (ours, theirs) in beside(outcomes) {
        compare(&mut text, ours, theirs);
    }
    for ratio in linearity(outcomes) {
        let _ = writeln!(text, "{ratio}");
    }
    objections(&mut text, outcomes);
    text
}

fn line(text: &mut String, outcome: &Outcome) {
    let Outcome { case, load, raw, batched, .. } = outcome;
    let bytes =
        outcome.bytes_per_subscription.map_or("-".to_owned(), |bytes| format!("{bytes:.0}"));
    let latency = match (load.latency_ms_p50, load.latency_ms_p99) {
        (Some(p50), Some(p99)) => format!("{p50:.1}/{p99:.1}"),
        _ => "-".to_owned(),
    };
    let _ = writeln!(
        text,
        "{:<20} {:>8} {:>5} {:>7} {:>8} {:>10.2} {:>5.2} {:>7.2} {:>7.2} {bytes:>9} {latency:<16} {:>8} \
         {:>5}",
        case.name(),
        case.watchers,
        case.extensions,
        case.sockets,
        load.notify_count,
        outcome.cpu_us_per_notify,
        raw.total_us(),
        outcome.cpu_us_per_notify / raw.total_us(),
        batched.total_us(),
        load.retransmitted_count,
        load.wrong_lamps,
    );
}

/// Runs of ours and of Kamailio's that asked for the same.
fn beside(outcomes: &[Outcome]) -> Vec<(&Outcome, &Outcome)> {
    let is_ours = |outcome: &&Outcome| outcome.case.server != Server::Kamailio;
    let theirs = outcomes.iter().filter(|outcome| !is_ours(outcome));
    theirs
        .filter_map(|their| {
            let same = |ours: &&Outcome| ours.case.is_same_load(&their.case);
            Some((outcomes.iter().filter(is_ours).find(same)?, their))
        })
        .collect()
}

fn compare(text: &mut String, ours: &Outcome, theirs: &Outcome) {
    let _ = write!(
        text,
        "{} watchers of one extension, ours / Kamailio / raw: {:.2} / {:.2} / {:.2} us per NOTIFY \
         = 1 : {:.1} : {:.2}",
        ours.case.watchers,
        ours.cpu_us_per_notify,
        theirs.cpu_us_per_notify,
        ours.raw.total_us(),
        theirs.cpu_us_per_notify / ours.cpu_us_per_notify,
        ours.raw.total_us() / ours.cpu_us_per_notify,
    );
    if let (Some(our), Some(their)) = (ours.bytes_per_subscription, theirs.bytes_per_subscription) {
        let _ = write!(text, "; {our:.0} / {their:.0} bytes = 1 : {:.1}", their / our);
    }
    text.push('\n');
}

/// Per server and number of extensions: cost with most watchers over cost with fewest.
fn linearity(outcomes: &[Outcome]) -> Vec<String> {
    let is_steady = |case: &Case| {
        let same = Case::steady(case.server, case.watchers, case.extensions, case.seconds);
        same == *case
    };
    let mut kinds: Vec<(Server, usize)> = Vec::new();
    for Outcome { case, .. } in outcomes.iter().filter(|outcome| is_steady(&outcome.case)) {
        let kind = (case.server, case.extensions);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let ratio = |(server, extensions)| {
        let of_kind = outcomes.iter().filter(|outcome| {
            let case = &outcome.case;
            is_steady(case) && (case.server, case.extensions) == (server, extensions)
        });
        let least = of_kind.clone().min_by_key(|outcome| outcome.case.watchers)?;
        let most = of_kind.max_by_key(|outcome| outcome.case.watchers)?;
        if least.case.watchers == most.case.watchers {
            return None;
        }
        Some(format!(
            "{}, {extensions} extension(s): cost per NOTIFY from {} to {} watchers: x {:.2}",
            least.case.name(),
            least.case.watchers,
            most.case.watchers,
            most.cpu_us_per_notify / least.cpu_us_per_notify,
        ))
    };
    kinds.into_iter().filter_map(ratio).collect()
}

fn objections(text: &mut String, outcomes: &[Outcome]) {
    for Outcome { case, load, .. } in outcomes {
        for objection in &load.objections {
            let _ = writeln!(
                text,
                "no latency, {} with {} watchers: the generator says: {objection}",
                case.name(),
                case.watchers
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;
    use crate::raw::{RawCost, TYPICAL};

    fn found(server: Server, watchers: usize, cpu_us_per_notify: f64) -> Outcome {
        let raw = RawCost { sizes: TYPICAL, send_us: 2.5, receive_us: 0.5 };
        Outcome {
            case: Case::steady(server, watchers, 1, 10),
            sizes: TYPICAL,
            cpu_us_per_notify,
            bytes_per_subscription: Some(500.0),
            raw,
            batched: raw,
            load: Load::default(),
        }
    }

    #[test]
    fn ratios_are_of_the_runs_they_name() {
        let one = Server::Lampfield { shards: 1 };
        let text = write(&[
            found(one, 100, 6.0),
            found(one, 100_000, 7.5),
            found(Server::Kamailio, 100, 300.0),
        ]);
        let want = "100 watchers of one extension, ours / Kamailio / raw: 6.00 / 300.00 / 3.00 us \
                    per NOTIFY = 1 : 50.0 : 0.50; 500 / 500 bytes = 1 : 1.0\n";
        assert!(text.contains(want), "{text}");
        assert!(text.contains("from 100 to 100000 watchers: x 1.25\n"), "{text}");
    }
}
