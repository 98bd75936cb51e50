//! What every notifier must do, in both dialects: rows S1 to S9 of the acceptance list in
//! `reference/sip-pubsub.md` section 23 (S7 is in `restart`).

use lampfield_core::config::Dialect;

use crate::lab::{Lab, Setup};
use crate::phone::Phone;

const DIALECTS: [Dialect; 2] = [Dialect::Asterisk, Dialect::Rfc];

const HERE: [u8; 4] = [127, 0, 0, 1];

/// Beside the lab's endpoints: one behind a NAT, one whose hints are not where its calls go.
const ENDPOINTS: &str = "
[nat](watcher-basic)
rewrite_contact=yes

[nat]
type=identify
endpoint=nat
match=127.0.0.4

[elsewhere](watcher-basic)
context=calls
subscribe_context=hints

[elsewhere]
type=identify
endpoint=elsewhere
match=127.0.0.5

[nowhere](watcher-basic)
context=hints
subscribe_context=calls

[nowhere]
type=identify
endpoint=nowhere
match=127.0.0.6
";

fn in_both_dialects(story: impl Fn(&Lab, Dialect)) {
    for dialect in DIALECTS {
        let setup = Setup { dialect: Some(dialect), endpoints: ENDPOINTS, ..Setup::default() };
        let lab = Lab::start(&setup);
        story(&lab, dialect);
        lab.stop();
    }
}

#[test]
fn s1_a_subscription_is_granted_and_told_in_full() {
    in_both_dialects(|lab, _| {
        let mut phone = Phone::new(lab.address, HERE, "lamp0");
        let response = phone.subscribe(600);
        assert_eq!(response["status"], "200");
        let granted: u32 = response["Expires"].parse().expect("a number");
        assert!((540..=600).contains(&granted), "{granted}");
        let notify = phone.notify();
        assert_eq!(notify["Subscription-State"], "active");
        assert_eq!(notify["Content-Type"], "application/pidf+xml");
        assert_eq!((&*notify["basic"], &*notify["note"]), ("Some(Open)", "Some(\"Ready\")"));
        assert_eq!(phone.subscribe(0)["status"], "200");
        assert_eq!(phone.notify()["Subscription-State"], "terminated");
    });
}

#[test]
fn s2_and_s3_what_cannot_be_told_is_refused() {
    in_both_dialects(|lab, dialect| {
        for wants in [
            "Accept: application/pidf+xml\r\n",
            "Event: foo\r\nAccept: application/pidf+xml\r\n",
            "Event: presence\r\nAccept: application/simple-message-summary\r\n",
            "Event: dialog\r\nAccept: application/simple-message-summary\r\n",
            "Event: message-summary\r\nAccept: application/pidf+xml\r\n",
            "Event: presence\r\nAccept: application/conference-info+xml\r\n",
            "Event: refer\r\nAccept: message/sipfrag\r\n",
        ] {
            let mut phone = Phone::new(lab.address, HERE, "lamp0");
            phone.wants = wants.to_owned();
            let response = phone.subscribe(600);
            assert_eq!(response["status"], "489", "{wants}");
            let named = response.get("Allow-Events").map(String::as_str);
            let want = (dialect == Dialect::Rfc).then_some("presence, dialog, message-summary");
            assert_eq!(named, want, "{wants}");
        }
    });
}

#[test]
fn s4_who_may_not_subscribe_is_declined() {
    in_both_dialects(|lab, _| {
        let mut phone = Phone::new(lab.address, [127, 0, 0, 2], "lamp0");
        assert_eq!(phone.subscribe(600)["status"], "603");
    });
}

#[test]
fn s5_too_short_a_subscription_is_refused() {
    in_both_dialects(|lab, dialect| {
        let mut phone = Phone::new(lab.address, HERE, "lamp0");
        let response = phone.subscribe(4);
        assert_eq!(response["status"], "423");
        let least = response.get("Min-Expires").map(String::as_str);
        assert_eq!(least, (dialect == Dialect::Rfc).then_some("5"));
        assert_eq!(phone.subscribe(5)["status"], "200");
        phone.notify();
    });
}

#[test]
fn s6_many_formats_are_looked_through() {
    in_both_dialects(|lab, _| {
        let others: Vec<String> = (0..39).map(|n| format!("application/x-{n}+xml")).collect();
        for wants in [
            format!("Accept: {}, application/pidf+xml\r\n", others.join(", ")),
            others.iter().map(|other| format!("Accept: {other}\r\n")).collect::<String>()
                + "Accept: application/pidf+xml\r\n",
        ] {
            let mut phone = Phone::new(lab.address, HERE, "lamp0");
            phone.wants = format!("Event: presence\r\n{wants}");
            assert_eq!(phone.subscribe(600)["status"], "200");
            assert_eq!(phone.notify()["Content-Type"], "application/pidf+xml");
        }
    });
}

#[test]
fn s8_a_phone_behind_a_nat_is_reached_where_it_sends_from() {
    in_both_dialects(|lab, _| {
        let mut phone = Phone::new(lab.address, [127, 0, 0, 4], "lamp0");
        phone.contact = "192.0.2.99:5062".to_owned();
        assert_eq!(phone.subscribe(600)["status"], "200");
        assert_eq!(phone.notify()["Subscription-State"], "active");
    });
}

#[test]
fn s9_hints_are_looked_up_in_the_context_for_subscriptions() {
    in_both_dialects(|lab, _| {
        let mut phone = Phone::new(lab.address, [127, 0, 0, 5], "lamp0");
        assert_eq!(phone.subscribe(600)["status"], "200");
        assert_eq!(phone.notify()["Subscription-State"], "active");
        let mut phone = Phone::new(lab.address, [127, 0, 0, 6], "lamp0");
        assert_eq!(phone.subscribe(600)["status"], "404");
    });
}
