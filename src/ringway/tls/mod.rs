//! What a server's TLS stands on: certificates with their keys, chosen by name, and the versions it speaks.
//!
//! Owns: reading these files, the sentences for those that cannot be used, session tickets, and the format of records.
//! Never: sees a connection.
//! Without the feature `tls`, a server that is asked for TLS says so and does not start.
#![forbid(unsafe_code)]

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod config;
#[cfg(feature = "fuzz")]
mod judged;
#[cfg(feature = "tls")]
pub(crate) mod record;
#[cfg(feature = "tls")]
pub(crate) mod records;
#[cfg(feature = "tls")]
mod secrets;
#[cfg(feature = "tls")]
mod tickets;
#[cfg(feature = "tls")]
pub(crate) mod traffic;

use std::path::PathBuf;

use crate::exit::Fatal;

#[cfg(not(feature = "tls"))]
pub(crate) use absent::subject;
#[cfg(not(feature = "tls"))]
pub use absent::{TlsClient, TlsSecrets, TlsServer, TlsSupply};
#[cfg(feature = "tls")]
pub(crate) use config::subject;
#[cfg(feature = "tls")]
pub use config::{TlsClient, TlsServer};
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub use judged::judge;
#[cfg(feature = "tls")]
pub use secrets::{TlsSecrets, TlsSupply};

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
    /// A file with the certificates, PEM, of those that may have signed a client's certificate. Default: clients are asked
    /// for none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate when `client_ca` is given. Default: they must.
    pub client_auth: ClientAuth,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// One that shows none is refused in the TLS handshake.
    Required,
    /// One that shows none is served, and has no name.
    Optional,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            keys: Vec::new(),
            mode: TlsMode::Auto,
            version_min: TlsVersion::V1_2,
            client_ca: None,
            client_auth: ClientAuth::Required,
        }
    }
}

impl TlsOptions {
    /// Whether there is to be TLS.
    fn is_wanted(&self) -> Result<bool, Fatal> {
        let (certificates, keys) = (&self.certificates, &self.keys);
        if certificates.len() != keys.len() {
            return Err(Fatal::usage(format!(
                "{} certificates (--cert) and {} keys (--key): give one key for each certificate, in the same order",
                certificates.len(),
                keys.len()
            )));
        }
        match (self.mode, certificates.is_empty()) {
            (TlsMode::Off, _) => Ok(false),
            (_, false) => Ok(true),
            (TlsMode::Only, true) => Err(Fatal::usage(
                "--tls=only needs a certificate: give --cert and --key".to_owned(),
            )),
            (TlsMode::Auto, true) if self.client_ca.is_some() => Err(Fatal::usage(
                "--client-ca needs a certificate of the server: give --cert and --key".to_owned(),
            )),
            (TlsMode::Auto, true) => Ok(false),
        }
    }
}
