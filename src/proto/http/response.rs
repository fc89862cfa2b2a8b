//! A response: its line, its fields, and the interim responses before it.

use super::body::{Body, Framing};
use super::fields::Headers;
use super::refusal::StatusCode;
use super::scan::{Broken, Found, Kind, Limits, Progress, Resume, Scan, scan, unfold};
use super::{Connection, Version};

/// Most interim responses (1xx except 101) before the final one. Together with it they must also fit in `head_bytes_max`.
/// Chosen: servers send one or two (100, 103).
pub const INTERIM_RESPONSES_MAX: usize = 16;

/// A final response whose head passed every check. It borrows from the received bytes.
#[derive(Clone, Copy, Debug)]
pub struct Response<'b> {
    version: Version,
    status: StatusCode,
    body: Body,
    connection: Connection,
    headers: Headers<'b>,
}

/// What a server did wrong in the head of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// More than `head_bytes_max` bytes without an end of the head, interim answers included.
    HeadTooLarge,
    /// Not the head of an HTTP response; a sentence says where it breaks.
    Malformed(&'static str),
    /// More than `headers_max` headers.
    TooManyHeaders,
    /// More than [`INTERIM_RESPONSES_MAX`] interim answers.
    TooManyInterim,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HeadTooLarge => "the head of the response is too large",
            Self::Malformed(what) => what,
            Self::TooManyHeaders => "the response has too many headers",
            Self::TooManyInterim => "the response does not come: there are only interim ones (1xx)",
        })
    }
}

impl std::error::Error for Fault {}

impl From<Broken> for Fault {
    #[cold]
    fn from(broken: Broken) -> Self {
        Self::Malformed(match broken {
            Broken::HeadTooLarge | Broken::TargetTooLong => return Self::HeadTooLarge,
            Broken::TooManyHeaders => return Self::TooManyHeaders,
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
            Broken::ObsFold => "the first header line of the response begins with white space",
            Broken::HttpVersion
            | Broken::MethodTooLong
            | Broken::NotHttp
            | Broken::StatusLine
            | Broken::Target
            | Broken::Tls => "this is not an HTTP response: is the server's port one for TLS?",
        })
    }
}

/// Parses the head of a response from the first byte: [`parse_response_from`] without a hint.
pub fn parse_response<'b>(
    bytes: &'b mut [u8],
    limits: &Limits,
) -> Result<Progress<Response<'b>>, Fault> {
    parse_response_from(bytes, Resume::default(), limits)
}

/// Parses the head of the response to a GET in `bytes`, all that was received so far. With the `resume` of the last
/// [`Progress::Incomplete`] for the same bytes, each byte is scanned once. The line end of a folded header (obs-fold) is
/// replaced by spaces in `bytes`.
pub fn parse_response_from<'b>(
    bytes: &'b mut [u8],
    mut resume: Resume,
    limits: &Limits,
) -> Result<Progress<Response<'b>>, Fault> {
    let (found, status) = loop {
        let found = match scan(Kind::Response, bytes, resume, limits)? {
            Scan::Incomplete(resume) => return Ok(Progress::Incomplete { resume }),
            Scan::Complete(found) => found,
        };
        let head = bytes.get(found.begin..found.end).unwrap_or_default();
        let (_, status) = parse_status_line(head)?;
        // RFC 9110 §15.2: "A client MUST be able to parse one or more 1xx responses received prior to a final response,
        // even if the client does not expect one." 101 is final: HTTP ends with it.
        if !matches!(status.0, 100 | 102..=199) {
            break (found, status);
        }
        if found.interim == INTERIM_RESPONSES_MAX {
            return Err(Fault::TooManyInterim);
        }
        resume = Resume::behind(found.end, found.interim + 1);
    };
    let Found { begin, end, .. } = found;
    if found.folded {
        unfold(bytes.get_mut(begin..end).unwrap_or_default());
    }
    let head = bytes.get(begin..end).unwrap_or_default();
    let (version, _) = parse_status_line(head)?;
    let headers = Headers::of_head(head);
    let (mut framing, mut connection) = (Framing::default(), Connection::default());
    for (name, value) in headers {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            10 if is("Connection") => connection.add(value),
            14 if is("Content-Length") => framing.add_length(value),
            17 if is("Transfer-Encoding") => framing.add_codings(value),
            _ => {}
        }
    }
    Ok(Progress::Complete {
        head: Response {
            version,
            status,
            body: framing.of_response(status),
            connection,
            headers,
        },
        head_bytes: end,
    })
}

impl<'b> Response<'b> {
    /// Its version, which may be any.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its status: 101, or any other number of three digits outside 100–199.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// How its body is delimited.
    pub fn body(&self) -> Body {
        self.body
    }

    /// Whether the server would answer another request on the same connection.
    pub fn keeps_alive(&self) -> bool {
        self.connection.keeps_alive(self.version)
    }

    /// Whether `Connection` has the option `upgrade`.
    pub fn has_upgraded(&self) -> bool {
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

/// Version and status. The scan has checked that the line is `HTTP/d.d ddd`, with or without a reason phrase.
fn parse_status_line(head: &[u8]) -> Result<(Version, StatusCode), Fault> {
    let version = head.get(..8).and_then(Version::parse);
    let digits = head
        .get(9..12)
        .and_then(|digits| str::from_utf8(digits).ok());
    let status = digits.and_then(|digits| digits.parse().ok());
    match (version, status) {
        (Some(version), Some(status)) => Ok((version, StatusCode(status))),
        _ => Err(Fault::Malformed("the status line is malformed")),
    }
}
