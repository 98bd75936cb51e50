//! Foreign peers against a running `lampfield`: SIPp, baresip and Kamailio as Debian has them.
//!
//! They run when `LAMPFIELD_INTEROP=1` is set, as `make test` does after installing the programs;
//! without it they say so and end, so that `cargo test` needs nothing but Rust. When asked for, a
//! missing program is a failure.

mod baresip;
#[path = "../shared/facts.rs"]
mod facts;
mod kamailio;
#[path = "../shared/phone.rs"]
#[allow(dead_code, reason = "the watchers here look at documents, not at facts")]
mod phone;
mod secure;
mod stage;

use stage::Stage;

pub(crate) fn is_asked_for() -> bool {
    let asked = std::env::var_os("LAMPFIELD_INTEROP").is_some_and(|value| value == "1");
    if !asked {
        eprintln!("not run: LAMPFIELD_INTEROP=1 is not set (make test sets it)");
    }
    asked
}

#[test]
fn two_thousand_sipp_dialogs_subscribe_refresh_and_leave_without_a_failure() {
    if !is_asked_for() {
        return;
    }
    for shard_count in [1, 2] {
        let stage = Stage::new(&format!("sipp-{shard_count}"), shard_count);
        let options = ["-m", "2000", "-r", "200", "-l", "500"];
        stage.judge(stage.sipp("subscription.xml", 10_000..10_100, &options));
        stage.wait_for_subscriptions(0);
    }
}

#[test]
fn a_sipp_watcher_sees_a_change_made_over_ami_on_two_shards() {
    if !is_asked_for() {
        return;
    }
    let stage = Stage::new("change", 2);
    let devices = 10_000..10_008;
    let sipp = stage.sipp("change.xml", devices.clone(), &["-m", "8", "-l", "8"]);
    stage.wait_for_subscriptions(devices.len());
    for device in devices {
        stage.set_device(&format!("Custom:lamp{device}"), "INUSE");
    }
    stage.judge(sipp);
    stage.wait_for_subscriptions(0);
}
