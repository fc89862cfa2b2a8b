//! The server's side: the request head, its checks in order, and the three answers (101, a page, a refusal).

use std::mem::MaybeUninit;

use super::accept::Key;
use super::head::{Kind, Limits, Progress, Resume, Scan, scan};
use super::headers::{Extension, Headers, extensions, is_host, is_token, list, list_contains};
use super::refusal::{self, Refusal, StatusCode, push_status_line};
use super::{Misuse, check_extra_headers, push, push_decimal, push_headers};

/// A request whose head passed every check. It borrows from the received bytes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    kind: RequestKind,
    method: &'b str,
    target: &'b str,
    resource: &'b str,
    host: &'b str,
    origin: Option<&'b str>,
    headers: Headers<'b>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A WebSocket; all of RFC 6455 §4.2.1 holds.
    OpeningHandshake {
        /// The client's `Sec-WebSocket-Key`.
        key: Key,
    },
    /// A page: GET without an Upgrade header, or HEAD.
    Plain,
}

/// What the application answers to an opening handshake.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Open the WebSocket.
    Accept {
        /// One of the subprotocols offered, or none.
        subprotocol: Option<&'a str>,
        /// Further headers of the response, such as `Set-Cookie`.
        headers: &'a [(&'a str, &'a str)],
    },
    /// Do not.
    Refuse {
        /// A status from 300 to 599.
        status: StatusCode,
        /// A sentence for the body.
        reason: &'a str,
        /// Further headers of the response, such as `Location` or `Retry-After`.
        headers: &'a [(&'a str, &'a str)],
    },
}

/// Parses the head of a request from the first byte: [`parse_request_from`] without a hint.
pub fn parse_request<'b>(
    bytes: &'b [u8],
    limits: &Limits,
) -> Result<Progress<Request<'b>>, Refusal> {
    parse_request_from(bytes, Resume::default(), limits)
}

/// Parses the head of a request in `bytes`, all that was received so far. `resume` is the hint of the last
/// [`Progress::Incomplete`] for the same bytes, so that each byte is scanned once; fields are looked at only when the
/// head is complete.
pub fn parse_request_from<'b>(
    bytes: &'b [u8],
    resume: Resume,
    limits: &Limits,
) -> Result<Progress<Request<'b>>, Refusal> {
    match scan(Kind::Request, bytes, resume, limits)? {
        Scan::Incomplete(resume) => Ok(Progress::Incomplete { resume }),
        Scan::Complete(head_bytes) => {
            let head = parse_head(bytes.get(..head_bytes).unwrap_or(bytes), limits)?;
            Ok(Progress::Complete { head, head_bytes })
        }
    }
}

impl<'b> Request<'b> {
    /// What it asks for.
    pub fn kind(&self) -> RequestKind {
        self.kind
    }

    /// `Sec-WebSocket-Key`; `None` for [`RequestKind::Plain`].
    pub fn key(&self) -> Option<Key> {
        match self.kind {
            RequestKind::OpeningHandshake { key } => Some(key),
            RequestKind::Plain => None,
        }
    }

    /// `GET` or `HEAD`.
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The request target as sent: path and query, or an absolute URI.
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The path, with its percent-encoding; at least `/`.
    pub fn path(&self) -> &'b str {
        match self.resource.split('?').next() {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// What follows the `?`, with its percent-encoding.
    pub fn query(&self) -> Option<&'b str> {
        self.resource.split_once('?').map(|(_, query)| query)
    }

    /// `Host`, or the authority of an absolute target: a name or an address, and a port when it was sent.
    pub fn host(&self) -> &'b str {
        self.host
    }

    /// `Origin` as sent. A browser always sends it; whom to let in is the application's choice (RFC 6455 §10.2).
    pub fn origin(&self) -> Option<&'b str> {
        self.origin
    }

    /// The value of the first header called `name` in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.all(name).next()
    }

    /// All headers in order: names as sent, values without white space around them.
    pub fn headers(&self) -> Headers<'b> {
        self.headers
    }

    /// The subprotocols the client offers, the one it likes best first; each is a token and comes once.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'b str> {
        self.all("Sec-WebSocket-Protocol")
            .flat_map(list)
            .filter_map(|token| str::from_utf8(token).ok())
    }

    /// The extensions the client offers, the one it likes best first.
    // RFC 6455 §9.1: "Note that like other HTTP header fields, this header field MAY be split or combined across
    // multiple lines."
    pub fn extensions(&self) -> impl Iterator<Item = Extension<'b>> {
        self.all("Sec-WebSocket-Extensions")
            .flat_map(extensions)
            .filter_map(Result::ok)
    }

    fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'b, 'n> {
        self.headers
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// Appends the response that says `verdict`. After a refusal the caller closes as after [`super::encode_refusal`].
pub fn encode_verdict(
    request: &Request<'_>,
    verdict: &Verdict<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Misuse> {
    match *verdict {
        Verdict::Accept {
            subprotocol,
            headers,
        } => {
            let key = request.key().ok_or(Misuse::NotAHandshake)?;
            // RFC 6455 §4.2.2: "The value chosen MUST be derived from the client's handshake, specifically by
            // selecting one of the values from the |Sec-WebSocket-Protocol| field"
            if subprotocol
                .is_some_and(|chosen| !request.subprotocols().any(|offered| offered == chosen))
            {
                return Err(Misuse::SubprotocolNotOffered);
            }
            check_extra_headers(headers)?;
            out.extend_from_slice(SWITCHING_PROTOCOLS.as_bytes());
            out.extend_from_slice(&key.accept());
            out.extend_from_slice(b"\r\n");
            if let Some(subprotocol) = subprotocol {
                push(&["Sec-WebSocket-Protocol: ", subprotocol, "\r\n"], out);
            }
            push_headers(headers, out);
            out.extend_from_slice(b"\r\n");
        }
        Verdict::Refuse {
            status,
            reason,
            headers,
        } => {
            if !(300..=599).contains(&status.0) {
                return Err(Misuse::Status);
            }
            check_extra_headers(headers)?;
            refusal::encode(status, reason, headers, out);
        }
    }
    Ok(())
}

/// Appends the page for a request that asks for no WebSocket. A HEAD gets it without the body.
#[cold]
pub fn encode_status_page(request: &Request<'_>, out: &mut Vec<u8>) {
    push_status_line(StatusCode(200), out);
    push(
        &["Connection: close\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: "],
        out,
    );
    push_decimal(PAGE.len(), out);
    push(&["\r\n\r\n"], out);
    if request.method != "HEAD" {
        push(&[PAGE], out);
    }
}

/// The checks of a complete head, in order.
fn parse_head<'b>(head: &'b [u8], limits: &Limits) -> Result<Request<'b>, Refusal> {
    let (method, target) = parse_request_line(head)?;
    let (authority, resource) = split_target(target)?;
    let fields = Fields::collect(head, limits)?;
    let host = fields.host(authority)?;
    let headers = Headers::of_head(head);
    // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field", and a WebSocket cannot open with HEAD.
    let kind = if method == "HEAD" || fields.is_plain()? {
        RequestKind::Plain
    } else {
        fields.check_opening_handshake()?;
        check_subprotocols(headers)?;
        check_extensions(headers)?;
        RequestKind::OpeningHandshake { key: fields.key()? }
    };
    Ok(Request {
        kind,
        method,
        target,
        resource,
        host,
        origin: fields.origin()?,
        headers,
    })
}

/// The method and the target.
fn parse_request_line(head: &[u8]) -> Result<(&str, &str), Refusal> {
    let mut lines = head.trim_ascii_start().split(|&b| b == b'\r');
    let line = lines
        .next()
        .and_then(|line| str::from_utf8(line).ok())
        .ok_or(MALFORMED)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MALFORMED);
    };
    // RFC 6455 §4.1: "The method of the request MUST be GET, and the HTTP version MUST be at least 1.1."
    if !matches!(method, "GET" | "HEAD") {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "a WebSocket opens with GET, and nothing else is served here",
        ));
    }
    if version != "HTTP/1.1" {
        return Err(Refusal::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "the opening handshake needs HTTP/1.1; a proxy in between may use another version by default",
        ));
    }
    Ok((method, target))
}

/// The authority of an absolute target, and the path with the query.
fn split_target(target: &str) -> Result<(Option<&str>, &str), Refusal> {
    // RFC 6455 §3: "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used on
    // these URIs."
    if target.contains('#') {
        return Err(bad("the request target has a fragment"));
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    // RFC 6455 §4.2.1: "(or an absolute HTTP/HTTPS URI containing the /resource name/)"
    let after_scheme = target.split_once("://").and_then(|(scheme, rest)| {
        let known = ["http", "https", "ws", "wss"]
            .iter()
            .any(|s| s.eq_ignore_ascii_case(scheme));
        known.then_some(rest)
    });
    let Some(rest) = after_scheme else {
        return Err(bad(
            "the request target is neither a path nor an absolute URI",
        ));
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, resource) = rest.split_at(end);
    if !is_host(authority.as_bytes()) {
        return Err(bad("the absolute request target has no valid host"));
    }
    Ok((Some(authority), resource))
}

/// A header that may come once.
#[derive(Clone, Copy, Debug, Default)]
enum Once<'b> {
    #[default]
    Absent,
    One(&'b [u8]),
    Many,
}

impl<'b> Once<'b> {
    fn add(&mut self, value: &'b [u8]) {
        *self = if let Self::Absent = self {
            Self::One(value)
        } else {
            Self::Many
        };
    }
}

/// What the handshake needs of the header fields.
#[derive(Debug, Default)]
struct Fields<'b> {
    host: Once<'b>,
    origin: Once<'b>,
    key: Once<'b>,
    version: Once<'b>,
    upgrade: Upgrade,
    connection_upgrade: bool,
    body: bool,
}

/// The Upgrade header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Upgrade {
    #[default]
    Absent,
    Other,
    WebSocket,
}

impl<'b> Fields<'b> {
    fn collect(head: &'b [u8], limits: &Limits) -> Result<Self, Refusal> {
        let mut array = [const { MaybeUninit::uninit() }; Limits::HEADERS_CEILING];
        let (array, _) = array.split_at_mut(limits.headers_max.min(Limits::HEADERS_CEILING));
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, array) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Refusal::new(
                    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "the request has too many headers",
                ));
            }
            // The scan let nothing through that ends here; a second judge may still disagree.
            Ok(httparse::Status::Partial) | Err(_) => return Err(MALFORMED),
        }
        let mut fields = Self::default();
        for header in parsed.headers.iter() {
            fields.add(header.name, header.value);
        }
        Ok(fields)
    }

    fn add(&mut self, name: &str, value: &'b [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("Host") => self.host.add(value),
            6 if is("Origin") => self.origin.add(value),
            7 if is("Upgrade") && list_contains(value, b"websocket") => {
                self.upgrade = Upgrade::WebSocket
            }
            7 if is("Upgrade") && self.upgrade == Upgrade::Absent => self.upgrade = Upgrade::Other,
            10 if is("Connection") => self.connection_upgrade |= list_contains(value, b"upgrade"),
            14 if is("Content-Length") => {
                self.body |= value.is_empty() || value.iter().any(|&b| b != b'0')
            }
            17 if is("Transfer-Encoding") => self.body = true,
            17 if is("Sec-WebSocket-Key") => self.key.add(value),
            21 if is("Sec-WebSocket-Version") => self.version.add(value),
            _ => {}
        }
    }

    /// The host the request is for, from its one valid Host header or the absolute target.
    fn host(&self, authority: Option<&'b str>) -> Result<&'b str, Refusal> {
        // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
        // that lacks a Host header field and to any request message that contains more than one Host header field
        // line or a Host header field with an invalid field value."
        let value = match self.host {
            Once::Absent => return Err(bad("the Host header is missing")),
            Once::Many => return Err(bad("there is more than one Host header")),
            Once::One(value) => value,
        };
        let host = str::from_utf8(value)
            .ok()
            .filter(|host| is_host(host.as_bytes()));
        let host = host.ok_or(bad(
            "the Host header is not a name or an address with an optional port",
        ))?;
        // RFC 9112 §3.2.2: "When an origin server receives a request with an absolute-form of request-target, the
        // origin server MUST ignore the received Host header field (if any) and instead use the host information of
        // the request-target."
        Ok(authority.unwrap_or(host))
    }

    /// Whether a GET asks for a page.
    fn is_plain(&self) -> Result<bool, Refusal> {
        match (self.upgrade, self.key) {
            (Upgrade::Absent, Once::Absent) => Ok(true),
            (Upgrade::Absent, _) => Err(Refusal::new(
                StatusCode::UPGRADE_REQUIRED,
                "there is a Sec-WebSocket-Key but no Upgrade header: does a proxy in between drop it?",
            )),
            _ => Ok(false),
        }
    }

    /// RFC 6455 §4.2.1, apart from the key and the lists.
    fn check_opening_handshake(&self) -> Result<(), Refusal> {
        if self.body {
            return Err(bad(
                "an opening handshake has no body, and this request announces one",
            ));
        }
        // RFC 6455 §4.2.1: "An |Upgrade| header field containing the value "websocket", treated as an ASCII
        // case-insensitive value."
        if self.upgrade != Upgrade::WebSocket {
            return Err(Refusal::new(
                StatusCode::UPGRADE_REQUIRED,
                "the Upgrade header does not name websocket, the only protocol served here",
            ));
        }
        // RFC 6455 §4.2.1: "A |Connection| header field that includes the token "Upgrade", treated as an ASCII
        // case-insensitive value."
        if !self.connection_upgrade {
            return Err(bad(
                "the Connection header does not say Upgrade: does a proxy in between change it?",
            ));
        }
        // RFC 6455 §4.2.1: "A |Sec-WebSocket-Version| header field, with a value of 13."
        // RFC 6455 §4.4: "If the server doesn't support the requested version, it MUST respond with a
        // |Sec-WebSocket-Version| header field (or multiple |Sec-WebSocket-Version| header fields) containing all
        // versions it is willing to use."
        match self.version {
            Once::One(b"13") => Ok(()),
            Once::One(other) if is_version(other) => Err(Refusal::new(
                StatusCode::UPGRADE_REQUIRED,
                "this version of the WebSocket protocol is not served; version 13 is",
            )),
            Once::One(_) => Err(bad(
                "the Sec-WebSocket-Version header is not a number from 0 to 255",
            )),
            Once::Absent => Err(Refusal::new(
                StatusCode::UPGRADE_REQUIRED,
                "the Sec-WebSocket-Version header is missing; version 13 is served",
            )),
            // RFC 6455 §11.3.5: "the |Sec-WebSocket-Version| header field MUST NOT appear more than once in an HTTP
            // request."
            Once::Many => Err(bad("there is more than one Sec-WebSocket-Version header")),
        }
    }

    fn key(&self) -> Result<Key, Refusal> {
        match self.key {
            Once::One(value) => Key::parse(value).ok_or(bad(
                "the Sec-WebSocket-Key header is not 16 bytes in base64, that is 24 characters",
            )),
            Once::Absent => Err(bad("the Sec-WebSocket-Key header is missing")),
            // RFC 6455 §11.3.1: "The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP
            // request."
            Once::Many => Err(bad("there is more than one Sec-WebSocket-Key header")),
        }
    }

    fn origin(&self) -> Result<Option<&'b str>, Refusal> {
        let value = match self.origin {
            Once::Absent => return Ok(None),
            // RFC 6454 §7.3: "the user agent MUST NOT include more than one Origin header field in any HTTP request"
            Once::Many => return Err(bad("there is more than one Origin header")),
            Once::One(value) => value,
        };
        let origin = str::from_utf8(value)
            .ok()
            .filter(|origin| origin.is_ascii());
        origin
            .map(Some)
            .ok_or(bad("the Origin header has a character that is not ASCII"))
    }
}

/// `version = DIGIT | (NZDIGIT DIGIT) | ("1" DIGIT DIGIT) | ("2" DIGIT DIGIT)`, limited to 0-255 (RFC 6455 §4.3).
fn is_version(value: &[u8]) -> bool {
    let digits =
        value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || !value.starts_with(b"0"));
    digits && str::from_utf8(value).is_ok_and(|text| text.parse::<u8>().is_ok())
}

fn check_subprotocols(headers: Headers<'_>) -> Result<(), Refusal> {
    let mut seen = [&b""[..]; SUBPROTOCOLS_MAX];
    let mut count = 0;
    for (_, value) in
        headers.filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Protocol"))
    {
        if list(value).next().is_none() {
            return Err(bad("the Sec-WebSocket-Protocol header is empty"));
        }
        for subprotocol in list(value) {
            // RFC 6455 §4.1: "The elements that comprise this value MUST be non-empty strings with characters in the
            // range U+0021 to U+007E not including separator characters as defined in [RFC2616] and MUST all be
            // unique strings."
            if !is_token(subprotocol) {
                return Err(bad(
                    "a subprotocol in the Sec-WebSocket-Protocol header is not a token",
                ));
            }
            let (before, free) = seen.split_at_mut(count);
            if before.contains(&subprotocol) {
                return Err(bad(
                    "the Sec-WebSocket-Protocol header names a subprotocol twice",
                ));
            }
            let Some(slot) = free.first_mut() else {
                return Err(Refusal::new(
                    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "the Sec-WebSocket-Protocol header offers too many subprotocols",
                ));
            };
            *slot = subprotocol;
            count += 1;
        }
    }
    Ok(())
}

fn check_extensions(headers: Headers<'_>) -> Result<(), Refusal> {
    for (_, value) in
        headers.filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions"))
    {
        // RFC 6455 §9.1: "If a value is received by either the client or the server during negotiation that does not
        // conform to the ABNF below, the recipient of such malformed data MUST immediately _Fail the WebSocket
        // Connection_."
        if extensions(value).next().is_none()
            || extensions(value).any(|extension| extension.is_err())
        {
            return Err(bad("the Sec-WebSocket-Extensions header is malformed"));
        }
    }
    Ok(())
}

const fn bad(reason: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}

const MALFORMED: Refusal = bad("the request head is malformed");

/// Keeps the search for duplicates (each against all before it) short; chosen, untested. Real clients offer one or two.
const SUBPROTOCOLS_MAX: usize = 32;

/// All of the response up to the value that differs.
const SWITCHING_PROTOCOLS: &str = concat!(
    "HTTP/1.1 101 Switching Protocols\r\nServer: ringway/",
    env!("CARGO_PKG_VERSION"),
    "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
);

const PAGE: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<title>Ringway ",
    env!("CARGO_PKG_VERSION"),
    "</title>\n<h1>Ringway ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>This is a WebSocket endpoint, not a web server: connect with a WebSocket client.</p>\n</html>\n"
);
