//! What a server's TLS stands on: certificates with their keys, chosen by name, and the versions it speaks.
//!
//! Owns: reading these files, and the sentences for those that cannot be used. Never: sees a connection.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion, version};

use crate::exit::Fatal;

/// Which connections speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Those that begin with a TLS handshake, beside plain ones on the same port.
    Auto,
    /// All. A plain request is answered 400.
    Only,
    /// None.
    Off,
}

/// The lowest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// The TLS of a server, as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Files with a certificate and its chain each, PEM. A client gets the first one that is valid for the name that it
    /// asks for, else the first of all.
    pub certificates: Vec<PathBuf>,
    /// Files with the private keys, PEM, in the same order.
    pub keys: Vec<PathBuf>,
    /// Which connections speak TLS. Default: by their first byte.
    pub mode: TlsMode,
    /// The lowest version. Default 1.2.
    pub version_min: TlsVersion,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            keys: Vec::new(),
            mode: TlsMode::Auto,
            version_min: TlsVersion::V1_2,
        }
    }
}

/// The TLS of connections in the client's role.
#[derive(Clone, Debug)]
pub struct TlsClient {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl TlsClient {
    /// `config`: whom to trust, versions, a certificate of one's own, and the store of sessions, which all connections
    /// share. `host`: the name or address of the URI, which the server's certificate must be valid for.
    ///
    /// # Errors
    /// `host` is neither a name nor an address.
    pub fn new(config: Arc<ClientConfig>, host: &str) -> Result<Self, InvalidDnsNameError> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host)?.to_owned();
        Ok(Self { config, name })
    }
}

impl PartialEq for TlsClient {
    /// Two are equal that share their configuration.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for TlsClient {}

/// The TLS of a worker's accepted connections.
#[derive(Clone, Debug)]
pub struct TlsServer {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) mode: TlsMode,
}

impl TlsServer {
    /// Reads the certificates and keys. `None`: the options ask for no TLS.
    ///
    /// # Errors
    /// A file cannot be used, or the options do not go together: one sentence with the remedy.
    pub fn load(options: &TlsOptions) -> Result<Option<Self>, Fatal> {
        let (certificates, keys) = (&options.certificates, &options.keys);
        if certificates.len() != keys.len() {
            return Err(Fatal::usage(format!(
                "{} certificates (--cert) and {} keys (--key): give one key for each certificate, in the same order",
                certificates.len(),
                keys.len()
            )));
        }
        if options.mode == TlsMode::Off {
            return Ok(None);
        }
        if certificates.is_empty() {
            return match options.mode {
                TlsMode::Only => Err(Fatal::usage(
                    "--tls=only needs a certificate: give --cert and --key".to_owned(),
                )),
                _ => Ok(None),
            };
        }
        let pairs = certificates.iter().zip(keys);
        let pairs: Result<Vec<_>, _> = pairs.map(|(cert, key)| pair(cert, key)).collect();
        let versions: &[&SupportedProtocolVersion] = match options.version_min {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| Fatal::environment(format!("TLS cannot be set up: {error}")))?;
        let mut config = config
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName { pairs: pairs? }));
        // A client that offers other protocols only is refused, one that offers none is not.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self {
            config: Arc::new(config),
            mode: options.mode,
        }))
    }
}

/// Certificates with their keys: at least one.
#[derive(Debug)]
struct ByName {
    pairs: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let valid = |pair: &&Arc<CertifiedKey>| {
            let parsed = pair.cert.first().map(ParsedCertificate::try_from);
            match (&name, parsed) {
                (Some(name), Some(Ok(parsed))) => verify_server_name(&parsed, name).is_ok(),
                _ => false,
            }
        };
        let chosen = self.pairs.iter().find(valid).or_else(|| self.pairs.first());
        chosen.cloned()
    }
}

/// Reads a certificate and its key.
fn pair(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Fatal> {
    let wrong = |file: &Path, why: &str| Fatal::usage(format!("{}: {why}", file.display()));
    let read = |file: &Path| std::fs::read(file).map_err(|error| wrong(file, &error.to_string()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|error| wrong(certificate, &format!("no PEM file: {error}")))?;
    if chain.is_empty() {
        let why = "it has no certificate; give a PEM file with BEGIN CERTIFICATE";
        return Err(wrong(certificate, why));
    }
    let text = read(key)?;
    if is_encrypted(&text) {
        let why = "the key is encrypted, and nobody is there to type its password; decrypt it with openssl pkey -in FILE -out NEW";
        return Err(wrong(key, why));
    }
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        wrong(
            key,
            "it has no private key; give a PEM file with BEGIN PRIVATE KEY",
        )
    })?;
    let pair = CertifiedKey::from_der(chain, secret, &ring::default_provider());
    let pair = pair.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => wrong(
            key,
            &format!(
                "the key is not the one of {}; give the keys in the order of the certificates",
                certificate.display()
            ),
        ),
        error => wrong(
            key,
            &format!("the key cannot be used with its certificate: {error}"),
        ),
    })?;
    Ok(Arc::new(pair))
}

/// Whether a PEM file holds an encrypted key: PKCS #8, or the older form of OpenSSL.
fn is_encrypted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}
