//! In place of TLS when this crate is built without the feature `tls`: nobody gets any.

use std::path::Path;

use super::{TlsMode, TlsOptions};
use crate::exit::Fatal;

/// In place of what rustls has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nothing;

fn refused() -> Fatal {
    Fatal::usage(
        "TLS needs the feature `tls` of the crate ringway, which this program was built without"
            .to_owned(),
    )
}

/// No TLS of accepted connections.
#[derive(Clone, Debug)]
pub struct TlsServer {
    pub(crate) config: Nothing,
    pub(crate) mode: TlsMode,
}

impl TlsServer {
    /// Never succeeds.
    ///
    /// # Errors
    /// Always.
    pub fn new(_options: &TlsOptions, _secrets: &TlsSecrets) -> Result<Self, Fatal> {
        Err(refused())
    }
}

/// No TLS of connections in the client's role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClient {
    pub(crate) config: Nothing,
    pub(crate) name: Nothing,
}

/// No secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSecrets(());

impl TlsSecrets {
    /// `None`, if no TLS is asked for.
    ///
    /// # Errors
    /// It is asked for.
    pub fn read(options: &TlsOptions) -> Result<Option<Self>, Fatal> {
        match options.is_wanted()? {
            false => Ok(None),
            true => Err(refused()),
        }
    }

    /// `None`.
    pub const fn decode(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// No secrets of a running server.
#[derive(Clone, Debug)]
pub struct TlsSupply(TlsSecrets);

impl TlsSupply {
    /// `None`, if no TLS is asked for.
    ///
    /// # Errors
    /// It is asked for.
    pub fn load(options: &TlsOptions) -> Result<Option<Self>, Fatal> {
        TlsSecrets::read(options).map(|secrets| secrets.map(Self))
    }

    /// Never succeeds.
    ///
    /// # Errors
    /// Always.
    pub fn reread(&mut self) -> Result<(), Fatal> {
        Err(refused())
    }

    /// Nothing.
    pub const fn present(&mut self) -> (Vec<u8>, bool) {
        (Vec::new(), false)
    }

    /// What is not there.
    pub const fn secrets(&self) -> &TlsSecrets {
        &self.0
    }

    /// None.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        std::iter::empty()
    }
}

/// `None`: nobody shows a certificate.
pub(crate) const fn subject(_certificate: &[u8]) -> Option<String> {
    None
}
