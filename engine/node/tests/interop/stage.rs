//! A running node, and the programs around it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No story takes longer than this, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Everybody may publish and watch any extension: none has a hint.
pub(crate) const UNHINTED: &str = r#"
[[tenant]]
name = "pbx"
watch_unhinted = true

[[context]]
name = "default"
tenant = "pbx"

[[endpoint]]
name = "proxy"
tenant = "pbx"
context = "default"
match = ["127.0.0.0/8"]
allow_publish = "any"
"#;

/// Where SIP is served unless the configuration says it.
const UDP: [&str; 2] = ["--listen", "udp:127.0.0.1:0"];

/// A child that is killed, by its id, when the story ends.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command, package: &str) -> Self {
        let started = command.spawn();
        Self(started.unwrap_or_else(|error| {
            panic!(
                "{:?} does not start ({error}): Debian has it in {package}, and `make test` \
                 installs it",
                command.get_program()
            )
        }))
    }

    /// Sends it a signal.
    pub(crate) fn asks_to_end(&self, signal: &str) {
        let id = self.0.id().to_string();
        let kill = Command::new("kill").args([&format!("-{signal}"), &*id]).status();
        assert!(kill.expect("kill runs").success());
    }

    /// The exit code once it has ended.
    pub(crate) fn ends(&mut self, what: &str) -> Option<i32> {
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

/// A directory and a node in it.
pub(crate) struct Stage {
    node: Option<Running>,
    pub(crate) dir: PathBuf,
    /// UDP's address.
    pub(crate) sip: String,
    ami: String,
    /// What the node says it serves, a line each.
    ready: String,
}

impl Stage {
    /// A node that serves hints 10000 to 10099 as an Asterisk would.
    pub(crate) fn new(name: &str, shard_count: u8) -> Self {
        let dir = directory(name);
        let etc = dir.join("etc");
        let written = Command::new(env!("CARGO_BIN_EXE_lampfield"))
            .args(["example-config", "--asterisk", "--hints", "100"])
            .arg(&etc)
            .status()
            .expect("lampfield runs");
        assert!(written.success());
        Self::start(dir, shard_count, "--asterisk", &etc, &[UDP])
    }

    /// A node with a configuration of its own.
    pub(crate) fn configured(name: &str, shard_count: u8, config: &str) -> Self {
        let dir = directory(name);
        let file = dir.join("lampfield.toml");
        std::fs::write(&file, config).expect("written");
        Self::start(dir, shard_count, "--config", &file, &[UDP])
    }

    /// A node with a configuration that says where SIP is served, UDP among it, and the files it
    /// names.
    pub(crate) fn listening(
        name: &str,
        shard_count: u8,
        config: &str,
        files: impl FnOnce(&Path),
    ) -> Self {
        let dir = directory(name);
        files(&dir);
        let file = dir.join("lampfield.toml");
        std::fs::write(&file, config).expect("written");
        Self::start(dir, shard_count, "--config", &file, &[])
    }

    fn start(
        dir: PathBuf,
        shard_count: u8,
        option: &str,
        config: &Path,
        listen: &[[&str; 2]],
    ) -> Self {
        let mut run = Command::new(env!("CARGO_BIN_EXE_lampfield"));
        run.arg("run").arg(option).arg(config);
        run.args(["--shards", &shard_count.to_string()]);
        run.args(listen.as_flattened()).args(["--ami", "127.0.0.1:0"]);
        run.arg("--console").arg(dir.join("console.sock"));
        run.arg("--ready-file").arg(dir.join("ready"));
        let node = Some(Running::start(&mut run, "no package: it is this one"));
        let mut stage =
            Self { node, dir, sip: String::new(), ami: String::new(), ready: String::new() };
        stage.ready = stage.file_once_there("ready");
        (stage.sip, stage.ami) = (stage.address("udp"), stage.address("ami"));
        stage
    }

    /// Where something is served.
    pub(crate) fn address(&self, kind: &str) -> String {
        let line = self.ready.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {kind:?} in {:?}", self.ready)).to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
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

    pub(crate) fn console(&self, command: &str) -> String {
        let output = self.console_output(command);
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the console says to a command that it must refuse.
    pub(crate) fn console_refusal(&self, command: &str) -> String {
        let output = self.console_output(command);
        assert!(!output.status.success(), "{command}: {output:?}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn console_output(&self, command: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lampfield"))
            .arg("console")
            .arg("--socket")
            .arg(self.path("console.sock"))
            .args(["-x", command])
            .output()
            .expect("lampfield runs")
    }

    pub(crate) fn wait_for_counter(&self, name: &str, want: u64) {
        self.wait_for("counters", name, want);
    }

    /// The same for what sockets and queues count.
    pub(crate) fn wait_for_net_counter(&self, name: &str, want: u64) {
        self.wait_for("net", name, want);
    }

    fn wait_for(&self, table: &str, name: &str, want: u64) {
        let begun = Instant::now();
        loop {
            let counters = self.console(table);
            let line = counters.lines().find(|line| line.starts_with(&format!("{name} ")));
            let value = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
            if value == Some(want) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is {value:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn wait_for_subscriptions(&self, count: usize) {
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
    pub(crate) fn set_device(&self, device: &str, state: &str) {
        self.set_devices([device], state);
    }

    /// Sets devices over AMI at once, and waits for the answers.
    pub(crate) fn set_devices<'a>(&self, devices: impl IntoIterator<Item = &'a str>, state: &str) {
        let set = |device| {
            format!("Action: Setvar\r\nVariable: DEVICE_STATE({device})\r\nValue: {state}\r\n\r\n")
        };
        let sets: Vec<String> = devices.into_iter().map(set).collect();
        let mut ami = TcpStream::connect(&self.ami).expect("AMI answers");
        ami.set_read_timeout(Some(PATIENCE)).expect("set");
        write!(
            ami,
            "Action: Login\r\nUsername: demo\r\nSecret: demo\r\nEvents: off\r\n\r\n\
             {}Action: Logoff\r\n\r\n",
            sets.concat()
        )
        .expect("written");
        let mut said = String::new();
        ami.read_to_string(&mut said).expect("read to the end");
        assert_eq!(said.matches("Variable Set").count(), sets.len(), "{said}");
    }

    /// SIPp with one of the scenarios beside this file, over the extensions `extens`.
    pub(crate) fn sipp(
        &self,
        scenario: &str,
        extens: std::ops::Range<u32>,
        options: &[&str],
    ) -> Running {
        let rows: String = extens.map(|exten| format!("{exten};\n")).collect();
        let extens = self.write("extens.csv", &format!("SEQUENTIAL\n{rows}"));
        let extens = extens.to_str().expect("text");
        self.sipp_at(&self.sip, scenario, &[&["-inf", extens], options].concat())
    }

    /// SIPp with one of the scenarios beside this file, towards an address.
    pub(crate) fn sipp_at(&self, to: &str, scenario: &str, options: &[&str]) -> Running {
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sipp");
        let screen = std::fs::File::create(self.path("sipp.out")).expect("a file");
        let mut command = Command::new("sipp");
        command.arg(to).arg("-sf").arg(scenarios.join(scenario));
        command.args(["-i", "127.0.0.1", "-nostdin", "-timeout", "100s", "-timeout_error"]);
        command.arg("-trace_err").arg("-error_file").arg(self.path("sipp.err")).args(options);
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(screen);
        Running::start(&mut command, "sip-tester")
    }

    /// SIPp must have seen exactly what its scenario says.
    pub(crate) fn judge(&self, mut sipp: Running) {
        let code = sipp.ends("sipp");
        let read = |name| std::fs::read_to_string(self.path(name)).unwrap_or_default();
        assert_eq!(code, Some(0), "{}\n{}", read("sipp.err"), read("sipp.out"));
    }
}

/// A directory of this process, for one story.
fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("lampfield-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.node.take());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
