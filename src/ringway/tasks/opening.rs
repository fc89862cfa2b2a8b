//! An opening handshake that belongs to its handler.

use std::net::SocketAddr;

use crate::protocol::Opening;

/// What a client asked for when it opened its WebSocket: as [`Opening`] has it, copied so that a handler may keep it across an
/// `await`. At most a head's bytes ([`ServerOptions::max_head`](crate::ServerOptions)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedOpening {
    path: String,
    query: Option<String>,
    host: String,
    origin: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    subprotocols: Vec<String>,
    places: Vec<(String, String)>,
    peer: Option<SocketAddr>,
    is_tls: bool,
    client_name: Option<String>,
}

impl OwnedOpening {
    pub(super) fn new(opening: &Opening<'_>) -> Self {
        let request = opening.request();
        let headers = request.headers();
        Self {
            path: request.path().to_owned(),
            query: request.query().map(ToOwned::to_owned),
            host: request.host().to_owned(),
            origin: request.origin().map(ToOwned::to_owned),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            subprotocols: request.subprotocols().map(ToOwned::to_owned).collect(),
            places: opening.places().to_vec(),
            peer: opening.peer(),
            is_tls: opening.is_tls(),
            client_name: opening.client_name(),
        }
    }

    /// The path, with its percent-encoding; at least `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the `?`, with its percent-encoding.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// `Host`: a name or an address, and a port when it was sent.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `Origin` as sent. A browser always sends it.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The value of the first header called `name` in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers();
        let found = headers.find(|(of, _)| of.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// All headers in order: names as sent, values without white space around them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The value of the cookie called `name` (RFC 6265 §5.4), as the client sent it.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self
            .headers()
            .filter(|(of, _)| of.eq_ignore_ascii_case("Cookie"))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let mut named = cookies.filter(|(of, _)| *of == name);
        named.next().map(|(_, value)| value)
    }

    /// The subprotocols that the client offers, the one it likes best first.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.subprotocols.iter().map(String::as_str)
    }

    /// The text at place `name` of the service's path, as [`Opening::place`].
    pub fn place(&self, name: &str) -> Option<&str> {
        let mut places = self.places.iter();
        let found = places.find(|(place, _)| place == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The address of the client, as [`Opening::peer`].
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the connection is under TLS.
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The subject of the certificate that the client showed, as [`Opening::client_name`].
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }
}
