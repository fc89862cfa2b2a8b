//! The client's side: the request, and the checks of the response to it.

use super::accept::Key;
use super::extensions::extensions;
use super::http::{
    self, Headers, Limits, Once, Progress, Resume, StatusCode, Version, is_field_value, is_host,
    is_token,
};
use super::{Misuse, check_extra_headers};
use crate::compression::{self, Agreed, Terms, Unanswered};

/// What a client offers, and the server may choose from.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// The subprotocols, the best first.
    pub subprotocols: &'a [&'a str],
    /// How messages may be compressed.
    pub compression: Terms,
}

impl Offered<'_> {
    /// Neither subprotocol nor extension.
    pub const NOTHING: Self = Self {
        subprotocols: &[],
        compression: Terms::NONE,
    };
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// `Host`: a name or an address, with the port unless it is the scheme's default.
    pub host: &'a str,
    /// Path and query, beginning with `/`.
    pub target: &'a str,
    /// 16 bytes drawn at random for this connection (RFC 6455 §4.1); nothing here draws them.
    pub key: [u8; 16],
    /// `Origin`, which only browsers must send.
    pub origin: Option<&'a str>,
    /// What to offer.
    pub offered: Offered<'a>,
    /// Further headers, such as `Authorization` or `User-Agent`.
    pub headers: &'a [(&'a str, &'a str)],
}

impl<'a> ClientRequest<'a> {
    /// A request with nothing optional in it.
    pub const fn new(host: &'a str, target: &'a str, key: [u8; 16]) -> Self {
        Self {
            host,
            target,
            key,
            origin: None,
            offered: Offered::NOTHING,
            headers: &[],
        }
    }

    fn check(&self) -> Result<(), Misuse> {
        if !is_host(self.host.as_bytes()) {
            return Err(http::Misuse::Host.into());
        }
        let good = |b: u8| b.is_ascii_graphic() && b != b'#';
        if !(self.target.starts_with('/') && self.target.bytes().all(good)) {
            return Err(http::Misuse::Target.into());
        }
        if self
            .origin
            .is_some_and(|origin| origin.is_empty() || !is_field_value(origin.as_bytes()))
        {
            return Err(Misuse::Origin);
        }
        for (n, subprotocol) in self.offered.subprotocols.iter().enumerate() {
            let before = self.offered.subprotocols.get(..n).unwrap_or_default();
            if !is_token(subprotocol.as_bytes()) || before.contains(subprotocol) {
                return Err(Misuse::Subprotocol);
            }
        }
        Ok(check_extra_headers(self.headers)?)
    }
}

/// The final answer of a server: it accepted the WebSocket, or refused it in proper HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Response<'b> {
    kind: ResponseKind<'b>,
    http: http::Response<'b>,
}

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind<'b> {
    /// The WebSocket is open; the bytes after the head are frames.
    Accepted {
        /// The subprotocol chosen, one of those offered.
        subprotocol: Option<&'b str>,
        /// How messages are compressed, if they are.
        compression: Option<Agreed>,
    },
    /// The server answered with another status. Redirects are not followed here. The bytes after the head belong to the
    /// answer's body.
    Refused {
        /// Any status but 101.
        status: StatusCode,
        /// `Location`, as sent.
        location: Option<&'b [u8]>,
    },
}

impl<'b> Response<'b> {
    /// Whether the server accepted the WebSocket.
    pub fn kind(&self) -> ResponseKind<'b> {
        self.kind
    }

    /// The response as plain HTTP.
    pub fn http(&self) -> &http::Response<'b> {
        &self.http
    }

    /// The value of the first header called `name` in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.http.header(name)
    }

    /// All headers in order.
    pub fn headers(&self) -> Headers<'b> {
        self.http.headers()
    }
}

/// What is wrong with a server's answer. The client then fails the connection. Sections are those of RFC 6455, §4.1 where
/// none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// `Sec-WebSocket-Accept` is missing.
    AcceptMissing,
    /// `Sec-WebSocket-Accept` is there more than once (§11.3.3).
    AcceptRepeated,
    /// `Sec-WebSocket-Accept` is not the answer to our key: a cache answered, or a server that does not speak WebSocket.
    AcceptWrong,
    /// `Connection` does not say `Upgrade`.
    ConnectionWithoutUpgrade,
    /// An extension that was not offered, or that was named twice.
    ExtensionNotOffered,
    /// An extension with parameters that do not answer the offer (RFC 7692 §5.2, §7.1).
    ExtensionParameters,
    /// Not the head of an HTTP response, or one that is larger than it may be.
    Head(http::Fault),
    /// The version is below HTTP/1.1, or 2.0 and above: no 101 exists there.
    HttpVersion,
    /// A subprotocol that was not offered.
    SubprotocolNotOffered,
    /// `Sec-WebSocket-Protocol` is there more than once (§11.3.4).
    SubprotocolRepeated,
    /// `Upgrade` is missing or not `websocket`.
    UpgradeNotWebSocket,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AcceptMissing => "the response has no Sec-WebSocket-Accept header",
            Self::AcceptRepeated => "the response has more than one Sec-WebSocket-Accept header",
            Self::AcceptWrong => "the Sec-WebSocket-Accept header does not answer our key",
            Self::ConnectionWithoutUpgrade => {
                "the Connection header of the response does not say Upgrade"
            }
            Self::ExtensionNotOffered => "the response has an extension that was not offered",
            Self::ExtensionParameters => {
                "the parameters of the extension in the response do not answer our offer"
            }
            Self::Head(fault) => return fault.fmt(f),
            Self::HttpVersion => "the response that accepts the WebSocket is not HTTP/1.1",
            Self::SubprotocolNotOffered => "the response has a subprotocol that was not offered",
            Self::SubprotocolRepeated => {
                "the response has more than one Sec-WebSocket-Protocol header"
            }
            Self::UpgradeNotWebSocket => "the Upgrade header of the response is not websocket",
        })
    }
}

impl std::error::Error for Fault {}

impl From<http::Fault> for Fault {
    fn from(fault: http::Fault) -> Self {
        Self::Head(fault)
    }
}

/// Appends the request.
pub fn encode_request(request: &ClientRequest<'_>, out: &mut Vec<u8>) -> Result<(), Misuse> {
    request.check()?;
    http::push(
        &["GET ", request.target, " HTTP/1.1\r\nHost: ", request.host],
        out,
    );
    http::push(
        &["\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "],
        out,
    );
    out.extend_from_slice(Key::from_nonce(&request.key).as_bytes());
    http::push(&["\r\nSec-WebSocket-Version: 13\r\n"], out);
    if let Some(origin) = request.origin {
        http::push(&["Origin: ", origin, "\r\n"], out);
    }
    for (n, subprotocol) in request.offered.subprotocols.iter().enumerate() {
        http::push(
            &[
                if n == 0 {
                    "Sec-WebSocket-Protocol: "
                } else {
                    ", "
                },
                subprotocol,
            ],
            out,
        );
    }
    if !request.offered.subprotocols.is_empty() {
        http::push(&["\r\n"], out);
    }
    compression::encode_offers(&request.offered.compression, out);
    http::push_headers(request.headers, out);
    http::push(&["\r\n"], out);
    Ok(())
}

/// Parses the head of a response from the first byte: [`parse_response_from`] without a hint.
pub fn parse_response<'b>(
    bytes: &'b mut [u8],
    key: &[u8; 16],
    offered: &Offered<'_>,
    limits: &Limits,
) -> Result<Progress<Response<'b>>, Fault> {
    parse_response_from(bytes, Resume::default(), key, offered, limits)
}

/// Parses the head of the response in `bytes`, all that was received so far, to a request with `key` that offered
/// `offered`: [`http::parse_response_from`] and the checks of RFC 6455 §4.1. `resume` is the hint of the last
/// [`Progress::Incomplete`] for the same bytes.
pub fn parse_response_from<'b>(
    bytes: &'b mut [u8],
    resume: Resume,
    key: &[u8; 16],
    offered: &Offered<'_>,
    limits: &Limits,
) -> Result<Progress<Response<'b>>, Fault> {
    let (http, head_bytes) = match http::parse_response_from(bytes, resume, limits)? {
        Progress::Incomplete { resume } => return Ok(Progress::Incomplete { resume }),
        Progress::Complete { head, head_bytes } => (head, head_bytes),
    };
    let kind = match http.status() {
        // RFC 6455 §4.1: "If the status code received from the server is not 101, the client handles the response per
        // HTTP [RFC2616] procedures."
        StatusCode::SWITCHING_PROTOCOLS => {
            let subprotocol = check_accepted(&http, key, offered.subprotocols)?;
            let compression = check_extensions(http.headers(), &offered.compression)?;
            ResponseKind::Accepted {
                subprotocol,
                compression,
            }
        }
        status => ResponseKind::Refused {
            status,
            location: http.header("Location"),
        },
    };
    let head = Response { kind, http };
    Ok(Progress::Complete { head, head_bytes })
}

/// Checks a 101 in the order of RFC 6455 §4.1. Returns the subprotocol that the server chose.
fn check_accepted<'b>(
    http: &http::Response<'b>,
    key: &[u8; 16],
    offered: &[&str],
) -> Result<Option<&'b str>, Fault> {
    // RFC 9110 §15.2: "Since HTTP/1.0 did not define any 1xx status codes, a server MUST NOT send a 1xx response to an
    // HTTP/1.0 client", nor does a server of HTTP/1.0 know of any.
    let version = http.version();
    if version.major != 1 || version < Version::HTTP_1_1 {
        return Err(Fault::HttpVersion);
    }
    Fields::collect(http).check(key, offered)
}

/// What the handshake needs of the header fields.
#[derive(Debug, Default)]
struct Fields<'b> {
    upgrade: Once<'b>,
    connection_upgrade: bool,
    accept: Once<'b>,
    subprotocol: Once<'b>,
}

impl<'b> Fields<'b> {
    fn collect(http: &http::Response<'b>) -> Self {
        let mut fields = Self {
            connection_upgrade: http.has_upgraded(),
            ..Self::default()
        };
        for (name, value) in http.headers() {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                7 if is("Upgrade") => fields.upgrade.add(value),
                20 if is("Sec-WebSocket-Accept") => fields.accept.add(value),
                22 if is("Sec-WebSocket-Protocol") => fields.subprotocol.add(value),
                _ => {}
            }
        }
        fields
    }

    fn check(&self, key: &[u8; 16], offered: &[&str]) -> Result<Option<&'b str>, Fault> {
        // RFC 6455 §4.1: "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a
        // value that is not an ASCII case-insensitive match for the value "websocket", the client MUST _Fail the
        // WebSocket Connection_."
        match self.upgrade {
            Once::One(value) if value.eq_ignore_ascii_case(b"websocket") => {}
            _ => return Err(Fault::UpgradeNotWebSocket),
        }
        // RFC 6455 §4.1: "If the response lacks a |Connection| header field or the |Connection| header field doesn't
        // contain a token that is an ASCII case-insensitive match for the value "Upgrade""
        if !self.connection_upgrade {
            return Err(Fault::ConnectionWithoutUpgrade);
        }
        // RFC 6455 §4.1: "If the response lacks a |Sec-WebSocket-Accept| header field or the |Sec-WebSocket-Accept|
        // contains a value other than the base64-encoded SHA-1 of the concatenation"
        match self.accept {
            Once::Absent => return Err(Fault::AcceptMissing),
            // RFC 6455 §11.3.3: "The |Sec-WebSocket-Accept| header MUST NOT appear more than once in an HTTP response."
            Once::Many => return Err(Fault::AcceptRepeated),
            Once::One(accept) if accept != Key::from_nonce(key).accept() => {
                return Err(Fault::AcceptWrong);
            }
            Once::One(_) => {}
        }
        let chosen = match self.subprotocol {
            Once::Absent => return Ok(None),
            // RFC 6455 §11.3.4: "the |Sec-WebSocket-Protocol| header field MUST NOT appear more than once in an HTTP
            // response"
            Once::Many => return Err(Fault::SubprotocolRepeated),
            Once::One(chosen) => chosen,
        };
        // RFC 6455 §4.1: "If the response includes a |Sec-WebSocket-Protocol| header field and this header field
        // indicates the use of a subprotocol that was not present in the client's handshake"
        let chosen = str::from_utf8(chosen)
            .ok()
            .filter(|chosen| offered.contains(chosen));
        chosen.map(Some).ok_or(Fault::SubprotocolNotOffered)
    }
}

/// The extensions that the server chose: none, or one of ours.
fn check_extensions(headers: Headers<'_>, offered: &Terms) -> Result<Option<Agreed>, Fault> {
    let mut agreed = None;
    for element in headers.all("Sec-WebSocket-Extensions").flat_map(extensions) {
        let extension = element.map_err(|()| Fault::ExtensionParameters)?;
        // RFC 6455 §4.1: "If the response includes a |Sec-WebSocket-Extensions| header field and this header field
        // indicates the use of an extension that was not present in the client's handshake"
        let answer = match compression::answered(offered, &extension) {
            Ok(answer) => answer,
            Err(Unanswered::NotOffered) => return Err(Fault::ExtensionNotOffered),
            Err(Unanswered::Parameters) => return Err(Fault::ExtensionParameters),
        };
        if agreed.replace(answer).is_some() {
            return Err(Fault::ExtensionNotOffered);
        }
    }
    Ok(agreed)
}
