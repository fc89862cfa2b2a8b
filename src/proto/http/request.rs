//! A request: its line, its fields, and their meaning in HTTP. What the request is for is not decided here.

use super::body::{Body, Framing};
use super::fields::{Headers, is_host};
use super::refusal::{Refusal, StatusCode};
use super::scan::{Kind, Limits, Progress, Resume, Scan, scan};
use super::{Connection, Version};

/// A request whose head passed every check of HTTP. It borrows from the received bytes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    version: Version,
    method: &'b str,
    target: &'b str,
    resource: &'b str,
    host: &'b str,
    body: Body,
    connection: Connection,
    headers: Headers<'b>,
}

/// Parses the head of a request from the first byte: [`parse_request_from`] without a hint.
pub fn parse_request<'b>(
    bytes: &'b [u8],
    limits: &Limits,
) -> Result<Progress<Request<'b>>, Refusal> {
    parse_request_from(bytes, Resume::default(), limits)
}

/// Parses the head of a request in `bytes`, all that was received so far. With the `resume` of the last
/// [`Progress::Incomplete`] for the same bytes, each byte is scanned once. Fields are parsed only when the head is
/// complete.
pub fn parse_request_from<'b>(
    bytes: &'b [u8],
    resume: Resume,
    limits: &Limits,
) -> Result<Progress<Request<'b>>, Refusal> {
    match scan(Kind::Request, bytes, resume, limits)? {
        Scan::Incomplete(resume) => Ok(Progress::Incomplete { resume }),
        Scan::Complete(found) => {
            let head = parse_head(bytes.get(..found.end).unwrap_or(bytes))?;
            Ok(Progress::Complete {
                head,
                head_bytes: found.end,
            })
        }
    }
}

impl<'b> Request<'b> {
    /// The version of the request: 1.0 or higher, and below 2.0.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Any token; methods are case-sensitive.
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The request target as sent: path and query, an absolute URI, `*`, or for CONNECT an authority.
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The path, with its percent-encoding. At least `/`; a target without a path (`*`, or an authority) is returned as
    /// it is.
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

    /// `Host`, or the authority of an absolute target: a name or an address, and a port when it was sent. Empty when the
    /// client sent an empty `Host`, or in HTTP/1.0 none.
    pub fn host(&self) -> &'b str {
        self.host
    }

    /// How the request's own body is delimited.
    pub fn body(&self) -> Body {
        self.body
    }

    /// Whether the client would send another request on the same connection.
    pub fn keeps_alive(&self) -> bool {
        self.connection.keeps_alive(self.version)
    }

    /// Whether `Connection` has the option `upgrade`: then the `Upgrade` header is addressed to us and not to a proxy on
    /// the way.
    pub fn asks_to_upgrade(&self) -> bool {
        self.connection.upgrade
    }

    /// The value of the first header called `name` in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers.all(name).next()
    }

    /// All headers in order: names as sent, values without white space around them.
    pub fn headers(&self) -> Headers<'b> {
        self.headers
    }
}

/// The checks of a complete head, in order.
fn parse_head(head: &[u8]) -> Result<Request<'_>, Refusal> {
    let (method, target, version) = parse_request_line(head)?;
    // RFC 9110 §15.6.6: "the server does not support, or refuses to support, the major version of HTTP that was used in
    // the request message". RFC 9110 §2.5: "A recipient that receives a message with a major version number that it
    // implements and a minor version number higher than what it implements SHOULD process the message as if it was in
    // the highest minor version within that major version to which the recipient is conformant."
    if version.major != 1 {
        return Err(if method == "PRI" && target == "*" {
            Refusal::HTTP_2
        } else {
            Refusal::new(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "this port speaks HTTP/1.1",
            )
        });
    }
    let (authority, resource) = split_target(method, target)?;
    let headers = Headers::of_head(head);
    let fields = Fields::collect(headers);
    Ok(Request {
        version,
        method,
        target,
        resource,
        host: fields.host(authority, version)?,
        body: fields.framing.of_request(version)?,
        connection: fields.connection,
        headers,
    })
}

/// The method, the target and the version.
fn parse_request_line(head: &[u8]) -> Result<(&str, &str, Version), Refusal> {
    let mut lines = head.trim_ascii_start().split(|&b| b == b'\r');
    let line = lines.next().and_then(|line| str::from_utf8(line).ok());
    let mut parts = line.unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MALFORMED);
    };
    let version = Version::parse(version.as_bytes()).ok_or(MALFORMED)?;
    Ok((method, target, version))
}

/// The authority of an absolute target, and the path with the query (RFC 9112 §3.2).
fn split_target<'b>(method: &str, target: &'b str) -> Result<(Option<&'b str>, &'b str), Refusal> {
    let bad = Refusal::bad;
    match (method, target) {
        // RFC 9112 §3.2.4: "The asterisk-form of request-target is only used for a server-wide OPTIONS request"
        ("OPTIONS", "*") => return Ok((None, target)),
        // RFC 9112 §3.2.3: "The authority-form of request-target is only used for CONNECT requests"
        ("CONNECT", _) if is_host(target.as_bytes()) => return Ok((Some(target), target)),
        ("CONNECT", _) => return Err(bad("the target of CONNECT is not a host with a port")),
        _ => {}
    }
    // RFC 6455 §3: "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used on
    // these URIs." No form of RFC 9112 §3.2 has one either.
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
pub(crate) enum Once<'b> {
    #[default]
    Absent,
    One(&'b [u8]),
    Many,
}

impl<'b> Once<'b> {
    pub(crate) fn add(&mut self, value: &'b [u8]) {
        *self = if let Self::Absent = self {
            Self::One(value)
        } else {
            Self::Many
        };
    }
}

/// The header fields that HTTP itself gives a meaning.
#[derive(Debug, Default)]
struct Fields<'b> {
    host: Once<'b>,
    framing: Framing,
    connection: Connection,
}

impl<'b> Fields<'b> {
    fn collect(headers: Headers<'b>) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is("Host") => fields.host.add(value),
                10 if is("Connection") => fields.connection.add(value),
                14 if is("Content-Length") => fields.framing.add_length(value),
                17 if is("Transfer-Encoding") => fields.framing.add_codings(value),
                _ => {}
            }
        }
        fields
    }

    /// The host the request is for, from its one valid Host header or the absolute target.
    fn host(&self, authority: Option<&'b str>, version: Version) -> Result<&'b str, Refusal> {
        let bad = Refusal::bad;
        // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
        // that lacks a Host header field and to any request message that contains more than one Host header field
        // line or a Host header field with an invalid field value."
        let value = match self.host {
            Once::Absent if version >= Version::HTTP_1_1 => {
                return Err(bad("the Host header is missing"));
            }
            // The same section: "If the authority component is missing or undefined for the target URI, then a client
            // MUST send a Host header field with an empty field value."
            Once::Absent | Once::One(b"") => "",
            Once::Many => return Err(bad("there is more than one Host header")),
            Once::One(value) => str::from_utf8(value)
                .ok()
                .filter(|host| is_host(host.as_bytes()))
                .ok_or_else(|| {
                    bad("the Host header is not a name or an address with an optional port")
                })?,
        };
        // RFC 9112 §3.2.2: "When an origin server receives a request with an absolute-form of request-target, the
        // origin server MUST ignore the received Host header field (if any) and instead use the host information of
        // the request-target."
        Ok(authority.unwrap_or(value))
    }
}

/// For parts of a head that the scan has checked already: it never lets a malformed one through.
const MALFORMED: Refusal = Refusal::bad("the request head is malformed");
