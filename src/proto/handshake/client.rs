//! The client's side: the request, and the checks of the response to it.

use std::mem::MaybeUninit;

use super::accept::Key;
use super::head::{Broken, Kind, Limits, Progress, Resume, Scan, scan};
use super::headers::{Headers, is_field_value, is_host, is_token, list_contains};
use super::refusal::StatusCode;
use super::{Misuse, check_extra_headers, push, push_headers};

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
    /// The subprotocols to offer, the best first.
    pub subprotocols: &'a [&'a str],
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
            subprotocols: &[],
            headers: &[],
        }
    }

    fn check(&self) -> Result<(), Misuse> {
        if !is_host(self.host.as_bytes()) {
            return Err(Misuse::Host);
        }
        let good = |b: u8| b.is_ascii_graphic() && b != b'#';
        if !(self.target.starts_with('/') && self.target.bytes().all(good)) {
            return Err(Misuse::Target);
        }
        if self
            .origin
            .is_some_and(|origin| origin.is_empty() || !is_field_value(origin.as_bytes()))
        {
            return Err(Misuse::Origin);
        }
        for (n, subprotocol) in self.subprotocols.iter().enumerate() {
            let before = self.subprotocols.get(..n).unwrap_or_default();
            if !is_token(subprotocol.as_bytes()) || before.contains(subprotocol) {
                return Err(Misuse::Subprotocol);
            }
        }
        check_extra_headers(self.headers)
    }
}

/// A server's answer that was understood: yes, or a proper no.
#[derive(Clone, Copy, Debug)]
pub struct Response<'b> {
    kind: ResponseKind<'b>,
    headers: Headers<'b>,
}

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind<'b> {
    /// The WebSocket is open; the bytes after the head are frames.
    Accepted {
        /// The subprotocol chosen, one of those offered.
        subprotocol: Option<&'b str>,
    },
    /// The server answered in HTTP. No redirect is followed here; bytes after the head are a body or part of one.
    Refused {
        /// Any status but 101.
        status: StatusCode,
        /// `Location`, as sent.
        location: Option<&'b [u8]>,
    },
}

impl<'b> Response<'b> {
    /// What it says.
    pub fn kind(&self) -> ResponseKind<'b> {
        self.kind
    }

    /// The value of the first header called `name` in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All headers in order.
    pub fn headers(&self) -> Headers<'b> {
        self.headers
    }
}

/// What a server did wrong in its answer: the client fails the connection. RFC 6455 §4.1 unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// `Sec-WebSocket-Accept` is missing.
    AcceptMissing,
    /// `Sec-WebSocket-Accept` is there more than once (§11.3.3).
    AcceptRepeated,
    /// `Sec-WebSocket-Accept` is not the answer to our key: a cache answered, or something that speaks no WebSocket.
    AcceptWrong,
    /// `Connection` does not say `Upgrade`.
    ConnectionWithoutUpgrade,
    /// An extension that was not offered.
    ExtensionNotOffered,
    /// More than `head_bytes_max` bytes without an end of the head.
    HeadTooLarge,
    /// An HTTP version that is not 1.1.
    HttpVersion,
    /// Not the head of an HTTP response; a sentence says where it breaks.
    Malformed(&'static str),
    /// A subprotocol that was not offered.
    SubprotocolNotOffered,
    /// `Sec-WebSocket-Protocol` is there more than once (§11.3.4).
    SubprotocolRepeated,
    /// More than `headers_max` headers.
    TooManyHeaders,
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
            Self::HeadTooLarge => "the head of the response is too large",
            Self::HttpVersion => "the response is not HTTP/1.1",
            Self::Malformed(what) => what,
            Self::SubprotocolNotOffered => "the response has a subprotocol that was not offered",
            Self::SubprotocolRepeated => {
                "the response has more than one Sec-WebSocket-Protocol header"
            }
            Self::TooManyHeaders => "the response has too many headers",
            Self::UpgradeNotWebSocket => "the Upgrade header of the response is not websocket",
        })
    }
}

impl std::error::Error for Fault {}

impl From<Broken> for Fault {
    #[cold]
    fn from(broken: Broken) -> Self {
        Self::Malformed(match broken {
            Broken::HeadTooLarge | Broken::TargetTooLong => return Self::HeadTooLarge,
            Broken::BareCr => {
                "a carriage return in the response head is not followed by a line feed"
            }
            Broken::BareLf => {
                "a line of the response head ends in a line feed without a carriage return"
            }
            Broken::Control => "a header value of the response has a control character",
            Broken::HeaderName => {
                "a header line of the response has no valid name before its colon"
            }
            Broken::ObsFold => "a header line of the response begins with white space",
            Broken::HttpVersion
            | Broken::MethodTooLong
            | Broken::NotHttp
            | Broken::StatusLine
            | Broken::Target
            | Broken::Tls => "this is not an HTTP response: is the server's port one for TLS?",
        })
    }
}

/// Appends the request.
pub fn encode_request(request: &ClientRequest<'_>, out: &mut Vec<u8>) -> Result<(), Misuse> {
    request.check()?;
    push(
        &["GET ", request.target, " HTTP/1.1\r\nHost: ", request.host],
        out,
    );
    push(
        &["\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "],
        out,
    );
    out.extend_from_slice(Key::from_nonce(&request.key).as_bytes());
    push(&["\r\nSec-WebSocket-Version: 13\r\n"], out);
    if let Some(origin) = request.origin {
        push(&["Origin: ", origin, "\r\n"], out);
    }
    for (n, subprotocol) in request.subprotocols.iter().enumerate() {
        push(
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
    if !request.subprotocols.is_empty() {
        push(&["\r\n"], out);
    }
    push_headers(request.headers, out);
    push(&["\r\n"], out);
    Ok(())
}

/// Parses the head of a response from the first byte: [`parse_response_from`] without a hint.
pub fn parse_response<'b>(
    bytes: &'b [u8],
    key: &[u8; 16],
    offered: &[&str],
    limits: &Limits,
) -> Result<Progress<Response<'b>>, Fault> {
    parse_response_from(bytes, Resume::default(), key, offered, limits)
}

/// Parses the head of the response in `bytes`, all that was received so far, to a request with `key` that offered the
/// subprotocols `offered`. `resume` is the hint of the last [`Progress::Incomplete`] for the same bytes.
pub fn parse_response_from<'b>(
    bytes: &'b [u8],
    resume: Resume,
    key: &[u8; 16],
    offered: &[&str],
    limits: &Limits,
) -> Result<Progress<Response<'b>>, Fault> {
    match scan(Kind::Response, bytes, resume, limits)? {
        Scan::Incomplete(resume) => Ok(Progress::Incomplete { resume }),
        Scan::Complete(head_bytes) => {
            let head = bytes.get(..head_bytes).unwrap_or(bytes);
            let status = parse_status_line(head)?;
            let fields = Fields::collect(head, limits)?;
            let kind = match status {
                // RFC 6455 §4.1: "If the status code received from the server is not 101, the client handles the
                // response per HTTP [RFC2616] procedures."
                StatusCode::SWITCHING_PROTOCOLS => ResponseKind::Accepted {
                    subprotocol: fields.check_accepted(key, offered)?,
                },
                _ => ResponseKind::Refused {
                    status,
                    location: fields.location,
                },
            };
            let headers = Headers::of_head(head);
            Ok(Progress::Complete {
                head: Response { kind, headers },
                head_bytes,
            })
        }
    }
}

/// The status, of a line that the scan found to be `HTTP/d.d ddd` with or without a reason phrase.
fn parse_status_line(head: &[u8]) -> Result<StatusCode, Fault> {
    let rest = head.strip_prefix(b"HTTP/1.1 ").ok_or(Fault::HttpVersion)?;
    let digits = rest.get(..3).and_then(|digits| str::from_utf8(digits).ok());
    let status = digits
        .and_then(|digits| digits.parse().ok())
        .filter(|status| (100..=599).contains(status));
    status.map(StatusCode).ok_or(Fault::Malformed(
        "the status of the response is not from 100 to 599",
    ))
}

/// What the handshake needs of the header fields.
#[derive(Debug, Default)]
struct Fields<'b> {
    upgrade: Option<&'b [u8]>,
    upgrade_count: usize,
    connection_upgrade: bool,
    accept: Option<&'b [u8]>,
    accept_count: usize,
    subprotocol: Option<&'b [u8]>,
    subprotocol_count: usize,
    extensions: bool,
    location: Option<&'b [u8]>,
}

impl<'b> Fields<'b> {
    fn collect(head: &'b [u8], limits: &Limits) -> Result<Self, Fault> {
        let mut array = [const { MaybeUninit::uninit() }; Limits::HEADERS_CEILING];
        let (array, _) = array.split_at_mut(limits.headers_max.min(Limits::HEADERS_CEILING));
        let mut parsed = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        match parser.parse_response_with_uninit_headers(&mut parsed, head, array) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooManyHeaders),
            Ok(httparse::Status::Partial) | Err(_) => {
                return Err(Fault::Malformed("the response head is malformed"));
            }
        }
        let mut fields = Self::default();
        for header in parsed.headers.iter() {
            fields.add(header.name, header.value);
        }
        Ok(fields)
    }

    fn add(&mut self, name: &str, value: &'b [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("Upgrade") {
            self.upgrade = Some(value);
            self.upgrade_count += 1;
        } else if is("Connection") {
            self.connection_upgrade |= list_contains(value, b"upgrade");
        } else if is("Sec-WebSocket-Accept") {
            self.accept = Some(value);
            self.accept_count += 1;
        } else if is("Sec-WebSocket-Protocol") {
            self.subprotocol = Some(value);
            self.subprotocol_count += 1;
        } else if is("Sec-WebSocket-Extensions") {
            self.extensions = true;
        } else if is("Location") {
            self.location = Some(value);
        }
    }

    /// The checks of a 101 in the order of RFC 6455 §4.1; the subprotocol it chose.
    fn check_accepted(&self, key: &[u8; 16], offered: &[&str]) -> Result<Option<&'b str>, Fault> {
        // RFC 6455 §4.1: "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a
        // value that is not an ASCII case-insensitive match for the value "websocket", the client MUST _Fail the
        // WebSocket Connection_."
        let websocket = self
            .upgrade
            .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
        if !websocket || self.upgrade_count != 1 {
            return Err(Fault::UpgradeNotWebSocket);
        }
        // RFC 6455 §4.1: "If the response lacks a |Connection| header field or the |Connection| header field doesn't
        // contain a token that is an ASCII case-insensitive match for the value "Upgrade""
        if !self.connection_upgrade {
            return Err(Fault::ConnectionWithoutUpgrade);
        }
        // RFC 6455 §4.1: "If the response lacks a |Sec-WebSocket-Accept| header field or the |Sec-WebSocket-Accept|
        // contains a value other than the base64-encoded SHA-1 of the concatenation"
        let accept = self.accept.ok_or(Fault::AcceptMissing)?;
        // RFC 6455 §11.3.3: "The |Sec-WebSocket-Accept| header MUST NOT appear more than once in an HTTP response."
        if self.accept_count != 1 {
            return Err(Fault::AcceptRepeated);
        }
        if accept != Key::from_nonce(key).accept() {
            return Err(Fault::AcceptWrong);
        }
        // RFC 6455 §4.1: "If the response includes a |Sec-WebSocket-Extensions| header field and this header field
        // indicates the use of an extension that was not present in the client's handshake"; ours offers none.
        if self.extensions {
            return Err(Fault::ExtensionNotOffered);
        }
        let Some(chosen) = self.subprotocol else {
            return Ok(None);
        };
        // RFC 6455 §11.3.4: "the |Sec-WebSocket-Protocol| header field MUST NOT appear more than once in an HTTP
        // response"
        if self.subprotocol_count != 1 {
            return Err(Fault::SubprotocolRepeated);
        }
        // RFC 6455 §4.1: "If the response includes a |Sec-WebSocket-Protocol| header field and this header field
        // indicates the use of a subprotocol that was not present in the client's handshake"
        let chosen = str::from_utf8(chosen)
            .ok()
            .filter(|chosen| offered.contains(chosen));
        chosen.map(Some).ok_or(Fault::SubprotocolNotOffered)
    }
}
