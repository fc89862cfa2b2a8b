//! What a gateway does: where its streams lead to, and how they travel.
//!
//! Owns: the values and their defaults. Never: looks a name up.

use std::time::Duration;

use super::{ForwardOptions, ProxyVersion, SerialLine, TargetTlsOptions};
use crate::services::gateway::{Place, ProgramOptions, SessionOptions};

/// How WebSockets are joined with streams, see `docs/gateway.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Where the streams lead to. Default: nowhere, so there is no gateway.
    pub target: Option<Place>,
    /// The serial device that they lead to, in place of a target. Default: none.
    pub serial: Option<SerialLine>,
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
    /// Programs that sessions lead to. Default: none.
    pub programs: ProgramOptions,
    /// The TLS of the target. Default: none.
    pub tls: TargetTlsOptions,
    /// What the end of a wrapped program means, which is then the target. Default: there is none.
    pub wrap: Option<WrapMode>,
    /// What `ringway forward` does. Without a destination it is no forwarder.
    pub forward: ForwardOptions,
}

/// What it means for the gateway that the program it wraps has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrapMode {
    /// The gateway drains and ends, with the program's exit status.
    Exit,
    /// Nothing.
    Ignore,
    /// The program is started again, later and later if it ends too fast.
    Respawn,
}

impl GatewayOptions {
    /// Whether sessions lead anywhere, so that this is a gateway.
    pub fn is_gateway(&self) -> bool {
        self.target.is_some()
            || self.serial.is_some()
            || self.sessions.leads()
            || self.programs.runs()
            || self.wrap.is_some()
    }
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            target: None,
            serial: None,
            subprotocols: Vec::new(),
            base64: true,
            require_subprotocol: false,
            connect_timeout: Duration::from_secs(5),
            half_close: false,
            proxy_header: None,
            sessions: SessionOptions::default(),
            programs: ProgramOptions::default(),
            tls: TargetTlsOptions::default(),
            wrap: None,
            forward: ForwardOptions::default(),
        }
    }
}
