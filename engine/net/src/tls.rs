//! TLS for SIP streams: which certificate is shown, whom we trust, and how both are replaced while
//! connections live.
//!
//! RFC 3261 section 26.3 (`sips`, TLS between hops), RFC 5922 (what a certificate names), RFC 6066
//! section 3 (the name a client asks for). TLS 1.2 and 1.3; older versions are not spoken.

mod verify;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};
use thiserror::Error;

/// Plain text that waits in a connection until it is encrypted and written, in bytes: one record.
const BUFFER_BYTES_MAX: usize = 16 << 10;

/// A certificate and the files it is read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The certificate and those between it and its authority, PEM.
    pub chain: PathBuf,
    /// Its private key, PEM: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientCheck {
    /// They are not asked for one.
    #[default]
    Never,
    /// They may; one that is shown must be of an authority we trust.
    IfShown,
    /// They must (mutual TLS).
    Always,
}

/// What TLS of one address is made from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsSettings {
    /// Shown to peers that ask for no name, or for one that nobody has.
    pub certificate: CertificateFiles,
    /// Shown to those that ask for this name, in any letter case.
    pub by_name: Vec<(String, CertificateFiles)>,
    /// Authorities we trust, PEM.
    pub authorities: Option<PathBuf>,
    /// Whether clients are checked.
    pub clients: ClientCheck,
    /// Whether servers we connect to are: their certificate must name the address connected to.
    pub verifies_servers: bool,
}

/// Why TLS cannot be served.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file that cannot be read or is not PEM.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// A file without any certificate.
    #[error("{}: no certificate in it", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// A file without any key that can be read.
    #[error("{}: no private key in it, or one that is encrypted", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate that cannot be used, or not with its key.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// Clients shall be checked, but there is nobody to trust.
    #[error("clients cannot be verified: no authorities are configured")]
    NoAuthorities,
    /// The library refuses the whole.
    #[error("{0}")]
    Refused(String),
}

/// TLS of one address, shared by all shards.
pub struct Tls {
    settings: TlsSettings,
    configs: RwLock<Configs>,
}

#[derive(Clone)]
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Reads all files.
    ///
    /// # Errors
    ///
    /// [`TlsError`]: the first thing that is wrong, with its file.
    pub fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = match &settings.authorities {
            Some(path) => Some(Arc::new(read_authorities(path)?)),
            None => None,
        };
        let default = Arc::new(read_certified(&settings.certificate, &provider)?);
        let by_name = settings.by_name.iter().map(|(name, files)| {
            Ok((name.to_ascii_lowercase(), Arc::new(read_certified(files, &provider)?)))
        });
        let by_name = by_name.collect::<Result<Vec<_>, TlsError>>()?;
        let server = server_config(
            Certificates { default: Arc::clone(&default), by_name },
            authorities.clone(),
            settings.clients,
            &provider,
        )?;
        let trusted = authorities.filter(|_| settings.verifies_servers);
        let anybody = !settings.verifies_servers;
        let client = client_config(default, trusted, anybody, &provider)?;
        let configs = Configs { server: Arc::new(server), client: Arc::new(client) };
        Ok(Self { settings, configs: RwLock::new(configs) })
    }

    /// What it was made from.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// New connections use what `newer` has read; those that are open go on as they are.
    pub fn adopt(&self, newer: &Self) {
        let newer = newer.configs();
        *self.configs.write().unwrap_or_else(std::sync::PoisonError::into_inner) = newer;
    }

    fn configs(&self) -> Configs {
        self.configs.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Our side of a connection a peer has opened.
    pub(crate) fn accept(&self) -> io::Result<Connection> {
        let session = ServerConnection::new(self.configs().server).map_err(io::Error::other)?;
        Ok(bounded(session.into()))
    }

    /// Our side of a connection we open.
    pub(crate) fn connect(&self, peer: IpAddr) -> io::Result<Connection> {
        let name = ServerName::IpAddress(peer.to_canonical().into());
        let session =
            ClientConnection::new(self.configs().client, name).map_err(io::Error::other)?;
        Ok(bounded(session.into()))
    }
}

fn bounded(mut session: Connection) -> Connection {
    session.set_buffer_limit(Some(BUFFER_BYTES_MAX));
    session
}

impl PartialEq for Tls {
    /// Whether both are made from the same files, whatever these held.
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The certificates of one address, by the name a client asks for.
#[derive(Debug)]
struct Certificates {
    default: Arc<CertifiedKey>,
    by_name: Vec<(String, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|asked| {
            self.by_name.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked))
        });
        Some(Arc::clone(named.map_or(&self.default, |(_, certified)| certified)))
    }
}

fn server_config(
    certificates: Certificates,
    authorities: Option<Arc<RootCertStore>>,
    clients: ClientCheck,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsError> {
    let refused = |error: &dyn fmt::Display| TlsError::Refused(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?;
    let builder = match clients {
        ClientCheck::Never => builder.with_no_client_auth(),
        ClientCheck::IfShown | ClientCheck::Always => {
            let authorities = authorities.ok_or(TlsError::NoAuthorities)?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authorities, Arc::clone(provider));
            let verifier = match clients {
                ClientCheck::Always => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| refused(&error))?)
        }
    };
    Ok(builder.with_cert_resolver(Arc::new(certificates)))
}

/// `trusted` of `None` trusts nobody, unless `anybody` will do.
fn client_config(
    own: Arc<CertifiedKey>,
    trusted: Option<Arc<RootCertStore>>,
    anybody: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Refused(error.to_string()))?;
    let own = Arc::new(verify::Own(own));
    let builder = match anybody {
        true => builder.dangerous().with_custom_certificate_verifier(verify::anybody(provider)),
        false => {
            builder.with_root_certificates(trusted.unwrap_or_else(|| RootCertStore::empty().into()))
        }
    };
    Ok(builder.with_client_cert_resolver(own))
}

fn read_certified(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates(&files.chain)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
        let path = files.key.clone();
        match error {
            pem::Error::NoItemsFound => TlsError::NoKey { path },
            error => TlsError::File { path, error },
        }
    })?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| TlsError::Unusable { path: files.chain.clone(), error })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| TlsError::File { path: path.to_owned(), error };
    let read = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    match certificates.is_empty() {
        true => Err(TlsError::NoCertificate { path: path.to_owned() }),
        false => Ok(certificates),
    }
}

fn read_authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        store
            .add(certificate)
            .map_err(|error| TlsError::Unusable { path: path.to_owned(), error })?;
    }
    Ok(store)
}
