//! TLS of the driver's connections: whom it trusts, and whether it resumes sessions.
//!
//! Owns: reading the certificates of those that are trusted. Never: sees a connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway::tls::TlsClient;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Sessions that are kept to be resumed, of all connections together (each about 1 KiB).
const SESSIONS_MAX: usize = 4096;

/// How the driver speaks TLS to a server of `wss://`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTrust {
    /// Certificates of those that may have signed the server's, PEM. None: those that the system trusts.
    pub cacert: Option<PathBuf>,
    /// Any certificate is good.
    pub insecure: bool,
    /// Connections resume sessions of earlier ones, as a browser does. Otherwise each is a client of its own.
    pub resume: bool,
}

impl TlsTrust {
    /// What connections to `host` need.
    ///
    /// # Errors
    /// A sentence: a file that cannot be used, no trusted certificate, or a host that no certificate can name.
    pub fn client(&self, host: &str) -> Result<TlsClient, String> {
        let mut config = self.config("cacert", None)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        of_host(Arc::new(config), host)
    }

    /// The same for servers that do not speak HTTP, of any number of hosts. `option` is where the user gave the certificates.
    ///
    /// # Errors
    /// A sentence: a file that cannot be used, or no trusted certificate.
    pub fn of_streams(&self, option: &str) -> Result<StreamTls, String> {
        self.config(option, None)
            .map(|config| StreamTls(Arc::new(config)))
    }

    /// The same for any library on rustls, with a certificate of one's own to show.
    ///
    /// # Errors
    /// A sentence: a file that cannot be used, or no trusted certificate.
    pub fn showing(&self, identity: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, String> {
        let mut config = self.config("cacert", identity)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn config(
        &self,
        option: &str,
        identity: Option<(&Path, &Path)>,
    ) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = match self.insecure {
            true => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody { provider })),
            false => builder.with_root_certificates(self.roots(option)?),
        };
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let (certificates, key) = identity_of(cert, key)?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| format!("--cert {}: {error}", cert.display()))?
            }
        };
        config.resumption = match self.resume {
            true => Resumption::in_memory_sessions(SESSIONS_MAX),
            false => Resumption::disabled(),
        };
        Ok(config)
    }

    fn roots(&self, option: &str) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.cacert else {
            // Certificates that cannot be read are left out, as every client does; none at all is an error.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            return match roots.is_empty() {
                true => Err(format!(
                    "this system trusts no certificate; give one with --{option}"
                )),
                false => Ok(roots),
            };
        };
        let wrong = |why: String| format!("--{option} {}: {why}", path.display());
        let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate =
                certificate.map_err(|error| wrong(format!("no PEM file: {error}")))?;
            roots
                .add(certificate)
                .map_err(|error| wrong(error.to_string()))?;
        }
        match roots.is_empty() {
            true => Err(wrong("it has no certificate".to_owned())),
            false => Ok(roots),
        }
    }
}

/// A certificate with those that lead to its signer, and its key.
///
/// # Errors
/// A sentence: a file cannot be read, or is no PEM.
pub fn identity_of(
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let wrong = |option: &str, path: &Path, why: &dyn std::fmt::Display| {
        format!("--{option} {}: {why}", path.display())
    };
    let certificates = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| wrong("cert", cert, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("key", key, &error))?;
    Ok((certificates, key))
}

/// How streams are carried to servers under TLS.
#[derive(Clone, Debug)]
pub struct StreamTls(Arc<ClientConfig>);

impl StreamTls {
    /// What connections to `host` need.
    ///
    /// # Errors
    /// A sentence: no certificate could name the host.
    pub fn to(&self, host: &str) -> Result<TlsClient, String> {
        of_host(self.0.clone(), host)
    }
}

fn of_host(config: Arc<ClientConfig>, host: &str) -> Result<TlsClient, String> {
    TlsClient::new(config, host)
        .map_err(|_| format!("'{host}' is no name that a certificate could have"))
}

/// Takes any certificate, and checks only that the server has its key.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
