//! Why no WebSocket was opened.

use std::fmt;
use std::io;

use bytes::Bytes;
use ringway_proto::handshake::{self, BadRedirect, Fault};

use crate::response::Response;
use crate::url::BadUrl;

/// Why no WebSocket was opened. Its text is one sentence that says what happened, and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none, or that of the proxy, or user and password cannot be sent.
    Url(BadUrl),
    /// What the program wants to send cannot be sent: a header, a subprotocol, the origin, or a
    /// compression that is out of range.
    Request(handshake::Misuse),
    /// No address is known for the host.
    Lookup {
        /// The name.
        host: String,
        /// What the system says.
        error: io::Error,
    },
    /// No address of the host could be connected to.
    Connect {
        /// Host and port.
        to: String,
        /// How many addresses were tried.
        addresses: usize,
        /// Why the last one failed.
        error: io::Error,
    },
    /// The stream failed or ended during the opening handshake.
    Io(io::Error),
    /// The server's certificate was refused, or TLS failed otherwise. For a certificate, the error's text says why.
    Tls {
        /// The name that the certificate should have.
        host: String,
        /// What rustls says.
        error: io::Error,
    },
    /// The URL begins with `wss://`, and this crate was built without its feature `tls`, the host can be no name of a
    /// certificate, or this system trusts no certificate.
    TlsImpossible(&'static str),
    /// The proxy did not open a tunnel, but answered with this status.
    ProxyRefused(u16),
    /// What the proxy answered is no HTTP.
    ProxyFault(ringway_proto::http::Fault),
    /// The server answered with another status than 101.
    Refused(Box<Refused>),
    /// The server's answer does not open a WebSocket: a wrong accept key, for example.
    Fault(Fault),
    /// The server redirects to where the client must not go.
    Redirect(BadRedirect),
    /// The server redirects more often than is allowed.
    TooManyRedirects,
    /// It took longer than [`Options::open_timeout`](crate::Options::open_timeout).
    Timeout,
}

/// A server's refusal.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Status and headers.
    pub response: Response,
    /// The part of the body that came with the head: often the reason in words. At most some KiB.
    pub body: Bytes,
}

impl ConnectError {
    /// Whether another attempt may succeed: the network failed, it took too long, or the server is busy (408, 425, 429, 5xx
    /// but 501 and 505). Not so for a URL, a certificate, or a refusal such as 401 or 404.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Lookup { .. } | Self::Connect { .. } | Self::Io(_) | Self::Timeout => true,
            // A certificate is refused as InvalidData; other kinds are the network's.
            Self::Tls { error, .. } => error.kind() != io::ErrorKind::InvalidData,
            Self::Refused(refused) => is_busy(refused.response.status()),
            Self::ProxyRefused(status) => is_busy(*status),
            Self::Url(_)
            | Self::Request(_)
            | Self::TlsImpossible(_)
            | Self::ProxyFault(_)
            | Self::Fault(_)
            | Self::Redirect(_)
            | Self::TooManyRedirects => false,
        }
    }
}

const fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 506..=599)
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(bad) => bad.fmt(f),
            Self::Request(misuse) => write!(f, "the request cannot be sent: {misuse}"),
            Self::Lookup { host, error } => write!(f, "no address is known for {host}: {error}"),
            Self::Connect {
                to,
                addresses: 1,
                error,
            } => write!(f, "cannot connect to {to}: {error}"),
            Self::Connect {
                to,
                addresses,
                error,
            } => {
                write!(
                    f,
                    "cannot connect to any of {addresses} addresses of {to}: {error}"
                )
            }
            Self::Io(error) => write!(f, "the connection failed during the handshake: {error}"),
            Self::Tls { host, error } if error.kind() == io::ErrorKind::InvalidData => {
                write!(f, "TLS with {host} failed: {error}")
            }
            Self::Tls { host, error } => {
                write!(f, "the connection failed during TLS with {host}: {error}")
            }
            Self::TlsImpossible(why) => f.write_str(why),
            Self::ProxyRefused(407) => f.write_str("the proxy wants other credentials (407)"),
            Self::ProxyRefused(status) => write!(f, "the proxy refused with status {status}"),
            Self::ProxyFault(fault) => write!(f, "the proxy's answer is no HTTP: {fault}"),
            Self::Refused(refused) => refused.fmt(f),
            Self::Fault(fault) => write!(f, "the server did not open a WebSocket: {fault}"),
            Self::Redirect(bad) => bad.fmt(f),
            Self::TooManyRedirects => f.write_str("the server redirects too often"),
            Self::Timeout => f.write_str("the connection did not open in time"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.response.status();
        let phrase = handshake::StatusCode(status).reason_phrase();
        write!(f, "the server refused with status {status}")?;
        match phrase.is_empty() {
            true => Ok(()),
            false => write!(f, " ({phrase})"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(bad) => Some(bad),
            Self::Request(misuse) => Some(misuse),
            Self::Lookup { error, .. }
            | Self::Connect { error, .. }
            | Self::Io(error)
            | Self::Tls { error, .. } => Some(error),
            Self::ProxyFault(fault) => Some(fault),
            Self::Fault(fault) => Some(fault),
            Self::Redirect(bad) => Some(bad),
            Self::TlsImpossible(_)
            | Self::ProxyRefused(_)
            | Self::Refused(_)
            | Self::TooManyRedirects
            | Self::Timeout => None,
        }
    }
}

impl From<handshake::Misuse> for ConnectError {
    fn from(misuse: handshake::Misuse) -> Self {
        Self::Request(misuse)
    }
}

impl From<BadUrl> for ConnectError {
    fn from(bad: BadUrl) -> Self {
        Self::Url(bad)
    }
}
