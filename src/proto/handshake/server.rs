//! The server's side: whether a request opens a WebSocket, the checks of it in order, and the two answers (101 or a
//! refusal).

use super::accept::Key;
use super::extensions::{Extension, extensions};
use super::http::{
    self, Body, Date, Headers, Limits, Once, Progress, Refusal, Resume, StatusCode, Version,
    is_token, list, list_contains,
};
use super::{Misuse, Versions, check_extra_headers};
use crate::compression;

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'b> {
    /// An opening handshake that meets all of RFC 6455 §4.2.1.
    WebSocket(Request<'b>),
    /// Any other HTTP request, for example for a page: with any method, in HTTP/1.0 or later.
    Http(http::Request<'b>),
}

/// An opening handshake that passed every check. It borrows from the received bytes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    pub(super) http: http::Request<'b>,
    pub(super) opening: Opening,
    pub(super) origin: Option<&'b str>,
    pub(super) version: u8,
    pub(super) served: Versions,
}

/// How the client proves that it wants a WebSocket, and so how the answer looks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opening {
    /// With `Sec-WebSocket-Key`.
    Key(Key),
    #[cfg(feature = "legacy")]
    Hixie(super::hixie::Opening),
}

/// What the application answers to an opening handshake.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Open the WebSocket.
    Accept {
        /// One of the subprotocols offered, or none.
        subprotocol: Option<&'a str>,
        /// The answer to one of the offers to compress messages ([`compression::accept`]).
        compression: Option<&'a compression::Answer>,
        /// Further headers of the response, such as `Set-Cookie`.
        headers: &'a [(&'a str, &'a str)],
    },
    /// Refuse with an HTTP status.
    Refuse {
        /// From 300 to 599.
        status: StatusCode,
        /// One sentence for the person who reads the answer's body.
        reason: &'a str,
        /// Further headers of the response, such as `Location` or `Retry-After`; a 405 needs `Allow`.
        headers: &'a [(&'a str, &'a str)],
    },
}

/// Parses a request from the first byte: [`parse_request_from`] without a hint.
pub fn parse_request<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Progress<Asked<'b>>, Refusal> {
    parse_request_from(bytes, Resume::default(), limits)
}

/// [`http::parse_request_from`], and [`classify`] when the head is complete.
pub fn parse_request_from<'b>(
    bytes: &'b [u8],
    resume: Resume,
    limits: &Limits,
) -> Result<Progress<Asked<'b>>, Refusal> {
    parse_request_for(Versions::default(), bytes, resume, limits)
}

/// [`parse_request_from`] of a server that serves `versions`.
pub fn parse_request_for<'b>(
    versions: Versions,
    bytes: &'b [u8],
    resume: Resume,
    limits: &Limits,
) -> Result<Progress<Asked<'b>>, Refusal> {
    Ok(match http::parse_request_from(bytes, resume, limits)? {
        Progress::Incomplete { resume } => Progress::Incomplete { resume },
        #[cfg(feature = "legacy")]
        Progress::Complete { head, head_bytes } if super::hixie::is_asked_for(versions, &head) => {
            super::hixie::classify(&head, bytes, head_bytes)?
        }
        Progress::Complete { head, head_bytes } => Progress::Complete {
            head: classify_for(versions, head)?,
            head_bytes,
        },
    })
}

/// Whether `request` opens a WebSocket. The error is the answer to a request that wants to, but breaks a rule.
pub fn classify(request: http::Request<'_>) -> Result<Asked<'_>, Refusal> {
    classify_for(Versions::default(), request)
}

/// [`classify`] of a server that serves `versions`. It knows a client of Hixie's protocols not at all, because part of such a
/// request comes behind its head: [`parse_request_for`] does.
pub fn classify_for(versions: Versions, request: http::Request<'_>) -> Result<Asked<'_>, Refusal> {
    // RFC 6455 §4.1: "The method of the request MUST be GET"
    if request.method() != "GET" {
        return Ok(Asked::Http(request));
    }
    let fields = Fields::collect(request.headers());
    if !fields.want_a_websocket(request.version()) {
        return Ok(Asked::Http(request));
    }
    let version = fields.check(versions, &request)?;
    check_subprotocols(request.headers(), SUBPROTOCOL)?;
    check_extensions(request.headers())?;
    Ok(Asked::WebSocket(Request {
        http: request,
        opening: Opening::Key(fields.key()?),
        origin: fields.origin(version)?,
        version,
        served: versions,
    }))
}

impl<'b> Request<'b> {
    /// The request as HTTP has it.
    pub fn http(&self) -> &http::Request<'b> {
        &self.http
    }

    /// `Sec-WebSocket-Key`. `None` from a client of Hixie's protocols.
    pub fn key(&self) -> Option<Key> {
        match self.opening {
            Opening::Key(key) => Some(key),
            #[cfg(feature = "legacy")]
            Opening::Hixie(_) => None,
        }
    }

    /// Which of Hixie's protocols the client speaks: then its messages have other frames ([`hixie`](crate::hixie)).
    #[cfg(feature = "legacy")]
    pub fn hixie(&self) -> Option<crate::hixie::Draft> {
        match self.opening {
            Opening::Key(_) => None,
            Opening::Hixie(opening) => Some(opening.draft()),
        }
    }

    /// Says that the connection is under TLS, which the answer to a client of Hixie's protocols repeats.
    #[cfg(feature = "legacy")]
    #[must_use]
    pub fn under_tls(mut self) -> Self {
        if let Opening::Hixie(opening) = &mut self.opening {
            opening.is_tls = true;
        }
        self
    }

    /// The request target as sent: path and query, or an absolute URI.
    pub fn target(&self) -> &'b str {
        self.http.target()
    }

    /// The path, with its percent-encoding; at least `/`.
    pub fn path(&self) -> &'b str {
        self.http.path()
    }

    /// What follows the `?`, with its percent-encoding.
    pub fn query(&self) -> Option<&'b str> {
        self.http.query()
    }

    /// `Host`, or the authority of an absolute target: a name or an address, and a port when it was sent.
    pub fn host(&self) -> &'b str {
        self.http.host()
    }

    /// The version of the protocol: 13, or 8 or 7 where those are served too. They differ in nothing but this number and
    /// the name of the header for the origin. 0 of a client of Hixie's protocols, which have no such number.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// `Origin` as sent, or `Sec-WebSocket-Origin` in version 8. A browser always sends it; whom to let in is the
    /// application's choice (RFC 6455 §10.2).
    pub fn origin(&self) -> Option<&'b str> {
        self.origin
    }

    /// The value of the first header called `name` in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.http.header(name)
    }

    /// All headers in order: names as sent, values without white space around them.
    pub fn headers(&self) -> Headers<'b> {
        self.http.headers()
    }

    /// The subprotocols the client offers, the one it likes best first; each is a token and comes once.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        self.headers()
            .all(self.subprotocol_header())
            .flat_map(list)
            .filter_map(|token| str::from_utf8(token).ok())
    }

    fn subprotocol_header(&self) -> &'static str {
        match self.opening {
            Opening::Key(_) => SUBPROTOCOL,
            #[cfg(feature = "legacy")]
            Opening::Hixie(opening) => opening.subprotocol_header(),
        }
    }

    /// The extensions the client offers, the one it likes best first.
    // RFC 6455 §9.1: "Note that like other HTTP header fields, this header field MAY be split or combined across
    // multiple lines."
    pub fn extensions(&self) -> impl Iterator<Item = Extension<'b>> + use<'b> {
        self.headers()
            .all("Sec-WebSocket-Extensions")
            .flat_map(extensions)
            .filter_map(Result::ok)
    }
}

/// Appends the response that says `verdict`. A 101 carries no `date`. After a refusal the caller closes the connection as
/// after [`encode_refusal`].
pub fn encode_verdict(
    request: &Request<'_>,
    verdict: &Verdict<'_>,
    date: &Date,
    out: &mut Vec<u8>,
) -> Result<(), Misuse> {
    match *verdict {
        Verdict::Accept {
            subprotocol,
            compression,
            headers,
        } => {
            // RFC 6455 §4.2.2: "The value chosen MUST be derived from the client's handshake, specifically by
            // selecting one of the values from the |Sec-WebSocket-Protocol| field"
            if subprotocol
                .is_some_and(|chosen| !request.subprotocols().any(|offered| offered == chosen))
            {
                return Err(Misuse::SubprotocolNotOffered);
            }
            check_extra_headers(headers)?;
            #[cfg(feature = "legacy")]
            if let Opening::Hixie(opening) = request.opening {
                opening.encode(request, subprotocol, headers, out);
                return Ok(());
            }
            http::push(&[SWITCHING_PROTOCOLS, http::SERVER, UPGRADED], out);
            if let Some(key) = request.key() {
                out.extend_from_slice(&key.accept());
            }
            http::push(&["\r\n"], out);
            if let Some(subprotocol) = subprotocol {
                http::push(&["Sec-WebSocket-Protocol: ", subprotocol, "\r\n"], out);
            }
            if let Some(answer) = compression {
                compression::encode_answer(answer, out);
            }
            http::push_headers(headers, out);
            http::push(&["\r\n"], out);
        }
        Verdict::Refuse {
            status,
            reason,
            headers,
        } => {
            if !(300..=599).contains(&status.0) {
                return Err(http::Misuse::Status.into());
            }
            check_extra_headers(headers)?;
            http::check_allow(status, headers)?;
            encode(request.served, status, reason, headers, date, out);
        }
    }
    Ok(())
}

/// Appends the HTTP answer that says `refusal`: [`http::encode_refusal`], and in a 426 the `Upgrade` header that names
/// the protocol.
#[cold]
pub fn encode_refusal(refusal: &Refusal, date: &Date, out: &mut Vec<u8>) {
    encode_refusal_for(Versions::default(), refusal, date, out);
}

/// [`encode_refusal`] of a server that serves `versions`.
#[cold]
pub fn encode_refusal_for(versions: Versions, refusal: &Refusal, date: &Date, out: &mut Vec<u8>) {
    encode(versions, refusal.status(), refusal.reason(), &[], date, out);
}

fn encode(
    versions: Versions,
    status: StatusCode,
    reason: &str,
    headers: &[(&str, &str)],
    date: &Date,
    out: &mut Vec<u8>,
) {
    let connection = match status {
        // RFC 9110 §15.5.22: "The server MUST send an Upgrade header field in a 426 response to indicate the required
        // protocol(s)"
        // RFC 6455 §4.2.2: "and a |Sec-WebSocket-Version| header field indicating the version(s) the server is
        // capable of understanding"
        StatusCode::UPGRADE_REQUIRED => versions.upgrade(),
        _ => "close",
    };
    http::encode_with(status, connection, headers, reason, date, out);
}

/// What the handshake needs of the header fields.
#[derive(Debug, Default)]
struct Fields<'b> {
    origin: Once<'b>,
    draft_origin: Once<'b>,
    key: Once<'b>,
    version: Once<'b>,
    upgrade: Upgrade,
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
    fn collect(headers: Headers<'b>) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                6 if is("Origin") => fields.origin.add(value),
                7 if is("Upgrade") && list_contains(value, b"websocket") => {
                    fields.upgrade = Upgrade::WebSocket;
                }
                7 if is("Upgrade") && fields.upgrade == Upgrade::Absent => {
                    fields.upgrade = Upgrade::Other;
                }
                17 if is("Sec-WebSocket-Key") => fields.key.add(value),
                20 if is("Sec-WebSocket-Origin") => fields.draft_origin.add(value),
                21 if is("Sec-WebSocket-Version") => fields.version.add(value),
                _ => {}
            }
        }
        fields
    }

    /// Whether a GET is meant to open a WebSocket. One with a `Sec-WebSocket-Key` but without `Upgrade` is: a proxy on
    /// the way removed that header.
    // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field if it wishes to continue using the current
    // protocol on that connection", and "MUST ignore an Upgrade header field that is received in an HTTP/1.0 request".
    fn want_a_websocket(&self, version: Version) -> bool {
        let upgrade = version >= Version::HTTP_1_1 && self.upgrade == Upgrade::WebSocket;
        upgrade || !matches!(self.key, Once::Absent)
    }

    /// RFC 6455 §4.2.1, apart from the key and the lists. Returns the version.
    fn check(&self, versions: Versions, request: &http::Request<'_>) -> Result<u8, Refusal> {
        // RFC 6455 §4.1: "the HTTP version MUST be at least 1.1." A 505 is what its clients have always been told.
        if request.version() < Version::HTTP_1_1 {
            return Err(Refusal::new(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "the opening handshake needs HTTP/1.1; a proxy in between may use another version by default",
            ));
        }
        if request.host().is_empty() {
            return Err(bad("the Host header is empty"));
        }
        if request.body() != Body::None {
            return Err(bad(
                "an opening handshake has no body, and this request announces one",
            ));
        }
        // RFC 6455 §4.2.1: "An |Upgrade| header field containing the value "websocket", treated as an ASCII
        // case-insensitive value."
        let no_upgrade = |reason| Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, reason));
        match self.upgrade {
            Upgrade::WebSocket => {}
            Upgrade::Absent => {
                return no_upgrade(
                    "there is a Sec-WebSocket-Key but no Upgrade header: does a proxy in between drop it?",
                );
            }
            Upgrade::Other => {
                return no_upgrade(
                    "there is a Sec-WebSocket-Key but the Upgrade header does not name websocket",
                );
            }
        }
        // RFC 6455 §4.2.1: "A |Connection| header field that includes the token "Upgrade", treated as an ASCII
        // case-insensitive value."
        if !request.asks_to_upgrade() {
            return Err(bad(
                "the Connection header does not say Upgrade: does a proxy in between change it?",
            ));
        }
        self.check_version(versions)
    }

    fn check_version(&self, versions: Versions) -> Result<u8, Refusal> {
        // RFC 6455 §4.2.1: "A |Sec-WebSocket-Version| header field, with a value of 13."
        // RFC 6455 §4.4: "If the server doesn't support the requested version, it MUST respond with a
        // |Sec-WebSocket-Version| header field (or multiple |Sec-WebSocket-Version| header fields) containing all
        // versions it is willing to use."
        match self.version {
            Once::One(b"13") if versions.have(13) => Ok(13),
            Once::One(b"8") if versions.have(8) => Ok(8),
            Once::One(b"7") if versions.have(7) => Ok(7),
            Once::One(other) if is_version(other) => {
                Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, versions.other()))
            }
            Once::One(_) => Err(bad(
                "the Sec-WebSocket-Version header is not a number from 0 to 255",
            )),
            Once::Absent => Err(Refusal::new(
                StatusCode::UPGRADE_REQUIRED,
                versions.missing(),
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

    /// Version 8 has a header of its own for the origin. A client of that version may still send the later name.
    fn origin(&self, version: u8) -> Result<Option<&'b str>, Refusal> {
        let sent = match (version, self.draft_origin) {
            (13.., _) | (_, Once::Absent) => self.origin,
            (_, draft) => draft,
        };
        origin_of(sent)
    }
}

/// The origin in its header.
pub(super) fn origin_of(sent: Once<'_>) -> Result<Option<&str>, Refusal> {
    let value = match sent {
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

/// `version = DIGIT | (NZDIGIT DIGIT) | ("1" DIGIT DIGIT) | ("2" DIGIT DIGIT)`, limited to 0-255 (RFC 6455 §4.3).
fn is_version(value: &[u8]) -> bool {
    let digits =
        value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || !value.starts_with(b"0"));
    digits && str::from_utf8(value).is_ok_and(|text| text.parse::<u8>().is_ok())
}

/// Checks what is offered in the header called `header`.
pub(super) fn check_subprotocols(headers: Headers<'_>, header: &str) -> Result<(), Refusal> {
    let mut seen = [&b""[..]; SUBPROTOCOLS_MAX];
    let mut count = 0;
    for (_, value) in headers.filter(|(name, _)| name.eq_ignore_ascii_case(header)) {
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

pub(super) const fn bad(reason: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}

/// The header for subprotocols.
pub(super) const SUBPROTOCOL: &str = "Sec-WebSocket-Protocol";

/// Keeps the search for duplicates (each against all before it) short; chosen, untested. Real clients offer one or two.
const SUBPROTOCOLS_MAX: usize = 32;

/// The beginning of a 101, up to the `Server` line.
const SWITCHING_PROTOCOLS: &str = "HTTP/1.1 101 Switching Protocols\r\n";
const UPGRADED: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
