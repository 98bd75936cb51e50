//! The console over its socket and over AMI: our own commands, completion, and who may connect.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::console_client::Console;
use crate::harness::{Client, Message, start, value};
use crate::lab::{CONSOLE, Lab, Setup, boot, scratch};
use crate::phone::Phone;

#[test]
fn ami_command_prints_the_same_line_by_line() {
    let (lab, _phone) = watched();
    let mut client = Client::login(&lab, "lab", "off");
    let reply = client.ask("Action: Command\r\nActionID: 3\r\nCommand: core show hint lamp0");
    let row = "lamp0@hints                   : Custom:lamp0,CustomPresence:lamp0                   \
               \u{20}         State:Idle            Presence:not_set         Watchers  1";
    let want: Message = [
        ("Response", "Success"),
        ("ActionID", "3"),
        ("Message", "Command output follows"),
        ("Output", row),
        ("Output", "1 hint matching extension lamp0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(reply, want);
    for (command, response, message) in [
        ("nonsense", "Error", "Command output follows"),
        ("presencestate change SIP:x away", "Error", "Command output follows"),
        ("module  load x", "Error", "Command blacklisted"),
        ("", "Error", "No command provided"),
    ] {
        let reply = client.ask(&format!("Action: Command\r\nCommand: {command}"));
        assert_eq!((value(&reply, "Response"), value(&reply, "Message")), (response, message));
    }
    lab.stop();
}

#[test]
fn our_commands_tell_what_is_going_on() {
    let (mut lab, phone) = watched();
    let show = format!("subscriptions show {}", phone.call_id);
    for (command, ok, want) in [
        ("core show version", true, "Lampfield "),
        ("core show uptime", true, "System uptime: "),
        ("subscriptions", true, "1 subscriptions, 1 shown"),
        ("subscriptions list 0", true, "1 subscriptions, 0 shown"),
        ("subscriptions list x", false, "Usage: subscriptions list"),
        (&show, true, "Acknowledged    : Idle "),
        ("subscriptions show nosuch", false, "There is no subscription with Call-ID 'nosuch'"),
        ("pjsip show subscription inbound nosuch", false, "There is no subscription"),
        ("shards", true, "NOTIFY"),
        ("counters", true, "notify_sent"),
        ("net", true, "turn"),
        ("latency", true, "change to acknowledged   all"),
        ("latency now", false, "Usage: latency [reset]"),
        ("latency reset", true, "Latencies are counted anew"),
        ("source set PJSIP/2000 RINGING", true, "Reported PJSIP/2000 as RINGING"),
        ("core show hint 2000", true, "State:Ringing "),
        ("source set pjsip/2000 inuse", true, "Reported pjsip/2000 as INUSE"),
        ("core show hint 2000@h", true, "State:InUse "),
        ("source set nothing INUSE", false, "'nothing' is of no known provider"),
        ("source set PJSIP/2000 bogus", false, "Usage: source set"),
        ("devstate change Custom:m1 RINGING", true, "Changing m1 to RINGING"),
        ("devstate change Custom:m2 ONHOLD", true, "Changing m2 to ONHOLD"),
        (
            "explain multi",
            true,
            "2 together are RINGINUSE, because one rings beside one that is in use, held or busy: \
             extension state InUse&Ringing",
        ),
        ("explain multi@hints", true, "multi@hints shows InUse&Ringing (9), presence not_set"),
        ("explain lamp0", true, "acknowledged Idle "),
        ("explain 2000", true, " s ago"),
        ("explain 7742", true, "Custom:p7742"),
        ("explain nosuch", false, "There is no hint for 'nosuch'"),
        ("explain lamp0@nowhere", false, "There is no hint for 'lamp0' in 'nowhere'"),
        (r"presencestate change CustomPresence:bob away,a\,b", true, "Changing bob to away"),
        ("presencestate list", true, "--- Subtype: 'a,b'"),
        ("presencestate change CustomPresence:bob away,a,b,c", false, "`c` is not an option"),
        ("presencestate change CustomPresence:bob away,?,,e", false, "is not base64"),
        ("tenants", true, "* default"),
        ("tenant nobody", false, "There is no tenant 'nobody'"),
        ("tenant default", true, "Tenant default"),
        ("help devstate change", true, "Usage: devstate change <device> <state>"),
        ("help", true, "Why a lamp shows what it shows"),
        ("reload", true, "Configuration read and handed to all shards"),
        ("core show hint", false, "Usage: core show hint <exten>"),
        ("", true, ""),
    ] {
        // A change takes its way from the source's shard to the extension's, and an answer from
        // the phone to its shard.
        let end = Instant::now() + Duration::from_secs(5);
        let (text, went_well) = loop {
            let (text, went_well) = lab.console.run(command);
            if text.contains(want) || Instant::now() > end {
                break (text, went_well);
            }
        };
        assert!(text.contains(want), "{command}: {text}");
        assert_eq!(went_well, ok, "{command}: {text}");
    }
    lab.stop();
}

#[test]
fn latencies_appear_for_people_and_programs_and_are_counted_anew() {
    let (mut lab, mut phone) = watched();
    assert!(lab.console.run("devstate change Custom:lamp0 INUSE").1);
    phone.notify();
    let causes = [
        "input_to_handled",
        "handled_to_sent",
        "sent_to_acknowledged",
        "change_to_sent",
        "change_to_acknowledged",
        "turn",
    ];
    let ask = |lab: &mut Lab| -> serde_json::Value {
        let (text, went_well) = lab.console.ask("json", "latency");
        assert!(went_well, "{text}");
        serde_json::from_str(&text).expect("JSON")
    };
    // The answer to the NOTIFY is on its way.
    let end = Instant::now() + Duration::from_secs(5);
    let mut told = ask(&mut lab);
    while told["all"]["change_to_acknowledged"]["count"] == 0 && Instant::now() < end {
        told = ask(&mut lab);
    }
    for cause in causes {
        let all = &told["all"][cause];
        let figures = ["p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "max_ns"];
        let figures = figures.map(|name| all[name].as_u64().expect("a number"));
        assert!(figures.is_sorted() && figures[4] < 10_000_000_000, "{cause}: {all}");
        let shards = told["shards"].as_array().expect("shards");
        let counts = shards.iter().map(|shard| shard[cause]["count"].as_u64().expect("a count"));
        assert_eq!(counts.sum::<u64>(), all["count"].as_u64().expect("a count"), "{cause}");
        assert_ne!(all["count"], 0, "{cause}");
    }
    let (text, _) = lab.console.run("latency");
    assert_eq!(text.lines().count(), 1 + causes.len() * 3, "{text}");
    assert!(lab.console.run("latency reset").1);
    assert_eq!(ask(&mut lab)["all"]["sent_to_acknowledged"]["count"], 0);
    for (command, want) in [("counters", "\"notify_sent\":2"), ("net", "\"datagram_in\":")] {
        let (text, went_well) = lab.console.ask("json", command);
        assert!(went_well && text.contains(want), "{command}: {text}");
    }
    let (text, went_well) = lab.console.ask("json", "shards");
    assert!(!went_well && text.starts_with("Only latency, counters and net"), "{text}");
    lab.stop();
}

#[test]
fn lines_are_completed_by_words_and_names() {
    let mut lab = start();
    for command in
        ["devstate change Custom:m1 INUSE", "presencestate change CustomPresence:ponly dnd"]
    {
        assert!(lab.console.run(command).1);
    }
    for (line, want) in [
        ("dev", &["devstate"][..]),
        ("devstate ", &["change", "list"]),
        ("devstate change Custom:m", &["Custom:m1", "Custom:m2"]),
        ("presencestate change CustomPresence:p", &["CustomPresence:ponly"]),
        ("explain lamp99", &["lamp99@hints"]),
        ("source set MWI", &[]),
        ("nothing ", &[]),
    ] {
        let (text, _) = lab.console.ask("complete", line);
        assert_eq!(text.lines().filter(|l| !l.is_empty()).collect::<Vec<_>>(), want, "{line}");
    }
    lab.stop();
}

#[test]
fn the_socket_is_private_and_stale_ones_are_replaced() {
    let lab = start();
    let socket = lab.dir.join(CONSOLE);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A second node may not take the socket of a running one.
    let refused = boot(&lab.dir, &Setup::default()).map(drop).unwrap_err();
    assert!(format!("{refused:#}").contains("another node is running there"), "{refused:#}");
    // Two clients at once, one of them talking nonsense.
    let mut good = Console::open(&socket);
    let mut bad = UnixStream::connect(&socket).unwrap();
    bad.write_all(b"bogus\n").unwrap();
    let mut text = String::new();
    assert_eq!(BufReader::new(bad).read_line(&mut text).unwrap(), 0);
    let mut long = UnixStream::connect(&socket).unwrap();
    // The server may close before all of it is sent.
    let _ = long.write_all(&[b'x'; 100_000]);
    let ended = BufReader::new(long).read_line(&mut text);
    assert!(ended.is_err() || text.is_empty());
    assert!(good.run("core show version").1);
    lab.stop();
    // What a killed node leaves behind does not stop the next one.
    let dir = scratch("stale");
    drop(std::os::unix::net::UnixListener::bind(dir.join(CONSOLE)).unwrap());
    let mut lab = Lab::start_in(dir, &Setup::default());
    assert!(lab.console.run("core show version").1);
    assert_eq!(lab.console.run("core stop now"), ("The node is stopping\n".to_owned(), true));
    lab.stop();
}

/// A node, and a phone that watches `lamp0`.
fn watched() -> (Lab, Phone) {
    let lab = start();
    let mut phone = Phone::new(lab.address, [127, 0, 0, 1], "lamp0");
    assert_eq!(phone.subscribe(600)["status"], "200");
    phone.notify();
    (lab, phone)
}
