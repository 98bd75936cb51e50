//! The ways of changing states, and the exit codes that are not about lamps.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::thread::JoinHandle;

use crate::stage::{Target, assert_numbers, fanout};

/// A manager interface for one session; it sets states at a null-target and refuses `refused`.
fn serve_manager(target: &str, refused: &'static str) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("bound").to_string();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.connect(target).expect("connected");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a session");
        stream.write_all(b"Asterisk Call Manager/13.0.0\r\n").expect("written");
        let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
        let (mut seen, mut request) = (Vec::new(), Vec::<String>::new());
        while let Some(Ok(line)) = lines.next() {
            if !line.is_empty() {
                request.push(line);
                continue;
            }
            let get = |name: &str| {
                let found = request.iter().find_map(|line| line.strip_prefix(name));
                found.unwrap_or_default().to_owned()
            };
            let (action, id) = (get("Action: "), get("ActionID: "));
            let answer = match action.as_str() {
                "Challenge" => "Response: Success\r\nChallenge: 1234".into(),
                "Login" if get("Key: ") == "3fd1a24fb096de72f67cc897cb6e9603" => {
                    "Response: Success\r\nMessage: Authentication accepted".into()
                }
                "Login" => "Response: Error\r\nMessage: Authentication failed".into(),
                "Setvar" => {
                    let device = get("Variable: DEVICE_STATE(Custom:");
                    let extension = device.trim_end_matches(')').to_owned();
                    if extension == refused && get("Value: ") != "NOT_INUSE" {
                        format!("Response: Error\r\nActionID: {id}\r\nMessage: Variable not set")
                    } else {
                        let set = format!("SET {extension} {}", get("Value: "));
                        udp.send(set.as_bytes()).expect("sent");
                        udp.recv(&mut [0; 64]).expect("an answer");
                        format!("Response: Success\r\nActionID: {id}\r\nMessage: Variable Set")
                    }
                }
                _ => break,
            };
            seen.push(action);
            // A live event in between must not be taken for an answer.
            let event = "Event: DeviceStateChange\r\nDevice: x\r\nState: INUSE\r\n\r\n";
            write!(stream, "{event}{answer}\r\n\r\n").expect("written");
            request.clear();
        }
        seen
    });
    (address, thread)
}

#[test]
fn changes_over_ami_log_in_by_challenge_and_reach_the_lamps() {
    let target = Target::start(&[]);
    let (address, manager) = serve_manager(&target.address, "");
    let run = target.fanout_by(&format!("ami://bob:hush@{address}"), &["--json", "-"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let report = run.json();
    assert_numbers(&report, &[("/changes/sent_count", 10), ("/lamps/right_count", 100)]);
    assert_eq!(report["scenario"]["change_by"], format!("ami://bob@{address}"));
    let seen = manager.join().expect("no panic");
    assert_eq!(seen[..2], ["Challenge", "Login"]);
    assert_eq!(seen[2..], vec!["Setvar"; 20], "ten first states and ten changes");
}

#[test]
fn a_refused_change_is_an_error_and_its_lamps_are_not_judged() {
    let target = Target::start(&[]);
    let (address, _manager) = serve_manager(&target.address, "lamp3");
    let run = target.fanout_by(&format!("ami://bob:hush@{address}"), &["--json", "-"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    let report = run.json();
    let wants =
        [("/changes/refused_count", 1), ("/lamps/unjudged_count", 10), ("/lamps/right_count", 90)];
    assert_numbers(&report, &wants);
    assert_eq!(report["changes"]["errors"][0], "Variable not set");
}

#[test]
fn a_wrong_secret_and_a_closed_port_end_the_set_up() {
    let target = Target::start(&[]);
    let (address, _manager) = serve_manager(&target.address, "");
    let run = target.fanout_by(&format!("ami://bob:wrong@{address}"), &[]);
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("login as bob: Authentication failed"), "{}", run.stderr);
    assert!(!run.stderr.contains("wrong"), "no secret is shown: {}", run.stderr);
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let run = target.fanout_by(&format!("ami://bob:hush@{closed}"), &[]);
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("refused"), "{}", run.stderr);
}

#[test]
fn changes_by_publish_keep_their_entity_tags() {
    for (event, states) in [("presence", "NOT_INUSE,RINGING,ONHOLD"), ("dialog", "NOT_INUSE,INUSE")]
    {
        let target = Target::start(&[]);
        let args = ["--event", event, "--states", states, "--duration", "1s", "--json", "-"];
        let run = target.fanout_by("publish", &args);
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        let wants = [
            ("/changes/sent_count", 20),
            ("/notify/delivered_count", 200),
            ("/lamps/right_count", 100),
        ];
        assert_numbers(&run.json(), &wants);
    }
}

#[test]
fn changes_by_command_fill_the_placeholders() {
    let target = Target::start(&[]);
    let (host, port) = target.address.rsplit_once(':').expect("an address");
    let set =
        format!("bash -c 'printf \"SET %s %s\" {{exten}} {{state}} > /dev/udp/{host}/{port}'");
    let run = target.fanout_by(&format!("exec:{set}"), &["--json", "-"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_numbers(&run.json(), &[("/lamps/right_count", 100), ("/changes/refused_count", 0)]);
    let run = target.fanout_by("exec:exit 3", &[]);
    assert_eq!(run.code, 4);
    assert!(
        run.stderr.contains("first states: ") && run.stderr.contains(" refused"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_other_exit_codes() {
    let target = Target::start(&[]);
    let late = target.fanout(&["--max-own-lateness", "0s"]);
    assert_eq!(late.code, 3, "{}", late.stdout);
    assert!(late.stdout.contains("!!! THE GENERATOR WAS THE BOTTLENECK"), "{}", late.stdout);
    assert!(late.stdout.contains("NOTIFY: not claimed"), "{}", late.stdout);
    let usage = target.fanout(&["--watchers", "0"]);
    assert_eq!((usage.code, usage.stdout.as_str()), (2, ""));
    assert!(usage.stderr.contains("--watchers: 0 is not 1 to 2000000"), "{}", usage.stderr);
    assert_eq!(fanout(&["--target", "x"]).code, 2);
    let refusing = Target::start(&["--refuse", "403"]);
    let refused = refusing.fanout(&[]);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("could be established: 100 x 403"), "{}", refused.stderr);
}

#[test]
fn several_threads_and_source_addresses_share_the_watchers() {
    let target = Target::start(&[]);
    let args = ["--cores", "3", "--sockets", "10", "--source-base", "127.9.0.0/16", "--json", "-"];
    let run = target.fanout(&args);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_numbers(&run.json(), &[("/lamps/right_count", 100), ("/notify/delivered_count", 100)]);
    let run = target.fanout(&["--edge", "--json", "-", "--sockets", "4"]);
    assert_eq!(run.code, 2, "an edge has its own number of sockets");
}
