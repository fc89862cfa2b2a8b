//! Finds the end of a head. Each byte is looked at once, however the bytes arrive.
//!
//! Owns: where the head ends, and every check that the bytes so far allow. Bytes that can no longer become HTTP/1.1 fail
//! at the first wrong one, and not at a timeout.
//! Never: looks at what a field means. The parser of the complete head does.
//!
//! ```text
//! request ──> Start ──> Method ──> Target ──> Version ──┐
//!             (skips empty lines)                       v
//! response ─> Status ────────────────────────────────> StartLineLf ──> FirstLine ──┐ (an empty line)
//!                └──> Reason ─────────────────────────> ^                 │        ├──> EndLf ──> end of the head
//!                                                                         v        │
//!                                          Value <────────────────────── Name      │
//!                                            │ ^ (obs-fold, in a response) ^       │
//!                                            v └──────────────┐            │       │
//!                                          LineLf ─────────> LineStart ────┴───────┘
//! ```
//!
//! The automaton sees bytes strictly in order, so how a head was cut into chunks cannot change the outcome.

use super::fields::{FIELD, TCHAR, VCHAR, is_tchar, run};

/// Limits on the heads of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its last empty line included; default 32 KiB. Interim responses count together with the final
    /// one. A connection in its opening handshake buffers at most this much, and one head costs at most this many bytes
    /// of parsing. A request's target may be as long: every recipient should take 8,000 bytes (RFC 9110 §4.1).
    pub head_bytes_max: usize,
    /// Header fields of one head; default 128. Fields are not copied, so they cost no memory.
    pub headers_max: usize,
}

impl Limits {
    /// For a client: 64 KiB and 256 fields. Servers set cookies of 4 KiB by the dozen. A larger buffer costs a client
    /// less than a server, because it has fewer connections in their opening handshake.
    pub const RESPONSE: Self = Self {
        head_bytes_max: 64 << 10,
        headers_max: 256,
    };
}

impl Default for Limits {
    fn default() -> Self {
        // Browsers send cookies of 8 KiB and more where several products share a domain: nginx allows 4 × 8 KiB, Node
        // 16 KiB, Go 1 MiB. About 30 fields are what a browser behind two proxies sends; Apache allows 100.
        Self {
            head_bytes_max: 32 << 10,
            headers_max: 128,
        }
    }
}

/// What a parser of a head found in the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// The head is good so far and not at its end.
    Incomplete {
        /// Where to go on when there are more bytes; [`Resume::default`] is correct too, and scans again from the
        /// first byte.
        resume: Resume,
    },
    /// The head is complete.
    Complete {
        /// What it says.
        head: T,
        /// Bytes of the head, and of the empty lines or interim responses before it. The bytes after it are the body or
        /// frames.
        head_bytes: usize,
    },
}

impl<T> Progress<T> {
    /// The same progress with another head.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Progress<U> {
        match self {
            Self::Incomplete { resume } => Progress::Incomplete { resume },
            Self::Complete { head, head_bytes } => Progress::Complete {
                head: change(head),
                head_bytes,
            },
        }
    }
}

/// How far a head was scanned. It belongs to one growing buffer, and saves scanning a byte twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Where the head begins, after complete interim responses.
    begin: usize,
    offset: usize,
    state: State,
    /// Header fields of this head so far.
    fields: usize,
    /// At least one line of this head is an obs-fold: it continues the line before it.
    folded: bool,
    /// Interim answers before `begin`.
    pub(super) interim: usize,
}

impl Resume {
    /// The start of the next head, after an interim response that ended at `begin`.
    pub(super) fn behind(begin: usize, interim: usize) -> Self {
        Self {
            begin,
            offset: begin,
            interim,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// After the CR of an empty line that precedes the start line.
    StartLf,
    /// This many bytes of the method were read.
    Method(usize),
    Target,
    /// This many bytes of [`VERSION`] were read.
    Version(usize),
    /// This many bytes of [`STATUS`] were read.
    Status(usize),
    /// In the reason phrase.
    Reason,
    /// After the CR of the start line.
    StartLineLf,
    /// After the start line.
    FirstLine,
    /// After the CR of a header line.
    LineLf,
    /// After a header line.
    LineStart,
    Name,
    Value,
    /// After the CR of the empty line that ends the head.
    EndLf,
}

/// Which start line the head has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// The result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    Incomplete(Resume),
    Complete(Found),
}

/// Where a complete head lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) begin: usize,
    pub(super) end: usize,
    /// The head has folded lines, which [`unfold`] must replace.
    pub(super) folded: bool,
    pub(super) interim: usize,
}

/// Why no further bytes can make this head valid HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    BareCr,
    BareLf,
    Control,
    HeadTooLarge,
    HeaderName,
    HttpVersion,
    MethodTooLong,
    NotHttp,
    ObsFold,
    StatusLine,
    Target,
    TargetTooLong,
    Tls,
    TooManyHeaders,
}

/// Scans `bytes`, all that was received so far, from where `resume` says.
pub(super) fn scan(
    kind: Kind,
    bytes: &[u8],
    resume: Resume,
    limits: &Limits,
) -> Result<Scan, Broken> {
    let view = bytes.get(..limits.head_bytes_max).unwrap_or(bytes);
    let mut at = if resume.offset <= view.len() {
        resume
    } else {
        Resume::default()
    };
    if kind == Kind::Response && at.state == State::Start {
        at.state = State::Status(0);
    }
    while let Some(rest) = view.get(at.offset..) {
        at.offset += run_of(at.state, rest);
        let Some(&byte) = view.get(at.offset) else {
            break;
        };
        at.offset += 1;
        if let (State::EndLf, b'\n') = (at.state, byte) {
            return Ok(Scan::Complete(Found {
                begin: at.begin,
                end: at.offset,
                folded: at.folded,
                interim: at.interim,
            }));
        }
        step(&mut at, kind, byte, limits)?;
    }
    match at.state {
        _ if bytes.len() < limits.head_bytes_max => Ok(Scan::Incomplete(at)),
        State::Target => Err(Broken::TargetTooLong),
        _ => Err(Broken::HeadTooLarge),
    }
}

/// Advances the automaton by one byte.
fn step(at: &mut Resume, kind: Kind, byte: u8, limits: &Limits) -> Result<(), Broken> {
    let next = match at.state {
        State::FirstLine
        | State::LineLf
        | State::LineStart
        | State::Name
        | State::Value
        | State::EndLf => after_field_byte(at.state, byte, kind)?,
        _ => after_start_line_byte(at.state, byte)?,
    };
    match (at.state, next) {
        (_, State::Method(METHOD_BYTES_MAX)) => return Err(Broken::MethodTooLong),
        (State::LineStart, State::Value) => at.folded = true,
        (State::FirstLine | State::LineStart, State::Name) => {
            at.fields += 1;
            if at.fields > limits.headers_max {
                return Err(Broken::TooManyHeaders);
            }
        }
        _ => {}
    }
    at.state = next;
    Ok(())
}

/// Replaces each obs-fold of a complete head by spaces.
// RFC 9112 §5.2: "A user agent that receives an obs-fold in a response message that is not within a "message/http"
// container MUST replace each received obs-fold with one or more SP bytes prior to interpreting the field value."
#[cold]
pub(super) fn unfold(head: &mut [u8]) {
    let mut rest = head;
    while let Some(at) = rest.windows(3).position(is_fold) {
        let (_, fold) = rest.split_at_mut(at);
        let (line_end, after) = fold.split_at_mut(2);
        line_end.fill(b' ');
        rest = after;
    }
}

fn is_fold(three: &[u8]) -> bool {
    matches!(three, [b'\r', b'\n', b' ' | b'\t'])
}

/// How many of the first `bytes` leave `state` unchanged. A long field is skipped in one call.
fn run_of(state: State, bytes: &[u8]) -> usize {
    match state {
        State::Target => run(bytes, VCHAR),
        State::Name => run(bytes, TCHAR),
        State::Reason | State::Value => run(bytes, FIELD),
        _ => 0,
    }
}

fn after_start_line_byte(state: State, byte: u8) -> Result<State, Broken> {
    match (state, byte) {
        // RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one
        // empty line (CRLF) received prior to the request-line"
        (State::Start, b'\r') => Ok(State::StartLf),
        (State::StartLf, b'\n') => Ok(State::Start),
        (State::Start, TLS_HANDSHAKE) => Err(Broken::Tls),
        (State::Start, _) if is_tchar(byte) => Ok(State::Method(1)),
        (State::Method(_), b' ') => Ok(State::Target),
        (State::Method(n), _) if is_tchar(byte) => Ok(State::Method(n + 1)),
        (State::Target, b' ') => Ok(State::Version(0)),
        (State::Target, _) => Err(Broken::Target),
        (State::Version(n), b'\r') if n == VERSION.len() => Ok(State::StartLineLf),
        (State::Version(n), _) if matches(VERSION, n, byte) => Ok(State::Version(n + 1)),
        (State::Version(_), _) => Err(Broken::HttpVersion),
        (State::Status(n), b'\r') if n == STATUS.len() => Ok(State::StartLineLf),
        (State::Status(n), b' ') if n == STATUS.len() => Ok(State::Reason),
        (State::Status(n), _) if matches(STATUS, n, byte) => Ok(State::Status(n + 1)),
        (State::Status(_), b'\n') => Err(Broken::BareLf),
        (State::Status(_), _) => Err(Broken::StatusLine),
        (State::Reason, b'\r') => Ok(State::StartLineLf),
        (State::Reason, b'\n') => Err(Broken::BareLf),
        (State::Reason, _) => Err(Broken::Control),
        (State::StartLineLf, b'\n') => Ok(State::FirstLine),
        (State::StartLineLf, _) => Err(Broken::BareCr),
        _ => Err(Broken::NotHttp),
    }
}

fn after_field_byte(state: State, byte: u8, kind: Kind) -> Result<State, Broken> {
    match (state, byte) {
        (State::LineLf, b'\n') => Ok(State::LineStart),
        (State::FirstLine | State::LineStart, b'\r') => Ok(State::EndLf),
        // RFC 9112 §5.2: "A server that receives an obs-fold in a request message that is not within a "message/http"
        // container MUST either reject the message by sending a 400 (Bad Request) […] or replace". A client must read
        // it: see `unfold`.
        (State::LineStart, b' ' | b'\t') if kind == Kind::Response => Ok(State::Value),
        // RFC 9112 §2.2: "A recipient that receives whitespace between the start-line and the first header field MUST
        // either reject the message as invalid or consume each whitespace-preceded line without further processing"
        (State::FirstLine | State::LineStart, b' ' | b'\t') => Err(Broken::ObsFold),
        (State::FirstLine | State::LineStart, _) if is_tchar(byte) => Ok(State::Name),
        // RFC 9112 §5.1: "A server MUST reject, with a response status code of 400 (Bad Request), any received
        // request message that contains whitespace between a header field name and colon."
        (State::Name, b':') => Ok(State::Value),
        (State::Value, b'\r') => Ok(State::LineLf),
        // RFC 9112 §2.2: "A recipient of such a bare CR MUST consider that element to be invalid"
        (State::LineLf | State::EndLf, _) => Err(Broken::BareCr),
        // The same section allows a recipient to take a bare LF for a line end. This one does not: request smuggling
        // begins where two programs find different ends of one line.
        (_, b'\n') => Err(Broken::BareLf),
        (State::Value, _) => Err(Broken::Control),
        _ => Err(Broken::HeaderName),
    }
}

/// Whether `byte` fits position `n` of a template in which `0` stands for any digit.
fn matches(template: &[u8], n: usize, byte: u8) -> bool {
    template.get(n).is_some_and(|&want| {
        if want == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == want
        }
    })
}

const VERSION: &[u8] = b"HTTP/0.0";
const STATUS: &[u8] = b"HTTP/0.0 000";
/// The first byte of a TLS record that carries a ClientHello (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Longer than any registered method: the longest is UPDATEREDIRECTREF, 17.
const METHOD_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for a complete head of this many bytes.
    fn complete(end: usize) -> Result<Scan, Broken> {
        Ok(Scan::Complete(Found {
            begin: 0,
            end,
            folded: false,
            interim: 0,
        }))
    }

    fn scanned(kind: Kind, bytes: &[u8]) -> Result<Scan, Broken> {
        scan(kind, bytes, Resume::default(), &Limits::default())
    }

    /// Asserts that `bytes` fail with `why` at byte `at`, in one piece, byte by byte and cut at every offset.
    fn breaks(kind: Kind, bytes: &[u8], at: usize, why: Broken) {
        assert_eq!(scanned(kind, bytes), Err(why), "{}", bytes.escape_ascii());
        let mut resume = Resume::default();
        for end in 0..at {
            match scan(kind, &bytes[..end], resume, &Limits::default()) {
                Ok(Scan::Incomplete(next)) => resume = next,
                other => panic!("{} at {end}: {other:?}", bytes.escape_ascii()),
            }
            assert_eq!(scan(kind, bytes, resume, &Limits::default()), Err(why));
        }
        assert_eq!(
            scan(kind, &bytes[..at], resume, &Limits::default()),
            Err(why)
        );
    }

    #[test]
    fn what_cannot_become_a_request_line_fails_at_its_first_wrong_byte() {
        use Kind::Request;
        breaks(Request, b"\x16\x03\x01\x02\x00\x01", 1, Broken::Tls);
        breaks(Request, b"\0", 1, Broken::NotHttp);
        breaks(Request, b"\nGET", 1, Broken::NotHttp);
        breaks(Request, b"\r\rGET", 2, Broken::NotHttp);
        breaks(Request, b" GET / HTTP/1.1", 1, Broken::NotHttp);
        breaks(Request, b"GET\r\n", 4, Broken::NotHttp);
        breaks(Request, &[b'A'; 40], 32, Broken::MethodTooLong);
        breaks(Request, b"GET /\r\n", 6, Broken::Target);
        breaks(Request, b"GET /\xc3\xa4 ", 6, Broken::Target);
        breaks(Request, b"GET /\0 ", 6, Broken::Target);
        breaks(Request, b"GET /a b HTTP/1.1", 8, Broken::HttpVersion);
        breaks(Request, b"GET / http/1.1", 7, Broken::HttpVersion);
        breaks(Request, b"GET / HTTP/1.1 \r\n", 15, Broken::HttpVersion);
        breaks(
            Request,
            b"GET / HTTP/1.1\nHost: a\n\n",
            15,
            Broken::HttpVersion,
        );
    }

    #[test]
    fn what_cannot_become_a_header_field_fails_at_its_first_wrong_byte() {
        use Kind::{Request, Response};
        breaks(Request, b"GET / HTTP/1.1\rHost", 16, Broken::BareCr);
        breaks(
            Request,
            b"GET / HTTP/1.1\r\n Host: a\r\n",
            17,
            Broken::ObsFold,
        );
        breaks(
            Request,
            b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n",
            23,
            Broken::ObsFold,
        );
        breaks(
            Request,
            b"GET / HTTP/1.1\r\n: b\r\n",
            17,
            Broken::HeaderName,
        );
        breaks(
            Request,
            b"GET / HTTP/1.1\r\nA : b\r\n",
            18,
            Broken::HeaderName,
        );
        breaks(Request, b"GET / HTTP/1.1\r\nA\r\n", 18, Broken::HeaderName);
        breaks(
            Request,
            b"GET / HTTP/1.1\r\nA: b\nC: d\r\n",
            21,
            Broken::BareLf,
        );
        breaks(Request, b"GET / HTTP/1.1\r\n\n", 17, Broken::BareLf);
        breaks(
            Request,
            b"GET / HTTP/1.1\r\nA: b\rC: d\r\n",
            22,
            Broken::BareCr,
        );
        breaks(
            Request,
            b"GET / HTTP/1.1\r\nA: b\0c\r\n",
            21,
            Broken::Control,
        );
        breaks(
            Request,
            b"GET / HTTP/1.1\r\nA: b\x7f\r\n",
            21,
            Broken::Control,
        );
        breaks(Request, b"GET / HTTP/1.1\r\n\rX", 18, Broken::BareCr);
        breaks(Response, b"GET / HTTP/1.1", 1, Broken::StatusLine);
        breaks(
            Response,
            b"\x15\x03\x03\x00\x02\x02\x46",
            1,
            Broken::StatusLine,
        );
        breaks(Response, b"HTTP/1.1 1x1", 11, Broken::StatusLine);
        breaks(Response, b"HTTP/1.1 101Switching", 13, Broken::StatusLine);
        breaks(Response, b"HTTP/1.1 101 OK\nA: b", 16, Broken::BareLf);
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_was_cut() {
        for (kind, head) in [
            (Kind::Request, &b"GET / HTTP/1.1\r\n\r\n"[..]),
            (
                Kind::Request,
                b"\r\n\r\nGET /a?b HTTP/2.0\r\nHost: a\r\nE:\r\n\r\n",
            ),
            (Kind::Response, b"HTTP/1.1 101\r\n\r\n"),
            (
                Kind::Response,
                b"HTTP/1.1 404 Not Found\r\nA: \xff\tb \r\n\r\n",
            ),
        ] {
            let mut bytes = head.to_vec();
            bytes.extend_from_slice(b"\x81\x80\x01\x02\x03\x04");
            assert_eq!(scanned(kind, &bytes), complete(head.len()));
            let mut resume = Resume::default();
            for end in 0..head.len() {
                let Ok(Scan::Incomplete(next)) =
                    scan(kind, &bytes[..end], resume, &Limits::default())
                else {
                    panic!("{} ended at {end}", head.escape_ascii());
                };
                resume = next;
                let rest = scan(kind, &bytes, resume, &Limits::default());
                assert_eq!(rest, complete(head.len()));
            }
        }
    }

    #[test]
    fn a_head_may_have_exactly_head_bytes_max_bytes() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        let limits = |head_bytes_max| Limits {
            head_bytes_max,
            ..Limits::default()
        };
        let scan = |bytes, max| scan(Kind::Request, bytes, Resume::default(), &limits(max));
        assert_eq!(scan(head, head.len()), complete(head.len()));
        assert_eq!(scan(head, head.len() - 1), Err(Broken::HeadTooLarge));
        assert_eq!(scan(&head[..20], 20), Err(Broken::HeadTooLarge));
        assert_eq!(
            scan(b"GET /aaaaaaaaaaaaaaaaaaaaa", 20),
            Err(Broken::TargetTooLong)
        );
        assert_eq!(scan(b"", 0), Err(Broken::HeadTooLarge));
    }

    #[test]
    fn a_resume_from_a_longer_buffer_starts_again() {
        let Ok(Scan::Incomplete(resume)) = scanned(Kind::Request, b"GET / HTTP/1.1\r\nHost") else {
            panic!("not incomplete");
        };
        let short = scan(Kind::Request, b"GET /", resume, &Limits::default());
        assert_eq!(short, scanned(Kind::Request, b"GET /"));
    }
}
