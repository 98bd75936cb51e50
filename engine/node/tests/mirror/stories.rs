//! What watchers see of a mirrored PBX, and who may set what.

use std::time::Duration;

use lampfield::config::StalePolicy;

use crate::ami_client::{Client, value};
use crate::harness::Site;
use crate::pbx::{Pbx, captured_events};

#[test]
fn lamps_follow_the_captured_pbx_through_a_lost_connection() {
    let pbx = Pbx::captured();
    let mut site = Site::start(&[&pbx], |_| ());
    site.live(1);
    let shown = site.until("mirror show", "116 devices, 4 presentities");
    assert!(shown.contains("  state      live"), "{shown}");
    let (mut lamp0, shown) = site.watch("lamp0");
    assert_eq!(shown, "Ready");
    let (mut lamp5, shown) = site.watch("lamp5");
    assert_eq!(shown, "Ready");
    let (unregistered, shown) = site.watch("2000");
    assert_eq!(shown, "Unavailable");

    // The events as they came, with all the others between them.
    let mut shown_count = 0;
    for event in captured_events() {
        pbx.tell(&event);
        let state = event.lines().find_map(|line| line.strip_prefix("State: "));
        let notes = [("INUSE", "On the phone"), ("RINGING", "Ringing"), ("NOT_INUSE", "Ready")];
        if let Some((_, note)) = notes.iter().find(|(token, _)| state == Some(token)) {
            lamp0.until(note);
            shown_count += 1;
        }
    }
    assert_eq!(shown_count, 3);
    let last = "Status: xa\r\nSubtype: On vacation\r\nMessage: ";
    pbx.set_presence("CustomPresence:lamp0", last);
    site.until("explain lamp0@hints", "xa, \"On vacation\"");
    site.until("explain lamp0@hints", "mirror 127.0.0.1:");
    lamp5.is_quiet();

    // Lost, changed meanwhile, found again: only what differs is shown.
    while lamp0.is_noisy() {}
    pbx.set_deaf(true);
    pbx.cut();
    site.until("mirror show", "1 lost");
    let text = site.until("explain lamp0@hints", "STALE: not seen now");
    assert!(text.contains("says NOT_INUSE, STALE"), "{text}");
    pbx.set("Custom:lamp5", "INUSE");
    pbx.set_deaf(false);
    assert_eq!(lamp5.next(), "On the phone");
    site.live(2);
    lamp0.is_quiet();
    unregistered.is_quiet();
    site.stop();
}

#[test]
fn a_pbx_that_is_lost_for_long_shows_what_its_policy_says() {
    for (policy, lost, back) in [
        (StalePolicy::Unavailable, Some("Unavailable"), Some("On the phone")),
        (StalePolicy::Unknown, Some("Ready"), Some("On the phone")),
        (StalePolicy::Keep, None, None),
    ] {
        let pbx = Pbx::start();
        pbx.set("Custom:donly", "INUSE");
        let change = match policy {
            StalePolicy::Unavailable => |mirror: &mut lampfield::config::MirrorConfig| {
                mirror.stale_after = Duration::from_millis(50);
            },
            StalePolicy::Unknown => |mirror: &mut lampfield::config::MirrorConfig| {
                mirror.stale_after = Duration::from_millis(50);
                mirror.stale = StalePolicy::Unknown;
            },
            StalePolicy::Keep => |mirror: &mut lampfield::config::MirrorConfig| {
                mirror.stale_after = Duration::from_millis(50);
                mirror.stale = StalePolicy::Keep;
            },
        };
        let mut site = Site::start(&[&pbx], change);
        site.live(1);
        let (mut lamp, shown) = site.watch("donly");
        assert_eq!(shown, "On the phone");
        pbx.set_deaf(true);
        pbx.cut();
        match lost {
            Some(lost) => {
                assert_eq!(lamp.next(), lost);
                site.until("explain donly@hints", "STALE: not seen for long, and replaced");
            }
            None => lamp.is_quiet(),
        }
        pbx.set_deaf(false);
        site.live(2);
        match back {
            Some(back) => assert_eq!(lamp.next(), back),
            None => lamp.is_quiet(),
        }
        site.stop();
    }
}

#[test]
fn devices_that_hints_name_and_no_list_has_are_asked_for() {
    let pbx = Pbx::start();
    pbx.set_unlisted("PJSIP/2000", "NOT_INUSE");
    pbx.set_unlisted("Custom:donly", "BUSY");
    let mut site = Site::start(&[&pbx], |_| ());
    site.until("mirror show", ": 2 devices, 0 presentities");
    site.live(1);
    assert_eq!(site.watch("2000").1, "Ready");
    let (mut lamp, shown) = site.watch("donly");
    assert_eq!(shown, "On the phone");
    // The PBX begins again with nothing: what it knows no more is not shown any more.
    pbx.set("Custom:lamp1", "BUSY");
    site.until("mirror show", ": 3 devices");
    site.live(1);
    let (mut lamp1, shown) = site.watch("lamp1");
    assert_eq!(shown, "On the phone");
    pbx.forget("Custom:lamp1");
    pbx.cut();
    assert_eq!(lamp1.next(), "Unavailable");
    pbx.set("Custom:donly", "NOT_INUSE");
    lamp.until("Ready");
    site.stop();
}

#[test]
fn what_the_pbx_tells_is_set_there_and_everything_else_here() {
    let pbx = Pbx::start();
    pbx.set("Custom:lamp0", "INUSE");
    let mut site = Site::start(&[&pbx], |_| ());
    site.live(1);
    let reason = format!("`Custom:lamp0` is fed by mirror `{}`: it is set there", pbx.address);
    for command in ["devstate change Custom:lamp0 BUSY", "source set custom:lamp0 BUSY"] {
        let (text, ok) = site.console.run(command);
        assert!(!ok && text.contains("is fed by mirror"), "{command}: {text}");
    }
    let mut client = Client::connect(site.ami);
    client.send(b"Action: Login\r\nUsername: lab\r\nSecret: lab\r\nEvents: off\r\n\r\n");
    assert_eq!(value(&client.message().expect("a reply"), "Response"), "Success");
    for (device, want) in [("Custom:lamp0", &*reason), ("Custom:lamp1", "")] {
        let request =
            format!("Action: Setvar\r\nVariable: DEVICE_STATE({device})\r\nValue: BUSY\r\n\r\n");
        client.send(request.as_bytes());
        assert_eq!(value(&client.message().expect("a reply"), "Reason"), want);
    }
    let (mut lamp, shown) = site.watch("lamp1");
    assert_eq!(shown, "On the phone", "set here");
    // The PBX tells of it: from now on it is the PBX's.
    pbx.set("Custom:lamp1", "NOT_INUSE");
    assert_eq!(lamp.next(), "Ready");
    assert!(!site.console.run("devstate change Custom:lamp1 BUSY").1);
    site.stop();
}

#[test]
fn two_pbxs_feed_one_lamp() {
    let (one, other) = (Pbx::start(), Pbx::start());
    one.set("PJSIP/2000", "UNAVAILABLE");
    other.set("PJSIP/2000", "NOT_INUSE");
    let mut site = Site::start(&[&one, &other], |_| ());
    let (mut lamp, _) = site.watch("2000");
    site.until("explain 2000@hints", "PJSIP/2000                         NOT_INUSE");
    one.set("PJSIP/2000", "RINGING");
    lamp.until("Ringing");
    one.set("PJSIP/2000", "UNAVAILABLE");
    lamp.until("Ready");
    other.set("PJSIP/2000", "INUSE");
    lamp.until("On the phone");
    site.stop();
}

#[test]
fn states_outlive_a_restart_beside_a_pbx_that_is_away() {
    let pbx = Pbx::start();
    pbx.set("PJSIP/2000", "INUSE");
    let mut site = Site::start(&[&pbx], |_| ());
    site.live(1);
    assert_eq!(site.watch("2000").1, "On the phone");
    pbx.set_deaf(true);
    let dir = site.stop();
    let mut site = Site::start_in(dir, &[&pbx], |mirror| {
        mirror.stale_after = Duration::from_secs(4);
    });
    site.until("mirror show", ": 1 devices");
    assert_eq!(site.watch("2000").1, "On the phone");
    site.until("explain 2000@hints", "STALE: not seen for long, and replaced");
    assert_eq!(site.watch("2000").1, "Unavailable");
    pbx.set_deaf(false);
    site.live(1);
    assert_eq!(site.watch("2000").1, "On the phone");
    site.stop();
}
