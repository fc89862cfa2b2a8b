//! The opening handshake (RFC 6455 §4) of both roles, on top of the heads of [`http`]: a head in, a verdict
//! and bytes out.
//!
//! Owns: every check of RFC 6455 §4.1 and §4.2, and the answers that accept or refuse a WebSocket.
//! Never: reads a clock, touches a socket, logs, makes a random number, allocates (but for the caller's `Vec` when it
//! has to grow); or answers a request that asks for no WebSocket.
//!
//! To serve, for each chunk that was received:
//! 1. [`parse_request_from`] with all bytes so far and the [`Resume`] of the last call.
//! 2. `Err(refusal)`: [`encode_refusal`], send, close. So does a head that takes too long ([`Refusal::TIMEOUT`]).
//! 3. `Incomplete`: keep the bytes, wait for more.
//! 4. `Complete` with [`Asked::WebSocket`]: ask the application for a [`Verdict`] and [`encode_verdict`]. The bytes after
//!    `head_bytes` are the first frames.
//! 5. `Complete` with [`Asked::Http`]: a plain request; what to answer is for the layer above, with
//!    [`http::encode_answer`]. The bytes after `head_bytes` are its body.
//!
//! To connect: [`encode_request`], then [`parse_response_from`] in the same manner.
//!
//! Three faults, three types: [`Refusal`] is what a server answers to a client that broke the rules, [`Fault`] what a
//! client finds wrong with a server's answer, [`Misuse`] a bug in the program that called us; after a `Misuse` nothing
//! was written. The environment does not exist here.
//!
//! One outcome per byte sequence: cutting the same bytes in other places changes neither verdict nor reason.

mod accept;
mod client;
mod extensions;
mod server;

use super::http;
pub use super::http::{Date, Limits, Progress, Refusal, Resume, StatusCode};
pub use accept::Key;
pub use client::{
    ClientRequest, Fault, Response, ResponseKind, encode_request, parse_response,
    parse_response_from,
};
pub use extensions::{Extension, extensions};
pub use server::{
    Asked, Request, Verdict, classify, encode_refusal, encode_verdict, parse_request,
    parse_request_from,
};

/// The version of the protocol, the one in `Sec-WebSocket-Version`.
pub const VERSION: u8 = 13;

/// What the program that called us got wrong. A bug there, never a peer's doing; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// What HTTP cannot express.
    Http(http::Misuse),
    /// The origin is not a header value.
    Origin,
    /// The subprotocols have a duplicate or something that is not a token.
    Subprotocol,
    /// The client did not offer this subprotocol.
    SubprotocolNotOffered,
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http(misuse) => return misuse.fmt(f),
            Self::Origin => "the origin must be a header value",
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
