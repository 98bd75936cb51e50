//! The captured conversations with the manager interface and the console, beside watchers.

use crate::ami_client::{Message, value};
use crate::capture::{Step, parse};
use crate::deviations::{
    ABILITIES, BASE64, DATABASE, HELP, INSIDES, INSTANCE, LISTS, PACKAGES, PARTIES, PATTERNS,
    REASON, SECURITY, SPELLING, TOLD,
};
use crate::driver::Driver;
use crate::lab::{Lab, Setup};
use crate::phone::Phone;
use crate::traces::check_met;

const MANAGER: &str = include_str!("../captures/ami-presence.txt");
const CONSOLE: &str = include_str!("../captures/cli.txt");
const RESOURCE_LISTS: &str = include_str!("../fixtures/asterisk-lab/resource-lists.conf");
const REFUSALS: &str = include_str!("../captures/sip-06-errors.txt");

/// What the lab had beside its lamps when these conversations began.
const BEFORE: [&str; 9] = [
    "source set PJSIP/denied UNAVAILABLE",
    "source set PJSIP/watcher UNAVAILABLE",
    "source set PJSIP/watcher3 UNAVAILABLE",
    "source set MWI:2000 INUSE",
    "source set MWI:2001 INUSE",
    "devstate change Custom:p7701 INUSE",
    "presencestate change CustomPresence:lamp0 NOT_SET",
    "presencestate change CustomPresence:lamp1 not_set",
    "presencestate change CustomPresence:ponly dnd,,busy",
];

/// A lab with those states, on one and on two shards.
fn in_the_lab(story: impl Fn(&mut Lab)) {
    for shard_count in [1, 2] {
        let mut lab =
            Lab::start(&Setup { shard_count, endpoints: RESOURCE_LISTS, ..Setup::default() });
        for command in BEFORE {
            let (output, went_well) = lab.console.run(command);
            assert!(went_well, "{command}: {output}");
        }
        story(&mut lab);
        lab.stop();
    }
}

/// Trace 20, while a phone watches `lamp0`: it is told whatever a manager is told of that lamp.
#[test]
fn states_set_by_a_manager() {
    let steps = parse(MANAGER);
    assert_eq!(steps.iter().filter(|step| matches!(step, Step::Asked(_))).count(), 175);
    let failure =
        steps.iter().position(|step| matches!(step, Step::Title(t) if t == "login failure"));
    let (states, failure) = steps.split_at(failure.expect("the last heading"));
    in_the_lab(|lab| {
        let mut phone = Phone::new(lab.address, [127, 0, 0, 1], "lamp0");
        phone.wants.push_str("User-Agent: Sangoma P315 4_15_0\r\n");
        assert_eq!(phone.subscribe(600)["status"], "200");
        assert_eq!(phone.notify()["note"], "Some(\"Ready\")");
        let mut told_count = 0;
        let mut driver = Driver::new(lab, "20", 1);
        for step in states {
            driver.run(std::slice::from_ref(step), |_, _| ());
            let Step::Heard(messages) = step else { continue };
            for event in messages.iter().filter(|event| is_news_of_lamp0(event)) {
                check_told(&mut phone, event);
                told_count += 1;
            }
        }
        driver.run(&with_requests(failure), |_, _| ());
        driver.leave_manager();
        check_met(&driver, &[BASE64, PATTERNS, REASON, SECURITY, SPELLING]);
        assert_eq!(told_count, 6);
        // Nothing else was told before the end.
        assert_eq!(phone.subscribe(0)["status"], "200");
        assert_eq!(phone.notify()["Subscription-State"], "terminated");
    });
}

/// An event, not the row of a list.
fn is_news_of_lamp0(event: &Message) -> bool {
    value(event, "Privilege") == "call,all" && value(event, "Exten") == "lamp0"
}

/// The next NOTIFY says what the event says.
fn check_told(phone: &mut Phone, event: &Message) {
    let notify = phone.notify();
    if value(event, "Event") == "ExtensionStatus" {
        let note = match value(event, "StatusText") {
            "Idle" => "Ready",
            "InUse" => "On the phone",
            text => text,
        };
        assert_eq!(notify["note"], format!("Some({note:?})"));
        return;
    }
    let [kind, subtype, message] = ["Status", "Subtype", "Message"].map(|name| value(event, name));
    let (kind, subtype, message) = (kind.to_owned(), subtype.to_owned(), message.to_owned());
    let want = lampfield_wire::DigiumPresence { kind, subtype, message };
    assert_eq!(notify["digium"], format!("{:?}", Some(want)));
}

/// The capture of the failed login has no requests.
fn with_requests(failure: &[Step]) -> Vec<Step> {
    let [title, Step::Greeted, Step::Heard(replies)] = failure else { panic!("{failure:?}") };
    let [denied, failed] = &replies[..] else { panic!("{replies:?}") };
    let ask = |text: &str| Step::Asked(text.to_owned());
    vec![
        title.clone(),
        Step::Greeted,
        ask("Action: Ping"),
        Step::Heard(vec![denied.clone()]),
        ask("Action: Login\r\nUsername: lab\r\nSecret: wrong"),
        Step::Heard(vec![failed.clone()]),
    ]
}

/// Trace 21. One subscription was there before, from trace 06: its time is set back by what had
/// gone by.
#[test]
fn states_and_watchers_on_the_console() {
    let before: Vec<Step> = parse(REFUSALS)
        .into_iter()
        .filter(|step| is_of(step, "519ef875991f@lab"))
        .map(|step| with_expires(step, 491))
        .collect();
    assert_eq!(before.len(), 4, "SUBSCRIBE, NOTIFY and their answers");
    let steps = parse(CONSOLE);
    in_the_lab(|lab| {
        lab.console.run("presencestate change CustomPresence:bob away");
        let mut driver = Driver::new(lab, "21", 1);
        driver.run(&before, |_, _| ());
        driver.run(&steps, |_, _| ());
        driver.leave_manager();
        let differences = [
            ABILITIES, DATABASE, HELP, INSIDES, INSTANCE, LISTS, PACKAGES, PARTIES, PATTERNS,
            SECURITY, TOLD,
        ];
        check_met(&driver, &differences);
    });
}

fn is_of(step: &Step, call_id: &str) -> bool {
    matches!(step, Step::Message(message) if message.header("Call-ID") == call_id)
}

/// The message with another duration.
fn with_expires(mut step: Step, expires_s: u32) -> Step {
    if let Step::Message(message) = &mut step {
        for line in &mut message.head {
            if line.starts_with("Expires: ") {
                *line = format!("Expires: {expires_s}");
            } else if line.starts_with("Subscription-State: active;") {
                *line = format!("Subscription-State: active;expires={expires_s}");
            }
        }
    }
    step
}
