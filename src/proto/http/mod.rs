//! HTTP/1.1 heads (RFC 9110, RFC 9112) of both roles: parsing them, and encoding whole answers.
//!
//! Owns: where a head ends, its start line, its fields, how its body is delimited, every limit on these, and the answers
//! of a server.
//! Never: knows what a WebSocket is ([`handshake`](super::handshake) does), reads a clock, touches a socket or logs. It
//! allocates only when the caller's output `Vec` has to grow.
//!
//! To serve, for each chunk that was received:
//! 1. [`parse_request_from`] with all bytes so far and the [`Resume`] of the last call.
//! 2. `Err(refusal)`: [`encode_refusal`], send it, close the connection. The caller does the same with
//!    [`Refusal::TIMEOUT`] when the head takes too long.
//! 3. `Incomplete`: keep the bytes, wait for more.
//! 4. `Complete`: [`handshake::classify`](super::handshake::classify) says whether the request opens a WebSocket. If it
//!    does not, answer it with [`encode_answer`]. The bytes after `head_bytes` are the request's body, as
//!    [`Request::body`] delimits it.
//!
//! To ask: [`parse_response_from`] in the same manner. It skips interim answers (1xx except 101).
//!
//! The outcome depends on the bytes alone: cutting them into other chunks changes neither the decision nor its reason.

mod answer;
mod body;
mod date;
mod fields;
mod refusal;
mod request;
mod response;
mod scan;
#[cfg(test)]
mod tests;

pub use answer::{Answer, encode_answer};
pub use body::Body;
pub use date::{Date, civil};
pub use fields::{Headers, is_field_value, is_host, is_token, list, list_contains};
pub use refusal::{Refusal, StatusCode, encode_refusal};
pub use request::{Request, parse_request, parse_request_from};
pub use response::{Fault, INTERIM_RESPONSES_MAX, Response, parse_response, parse_response_from};
pub use scan::{Limits, Progress, Resume};

pub(super) use answer::{SERVER, check_allow, check_headers, encode_with, push, push_headers};
pub(super) use fields::{TCHAR, is_tchar, run};
pub(super) use request::Once;

/// A host and a port as addresses write them: with brackets around an IPv6 address (RFC 3986 §3.2.2).
pub fn authority(host: &str, port: impl std::fmt::Display) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Text with its `%XX` replaced (RFC 3986 §2.1). None: a percent sign without two digits, or bytes that are no UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The version of a message. `HTTP/1.1` has `major` 1 and `minor` 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The digit before the point. It decides how a message is delimited and parsed.
    pub major: u8,
    /// The digit after the point. It says which features the sender understands.
    pub minor: u8,
}

impl Version {
    /// The lowest version in which a WebSocket can open.
    pub const HTTP_1_1: Self = Self { major: 1, minor: 1 };

    /// Parses `HTTP/d.d`. The scan has checked the form.
    fn parse(text: &[u8]) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit().then(|| b - b'0');
        match text {
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => Some(Self {
                major: digit(*major)?,
                minor: digit(*minor)?,
            }),
            _ => None,
        }
    }
}

/// What `Connection` says, in any number of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Connection {
    fn add(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// Whether the sender of this message keeps the connection open after it (RFC 9112 §9.3).
    fn keeps_alive(self, version: Version) -> bool {
        !self.close && (version >= Version::HTTP_1_1 || self.keep_alive)
    }
}

/// A bug in the calling program, never a peer's doing. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A 405 without the methods that are allowed.
    AllowMissing,
    /// A header name is not a token.
    HeaderName,
    /// A header value has a control character (a line end, say) or white space at an end.
    HeaderValue,
    /// The host is not `name`, `address` or either with a port.
    Host,
    /// This module writes the header itself, or the header would change where the message ends.
    ReservedHeader,
    /// The status does not belong here: an answer needs a final status, a refusal one from 300 on.
    Status,
    /// The target does not begin with `/`, or has a fragment or a character that a URI cannot have.
    Target,
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AllowMissing => "an answer with status 405 needs an Allow header",
            Self::HeaderName => "a header name must be a token",
            Self::HeaderValue => {
                "a header value must have no control characters and no white space at its ends"
            }
            Self::Host => "the host must be a name or an address, and optionally a port",
            Self::ReservedHeader => "this header is written by the protocol itself",
            Self::Status => {
                "the status must be from 200 to 599, and from 300 on when it refuses a WebSocket"
            }
            Self::Target => "the target must begin with / and have no fragment",
        })
    }
}

impl std::error::Error for Misuse {}
