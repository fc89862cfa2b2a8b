//! What `ringway forward` accepts, and where that leads to; the TLS of targets, also of a gateway's.

use std::path::PathBuf;

use super::SerialLine;
use crate::services::gateway::Place;

/// The forwarder, see `docs/forward.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardOptions {
    /// What accepted connections carry.
    pub accepts: Accepts,
    /// Where they lead to. Default: nowhere, so there is no forwarder.
    pub to: Option<Destination>,
    /// The place to connect to for a URI, in place of its host and port.
    pub address: Option<Place>,
    /// Further headers of each request for a WebSocket: name and value.
    pub headers: Vec<(String, String)>,
    /// User and password of each request (Basic, RFC 7617), with a colon between them.
    pub basic_auth: Option<String>,
    /// A file with the certificates, PEM, of those that may have signed a `wss://` server's. Default: those that the system
    /// trusts.
    pub cacert: Option<PathBuf>,
    /// Any certificate of a `wss://` server is good.
    pub insecure: bool,
}

/// What accepted connections carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepts {
    /// A stream, from the first byte.
    #[default]
    Streams,
    /// A WebSocket, whose messages are a stream.
    WebSockets,
}

/// Where streams lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A target that speaks anything.
    Stream(Place),
    /// A WebSocket server, by its URI.
    WebSocket(String),
    /// A program for each of them, with its arguments.
    Process(Vec<String>),
    /// A serial device, for one of them at a time.
    Serial(SerialLine),
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
