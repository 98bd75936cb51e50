//! By what a watcher comes is by what it is told: TLS, `sips`, and browsers.

use lampfield_core::config::Dialect;
use lampfield_core::flow::Transport;
use lampfield_core::state::DeviceState;
use lampfield_wire::HeaderName;

use super::world::{Phone, Received, World};

/// A phone that subscribes by `transport`, and what it is told: the answer and the NOTIFY.
fn subscribe(
    world: &mut World,
    transport: Transport,
    contact: &str,
    scheme: &str,
) -> (Phone, [Received; 2]) {
    let mut phone = Phone::new(9, "lamp1");
    phone.contact = contact.to_owned();
    let request = String::from_utf8(phone.request(Some(600))).expect("text");
    let token = format!("SIP/2.0/{}", transport.token());
    let request = request.replace("SIP/2.0/UDP", &token);
    let request = request.replacen("SUBSCRIBE sip:", &format!("SUBSCRIBE {scheme}:"), 1);
    world.stream_by(transport, phone.address, 7, request.as_bytes());
    assert_eq!(world.last_transport(phone.address), Some(transport));
    let got: [Received; 2] = world.take(phone.address).try_into().expect("an answer and a NOTIFY");
    (phone, got)
}

#[test]
fn every_transport_has_its_via_and_its_contact() {
    for (transport, contact, scheme, want) in [
        (Transport::Tcp, "<sip:w@192.0.2.9:5070;transport=tcp>", "sip", "sip:@;transport=tcp"),
        (Transport::Tls, "<sip:w@192.0.2.9:5070;transport=tls>", "sip", "sip:@;transport=tls"),
        (Transport::Tls, "<sips:w@192.0.2.9:5070>", "sips", "sips:@;transport=tls"),
        (Transport::Ws, "<sip:w@x.invalid;transport=ws>", "sip", "sip:@;transport=ws"),
        (Transport::Wss, "<sip:w@x.invalid;transport=ws>", "sip", "sip:@;transport=ws"),
        (Transport::Wss, "<sips:w@x.invalid;transport=ws>", "sips", "sips:@;transport=ws"),
    ] {
        let mut world = World::new(2, Dialect::Rfc);
        let (phone, [response, notify]) = subscribe(&mut world, transport, contact, scheme);
        assert_eq!(response.status(), 200, "{contact}");
        let tag = response.to_tag();
        let want = format!("<{}>", want.replace('@', &format!("{tag}@192.0.2.1:5060")));
        assert_eq!(response.header(HeaderName::Contact), want);
        assert_eq!(notify.header(HeaderName::Contact), want);
        let via = format!("SIP/2.0/{} 192.0.2.1:5060;", transport.token());
        assert!(notify.header(HeaderName::Via).starts_with(&via));
        // A change goes over the same connection.
        let answer = phone.response(&notify, "200 OK", "");
        world.stream_by(transport, phone.address, 7, &answer);
        world.set_device("Custom:lamp1", DeviceState::InUse);
        assert_eq!(world.last_connection(phone.address), Some(7));
        assert_eq!(world.last_transport(phone.address), Some(transport));
        let [change] = world.take(phone.address).try_into().expect("one NOTIFY");
        assert!(change.body().contains("On the phone"));
    }
}

#[test]
fn a_message_in_a_frame_needs_no_content_length() {
    for (transport, is_answered) in [
        (Transport::Ws, true),
        (Transport::Wss, true),
        // There it is not known where the message ends.
        (Transport::Tls, false),
    ] {
        let mut world = World::new(1, Dialect::Rfc);
        let mut phone = Phone::new(9, "lamp1");
        let request = String::from_utf8(phone.request(Some(600))).expect("text");
        let request = request.replace("Content-Length: 0\r\n", "");
        world.stream_by(transport, phone.address, 7, request.as_bytes());
        assert_eq!(world.take(phone.address).is_empty(), !is_answered, "{transport:?}");
    }
}

#[test]
fn a_dialog_survives_a_restart_with_its_transport() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let mut world = World::new(1, Dialect::Rfc);
        let contact = format!("<sip:w@192.0.2.9:5070{}>", transport.uri_param());
        subscribe(&mut world, transport, &contact, "sip");
        let records = std::mem::take(&mut world.records);
        let mut world = World::new(1, Dialect::Rfc);
        for record in records {
            world.command(&lampfield_core::command::Command::Restore(record));
        }
        world.pass(std::time::Duration::from_secs(120));
        let peer = "192.0.2.9:5070".parse().expect("an address");
        assert_eq!(world.last_transport(peer), Some(transport), "{transport:?}");
    }
}
