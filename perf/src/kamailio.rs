//! Kamailio as a measured server, tuned as somebody would who knows it: everything in memory, no
//! database process, one worker for its one core.
//!
//! What made a difference (5.6.3 of Debian 12): the allocator `fm`, without which the debugging
//! allocator `qm` takes three times the CPU; one worker on one core; a receive buffer that holds a
//! fan-out's answers; `max_branches` 1 and a short `wt_timer` for memory.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::lampfield::free_udp;
use crate::load::Target;
use crate::process::{Started, pinned};

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules/";

/// Empty tables of `db_text`, Kamailio's database in memory.
const EMPTY_TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";

/// The domain of presentities.
pub(crate) const DOMAIN: &str = "example.com";

/// MiB of shared memory: with less, NOTIFYs are lost without a word.
const SHARED_MIB: &str = "2048";

/// The shortest time in which rls gathers changes (`waitn_time`).
pub(crate) const GATHER_MS: u32 = 1_000;

/// A resource list of one watcher.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) name: String,
    pub(crate) members: Vec<String>,
}

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

/// Starts it in `dir`, on core 0; with the rls module if there are `lists`, one for each watcher of
/// the generator.
pub(crate) fn start(dir: &Path, lists: Option<&[List]>) -> anyhow::Result<(Started, Target)> {
    let sip = free_udp()?;
    let rls = match lists {
        Some(lists) => write_rls(sip, &write_tables(dir, lists)?),
        None => String::new(),
    };
    let config = dir.join("kamailio.cfg");
    fs::write(&config, write_config(sip, &rls))?;
    let log = dir.join("kamailio.log");
    let mut command = pinned("0", "kamailio");
    command.arg("-f").arg(&config).args(["-m", SHARED_MIB, "-M", "64", "-x", "fm", "-X", "fm"]);
    command.args(["-DD", "-E", "-P"]).arg(dir.join("kamailio.pid")).arg("-Y").arg(dir);
    command.stdout(Stdio::null()).stderr(fs::File::create(&log)?);
    let mut process = Started::start("kamailio", &mut command)?;
    process.wait_ready(Duration::from_secs(30), &log, || answers(sip).unwrap_or(false))?;
    let (change_by, domain) = ("publish".to_owned(), Some(DOMAIN.to_owned()));
    let target = Target { id: process.id(), sip, change_by, domain };
    Ok((process, target))
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

fn write_config(sip: SocketAddr, rls: &str) -> String {
    let subscribe = match rls.is_empty() {
        true => "handle_subscribe();",
        false => "$var(is) = rls_handle_subscribe(); if ($var(is) == 10) handle_subscribe();",
    };
    let notify = match rls.is_empty() {
        true => "",
        false => "if ($rm == \"NOTIFY\") { rls_handle_notify(); exit; }",
    };
    format!(
        r#"debug=0
log_stderror=yes
fork=yes
children=1
auto_aliases=no
alias={DOMAIN}
disable_tcp=yes
max_branches=1
maxbuffer=16777216
listen=udp:{sip}
mpath="{MODULES}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "presence.so"
loadmodule "presence_xml.so"
modparam("tm", "wt_timer", 1000)
modparam("presence", "subs_db_mode", 0)
modparam("presence", "publ_cache", 2)
modparam("presence", "server_address", "sip:{sip}")
modparam("presence", "send_fast_notify", 1)
modparam("presence", "max_expires", 100000)
modparam("presence", "subs_htable_size", 14)
modparam("presence", "pres_htable_size", 12)
modparam("presence_xml", "force_active", 1)
{rls}
request_route {{
    if ($rm == "PUBLISH") {{ handle_publish(); exit; }}
    if ($rm == "SUBSCRIBE") {{ {subscribe} exit; }}
    {notify}
    sl_send_reply("405", "Method Not Allowed");
}}
"#
    )
}

/// The rls module: it subscribes to each member of each list by SIP, at itself.
fn write_rls(sip: SocketAddr, tables: &Path) -> String {
    let tables = format!("text://{}", tables.display());
    let wait_s = GATHER_MS / 1_000;
    format!(
        r#"loadmodule "db_text.so"
loadmodule "pua.so"
loadmodule "rls.so"
modparam("pua", "db_url", "{tables}")
modparam("pua", "db_mode", 0)
modparam("pua", "hash_size", 14)
modparam("pua", "outbound_proxy", "sip:{sip}")
modparam("rls", "db_url", "{tables}")
modparam("rls", "db_mode", 0)
modparam("rls", "waitn_time", {wait_s})
modparam("rls", "hash_size", 12)
modparam("rls", "max_expires", 100000)
modparam("rls", "integrated_xcap_server", 1)
modparam("rls", "to_presence_code", 10)
modparam("rls", "outbound_proxy", "sip:{sip}")
modparam("rls", "server_address", "sip:rls@{sip}")
"#
    )
}

/// Tables with an rls-services document for each watcher: `w0`, `w1`… as the generator calls them.
fn write_tables(dir: &Path, lists: &[List]) -> anyhow::Result<PathBuf> {
    let tables = dir.join("tables");
    fs::create_dir(&tables)?;
    for file in fs::read_dir(EMPTY_TABLES).context(EMPTY_TABLES)? {
        let file = file?;
        fs::copy(file.path(), tables.join(file.file_name()))?;
    }
    let path = tables.join("xcap");
    let mut text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (index, list) in lists.iter().enumerate() {
        // Columns end with a colon. 8 stands for rls-services.
        let document = document(list).replace('\\', "\\\\").replace(':', "\\:");
        let _ = writeln!(text, "{}:w{index}:{DOMAIN}:{document}:8:e{index}:0:d:0", index + 1);
    }
    fs::write(&path, text)?;
    Ok(tables)
}

fn document(List { name, members }: &List) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\"?><rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\" \
         xmlns:rl=\"urn:ietf:params:xml:ns:resource-lists\"><service uri=\"sip:{name}@{DOMAIN}\">\
         <list name=\"l\">"
    );
    for member in members {
        let _ = write!(text, "<rl:entry uri=\"sip:{member}@{DOMAIN}\"/>");
    }
    text + "</list><packages><package>presence</package></packages></service></rls-services>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_for_the_address_given() {
        let sip = "127.0.0.1:5555".parse().expect("an address");
        for rls in [String::new(), write_rls(sip, Path::new("/t"))] {
            let config = write_config(sip, &rls);
            assert!(config.contains("listen=udp:127.0.0.1:5555\n"), "{config}");
            assert!(!config.contains("{{") && !config.contains("{ }") && !config.contains("{  }"));
            assert_eq!(config.matches('{').count(), config.matches('}').count());
            assert_eq!(config.contains("rls_handle_notify"), !rls.is_empty());
        }
    }

    #[test]
    fn a_document_names_its_list_and_all_members() {
        let members = vec!["1".to_owned(), "2".to_owned()];
        let text = document(&List { name: "blf".to_owned(), members });
        assert!(text.contains("<service uri=\"sip:blf@example.com\">"), "{text}");
        assert_eq!(text.matches("<rl:entry uri=").count(), 2);
    }
}
