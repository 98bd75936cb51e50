//! Kamailio's presence module as a measured server: everything in memory, no database.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lampfield::free_udp;
use crate::process::{Started, pinned};

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules/";

/// The domain of presentities.
pub(crate) const DOMAIN: &str = "example.com";

/// Worker processes. With one, the process that fans out cannot read the answers meanwhile, and
/// NOTIFYs are repeated by the ten thousand.
const WORKERS: usize = 4;

/// MiB of shared memory: with less, NOTIFYs are lost without a word.
const SHARED_MIB: &str = "2048";

/// Whether the Debian packages `kamailio` and `kamailio-presence-modules` are there.
pub(crate) fn is_installed() -> bool {
    Path::new(MODULES).join("presence_xml.so").exists() && version().is_some()
}

/// `5.6.3`, as it says itself.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("kamailio").arg("-v").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_ascii_whitespace().nth(2).map(str::to_owned)
}

/// Starts it in `dir`, on core 0.
pub(crate) fn start(dir: &Path) -> anyhow::Result<(Started, SocketAddr)> {
    let sip = free_udp()?;
    let config = dir.join("kamailio.cfg");
    fs::write(&config, write_config(sip))?;
    let log = dir.join("kamailio.log");
    let mut command = pinned("0", "kamailio");
    command.arg("-f").arg(&config).args(["-m", SHARED_MIB, "-M", "64", "-DD", "-E"]);
    command.arg("-P").arg(dir.join("kamailio.pid")).arg("-Y").arg(dir);
    command.stdout(Stdio::null()).stderr(fs::File::create(&log)?);
    let mut process = Started::start("kamailio", &mut command)?;
    process.wait_ready(Duration::from_secs(30), &log, || answers(sip).unwrap_or(false))?;
    Ok((process, sip))
}

/// Whether it answers an OPTIONS, be it with a refusal.
fn answers(sip: SocketAddr) -> std::io::Result<bool> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let local = socket.local_addr()?;
    let request = format!(
        "OPTIONS sip:{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKperf;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:perf@{local}>;tag=1\r\nTo: <sip:{sip}>\r\n\
         Call-ID: perf@{local}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(request.as_bytes(), sip)?;
    Ok(socket.recv(&mut [0; 2048]).is_ok())
}

fn write_config(sip: SocketAddr) -> String {
    format!(
        r#"debug=0
log_stderror=yes
fork=yes
children={WORKERS}
auto_aliases=no
disable_tcp=yes
listen=udp:{sip}
mpath="{MODULES}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "presence.so"
loadmodule "presence_xml.so"
modparam("presence", "subs_db_mode", 0)
modparam("presence", "publ_cache", 2)
modparam("presence", "server_address", "sip:{sip}")
modparam("presence", "send_fast_notify", 1)
modparam("presence", "max_expires", 100000)
modparam("presence_xml", "force_active", 1)
request_route {{
    if ($rm == "PUBLISH") {{ handle_publish(); exit; }}
    if ($rm == "SUBSCRIBE") {{ handle_subscribe(); exit; }}
    sl_send_reply("405", "Method Not Allowed");
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_for_the_address_given() {
        let config = write_config("127.0.0.1:5555".parse().expect("an address"));
        assert!(config.contains("listen=udp:127.0.0.1:5555\n"), "{config}");
        assert!(
            !config.contains("{{") && config.matches('{').count() == config.matches('}').count()
        );
    }
}
