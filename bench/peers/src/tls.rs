//! The TLS of a peer: rustls with its default cryptography (aws-lc-rs), and stateless tickets, as its documentation recommends for servers.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::Ticketer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The configuration of `--tls CERTIFICATE KEY`, both PEM files. The error is a sentence.
pub fn config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let of = |path: &Path, why: &dyn Display| format!("--tls {}: {why}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| of(certificate, &error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| of(certificate, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of(key, &error))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private);
    let mut config = config.map_err(|error| of(certificate, &error))?;
    config.ticketer = Ticketer::new().map_err(|error| format!("--tls: {error}"))?;
    Ok(Arc::new(config))
}
