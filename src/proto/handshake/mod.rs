//! The opening handshake (RFC 6455 §4) of both roles, on top of the HTTP heads of [`http`]: the bytes of a head go in,
//! what it asks for and the bytes of the answer come out.
//!
//! Owns: every check of RFC 6455 §4.1 and §4.2, and the answers that accept or refuse a WebSocket.
//! Never: reads a clock, touches a socket, logs, draws a random number, or answers a request that asks for no WebSocket.
//! It allocates only when the caller's output `Vec` has to grow.
//!
//! To serve, for each chunk that was received:
//! 1. [`parse_request_from`] with all bytes so far and the [`Resume`] of the last call.
//! 2. `Err(refusal)`: [`encode_refusal`], send it, close the connection. The caller does the same with
//!    [`Refusal::TIMEOUT`] when the head takes too long.
//! 3. `Incomplete`: keep the bytes, wait for more.
//! 4. `Complete` with [`Asked::WebSocket`]: ask the application for a [`Verdict`] and encode it with [`encode_verdict`].
//!    The bytes after `head_bytes` are the first frames.
//! 5. `Complete` with [`Asked::Http`]: an HTTP request for something else. The layer above chooses the answer and encodes
//!    it with [`http::encode_answer`]. The bytes after `head_bytes` are the request's body.
//!
//! To connect: [`encode_request`], then [`parse_response_from`] in the same manner. Through a proxy:
//! [`encode_tunnel_request`] and [`parse_tunnel_answer_from`] before that. [`redirect`] says where a refusal leads.
//!
//! Faults of peer and caller have a type each. A [`Refusal`] is what a server answers to a client that broke the rules. A
//! [`Fault`] is what a client finds wrong with a server's answer. A [`Misuse`] is a bug in the program that called us;
//! nothing was written then.
//!
//! The outcome depends on the bytes alone: cutting them into other chunks changes neither the decision nor its reason.

mod accept;
mod client;
mod extensions;
#[cfg(feature = "legacy")]
mod hixie;
mod letterhead;
mod origin;
mod redirect;
mod server;
mod tunnel;
mod versions;

use super::http;
pub use super::http::{Date, Limits, Progress, Refusal, Resume, StatusCode};
pub use accept::Key;
pub use client::{
    ClientRequest, Fault, Offered, Response, ResponseKind, encode_request, parse_response,
    parse_response_from,
};
pub use extensions::{Extension, extensions};
pub use letterhead::Letterhead;
pub use origin::{BadOriginPattern, Origin, OriginPattern};
pub use redirect::{BadRedirect, is_redirect, is_secret, redirect};
pub use server::{
    Asked, Request, Verdict, classify, classify_for, encode_refusal, encode_refusal_for,
    encode_verdict, parse_request, parse_request_for, parse_request_from,
};
pub use tunnel::{
    TunnelAnswer, TunnelRequest, basic_credentials, encode_tunnel_request, parse_tunnel_answer_from,
};
pub use versions::Versions;

/// The version of the protocol, the one in `Sec-WebSocket-Version`.
pub const VERSION: u8 = 13;

/// A bug in the calling program, never a peer's doing. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// How messages are to be compressed is out of range. Only who has the engine knows: nothing here finds it.
    Compression,
    /// What HTTP cannot express.
    Http(http::Misuse),
    /// The origin is not a header value.
    Origin,
    /// A header that a request has once, `Authorization` or `Origin`, is there twice. Only who puts the request together
    /// finds it.
    Repeated,
    /// The subprotocols have a duplicate or something that is not a token.
    Subprotocol,
    /// The client did not offer this subprotocol.
    SubprotocolNotOffered,
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Compression => "a level or a window of the compression is out of range",
            Self::Http(misuse) => return misuse.fmt(f),
            Self::Origin => "the origin must be a header value",
            Self::Repeated => "Authorization and Origin may be there once each",
            Self::Subprotocol => "subprotocols must be tokens, each named once",
            Self::SubprotocolNotOffered => {
                "only a subprotocol that the client offered can be accepted"
            }
        })
    }
}

impl std::error::Error for Misuse {}

impl From<http::Misuse> for Misuse {
    fn from(misuse: http::Misuse) -> Self {
        Self::Http(misuse)
    }
}

/// Checks header fields that an application adds.
fn check_extra_headers(headers: &[(&str, &str)]) -> Result<(), http::Misuse> {
    let is_ours = |(name, _): &(&str, &str)| {
        name.get(..SEC_WEBSOCKET.len())
            .is_some_and(|n| n.eq_ignore_ascii_case(SEC_WEBSOCKET))
    };
    http::check_headers(headers)?;
    if headers.iter().any(is_ours) {
        return Err(http::Misuse::ReservedHeader);
    }
    Ok(())
}

const SEC_WEBSOCKET: &str = "Sec-WebSocket-";

#[cfg(test)]
mod tests;
