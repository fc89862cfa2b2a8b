//! A client's request to open a WebSocket, and what the application answers to it.

use super::commands::Commands;
use super::pieces::{Manner, Receiving};
use super::preface::Preface;
use super::rules::OpeningRules;
use crate::conn::link::NO_SERVICE;
use crate::conn::tls::Tls;
use crate::io::{ConnId, Fd};
use crate::proto::handshake::Request;
use crate::proto::http::StatusCode;
use crate::time::Instant;

/// A client that asks to open a WebSocket, as the application sees it in [`App::connect`](super::App::connect).
#[derive(Debug)]
pub struct Opening<'a> {
    pub(super) id: ConnId,
    pub(super) fd: Fd,
    pub(super) preface: Preface,
    pub(super) now: Instant,
    pub(super) tls: Option<&'a Tls>,
    pub(super) request: &'a Request<'a>,
    pub(super) commands: &'a mut Commands,
    pub(super) rules: &'a OpeningRules,
    pub(super) route: Route,
}

/// The service that the router chose for the request.
#[derive(Debug)]
pub(super) struct Route {
    /// The service's index in [`Config::services`](super::Config::services), whose limits hold.
    pub(super) service: u16,
    pub(super) places: Vec<(String, String)>,
}

impl<'a> Opening<'a> {
    /// The connection's identity, the same for its whole life.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// The worker's clock, as read when the wait of this turn ended.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The address of the client: `None` on a Unix socket, or when the client has left. It is the one that a trusted
    /// proxy tells, in a PROXY header or, with port 0, in `X-Forwarded-For`
    /// ([`OpeningOptions`](crate::options::OpeningOptions)). Without a PROXY header it costs one system call.
    pub fn peer(&self) -> Option<std::net::SocketAddr> {
        self.rules
            .client(self.request.headers(), self.preface.peer(self.fd))
    }

    /// The address that the connection was accepted at: `None` on a Unix socket. It costs one system call.
    pub fn local(&self) -> Option<std::net::SocketAddr> {
        crate::io::sys::local_address(self.fd)
    }

    /// Whether the connection is under TLS.
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The certificate that the client showed, DER, when clients are asked for one
    /// ([`TlsOptions::client_ca`](crate::tls::TlsOptions::client_ca)). It was signed by one of those.
    pub fn client_certificate(&self) -> Option<&'a [u8]> {
        self.tls?.peer_certificate()
    }

    /// The subject of that certificate, as RFC 4514 writes it: `CN=alice,O=Example`.
    pub fn client_name(&self) -> Option<String> {
        crate::tls::subject(self.client_certificate()?)
    }

    /// The request: path, query, host, origin, headers, offered subprotocols.
    pub const fn request(&self) -> &'a Request<'a> {
        self.request
    }

    /// Commands for other connections of this worker.
    pub const fn commands(&mut self) -> &mut Commands {
        self.commands
    }

    /// The text at place `name` of the service's path ([`Services`](crate::services::Services)), as the client sent it.
    pub fn place(&self, name: &str) -> Option<&str> {
        let mut places = self.route.places.iter();
        let found = places.find(|(place, _)| place == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All places of the service's path, with their texts.
    pub(crate) fn places(&self) -> &[(String, String)] {
        &self.route.places
    }

    /// Notes the service that the request goes to.
    pub(crate) fn set_route(&mut self, service: usize, places: Vec<(String, String)>) {
        let service = u16::try_from(service).unwrap_or(NO_SERVICE);
        self.route = Route { service, places };
    }
}

/// The application's answer to an opening handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub(super) kind: VerdictKind,
    pub(super) subprotocol: Option<String>,
    pub(super) headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VerdictKind {
    Accept(Manner),
    Refuse { status: StatusCode, body: String },
    Later,
}

impl Verdict {
    const fn new(kind: VerdictKind) -> Self {
        Self {
            kind,
            subprotocol: None,
            headers: Vec::new(),
        }
    }

    /// Opens the WebSocket.
    pub const fn accept() -> Self {
        Self::new(VerdictKind::Accept(Manner::PLAIN))
    }

    /// Answers with an HTTP status from 300 to 599 and a sentence, and ends the connection.
    pub fn refuse(status: u16, sentence: &str) -> Self {
        Self::new(VerdictKind::Refuse {
            status: StatusCode(status),
            body: sentence.to_owned(),
        })
    }

    /// Leaves the decision for [`Commands::decide`]. The application must decide within `handshake_timeout`. Until then
    /// the request is kept, and nothing more is read from the client.
    pub const fn later() -> Self {
        Self::new(VerdictKind::Later)
    }

    /// Chooses one of the subprotocols that the client offers. Any other name is a bug: the client gets 500, and the
    /// log an error.
    #[must_use]
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.subprotocol = Some(name.to_owned());
        self
    }

    /// Adds a header to the response, such as `Set-Cookie`, or `Location` to a refusal.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Chooses what the application gets of the connection's messages. For those in pieces, no other compression than
    /// permessage-deflate is agreed to. A refusal has no messages.
    #[must_use]
    pub const fn receiving(mut self, receiving: Receiving) -> Self {
        if let VerdictKind::Accept(manner) = &mut self.kind {
            manner.receiving = receiving;
        }
        self
    }

    /// Counts what goes over this connection ([`Context::traffic_stats`](super::Context::traffic_stats)). It takes a row in
    /// a table of the worker, and a look into it for each message.
    #[must_use]
    pub const fn measured(mut self) -> Self {
        if let VerdictKind::Accept(manner) = &mut self.kind {
            manner.is_measured = true;
        }
        self
    }

    /// The status and the body of a refusal.
    pub fn refusal(&self) -> Option<(u16, &str)> {
        match &self.kind {
            VerdictKind::Refuse { status, body } => Some((status.0, body)),
            VerdictKind::Accept(_) | VerdictKind::Later => None,
        }
    }

    /// Whether the application has left the decision for later.
    pub const fn is_later(&self) -> bool {
        matches!(self.kind, VerdictKind::Later)
    }
}
