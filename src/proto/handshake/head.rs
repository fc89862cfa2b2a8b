//! Finding the end of a head, one pass over each byte however it arrives.
//!
//! Owns: where the head ends, and every check that needs no more than the bytes so far, so that what can no longer
//! become HTTP/1.1 fails at its first wrong byte and not at a timeout.
//! Never: looks at what a field means; that is for the complete head.
//!
//! ```text
//! request ──> Start ──> Method ──> Target ──> Version ──┐
//!             (skips empty lines)                       v
//! response ─> Status ─────────────────────────────────> LineLf ──> LineStart ──> EndLf ──> end of the head
//!                └──> Value (the reason phrase) ──────> ^            │   (an empty line)
//!                                                       │            v
//!                                                       └─ Value <── Name
//! ```
//!
//! The automaton sees bytes strictly in order, so how a head was cut into chunks cannot change the outcome.

use super::headers::{FIELD, TCHAR, VCHAR, run};

/// What a head may cost a connection until its opening handshake is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its last empty line included; default 8192. A connection buffers at most this much
    /// (`connections in handshake × head_bytes_max`), and one handshake costs at most this many bytes of parsing.
    pub head_bytes_max: usize,
    /// Header fields of a head; default 64. More than [`Limits::HEADERS_CEILING`] counts as that. The array for it
    /// (32 bytes a field, 4 KiB at the ceiling) lives on the stack during one parse and costs a connection nothing.
    pub headers_max: usize,
}

impl Limits {
    /// The most that `headers_max` can be.
    pub const HEADERS_CEILING: usize = 128;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 8192,
            headers_max: 64,
        } // about what nginx and Apache allow, and half
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
        /// Its length. The bytes after it are the first bytes of frames.
        head_bytes: usize,
    },
}

/// How far a head was scanned: a hint that belongs to one growing buffer and keeps each byte from being read twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    offset: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// After the CR of an empty line before the start line.
    StartLf,
    /// This many bytes of the method.
    Method(usize),
    Target,
    /// This many bytes of [`VERSION`].
    Version(usize),
    /// This many bytes of [`STATUS`].
    Status(usize),
    /// After the CR of a line.
    LineLf,
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

/// What the scan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    Incomplete(Resume),
    /// The head has this many bytes.
    Complete(usize),
}

/// Why a head cannot become HTTP/1.1, whatever follows.
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
}

/// Scans `bytes`, all there is so far, from where `resume` says.
pub(super) fn scan(
    kind: Kind,
    bytes: &[u8],
    resume: Resume,
    limits: &Limits,
) -> Result<Scan, Broken> {
    let view = bytes.get(..limits.head_bytes_max).unwrap_or(bytes);
    let Resume {
        offset: mut at,
        mut state,
    } = if resume.offset <= view.len() {
        resume
    } else {
        Resume::default()
    };
    if kind == Kind::Response && state == State::Start {
        state = State::Status(0);
    }
    while let Some(rest) = view.get(at..) {
        at += run_of(state, rest);
        let Some(&byte) = view.get(at) else { break };
        at += 1;
        if let (State::EndLf, b'\n') = (state, byte) {
            return Ok(Scan::Complete(at));
        }
        state = match state {
            State::LineLf | State::LineStart | State::Name | State::Value | State::EndLf => {
                after_field_byte(state, byte)?
            }
            _ => after_start_line_byte(state, byte)?,
        };
        if let State::Method(METHOD_BYTES_MAX) = state {
            return Err(Broken::MethodTooLong);
        }
    }
    match state {
        _ if bytes.len() < limits.head_bytes_max => {
            Ok(Scan::Incomplete(Resume { offset: at, state }))
        }
        State::Target => Err(Broken::TargetTooLong),
        _ => Err(Broken::HeadTooLarge),
    }
}

/// The bytes that leave `state` as it is; those of a long field are most of a head.
fn run_of(state: State, bytes: &[u8]) -> usize {
    match state {
        State::Target => run(bytes, VCHAR),
        State::Name => run(bytes, TCHAR),
        State::Value => run(bytes, FIELD),
        _ => 0,
    }
}

fn after_start_line_byte(state: State, byte: u8) -> Result<State, Broken> {
    let is_tchar = run(&[byte], TCHAR) == 1;
    match (state, byte) {
        // RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one
        // empty line (CRLF) received prior to the request-line"
        (State::Start, b'\r') => Ok(State::StartLf),
        (State::StartLf, b'\n') => Ok(State::Start),
        (State::Start, TLS_HANDSHAKE) => Err(Broken::Tls),
        (State::Start, _) if is_tchar => Ok(State::Method(1)),
        (State::Method(_), b' ') => Ok(State::Target),
        (State::Method(n), _) if is_tchar => Ok(State::Method(n + 1)),
        (State::Target, b' ') => Ok(State::Version(0)),
        (State::Target, _) => Err(Broken::Target),
        (State::Version(n), b'\r') if n == VERSION.len() => Ok(State::LineLf),
        (State::Version(n), _) if matches(VERSION, n, byte) => Ok(State::Version(n + 1)),
        (State::Version(_), _) => Err(Broken::HttpVersion),
        (State::Status(n), b'\r') if n == STATUS.len() => Ok(State::LineLf),
        (State::Status(n), b' ') if n == STATUS.len() => Ok(State::Value), // the reason phrase
        (State::Status(n), _) if matches(STATUS, n, byte) => Ok(State::Status(n + 1)),
        (State::Status(_), _) => Err(Broken::StatusLine),
        _ => Err(Broken::NotHttp),
    }
}

fn after_field_byte(state: State, byte: u8) -> Result<State, Broken> {
    match (state, byte) {
        (State::LineLf, b'\n') => Ok(State::LineStart),
        (State::LineStart, b'\r') => Ok(State::EndLf),
        // RFC 9112 §5.2: "A server that receives an obs-fold in a request message that is not within a "message/http"
        // container MUST either reject the message by sending a 400 (Bad Request) […] or replace"
        (State::LineStart, b' ' | b'\t') => Err(Broken::ObsFold),
        (State::LineStart, _) if run(&[byte], TCHAR) == 1 => Ok(State::Name),
        // RFC 9112 §5.1: "A server MUST reject, with a response status code of 400 (Bad Request), any received
        // request message that contains whitespace between a header field name and colon."
        (State::Name, b':') => Ok(State::Value),
        (State::Value, b'\r') => Ok(State::LineLf),
        // RFC 9112 §2.2: "A recipient of such a bare CR MUST consider that element to be invalid"
        (State::LineLf | State::EndLf, _) => Err(Broken::BareCr),
        // The same section lets a recipient take a bare LF for a line end; two readings of one head are what request
        // smuggling is made of, so this one does not.
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

    fn scanned(kind: Kind, bytes: &[u8]) -> Result<Scan, Broken> {
        scan(kind, bytes, Resume::default(), &Limits::default())
    }

    /// Whole, byte by byte and cut at every offset, `bytes` break in the same way, and first at byte `at`.
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
            assert_eq!(scanned(kind, &bytes), Ok(Scan::Complete(head.len())));
            let mut resume = Resume::default();
            for end in 0..head.len() {
                let Ok(Scan::Incomplete(next)) =
                    scan(kind, &bytes[..end], resume, &Limits::default())
                else {
                    panic!("{} ended at {end}", head.escape_ascii());
                };
                resume = next;
                let rest = scan(kind, &bytes, resume, &Limits::default());
                assert_eq!(rest, Ok(Scan::Complete(head.len())));
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
        assert_eq!(scan(head, head.len()), Ok(Scan::Complete(head.len())));
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
