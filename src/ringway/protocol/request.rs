//! What a client asks a server for, and why its connection may not open.

use super::refusal::Refused;
use crate::io::Errno;
use crate::proto::deflate::Deflate;
use crate::proto::handshake::{self, ClientRequest, Fault, Offered};
use crate::tls::TlsClient;

/// A client's opening request. One value serves any number of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningRequest {
    host: String,
    resource: String,
    subprotocols: Vec<String>,
    deflate: Option<Deflate>,
    tls: Option<TlsClient>,
}

impl OpeningRequest {
    /// `host`: name or address, with the port unless it is the scheme's default. `resource`: path and query; begins
    /// with `/`. `subprotocols`: those to offer, the best first.
    ///
    /// # Errors
    /// An argument that HTTP cannot express.
    pub fn new(
        host: &str,
        resource: &str,
        subprotocols: &[String],
    ) -> Result<Self, handshake::Misuse> {
        let request = Self {
            host: host.to_owned(),
            resource: resource.to_owned(),
            subprotocols: subprotocols.to_vec(),
            deflate: None,
            tls: None,
        };
        request.encode([0; 16], &mut Vec::new())?;
        Ok(request)
    }

    /// The same, with an offer to compress messages.
    ///
    /// # Panics
    /// When a level or a window is out of its range.
    #[must_use]
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        assert!(deflate.is_possible(), "{deflate:?} is out of range");
        self.deflate = Some(deflate);
        self
    }

    /// The same, under TLS (`wss://`): the server's certificate is checked before the request is sent.
    #[must_use]
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(super) const fn secured(&self) -> Option<&TlsClient> {
        self.tls.as_ref()
    }

    pub(super) const fn compression(&self) -> Option<&Deflate> {
        self.deflate.as_ref()
    }

    pub(super) fn encode(&self, key: [u8; 16], out: &mut Vec<u8>) -> Result<(), handshake::Misuse> {
        let subprotocols = self.subprotocols();
        let request = ClientRequest {
            offered: self.offered(&subprotocols),
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
            deflate: self.deflate.as_ref().map(Deflate::terms),
        }
    }
}

/// Why a connection did not open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The server or this worker ended the connection before the handshake was complete.
    Closed,
    /// The TCP connect failed, with this errno.
    Connect(Errno),
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
            Self::Refused(refused) => write!(f, "the server answered {refused}"),
            Self::Response(fault) => write!(f, "the server's answer is wrong: {fault}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Timeout => f.write_str("there was no opening handshake in time"),
        }
    }
}

impl std::error::Error for Failure {}
