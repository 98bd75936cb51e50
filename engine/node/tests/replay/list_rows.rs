//! What every server of resource lists must do, in both dialects: rows L1 to L14 of the
//! acceptance list in `reference/sip-pubsub.md` section 23.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lampfield_core::config::Dialect;
use lampfield_core::flow::Transport;
use lampfield_wire::{Frame, next_frame};

use crate::facts::Facts;
use crate::lab::{Lab, Setup};
use crate::phone::{Line, Phone};

/// The lists of the captures, and some that they had not.
const LISTS: &str = concat!(
    include_str!("../fixtures/asterisk-lab/resource-lists.conf"),
    "
[twice]
type=resource_list
event=presence
list_item=lamp0,lamp1,lamp0
list_item=lamp1

[outer]
type=resource_list
event=presence
list_item=lamp0,inner,lamp1,loop

[inner]
type=resource_list
event=presence
list_item=lamp2,innermost,outer,lamp0

[innermost]
type=resource_list
event=presence
list_item=lamp3

[loop]
type=resource_list
event=presence
list_item=loop,outer,nosuch
"
);

/// Batch interval of list `plb5`, and how long nothing comes when nothing is to come.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_millis(1300);

fn in_both_dialects(story: impl Fn(&mut Lab, Dialect)) {
    in_both_dialects_over(Transport::Udp, story);
}

fn in_both_dialects_over(transport: Transport, story: impl Fn(&mut Lab, Dialect)) {
    for dialect in [Dialect::Asterisk, Dialect::Rfc] {
        let dialect_set = Some(dialect);
        let setup = Setup { dialect: dialect_set, endpoints: LISTS, transport, ..Setup::default() };
        let mut lab = Lab::start(&setup);
        story(&mut lab, dialect);
        lab.stop();
    }
}

impl Lab {
    /// A phone that knows lists.
    fn watcher(&self, list: &str) -> Phone {
        knowing_lists(Phone::new(self.address, [127, 0, 0, 1], list))
    }

    fn change(&mut self, lamp: &str, state: &str) {
        let (output, went_well) =
            self.console.run(&format!("devstate change Custom:{lamp} {state}"));
        assert!(went_well, "{output}");
    }

    /// Waits until a change has come to the shard of a phone's list, where it waits.
    fn wait_until_waiting(&mut self, phone: &Phone) {
        let begun = Instant::now();
        let show = format!("subscriptions show {}", phone.call_id);
        while !self.console.run(&show).0.contains("5 members, 1 to be told") {
            assert!(begun.elapsed() < BATCH_INTERVAL, "the change never comes");
        }
    }
}

fn knowing_lists(mut phone: Phone) -> Phone {
    phone.wants = "Event: presence\r\n\
         Accept: application/pidf+xml, application/rlmi+xml, multipart/related\r\n\
         Supported: eventlist\r\n"
        .to_owned();
    phone
}

impl Phone {
    /// Subscribes to a list: the first NOTIFY.
    fn watch(&mut self) -> Facts {
        let response = self.subscribe(600);
        assert_eq!((&*response["status"], &*response["Require"]), ("200", "eventlist"));
        let notify = self.notify();
        assert_eq!(shown(&notify).0, (0, true));
        notify
    }

    fn expect_silence(&self) {
        let got = self.line.receive(SILENCE);
        assert!(got.is_none(), "{}", String::from_utf8_lossy(&got.unwrap_or_default()));
    }
}

/// Version, whether all members are shown, and each with its note.
fn shown(notify: &Facts) -> ((u32, bool), String) {
    assert_eq!(notify["Require"], "eventlist");
    assert_eq!(notify["Content-Type"], "multipart/related;type=\"application/rlmi+xml\"");
    let version = notify["list version"].parse().expect("a version");
    ((version, notify["list is full"] == "true"), members(notify, ""))
}

/// The members of a list whose facts stand behind `prefix`.
fn members(notify: &Facts, prefix: &str) -> String {
    let uris = notify[&format!("{prefix}resources")].split(' ').filter(|uri| !uri.is_empty());
    let told = uris.map(|uri| {
        let user = uri.trim_start_matches("sip:").split('@').next().expect("a user");
        let member = format!("{prefix}{user}: ");
        assert_eq!(notify[&format!("{member}name")], user);
        match notify.get(&format!("{member}note")) {
            Some(note) => format!("{user} {note}"),
            None => format!("{user} [{}]", members(notify, &member)),
        }
    });
    told.collect::<Vec<_>>().join(", ").replace("Some(\"", "").replace("\")", "")
}

const IDLE: &str = "lamp0 Ready, lamp1 Ready, lamp2 Ready, lamp3 Ready, lamp4 Ready";

#[test]
fn l1_l2_and_l3_what_changed_then_all_then_the_end() {
    for (list, is_full) in [("pl5", false), ("plf5", true)] {
        in_both_dialects(|lab, dialect| {
            let mut phone = lab.watcher(list);
            let first = phone.watch();
            assert_eq!(shown(&first).1, IDLE);
            lab.change("lamp1", "INUSE");
            let all = IDLE.replace("lamp1 Ready", "lamp1 On the phone");
            let want = if is_full { &all } else { "lamp1 On the phone" };
            assert_eq!(shown(&phone.notify()), ((1, is_full), want.to_owned()));
            assert_eq!(phone.subscribe(600)["status"], "200");
            let again = phone.notify();
            assert_eq!(shown(&again), ((2, true), all.clone()));
            for lamp in ["lamp0", "lamp1", "lamp4"] {
                let id = format!("{lamp}: instance id");
                assert_eq!(again[&id], first[&id], "an instance keeps its id");
            }
            assert_eq!(phone.subscribe(0)["status"], "200");
            let last = phone.notify();
            assert_eq!(last["Subscription-State"], "terminated");
            assert_eq!(shown(&last), ((3, true), all));
            let ended = match dialect {
                Dialect::Asterisk => "terminated",
                Dialect::Rfc => "active",
            };
            assert_eq!(last["lamp0: instance state"], ended);
            lab.change("lamp1", "RINGING");
            phone.expect_silence();
        });
    }
}

#[test]
fn l4_l5_and_l6_changes_wait_for_each_other() {
    in_both_dialects(|lab, _| {
        let mut phone = lab.watcher("plb5");
        phone.watch();
        for (changes, version, want) in [
            (&[("lamp0", "INUSE")][..], 1, "lamp0 On the phone"),
            (&[("lamp0", "NOT_INUSE"), ("lamp3", "INUSE")], 2, "lamp0 Ready, lamp3 On the phone"),
            (&[("lamp3", "RINGING"), ("lamp3", "NOT_INUSE")], 3, "lamp3 Ready"),
        ] {
            let started_at = Instant::now();
            changes.iter().for_each(|(lamp, state)| lab.change(lamp, state));
            let got = shown(&phone.notify());
            assert!(started_at.elapsed() >= BATCH_INTERVAL, "{:?}", started_at.elapsed());
            assert_eq!(got, ((version, false), want.to_owned()));
        }
        phone.expect_silence();
    });
}

#[test]
fn l7_and_l8_a_subscribe_takes_along_what_waits() {
    in_both_dialects(|lab, _| {
        let mut phone = lab.watcher("plb5");
        phone.watch();
        for (state, note, expires_s, version) in
            [("INUSE", "On the phone", 600, 1), ("RINGING", "Ringing", 0, 2)]
        {
            let started_at = Instant::now();
            lab.change("lamp4", state);
            lab.wait_until_waiting(&phone);
            assert_eq!(phone.subscribe(expires_s)["status"], "200");
            let notify = phone.notify();
            assert!(started_at.elapsed() < BATCH_INTERVAL, "{:?}", started_at.elapsed());
            let all = IDLE.replace("lamp4 Ready", &format!("lamp4 {note}"));
            assert_eq!(shown(&notify), ((version, true), all));
            assert_eq!(notify["Subscription-State"] == "terminated", expires_s == 0);
            phone.expect_silence();
        }
    });
}

#[test]
fn l9_to_l12_what_is_shown_of_odd_lists_and_what_is_no_list() {
    in_both_dialects(|lab, dialect| {
        for (list, want) in [
            ("twice", "lamp0 Ready, lamp1 Ready"),
            ("plbad", "lamp0 Ready, lamp1 Ready"),
            ("plloop", "lamp0 Ready"),
        ] {
            assert_eq!(shown(&lab.watcher(list).watch()).1, want, "{list}");
        }
        let mut of_nobody = lab.watcher("plallbad");
        match dialect {
            Dialect::Asterisk => assert_eq!(of_nobody.subscribe(600)["status"], "500"),
            Dialect::Rfc => assert_eq!(shown(&of_nobody.watch()).1, ""),
        }
        let status = |list: &str, edit: fn(&mut String)| {
            let mut phone = lab.watcher(list);
            edit(&mut phone.wants);
            let response = phone.subscribe(600);
            (response["status"].clone(), response.get("Require").cloned())
        };
        let not_found = ("404".to_owned(), None);
        assert_eq!(status("nosuch", |_| ()), not_found);
        let as_dialogs = |wants: &mut String| {
            *wants = wants.replace("presence", "dialog").replace("pidf", "dialog-info");
        };
        assert_eq!(status("pl5", as_dialogs), not_found);
        let unaware = match dialect {
            Dialect::Asterisk => not_found,
            Dialect::Rfc => ("421".to_owned(), Some("eventlist".to_owned())),
        };
        assert_eq!(status("pl5", |wants| *wants = wants.replace("eventlist", "100rel")), unaware);
    });
}

/// A TCP connection.
struct Stream {
    stream: TcpStream,
    rest: RefCell<Vec<u8>>,
}

impl Line for Stream {
    fn transport(&self) -> &'static str {
        "TCP"
    }

    fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("connected")
    }

    fn send(&self, message: &[u8]) {
        (&self.stream).write_all(message).expect("sent");
    }

    fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(within)).expect("set");
        let mut rest = self.rest.borrow_mut();
        loop {
            if let Frame::Message { bytes } = next_frame(&rest).expect("whole messages") {
                return Some(rest.drain(..bytes).collect());
            }
            let mut buffer = [0; 4096];
            let length = (&self.stream).read(&mut buffer).ok()?;
            assert_ne!(length, 0, "the node has closed the connection");
            rest.extend_from_slice(&buffer[..length]);
        }
    }
}

#[test]
fn l13_long_lists_go_over_tcp() {
    in_both_dialects_over(Transport::Tcp, |lab, _| {
        for (list, count) in [("pl20", 20), ("pl50", 50)] {
            let stream = TcpStream::connect(lab.address).expect("connected");
            let line = Stream { stream, rest: RefCell::default() };
            let mut phone = knowing_lists(Phone::on(Box::new(line), lab.address, list));
            let first = shown(&phone.watch()).1;
            let users: Vec<&str> =
                first.split(", ").map(|told| told.split(' ').next().expect("a user")).collect();
            assert_eq!(users, (0..count).map(|n| format!("lamp{n}")).collect::<Vec<_>>());
            lab.change("lamp7", "INUSE");
            let want = ((1, false), "lamp7 On the phone".to_owned());
            assert_eq!(shown(&phone.notify()), want);
            assert_eq!(phone.subscribe(0)["status"], "200");
            let last = phone.notify();
            assert_eq!(last["Subscription-State"], "terminated");
            assert_eq!(shown(&last).1, first.replace("lamp7 Ready", "lamp7 On the phone"));
            lab.change("lamp7", "NOT_INUSE");
        }
    });
}

#[test]
fn l14_lists_within_lists_have_versions_of_their_own() {
    in_both_dialects(|lab, _| {
        let mut phone = lab.watcher("outer");
        let first = phone.watch();
        let want = "lamp0 Ready, inner [lamp2 Ready, innermost [lamp3 Ready]], lamp1 Ready";
        assert_eq!(shown(&first).1, want, "loops and what came before are cut");
        lab.change("lamp1", "INUSE");
        assert_eq!(shown(&phone.notify()), ((1, false), "lamp1 On the phone".to_owned()));
        lab.change("lamp3", "INUSE");
        let got = phone.notify();
        let want = "inner [innermost [lamp3 On the phone]]";
        assert_eq!(shown(&got), ((2, false), want.to_owned()));
        for list in ["inner", "inner: innermost"] {
            let fact = |name: &str| &*got[&format!("{list}: {name}")];
            assert_eq!((fact("list version"), fact("list is full")), ("1", "false"), "{list}");
        }
    });
}
