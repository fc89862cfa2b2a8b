//! What a gateway does: where its streams lead to, and how they travel.
//!
//! Owns: the values and their defaults. Never: looks a name up.

use std::path::PathBuf;
use std::time::Duration;

use super::{Endpoint, ProxyVersion};
use crate::services::gateway::SessionOptions;

/// How WebSockets are joined with streams, see `docs/gateway.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Where the streams lead to. Default: nowhere, so there is no gateway.
    pub target: Option<Endpoint>,
    /// Subprotocols beside `binary` and `base64` that clients may choose; their messages are binary. Default: none.
    pub subprotocols: Vec<String>,
    /// Whether clients may choose `base64`. Default: yes.
    pub base64: bool,
    /// Whether a client that offers no subprotocol is refused. Default: no.
    pub require_subprotocol: bool,
    /// Time for a connect to one address of the target. Default 5 s.
    pub connect_timeout: Duration,
    /// Whether a WebSocket stays open after its target has ended its direction. Default: no.
    pub half_close: bool,
    /// The PROXY header that tells the target whose stream it is. Default: none.
    pub proxy_header: Option<ProxyVersion>,
    /// Where each session leads to, who may have one, and what is written about it.
    pub sessions: SessionOptions,
    /// The TLS of the target. Default: none.
    pub tls: TargetTlsOptions,
}

impl GatewayOptions {
    /// Whether sessions lead anywhere, so that this is a gateway.
    pub fn is_gateway(&self) -> bool {
        self.target.is_some() || self.sessions.leads()
    }
}

/// Whether a gateway's target speaks TLS, and whom its workers trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetTlsOptions {
    /// It does.
    pub wanted: bool,
    /// A file with the certificates, PEM, of those that may have signed the target's. Default: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Any certificate is good.
    pub insecure: bool,
    /// The name that it is asked for, and that its certificate must be valid for. Default: its host.
    pub name: Option<String>,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            target: None,
            subprotocols: Vec::new(),
            base64: true,
            require_subprotocol: false,
            connect_timeout: Duration::from_secs(5),
            half_close: false,
            proxy_header: None,
            sessions: SessionOptions::default(),
            tls: TargetTlsOptions::default(),
        }
    }
}
