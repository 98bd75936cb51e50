//! The captured conversations about resource lists, with the lists that the Asterisk had.

use std::time::{Duration, Instant};

use crate::capture::{Captured, Step, parse};
use crate::deviations::{ATOM, INSTANCE, VERSION};
use crate::driver::Driver;
use crate::lab::{Lab, Setup};
use crate::traces::{ALWAYS, check_met};

const LISTS: &str = include_str!("../fixtures/asterisk-lab/resource-lists.conf");

/// Batch interval of list `plb5`.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Holds a conversation on one and on two shards, and says when each heading's part was over;
/// `differences` are met, and no others.
fn replay(
    trace: &'static str,
    text: &str,
    differences: &[&'static str],
    after_part: fn(&Driver<'_>, &str, Duration),
) {
    let steps = one_after_the_other(parse(text));
    let hold = |shard_count| {
        let mut lab = Lab::start(&Setup { shard_count, endpoints: LISTS, ..Setup::default() });
        let mut driver = Driver::new(&mut lab, trace, 1);
        for part in steps.chunk_by(|_, next| !matches!(next, Step::Title(_))) {
            let started_at = Instant::now();
            driver.run(part, |_, _| ());
            let title = driver.title.clone();
            after_part(&driver, &title, started_at.elapsed());
        }
        check_met(&driver, &[&ALWAYS[..], &[INSTANCE], differences].concat());
        lab.stop();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| hold(1));
        hold(2);
    });
}

/// Where two commands had a NOTIFY each, and both stand before both, puts each NOTIFY behind its
/// command: we send the second when the first is answered, an Asterisk does not wait.
fn one_after_the_other(mut steps: Vec<Step>) -> Vec<Step> {
    let is_command = |step: &Step| matches!(step, Step::Command { .. });
    let is_notify = |step: &Step| matches!(step, Step::Message(m) if is_notify(m));
    for at in 1..steps.len().saturating_sub(5) {
        let is_pair = !is_command(&steps[at - 1])
            && is_command(&steps[at])
            && is_command(&steps[at + 1])
            && is_notify(&steps[at + 2])
            && is_notify(&steps[at + 4]);
        if is_pair {
            // Behind the NOTIFY and its answer.
            steps[at + 1..at + 4].rotate_left(1);
        }
    }
    steps
}

fn is_notify(message: &Captured) -> bool {
    message.head[0].starts_with("NOTIFY ")
}

#[test]
fn lists_in_full_and_in_part() {
    let text = include_str!("../captures/sip-10-rls-full-and-partial.txt");
    replay("10", text, &[ATOM, VERSION], |_, _, _| ());
}

#[test]
fn changes_that_wait_for_each_other() {
    let text = include_str!("../captures/sip-11-rls-batched.txt");
    replay("11", text, &[], |driver, title, took| {
        if title.starts_with("three changes") {
            assert!(took >= BATCH_INTERVAL, "told after {took:?}");
        }
        if title.contains("inside window") {
            assert!(took < BATCH_INTERVAL, "told after {took:?}");
            driver.expect_quiet_for(BATCH_INTERVAL + Duration::from_millis(200));
        }
    });
}

#[test]
fn lists_of_20_and_of_50() {
    let text = include_str!("../captures/sip-12-rls-sizes.txt");
    replay("12", text, &[VERSION], |_, _, _| ());
}
