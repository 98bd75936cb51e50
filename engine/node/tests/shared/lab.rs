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

/// A node, its files and its console. Everything goes away with it.
pub(crate) struct Lab {
    pub(crate) address: SocketAddr,
    pub(crate) console: Console,
    node: Option<Node>,
    dir: PathBuf,
}

/// How to start a [`Lab`].
pub(crate) struct Setup {
    pub(crate) shard_count: u8,
    /// `None`: that of the configuration.
    pub(crate) dialect: Option<Dialect>,
    pub(crate) limits: fn(&mut Limits),
    /// More endpoints, in the syntax of `pjsip.conf`.
    pub(crate) endpoints: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { shard_count: 2, dialect: None, limits: |_| (), endpoints: "" }
    }
}

impl Lab {
    /// Starts a node on a free port, with a copy of the configuration and the device states that
    /// the lab had.
    pub(crate) fn start(setup: &Setup) -> Self {
        let dir = scratch("lab");
        copy_configuration(&dir, setup.endpoints);
        let any = ([127, 0, 0, 1], 0).into();
        let options = LoadOptions {
            asterisk: Some(dir.join("asterisk")),
            dialect: setup.dialect,
            shard_count: Some(setup.shard_count),
            listen: vec![Listen { transport: Transport::Udp, bind: any, advertised: None }],
            ami: Some(any),
            console_socket: Some(dir.join("console.sock")),
            ..LoadOptions::default()
        };
        let mut loaded = load(&options).expect("the lab's configuration");
        let core = Arc::get_mut(&mut loaded.node.core).expect("nobody else has it yet");
        (setup.limits)(&mut core.limits);
        let reload = Arc::new(move || Ok(load(&options)?.node));
        let node = Node::start(loaded.node, reload).expect("the node starts");
        let mut console = Console::open(&dir.join("console.sock"));
        for lamp in ["lamp0", "lamp1", "lamp2", "lamp3", "lamp4", "lamp5", "lamp6", "lamp7"] {
            assert!(console.run(&format!("devstate change Custom:{lamp} NOT_INUSE")).1);
        }
        for lamp in ["m1", "m2"] {
            assert!(console.run(&format!("devstate change Custom:{lamp} NOT_INUSE")).1);
        }
        let address = node.bound()[0].address;
        Self { address, console, node: Some(node), dir }
    }

    /// Edits the dialplan that the node was started from.
    pub(crate) fn edit_dialplan(&self, edit: impl FnOnce(&str) -> String) {
        let path = self.dir.join("asterisk/extensions.conf");
        let text = std::fs::read_to_string(&path).expect("a dialplan");
        std::fs::write(&path, edit(&text)).expect("written");
    }

    /// Ends the node, and fails if it does not end well.
    pub(crate) fn stop(mut self) {
        self.node.take().expect("a node").stop().expect("a clean end");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.node.take().map(Node::stop);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
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

/// Copies the lab's configuration to `DIR/asterisk`, with more endpoints.
pub(crate) fn copy_configuration(dir: &Path, endpoints: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asterisk-lab");
    let to = dir.join("asterisk");
    std::fs::create_dir_all(&to).expect("a directory");
    for name in ["extensions.conf", "pjsip.conf", "manager.conf"] {
        let mut text = std::fs::read_to_string(from.join(name)).expect("a file of the fixture");
        if name == "pjsip.conf" {
            text.push_str(endpoints);
        }
        std::fs::write(to.join(name), text).expect("written");
    }
}
