//! Bounds of messages, of queues, and of patience.

use std::time::{Duration, Instant};

use crate::harness::{Client, header, start, value};
use crate::lab::{Lab, Setup};

#[test]
fn long_lines_and_messages_are_refused_and_the_next_one_is_served() {
    let lab = start();
    let mut client = Client::login(&lab, "lab", "off");
    // A line has 1024 bytes with its end.
    let line = |bytes: usize| format!("X: {}\r\n", "a".repeat(bytes - 5));
    for (headers, want) in [
        (line(1024), None),
        (line(1025), Some("Failed to parse message: line too long")),
        (line(5_000_000), Some("Failed to parse message: line too long")),
        (line(20).repeat(127), None),
        (line(20).repeat(128), Some("Too many lines in message or allocation failure")),
        (line(20).repeat(100_000), Some("Too many lines in message or allocation failure")),
    ] {
        client.send(format!("Action: Ping\r\n{headers}\r\n").as_bytes());
        let reply = client.message().unwrap();
        match want {
            None => assert_eq!(value(&reply, "Ping"), "Pong"),
            Some(want) => {
                assert_eq!(reply, [header("Response", "Error"), header("Message", want)]);
            }
        }
        assert_eq!(value(&client.ask("Action: Ping"), "Ping"), "Pong");
    }
    lab.stop();
}

#[test]
fn texts_with_line_ends_stay_inside_their_header() {
    let lab = start();
    let mut client = Client::login(&lab, "lab", "call");
    // "a\r\n\r\nEvent: Forged\r\n\r\n", and a subtype with all that C would escape.
    let message = "YQ0KDQpFdmVudDogRm9yZ2VkDQoNCg==";
    let set = format!(
        "Action: Setvar\r\nVariable: PRESENCE_STATE(CustomPresence:lamp1)\r\n\
         Value: away,aXQncyAiQzpcIiA/,{message},e"
    );
    client.ask(&set);
    let escaped = r"a\r\n\r\nEvent: Forged\r\n\r\n";
    let mut events = [client.message().unwrap(), client.message().unwrap()];
    events.sort();
    assert_eq!(value(&events[0], "Event"), "PresenceStateChange");
    assert_eq!(value(&events[0], "Subtype"), r#"it\'s \"C:\\\" \?"#);
    assert_eq!(value(&events[0], "Message"), escaped);
    assert_eq!(value(&events[1], "Event"), "PresenceStatus");
    assert_eq!(value(&events[1], "Subtype"), r#"it's "C:\" ?"#);
    assert_eq!(value(&events[1], "Message"), escaped);
    let reply = client.ask("Action: PresenceState\r\nProvider: CustomPresence:lamp1");
    assert_eq!(value(&reply, "PresenceMessage"), escaped);
    for (options, want) in [("", escaped), (",e", message)] {
        let variable = format!("PRESENCE_STATE(CustomPresence:lamp1,message{options})");
        let reply = client.ask(&format!("Action: Getvar\r\nVariable: {variable}"));
        assert_eq!(value(&reply, "Value"), want);
    }
    let variable = "Variable: X\r\nValue: 1\r\nActionID: a\rb";
    let reply = client.ask(&format!("Action: Setvar\r\n{variable}"));
    assert_eq!(value(&reply, "ActionID"), r"a\rb");
    lab.stop();
}

#[test]
fn a_message_with_commas_is_set_with_backslashes() {
    let lab = start();
    let mut client = Client::login(&lab, "lab", "off");
    for (written, response, message) in [
        (r"away,home,sick\, maybe eight more days", "Success", "sick, maybe eight more days"),
        ("away,home,back later, maybe eight", "Error", "sick, maybe eight more days"),
        (r"away,home,\,\,", "Success", ",,"),
    ] {
        let set = format!(
            "Action: Setvar\r\nVariable: PRESENCE_STATE(CustomPresence:bob)\r\nValue: {written}"
        );
        assert_eq!(value(&client.ask(&set), "Response"), response, "{written}");
        let get = "Action: Getvar\r\nVariable: PRESENCE_STATE(CustomPresence:bob,message)";
        assert_eq!(value(&client.ask(get), "Value"), message, "{written}");
    }
    lab.stop();
}

#[test]
fn live_events_wait_for_the_end_of_a_list_and_for_suppressed_replies() {
    let lab = start();
    let mut client = Client::login(&lab, "lab", "call");
    let mut writer = Client::login(&lab, "writer", "off");
    let set =
        |state| format!("Action: Setvar\r\nVariable: DEVICE_STATE(Custom:lamp9)\r\nValue: {state}");
    for round in 0..20 {
        client.send(b"Action: ExtensionStateList\r\nActionID: l\r\n\r\n");
        writer.ask(&set(if round % 2 == 0 { "INUSE" } else { "BUSY" }));
        let mut in_list = false;
        let mut live_count = 0;
        while live_count < 2 || in_list {
            let message = client.message().unwrap();
            match value(&message, "EventList") {
                "start" => in_list = true,
                "Complete" => in_list = false,
                _ if value(&message, "Privilege").is_empty() => assert!(in_list),
                _ => {
                    assert!(!in_list, "live event inside a list: {message:?}");
                    live_count += 1;
                }
            }
        }
    }
    client.ask("Action: Ping\r\nSuppressEvents: 1");
    writer.ask(&set("RINGING"));
    let events = client.until(|message| value(message, "Event") == "ExtensionStatus");
    assert_eq!(value(events.last().unwrap(), "StatusText"), "Ringing");
    lab.stop();
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_costs_the_others_nothing() {
    const ROUND_COUNT: usize = 300;
    const EVENTS_PER_ROUND: usize = 100;
    let lab = start();
    let mut slow = Client::login(&lab, "single", "user");
    let mut fast = Client::login(&lab, "fast", "user");
    let mut teller = Client::login(&lab, "lab", "off");
    let flood = std::thread::spawn(move || {
        let text = "x".repeat(1000);
        for round in 0..ROUND_COUNT {
            let numbers = round * EVENTS_PER_ROUND..(round + 1) * EVENTS_PER_ROUND;
            let tell = |number| {
                format!(
                    "Action: UserEvent\r\nUserEvent: X\r\nNumber: {number}\r\nText: {text}\r\n\r\n"
                )
            };
            teller.send(numbers.map(tell).collect::<String>().as_bytes());
            for _ in 0..EVENTS_PER_ROUND {
                assert_eq!(value(&teller.message().unwrap(), "Response"), "Success");
            }
        }
    });
    for number in 0..ROUND_COUNT * EVENTS_PER_ROUND {
        let event = fast.message().expect("the fast client hears everything");
        assert_eq!(value(&event, "Number"), number.to_string());
    }
    flood.join().unwrap();
    // The server gives up on the slow one: then its user may log in again.
    let login = "Action: Login\r\nUsername: single\r\nSecret: single";
    let end = Instant::now() + Duration::from_secs(20);
    while value(&Client::connect(lab.ami).ask(login), "Response") != "Success" {
        assert!(Instant::now() < end, "the slow client is waited for");
    }
    let mut count = 0;
    while slow.message().is_some() {
        count += 1;
    }
    assert!(count < ROUND_COUNT * EVENTS_PER_ROUND, "the slow client has heard everything");
    assert_eq!(value(&fast.ask("Action: Ping"), "Ping"), "Pong");
    lab.stop();
}

#[test]
fn user_events_and_variables_go_round() {
    let lab = start();
    let mut hearer = Client::login(&lab, "lab", "user,dialplan");
    let mut teller = Client::login(&lab, "lab", "off");
    teller.ask("Action: UserEvent\r\nActionID: 5\r\nUserEvent: Lunch\r\nWhere: here, there");
    teller.ask("Action: Setvar\r\nVariable: FOO\r\nValue: bar");
    let event = hearer.message().unwrap();
    let text: Vec<_> = event.iter().filter(|(n, _)| n != "Timestamp").cloned().collect();
    assert_eq!(
        text,
        [
            header("Event", "UserEvent"),
            header("Privilege", "user,all"),
            header("UserEvent", "Lunch"),
            header("ActionID", "5"),
            header("Where", "here, there"),
        ]
    );
    assert_eq!(value(&hearer.message().unwrap(), "Event"), "VarSet");
    for (variable, want) in [
        ("FOO", "bar"),
        ("HINT(lamp0@hints)", "Custom:lamp0,CustomPresence:lamp0"),
        ("HINT(lamp0@hints,n)", ""),
        ("HINT(nosuch@hints)", ""),
        ("EXTENSION_STATE(nosuch@hints)", "UNKNOWN"),
        ("EXTENSION_STATE(lamp0)", "UNKNOWN"),
        ("DEVICE_STATE(custom:never)", "UNKNOWN"),
        ("DEVICE_STATE(Nope/x)", "INVALID"),
        ("NOSUCH(x)", ""),
    ] {
        let reply = teller.ask(&format!("Action: Getvar\r\nVariable: {variable}"));
        assert_eq!((value(&reply, "Response"), value(&reply, "Value")), ("Success", want));
    }
    for (variable, set, reason) in [
        ("HINT(x)", "1", "`HINT` is not a function that can be set"),
        ("NOSUCH(x)", "", "`NOSUCH` is not a function that can be set"),
        ("DEVICE_STATE(PJSIP/x)", "BUSY", "`PJSIP/x` is not a name of provider `Custom:`"),
        ("DEVICE_STATE(Nope/x)", "BUSY", "`Nope/x` is not a name of provider `Custom:`"),
        ("PRESENCE_STATE(CustomPresence:)", "away", "`CustomPresence:` is not a name of"),
        ("DEVICE_STATE(Custom:x)", "DRUNK", "`DRUNK`"),
        ("PRESENCE_STATE(CustomPresence:x)", "drunk", "`drunk`"),
    ] {
        let request = format!("Action: Setvar\r\nVariable: {variable}\r\nValue: {set}");
        let reply = teller.ask(&request);
        assert_eq!(value(&reply, "Message"), "Variable not set");
        assert!(value(&reply, "Reason").contains(reason), "{variable}: {reply:?}");
    }
    let reply = teller.ask("Action: Getvar\r\nVariable: FOO\r\nChannel: PJSIP/x-1");
    assert_eq!(value(&reply, "Message"), "No such channel");
    lab.stop();
}

#[test]
fn events_are_filtered_by_user_and_disabled_for_all() {
    let managers = "
[general](+)
disabledevents=DeviceStateChange

[picky]
secret=picky
read=all
write=all
eventfilter(header(Exten),method(exact))=lamp9
";
    let lab = Lab::start(&Setup { managers, ..Setup::default() });
    let mut picky = Client::login(&lab, "picky", "on");
    let mut other = Client::login(&lab, "lab", "call");
    for lamp in ["lamp8", "lamp9"] {
        other.ask(&format!(
            "Action: Setvar\r\nVariable: DEVICE_STATE(Custom:{lamp})\r\nValue: BUSY"
        ));
        let event = other.message().unwrap();
        assert_eq!((value(&event, "Event"), value(&event, "Exten")), ("ExtensionStatus", lamp));
    }
    // That of `lamp8` would have come before.
    let events = picky.until(|event| value(event, "Exten") == "lamp9");
    let heard: Vec<_> = events.iter().map(|event| value(event, "Exten")).collect();
    // FullyBooted is part of the login, not an event of somebody.
    assert_eq!(heard.iter().filter(|exten| !exten.is_empty()).collect::<Vec<_>>(), [&"lamp9"]);
    lab.stop();
}

#[test]
fn wait_event_returns_what_is_queued_or_waits_for_it_or_for_the_time() {
    let lab = start();
    let (mut client, mut teller) =
        (Client::login(&lab, "lab", "off"), Client::login(&lab, "lab", "off"));
    let complete = |client: &mut Client| {
        client.until(|message| value(message, "Event") == "WaitEventComplete")
    };
    // Nothing comes.
    client.send(b"Action: WaitEvent\r\nActionID: w1\r\nTimeout: 0\r\n\r\n");
    let got = complete(&mut client);
    assert_eq!(value(&got[0], "Message"), "Waiting for Event completed.");
    assert_eq!((got.len(), value(&got[1], "ActionID")), (2, "w1"));
    // Something comes while it waits; what is asked meanwhile waits behind it.
    assert_eq!(value(&client.ask("Action: Events\r\nEventMask: user"), "Events"), "On");
    client.send(b"Action: WaitEvent\r\n\r\nAction: Ping\r\n\r\n");
    teller.ask("Action: UserEvent\r\nUserEvent: Hello");
    let got = complete(&mut client);
    assert_eq!((got.len(), value(&got[1], "UserEvent")), (3, "Hello"));
    assert_eq!(value(&client.message().unwrap(), "Ping"), "Pong");
    let reply = client.ask("Action: WaitEvent\r\nTimeout: soon");
    assert_eq!(value(&reply, "Message"), "Timeout must be a number of seconds");
    lab.stop();
}
