//! A running node with the configuration that the captures of a real Asterisk were made with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lampfield::config::{Listen, LoadOptions, load};
use lampfield::run::Node;
use lampfield_core::config::Dialect;
use lampfield_core::flow::Transport;
use lampfield_core::limits::Limits;

use crate::console_client::Console;

/// The console's socket in the lab's directory.
pub(crate) const CONSOLE: &str = "console.sock";

/// A node, its files and its console. Everything goes away with it.
pub(crate) struct Lab {
    pub(crate) address: SocketAddr,
    pub(crate) ami: SocketAddr,
    pub(crate) console: Console,
    pub(crate) dir: PathBuf,
    node: Option<Node>,
}

/// How to start a [`Lab`].
pub(crate) struct Setup {
    pub(crate) shard_count: u8,
    /// `None`: that of the configuration.
    pub(crate) dialect: Option<Dialect>,
    pub(crate) limits: fn(&mut Limits),
    /// What it listens on.
    pub(crate) transport: Transport,
    /// More endpoints, in the syntax of `pjsip.conf`.
    pub(crate) endpoints: &'static str,
    /// More users, in the syntax of `manager.conf`.
    pub(crate) managers: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        let transport = Transport::Udp;
        Self {
            shard_count: 2,
            dialect: None,
            limits: |_| (),
            transport,
            endpoints: "",
            managers: "",
        }
    }
}

impl Lab {
    /// Starts a node on free ports, with a copy of the configuration and the device states that
    /// the lab had.
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::start_in(scratch("lab"), setup)
    }

    /// As [`Lab::start`], in a directory.
    pub(crate) fn start_in(dir: PathBuf, setup: &Setup) -> Self {
        copy_configuration(&dir, setup);
        let node = boot(&dir, setup).expect("the node starts");
        let mut console = Console::open(&dir.join(CONSOLE));
        for lamp in (0..8).map(|n| format!("lamp{n}")).chain(["m1".to_owned(), "m2".to_owned()]) {
            assert!(console.run(&format!("devstate change Custom:{lamp} NOT_INUSE")).1);
        }
        let address = node.bound()[0].address;
        let ami = node.ami().expect("the manager interface is served");
        Self { address, ami, console, dir, node: Some(node) }
    }

    /// Ends the node, and fails if it does not end well.
    pub(crate) fn stop(mut self) {
        self.node.take().expect("a node").stop().expect("a clean end");
        assert!(!self.dir.join(CONSOLE).exists(), "the console socket is left behind");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.node.take().map(Node::stop);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Starts a node with the configuration in `DIR/asterisk`.
pub(crate) fn boot(dir: &Path, setup: &Setup) -> anyhow::Result<Node> {
    let any = ([127, 0, 0, 1], 0).into();
    let options = LoadOptions {
        asterisk: Some(dir.join("asterisk")),
        dialect: setup.dialect,
        shard_count: Some(setup.shard_count),
        listen: vec![Listen::plain(setup.transport, any)],
        ami: Some(any),
        console_socket: Some(dir.join(CONSOLE)),
        ..LoadOptions::default()
    };
    let mut loaded = load(&options)?;
    let core = Arc::get_mut(&mut loaded.node.core).expect("nobody else has it yet");
    (setup.limits)(&mut core.limits);
    Node::start(loaded.node, Arc::new(move |_| Ok(load(&options)?.node)))
}

/// A new directory.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let dir =
        std::env::temp_dir().join(format!("lampfield-{name}-{}-{serial}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    dir
}

/// Copies the lab's configuration to `DIR/asterisk`, with what a setup has more.
pub(crate) fn copy_configuration(dir: &Path, setup: &Setup) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asterisk-lab");
    let to = dir.join("asterisk");
    std::fs::create_dir_all(&to).expect("a directory");
    for (name, more) in
        [("extensions.conf", ""), ("pjsip.conf", setup.endpoints), ("manager.conf", setup.managers)]
    {
        let text = std::fs::read_to_string(from.join(name)).expect("a file of the fixture");
        std::fs::write(to.join(name), text + more).expect("written");
    }
}
