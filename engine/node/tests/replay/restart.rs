//! Row S7 of the acceptance list: a node ends between a SUBSCRIBE and its refresh, and another
//! begins at the same address with the same state directory. No phone notices more than a gap.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::console_client::Console;
use crate::lab::{Setup, copy_configuration, scratch};
use crate::phone::Phone;

/// Changes are on disk well before this; a crash loses what is younger.
const COMMIT_WITHIN: Duration = Duration::from_millis(500);

/// A node as a program.
struct Program {
    child: Child,
    address: SocketAddr,
    console: Console,
}

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Program {
    fn start(dir: &Path, dialect: &str, bind: &str, shard_count: u8) -> Self {
        let file = |name: &str| dir.join(name).display().to_string();
        let _ = std::fs::remove_file(dir.join("ready"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_lampfield"))
            .args(["run", "--asterisk", &file("asterisk"), "--dialect", dialect])
            .args(["--listen", &format!("udp:{bind}"), "--shards", &shard_count.to_string()])
            .args(["--state-dir", &file("state"), "--console", &file("console.sock")])
            .args(["--ami", "127.0.0.1:0", "--ready-file", &file("ready")])
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let begun = Instant::now();
        let ready = loop {
            if let Ok(ready) = std::fs::read_to_string(dir.join("ready")) {
                break ready;
            }
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not ready");
            std::thread::park_timeout(Duration::from_millis(10));
        };
        let address = ready.lines().find_map(|line| line.strip_prefix("udp ")).expect("a line");
        let address = address.parse().expect("an address");
        Self { child, address, console: Console::open(&dir.join("console.sock")) }
    }

    fn change(&mut self, state: &str) {
        let (output, went_well) =
            self.console.run(&format!("devstate change Custom:lamp0 {state}"));
        assert!(went_well, "{output}");
    }

    fn end(mut self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        self.child.wait().expect("a child");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn outlives(signal: &str, dialect: &str, shard_counts: [u8; 2]) {
    let dir = Scratch(scratch("restart"));
    copy_configuration(&dir.0, &Setup::default());
    let mut program = Program::start(&dir.0, dialect, "127.0.0.1:0", shard_counts[0]);
    let address = program.address;
    let mut phone = Phone::new(address, [127, 0, 0, 1], "lamp0");
    assert_eq!(phone.subscribe(600)["status"], "200");
    assert_eq!(phone.notify()["note"], "Some(\"Ready\")");
    program.change("INUSE");
    assert_eq!(phone.notify()["note"], "Some(\"On the phone\")");
    if signal == "-KILL" {
        std::thread::park_timeout(COMMIT_WITHIN);
    }
    program.end(signal);

    let mut program = Program::start(&dir.0, dialect, &address.to_string(), shard_counts[1]);
    let notify = phone.notify();
    assert_eq!(notify["Subscription-State"], "active");
    assert_eq!(notify["note"], "Some(\"On the phone\")", "the state outlived it too");
    program.change("RINGING");
    assert_eq!(phone.notify()["note"], "Some(\"Ringing\")");
    assert_eq!(phone.subscribe(600)["status"], "200", "refreshed");
    assert_eq!(phone.notify()["Subscription-State"], "active");
    assert_eq!(phone.subscribe(0)["status"], "200");
    assert_eq!(phone.notify()["Subscription-State"], "terminated");
    program.end("-TERM");
}

#[test]
fn s7_a_subscription_outlives_an_end() {
    outlives("-TERM", "asterisk", [2, 2]);
}

#[test]
fn s7_a_subscription_outlives_a_crash() {
    outlives("-KILL", "rfc", [2, 2]);
}

#[test]
fn s7_a_subscription_outlives_another_number_of_shards() {
    outlives("-TERM", "rfc", [2, 1]);
}
