//! Whole handshakes: real requests, each check of the server and of the client, both roles against each other.
//! Every vector is fed whole, byte by byte and cut in two at every offset, and must come out the same.

mod answers;
mod both_roles;
mod client;
mod refusals;
mod requests;

use super::*;
use crate::compression;

const fn offered<'a>(subprotocols: &'a [&'a str]) -> Offered<'a> {
    Offered {
        subprotocols,
        compression: compression::Terms::NONE,
    }
}

// --- The harness -----------------------------------------------------------------------------------------------

/// What a request came to, in a form that outlives its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Incomplete,
    Opening { head_bytes: usize },
    Plain { head_bytes: usize },
    Refused(Refusal),
}

fn outcome(result: Result<Progress<Asked<'_>>, Refusal>) -> (Outcome, Resume) {
    match result {
        Err(refusal) => (Outcome::Refused(refusal), Resume::default()),
        Ok(Progress::Incomplete { resume }) => (Outcome::Incomplete, resume),
        Ok(Progress::Complete { head, head_bytes }) => match head {
            Asked::WebSocket(_) => (Outcome::Opening { head_bytes }, Resume::default()),
            Asked::Http(_) => (Outcome::Plain { head_bytes }, Resume::default()),
        },
    }
}

/// The outcome of `bytes`, which is the same for every way to cut them.
fn served_with(bytes: &[u8], limits: &Limits) -> Outcome {
    let parse = |end, resume| outcome(parse_request_from(&bytes[..end], resume, limits));
    let (whole, _) = parse(bytes.len(), Resume::default());
    assert_eq!(outcome(parse_request(bytes, limits)).0, whole);
    let mut byte_by_byte = (Outcome::Incomplete, Resume::default());
    for end in 0..=bytes.len() {
        if byte_by_byte.0 == Outcome::Incomplete {
            byte_by_byte = parse(end, byte_by_byte.1);
        }
        let (first, resume) = parse(end, Resume::default());
        if first == Outcome::Incomplete {
            assert_eq!(parse(bytes.len(), resume).0, whole, "cut at {end}");
        } else {
            assert_eq!(first, whole, "cut at {end}");
        }
    }
    assert_eq!(byte_by_byte.0, whole, "byte by byte");
    whole
}

fn served(text: &str) -> Outcome {
    served_with(text.as_bytes(), &Limits::default())
}

/// The request of RFC 6455 §1.2 with `lines` for some of its lines: a line replaces all with its name, `-Name` removes
/// them, `+Name: value` adds one.
fn request_with(lines: &[&str]) -> String {
    let mut head: Vec<String> = RFC_REQUEST
        .trim_end()
        .split("\r\n")
        .map(str::to_owned)
        .collect();
    for line in lines {
        let (line, keep) = line
            .strip_prefix('+')
            .map_or((*line, false), |line| (line, true));
        let (name, add) = line
            .strip_prefix('-')
            .map_or((line, true), |name| (name, false));
        let name = name.split(':').next().unwrap_or_default();
        if !keep {
            head.retain(|have| have.split(':').next() != Some(name));
        }
        if add {
            head.push(line.to_owned());
        }
    }
    head.join("\r\n") + "\r\n\r\n"
}

/// The status and the reason of a request that is refused.
#[track_caller]
fn refused(text: &str) -> (u16, &'static str) {
    match served(text) {
        Outcome::Refused(refusal) => (refusal.status().0, refusal.reason()),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn request(text: &str) -> Request<'_> {
    match parse_request(text.as_bytes(), &Limits::default()) {
        Ok(Progress::Complete {
            head: Asked::WebSocket(request),
            ..
        }) => request,
        other => panic!("{other:?}"),
    }
}

/// Asserts that a request opens no WebSocket, and is none the worse for it.
#[track_caller]
fn plain(text: &str) -> http::Request<'_> {
    let head_bytes = text.len();
    assert_eq!(served(text), Outcome::Plain { head_bytes }, "{text}");
    match parse_request(text.as_bytes(), &Limits::default()) {
        Ok(Progress::Complete {
            head: Asked::Http(request),
            ..
        }) => request,
        other => panic!("{other:?}"),
    }
}

/// RFC 9110 §5.6.7 prints it.
fn date() -> Date {
    Date::from_unix_s(784_111_777)
}

fn refusal_text(refusal: &Refusal) -> String {
    let mut out = Vec::new();
    encode_refusal(refusal, &date(), &mut out);
    String::from_utf8(out).expect("a response is text")
}

fn verdict_text(text: &str, verdict: &Verdict<'_>) -> Result<String, Misuse> {
    let mut out = b"before".to_vec();
    let result = encode_verdict(&request(text), verdict, &date(), &mut out);
    assert!(out.starts_with(b"before"));
    if result.is_err() {
        assert_eq!(out, b"before", "a misuse writes nothing");
    }
    result.map(|()| String::from_utf8(out.split_off(6)).expect("a response is text"))
}

/// RFC 6455 §1.2, with the protocols of the example.
const RFC_REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

const CHROME: &str = "GET /echo?room=1 HTTP/1.1\r\nHost: localhost:9000\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: http://localhost:8080\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\nCookie: a=b; c=d\r\nSec-WebSocket-Key: 1DdRyAKGcLiLwVdRSpWeiQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

const FIREFOX: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nSec-WebSocket-Version: 13\r\nOrigin: null\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: sSO3Dy7xJnmxEUzS8TqLRg==\r\nConnection: keep-alive, Upgrade\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: websocket\r\nSec-Fetch-Site: cross-site\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\n\r\n";

const CURL: &str = "GET / HTTP/1.1\r\nHost: [::1]:9000\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: 0k+7iS3Sq8DAGxwDBhW8xg==\r\nConnection: Upgrade\r\n\r\n";

const PYTHON_WEBSOCKETS: &str = "GET / HTTP/1.1\r\nHost: localhost:8765\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: m9bVqMnKxn5tDJx2vH8vYg==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nUser-Agent: Python/3.13 websockets/15.0.1\r\n\r\n";

const AUTOBAHN: &str = "GET / HTTP/1.1\r\nUser-Agent: AutobahnTestSuite/25.10.1-0.10.9\r\nHost: 127.0.0.1:9001\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nSec-WebSocket-Key: l2qpMCUMdYUvFMB2rVcxsA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
