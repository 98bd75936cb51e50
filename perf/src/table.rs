//! The tables for people: every run beside the bare system calls, ours beside Kamailio's.

use std::fmt::Write as _;

use crate::cases::{Peers, Server};
use crate::limits;
use crate::lists::ListOutcome;
use crate::load::{Latency, Load};
use crate::moments;
use crate::record::Findings;
use crate::run::Outcome;

/// Writes everything that was found.
pub(crate) fn write(findings: &Findings) -> String {
    let mut text = String::from("\n");
    if let Some(found) = &findings.limits {
        let _ = writeln!(text, "{}\n", limits::describe(found));
    }
    fanouts(&mut text, &findings.fanouts);
    trains(&mut text, findings);
    lists(&mut text, &findings.lists);
    for moment in &findings.moments {
        let _ = writeln!(text, "{}", moments::describe(moment));
    }
    for Outcome { case, load, .. } in &findings.fanouts {
        objections(&mut text, &format!("{} with {}", case.server.name(), case.watchers), load);
    }
    for ListOutcome { case, load, .. } in &findings.lists {
        objections(&mut text, &format!("{} with lists", case.server.name()), load);
    }
    text
}

fn fanouts(text: &mut String, outcomes: &[Outcome]) {
    if outcomes.is_empty() {
        return;
    }
    text.push_str(
        "server              peers    watchers  ext.  NOTIFYs  us CPU per   raw   ratio beside   ratio  bytes per \
         p50/p99/last ms      us CPU per        repeated wrong\n                                            \
         answered  NOTIFY+200  us/N  to raw  a peer to that  subscript.                     SUBSCRIBE refresh NOTIFYs  lamps\n",
    );
    outcomes.iter().for_each(|outcome| line(text, outcome));
    text.push('\n');
    for (ours, theirs) in beside(outcomes) {
        compare(text, ours, theirs);
    }
}

fn line(text: &mut String, outcome: &Outcome) {
    let Outcome { case, load, raw, beside, .. } = outcome;
    let bytes =
        outcome.bytes_per_subscription.map_or("-".to_owned(), |bytes| format!("{bytes:.0}"));
    let _ = writeln!(
        text,
        "{:<19} {:<8} {:>8} {:>5} {:>8} {:>11.2} {:>5.2} {:>7.2} {:>6} {:>7} {bytes:>11} {:<22} {:>7.2} \
         {:>7.2} {:>8} {:>6}",
        case.server.name(),
        case.peers.name(),
        case.watchers,
        case.extensions,
        outcome.notify_count,
        outcome.cpu_us_per_notify,
        raw.total_us(),
        outcome.cpu_us_per_notify / raw.total_us(),
        beside.map_or("-".to_owned(), |beside| format!("{:.2}", beside.total_us())),
        beside.map_or("-".to_owned(), |beside| {
            format!("{:.2}", outcome.cpu_us_per_notify / beside.total_us())
        }),
        latency(&load.latency_ms),
        outcome.cpu_us_per_subscribe,
        outcome.cpu_us_per_refresh,
        load.retransmitted_count,
        load.wrong_lamps,
    );
}

fn latency(latency: &Latency) -> String {
    match (latency.p50, latency.p99, latency.max) {
        (Some(p50), Some(p99), Some(max)) => format!("{p50:.1}/{p99:.1}/{max:.1}"),
        _ => "-".to_owned(),
    }
}

/// Runs of ours and of Kamailio's that asked for the same.
fn beside(outcomes: &[Outcome]) -> Vec<(&Outcome, &Outcome)> {
    let is_ours = |outcome: &&Outcome| outcome.case.server.is_ours();
    let theirs = outcomes.iter().filter(|outcome| !is_ours(outcome));
    theirs
        .filter_map(|their| {
            let same = |ours: &&Outcome| ours.case.is_same_load(&their.case);
            Some((outcomes.iter().filter(is_ours).find(same)?, their))
        })
        .collect()
}

fn compare(text: &mut String, ours: &Outcome, theirs: &Outcome) {
    let case = &ours.case;
    let _ = write!(
        text,
        "{} watchers of {} ({}), ours / Kamailio / raw: {:.2} / {:.2} / {:.2} us per NOTIFY = 1 : {:.1} : {:.2}",
        case.watchers,
        case.extensions,
        case.peers.name(),
        ours.cpu_us_per_notify,
        theirs.cpu_us_per_notify,
        ours.raw.total_us(),
        theirs.cpu_us_per_notify / ours.cpu_us_per_notify,
        ours.raw.total_us() / ours.cpu_us_per_notify,
    );
    if let (Some(our), Some(their)) = (ours.bytes_per_subscription, theirs.bytes_per_subscription) {
        let _ = write!(text, "; {our:.0} / {their:.0} bytes = 1 : {:.1}", their / our);
    }
    let last = |outcome: &Outcome| outcome.load.latency_ms.max;
    if let Some((our, their)) = last(ours).zip(last(theirs)) {
        let _ =
            write!(text, "; last watcher after {our:.1} / {their:.1} ms = 1 : {:.1}", their / our);
    }
    text.push('\n');
}

/// What goes through trains, beside plain calls, bare trains, and Kamailio that knows none.
fn trains(text: &mut String, findings: &Findings) {
    for ours in findings.fanouts.iter().filter(|it| it.case.peers == Peers::Train) {
        let (case, us) = (&ours.case, ours.cpu_us_per_notify);
        let _ = write!(
            text,
            "{} watchers of {} (trains): {us:.2} us per NOTIFY; sendto + recvfrom {:.2} = {:.1} x",
            case.watchers,
            case.extensions,
            ours.raw.total_us(),
            ours.raw.total_us() / us,
        );
        if let Some(limits) = &findings.limits {
            let bare = limits.train_to_train_us;
            let _ = write!(text, "; bare trains both ways {bare:.2} = {:.2} x", bare / us);
        }
        let is_beside = |it: &&Outcome| {
            it.case.server == Server::Kamailio
                && it.case.peers == Peers::Edge
                && (it.case.watchers, it.case.extensions) == (case.watchers, case.extensions)
        };
        if let Some(theirs) = findings.fanouts.iter().find(is_beside) {
            let their = theirs.cpu_us_per_notify;
            let _ = write!(text, "; Kamailio, singly, {their:.1} = {:.1} x", their / us);
        }
        text.push('\n');
    }
}

fn lists(text: &mut String, outcomes: &[ListOutcome]) {
    if outcomes.is_empty() {
        return;
    }
    text.push_str(
        "\nlists      subscript. members gather ms NOTIFYs us CPU per           us CPU per bytes per  \
         p50/p99/last ms         lost wrong\n                                                   \
         lamp   NOTIFY  SUBSCRIBE  subscription                        lamps\n",
    );
    for outcome in outcomes {
        let ListOutcome { case, load, .. } = outcome;
        let _ = writeln!(
            text,
            "{:<10} {:>10} {:>7} {:>9} {:>7} {:>7.1} {:>8.1} {:>10.0} {:>12.0}  {:<23} {:>4} {:>5}",
            case.server.name(),
            case.list_watchers,
            case.members,
            case.gather_ms,
            outcome.notify_count,
            outcome.cpu_us_per_lamp,
            outcome.cpu_us_per_notify,
            outcome.cpu_us_per_subscribe,
            outcome.bytes_per_subscription,
            latency(&load.latency_ms),
            load.lost_count,
            load.wrong_lamps,
        );
    }
    let theirs = outcomes.iter().find(|outcome| outcome.case.server == Server::Kamailio);
    for (ours, theirs) in
        outcomes.iter().filter(|it| it.case.server.is_ours()).zip(theirs.into_iter().cycle())
    {
        compare_lists(text, ours, theirs);
    }
    text.push('\n');
}

fn compare_lists(text: &mut String, ours: &ListOutcome, theirs: &ListOutcome) {
    let _ = write!(
        text,
        "lists, ours gathering {} ms / Kamailio {} ms: CPU per lamp 1 : {:.1}, per NOTIFY 1 : {:.1}, per \
         SUBSCRIBE 1 : {:.1}, bytes 1 : {:.1}",
        ours.case.gather_ms,
        theirs.case.gather_ms,
        theirs.cpu_us_per_lamp / ours.cpu_us_per_lamp,
        theirs.cpu_us_per_notify / ours.cpu_us_per_notify,
        theirs.cpu_us_per_subscribe / ours.cpu_us_per_subscribe,
        theirs.bytes_per_subscription / ours.bytes_per_subscription,
    );
    let (our, their) = (ours.load.latency_ms, theirs.load.latency_ms);
    for (name, pair) in [("p50", our.p50.zip(their.p50)), ("last", our.max.zip(their.max))] {
        if let Some((our, their)) = pair {
            let _ = write!(text, ", {name} 1 : {:.1}", their / our);
        }
    }
    text.push('\n');
}

fn objections(text: &mut String, name: &str, load: &Load) {
    for objection in &load.objections {
        let _ = writeln!(text, "no latency, {name}: the generator says: {objection}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{Case, Peers};
    use crate::raw::{RawCost, TYPICAL};

    fn found(server: Server, watchers: usize, cpu_us_per_notify: f64, last: f64) -> Outcome {
        let raw = RawCost { sizes: TYPICAL, send_us: 2.5, receive_us: 0.5 };
        let latency_ms = Latency { p50: Some(1.0), p99: Some(2.0), max: Some(last) };
        Outcome {
            case: Case::new(server, Peers::Phones, watchers, 1, 10),
            sizes: TYPICAL,
            notify_count: 1,
            cpu_us_per_notify,
            cpu_us_per_subscribe: 1.0,
            cpu_us_per_refresh: 1.0,
            bytes_per_subscription: Some(500.0),
            raw,
            beside: Some(raw),
            load: Load { latency_ms, ..Load::default() },
        }
    }

    #[test]
    fn ratios_are_of_the_runs_they_name() {
        let one = Server::Lampfield { shards: 1 };
        let fanouts = vec![
            found(one, 100, 6.0, 10.0),
            found(one, 100_000, 7.5, 20.0),
            found(Server::Kamailio, 100, 300.0, 150.0),
        ];
        let text = write(&Findings { fanouts, ..Findings::default() });
        let want = "100 watchers of 1 (phones), ours / Kamailio / raw: 6.00 / 300.00 / 3.00 us per \
                    NOTIFY = 1 : 50.0 : 0.50; 500 / 500 bytes = 1 : 1.0; last watcher after 10.0 / \
                    150.0 ms = 1 : 15.0\n";
        assert!(text.contains(want), "{text}");
        assert_eq!(text.matches("watchers of").count(), 1, "{text}");
    }
}
