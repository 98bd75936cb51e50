//! Connections that break, lie, stop or crawl: in the end every lamp shows what the PBX has.

use std::time::Duration;

use crate::harness::Site;
use crate::pbx::{Pbx, Trouble};

#[test]
fn a_connection_may_be_cut_after_any_byte() {
    let pbx = Pbx::captured();
    // Within the banner, the login, the first list and its lines, between the lists, after them.
    let cuts = [1, 29, 30, 31, 80, 150, 300, 301, 302, 303, 450, 1000, 5000, 10_000];
    let cuts: Vec<Trouble> = cuts.into_iter().map(Trouble::CutAfter).collect();
    pbx.spoil(&cuts);
    pbx.set("Custom:donly", "ONHOLD");
    let mut site = Site::start(&[&pbx], |_| ());
    let (mut lamp, _) = site.watch("donly");
    site.live(1);
    assert_eq!(pbx.connection_count(), cuts.len() + 1);
    site.until("mirror show", "117 devices, 4 presentities");
    lamp.until("On hold");
    // And again while it is live: nothing that it showed before is shown in between.
    pbx.spoil(&cuts);
    pbx.cut();
    site.live(2);
    lamp.is_quiet();
    pbx.set("Custom:donly", "NOT_INUSE");
    assert_eq!(lamp.next(), "Ready");
    site.stop();
}

#[test]
fn garbage_long_lines_and_slowness_do_no_harm() {
    for trouble in [Trouble::Garbage, Trouble::LongLine, Trouble::Slow] {
        let pbx = Pbx::captured();
        pbx.spoil(&[trouble]);
        pbx.set("Custom:donly", "BUSY");
        let mut site = Site::start(&[&pbx], |_| ());
        site.live(1);
        let text = site.until("mirror show", "117 devices, 4 presentities");
        assert_eq!(site.watch("donly").1, "On the phone", "{trouble:?}");
        let want = match trouble {
            Trouble::Garbage => "this is no manager interface",
            Trouble::LongLine => "a list of 118 had 117 rows",
            _ => "last error none",
        };
        assert!(text.contains(want), "{trouble:?}: {text}");
        site.stop();
    }
}

#[test]
fn a_pbx_that_falls_silent_is_left_and_found_again() {
    let pbx = Pbx::captured();
    pbx.spoil(&[Trouble::Mute]);
    let mut site = Site::start(&[&pbx], |mirror| mirror.answer = Duration::from_millis(200));
    let text = site.until("mirror show", "116 devices");
    assert!(text.contains("Online: no answer within 0.2 s"), "{text}");
    site.stop();
}

#[test]
fn a_wrong_secret_is_told_and_tried_again_now_and_then() {
    let pbx = Pbx::captured();
    pbx.set_secret("other");
    let mut site = Site::start(&[&pbx], |mirror| mirror.retry_max = Duration::from_millis(300));
    site.until("mirror show", "login refused: Authentication failed");
    let text = site.until("mirror show", "not connected");
    assert!(text.contains("tries again in 1 s"), "{text}");
    assert!(text.contains("0 logins") && !text.contains(" lab: "), "{text}");
    pbx.set_secret("lab");
    site.live(1);
    site.stop();
}
