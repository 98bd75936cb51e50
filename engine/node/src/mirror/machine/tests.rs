//! Scripts of a server against the machine: what it sends, when it gives up, when it comes back.

use md5::{Digest as _, Md5};

use super::*;
use crate::config::MirrorLogin;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A machine, its time, and what it did in words.
struct Bench {
    machine: Machine,
    now: Duration,
}

impl Bench {
    fn new(config: MirrorConfig) -> Self {
        let user = ("lamp".to_owned(), crate::config::Secret("s3".to_owned()));
        let config = MirrorConfig { user: user.0, secret: user.1, ..config };
        Self { machine: Machine::new(config, 100, 7, s(0)), now: s(0) }
    }

    fn input(&mut self, input: Input<'_>) -> Vec<String> {
        let mut out = Vec::new();
        self.machine.handle(input, self.now, &mut out);
        out.into_iter().map(words).collect()
    }

    fn hear(&mut self, text: &str) -> Vec<String> {
        self.input(Input::Received(text.replace('|', "\r\n").as_bytes()))
    }

    /// Lets time pass up to the next thing the machine wants to do.
    fn wake(&mut self) -> Vec<String> {
        self.now = self.machine.wake_at();
        self.input(Input::Tick)
    }

    fn connect(&mut self) {
        assert_eq!(self.wake(), ["connect"]);
        assert!(self.input(Input::Connected).is_empty());
    }

    /// Logs in, and is asked for the devices.
    fn online(&mut self) -> u64 {
        self.connect();
        self.hear("Asterisk Call Manager/11.0.0|");
        let id = self.machine.last_id;
        self.hear(&format!("Response: Success|ActionID: {id}|Challenge: 123||"));
        let id = self.machine.last_id;
        self.hear(&format!("Response: Success|ActionID: {id}|Message: Authentication accepted||"));
        let asked = self.hear("Event: FullyBooted|Status: Fully Booted||");
        assert!(asked[0].starts_with("DeviceStateList"), "{asked:?}");
        self.machine.last_id
    }

    /// Answers the lists; the next thing is the barrier.
    fn lists(&mut self, devices: &[(&str, &str)]) {
        let id = self.machine.last_id;
        let mut text = format!("Response: Success|ActionID: {id}|EventList: start||");
        for (device, state) in devices {
            text += &format!(
                "Event: DeviceStateChange|ActionID: {id}|Device: {device}|State: {state}||"
            );
        }
        text += &complete("DeviceStateListComplete", id, devices.len());
        assert!(self.hear(&text)[0].starts_with("PresenceStateList"));
        let id = self.machine.last_id;
        let text = format!("Response: Success|ActionID: {id}|EventList: start||");
        self.hear(&text);
        let asked = self.hear(&complete("PresenceStateListComplete", id, 0));
        assert!(asked[0].starts_with("Ping"), "{asked:?}");
    }

    fn pong(&mut self) -> Vec<String> {
        let id = self.machine.last_id;
        self.hear(&format!("Response: Success|ActionID: {id}|Ping: Pong||"))
    }

    fn live() -> Self {
        let mut bench = Self::new(MirrorConfig::default());
        bench.online();
        bench.lists(&[("PJSIP/1", "INUSE")]);
        assert_eq!(bench.pong(), ["synced PJSIP/1 INUSE"]);
        bench
    }

    fn error(&self) -> &str {
        self.machine.last_error.as_ref().map_or("", |(_, text)| text)
    }
}

fn complete(name: &str, id: u64, count: usize) -> String {
    format!("Event: {name}|ActionID: {id}|EventList: Complete|ListItems: {count}||")
}

/// An output in a line.
fn words(output: Output) -> String {
    match output {
        Output::Connect => "connect".to_owned(),
        Output::Disconnect => "disconnect".to_owned(),
        Output::Stale => "stale".to_owned(),
        Output::Send(bytes) => {
            let text = String::from_utf8(bytes).unwrap();
            let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with("ActionID"));
            lines
                .map(|line| line.strip_prefix("Action: ").unwrap_or(line))
                .collect::<Vec<_>>()
                .join("|")
        }
        Output::Synced(snapshot) => {
            let rows = snapshot.into_canonical(Name::clone, |_| None);
            let rows = rows.iter().map(|(name, state)| format!(" {} {state}", name.text));
            format!("synced{}", rows.collect::<String>())
        }
        Output::Changed(name, state) => format!("{} {state}", name.text),
        Output::Answered(name, state) => format!("answer {name} {}", state.token()),
    }
}

#[test]
fn it_logs_in_by_challenge_or_plainly() {
    let mut bench = Bench::new(MirrorConfig::default());
    bench.connect();
    assert_eq!(bench.hear("Asterisk Call Manager/11.0.0|"), ["Challenge|AuthType: MD5"]);
    let answer = bench.hear("Response: Success|ActionID: 1|Challenge: 123456||");
    // MD5 of "123456s3".
    let key = format!("{:x}", md5_of("123456s3"));
    assert_eq!(
        answer,
        [format!("Login|Username: lamp|Events: system,call|AuthType: MD5|Key: {key}")]
    );

    let config = MirrorConfig { login: MirrorLogin::Plain, ..MirrorConfig::default() };
    let mut bench = Bench::new(config);
    bench.connect();
    let sent = bench.hear("Asterisk Call Manager/11.0.0|");
    assert_eq!(sent, ["Login|Username: lamp|Events: system,call|Secret: s3"]);
}

fn md5_of(text: &str) -> u128 {
    Md5::digest(text).iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[test]
fn whatever_goes_wrong_before_it_is_online_is_told_and_tried_again() {
    for (script, error) in [
        (&[][..], "no greeting of a manager interface within 5 s"),
        (&["SSH-2.0-OpenSSH_9|"], "no greeting of a manager interface within 5 s"),
        (&["HTTP/1.1 400 Bad Request|Server: x||"], "this is no manager interface"),
        (&["Asterisk Call Manager/9|"], "Challenge: no answer within 5 s"),
        (
            &["Asterisk Call Manager/9|", "Response: Error|ActionID: 1|Message: Must specify||"],
            "no challenge: Must specify",
        ),
        (
            &["Asterisk Call Manager/9|", "Response: Success|ActionID: 1|Challenge: 1||"],
            "Login: no answer within 5 s",
        ),
        (
            &[
                "Asterisk Call Manager/9|Response: Success|ActionID: 1|Challenge: 1||",
                "Response: Error|ActionID: 2|Message: Authentication failed||",
            ],
            "login refused: Authentication failed",
        ),
        (
            &[
                "Asterisk Call Manager/9|Response: Success|ActionID: 1|Challenge: 1||",
                "Response: Success|ActionID: 2||Event: FullyBooted||",
                "Response: Error|ActionID: 3|Message: Permission denied||",
            ],
            "DeviceStateList refused: Permission denied",
        ),
    ] {
        let mut bench = Bench::new(MirrorConfig::default());
        bench.connect();
        let mut did = Vec::new();
        for text in script {
            did = bench.hear(text);
        }
        if bench.machine.phase() != Phase::Waiting {
            did = bench.wake();
        }
        assert_eq!(did.last().map(String::as_str), Some("disconnect"), "{script:?}");
        assert_eq!(bench.error(), error, "{script:?}");
        assert_eq!(bench.wake(), ["connect"]);
    }
}

#[test]
fn the_pause_doubles_and_is_spread_and_a_refusal_takes_the_longest() {
    let mut bench = Bench::new(MirrorConfig::default());
    for delay_s in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
        let before = bench.now;
        if bench.machine.stale_at().is_some_and(|at| at < s(400)) {
            bench.machine.is_stale = true;
        }
        assert_eq!(bench.wake(), ["connect"]);
        let _ = before;
        assert_eq!(bench.input(Input::Lost("refused")), ["disconnect"]);
        let pause_s = (bench.machine.wake_at() - bench.now).as_secs_f64();
        assert!((delay_s / 2.0..=delay_s).contains(&pause_s), "{pause_s} of {delay_s}");
    }
    // Two machines do not come back together.
    let mut pauses = Vec::new();
    for seed in [1, 2] {
        let mut machine = Machine::new(MirrorConfig::default(), 100, seed, s(0));
        machine.handle(Input::Tick, s(0), &mut Vec::new());
        machine.handle(Input::Lost("refused"), s(0), &mut Vec::new());
        pauses.push(machine.wake_at());
    }
    assert_ne!(pauses[0], pauses[1]);

    let mut bench = Bench::new(MirrorConfig::default());
    bench.connect();
    bench.hear("Asterisk Call Manager/9|Response: Success|ActionID: 1|Challenge: 1||");
    bench.hear("Response: Error|ActionID: 2|Message: Authentication failed||");
    assert!(bench.machine.wake_at() - bench.now >= s(30), "not every second");
}

#[test]
fn a_connection_that_held_lets_the_next_pause_be_short() {
    for (held_s, longest) in [(29, s(2)), (31, s(1))] {
        let mut bench = Bench::new(MirrorConfig::default());
        bench.connect();
        bench.input(Input::Lost("refused"));
        bench.online();
        bench.lists(&[]);
        bench.pong();
        bench.now += s(held_s);
        bench.input(Input::Lost("gone"));
        let pause = bench.machine.wake_at() - bench.now;
        assert!(pause <= longest && pause > longest / 2, "{held_s}: {pause:?}");
    }
}

#[test]
fn lists_and_the_changes_beside_them_are_taken_over_at_once() {
    let mut bench = Bench::new(MirrorConfig::default());
    let id = bench.online();
    let event = |device: &str, state: &str| {
        format!("Event: DeviceStateChange|Privilege: call,all|Device: {device}|State: {state}||")
    };
    // Before the list: it knows better. After it, and before the pong: newer than the list.
    let row = format!("Event: DeviceStateChange|ActionID: {id}|Device: a|State: INUSE||");
    assert!(bench.hear(&event("a", "RINGING")).is_empty());
    bench.hear(&format!("Response: Success|ActionID: {id}|EventList: start||{row}"));
    bench.hear(&row.replace("Device: a", "Device: b"));
    bench.hear(&complete("DeviceStateListComplete", id, 2));
    assert!(bench.hear(&event("b", "ONHOLD")).is_empty());
    let id = bench.machine.last_id;
    let refused = format!("Response: Error|ActionID: {id}|Message: Invalid/unknown command||");
    assert_eq!(bench.hear(&refused), ["Ping"], "a server without presence has lamps");
    assert!(bench.hear(&event("c", "BUSY")).is_empty());
    assert_eq!(bench.pong(), ["synced a INUSE b ONHOLD c BUSY"]);
    assert_eq!(bench.hear(&event("a", "BUSY")), ["a BUSY"], "now at once");
    let foreign = "Event: DeviceStateChange|ActionID: 77|Device: a|State: INUSE||";
    assert!(bench.hear(foreign).is_empty(), "a row of a list nobody asked for");
}

#[test]
fn a_server_that_is_starting_is_compared_again_when_it_is_up() {
    let mut bench = Bench::new(MirrorConfig::default());
    bench.connect();
    bench.hear("Asterisk Call Manager/9|Response: Success|ActionID: 1|Challenge: 1||");
    assert!(bench.hear("Response: Success|ActionID: 2||").is_empty());
    let start = bench.now;
    assert!(bench.wake()[0].starts_with("DeviceStateList"), "not for ever");
    assert_eq!(bench.now - start, BOOT_PATIENCE);
    bench.lists(&[]);
    assert_eq!(bench.pong(), ["synced"]);
    bench.hear("Event: FullyBooted||");
    assert!(bench.wake()[0].starts_with("DeviceStateList"), "and again");
    bench.lists(&[("a", "INUSE")]);
    assert_eq!(bench.pong(), ["synced a INUSE"]);

    // It said so once: it is waited for when it starts again, and nothing is taken over half.
    bench.input(Input::Lost("restarted"));
    while bench.wake() != ["connect"] {}
    bench.input(Input::Connected);
    let id = bench.machine.last_id + 1;
    bench.hear("Asterisk Call Manager/9|");
    bench.hear(&format!("Response: Success|ActionID: {id}|Challenge: 1||"));
    bench.hear(&format!("Response: Success|ActionID: {}||", id + 1));
    bench.now += s(100);
    assert!(bench.input(Input::Tick).is_empty());
    assert!(bench.hear("Event: FullyBooted||")[0].starts_with("DeviceStateList"));
}

#[test]
fn a_silent_server_is_found_out() {
    // Live: it does not answer the ping.
    let mut bench = Bench::live();
    let start = bench.now;
    assert_eq!(bench.wake(), ["Ping"]);
    assert_eq!(bench.now - start, s(10));
    assert_eq!(bench.wake(), ["disconnect"]);
    assert_eq!(bench.now - start, s(15));
    assert_eq!(bench.error(), "Online: no answer within 5 s");

    // It answers: on it goes. Changes are no answers.
    let mut bench = Bench::live();
    for _ in 0..3 {
        assert_eq!(bench.wake(), ["Ping"]);
        assert!(bench.pong().is_empty());
    }
    assert_eq!(bench.wake(), ["Ping"]);
    bench.now += s(4);
    bench.hear("Event: DeviceStateChange|Device: a|State: INUSE||");
    assert_eq!(bench.wake(), ["disconnect"]);

    // In the middle of a list: each row gives it time.
    let mut bench = Bench::new(MirrorConfig::default());
    let id = bench.online();
    let row = format!("Event: DeviceStateChange|ActionID: {id}|Device: a|State: INUSE||");
    bench.hear(&format!("Response: Success|ActionID: {id}|EventList: start||"));
    for _ in 0..5 {
        bench.now += s(4);
        assert!(bench.hear(&row).is_empty());
    }
    let start = bench.now;
    let mut did = bench.wake();
    // It pings in between; nothing answers that, either.
    while did == ["Ping"] {
        did = bench.wake();
    }
    assert_eq!(did, ["disconnect"]);
    assert!(bench.now - start <= s(5));
}

#[test]
fn everything_is_compared_again_now_and_then_without_holding_changes_back() {
    let config = MirrorConfig { resync: s(60), ping: s(3600), ..MirrorConfig::default() };
    let mut bench = Bench::new(config);
    bench.online();
    bench.lists(&[]);
    bench.pong();
    assert!(bench.wake()[0].starts_with("DeviceStateList"));
    assert!(bench.now >= s(60) && bench.now < s(61));
    assert_eq!(bench.hear("Event: DeviceStateChange|Device: a|State: BUSY||"), ["a BUSY"]);
    bench.lists(&[("b", "INUSE")]);
    assert_eq!(bench.pong(), ["synced a BUSY b INUSE"]);
    bench.input(Input::Resync);
    assert!(bench.wake()[0].starts_with("DeviceStateList"), "and when it is told to");
}

#[test]
fn questions_go_in_a_window_and_answers_find_their_names() {
    let mut bench = Bench::live();
    let names: Vec<Arc<str>> = (0..40).map(|n| format!("PJSIP/{n}").into()).collect();
    let first = bench.machine.last_id + 1;
    let sent = bench.input(Input::Ask(names));
    assert_eq!(sent.len(), QUESTION_WINDOW);
    assert_eq!(sent[3], "Getvar|Variable: DEVICE_STATE(PJSIP/3)");
    let answer = |id: u64, value: &str| {
        format!("Response: Success|ActionID: {id}|Variable: x|Value: {value}||")
    };
    let did = bench.hear(&answer(first, "NOT_INUSE"));
    assert_eq!(did, ["answer PJSIP/0 NOT_INUSE", "Getvar|Variable: DEVICE_STATE(PJSIP/32)"]);
    // One that could not be read is passed over.
    let did = bench.hear(&answer(first + 2, "INVALID"));
    assert_eq!(did[0], "answer PJSIP/2 INVALID");
    assert_eq!(did.len(), 3);
    let error = format!("Response: Error|ActionID: {}|Message: Permission denied||", first + 3);
    assert_eq!(bench.hear(&error), ["Getvar|Variable: DEVICE_STATE(PJSIP/35)"]);
}

#[test]
fn it_is_stale_once_when_it_has_not_been_seen_for_long() {
    let config = MirrorConfig { stale_after: s(3), ..MirrorConfig::default() };
    let mut bench = Bench::new(config);
    bench.connect();
    assert_eq!(bench.wake(), ["stale"], "never seen");
    assert_eq!(bench.now, s(3));
    assert_eq!(bench.wake(), ["disconnect"]);
    bench.online();
    bench.lists(&[]);
    bench.pong();
    bench.now += s(2);
    bench.input(Input::Lost("gone"));
    let lost = bench.now;
    let mut did = Vec::new();
    for _ in 0..5 {
        did.extend(bench.wake());
        if bench.machine.phase() == Phase::Connecting {
            bench.input(Input::Lost("refused"));
        }
    }
    assert_eq!(did.iter().filter(|word| *word == "stale").count(), 1, "{did:?}");
    assert!(bench.now > lost + s(3));
}

#[test]
fn what_does_not_read_or_is_too_much_is_left_out_and_counted() {
    let config = MirrorConfig {
        name_count_max: 1,
        devices: crate::config::NamePatterns::new(vec!["!Local/*".to_owned()]),
        ..MirrorConfig::default()
    };
    let mut bench = Bench::new(config);
    let id = bench.online();
    let row = |device: &str| {
        format!("Event: DeviceStateChange|ActionID: {id}|Device: {device}|State: INUSE||")
    };
    bench.hear(&format!("Response: Success|ActionID: {id}|EventList: start||"));
    for device in ["Local/1", "", &"x".repeat(300), &"x".repeat(10_000), "a", "b"] {
        bench.hear(&row(device));
    }
    bench.hear(&complete("DeviceStateListComplete", id, 6));
    assert_eq!(bench.error(), "a list of 6 had 5 rows");
    let id = bench.machine.last_id;
    bench.hear(&complete("PresenceStateListComplete", id, 0));
    assert_eq!(bench.pong(), ["synced a INUSE"]);
    let figures = bench.machine.figures;
    assert_eq!((figures.message_refused_count, figures.name_dropped_count), (3, 1));
}

#[test]
fn a_session_cut_anywhere_into_any_pieces_is_read_alike() {
    let text = "Asterisk Call Manager/11.0.0\r\n\
                Response: Success\r\nActionID: 1\r\nChallenge: 1\r\n\r\n\
                Response: Success\r\nActionID: 2\r\n\r\n\
                Event: FullyBooted\r\n\r\n\
                Response: Success\r\nActionID: 3\r\nEventList: start\r\n\r\n\
                Event: DeviceStateChange\r\nActionID: 3\r\nDevice: a\r\nState: INUSE\r\n\r\n\
                Event: DeviceStateListComplete\r\nActionID: 3\r\nEventList: Complete\r\nListItems: 1\r\n\r\n\
                Event: PresenceStateListComplete\r\nActionID: 4\r\nEventList: Complete\r\nListItems: 0\r\n\r\n\
                Response: Success\r\nActionID: 5\r\nPing: Pong\r\n\r\n";
    for piece in [1, 2, 7, 64, text.len()] {
        let mut bench = Bench::new(MirrorConfig::default());
        bench.connect();
        let mut did = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            did.extend(bench.input(Input::Received(bytes)));
        }
        assert_eq!(did.last().map(String::as_str), Some("synced a INUSE"), "pieces of {piece}");
        // Cut at every byte: it waits, and begins again.
    }
    for cut in 0..text.len() {
        let mut bench = Bench::new(MirrorConfig::default());
        bench.connect();
        bench.input(Input::Received(&text.as_bytes()[..cut]));
        assert_eq!(bench.input(Input::Lost("cut")), ["disconnect"], "{cut}");
        assert!(!bench.machine.sees());
        bench.online();
    }
}
