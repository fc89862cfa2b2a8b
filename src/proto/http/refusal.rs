//! How a server says no: a status, a sentence that helps, and the HTTP answer made of them.

use super::answer::encode_with;
use super::date::Date;
use super::scan::Broken;

/// An HTTP status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusCode(pub u16);

impl StatusCode {
    /// 101, the status of an accepted opening handshake.
    pub const SWITCHING_PROTOCOLS: Self = Self(101);
    /// 200
    pub const OK: Self = Self(200);
    /// 400
    pub const BAD_REQUEST: Self = Self(400);
    /// 403
    pub const FORBIDDEN: Self = Self(403);
    /// 404
    pub const NOT_FOUND: Self = Self(404);
    /// 405; its answer has `Allow`.
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    /// 408
    pub const REQUEST_TIMEOUT: Self = Self(408);
    /// 414
    pub const URI_TOO_LONG: Self = Self(414);
    /// 426; its answer has `Upgrade`.
    pub const UPGRADE_REQUIRED: Self = Self(426);
    /// 431
    pub const REQUEST_HEADER_FIELDS_TOO_LARGE: Self = Self(431);
    /// 500
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    /// 501
    pub const NOT_IMPLEMENTED: Self = Self(501);
    /// 503
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    /// 505
    pub const HTTP_VERSION_NOT_SUPPORTED: Self = Self(505);

    /// The reason phrase of RFC 9110 §15 (and RFC 6585); empty for a code not known here, which is valid HTTP.
    pub fn reason_phrase(self) -> &'static str {
        match self.0 {
            101 => "Switching Protocols",
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            204 => "No Content",
            206 => "Partial Content",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            407 => "Proxy Authentication Required",
            408 => "Request Timeout",
            410 => "Gone",
            411 => "Length Required",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Range Not Satisfiable",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "",
        }
    }
}

/// Why a server does not serve a request: the client broke the rules, or there is no room or time for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    reason: &'static str,
}

impl Refusal {
    /// The opening handshake took longer than the limit. Only the caller has a clock and can know.
    pub const TIMEOUT: Self = Self::new(
        StatusCode::REQUEST_TIMEOUT,
        "the opening handshake took too long",
    );
    /// There is no room for another connection.
    pub const OVERLOADED: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the server has no room for another connection; try again later",
    );
    /// The server is about to stop.
    pub const STOPPING: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the server is stopping; try again later",
    );
    /// The client began a TLS handshake. It cannot read this answer, but a person who captures the traffic can.
    pub const TLS: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "this port speaks plain HTTP and the client began TLS: connect with ws:// instead of wss://",
    );
    /// The client began HTTP/2 without asking first (RFC 9113 §3.4).
    pub const HTTP_2: Self = Self::new(
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        "this port speaks HTTP/1.1 and the client began HTTP/2: have the client or its proxy use HTTP/1.1",
    );

    /// A refusal with a reason for humans: one lower-case sentence without a full stop.
    pub const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(super) const fn bad(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence in the answer's body.
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status.0, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl From<Broken> for Refusal {
    #[cold]
    fn from(broken: Broken) -> Self {
        let bad = Self::bad;
        let large = |reason| Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason);
        match broken {
            Broken::BareCr => {
                bad("a carriage return in the request head is not followed by a line feed")
            }
            Broken::BareLf => {
                bad("a line of the request head ends in a line feed without a carriage return")
            }
            Broken::Control => bad("a header value has a control character"),
            // RFC 6585 §5: "It can be used both when the set of request header fields in total is too large"
            Broken::HeadTooLarge => large("the request head is too large"),
            Broken::TooManyHeaders => large("the request has too many headers"),
            Broken::HeaderName => bad("a header line has no valid name before its colon"),
            Broken::HttpVersion => bad("the request line does not end in an HTTP version"),
            // RFC 9112 §3: "A server that receives a method longer than any that it implements SHOULD respond with a
            // 501 (Not Implemented) status code."
            Broken::MethodTooLong => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                "the first word is longer than any HTTP method",
            ),
            Broken::NotHttp | Broken::StatusLine => bad("this is not an HTTP request"),
            Broken::ObsFold => bad("a header line begins with white space"),
            Broken::Target => bad("the request target has a character that a URI cannot have"),
            // RFC 9112 §3: "A server that receives a request-target longer than any URI it wishes to parse MUST
            // respond with a 414 (URI Too Long) status code"
            Broken::TargetTooLong => {
                Self::new(StatusCode::URI_TOO_LONG, "the request target is too long")
            }
            Broken::Tls => Self::TLS,
        }
    }
}

/// Appends the HTTP answer that says `refusal`. The caller sends it and closes the connection. It should shut down its
/// sending side first and go on reading for a while: unread bytes make the kernel send a RST, and with a RST the client
/// loses the answer.
#[cold]
pub fn encode_refusal(refusal: &Refusal, date: &Date, out: &mut Vec<u8>) {
    encode_with(refusal.status, "close", &[], refusal.reason, date, out);
}
