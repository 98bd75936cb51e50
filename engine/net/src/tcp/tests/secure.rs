//! TLS on both sides, with a peer of the same library and, in `engine/node/tests`, one of another.

use std::net::Shutdown;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;
use crate::tls::{CertificateFiles, ClientCheck, Tls, TlsError, TlsSettings};

type Client = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and a directory for what it signs that goes when the test ends.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Authority {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("lampfield-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {number}"));
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        std::fs::write(dir.join("ca.pem"), issuer.pem()).expect("written");
        Self { issuer, dir }
    }

    /// A certificate for `name` in files of its own.
    fn sign(&self, name: &str) -> CertificateFiles {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let files = CertificateFiles {
            chain: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}.key")),
        };
        std::fs::write(&files.chain, certificate.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }

    fn settings(&self, clients: ClientCheck) -> TlsSettings {
        TlsSettings {
            certificate: self.sign("127.0.0.1"),
            by_name: Vec::new(),
            authorities: Some(self.dir.join("ca.pem")),
            clients,
            verifies_servers: true,
        }
    }

    fn host(&self, clients: ClientCheck) -> Host {
        host(self.settings(clients), StreamLimits::default())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        roots
    }

    /// A client that trusts this authority, asks for `name` and may show a certificate.
    fn client(&self, host: &Host, name: &str, shown: Option<&CertificateFiles>) -> Client {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots());
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = CertificateDer::pem_file_iter(&files.chain).expect("a file");
                let chain = chain.collect::<Result<_, _>>().expect("certificates");
                let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a certificate")
            }
        };
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        StreamOwned::new(session, host.client())
    }
}

fn host(settings: TlsSettings, limits: StreamLimits) -> Host {
    let tls = Some(Arc::new(Tls::load(settings).expect("files that are right")));
    Host::with(limits, StreamOptions { tls, ..StreamOptions::default() })
}

/// Lets a client do what blocks, in a thread of its own, while the host goes on.
fn beside<T: Send + 'static>(host: &mut Host, work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(work);
    while !thread.is_finished() {
        host.turn(Duration::from_millis(1));
    }
    thread.join().expect("a client that does not panic")
}

/// Sends a message and reads `length` bytes that are answered, until the host has said them.
fn talk(host: &mut Host, mut client: Client) -> std::io::Result<Client> {
    let before = host.got.len();
    let client = beside(host, move || client.write_all(MESSAGE).map(|()| client));
    for _ in 0..200 {
        if host.got.len() > before {
            break;
        }
        host.turn(Duration::from_millis(1));
    }
    client
}

#[test]
fn messages_go_both_ways_and_the_end_is_told() {
    let authority = Authority::new();
    let mut host = authority.host(ClientCheck::Never);
    let client = authority.client(&host, "127.0.0.1", None);
    let peer = client.sock.local_addr().expect("bound");
    let mut client = talk(&mut host, client).expect("a handshake and a message");
    assert_eq!(host.got, [(1, MESSAGE.to_vec())]);
    // More than a record, by the connection's number, and then by its address alone.
    let long = vec![b'x'; 40_000];
    host.send(1, peer, &long);
    host.send(0, peer, b"end");
    let read = beside(&mut host, move || {
        let mut bytes = vec![0; 40_003];
        client.read_exact(&mut bytes).map(|()| (client, bytes))
    });
    let (mut client, bytes) = read.expect("as many bytes as were sent");
    assert!(bytes[..40_000] == long && bytes[40_000..] == *b"end");
    client.conn.send_close_notify();
    client.flush().expect("written");
    host.until("the end", |host| host.table.connection_count() == 0);
    let counts = host.table.counts();
    assert_eq!((counts.closed_by_peer_count, counts.untrusted_count), (1, 0));
    assert_eq!(client.read(&mut [0; 8]).expect("close_notify, not a broken end"), 0);
}

#[test]
fn the_name_a_client_asks_for_chooses_the_certificate_and_a_reload_renews_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut settings = authority.settings(ClientCheck::Never);
    settings.by_name.push(("PBX.example.com".to_owned(), other.sign("pbx.example.com")));
    let mut host = host(settings.clone(), StreamLimits::default());
    let client = other.client(&host, "pbx.example.com", None);
    talk(&mut host, client).expect("its own certificate");
    let client = other.client(&host, "127.0.0.1", None);
    talk(&mut host, client).expect_err("that of another authority is not trusted");

    // The files are replaced: first with what cannot be read, which changes nothing.
    let tls = host.table.listeners_tls().expect("TLS");
    std::fs::write(&settings.certificate.chain, "no certificate").expect("written");
    let error = Tls::load(settings.clone()).expect_err("not PEM");
    assert!(
        matches!(&error, TlsError::NoCertificate { path } if *path == settings.certificate.chain),
        "{error}"
    );
    let client = authority.client(&host, "127.0.0.1", None);
    let mut old = talk(&mut host, client).expect("the old certificate");
    settings.certificate = other.sign("127.0.0.1");
    tls.adopt(&Tls::load(settings).expect("files that are right"));
    let client = other.client(&host, "127.0.0.1", None);
    talk(&mut host, client).expect("the new certificate");
    // A connection that was open goes on.
    old.write_all(MESSAGE).expect("written");
    let before = host.got.len();
    host.until("a message over the old connection", |host| host.got.len() > before);
}

#[test]
fn a_certificate_of_an_authority_we_trust_is_asked_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (good, bad) = (authority.sign("edge"), stranger.sign("edge"));
    for (clients, shown, is_taken) in [
        (ClientCheck::Always, Some(&good), true),
        (ClientCheck::Always, Some(&bad), false),
        (ClientCheck::Always, None, false),
        (ClientCheck::IfShown, Some(&good), true),
        (ClientCheck::IfShown, Some(&bad), false),
        (ClientCheck::IfShown, None, true),
        (ClientCheck::Never, Some(&bad), true),
    ] {
        let mut host = authority.host(clients);
        let client = authority.client(&host, "127.0.0.1", shown);
        // In TLS 1.3 a client may write before it is refused.
        let client = talk(&mut host, client);
        if !is_taken {
            host.until("the refusal", |host| host.table.connection_count() == 0);
        }
        assert_eq!(
            !host.got.is_empty(),
            is_taken,
            "{clients:?} {:?}",
            shown.map(|files| &files.chain)
        );
        assert_eq!(host.table.counts().untrusted_count, u64::from(!is_taken));
        drop(client);
    }
    let blind = TlsSettings { authorities: None, ..authority.settings(ClientCheck::Always) };
    assert!(matches!(Tls::load(blind), Err(TlsError::NoAuthorities)));
}

#[test]
fn what_is_no_tls_is_refused_and_what_never_ends_runs_out_of_time() {
    let authority = Authority::new();
    let mut host = authority.host(ClientCheck::Never);
    let mut plain = host.client();
    plain.write_all(MESSAGE).expect("written");
    host.until("the refusal", |host| host.table.counts().untrusted_count == 1);
    let mut alert = Vec::new();
    let _ = plain.read_to_end(&mut alert);
    assert_eq!(alert.first(), Some(&21), "an alert, {alert:?}");
    // Nothing, the begin of a handshake, and a hello without the rest.
    let hello = beginning_of_a_handshake(&authority, &host);
    let mut clients = Vec::new();
    for bytes in [&b""[..], &hello[..7], &hello[..]] {
        let mut client = host.client();
        client.write_all(bytes).expect("written");
        clients.push(client);
    }
    host.until("them all", |host| host.table.counts().accepted_count == 5);
    for _ in 0..20 {
        host.turn(Duration::from_millis(1));
    }
    assert_eq!(host.table.connection_count(), 3);
    host.now += StreamLimits::default().connect_max;
    host.turn(Duration::ZERO);
    assert_eq!((host.table.connection_count(), host.table.counts().untrusted_count), (0, 4));
    assert!(host.got.is_empty());
    let client = authority.client(&host, "127.0.0.1", None);
    talk(&mut host, client).expect("others are served");
}

fn beginning_of_a_handshake(authority: &Authority, host: &Host) -> Vec<u8> {
    let mut client = authority.client(host, "127.0.0.1", None);
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).expect("a hello");
    let _ = client.sock.shutdown(Shutdown::Both);
    hello
}

#[test]
fn a_server_is_connected_to_if_its_certificate_names_its_address() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let trusting =
        TlsSettings { verifies_servers: false, ..authority.settings(ClientCheck::Never) };
    let blind = TlsSettings { authorities: None, ..authority.settings(ClientCheck::Never) };
    let verifying = authority.settings(ClientCheck::Always);
    for (settings, server, is_taken) in [
        (&verifying, authority.sign("127.0.0.1"), true),
        (&verifying, authority.sign("127.0.0.9"), false),
        (&verifying, stranger.sign("127.0.0.1"), false),
        (&blind, authority.sign("127.0.0.1"), false),
        (&trusting, stranger.sign("any.example"), true),
    ] {
        let mut host = host(settings.clone(), StreamLimits::default());
        let serving = TlsSettings { certificate: server, ..verifying.clone() };
        let (peer, messages) = serve_once(Tls::load(serving).expect("files"));
        host.send(0, peer, MESSAGE);
        host.until("the end of the attempt", |host| {
            host.table.counts().untrusted_count > 0 || messages_came(&messages)
        });
        let counts = host.table.counts();
        assert_eq!(counts.untrusted_count, u64::from(!is_taken), "{settings:?}");
        assert_eq!(counts.message_dropped_count, 0, "what was handed to TLS is not counted twice");
        assert_eq!(host.table.connection_count(), usize::from(is_taken));
    }
}

fn messages_came(messages: &mpsc::Receiver<Vec<u8>>) -> bool {
    messages.try_recv().is_ok_and(|bytes| bytes == MESSAGE)
}

/// A server in a thread of its own that takes one connection, as the table does.
fn serve_once(tls: Tls) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("bound");
    let (tell, messages) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        let rustls::Connection::Server(session) = tls.accept().expect("a session") else { return };
        let mut stream = StreamOwned::new(session, stream);
        let mut bytes = vec![0; MESSAGE.len()];
        if stream.read_exact(&mut bytes).is_ok() {
            let _ = tell.send(bytes);
            // It stays open until the peer has seen that it is.
            let _ = stream.read(&mut [0]);
        }
    });
    (address, messages)
}

#[test]
fn a_peer_that_stops_reading_fills_its_connection_and_goes_on_in_order() {
    let authority = Authority::new();
    let limits = StreamLimits { full_bytes: 4_000, ..StreamLimits::default() };
    let mut host = host(authority.settings(ClientCheck::Never), limits);
    let client = authority.client(&host, "127.0.0.1", None);
    let peer = (1, client.sock.local_addr().expect("bound"));
    let mut client = talk(&mut host, client).expect("a message");
    let (mut sent, mut held) = (Vec::new(), 0);
    for number in 0..20_000 {
        match host.tell(&[peer], number)[0] {
            true => sent.push(number),
            false => held += 1,
        }
        if held > 50 {
            break;
        }
    }
    assert!(held > 50 && !sent.is_empty(), "it became full");
    let wanted = sent.clone();
    let client = beside(&mut host, move || {
        let mut bytes = vec![0; wanted.len() * 1000];
        client.read_exact(&mut bytes).expect("all that was sent");
        assert!(numbers(&bytes) == wanted, "in order, and nothing else");
        client
    });
    host.until("room", |host| host.fullness.last() == Some(&(1, false)));
    drop(client);
}
