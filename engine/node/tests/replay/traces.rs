//! The captured conversations.

use std::time::Duration;

use crate::capture::{Captured, Step, parse};
use crate::deviations::{ABILITIES, ATOM, PACKAGES, PARTIES, SERVER, SUSPECT, VERSION};
use crate::driver::Driver;
use crate::lab::{Lab, Setup};

const FAILURES: &str = include_str!("../captures/sip-07-expiry-and-failures.txt");

/// What differs in every conversation with a watcher.
pub(crate) const ALWAYS: [&str; 3] = [PACKAGES, PARTIES, ABILITIES];

/// Holds a conversation on one and on two shards; `differences` are met, and no others.
fn replay(trace: &'static str, steps: &[Step], differences: &[&'static str]) {
    replay_with(trace, steps, differences, |_, _| ());
}

fn replay_with(
    trace: &'static str,
    steps: &[Step],
    differences: &[&'static str],
    at_title: fn(&Lab, &str),
) {
    let hold = |shard_count| {
        let mut lab = Lab::start(&Setup { shard_count, ..Setup::default() });
        let mut driver = Driver::new(&mut lab, trace, 1);
        driver.run(steps, at_title);
        check_met(&driver, &[&ALWAYS[..], differences].concat());
        lab.stop();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| hold(1));
        hold(2);
    });
}

/// The differences that were met are these, and no others.
pub(crate) fn check_met(driver: &Driver<'_>, differences: &[&'static str]) {
    let want = differences.iter().copied().collect();
    assert_eq!(driver.met, want, "differences met");
}

/// The part of trace 07 under a heading.
fn failure(title: &str) -> Vec<Step> {
    let steps = parse(FAILURES);
    let is_title = |step: &Step| matches!(step, Step::Title(_));
    let start =
        steps.iter().position(|step| matches!(step, Step::Title(t) if t.starts_with(title)));
    let start = start.expect("the heading");
    let end = steps[start + 1..].iter().position(is_title);
    steps[start..end.map_or(steps.len(), |end| start + 1 + end)].to_vec()
}

#[test]
fn presence_as_pidf() {
    replay("01", &parse(include_str!("../captures/sip-01-presence-pidf.txt")), &[]);
}

#[test]
fn presence_as_xpidf_and_cpim() {
    replay("02", &parse(include_str!("../captures/sip-02-presence-xpidf-cpim.txt")), &[ATOM]);
}

#[test]
fn dialogs_as_dialog_info() {
    replay("03", &parse(include_str!("../captures/sip-03-dialog-info.txt")), &[VERSION]);
}

#[test]
fn presence_with_the_digium_supplement() {
    replay("04", &parse(include_str!("../captures/sip-04-digium-supplement.txt")), &[VERSION]);
}

#[test]
fn formats_as_accepted() {
    let steps = parse(include_str!("../captures/sip-05-accept-negotiation.txt"));
    replay("05", &steps, &[ATOM, VERSION]);
}

#[test]
fn refusals_patterns_and_sums() {
    replay("06", &parse(include_str!("../captures/sip-06-errors.txt")), &[SERVER]);
}

#[test]
fn a_subscription_runs_out() {
    replay("07", &failure("Expires 6"), &[]);
}

#[test]
fn a_notify_is_refused() {
    let steps = [failure("NOTIFY answered 481"), failure("NOTIFY answered 500")].concat();
    replay("07", &steps, &[]);
}

#[test]
fn a_removed_hint_ends_its_watchers() {
    let steps = parse(include_str!("../captures/sip-08-hint-removed.txt"));
    replay_with("08", &steps, &[], |lab, title| {
        if title.starts_with("hint lamp99 removed") {
            let path = lab.dir.join("asterisk/extensions.conf");
            let text = std::fs::read_to_string(&path).expect("a dialplan");
            let kept = text.lines().filter(|line| !line.starts_with("exten => lamp99,"));
            let text = kept.collect::<Vec<_>>().join("\n") + "\n";
            std::fs::write(&path, text).expect("written");
        }
    });
}

/// Ten times as fast: T1 is 50 ms.
#[test]
fn a_silent_watcher_hears_the_same_again_and_is_probed() {
    let steps = failure("NOTIFY never answered");
    let silence = steps.iter().rposition(|step| matches!(step, Step::Message(m) if !m.is_sent));
    let (told, after) = steps.split_at(silence.expect("a NOTIFY") + 1);
    let limits = |limits: &mut lampfield_core::limits::Limits| {
        (limits.t1, limits.t2) = (Duration::from_millis(50), Duration::from_millis(400));
    };
    let mut lab = Lab::start(&Setup { limits, ..Setup::default() });
    let mut driver = Driver::new(&mut lab, "07", 10);
    driver.run(told, |_, _| ());
    let retransmissions = told.len() - 7;
    assert_eq!(retransmissions, 10, "as RFC 3261 has them");
    // Timer F fires. An Asterisk ends the subscription then, and the next change tells nobody.
    driver.lab.wait_for("notify_timed_out", 1);
    let first = told.iter().filter_map(received).find(|m| m.head[0].starts_with("NOTIFY "));
    let first = first.expect("the first NOTIFY");
    let probe = Step::Message(first.renumbered(first.key().1 + 2));
    let mut answer = sent_answers(told).next().expect("an answer").renumbered(first.key().1 + 2);
    answer.is_sent = true;
    driver.run(&[after, &[probe, Step::Message(answer)]].concat(), |_, _| ());
    check_met(&driver, &[&ALWAYS[..], &[SUSPECT]].concat());
    lab.stop();
}

/// An Asterisk has three NOTIFYs in flight at once, and tells an old state after a new one. We
/// have one, and then the newest.
#[test]
fn changes_behind_an_unanswered_notify_become_one() {
    let steps = failure("NOTIFY unanswered and two more changes");
    let notifies: Vec<&Captured> =
        steps.iter().filter_map(received).filter(|m| m.head[0].starts_with("NOTIFY ")).collect();
    let first = notifies[0].key().1;
    let numbered = |n: u32| notifies.iter().filter(move |m| m.key().1 == first + n);
    let answer = |n: u32| sent_answers(&steps).find(|m| m.key().1 == first + n).expect("an answer");
    let order: Vec<u32> = notifies.iter().map(|m| m.key().1 - first).collect();
    assert_eq!(order, [0, 1, 2, 1, 3, 2, 3, 1, 2, 4], "an Asterisk tells 1 and 2 after 3");

    let told = steps.iter().position(|step| received(step).is_some_and(|m| m.key().1 == first + 1));
    let told = told.expect("the unanswered NOTIFY") + 1;
    let left = steps.iter().rposition(
        |step| matches!(step, Step::Message(m) if m.is_sent && m.head[0].starts_with("SUBSCRIBE ")),
    );
    let left = left.expect("the end of the subscription");
    let changes = steps[told..left].iter().filter(|step| matches!(step, Step::Command { .. }));
    let again = numbered(1).nth(1).expect("a retransmission");
    let newest = numbered(3).next().expect("the newest state");
    let last = numbered(4).next().expect("the last NOTIFY");

    let mut ours = steps[..told].to_vec();
    ours.extend(changes.cloned());
    ours.extend([
        Step::Message((*again).clone()),
        Step::Message(answer(1).clone()),
        Step::Message(newest.renumbered(first + 2)),
        Step::Message(answer(3).renumbered(first + 2)),
        steps[left].clone(),
        steps[left + 1].clone(),
        Step::Message(last.renumbered(first + 3)),
        Step::Message(answer(4).renumbered(first + 3)),
    ]);
    replay("07", &ours, &[]);
}

fn received(step: &Step) -> Option<&Captured> {
    match step {
        Step::Message(message) if !message.is_sent => Some(message),
        _ => None,
    }
}

/// Answers to NOTIFYs.
fn sent_answers(steps: &[Step]) -> impl Iterator<Item = &Captured> {
    steps.iter().filter_map(|step| match step {
        Step::Message(message) if message.is_sent && message.head[0].starts_with("SIP/2.0") => {
            Some(message)
        }
        _ => None,
    })
}
