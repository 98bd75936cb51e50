//! The conversations of `captures/` with a real Asterisk, held again with ours, and compared
//! header by header.
//!
//! Not compared: values of `Timestamp`, `Uptime` and `LastReload`; events of class `security`
//! (`SuccessfulAuth`, `RequestBadFormat`), which we do not make; the order of list rows and of
//! events after a reply, which Asterisk leaves open. Everything else that differs is in
//! [`OURS`], with its reason.

use std::time::Duration;

use lampfield_core::state::DeviceState;

use crate::harness::{Client, Message, Node, Shards, ami_config, value};

const PRESENCE: &str = include_str!("../captures/ami-presence.txt");
const SUBSCRIPTIONS: &str = include_str!("../captures/ami-subscriptions.txt");

/// Messages that we send instead of the captured ones, by ActionID.
const OURS: [(&str, &str); 10] = [
    // `available,,x,ee`: `x` is no base64. Asterisk sets an empty message, we refuse.
    ("a114", "Response: Error\nActionID: a114\nMessage: Variable not set"),
    // So what was set before is still there.
    (
        "a115",
        "Response: Success\nActionID: a115\nVariable: PRESENCE_STATE(CustomPresence:bob,value)\nValue: away",
    ),
    (
        "a116",
        "Response: Success\nActionID: a116\nVariable: PRESENCE_STATE(CustomPresence:bob,subtype)\nValue: a",
    ),
    (
        "a117",
        "Response: Success\nActionID: a117\nVariable: PRESENCE_STATE(CustomPresence:bob,message)\nValue: b",
    ),
    (
        "a118",
        "Response: Success\nActionID: a118\nVariable: PRESENCE_STATE(CustomPresence:bob,subtype,e)\nValue: YQ==",
    ),
    (
        "a119",
        "Response: Success\nActionID: a119\nVariable: PRESENCE_STATE(CustomPresence:bob,message,e)\nValue: Yg==",
    ),
    (
        "a120",
        "Response: Success\nActionID: a120\nVariable: PRESENCE_STATE(CustomPresence:bob,value,e)\nValue: away",
    ),
    (
        "a128",
        "Response: Success\nActionID: a128\nVariable: PRESENCE_STATE(CustomPresence:bob,value,x)\nValue: away",
    ),
    (
        "a129",
        "Response: Success\nActionID: a129\nVariable: PRESENCE_STATE(custompresence:bob,value)\nValue: away",
    ),
    // An extension of a pattern that comes to exist is no change of state: no event.
    (
        "a150",
        "Response: Success\nActionID: a150\nMessage: Extension Status\nExten: 7703\nContext: hints\nHint: Custom:p7703,CustomPresence:p7703\nStatus: 0\nStatusText: Idle",
    ),
];

#[test]
fn the_captured_presence_conversation_goes_as_with_asterisk() {
    for node in [Node::start(ami_config()), Node::start_real(ami_config())] {
        for lamp in 0..8 {
            node.set_device(&format!("Custom:lamp{lamp}"), DeviceState::NotInUse);
        }
        for device in ["Custom:m1", "Custom:m2"] {
            node.set_device(device, DeviceState::NotInUse);
        }
        for device in ["PJSIP/denied", "PJSIP/watcher", "PJSIP/watcher3"] {
            node.set_device(device, DeviceState::Unavailable);
        }
        for device in ["MWI:2000", "MWI:2001", "Custom:p7701"] {
            node.set_device(device, DeviceState::InUse);
        }
        node.set_presence("CustomPresence:lamp0", "not_set");
        node.set_presence("CustomPresence:lamp1", "not_set");
        node.set_presence("CustomPresence:ponly", "dnd,,busy");
        node.touch("7701");
        node.settle();
        replay(&node, PRESENCE, 175);
        node.stop();
    }
}

#[test]
fn the_captured_list_of_subscriptions_reads_as_with_asterisk() {
    let node = Node::start(ami_config());
    node.model.lock().unwrap().subscriptions = crate::console::captured_subscriptions();
    replay(&node, SUBSCRIPTIONS, 3);
    node.stop();
}

/// Sends every captured request and compares what comes back. At least `count_min` of them.
fn replay(node: &Node, capture: &str, count_min: usize) {
    let mut client = Client::connect(node);
    let mut count = 0;
    for exchange in capture.split("----- AMI SEND\n").skip(1) {
        let (request, answer) = exchange.split_once("----- AMI RECV\n").unwrap();
        // What follows the answer is a heading of the capture.
        let answer = answer.split("#####").next().unwrap();
        let id = value(&messages(request)[0], "ActionID").to_owned();
        let ours = OURS.iter().find(|(ours, _)| *ours == id);
        let mut want = messages(ours.map_or(answer, |(_, text)| text));
        want.retain(|message| value(message, "Privilege") != "security,all");
        adapt(node.kind, &id, &mut want);
        let end = want.len();
        client.send(request.trim_end().as_bytes());
        client.send(b"\r\n\r\n");
        let mut got = 0;
        let got = client.until(|_| {
            got += 1;
            got == end
        });
        let got = got.into_iter().map(without_reason).collect();
        assert_eq!(sorted(got), sorted(want), "{id}");
        count += 1;
    }
    assert!(count >= count_min, "only {count} requests in the capture");
    // Nothing more than captured came.
    assert_eq!(client.quiet_for(Duration::from_millis(100)), Vec::<Message>::new());
}

/// A refused Setvar says why in a header of our own, always.
fn without_reason(mut message: Message) -> Message {
    if value(&message, "Message") == "Variable not set" {
        let (name, reason) = message.pop().unwrap();
        assert!(name == "Reason" && !reason.is_empty(), "{name}: {reason}");
    }
    message
}

/// Differences inside lists.
fn adapt(kind: Shards, id: &str, want: &mut Vec<Message>) {
    match id {
        // One source is listed once, in its provider's spelling, however it was spelled.
        "a142" => {
            want.retain(|message| value(message, "Presentity") != "custompresence:bob");
            for (name, value) in want.iter_mut().flatten().filter(|(name, _)| name == "ListItems") {
                assert_eq!((name.as_str(), value.as_str()), ("ListItems", "5"));
                *value = "4".to_owned();
            }
        }
        // Extensions of a pattern exist while somebody watches them; Asterisk keeps them.
        "a153" if kind == Shards::Real => {
            want.retain(|message| !matches!(value(message, "Exten"), "7701" | "7703"));
            let count = want.iter_mut().flatten().find(|(name, _)| name == "ListItems").unwrap();
            assert_eq!(std::mem::replace(&mut count.1, "203".to_owned()), "205");
        }
        // A resource list is no extension: its root has no type there.
        "a2" => {
            for message in want.iter_mut().filter(|m| value(m, "Callid") == "ea3c0117a38f@lab") {
                message.extend(
                    [
                        ("SubscriptionType", "extension_state"),
                        ("Extension", "pl5"),
                        ("ExtensionStates", "Unknown"),
                    ]
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
                );
            }
        }
        _ => {}
    }
}

fn messages(text: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    for block in text.split("\n\n").map(str::trim_start).filter(|block| !block.is_empty()) {
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
            (name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned())
        };
        messages.push(block.lines().map(header).collect());
    }
    messages
}

/// The reply first, then the rest in an order of its own; values that differ by nature masked.
fn sorted(mut messages: Vec<Message>) -> Vec<Message> {
    for (name, value) in messages.iter_mut().flatten() {
        if matches!(name.as_str(), "Timestamp" | "Uptime" | "LastReload") {
            assert!(value.parse::<f64>().is_ok(), "{name}: {value}");
            value.clear();
        }
    }
    messages[1..].sort();
    messages
}
