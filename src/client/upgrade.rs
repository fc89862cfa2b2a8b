//! Opening a WebSocket for a request that hyper, axum or another web framework has read, in the types of the crate `http`.

use std::str::FromStr as _;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use ringway_proto::Role;
use ringway_proto::handshake::{Limits, Progress, Refusal};
use ringway_proto::http::parse_response;

use crate::accept::Head;
use crate::options::Options;
use crate::websocket::{Opened, WebSocket};

/// A WebSocket that has been agreed on, and waits for its stream.
#[derive(Debug)]
pub struct Upgrade {
    opened: Opened,
    options: Options,
}

impl Upgrade {
    /// The WebSocket, in the server's role, on the stream that the framework gives after its answer was sent: of hyper,
    /// `TokioIo::new(hyper::upgrade::on(request).await?)`.
    pub fn websocket<S>(self, stream: S) -> WebSocket<S> {
        WebSocket::opened(stream, Role::Server, self.opened, self.options)
    }
}

/// Checks a request, and answers it: with 101 and an [`Upgrade`], or with a refusal, whose body is a sentence. The caller
/// sends either. The request is not changed, so that the framework can still take the stream from it.
///
/// `subprotocols`: what is served; the first one that the client offers is chosen. If there is none, the WebSocket opens
/// without. To add headers such as `Set-Cookie`, add them to the answer.
///
/// A WebSocket over HTTP/2 (RFC 8441) is answered with 200. The framework has to offer `SETTINGS_ENABLE_CONNECT_PROTOCOL`.
/// The crate `http` has no place for `:protocol`, so it is not checked here: a caller that also serves other protocols, or a
/// plain CONNECT, looks at it first (`hyper::ext::Protocol` among the request's extensions has to be `websocket`).
///
/// # Errors
/// The refusal.
pub fn upgrade<B>(
    request: &Request<B>,
    subprotocols: &[&str],
    options: Options,
) -> Result<(Response<()>, Upgrade), Box<Response<String>>> {
    let is_stream = request.version() == Version::HTTP_2 && request.method() == Method::CONNECT;
    let head = Head::parse(encoded(request, is_stream)).map_err(|why| refused(&why))?;
    let asked = head.request();
    let chosen = asked
        .subprotocols()
        .find(|offered| subprotocols.contains(offered));
    let accepted = head.accept(chosen, &[], &options);
    let (answer, opened) = accepted.map_err(|_| refused(&IMPOSSIBLE))?;
    let mut response = Response::new(());
    *response.status_mut() = match is_stream {
        true => StatusCode::OK,
        false => StatusCode::SWITCHING_PROTOCOLS,
    };
    *response.headers_mut() = headers(answer, is_stream).ok_or_else(|| refused(&IMPOSSIBLE))?;
    Ok((response, Upgrade { opened, options }))
}

/// The request as HTTP/1.1 has it on the wire, so that the checks of it are the same ones.
fn encoded<B>(request: &Request<B>, is_stream: bool) -> Vec<u8> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let (method, version) = match (is_stream, request.version()) {
        (true, _) => ("GET", "1.1"),
        (false, Version::HTTP_10) => (request.method().as_str(), "1.0"),
        (false, _) => (request.method().as_str(), "1.1"),
    };
    let mut out = format!("{method} {target} HTTP/{version}\r\n").into_bytes();
    let mut push = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    for (name, value) in request.headers() {
        push(name.as_str(), value.as_bytes());
    }
    if is_stream {
        // RFC 8441 §5: these have no meaning in HTTP/2, and the server does not answer a key.
        push("Upgrade", b"websocket");
        push("Connection", b"Upgrade");
        push("Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA==");
    }
    if let Some(authority) = request.uri().authority()
        && !request.headers().contains_key("host")
    {
        push("Host", authority.as_str().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The headers of an encoded answer.
fn headers(mut answer: Vec<u8>, is_stream: bool) -> Option<HeaderMap> {
    let parsed = parse_response(&mut answer, &Limits::RESPONSE).ok()?;
    let Progress::Complete { head, .. } = parsed else {
        return None;
    };
    let unwanted = ["Connection", "Upgrade", "Sec-WebSocket-Accept"];
    let mut headers = HeaderMap::new();
    for (name, value) in head.headers() {
        let is_unwanted = unwanted
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        // The framework names its server itself.
        if name.eq_ignore_ascii_case("Server") || (is_stream && is_unwanted) {
            continue;
        }
        headers.append(
            HeaderName::from_str(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        );
    }
    Some(headers)
}

fn refused(why: &Refusal) -> Box<Response<String>> {
    let mut response = Response::new(format!("{}\n", why.reason()));
    let status = StatusCode::from_u16(why.status().0);
    *response.status_mut() = status.unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/plain"));
    if why.status().0 == 426 {
        // RFC 9110 §7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option in the Connection header field"
        headers.insert("connection", HeaderValue::from_static("upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    }
    Box::new(response)
}

const IMPOSSIBLE: Refusal = Refusal::new(
    ringway_proto::handshake::StatusCode(500),
    "the answer cannot be sent",
);

/// The value of `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`, for a program that answers requests itself;
/// [`WebSocket::after_handshake`] does the rest. `None`: the key is none.
pub fn accept_key(key: &[u8]) -> Option<String> {
    let key = ringway_proto::handshake::Key::parse(key)?;
    Some(key.accept().iter().copied().map(char::from).collect())
}
