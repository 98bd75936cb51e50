//! Foreign phones against a running `lampfield`: Debian's SIPp and baresip.
//!
//! They run when `LAMPFIELD_INTEROP=1` is set, as `make test` does after installing the programs;
//! without it they say so and end, so that `cargo test` needs nothing but Rust. When asked for, a
//! missing program is a failure.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// No story takes longer than this, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn is_asked_for() -> bool {
    let asked = std::env::var_os("LAMPFIELD_INTEROP").is_some_and(|value| value == "1");
    if !asked {
        eprintln!("not run: LAMPFIELD_INTEROP=1 is not set (make test sets it)");
    }
    asked
}

/// A child that is killed, by its id, when the story ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command, package: &str) -> Self {
        let started = command.spawn();
        Self(started.unwrap_or_else(|error| {
            panic!(
                "{:?} does not start ({error}): Debian has it in {package}, and `make test` \
                 installs it",
                command.get_program()
            )
        }))
    }

    /// The exit code once it has ended.
    fn ends(&mut self, what: &str) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "{what} does not end");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// A directory and a node in it that serves hints 10000 to 10099 as an Asterisk would.
struct Stage {
    node: Option<Running>,
    dir: PathBuf,
    sip: String,
    ami: String,
}

impl Stage {
    fn new(name: &str, shard_count: u8) -> Self {
        let dir = std::env::temp_dir().join(format!("lampfield-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let lampfield = || Command::new(env!("CARGO_BIN_EXE_lampfield"));
        let etc = dir.join("etc");
        let written = lampfield()
            .args(["example-config", "--asterisk", "--hints", "100"])
            .arg(&etc)
            .status()
            .expect("lampfield runs");
        assert!(written.success());
        let mut run = lampfield();
        run.arg("run").arg("--asterisk").arg(&etc);
        run.args(["--shards", &shard_count.to_string()]);
        run.args(["--listen", "udp:127.0.0.1:0", "--ami", "127.0.0.1:0"]);
        run.arg("--console").arg(dir.join("console.sock"));
        run.arg("--ready-file").arg(dir.join("ready"));
        let node = Some(Running::start(&mut run, "no package: it is this one"));
        let mut stage = Self { node, dir, sip: String::new(), ami: String::new() };
        let ready = stage.file_once_there("ready");
        let address = |kind: &str| {
            let line = ready.lines().find_map(|line| line.strip_prefix(kind));
            line.unwrap_or_else(|| panic!("no {kind:?} in {ready:?}")).to_owned()
        };
        (stage.sip, stage.ami) = (address("udp "), address("ami "));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, text).expect("written");
        path
    }

    fn file_once_there(&self, name: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(self.path(name)) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is never written");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn console(&self, command: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_lampfield"))
            .arg("console")
            .arg("--socket")
            .arg(self.path("console.sock"))
            .args(["-x", command])
            .output()
            .expect("lampfield runs");
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_for_subscriptions(&self, count: usize) {
        let (begun, want) = (Instant::now(), format!("\n{count} subscriptions"));
        loop {
            let list = self.console("subscriptions list");
            if list.contains(&want) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "never {count} subscriptions, but {list}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Sets a device over AMI and waits for the answer.
    fn set_device(&self, device: &str, state: &str) {
        let mut ami = TcpStream::connect(&self.ami).expect("AMI answers");
        ami.set_read_timeout(Some(PATIENCE)).expect("set");
        write!(
            ami,
            "Action: Login\r\nUsername: demo\r\nSecret: demo\r\nEvents: off\r\n\r\n\
             Action: Setvar\r\nVariable: DEVICE_STATE({device})\r\nValue: {state}\r\n\r\n\
             Action: Logoff\r\n\r\n"
        )
        .expect("written");
        let mut said = String::new();
        ami.read_to_string(&mut said).expect("read to the end");
        assert!(said.contains("Variable Set"), "{said}");
    }

    /// SIPp with one of the scenarios beside this file, over the extensions `extens`.
    fn sipp(&self, scenario: &str, extens: std::ops::Range<u32>, options: &[&str]) -> Running {
        let rows: String = extens.map(|exten| format!("{exten};\n")).collect();
        let extens = self.write("extens.csv", &format!("SEQUENTIAL\n{rows}"));
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sipp");
        let screen = std::fs::File::create(self.path("sipp.out")).expect("a file");
        let mut command = Command::new("sipp");
        command.arg(&self.sip).arg("-sf").arg(scenarios.join(scenario)).arg("-inf").arg(extens);
        command.args(["-i", "127.0.0.1", "-nostdin", "-timeout", "100s", "-timeout_error"]);
        command.arg("-trace_err").arg("-error_file").arg(self.path("sipp.err")).args(options);
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(screen);
        Running::start(&mut command, "sip-tester")
    }

    /// SIPp must have seen exactly what its scenario says.
    fn judge(&self, mut sipp: Running) {
        let code = sipp.ends("sipp");
        let read = |name| std::fs::read_to_string(self.path(name)).unwrap_or_default();
        assert_eq!(code, Some(0), "{}\n{}", read("sipp.err"), read("sipp.out"));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.node.take());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn two_thousand_sipp_dialogs_subscribe_refresh_and_leave_without_a_failure() {
    if !is_asked_for() {
        return;
    }
    for shard_count in [1, 2] {
        let stage = Stage::new(&format!("sipp-{shard_count}"), shard_count);
        let options = ["-m", "2000", "-r", "200", "-l", "500"];
        stage.judge(stage.sipp("subscription.xml", 10_000..10_100, &options));
        stage.wait_for_subscriptions(0);
    }
}

#[test]
fn a_sipp_watcher_sees_a_change_made_over_ami_on_two_shards() {
    if !is_asked_for() {
        return;
    }
    let stage = Stage::new("change", 2);
    let devices = 10_000..10_008;
    let sipp = stage.sipp("change.xml", devices.clone(), &["-m", "8", "-l", "8"]);
    stage.wait_for_subscriptions(devices.len());
    for device in devices {
        stage.set_device(&format!("Custom:lamp{device}"), "INUSE");
    }
    stage.judge(sipp);
    stage.wait_for_subscriptions(0);
}

#[test]
fn baresip_shows_what_the_extension_does() {
    if !is_asked_for() {
        return;
    }
    let stage = Stage::new("baresip", 2);
    let modules = "/usr/lib/baresip/modules";
    let config = format!(
        "poll_method epoll\nsip_listen 127.0.0.1:0\nmodule_path {modules}\n\
         module account.so\nmodule contact.so\nmodule presence.so\n"
    );
    stage.write("phone/config", &config);
    stage.write("phone/accounts", &format!("<sip:watcher@{};transport=udp>;regint=0\n", stage.sip));
    let contact = format!("\"Lamp\" <sip:10000@{}>;presence=p2p\n", stage.sip);
    stage.write("phone/contacts", &contact);

    let mut command = Command::new("baresip");
    command.arg("-f").arg(stage.path("phone")).args(["-t", "120"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut baresip = Running::start(&mut command, "baresip-core");
    let output = BufReader::new(baresip.0.stdout.take().expect("piped"));
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
    });
    stage.wait_for_subscriptions(1);

    let mut said = Vec::new();
    let mut shown = "Online";
    for (state, want) in
        [("INUSE", "Busy"), ("NOT_INUSE", "Online"), ("UNAVAILABLE", "Offline"), ("INUSE", "Busy")]
    {
        stage.set_device("Custom:lamp10000", state);
        loop {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                panic!("after {state} baresip never showed {want}, but said {said:#?}");
            };
            let line = without_colours(&line);
            said.push(line.clone());
            if line.contains("changed status") {
                let change = format!("changed status from {shown} to {want}");
                assert!(line.contains(&change), "after {state}: {line}");
                break;
            }
        }
        shown = want;
    }
    // Asked to end, it unsubscribes.
    let id = baresip.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    stage.wait_for_subscriptions(0);
}

/// Removes the escape sequences of a terminal: `ESC [ parameters letter`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find(|c: char| c.is_ascii_alphabetic()).map_or("", |at| &part[at + 1..]);
        text.push_str(rest);
    }
    text
}
