//! What a client asks a server for, and why its connection may not open.

use std::sync::Arc;

use super::pieces::{Manner, Receiving};
use super::refusal::Refused;
use super::windowless::Compressions;
use crate::io::Errno;
#[cfg(feature = "bzip2")]
use crate::proto::bzip2::Bzip2;
use crate::proto::deflate::Deflate;
use crate::proto::handshake::{self, ClientRequest, Fault, Misuse, Offered, TunnelRequest};
use crate::proto::http;
#[cfg(feature = "snappy")]
use crate::proto::snappy::Snappy;
use crate::tls::TlsClient;

/// A client's opening request. One value serves any number of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningRequest {
    host: String,
    resource: String,
    subprotocols: Vec<String>,
    compressions: Compressions,
    tls: Option<TlsClient>,
    origin: Option<String>,
    headers: Vec<(String, String)>,
    tunnel: Option<Tunnel>,
    manner: Manner,
}

/// What an HTTP proxy is asked for before the server is: a tunnel to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Host and port of the server, as `example.com:80` or `[::1]:9000`.
    pub authority: String,
    /// `Proxy-Authorization`, for example from [`basic_credentials`](handshake::basic_credentials).
    pub authorization: Option<String>,
}

impl Tunnel {
    fn request(&self) -> TunnelRequest<'_> {
        TunnelRequest {
            authority: &self.authority,
            authorization: self.authorization.as_deref(),
        }
    }
}

impl OpeningRequest {
    /// `host`: name or address, with the port unless it is the scheme's default. `resource`: path and query; begins
    /// with `/`. `subprotocols`: those to offer, the best first.
    ///
    /// # Errors
    /// An argument that HTTP cannot express.
    pub fn new(host: &str, resource: &str, subprotocols: &[String]) -> Result<Self, Misuse> {
        let request = Self {
            host: host.to_owned(),
            resource: resource.to_owned(),
            subprotocols: subprotocols.to_vec(),
            compressions: Compressions::default(),
            tls: None,
            origin: None,
            headers: Vec::new(),
            tunnel: None,
            manner: Manner::PLAIN,
        };
        request.checked()
    }

    /// The same, with further header fields such as `Authorization`, `Cookie` or `User-Agent`: name and value.
    ///
    /// # Errors
    /// A field that cannot be sent, or that the protocol writes itself.
    pub fn headers(mut self, headers: &[(String, String)]) -> Result<Self, Misuse> {
        self.headers.extend_from_slice(headers);
        self.checked()
    }

    /// The same, with the `Origin` that a browser would send.
    ///
    /// # Errors
    /// It is no header value.
    pub fn origin(mut self, origin: &str) -> Result<Self, Misuse> {
        self.origin = Some(origin.to_owned());
        self.checked()
    }

    /// The same through an HTTP proxy: connections are made to the proxy, which is asked for `tunnel` first.
    ///
    /// # Errors
    /// The authority has no port, or the credentials are no header value.
    pub fn tunnel(mut self, tunnel: Tunnel) -> Result<Self, Misuse> {
        handshake::encode_tunnel_request(&tunnel.request(), &mut Vec::new())?;
        self.tunnel = Some(tunnel);
        Ok(self)
    }

    fn checked(self) -> Result<Self, Misuse> {
        self.encode([0; 16], &mut Vec::new())?;
        Ok(self)
    }

    pub(super) const fn is_tunnelled(&self) -> bool {
        self.tunnel.is_some()
    }

    /// Appends what the proxy is asked, if there is one.
    pub(super) fn encode_tunnel(&self, out: &mut Vec<u8>) -> Result<(), Misuse> {
        let tunnel = self.tunnel.as_ref().map(Tunnel::request);
        tunnel.map_or(Ok(()), |tunnel| {
            handshake::encode_tunnel_request(&tunnel, out)
        })
    }

    /// The same, with an offer to compress messages.
    ///
    /// # Panics
    /// When a level or a window is out of its range.
    #[must_use]
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        assert!(deflate.is_possible(), "{deflate:?} is out of range");
        self.compressions.deflate = Some(deflate);
        self
    }

    /// The same, with an offer of permessage-snappy behind that of permessage-deflate.
    #[cfg(feature = "snappy")]
    #[must_use]
    pub const fn snappy(mut self, snappy: Snappy) -> Self {
        self.compressions.snappy = Some(snappy);
        self
    }

    /// The same, with an offer of permessage-bzip2 behind all others.
    ///
    /// # Panics
    /// When a level is out of its range.
    #[cfg(feature = "bzip2")]
    #[must_use]
    pub fn bzip2(mut self, bzip2: Bzip2) -> Self {
        assert!(bzip2.is_possible(), "{bzip2:?} is out of range");
        self.compressions.bzip2 = Some(bzip2);
        self
    }

    /// The same, under TLS (`wss://`): the server's certificate is checked before the request is sent.
    #[must_use]
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The same, with a choice of what the application gets of the connection's messages. If it is pieces, no other
    /// compression than permessage-deflate is offered.
    #[must_use]
    pub const fn receiving(mut self, receiving: Receiving) -> Self {
        self.manner.receiving = receiving;
        self
    }

    /// The same, and what goes over the connection is counted ([`Context::traffic_stats`](super::Context::traffic_stats)).
    #[must_use]
    pub const fn measured(mut self) -> Self {
        self.manner.is_measured = true;
        self
    }

    pub(super) const fn manner(&self) -> Manner {
        self.manner
    }

    pub(super) const fn secured(&self) -> Option<&TlsClient> {
        self.tls.as_ref()
    }

    pub(super) const fn compressions(&self) -> &Compressions {
        &self.compressions
    }

    /// The same request for a stream, which no other extension than permessage-deflate can compress.
    pub(super) fn for_stream(self: &Arc<Self>) -> Arc<Self> {
        let compressions = self.compressions.in_pieces();
        if compressions == self.compressions {
            return self.clone();
        }
        let mut request = Self::clone(self);
        request.compressions = compressions;
        Arc::new(request)
    }

    pub(super) fn encode(&self, key: [u8; 16], out: &mut Vec<u8>) -> Result<(), Misuse> {
        let subprotocols = self.subprotocols();
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = ClientRequest {
            offered: self.offered(&subprotocols),
            origin: self.origin.as_deref(),
            headers: &headers,
            ..ClientRequest::new(&self.host, &self.resource, key)
        };
        handshake::encode_request(&request, out)
    }

    pub(super) fn subprotocols(&self) -> Vec<&str> {
        self.subprotocols.iter().map(String::as_str).collect()
    }

    pub(super) fn offered<'a>(&self, subprotocols: &'a [&'a str]) -> Offered<'a> {
        Offered {
            subprotocols,
            compression: match self.manner.receiving {
                Receiving::Messages => self.compressions.terms(),
                Receiving::Frames | Receiving::Chunks => self.compressions.in_pieces().terms(),
            },
        }
    }
}

/// Why a connection did not open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The server or this worker ended the connection before the handshake was complete.
    Closed,
    /// The connect failed, with this errno.
    Connect(Errno),
    /// The proxy did not open the way to the server.
    ProxyRefused(Box<Refused>),
    /// The proxy's answer is no HTTP, or more than an answer.
    ProxyResponse(http::Fault),
    /// The server answered in HTTP, with another status than 101.
    Refused(Box<Refused>),
    /// The server's response violates RFC 6455.
    Response(Fault),
    /// TLS failed before the request was sent: a sentence with the reason, such as a certificate that is not trusted.
    Tls(String),
    /// The opening handshake took longer than `handshake_timeout`.
    Timeout,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection ended before the opening handshake did"),
            Self::Connect(errno) => write!(f, "connect: {errno}"),
            Self::ProxyRefused(refused) => write!(f, "the proxy answered {refused}"),
            Self::ProxyResponse(fault) => write!(f, "the proxy's answer is wrong: {fault}"),
            Self::Refused(refused) => write!(f, "the server answered {refused}"),
            Self::Response(fault) => write!(f, "the server's answer is wrong: {fault}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Timeout => f.write_str("there was no opening handshake in time"),
        }
    }
}

impl std::error::Error for Failure {}
