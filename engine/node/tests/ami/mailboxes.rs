//! Mailboxes, told and asked by AMI and console; wording of `res_mwi_external_ami`.

use crate::harness::{Client, USERS, value};
use crate::lab::{Lab, Setup};

const ACCOUNTS: &str = "[vm]\ntype=aor\nmailboxes=1@a,2@b\n";

#[test]
fn messages_are_told_asked_and_forgotten() {
    let lab = Lab::start(&Setup { endpoints: ACCOUNTS, managers: USERS, ..Setup::default() });
    let mut client = Client::login(&lab, "lab", "off");
    for (request, response, message) in [
        ("MWIUpdate\r\nMailbox: 1@a\r\nNewMessages: 2\r\nOldMessages: 3", "Success", ""),
        ("mwiupdate\r\nMailbox: 2@b\r\nOldMessages: 7", "Success", ""),
        ("MWIUpdate\r\nMailbox: 3@b", "Success", ""),
        ("MWIUpdate\r\nNewMessages: 2", "Error", "Missing mailbox parameter in request"),
        ("MWIUpdate\r\nMailbox: 1@a\r\nNewMessages: x", "Error", "Invalid NewMessages: x"),
        ("MWIUpdate\r\nMailbox: 1@a\r\nOldMessages: -1", "Error", "Invalid OldMessages: -1"),
        ("MWIGet", "Error", "Missing mailbox parameter in request"),
        ("MWIGet\r\nMailbox: /(/", "Error", "Mailbox regex format invalid in: /(/"),
        ("MWIDelete\r\nMailbox: /x", "Error", "Mailbox regex format invalid in: /x"),
        ("MWIDelete\r\nMailbox: nosuch@b", "Success", ""),
    ] {
        let reply = client.ask(&format!("Action: {request}"));
        let got = (value(&reply, "Response"), value(&reply, "Message"));
        assert_eq!(got, (response, message), "{request}");
    }
    let mut list = |mailbox: &str| {
        client.send(format!("Action: MWIGet\r\nMailbox: {mailbox}\r\n\r\n").as_bytes());
        let got = client.until(|message| value(message, "Event") == "MWIGetComplete");
        assert_eq!(value(&got[0], "Message"), "Mailboxes will follow");
        let rows: Vec<String> = got[1..got.len() - 1]
            .iter()
            .map(|row| {
                ["Mailbox", "NewMessages", "OldMessages"].map(|name| value(row, name)).join(" ")
            })
            .collect();
        assert_eq!(value(got.last().unwrap(), "ListItems"), rows.len().to_string());
        rows
    };
    assert_eq!(list("1@a"), ["1@a 2 3"]);
    assert_eq!(list("/@b$/"), ["2@b 0 7", "3@b 0 0"]);
    assert_eq!(list("nosuch"), [""; 0]);
    client.ask("Action: MWIDelete\r\nMailbox: /^[23]@b/");
    let mut list = Client::login(&lab, "lab", "off");
    list.send(b"Action: MWIGet\r\nMailbox: /./\r\n\r\n");
    let got = list.until(|message| value(message, "Event") == "MWIGetComplete");
    assert_eq!(got.len(), 3, "one is left: {got:?}");
    lab.stop();
}

#[test]
fn clients_hear_of_messages_and_the_console_shows_them() {
    let mut lab = Lab::start(&Setup { endpoints: ACCOUNTS, managers: USERS, ..Setup::default() });
    let mut client = Client::login(&lab, "lab", "on");
    for (command, ok, want) in [
        ("mwi update mailbox 1@a 2 3", true, "Updated mailbox 1@a to 2 new, 3 old"),
        ("mwi update mailbox 2@b", true, "Updated mailbox 2@b to 0 new, 0 old"),
        ("mwi update mailbox 2@b many", false, "Usage: mwi update mailbox"),
        ("mwi list all", true, "2 3 0 0 1@a 0 0 0 0 2@b 2 mailboxes"),
        ("mwi list like ^2", true, "2@b 1 mailboxes"),
        ("mwi list like (", false, "'(' is no regular expression"),
        ("mwi show mailbox 1@a", true, "New Messages: 2 (0 urgent) Old Messages: 3 (0 urgent)"),
        ("mwi show mailbox 9", false, "Nobody has counted the messages of '9'"),
        ("explain vm@mwi:aor", true, "INUSE (2 new, 3 old)"),
        ("core show hints", true, "- 0 hints registered"),
        ("mwi delete mailbox 2@b", true, "Deleted 1 mailboxes"),
        ("mwi delete like nosuch", true, "Deleted 0 mailboxes"),
        ("mwi delete all", true, "Deleted 1 mailboxes"),
    ] {
        let (text, went_well) = lab.console.run(command);
        let words = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if command != "core show hints" {
            assert!(went_well == ok && words.contains(want), "{command}: {text}");
        } else {
            assert!(!words.contains("mwi:aor"), "{text}");
        }
    }
    let got = client.until(|message| {
        value(message, "Event") == "MessageWaiting" && value(message, "Mailbox") == "1@a"
    });
    let event = got.last().unwrap();
    let fields = ["Privilege", "Waiting", "New", "Old"].map(|name| value(event, name));
    assert_eq!(fields, ["call,all", "1", "2", "3"]);
    lab.stop();
}
