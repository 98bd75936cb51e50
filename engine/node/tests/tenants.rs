//! Tenants keep what is theirs, whatever the configuration's order is after a restart or a reload.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lampfield::config::{LoadOptions, load};
use lampfield::run::Node;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a configuration of these tenants. Each has extension 1000 on a device of the same name.
fn configure(dir: &Path, tenants: &[&str]) {
    let mut text = format!(
        "[node]\nshards = 2\nstate_dir = \"{0}/state\"\nconsole_socket = \"{0}/console.sock\"\n\
         [[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:0\"\n\
         [ami]\nbind = \"127.0.0.1:0\"\n",
        dir.display()
    );
    for tenant in tenants {
        text.push_str(&format!(
            "[[tenant]]\nname = \"{tenant}\"\n\
             [[hint]]\ntenant = \"{tenant}\"\ncontext = \"hints\"\nexten = \"1000\"\n\
             hint = \"Custom:lamp\"\n\
             [[ami.user]]\nname = \"{tenant}\"\nsecret = \"s\"\ntenant = \"{tenant}\"\n\
             read = [\"all\"]\nwrite = [\"all\"]\n"
        ));
    }
    std::fs::write(dir.join("lampfield.toml"), text).expect("written");
}

fn start(dir: &Path) -> Node {
    let options =
        LoadOptions { config: Some(dir.join("lampfield.toml")), ..LoadOptions::default() };
    let config = load(&options).expect("a configuration").node;
    let reload = move |tenants: &[Arc<str>]| {
        Ok(load(&LoadOptions { tenants: tenants.to_vec(), ..options.clone() })?.node)
    };
    Node::start(config, Arc::new(reload)).expect("the node starts")
}

/// What AMI answers a tenant's user.
fn ask(node: &Node, tenant: &str, action: &str) -> String {
    let stream = TcpStream::connect(node.ami().expect("AMI is served")).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let mut stream = BufReader::new(stream);
    let login = format!("Action: Login\r\nUsername: {tenant}\r\nSecret: s\r\nEvents: off\r\n\r\n");
    let mut said = String::new();
    stream.read_line(&mut said).expect("a banner");
    for text in [login, format!("Action: {action}\r\n\r\n")] {
        stream.get_mut().write_all(text.as_bytes()).expect("written");
        said.clear();
        while !said.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut said).expect("a reply") > 0, "closed after {said:?}");
        }
    }
    said
}

fn set(node: &Node, tenant: &str, state: &str) {
    let said = ask(
        node,
        tenant,
        &format!("Setvar\r\nVariable: DEVICE_STATE(Custom:lamp)\r\nValue: {state}"),
    );
    assert!(said.contains("Variable Set"), "{tenant}: {said}");
}

fn reload(dir: &Path) {
    let mut console = Command::new(env!("CARGO_BIN_EXE_lampfield"));
    console.arg("console").arg("--socket").arg(dir.join("console.sock")).args(["-x", "reload"]);
    assert!(console.status().expect("lampfield runs").success());
}

/// What the extensions of these tenants show.
fn shown(node: &Node, tenants: &[&str]) -> String {
    let status = |tenant: &&str| {
        let said = ask(node, tenant, "ExtensionState\r\nContext: hints\r\nExten: 1000");
        let line = said.lines().find_map(|line| line.strip_prefix("StatusText: "));
        format!("{tenant} {}, ", line.unwrap_or_else(|| panic!("{tenant}: {said}")))
    };
    tenants.iter().map(status).collect()
}

#[test]
fn states_stay_with_their_tenant_when_others_come_and_go() {
    let name = format!("lampfield-tenants-{}", std::process::id());
    let scratch = Scratch(std::env::temp_dir().join(name));
    let dir = scratch.0.as_path();
    std::fs::create_dir_all(dir).expect("a directory");
    configure(dir, &["a", "b"]);
    let node = start(dir);
    set(&node, "a", "INUSE");
    set(&node, "b", "RINGING");
    node.stop().expect("a clean end");

    // Another order, and somebody new in front.
    configure(dir, &["new", "b", "a"]);
    let node = start(dir);
    assert_eq!(shown(&node, &["a", "b", "new"]), "a InUse, b Ringing, new Idle, ");
    // One leaves, and one comes that must not get what the other had.
    configure(dir, &["other", "new", "b"]);
    reload(dir);
    assert_eq!(shown(&node, &["b", "new", "other"]), "b Ringing, new Idle, other Idle, ");
    set(&node, "other", "UNAVAILABLE");
    node.stop().expect("a clean end");

    // Who comes back finds what he left.
    configure(dir, &["other", "a"]);
    let node = start(dir);
    assert_eq!(shown(&node, &["a", "other"]), "a InUse, other Unavailable, ");
    node.stop().expect("a clean end");
}
