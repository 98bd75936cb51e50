//! Kamailio as a presence user agent: what it knows of registrations and calls, and what its
//! operator tells it, it publishes here. Debian has it in `kamailio` and
//! `kamailio-presence-modules`.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lampfield_wire::{DialogFacts, DialogInfoFacts, Framing, Message, PidfFacts};

use crate::is_asked_for;
use crate::phone::Phone;
use crate::stage::{PATIENCE, Running, Stage, UNHINTED};

pub(crate) const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules/";
/// Empty tables of `db_text`, Kamailio's database in memory.
const EMPTY_TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";

/// A proxy and registrar that tracks dialogs.
const PROXY_MODULES: &str = r#"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "dialog.so"
loadmodule "db_text.so"
loadmodule "xhttp.so"
loadmodule "jsonrpcs.so"
loadmodule "pua.so"
loadmodule "pua_usrloc.so"
loadmodule "pua_dialoginfo.so"
loadmodule "pua_rpc.so"
modparam("jsonrpcs", "transport", 1)
modparam("usrloc", "db_mode", 0)
modparam("pua_dialoginfo", "attribute_display", 1)
modparam("pua_usrloc", "default_domain", "example.com")
"#;
const PROXY_ROUTES: &str = r#"
request_route {
    if ($rm == "OPTIONS") { sl_send_reply("200", "OK"); exit; }
    if (has_totag()) {
        if (loose_route()) { t_relay(); exit; }
        if ($rm == "ACK") { if (t_check_trans()) t_relay(); exit; }
        sl_send_reply("404", "Not here");
        exit;
    }
    if ($rm == "REGISTER") { pua_set_publish(); save("location"); exit; }
    if ($rm == "INVITE") {
        record_route();
        dlg_manage();
        if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
        t_relay();
        exit;
    }
}
event_route[xhttp:request] { jsonrpc_dispatch(); }
"#;

/// A Kamailio.
pub(crate) struct Proxy {
    process: Running,
    pub(crate) sip: String,
}

impl Proxy {
    /// A Kamailio that publishes to the stage's node.
    fn start(stage: &Stage) -> Self {
        let tables = stage.path("tables");
        for table in ["version", "pua"] {
            let text = std::fs::read_to_string(Path::new(EMPTY_TABLES).join(table));
            let text = text.expect("Debian's package kamailio brings empty tables");
            stage.write(&format!("tables/{table}"), &text);
        }
        let more = format!(
            "tcp_accept_no_cl=yes\nalias=\"example.com\"\nmpath=\"{MODULES}\"\n{PROXY_MODULES}\
             modparam(\"pua\", \"db_url\", \"text://{}\")\n\
             modparam(\"pua\", \"outbound_proxy\", \"sip:{}\")\n{PROXY_ROUTES}",
            tables.display(),
            stage.sip,
        );
        Self::start_with(stage, &more)
    }

    /// A Kamailio with a configuration, what every one needs aside. It answers OPTIONS.
    pub(crate) fn start_with(stage: &Stage, more: &str) -> Self {
        // Somebody else may have taken the port before Kamailio does: it ends then.
        let started = (0..5).find_map(|_| Self::try_start(stage, more));
        started.unwrap_or_else(|| panic!("Kamailio ends at once: {}", log_of(stage)))
    }

    fn try_start(stage: &Stage, more: &str) -> Option<Self> {
        let sip = free_address();
        let config = format!(
            "log_stderror=yes\nchildren=1\nauto_aliases=no\ntcp_children=1\n\
             listen=udp:{sip}\nlisten=tcp:{sip}\n{more}"
        );
        let file = stage.write("kamailio.cfg", &config);
        let log = std::fs::File::create(stage.path("kamailio.log")).expect("a file");
        let mut command = Command::new("kamailio");
        command.arg("-f").arg(file).args(["-m", "64", "-DD", "-E", "-Y"]).arg(&stage.dir);
        command.arg("-P").arg(stage.path("kamailio.pid")).stdout(Stdio::null()).stderr(log);
        let process = Running::start(&mut command, "kamailio");
        let mut proxy = Self { process, sip };
        let begun = Instant::now();
        while !proxy.asks("OPTIONS", "proxy", "Expires: 0\r\n", 1).contains("200 OK") {
            if proxy.process.0.try_wait().expect("a child").is_some() {
                return None;
            }
            assert!(begun.elapsed() < PATIENCE, "Kamailio does not answer: {}", log_of(stage));
        }
        Some(proxy)
    }

    /// Sends a request about a user: the answer, or nothing.
    fn asks(&self, method: &str, user: &str, headers: &str, cseq: u32) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
        let (sip, local) = (&self.sip, socket.local_addr().expect("bound"));
        let request = format!(
            "{method} sip:example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK{user}{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@example.com>;tag={user}\r\nTo: <sip:{user}@example.com>\r\n\
             Call-ID: {user}\r\nCSeq: {cseq} {method}\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        let mut buffer = [0; 4096];
        let sent = socket.send_to(request.as_bytes(), sip);
        let length = sent.and_then(|_| socket.recv(&mut buffer)).unwrap_or_default();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn register(&self, user: &str, contact: &str, expires_s: u32, cseq: u32) {
        let headers = format!("Contact: <sip:{user}@{contact}>\r\nExpires: {expires_s}\r\n");
        let answer = self.asks("REGISTER", user, &headers, cseq);
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }

    /// `pua.publish` of `pua_rpc`, which answers when the PUBLISH was answered: what it says.
    fn publish(&self, user: &str, expires_s: &str, content_type: &str, body: &str) -> String {
        let uri = format!("sip:{user}@example.com");
        let params = [&*uri, expires_s, "presence", content_type, "desk", ".", ".", ".", body];
        let call = serde_json::json!(
            { "jsonrpc": "2.0", "method": "pua.publish", "params": params, "id": 1 }
        );
        let call = call.to_string();
        let mut http = TcpStream::connect(&self.sip).expect("Kamailio serves HTTP");
        http.set_read_timeout(Some(PATIENCE)).expect("set");
        let length = call.len();
        let head = "POST /RPC HTTP/1.1\r\nHost: proxy\r\nContent-Type: application/json";
        write!(http, "{head}\r\nContent-Length: {length}\r\n\r\n{call}").expect("written");
        let mut answer = [0; 4096];
        let length = http.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked to end, it takes its children along.
        self.process.asks_to_end("TERM");
        self.process.ends("kamailio");
    }
}

fn log_of(stage: &Stage) -> String {
    std::fs::read_to_string(stage.path("kamailio.log")).unwrap_or_default()
}

/// An address nobody listens at.
pub(crate) fn free_address() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("bound").to_string()
}

/// A watcher of an extension, who answers at once: the documents it is shown.
struct Watcher(mpsc::Receiver<String>);

impl Watcher {
    fn new(stage: &Stage, exten: &str, wants: &str) -> Self {
        let node = stage.sip.parse().expect("an address");
        let (exten, wants) = (exten.to_owned(), wants.to_owned());
        let (tell, documents) = mpsc::channel();
        std::thread::spawn(move || {
            let mut phone = Phone::new(node, [127, 0, 0, 1], &exten);
            phone.wants = wants;
            assert_eq!(phone.subscribe(600)["status"], "200");
            while let Some(bytes) = phone.line.receive(PATIENCE) {
                phone.answer(&bytes);
                let message = Message::scan(&bytes, Framing::Datagram).expect("SIP");
                let document = String::from_utf8(message.body().to_vec()).expect("text");
                if tell.send(document).is_err() {
                    return;
                }
            }
        });
        Self(documents)
    }

    fn document(&self) -> String {
        self.0.recv_timeout(Duration::from_secs(20)).expect("a NOTIFY")
    }

    /// The word of the next document.
    fn screen(&self) -> String {
        let facts = PidfFacts::parse(self.document().as_bytes()).expect("PIDF");
        facts.note.unwrap_or_default()
    }

    /// The one dialog of the next document.
    fn dialog(&self) -> DialogFacts {
        let document = self.document();
        let facts = DialogInfoFacts::parse(document.as_bytes()).expect("dialog-info");
        assert_eq!(facts.dialogs.len(), 1, "{document}");
        facts.dialogs.into_iter().next().expect("one")
    }
}

const PRESENCE: &str = "Event: presence\r\nAccept: application/pidf+xml\r\n";
const DIALOGS: &str = "Event: dialog\r\nAccept: application/dialog-info+xml\r\n";

#[test]
fn kamailio_publishes_registrations_calls_and_what_its_operator_says() {
    if !is_asked_for() {
        return;
    }
    for shard_count in [1, 2] {
        let stage = Stage::configured(&format!("kamailio-{shard_count}"), shard_count, UNHINTED);
        let proxy = Proxy::start(&stage);
        registrations(&stage, &proxy);
        calls(&stage, &proxy);
        operator(&stage, &proxy);
        let counters = stage.console("counters");
        let refused = |line: &&str| line.starts_with("publish_") && !line.starts_with("publish_in");
        for line in counters.lines().filter(refused) {
            assert!(line.split_ascii_whitespace().nth(1) == Some("0"), "{line}");
        }
    }
}

/// `pua_usrloc`: an extension is open while it is registered.
fn registrations(stage: &Stage, proxy: &Proxy) {
    let watcher = Watcher::new(stage, "1005", PRESENCE);
    assert_eq!(watcher.screen(), "Unavailable");
    proxy.register("1005", "127.0.0.1:9", 600, 1);
    assert_eq!(watcher.screen(), "Ready");
    proxy.register("1005", "127.0.0.1:9", 600, 2);
    stage.wait_for_counter("publication_refreshed", 1);
    // Kamailio has the new entity-tag a moment later, and does not wait for it.
    std::thread::park_timeout(Duration::from_millis(100));
    proxy.register("1005", "127.0.0.1:9", 0, 3);
    assert_eq!(watcher.screen(), "Unavailable", "a refresh shows nothing new");
}

/// `pua_dialoginfo`: a call that SIPp makes through it, seen at both ends.
fn calls(stage: &Stage, proxy: &Proxy) {
    let callee_at = free_address();
    let (_, port) = callee_at.split_once(':').expect("a port");
    proxy.register("1002", &callee_at, 600, 1);
    let [callee, caller] = ["1002", "1001"].map(|exten| Watcher::new(stage, exten, DIALOGS));
    let screen = Watcher::new(stage, "1002", PRESENCE);
    assert_eq!([&callee, &caller].map(|lamp| lamp.dialog().state), ["terminated"; 2]);
    assert_eq!(screen.screen(), "Ready", "registered");
    let answering = stage.sipp_at(&proxy.sip, "callee.xml", &["-m", "1", "-p", port]);
    let calling = stage.sipp_at(&proxy.sip, "caller.xml", &["-m", "1", "-s", "1002"]);

    let early = callee.dialog();
    assert_eq!((&*early.state, &*early.direction), ("early", "recipient"));
    assert_eq!(early.remote.identity, "sip:1001@example.com");
    assert_eq!(early.remote.display, "1001");
    assert!(early.call_id.is_some() && early.remote_tag.is_some(), "to pick it up: {early:?}");
    assert_eq!(screen.screen(), "Ringing");
    let begun = caller.dialog();
    assert_eq!((&*begun.state, &*begun.direction), ("confirmed", "initiator"));
    assert!(begun.remote.identity.contains("1002"), "{begun:?}");
    assert_eq!(begun.call_id, early.call_id);

    let answered = callee.dialog();
    assert_eq!((&*answered.state, &answered.call_id), ("confirmed", &early.call_id));
    assert_eq!(screen.screen(), "On the phone");
    let over = callee.dialog();
    assert_eq!((&*over.state, over.call_id), ("terminated", None));
    // What the caller is shown meanwhile differs by its tags.
    while caller.dialog().state != "terminated" {}
    assert_eq!(screen.screen(), "Ready", "still registered");
    stage.judge(calling);
    stage.judge(answering);
    proxy.register("1002", &callee_at, 0, 2);
}

/// `pua_rpc`: any document, changed and taken back.
fn operator(stage: &Stage, proxy: &Proxy) {
    let watcher = Watcher::new(stage, "1003", PRESENCE);
    assert_eq!(watcher.screen(), "Unavailable");
    let document_of = |activity: &str| {
        format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' \
             xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
             xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:1003@example.com'>\
             <tuple id='a'><status><basic>open</basic></status></tuple>\
             <dm:person id='p'><rpid:activities><rpid:{activity}/></rpid:activities></dm:person>\
             </presence>"
        )
    };
    let type_of = "application/pidf+xml";
    for (expires_s, body, want) in [
        ("600", &*document_of("on-the-phone"), "On the phone"),
        ("600", &*document_of("away"), "Ready"),
        ("0", ".", "Unavailable"),
    ] {
        let content_type = if body == "." { "." } else { type_of };
        let said = proxy.publish("1003", expires_s, content_type, body);
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        assert_eq!(watcher.screen(), want);
    }
}
