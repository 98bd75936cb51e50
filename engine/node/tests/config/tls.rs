//! Certificates: which are served where, and what is said of those that cannot be.

use std::path::PathBuf;

use lampfield::config::Loaded;
use lampfield_core::flow::Transport;
use lampfield_net::tcp::WebOrigins;
use lampfield_net::tls::{ClientCheck, TlsSettings};
use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::Dir;

/// A directory with these files, and certificates `a` and `b` with their keys.
fn dir(files: &[(&str, &str)]) -> Dir {
    let made = ["a", "b"].map(|name| {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec![format!("{name}.example.com")]).unwrap();
        [
            (format!("tls/{name}.pem"), cert.pem()),
            (format!("tls/{name}.key"), signing_key.serialize_pem()),
        ]
    });
    let made = made.as_flattened().iter().map(|(name, text)| (name.as_str(), text.as_str()));
    Dir::new(&made.chain(files.iter().copied()).collect::<Vec<_>>())
}

fn settings(loaded: &Loaded, at: usize) -> &TlsSettings {
    loaded.node.listen[at].tls.as_ref().expect("a secure address").settings()
}

#[test]
fn a_native_file_names_certificates_near_it() {
    let text = r#"
        [[tenant]]
        name = "b"
        domain = "b.example.com"
        certificate = "tls/b.pem"
        private_key = "tls/b.key"
        [[listen]]
        transport = "tls"
        bind = "192.0.2.1"
        certificate = "tls/a.pem"
        private_key = "tls/a.key"
        ca = "tls/b.pem"
        verify_clients = "always"
        [[listen]]
        transport = "wss"
        bind = "192.0.2.1:8089"
        certificate = "tls/a.pem"
        private_key = "tls/a.key"
        origins = ["https://phone.example.com"]
        [[listen]]
        transport = "ws"
        bind = "::1"
    "#;
    let dir = dir(&[("lampfield.toml", text)]);
    let loaded = dir.native().unwrap();
    let served: Vec<String> = (loaded.node.listen.iter())
        .map(|listen| format!("{} {}", listen.transport.token(), listen.bind))
        .collect();
    assert_eq!(served, ["TLS 192.0.2.1:5061", "WSS 192.0.2.1:8089", "WS [::1]:80"]);
    let near = |name: &str| -> PathBuf { dir.0.join(name) };
    let tls = settings(&loaded, 0);
    assert_eq!(
        (&tls.certificate.chain, &tls.certificate.key),
        (&near("tls/a.pem"), &near("tls/a.key"))
    );
    assert_eq!((&tls.authorities, tls.clients), (&Some(near("tls/b.pem")), ClientCheck::Always));
    assert!(tls.verifies_servers);
    // Every secure address shows the tenant's certificate to those who ask for its domain.
    for at in [0, 1] {
        let by_name: Vec<_> =
            settings(&loaded, at).by_name.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(by_name, ["b.example.com"]);
    }
    assert_eq!(
        loaded.node.listen[1].origins,
        WebOrigins::Listed(vec!["https://phone.example.com".to_owned()])
    );
    assert_eq!(loaded.node.listen[2].origins, WebOrigins::SameHost);
    assert!(loaded.node.listen[2].tls.is_none());
}

#[test]
fn a_transport_of_pjsip_conf_has_its_options() {
    let transport = "[t]\ntype=transport\nprotocol=tls\nbind=192.0.2.1\n\
                     cert_file=tls/a.pem\npriv_key_file=tls/a.key\n";
    for (options, authorities, clients, verifies_servers) in [
        ("", None, ClientCheck::Never, false),
        (
            "ca_list_file=tls/b.pem\nverify_client=yes\n",
            Some("tls/b.pem"),
            ClientCheck::IfShown,
            false,
        ),
        (
            "ca_list_file=tls/b.pem\nrequire_client_cert=yes\nverify_server=yes\n",
            Some("tls/b.pem"),
            ClientCheck::Always,
            true,
        ),
    ] {
        let dir = dir(&[("extensions.conf", ""), ("pjsip.conf", &format!("{transport}{options}"))]);
        let loaded = dir.asterisk().unwrap();
        assert_eq!(loaded.node.listen[0].transport, Transport::Tls);
        let tls = settings(&loaded, 0);
        assert_eq!(tls.certificate.chain, dir.0.join("tls/a.pem"));
        assert_eq!(tls.authorities, authorities.map(|name| dir.0.join(name)));
        assert_eq!((tls.clients, tls.verifies_servers), (clients, verifies_servers));
    }
}

#[test]
fn what_is_wrong_with_a_certificate_names_the_file_and_the_line() {
    let listen = "[[listen]]\ntransport = \"tls\"\nbind = \"::1\"\n";
    let a = "certificate = \"tls/a.pem\"\nprivate_key = \"tls/a.key\"\n";
    let mut out = String::new();
    for text in [
        format!("{listen}certificate = \"tls/a.pem\"\n"),
        format!("{listen}certificate = \"tls/no.pem\"\nprivate_key = \"tls/a.key\"\n"),
        format!("{listen}certificate = \"tls/a.key\"\nprivate_key = \"tls/a.key\"\n"),
        format!("{listen}certificate = \"tls/a.pem\"\nprivate_key = \"tls/a.pem\"\n"),
        format!("{listen}certificate = \"tls/a.pem\"\nprivate_key = \"tls/b.key\"\n"),
        format!("{listen}{a}verify_clients = \"always\"\n"),
        format!("{listen}{a}ca = \"tls/no.pem\"\n"),
        format!("{listen}{a}verify_clients = \"sometimes\"\n"),
        format!("{}{a}", listen.replace("tls", "udp")),
        format!("[[tenant]]\nname = \"x\"\n{a}"),
        "[[tenant]]\nname = \"x\"\ndomain = \"x.example\"\ncertificate = \"tls/a.pem\"\n"
            .to_owned(),
    ] {
        let dir = dir(&[("lampfield.toml", &text)]);
        out.push_str(&dir.errors(dir.native()));
        out.push('\n');
    }
    let transport = "[t]\ntype=transport\nprotocol=tls\nbind=192.0.2.1\n";
    for options in ["", "cert_file=/no/such.pem\npriv_key_file=tls/a.key\n"] {
        let dir = dir(&[("extensions.conf", ""), ("pjsip.conf", &format!("{transport}{options}"))]);
        out.push_str(&dir.errors(dir.asterisk()));
        out.push('\n');
    }
    insta::assert_snapshot!(out);
}
