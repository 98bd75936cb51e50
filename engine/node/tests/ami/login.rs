//! Who gets in, who does not, and what he may do then.

use std::time::{Duration, Instant};

use md5::{Digest, Md5};

use crate::harness::{Client, header, start, value};
use crate::lab::{Lab, Setup};

#[test]
fn a_failed_login_is_answered_late_and_ends_the_connection() {
    let lab = start();
    let clients: Vec<_> = [
        ("Username: lab\r\nSecret: wrong", "Authentication failed"),
        ("Username: lab\r\nSecret: lab2", "Authentication failed"),
        ("Username: nobody\r\nSecret: lab", "Authentication failed"),
        ("Username: lab", "Authentication failed"),
        ("Username: far\r\nSecret: far", "Authentication failed"),
        ("Username: lab\r\nAuthType: MD5\r\nKey: lab", "Authentication failed"),
    ]
    .into_iter()
    .map(|(headers, want)| {
        let mut client = Client::connect(lab.ami);
        // Before login nothing else is served, and the connection stays.
        assert_eq!(
            client.ask("Action: Ping"),
            [header("Response", "Error"), header("Message", "Permission denied")]
        );
        let since = Instant::now();
        client.send(format!("Action: Login\r\nActionID: 7\r\n{headers}\r\n\r\n").as_bytes());
        (client, since, want)
    })
    .collect();
    for (mut client, since, want) in clients {
        let reply = client.message().unwrap();
        let expected = [("Response", "Error"), ("ActionID", "7"), ("Message", want)];
        assert_eq!(reply, expected.map(|(name, value)| header(name, value)));
        assert!(since.elapsed() >= Duration::from_secs(1));
        assert_eq!(client.message(), None);
    }
    lab.stop();
}

#[test]
fn a_challenge_proves_the_secret_without_sending_it() {
    let lab = start();
    let mut client = Client::connect(lab.ami);
    let refused = client.ask("Action: Challenge\r\nAuthType: plain");
    assert_eq!(value(&refused, "Message"), "Must specify AuthType");
    let reply = client.ask("Action: Challenge\r\nAuthType: md5");
    let challenge = value(&reply, "Challenge").to_owned();
    assert!((1..=9).contains(&challenge.len()) && challenge.parse::<u32>().is_ok());
    let again = client.ask("Action: Challenge\r\nAuthType: MD5");
    assert_eq!(value(&again, "Challenge"), challenge, "constant for the connection");
    let digest = Md5::digest(format!("{challenge}lab"));
    let key: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let login =
        format!("Action: Login\r\nUsername: lab\r\nAuthType: MD5\r\nKey: {key}\r\nEvents: off");
    assert_eq!(value(&client.ask(&login), "Message"), "Authentication accepted");
    assert_eq!(value(&client.ask(&login), "Message"), "Already authenticated");
    lab.stop();
}

#[test]
fn a_user_may_be_bound_to_one_login_and_to_addresses() {
    let lab = start();
    let first = Client::login(&lab, "single", "off");
    let mut second = Client::connect(lab.ami);
    let login = "Action: Login\r\nUsername: single\r\nSecret: single";
    assert_eq!(value(&second.ask(login), "Message"), "Login Already In Use");
    assert_eq!(second.message(), None);
    drop(first);
    // The place is free again as soon as the server has seen the end of the first.
    let end = Instant::now() + Duration::from_secs(20);
    while value(&Client::connect(lab.ami).ask(login), "Response") != "Success" {
        assert!(Instant::now() < end, "the first login is never forgotten");
    }
    Client::login(&lab, "near", "off");
    lab.stop();
}

#[test]
fn classes_say_what_a_user_may_do_and_hear() {
    let lab = start();
    let mut powerless = Client::login(&lab, "powerless", "call");
    let mut writer = Client::login(&lab, "writer", "on");
    let mut calls = Client::login(&lab, "calls", "system");
    for action in ["Setvar", "Getvar", "PresenceState", "Command", "UserEvent"] {
        let reply = powerless.ask(&format!("Action: {action}"));
        assert_eq!(value(&reply, "Message"), "Permission denied", "{action}");
    }
    let listed = powerless.ask("Action: ListCommands");
    assert_eq!(value(&listed, "Ping"), "Keep the connection alive.  (Priv: <none>)");
    assert_eq!(value(&listed, "Setvar"), "");
    for (mask, want) in [("call", "On"), ("system", "Off"), ("off", "Off"), ("2", "On")] {
        let reply = calls.ask(&format!("Action: Events\r\nEventMask: {mask}"));
        assert_eq!(value(&reply, "Events"), want, "{mask}");
    }
    for mask in ["", "bogus"] {
        let reply = calls.ask(&format!("Action: Events\r\nEventMask: {mask}"));
        assert_eq!(value(&reply, "Message"), "Invalid event mask", "{mask}");
    }
    let set = "Action: Setvar\r\nVariable: DEVICE_STATE(Custom:lamp9)\r\nValue: BUSY";
    assert_eq!(value(&writer.ask(set), "Message"), "Variable Set");
    for client in [&mut powerless, &mut calls] {
        let events = client.until(|message| value(message, "Event") == "ExtensionStatus");
        assert_eq!(value(events.last().unwrap(), "Exten"), "lamp9");
    }
    // What the others have heard would be here by now.
    writer.send(b"Action: Logoff\r\nActionID: bye\r\n\r\n");
    assert_eq!(
        writer.message().unwrap(),
        [
            header("Response", "Goodbye"),
            header("ActionID", "bye"),
            header("Message", "Thanks for all the fish.")
        ]
    );
    assert_eq!(writer.message(), None);
    lab.stop();
}

#[test]
fn strangers_are_few_and_stay_short() {
    let managers = "\n[general](+)\nauthlimit=2\nauthtimeout=1\n";
    let lab = Lab::start(&Setup { managers, ..Setup::default() });
    let mut strangers = [Client::connect(lab.ami), Client::connect(lab.ami)];
    // The third gets not even a banner.
    let mut third = std::net::TcpStream::connect(lab.ami).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut third, &mut text).unwrap();
    assert_eq!(text, "");
    for stranger in &mut strangers {
        assert_eq!(stranger.message(), None);
    }
    // Then there is room again, and who logs in does not count.
    let end = Instant::now() + Duration::from_secs(10);
    let users: Vec<_> = (0..5).map(|_| Client::login(&lab, "lab", "off")).collect();
    assert!(Instant::now() < end);
    // A stranger who comes after them is thrown out in time; they stay.
    assert_eq!(Client::connect(lab.ami).message(), None);
    for mut user in users {
        assert_eq!(value(&user.ask("Action: Ping"), "Ping"), "Pong");
    }
    lab.stop();
}
