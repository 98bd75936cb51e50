//! TLS and WebSocket with peers users have: SIPp, openssl, baresip and Chromium.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::baresip::Phone;
use crate::is_asked_for;
use crate::kamailio::{MODULES, Proxy, free_address};
use crate::stage::{Running, Stage};

/// What openssl says of a connection without keys.
const REFUSED: &str = "Cipher is (NONE)";

/// SIPp and baresip know MD5 only.
const CONFIG: &str = r#"
[node]
digest_algorithms = ["MD5"]
[[listen]]
transport = "udp"
bind = "127.0.0.1:0"
[[listen]]
transport = "tcp"
bind = "127.0.0.1:0"
[[listen]]
transport = "tls"
bind = "127.0.0.1:0"
certificate = "node.pem"
private_key = "node.key"
ca = "ca.pem"
verify_clients = "if-shown"
verify_servers = false
[[listen]]
transport = "ws"
bind = "127.0.0.1:0"
origins = ["*"]
[[listen]]
transport = "wss"
bind = "127.0.0.1:0"
certificate = "node.pem"
private_key = "node.key"

[[tenant]]
name = "pbx"
[[tenant]]
name = "other"
domain = "other.example.com"
certificate = "other.pem"
private_key = "other.key"

[[context]]
name = "default"
tenant = "pbx"
[[hint_range]]
context = "default"
tenant = "pbx"
range = "10000..=10099"
hint = "Custom:lamp{exten}"

[[endpoint]]
name = "phones"
tenant = "pbx"
context = "default"
match = ["127.0.0.0/8"]
auth = { username = "demo", password = "s3cret" }

[[ami.user]]
name = "demo"
secret = "demo"
tenant = "pbx"
read = ["all"]
write = ["all"]
"#;

/// An authority, a certificate of the node, one of a tenant and one of a client.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
    std::fs::write(dir.join("ca.pem"), issuer.pem()).expect("written");
    let signed = [("node", "127.0.0.1"), ("other", "other.example.com"), ("client", "phone")];
    for (file, name) in signed {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(rcgen::DnType::CommonName, file);
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        std::fs::write(dir.join(format!("{file}.pem")), certificate.pem()).expect("written");
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).expect("written");
    }
}

/// A node that serves everything, with and without digest.
fn stage(name: &str, has_digest: bool) -> Stage {
    let auth = "auth = { username = \"demo\", password = \"s3cret\" }\n";
    let config = if has_digest { CONFIG.to_owned() } else { CONFIG.replace(auth, "") };
    Stage::listening(name, 2, &config, certificates)
}

/// Debian's SIPp is built without TLS.
#[test]
fn sipp_subscribes_over_tcp_with_and_without_digest() {
    if !is_asked_for() {
        return;
    }
    for (has_digest, scenario) in [(false, "subscription.xml"), (true, "digest.xml")] {
        let stage = stage(&format!("sipp-tcp-{has_digest}"), has_digest);
        let rows: String = (10_000..10_100).map(|exten| format!("{exten};\n")).collect();
        let extens = stage.write("extens.csv", &format!("SEQUENTIAL\n{rows}"));
        let extens = extens.to_str().expect("text");
        let options = ["-t", "t1", "-m", "500", "-r", "200", "-l", "100", "-inf", extens];
        let options = [&options[..], &["-au", "demo", "-ap", "s3cret"]].concat();
        stage.judge(stage.sipp_at(&stage.address("tcp"), scenario, &options));
        stage.wait_for_subscriptions(0);
    }
}

#[test]
fn baresip_shows_changes_over_tcp_and_tls_with_digest() {
    if !is_asked_for() {
        return;
    }
    let stage = stage("baresip-secure", true);
    for (transport, exten) in [("tcp", 10_001), ("tls", 10_002)] {
        let served = (transport, &*stage.address(transport));
        let secret = ";auth_user=demo;auth_pass=s3cret";
        let mut phone = Phone::start_by(&stage, served, "demo", secret, exten..exten + 1);
        stage.wait_for_subscriptions(1);
        stage.set_device(&format!("Custom:lamp{exten}"), "INUSE");
        phone.shows_change("Online", "Busy", transport);
        phone.process.asks_to_end("INT");
        stage.wait_for_subscriptions(0);
    }
}

/// A proxy that phones reach over UDP, and that reaches us over TLS, with a certificate of its own.
const EDGE: &str = r#"
enable_tls=yes
listen=tls:TLS
mpath="MODULES"
loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "siputils.so"
modparam("tls", "config", "EDGE_TLS")
request_route {
    if ($rm == "OPTIONS") { sl_send_reply("200", "OK"); exit; }
    if (has_totag()) { loose_route(); t_relay(); exit; }
    record_route();
    $du = "sip:NODE;transport=tls";
    t_relay();
}
"#;

#[test]
fn kamailio_is_an_edge_with_a_certificate_of_its_own() {
    if !is_asked_for() {
        return;
    }
    let demanding = CONFIG.replace("if-shown", "always");
    let demanding =
        demanding.replace("auth = { username = \"demo\", password = \"s3cret\" }\n", "");
    let stage = Stage::listening("edge-tls", 2, &demanding, certificates);
    let path = |name: &str| stage.path(name).display().to_string();
    let side = format!(
        "method = TLSv1.2+\ncertificate = {}\nprivate_key = {}\nca_list = {}\n",
        path("client.pem"),
        path("client.key"),
        path("ca.pem")
    );
    let tls = format!(
        "[server:default]\n{side}verify_certificate = no\n\
         [client:default]\n{side}verify_certificate = yes\nrequire_certificate = yes\n"
    );
    let tls = stage.write("edge-tls.cfg", &tls);
    let edge = EDGE
        .replace("MODULES", MODULES)
        .replace("EDGE_TLS", tls.to_str().expect("text"))
        .replace("TLS", &free_address())
        .replace("NODE", &stage.address("tls"));
    let proxy = Proxy::start_with(&stage, &edge);
    let rows: String = (10_000..10_100).map(|exten| format!("{exten};\n")).collect();
    let extens = stage.write("extens.csv", &format!("SEQUENTIAL\n{rows}"));
    let extens = extens.to_str().expect("text");
    let options = ["-m", "200", "-r", "100", "-l", "50", "-inf", extens];
    stage.judge(stage.sipp_at(&proxy.sip, "subscription.xml", &options));
    stage.wait_for_subscriptions(0);
    // All of it went over one connection, or a few: none was refused, none was opened by us.
    stage.wait_for_net_counter("connection_closed_untrusted", 0);
    stage.wait_for_net_counter("connection_opened", 0);
    // Who has no certificate is not served.
    let refused = s_client(&stage.address("tls"), &stage.dir, &["-tls1_2"]);
    assert!(refused.contains("alert"), "{refused}");
    stage.wait_for_net_counter("connection_closed_untrusted", 1);
}

/// What `openssl s_client` says of one connection.
fn s_client(address: &str, dir: &Path, options: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address, "-CAfile", "ca.pem", "-verify_return_error"])
        .args(options)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("openssl starts: Debian has it in the package openssl");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn openssl_finds_modern_versions_ciphers_and_the_right_certificate() {
    if !is_asked_for() {
        return;
    }
    let stage = stage("openssl", false);
    for transport in ["tls", "wss"] {
        let address = stage.address(transport);
        let said = |options: &[&str]| s_client(&address, &stage.dir, options);
        for (options, wanted) in [
            (&["-tls1_3"][..], "Verify return code: 0 (ok)"),
            (&["-tls1_2"], "Verify return code: 0 (ok)"),
            (&["-tls1_3"], "New, TLSv1.3, Cipher is TLS_"),
            (&["-tls1_2"], "New, TLSv1.2, Cipher is ECDHE-"),
            (&["-tls1_2"], "Secure Renegotiation IS supported"),
            (&["-tls1_2"], "Compression: NONE"),
            (&["-verify_ip", "127.0.0.1"], "Verification: OK"),
            (
                &["-servername", "other.example.com", "-verify_hostname", "other.example.com"],
                "Verification: OK",
            ),
            (&["-servername", "no.example.com"], "CN = node"),
            // Old versions, and ciphers without forward secrecy or with broken parts, are refused.
            (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], REFUSED),
            (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], REFUSED),
            (&["-tls1_2", "-cipher", "AES128-SHA:AES256-SHA:@SECLEVEL=0"], REFUSED),
            (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"], REFUSED),
        ] {
            let said = said(options);
            assert!(said.contains(wanted), "{transport} {options:?}: no {wanted} in {said}");
        }
        // Only the connection for phones asks for a certificate.
        let asks = said(&["-tls1_2", "-cert", "client.pem", "-key", "client.key"]);
        assert_eq!(
            asks.contains("No client certificate CA names sent"),
            transport == "wss",
            "{asks}"
        );
    }
}

#[test]
fn a_reload_takes_new_certificates_and_a_bad_file_changes_nothing() {
    if !is_asked_for() {
        return;
    }
    let stage = stage("renewal", false);
    let subject = || s_client(&stage.address("tls"), &stage.dir, &[]);
    assert!(subject().contains("CN = node"), "{}", subject());
    let good = std::fs::read(stage.path("node.pem")).expect("a file");
    std::fs::write(stage.path("node.pem"), "").expect("written");
    let refused = stage.console_refusal("reload");
    assert!(
        refused.contains("lampfield.toml:") && refused.contains("node.pem: no certificate in it"),
        "{refused}"
    );
    assert!(subject().contains("CN = node"), "{}", subject());
    std::fs::write(stage.path("node.pem"), good).expect("written");
    for suffix in ["pem", "key"] {
        let [from, to] = ["client", "node"].map(|name| stage.path(&format!("{name}.{suffix}")));
        std::fs::copy(from, to).expect("copied");
    }
    stage.console("reload");
    assert!(subject().contains("CN = client"), "{}", subject());
}

/// A page that subscribes by WebSocket and writes down what it is told.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><pre id="told"></pre><img src="PICTURE">
<script>
const told = document.getElementById("told");
const socket = new WebSocket("URL", "sip");
const send = (lines, body = "") => socket.send(lines.concat("Content-Length: " + body.length, "", body).join("\r\n"));
socket.onopen = () => send(["SUBSCRIBE sip:10007@127.0.0.1 SIP/2.0",
  "Via: SIP/2.0/WS browser.invalid;branch=z9hG4bK-one", "Max-Forwards: 70",
  "From: <sip:page@127.0.0.1>;tag=page", "To: <sip:10007@127.0.0.1>", "Call-ID: page",
  "CSeq: 1 SUBSCRIBE", "Contact: <sip:page@browser.invalid;transport=ws>", "Event: dialog",
  "Accept: application/dialog-info+xml", "Expires: 600"]);
socket.onclose = event => { told.append("closed " + event.code + "\n"); };
socket.onmessage = event => {
  const [head, body] = event.data.split("\r\n\r\n");
  told.append(head + "\n" + body + "\n");
  if (!head.startsWith("NOTIFY")) return;
  const copied = head.split("\r\n").filter(line => /^(Via|From|To|Call-ID|CSeq):/.test(line));
  send(["SIP/2.0 200 OK"].concat(copied));
};
</script>"#;

#[test]
fn a_page_in_chromium_watches_a_lamp_by_websocket() {
    if !is_asked_for() {
        return;
    }
    let stage = stage("browser", false);
    for transport in ["ws", "wss"] {
        // The page of a file has the origin `null`; wss serves pages of its own host only.
        let url = format!("{transport}://{}/", stage.address(transport));
        let browser = chromium(&stage, &PAGE.replace("URL", &url));
        if transport == "ws" {
            stage.wait_for_subscriptions(1);
            stage.set_device("Custom:lamp10007", "INUSE");
            stage.wait_for_counter("notify_acked", 2);
        }
        if transport == "wss" {
            stage.wait_for_net_counter("connection_upgrade_refused", 1);
            continue;
        }
        let dom = browser.dom();
        let states: Vec<_> =
            dom.split("&lt;state&gt;").skip(1).map(|s| s.split('&').next()).collect();
        assert_eq!(states, [Some("terminated"), Some("confirmed")], "{dom}");
        assert!(dom.contains("Via: SIP/2.0/WS ") && dom.contains(";transport=ws&gt;"), "{dom}");
    }
}

/// A browser that shows a page until it is asked what it shows: it waits for a picture.
struct Browser {
    process: Running,
    picture: TcpListener,
}

fn chromium(stage: &Stage, page: &str) -> Browser {
    let picture = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = picture.local_addr().expect("bound");
    let page = stage.write("page.html", &page.replace("PICTURE", &format!("http://{address}/")));
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg("--ignore-certificate-errors")
        .arg(format!("--user-data-dir={}", stage.path("profile").display()))
        .arg(format!("file://{}", page.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    Browser { process: Running::start(&mut command, "chromium"), picture }
}

impl Browser {
    /// The page as the browser has it now.
    fn dom(mut self) -> String {
        drop(self.picture.accept().expect("a browser that asks for the picture"));
        let mut dom = String::new();
        let output = self.process.0.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut { output }, &mut dom).expect("text");
        dom
    }
}
