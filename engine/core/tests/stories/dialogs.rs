//! Dialogs: coming, refreshing, moving, leaving; and everything that is refused.

use std::time::Duration;

use lampfield_core::config::Dialect;
use lampfield_core::limits::Limits;
use lampfield_core::state::DeviceState;
use lampfield_core::stats::Stats;
use lampfield_wire::HeaderName;

use super::world::{Phone, World, config};

#[test]
fn a_subscription_lives_from_subscribe_to_unsubscribe() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1").watching_dialogs();
    let (response, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!(response.header(HeaderName::Expires), "600");
    assert!(response.header(HeaderName::Contact).contains("@192.0.2.1:5060>"));
    assert_eq!(notifies[0].header(HeaderName::Event), "dialog");
    world.pass(Duration::from_secs(100));
    let (response, notifies) = phone.subscribe(&mut world, None);
    assert_eq!((response.status(), notifies.len()), (200, 1), "a refresh is always notified");
    assert_eq!(notifies[0].state(), "active;expires=3600");
    let (response, notifies) = phone.subscribe(&mut world, Some(0));
    assert_eq!((response.status(), response.header(HeaderName::Expires).as_str()), (200, "0"));
    assert_eq!(notifies[0].state(), "terminated;reason=timeout");
    assert!(!notifies[0].body().is_empty());
    assert_eq!(phone.subscribe(&mut world, Some(600)).0.status(), 481, "the dialog is over");
    assert_eq!(world.stats(|s| s.subscription_count + s.hop_count), 0, "nothing is left");
}

#[test]
fn a_fetch_is_one_notify() {
    let mut world = World::new(2, Dialect::Rfc);
    let (response, notifies) = Phone::new(9, "lamp1").subscribe(&mut world, Some(0));
    assert_eq!(response.status(), 200);
    assert_eq!(notifies.len(), 1);
    assert_eq!(notifies[0].state(), "terminated;reason=timeout");
    assert_eq!(world.stats(|s| s.subscription_count), 0);
}

#[test]
fn a_subscription_runs_out_in_time() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    phone.subscribe(&mut world, Some(6));
    world.pass(Duration::from_millis(5_900));
    assert_eq!(phone.listen(&mut world), []);
    world.pass(Duration::from_millis(1_200));
    let got = phone.listen(&mut world);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].state(), "terminated;reason=timeout");
    assert_eq!(world.stats(|s| s.subscription_count), 0);
}

#[test]
fn a_refresh_prolongs_and_a_shorter_one_shortens() {
    let mut world = World::new(1, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    phone.subscribe(&mut world, Some(6));
    world.pass(Duration::from_secs(5));
    phone.subscribe(&mut world, Some(100));
    world.pass(Duration::from_secs(10));
    assert_eq!(phone.listen(&mut world), []);
    phone.subscribe(&mut world, Some(6));
    world.pass(Duration::from_millis(7_200));
    assert_eq!(phone.listen(&mut world).len(), 1, "ended after the shorter time");
}

#[test]
fn refused_requests_get_their_code() {
    let want = |edit: fn(&mut Phone), expires, status: u16| {
        let mut world = World::new(2, Dialect::Rfc);
        let mut phone = Phone::new(9, "lamp1");
        edit(&mut phone);
        let (response, notifies) = phone.subscribe(&mut world, expires);
        assert_eq!((response.status(), notifies.len()), (status, 0));
        assert_eq!(world.stats(|s| s.subscription_count), 0);
        response
    };
    want(|p| p.exten = "nosuch".into(), None, 404);
    let bad_event = want(|p| p.event = "foo".into(), None, 489);
    assert_eq!(bad_event.header(HeaderName::AllowEvents), "presence, dialog, message-summary");
    want(|p| p.event = "Presence".into(), None, 489);
    want(|p| p.event.clear(), None, 489);
    want(|p| p.accept = "application/foo".into(), None, 489);
    want(|p| p.address.set_ip([198, 51, 100, 1].into()), None, 603);
    want(|p| p.address.set_ip([10, 0, 0, 1].into()), None, 403);
    want(|p| p.contact.clear(), None, 400);
    want(|p| p.contact = "<sip:>".into(), None, 400);
    want(|p| p.to_tag = "unknown".into(), None, 481);
    want(|p| p.to_tag = "lf0000000000000000000".into(), None, 481);
    let brief = want(|_| {}, Some(4), 423);
    assert_eq!(brief.header(HeaderName::MinExpires), "5");
    let extension = want(|p| p.extra = "Require: foo, eventlist\r\n".into(), None, 420);
    assert_eq!(extension.header(HeaderName::Unsupported), "foo");
    want(|p| p.extra = "Expires: soon\r\n".into(), None, 400);
}

#[test]
fn a_request_without_what_it_needs_is_told_what_is_missing() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    let whole = String::from_utf8(phone.request(None)).expect("text");
    for (cut, put, want) in [
        ("CSeq: 1 SUBSCRIBE\r\n", "", "CSeq header is missing"),
        ("1 SUBSCRIBE", "1 PUBLISH", "CSeq method differs"),
        ("1 SUBSCRIBE", "2147483648 SUBSCRIBE", "CSeq"),
        (";tag=tcall-9-lamp1", "", "From has no tag"),
    ] {
        world.datagram(phone.address, whole.replacen(cut, put, 1).as_bytes(), 0);
        let got = phone.listen(&mut world).remove(0);
        assert_eq!(got.status(), 400, "{want}");
        assert!(
            got.header(HeaderName::Warning).contains(want),
            "{}",
            got.header(HeaderName::Warning)
        );
    }
}

#[test]
fn a_retransmitted_subscribe_is_answered_again_and_makes_nothing_new() {
    let mut world = World::new(3, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    let request = phone.request(Some(600));
    for arrives_at in 0..3 {
        world.datagram(phone.address, &request, arrives_at);
    }
    let got = phone.listen(&mut world);
    let (responses, notifies): (Vec<_>, Vec<_>) =
        got.into_iter().partition(|m| !m.message().is_request());
    assert_eq!((responses.len(), notifies.len()), (3, 1));
    assert!(responses.iter().all(|r| *r == responses[0]), "byte for byte");
    let text = String::from_utf8(request).expect("text");
    let merged = text.replace("z9hG4bK-", "z9hG4bK-other-");
    world.datagram(phone.address, merged.as_bytes(), 0);
    assert_eq!(phone.listen(&mut world)[0].status(), 482);
    assert_eq!(world.stats(|s| s.subscription_count), 1);
}

#[test]
fn a_dialog_is_only_for_those_who_are_in_it() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    phone.subscribe(&mut world, Some(600));
    let mut thief = Phone::new(10, "lamp1");
    thief.to_tag = phone.to_tag.clone();
    assert_eq!(thief.subscribe(&mut world, Some(0)).0.status(), 481, "another Call-ID");
    phone.event = "dialog".into();
    assert_eq!(phone.subscribe(&mut world, Some(0)).0.status(), 403, "another package");
    phone.event = "presence;id=1".into();
    assert_eq!(phone.subscribe(&mut world, Some(0)).0.status(), 403, "another id");
    phone.event = "presence".into();
    phone.cseq = 0;
    assert_eq!(phone.subscribe(&mut world, Some(0)).0.status(), 200, "seen before: repeated");
    world.pass(Duration::from_secs(33));
    phone.cseq = 0;
    assert_eq!(phone.subscribe(&mut world, Some(0)).0.status(), 500, "an old CSeq");
    phone.cseq = 100;
    assert_eq!(phone.subscribe(&mut world, Some(600)).0.status(), 200);
}

#[test]
fn a_phone_that_moves_is_followed() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    phone.subscribe(&mut world, Some(600));
    phone.address.set_port(6000);
    phone.contact = format!("<sip:w@{}>", phone.address);
    let (_, notifies) = phone.subscribe(&mut world, Some(600));
    assert_eq!(notifies.len(), 1, "at the new address");
    let target = notifies[0].message().request_uri().map(<[u8]>::to_vec);
    assert_eq!(target.as_deref(), Some(&b"sip:w@192.0.2.9:6000"[..]));
    world.set_device("Custom:lamp1", DeviceState::InUse);
    assert_eq!(phone.listen(&mut world).len(), 1);
    assert_eq!(world.stats(|s| s.hop_count), 1);
}

#[test]
fn a_contact_that_is_no_address_or_behind_nat_is_reached_at_the_source() {
    let mut config = config(Dialect::Rfc);
    config.endpoints[2].rewrite_contact = true;
    let mut world = World::with(2, config, 0);
    for (host, contact) in
        [([192, 0, 2, 9], "<sip:w@phone.invalid>"), ([203, 0, 113, 9], "<sip:w@10.0.0.9:9>")]
    {
        let mut phone = Phone::new(9, "lamp1");
        phone.address.set_ip(host.into());
        phone.call_id = contact.replace(['<', '>'], "");
        phone.contact = contact.into();
        let (_, notifies) = phone.subscribe(&mut world, Some(600));
        assert_eq!(notifies.len(), 1, "{contact}");
    }
}

#[test]
fn notifies_follow_the_route_set() {
    let mut world = World::new(2, Dialect::Rfc);
    let proxy = "192.0.2.77:5070".parse().expect("an address");
    for (name, routes, want_uri, want_routes) in [
        (
            "loose",
            "<sip:192.0.2.77:5070;lr>, <sip:far.example;lr>",
            "sip:w@192.0.2.9:5070",
            ["<sip:192.0.2.77:5070;lr>", "<sip:far.example;lr>"],
        ),
        (
            "strict",
            "<sip:192.0.2.77:5070>, <sip:far.example;lr>",
            "sip:192.0.2.77:5070",
            ["<sip:far.example;lr>", "<sip:w@192.0.2.9:5070>"],
        ),
    ] {
        let mut phone = Phone::new(9, "lamp1");
        phone.call_id = name.into();
        phone.extra = format!("Record-Route: {routes}\r\n");
        let response = phone.subscribe(&mut world, Some(600)).0;
        assert_eq!(response.header(HeaderName::RecordRoute), routes);
        let notify = world.take(proxy).remove(0);
        assert_eq!(notify.message().request_uri(), Some(want_uri.as_bytes()), "{name}");
        let routes: Vec<_> =
            notify.message().values(HeaderName::Route).map(<[u8]>::to_vec).collect();
        assert_eq!(routes, want_routes.map(|route| route.as_bytes().to_vec()), "{name}");
        phone.answer(&mut world, &notify, "200 OK", "");
    }
}

#[test]
fn a_full_table_sheds_with_retry_after_and_drops_nothing_it_holds() {
    let one = Limits { subscription_count_max: 1, ..config(Dialect::Rfc).limits };
    let mut world =
        World::with(1, lampfield_core::config::Config { limits: one, ..config(Dialect::Rfc) }, 0);
    let (mut first, mut second) = (Phone::new(9, "lamp1"), Phone::new(10, "7702"));
    assert_eq!(first.subscribe(&mut world, Some(600)).0.status(), 200);
    let extensions = world.stats(|s| s.extension_count);
    let (refused, _) = second.subscribe(&mut world, Some(600));
    assert_eq!(refused.status(), 503);
    assert!(
        refused.header(HeaderName::RetryAfter).parse::<u32>().is_ok_and(|s| (30..=90).contains(&s))
    );
    assert_eq!(world.stats(|s| s.extension_count), extensions, "the pattern is forgotten");
    world.set_device("Custom:lamp1", DeviceState::InUse);
    assert_eq!(first.listen(&mut world).len(), 1);
    assert_eq!(world.stats(|s| s.counters.request_shed), 1);
}

#[test]
fn options_are_answered_and_other_methods_get_405() {
    let mut world = World::new(2, Dialect::Rfc);
    let mut phone = Phone::new(9, "lamp1");
    let subscribe = String::from_utf8(phone.request(None)).expect("text");
    for (method, status) in
        [("OPTIONS", 200), ("INVITE", 405), ("FOO", 405), ("NOTIFY", 481), ("PUBLISH", 403)]
    {
        let request = subscribe.replace("SUBSCRIBE", method);
        world.datagram(phone.address, request.as_bytes(), 0);
        let got = phone.listen(&mut world).remove(0);
        assert_eq!(got.status(), status, "{method}");
        let is_known = ["NOTIFY", "PUBLISH"].contains(&method);
        assert_eq!(got.header(HeaderName::Allow).is_empty(), is_known);
    }
    let mut stranger = Phone::new(9, "lamp1");
    stranger.address = "10.0.0.1:5060".parse().expect("an address");
    let request = subscribe.replace("SUBSCRIBE", "INVITE");
    world.datagram(stranger.address, request.as_bytes(), 0);
    let got = stranger.listen(&mut world).remove(0);
    assert_eq!(got.status(), 403);
    assert!(got.0.len() <= request.len(), "a stranger never gets more than it sent");
}

#[test]
fn every_end_of_a_subscription_is_counted_once_and_under_its_reason() {
    let mut world = World::new(2, Dialect::Rfc);
    Phone::new(1, "lamp1").subscribe(&mut world, Some(0));
    Phone::new(2, "lamp1").subscribe(&mut world, Some(10));
    let mut leaves = Phone::new(3, "lamp1");
    leaves.subscribe(&mut world, Some(600));
    leaves.subscribe(&mut world, Some(0));
    // Leaves while a NOTIFY is in flight, and refuses that one.
    let mut rude = Phone::new(4, "lamp1");
    rude.subscribe(&mut world, Some(600));
    world.set_device("Custom:lamp1", DeviceState::InUse);
    let notify = world.take(rude.address).remove(0);
    let end = rude.request(Some(0));
    world.datagram(rude.address, &end, rude.arrives_at);
    rude.answer(&mut world, &notify, "481 Gone", "");
    world.pass(Duration::from_secs(11));
    world.pass(Duration::from_secs(60));
    let count = |of: fn(&Stats) -> u64| world.stats(of);
    assert_eq!(count(|s| s.counters.subscription_created), 4);
    assert_eq!(count(|s| s.counters.subscription_unsubscribed), 3);
    assert_eq!(count(|s| s.counters.subscription_expired), 1);
    assert_eq!(count(|s| s.counters.subscription_rejected_by_peer), 0);
    assert_eq!(count(|s| s.subscription_count), 0);
}
