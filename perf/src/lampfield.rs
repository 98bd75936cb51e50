//! Lampfield as a measured server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::cases::States;
use crate::load::Target;
use crate::process::{Started, pinned};

/// First extension; more follow in sequence.
pub(crate) const FIRST_EXTENSION: usize = 10_000;

/// Starts a node with `shards` shards that serves `extensions` extensions, in `dir`. `more` is
/// added to its configuration.
pub(crate) fn start(
    binary: &Path,
    dir: &Path,
    shards: u8,
    extensions: usize,
    states: States,
    more: &str,
) -> anyhow::Result<(Started, Target)> {
    let publishes = match states {
        States::Own => "",
        States::Published => "allow_publish = \"any\"\n",
    };
    let (sip, ami) = (free_udp()?, free_tcp()?);
    let last = FIRST_EXTENSION + extensions.max(2) - 1;
    let config = dir.join("lampfield.toml");
    let (ready, log) = (dir.join("ready"), dir.join("lampfield.log"));
    fs::write(
        &config,
        format!(
            "[[listen]]\ntransport = \"udp\"\nbind = \"{sip}\"\n\n\
             [[endpoint]]\nname = \"local\"\ncontext = \"hints\"\nmatch = [\"127.0.0.0/8\"]\n{publishes}\n\
             [[hint_range]]\ncontext = \"hints\"\nrange = \"{FIRST_EXTENSION}..={last}\"\n\
             hint = \"Custom:lamp{{exten}}\"\n\n\
             [ami]\nbind = \"{ami}\"\n\n\
             [[ami.user]]\nname = \"perf\"\nsecret = \"perf\"\nread = [\"all\"]\n\
             write = [\"all\"]\n{more}"
        ),
    )?;
    // One shard has core 0. Two have 0 and 1, the second one shared with the generator.
    let cores = (0..shards.max(1)).map(|core| core.to_string()).collect::<Vec<_>>().join(",");
    let mut command = pinned(&cores, binary);
    command.arg("run").arg("--config").arg(&config);
    command.arg("--shards").arg(shards.to_string()).arg("--ready-file").arg(&ready);
    command
        .arg("--console")
        .arg(dir.join("console"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?);
    let mut process = Started::start("lampfield", &mut command)?;
    process.wait_ready(Duration::from_secs(20), &log, || ready.exists())?;
    let change_by = match states {
        States::Own => format!("ami://perf:perf@{ami}"),
        States::Published => "publish".to_owned(),
    };
    let target = Target { id: process.id(), sip, change_by, domain: None };
    Ok((process, target))
}

/// A UDP address on loopback that nobody serves now.
pub(crate) fn free_udp() -> std::io::Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn free_tcp() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
