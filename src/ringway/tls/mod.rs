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
mod password;
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
    /// The password of those keys that are encrypted. Default: none is.
    pub key_password: Option<KeyPassword>,
    /// Which connections speak TLS. Default: by their first byte.
    pub mode: TlsMode,
    /// The lowest version. Default 1.2.
    pub version_min: TlsVersion,
    /// The cipher suites that may be agreed on. Those of TLS 1.3 are there as well, unless some of them are named. Default: all
    /// that are known here.
    pub ciphers: Vec<Cipher>,
    /// A file with the certificates, PEM, of those that may have signed a client's certificate. Default: clients are asked
    /// for none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate when `client_ca` is given. Default: they must.
    pub client_auth: ClientAuth,
}

/// Where the password of a key is found, in the words of openssl(1).
#[derive(Clone, PartialEq, Eq)]
pub enum KeyPassword {
    /// `pass:`, and the password.
    Text(String),
    /// `file:`, and a file whose first line it is.
    File(PathBuf),
    /// `env:`, and a variable of the environment.
    Variable(String),
}

impl KeyPassword {
    /// Reads `pass:…`, `file:…` or `env:…`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            _ if rest.is_empty() => None,
            "pass" => Some(Self::Text(rest.to_owned())),
            "file" => Some(Self::File(rest.into())),
            "env" => Some(Self::Variable(rest.to_owned())),
            _ => None,
        }
    }

    /// The password itself.
    #[cfg(feature = "tls")]
    fn read(&self) -> Result<String, Fatal> {
        let missing = |place: &dyn std::fmt::Display, why: &dyn std::fmt::Display| {
            Fatal::usage(format!("--key-password {place}: {why}"))
        };
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| missing(&path.display(), &error))?;
                Ok(text.lines().next().unwrap_or_default().to_owned())
            }
            Self::Variable(name) => std::env::var(name).map_err(|error| missing(name, &error)),
        }
    }
}

impl std::fmt::Display for KeyPassword {
    /// As [`Self::parse`] reads it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "pass:{text}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
        }
    }
}

impl std::fmt::Debug for KeyPassword {
    /// Shows no password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPassword")
    }
}

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher(&'static (&'static str, u16));

/// Those that are known here, as openssl-ciphers(1) names them, with their numbers at IANA.
static CIPHERS: [(&str, u16); 9] = [
    ("TLS_AES_256_GCM_SHA384", 0x1302),
    ("TLS_AES_128_GCM_SHA256", 0x1301),
    ("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", 0xC02C),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", 0xC02B),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", 0xCCA9),
    ("ECDHE-RSA-AES256-GCM-SHA384", 0xC030),
    ("ECDHE-RSA-AES128-GCM-SHA256", 0xC02F),
    ("ECDHE-RSA-CHACHA20-POLY1305", 0xCCA8),
];

impl Cipher {
    /// The suite of this name, if it is known here.
    pub fn of(name: &str) -> Option<Self> {
        CIPHERS.iter().find(|(known, _)| *known == name).map(Self)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        CIPHERS.iter().map(Self)
    }

    /// Its name in OpenSSL.
    pub const fn name(self) -> &'static str {
        self.0.0
    }

    /// Its number at IANA.
    pub const fn number(self) -> u16 {
        self.0.1
    }
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
            key_password: None,
            mode: TlsMode::Auto,
            version_min: TlsVersion::V1_2,
            ciphers: Vec::new(),
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
