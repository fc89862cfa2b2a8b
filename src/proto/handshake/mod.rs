//! The opening handshake (RFC 6455 §4) of both roles: bytes of an HTTP/1.1 head in, a verdict and bytes out.
//!
//! Owns: the two heads, every check of RFC 6455 §4.1 and §4.2, the HTTP answers of a server that says no, and the
//! page for a browser that came without an Upgrade header.
//! Never: reads a clock, touches a socket, logs, makes a random number, allocates (but for the caller's `Vec` when it
//! has to grow).
//!
//! To serve, for each chunk that was received:
//! 1. [`parse_request_from`] with all bytes so far and the [`Resume`] of the last call.
//! 2. `Err(refusal)`: [`encode_refusal`], send, close. So does a head that takes too long ([`Refusal::TIMEOUT`]).
//! 3. `Incomplete`: keep the bytes, wait for more.
//! 4. `Complete`: ask the application for a [`Verdict`] and [`encode_verdict`]; or, for [`RequestKind::Plain`],
//!    [`encode_status_page`]. The bytes after `head_bytes` are the first frames.
//!
//! To connect: [`encode_request`], then [`parse_response_from`] in the same manner.
//!
//! Three faults, three types: [`Refusal`] is what a server answers to a client that broke the rules, [`Fault`] what a
//! client finds wrong with a server's answer, [`Misuse`] a bug in the program that called us; after a `Misuse` nothing
//! was written. The environment does not exist here.
//!
//! One outcome per byte sequence: cutting the same bytes in other places changes neither verdict nor reason.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod accept;
mod client;
mod head;
mod headers;
mod refusal;
mod server;

pub use accept::Key;
pub use client::{
    ClientRequest, Fault, Response, ResponseKind, encode_request, parse_response,
    parse_response_from,
};
pub use head::{Limits, Progress, Resume};
pub use headers::{
    Extension, Headers, extensions, is_field_value, is_host, is_token, list, list_contains,
};
pub use refusal::{Refusal, StatusCode, encode_refusal};
pub use server::{
    Request, RequestKind, Verdict, encode_status_page, encode_verdict, parse_request,
    parse_request_from,
};

/// The version of the protocol, the one in `Sec-WebSocket-Version`.
pub const VERSION: u8 = 13;

/// What the program that called us got wrong. A bug there, never a peer's doing; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A header name is not a token.
    HeaderName,
    /// A header value has a control character (a line end, say) or white space at an end.
    HeaderValue,
    /// The host is not `name`, `address` or either with a port.
    Host,
    /// The request asks for no WebSocket, so there is nothing to accept.
    NotAHandshake,
    /// The origin is not a header value.
    Origin,
    /// The header belongs to the handshake itself or to the framing of HTTP.
    ReservedHeader,
    /// The status is not in 300..=599.
    Status,
    /// The subprotocols have a duplicate or something that is not a token.
    Subprotocol,
    /// The client did not offer this subprotocol.
    SubprotocolNotOffered,
    /// The target does not begin with `/`, or has a fragment or a character that a URI cannot have.
    Target,
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HeaderName => "a header name must be a token",
            Self::HeaderValue => {
                "a header value must have no control characters and no white space at its ends"
            }
            Self::Host => "the host must be a name or an address, and optionally a port",
            Self::NotAHandshake => {
                "the request asks for no WebSocket: answer it with a page or a refusal"
            }
            Self::Origin => "the origin must be a header value",
            Self::ReservedHeader => "the handshake writes this header itself",
            Self::Status => "a refusal needs a status from 300 to 599",
            Self::Subprotocol => "subprotocols must be tokens, each named once",
            Self::SubprotocolNotOffered => {
                "only a subprotocol that the client offered can be accepted"
            }
            Self::Target => "the target must begin with / and have no fragment",
        })
    }
}

impl std::error::Error for Misuse {}

/// Checks header fields that an application adds.
fn check_extra_headers(headers: &[(&str, &str)]) -> Result<(), Misuse> {
    for (name, value) in headers {
        if !is_token(name.as_bytes()) {
            return Err(Misuse::HeaderName);
        }
        if !is_field_value(value.as_bytes()) {
            return Err(Misuse::HeaderValue);
        }
        let is = |reserved: &&str| name.eq_ignore_ascii_case(reserved);
        let websocket = name
            .get(..SEC_WEBSOCKET.len())
            .is_some_and(|n| n.eq_ignore_ascii_case(SEC_WEBSOCKET));
        if websocket || RESERVED.iter().any(is) {
            return Err(Misuse::ReservedHeader);
        }
    }
    Ok(())
}

/// Appends `name: value` lines.
fn push_headers(headers: &[(&str, &str)], out: &mut Vec<u8>) {
    for (name, value) in headers {
        push(&[name, ": ", value, "\r\n"], out);
    }
}

fn push(parts: &[&str], out: &mut Vec<u8>) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends `n` in decimal, without the allocation of `to_string`.
fn push_decimal(mut n: usize, out: &mut Vec<u8>) {
    let at = out.len();
    loop {
        out.push(b"0123456789"[n % 10]);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out[at..].reverse();
}

const SEC_WEBSOCKET: &str = "Sec-WebSocket-";
/// Names the handshake writes itself, or that would change where its message ends.
const RESERVED: [&str; 7] = [
    "Connection",
    "Content-Length",
    "Content-Type",
    "Host",
    "Server",
    "Transfer-Encoding",
    "Upgrade",
];

#[cfg(test)]
mod tests;
