//! The configuration of TLS in either role, from texts in PEM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    version,
};

use x509_cert::der::Decode as _;

use super::tickets::Tickets;
use super::traffic::{prepare_client, prepare_server};
use super::{Cipher, ClientAuth, TlsMode, TlsOptions, TlsSecrets, TlsVersion};
use crate::exit::Fatal;

/// The TLS of connections in the client's role.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// The configuration of the application.
    given: Arc<ClientConfig>,
    /// The same, for connections that leave the library once they are open.
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
        let mut prepared = ClientConfig::clone(&config);
        prepare_client(&mut prepared);
        Ok(Self {
            given: config,
            config: Arc::new(prepared),
            name,
        })
    }
}

impl PartialEq for TlsClient {
    /// Two are equal that share their configuration.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.given, &other.given) && self.name == other.name
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
    /// Makes the TLS of a worker.
    ///
    /// # Errors
    /// A text cannot be used, or a key does not fit its certificate: one sentence with the file and the remedy.
    pub fn new(options: &TlsOptions, secrets: &TlsSecrets) -> Result<Self, Fatal> {
        let paths = options.certificates.iter().zip(&options.keys);
        let pairs = paths.zip(&secrets.pairs);
        let pairs: Result<Vec<_>, _> = pairs.map(|(paths, texts)| pair(paths, texts)).collect();
        let mut provider = ring::default_provider();
        choose(&options.ciphers, &mut provider.cipher_suites);
        let provider = Arc::new(provider);
        let versions: &[&SupportedProtocolVersion] = match options.version_min {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let cannot = |error: &dyn std::error::Error| {
            Fatal::environment(format!("TLS cannot be set up: {error}"))
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| cannot(&error))?;
        let builder = match (&options.client_ca, &secrets.client_ca) {
            (Some(path), Some(text)) => {
                let roots = Arc::new(roots(path, text)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match options.client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| cannot(&error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName { pairs: pairs? }));
        // A client that offers other protocols only is refused, one that offers none is not.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions are in their tickets: nothing is kept for clients that may come back.
        config.ticketer = Arc::new(Tickets::new(&secrets.tickets));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        prepare_server(&mut config);
        Ok(Self {
            config: Arc::new(config),
            mode: options.mode,
        })
    }
}

/// Leaves the suites that were chosen. Those of TLS 1.3 stay if none of them was named.
fn choose(ciphers: &[Cipher], suites: &mut Vec<SupportedCipherSuite>) {
    if ciphers.is_empty() {
        return;
    }
    let is_13 = |number: u16| number >> 8 == 0x13; // RFC 8446 §B.4
    let keeps_13 = !ciphers.iter().any(|cipher| is_13(cipher.number()));
    suites.retain(|suite| {
        let number = u16::from(suite.suite());
        keeps_13 && is_13(number) || ciphers.iter().any(|cipher| cipher.number() == number)
    });
}

/// The subject of a certificate (DER); `None` if it is none.
pub(crate) fn subject(certificate: &[u8]) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate.subject.to_string())
}

fn roots(path: &Path, text: &[u8]) -> Result<RootCertStore, Fatal> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, text)? {
        let why =
            |error: rustls::Error| wrong(path, &format!("a certificate cannot be used: {error}"));
        roots.add(certificate).map_err(why)?;
    }
    Ok(roots)
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

fn wrong(file: &Path, why: &str) -> Fatal {
    Fatal::usage(format!("{}: {why}", file.display()))
}

/// The certificates of a PEM file: at least one.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fatal> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|error| wrong(path, &format!("no PEM file: {error}")))?;
    match all.is_empty() {
        true => {
            let why = "it has no certificate; give a PEM file with BEGIN CERTIFICATE";
            Err(wrong(path, why))
        }
        false => Ok(all),
    }
}

/// A certificate and its key, from the texts of their files.
fn pair(
    (certificate, key): (&PathBuf, &PathBuf),
    (chain, secret): &(Vec<u8>, Vec<u8>),
) -> Result<Arc<CertifiedKey>, Fatal> {
    let chain = certificates(certificate, chain)?;
    let secret = PrivateKeyDer::from_pem_slice(secret).map_err(|_| {
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
