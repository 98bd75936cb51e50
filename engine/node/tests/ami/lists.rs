//! Resource lists, as AMI and the console show them.

use crate::ami_client::header_of;
use crate::harness::{Client, Message, USERS, header, start, value};
use crate::lab::{Lab, Setup};

/// What an Asterisk with these lists answered.
const CAPTURE: &str = include_str!("../captures/ami-resource-lists.txt");
const LISTS: &str = include_str!("../fixtures/asterisk-lab/resource-lists.conf");

fn start_with_lists() -> Lab {
    Lab::start(&Setup { endpoints: LISTS, managers: USERS, ..Setup::default() })
}

#[test]
fn lists_are_listed_as_an_asterisk_lists_them() {
    let lab = start_with_lists();
    let mut want: Vec<Message> =
        CAPTURE.trim().split("\n\n").map(|text| text.lines().map(header_of).collect()).collect();
    // 200 of the lists are not in our copy.
    let count = want.last_mut().unwrap().last_mut().unwrap();
    assert_eq!(*count, header("ListItems", "218"));
    count.1 = "18".to_owned();
    let mut client = Client::login(&lab, "lab", "off");
    client.send(b"Action: PJSIPShowResourceLists\r\nActionID: a4\r\n\r\n");
    let got = client.until(|message| value(message, "EventList") == "Complete");
    assert_eq!(got, want);
    for user in ["calls", "powerless"] {
        let mut client = Client::login(&lab, user, "off");
        let reply = client.ask("Action: PJSIPShowResourceLists");
        assert_eq!(value(&reply, "Message"), "Permission denied", "{user}");
    }
    lab.stop();
}

#[test]
fn without_lists_the_answer_has_the_stray_line_end_of_an_asterisk() {
    use std::io::Read as _;
    let lab = start();
    let mut client = Client::login(&lab, "lab", "off");
    client.send(b"Action: PJSIPShowResourceLists\r\nActionID: 7\r\n\r\nAction: Logoff\r\n\r\n");
    let mut text = String::new();
    client.stream.read_to_string(&mut text).unwrap();
    let (reply, rest) = text.split_once("Response: Goodbye").unwrap();
    assert_eq!(
        reply,
        "Response: Error\r\nActionID: 7\r\nMessage: No resource lists found\n\r\n\r\n"
    );
    assert!(rest.contains("Thanks"));
    lab.stop();
}

#[test]
fn the_console_shows_lists_and_what_their_members_are() {
    let mut lab = start_with_lists();
    for (command, ok, wants) in [
        (
            "lists show",
            true,
            &["plb5 presence 5 no 1000 no", "plf5 presence 5 yes 0 no", "18 lists, 0 rules"][..],
        ),
        (
            "lists show plnest",
            true,
            &[
                "Package : presence",
                "Members : 2",
                "pl5 : a list of 5",
                "2000 : PJSIP/2000,CustomPresence:2000 in hints",
            ],
        ),
        ("lists show plbad", true, &["nosuch : nothing, left out"]),
        ("LISTS show dl5", true, &["Package : dialog", "Batch interval : 0 ms"]),
        ("lists show ml3", true, &["Package : message-summary", "2001 : nothing, left out"]),
        ("lists show nosuch", false, &["There is no resource list 'nosuch'"]),
        ("lists show a b", false, &["Usage: lists show [name]"]),
        ("help lists", true, &["lists show Resource lists, or the members of one"]),
    ] {
        let (text, went_well) = lab.console.run(command);
        assert_eq!(went_well, ok, "{command}: {text}");
        let words = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        for want in wants {
            assert!(words.contains(want), "{command}: {text}");
        }
    }
    let (names, _) = lab.console.ask("complete", "lists show dl");
    assert_eq!(names.split_ascii_whitespace().collect::<Vec<_>>(), ["dl20", "dl5", "dl50"]);
    lab.stop();
    let mut lab = start();
    assert_eq!(lab.console.run("lists show"), ("No resource lists\n".to_owned(), true));
    lab.stop();
}
