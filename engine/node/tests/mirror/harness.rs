//! A node with the lab's configuration that mirrors scripted PBXs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lampfield::config::{Listen, LoadOptions, MirrorConfig, NodeConfig, load};
use lampfield::run::Node;
use lampfield_core::flow::Transport;

use crate::console_client::Console;
use crate::pbx::Pbx;
use crate::phone::Phone;

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than a change takes to reach a phone, by far.
const SILENCE: Duration = Duration::from_millis(300);

/// A node, and everything it needs. Everything goes away with it.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) ami: SocketAddr,
    pub(crate) console: Console,
    pub(crate) dir: PathBuf,
    node: Option<Node>,
}

impl Site {
    /// Mirrors `pbxs`, with short pauses.
    pub(crate) fn start(pbxs: &[&Pbx], change: fn(&mut MirrorConfig)) -> Self {
        Self::start_in(scratch(), pbxs, change)
    }

    /// As [`Site::start`], and keeps its states in a directory.
    pub(crate) fn start_in(dir: PathBuf, pbxs: &[&Pbx], change: fn(&mut MirrorConfig)) -> Self {
        let config = config(&dir, pbxs, change);
        let node = Node::start(config, Arc::new(|_| anyhow::bail!("no files")));
        let node = node.expect("the node starts");
        let console = Console::open(&dir.join("console.sock"));
        let (address, ami) = (node.bound()[0].address, node.ami().expect("AMI is served"));
        Self { address, ami, console, dir, node: Some(node) }
    }

    /// Waits until the console says something.
    pub(crate) fn until(&mut self, command: &str, wanted: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let (text, _) = self.console.run(command);
            if text.contains(wanted) {
                return text;
            }
            assert!(Instant::now() < end, "{command}: {wanted} expected in\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many comparisons have been made, and the shards know what they brought.
    pub(crate) fn live(&mut self, comparison_count: u32) {
        self.until("mirror show", &format!("  heard      {comparison_count} comparisons"));
        self.until("mirror show", "\n0 states wait");
    }

    /// A phone that watches an extension, and what it shows.
    pub(crate) fn watch(&self, exten: &str) -> (Lamp, String) {
        let mut phone = Phone::new(self.address, [127, 0, 0, 1], exten);
        assert_eq!(phone.subscribe(600)["status"], "200");
        let mut lamp = Lamp { phone };
        let shown = lamp.next();
        (lamp, shown)
    }

    /// Ends the node well; its directory stays.
    pub(crate) fn stop(mut self) -> PathBuf {
        self.node.take().expect("a node").stop().expect("a clean end");
        std::mem::take(&mut self.dir)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.node.take().map(Node::stop);
        if self.dir != Path::new("") {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A lamp on a phone.
pub(crate) struct Lamp {
    phone: Phone,
}

impl Lamp {
    /// What the next NOTIFY shows.
    pub(crate) fn next(&mut self) -> String {
        let facts = self.phone.notify();
        let note = facts["note"].trim_start_matches("Some(\"").trim_end_matches("\")");
        note.to_owned()
    }

    /// Waits for what it must show in the end.
    pub(crate) fn until(&mut self, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while self.next() != wanted {
            assert!(Instant::now() < end, "{wanted} expected");
        }
    }

    /// Takes one more NOTIFY, if one comes.
    pub(crate) fn is_noisy(&mut self) -> bool {
        match self.phone.line.receive(SILENCE) {
            Some(bytes) => {
                self.phone.answer(&bytes);
                true
            }
            None => false,
        }
    }

    /// Nothing comes: it shows what it showed.
    pub(crate) fn is_quiet(&self) {
        let message = self.phone.line.receive(SILENCE);
        let message = message.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(message, None, "nothing changed");
    }
}

fn config(dir: &Path, pbxs: &[&Pbx], change: fn(&mut MirrorConfig)) -> NodeConfig {
    let any = ([127, 0, 0, 1], 0).into();
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asterisk-lab");
    let mirror = pbxs.first().map(|pbx| format!("lab@{}", pbx.address));
    let options = LoadOptions {
        asterisk: Some(lab),
        mirror,
        shard_count: Some(2),
        listen: vec![Listen::plain(Transport::Udp, any)],
        ami: Some(any),
        console_socket: Some(dir.join("console.sock")),
        state_dir: Some(dir.join("state")),
        ..LoadOptions::default()
    };
    let mut config = load(&options).expect("a configuration").node;
    for pbx in pbxs.iter().skip(1) {
        let address = pbx.address.to_string();
        let mirror = MirrorConfig { name: address.clone(), address, ..config.mirrors[0].clone() };
        config.mirrors.push(mirror);
    }
    for mirror in &mut config.mirrors {
        mirror.retry = Duration::from_millis(20);
        mirror.retry_max = Duration::from_millis(40);
        change(mirror);
    }
    config
}

fn scratch() -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let name = format!("lampfield-mirror-{}-{serial}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(dir.join("state")).expect("a scratch directory");
    dir
}
