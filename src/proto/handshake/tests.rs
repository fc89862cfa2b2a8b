//! Whole handshakes: real requests, each check of the server and of the client, both roles against each other.
//! Every vector is fed whole, byte by byte and cut in two at every offset, and must come out the same.

use super::*;

const fn offered<'a>(subprotocols: &'a [&'a str]) -> Offered<'a> {
    Offered {
        subprotocols,
        deflate: None,
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

// --- Requests that are good ------------------------------------------------------------------------------------

#[test]
fn the_request_of_the_rfc_gets_the_response_of_the_rfc() {
    let head_bytes = RFC_REQUEST.len();
    assert_eq!(served(RFC_REQUEST), Outcome::Opening { head_bytes });
    let r = request(RFC_REQUEST);
    assert_eq!((r.target(), r.path(), r.query()), ("/chat", "/chat", None));
    assert_eq!(
        (r.host(), r.origin()),
        ("server.example.com", Some("http://example.com"))
    );
    assert_eq!(r.subprotocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    let accept = Verdict::Accept {
        deflate: None,
        subprotocol: Some("chat"),
        headers: &[],
    };
    // RFC 6455 §1.2, with our Server line.
    assert_eq!(
        verdict_text(RFC_REQUEST, &accept).as_deref(),
        Ok(
            "HTTP/1.1 101 Switching Protocols\r\nServer: ringway/0.1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        )
    );
}

#[test]
fn requests_of_real_clients_open_a_websocket() {
    for text in [CHROME, FIREFOX, CURL, PYTHON_WEBSOCKETS, AUTOBAHN] {
        assert_eq!(
            served(text),
            Outcome::Opening {
                head_bytes: text.len()
            },
            "{text}"
        );
    }
    let chrome = request(CHROME);
    assert_eq!((chrome.path(), chrome.query()), ("/echo", Some("room=1")));
    assert_eq!(chrome.origin(), Some("http://localhost:8080"));
    assert_eq!(chrome.header("COOKIE"), Some(&b"a=b; c=d"[..]));
    assert_eq!(chrome.header("Cookie2"), None);
    assert_eq!(chrome.key().as_bytes(), b"1DdRyAKGcLiLwVdRSpWeiQ==");
    let offers: Vec<_> = chrome.extensions().collect();
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].name, "permessage-deflate");
    assert_eq!(
        offers[0].params().collect::<Vec<_>>(),
        [("client_max_window_bits", None)]
    );
    assert_eq!(request(FIREFOX).origin(), Some("null"));
    assert_eq!(request(CURL).host(), "[::1]:9000");
}

#[test]
fn names_and_tokens_ignore_case_and_white_space() {
    let text = "GET / HTTP/1.1\r\nhOST:a\r\nUPGRADE:\t WebSocket \r\nconnection:keep-alive ,\tuPGRADE\r\nsec-websocket-KEY:  AAAAAAAAAAAAAAAAAAAAAA==\t\r\nSEC-WEBSOCKET-version: 13\r\n\r\n";
    assert_eq!(
        served(text),
        Outcome::Opening {
            head_bytes: text.len()
        }
    );
    for line in [
        "Upgrade: h2c, websocket",
        "Connection: upgrade",
        "Connection: ,, close , Upgrade,",
    ] {
        let text = request_with(&[line]);
        assert_eq!(
            served(&text),
            Outcome::Opening {
                head_bytes: text.len()
            },
            "{line}"
        );
    }
}

#[test]
fn list_headers_may_be_repeated() {
    let text = request_with(&[
        "Upgrade: h2c",
        "+Upgrade: websocket",
        "Connection: keep-alive",
        "+Connection: Upgrade",
        "Sec-WebSocket-Protocol: a,b",
        "+Sec-WebSocket-Protocol: c",
        // RFC 6455 §9.1: "is exactly equivalent to Sec-WebSocket-Extensions: foo, bar; baz=2"
        "Sec-WebSocket-Extensions: foo",
        "+Sec-WebSocket-Extensions: bar; baz=2",
    ]);
    assert_eq!(
        served(&text),
        Outcome::Opening {
            head_bytes: text.len()
        }
    );
    let r = request(&text);
    assert_eq!(r.subprotocols().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(
        r.extensions().map(|e| e.name).collect::<Vec<_>>(),
        ["foo", "bar"]
    );
}

#[test]
fn bytes_after_the_head_are_frames_and_stay() {
    let mut bytes = CURL.as_bytes().to_vec();
    bytes.extend_from_slice(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\0\r\n\r\n");
    assert_eq!(
        served_with(&bytes, &Limits::default()),
        Outcome::Opening {
            head_bytes: CURL.len()
        }
    );
}

#[test]
fn empty_lines_before_the_request_are_ignored() {
    let text = format!("\r\n\r\n{CURL}");
    assert_eq!(
        served(&text),
        Outcome::Opening {
            head_bytes: CURL.len() + 4
        }
    );
    assert_eq!(request(&text).host(), "[::1]:9000");
    assert_eq!(request(&text).headers().count(), 7);
}

#[test]
fn an_absolute_target_replaces_the_host_header() {
    let with = |target| CURL.replacen("GET / ", &format!("GET {target} "), 1);
    for (target, host, path, query) in [
        ("http://example.com/a?b=c", "example.com", "/a", Some("b=c")),
        ("WSS://example.com:8443", "example.com:8443", "/", None),
        ("https://[::2]?q", "[::2]", "/", Some("q")),
    ] {
        let text = with(target);
        assert_eq!(
            served(&text),
            Outcome::Opening {
                head_bytes: text.len()
            }
        );
        let r = request(&text);
        assert_eq!(
            (r.target(), r.host(), r.path(), r.query()),
            (target, host, path, query)
        );
    }
    assert_eq!(request(&with("/a?")).query(), Some(""));
    assert_eq!(request(&with("/a?b?c")).query(), Some("b?c"));
    assert_eq!(request(&with("//x://y")).path(), "//x://y");
}

#[test]
fn whatever_does_not_ask_for_a_websocket_is_a_plain_request() {
    let curl =
        "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n";
    assert_eq!(plain(curl).method(), "GET");
    // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field"
    let java = "GET /a HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: a\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(plain(java).path(), "/a");
    plain("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websockets\r\n\r\n");
    plain("GET / HTTP/1.1\r\nHost: a\r\nUpgrade:\r\n\r\n");
    // A version, or another header of the handshake, alone asks for nothing.
    plain("GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Version: 8\r\n\r\n");
    plain("GET / HTTP/1.0\r\n\r\n");
    // RFC 9110 §7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."
    plain("GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n");
    // RFC 6455 §4.1: "The method of the request MUST be GET"
    for method in ["HEAD", "POST", "PUT", "OPTIONS", "get", "Get", "GETT"] {
        assert_eq!(plain(&CURL.replacen("GET", method, 1)).method(), method);
    }
    plain(
        &CURL
            .replacen("GET", "POST", 1)
            .replace("HTTP/1.1", "HTTP/1.0"),
    );
}

// --- Requests that are refused ---------------------------------------------------------------------------------

#[test]
fn a_version_below_1_1_or_from_2_0_on_is_505_and_a_higher_minor_one_is_served() {
    for version in ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/3.1"] {
        let text = CURL.replacen("HTTP/1.1", version, 1);
        assert_eq!(refused(&text).0, 505, "{version}");
    }
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        let text = CURL.replacen("HTTP/1.1", version, 1);
        let head_bytes = text.len();
        assert_eq!(served(&text), Outcome::Opening { head_bytes });
    }
}

#[test]
fn the_checks_come_in_order() {
    assert_eq!(refused("GET * HTTP/2.0\r\n\r\n").0, 505);
    assert_eq!(
        refused("GET * HTTP/1.1\r\n\r\n").1,
        "the request target is neither a path nor an absolute URI"
    );
    assert_eq!(
        refused("GET / HTTP/1.1\r\n\r\n").1,
        "the Host header is missing"
    );
    let old = request_with(&["Host:", "Upgrade: h2c", "Content-Length: 1"]);
    assert_eq!(refused(&old.replace("HTTP/1.1", "HTTP/1.0")).0, 505);
    let empty = request_with(&["Host:", "Upgrade: h2c", "Content-Length: 1"]);
    assert_eq!(refused(&empty).1, "the Host header is empty");
    let body = request_with(&["Upgrade: h2c", "Content-Length: 1"]);
    assert_eq!(
        refused(&body).1,
        "an opening handshake has no body, and this request announces one"
    );
    let upgrade = request_with(&["Upgrade: h2c", "-Connection", "Sec-WebSocket-Version: 7"]);
    assert_eq!(
        refused(&upgrade).1,
        "there is a Sec-WebSocket-Key but the Upgrade header does not name websocket"
    );
    let connection = request_with(&["-Connection", "Sec-WebSocket-Version: 7"]);
    assert_eq!(
        refused(&connection).1,
        "the Connection header does not say Upgrade: does a proxy in between change it?"
    );
    let version = request_with(&[
        "Sec-WebSocket-Version: 7",
        "Sec-WebSocket-Protocol: a,a",
        "-Sec-WebSocket-Key",
    ]);
    assert_eq!(
        refused(&version).1,
        "this version of the WebSocket protocol is not served; version 13 is"
    );
    let protocol = request_with(&["Sec-WebSocket-Protocol: a,a", "-Sec-WebSocket-Key"]);
    assert_eq!(
        refused(&protocol).1,
        "the Sec-WebSocket-Protocol header names a subprotocol twice"
    );
    // What is broken as HTTP is 400 before the version is looked at.
    assert_eq!(refused("GET / HTTP/2.0\r\nA\r\n\r\n").0, 400);
}

#[test]
fn a_target_with_a_fragment_or_of_another_form_is_400() {
    for target in [
        "/a#b",
        "*",
        "example.com:80",
        "chat",
        "ftp://a/",
        "http:///a",
        "http://u@h/",
        "http://a b/",
    ] {
        assert_eq!(
            refused(&CURL.replacen(" / ", &format!(" {target} "), 1)).0,
            400,
            "{target}"
        );
    }
}

#[test]
fn a_host_that_is_missing_repeated_or_invalid_is_400() {
    assert_eq!(
        refused(&request_with(&["-Host"])),
        (400, "the Host header is missing")
    );
    assert_eq!(
        refused(&request_with(&["+Host: a"])),
        (400, "there is more than one Host header")
    );
    for host in ["Host:", "Host: a b", "Host: a/b", "Host: u@h", "Host: a:x"] {
        assert_eq!(refused(&request_with(&[host])).0, 400, "{host}");
    }
}

#[test]
fn an_upgrade_to_something_else_with_a_key_is_426() {
    for line in [
        "Upgrade: h2c",
        "Upgrade:",
        "Upgrade: websockets",
        "Upgrade: web socket",
    ] {
        assert_eq!(refused(&request_with(&[line])).0, 426, "{line}");
    }
    let dropped = request_with(&["-Upgrade"]);
    assert_eq!(
        refused(&dropped),
        (
            426,
            "there is a Sec-WebSocket-Key but no Upgrade header: does a proxy in between drop it?"
        )
    );
}

#[test]
fn a_connection_header_without_upgrade_is_400() {
    for line in [
        "-Connection",
        "Connection:",
        "Connection: keep-alive",
        "Connection: Upgraded",
    ] {
        assert_eq!(refused(&request_with(&[line])).0, 400, "{line}");
    }
}

#[test]
fn a_version_of_websocket_other_than_13_is_426_and_a_malformed_one_400() {
    // RFC 6455 §4.4
    for (line, status) in [
        ("-Sec-WebSocket-Version", 426),
        ("Sec-WebSocket-Version: 0", 426),
        ("Sec-WebSocket-Version: 8", 426),
        ("Sec-WebSocket-Version: 25", 426),
        ("Sec-WebSocket-Version: 255", 426),
        ("Sec-WebSocket-Version: 256", 400),
        ("Sec-WebSocket-Version: 013", 400),
        ("Sec-WebSocket-Version: +13", 400),
        ("Sec-WebSocket-Version: 13, 8", 400),
        ("Sec-WebSocket-Version:", 400),
        ("+Sec-WebSocket-Version: 13", 400),
    ] {
        assert_eq!(refused(&request_with(&[line])).0, status, "{line}");
    }
}

#[test]
fn a_key_that_is_missing_repeated_or_not_16_bytes_is_400() {
    for line in [
        "-Sec-WebSocket-Key",
        "Sec-WebSocket-Key:",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAA!==",
        "+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        assert_eq!(refused(&request_with(&[line])).0, 400, "{line}");
    }
}

#[test]
fn subprotocols_must_be_tokens_each_named_once() {
    for (lines, status) in [
        (&["Sec-WebSocket-Protocol:"][..], 400),
        (&["Sec-WebSocket-Protocol: ,"], 400),
        (&["Sec-WebSocket-Protocol: a b"], 400),
        (&["Sec-WebSocket-Protocol: a/b"], 400),
        (&["Sec-WebSocket-Protocol: \"a\""], 400),
        (&["Sec-WebSocket-Protocol: ä"], 400),
        (&["Sec-WebSocket-Protocol: a, b, a"], 400),
        (
            &["Sec-WebSocket-Protocol: a", "+Sec-WebSocket-Protocol: a"],
            400,
        ),
    ] {
        assert_eq!(refused(&request_with(lines)).0, status, "{lines:?}");
    }
    let offer = |n: usize| {
        let names: Vec<String> = (0..n).map(|n| format!("p{n}")).collect();
        request_with(&[&format!("Sec-WebSocket-Protocol: {}", names.join(","))])
    };
    assert_eq!(request(&offer(32)).subprotocols().count(), 32);
    assert_eq!(refused(&offer(33)).0, 431);
    // RFC 6455 §4.1 has case-sensitive subprotocols: these are two.
    assert_eq!(
        request(&request_with(&["Sec-WebSocket-Protocol: a, A"]))
            .subprotocols()
            .count(),
        2
    );
}

#[test]
fn extensions_that_break_the_grammar_are_400() {
    for line in [
        "Sec-WebSocket-Extensions:",
        "Sec-WebSocket-Extensions: a;",
        "Sec-WebSocket-Extensions: a; b=\"c d\"",
    ] {
        assert_eq!(
            refused(&request_with(&[line])),
            (400, "the Sec-WebSocket-Extensions header is malformed")
        );
    }
}

#[test]
fn an_origin_that_is_repeated_or_not_ascii_is_400() {
    assert_eq!(
        refused(&request_with(&["+Origin: http://example.com"])).0,
        400
    );
    assert_eq!(refused(&request_with(&["Origin: http://ä"])).0, 400);
    assert_eq!(request(&request_with(&["-Origin"])).origin(), None);
}

#[test]
fn a_body_announced_on_an_opening_handshake_is_400() {
    for line in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let expected = "an opening handshake has no body, and this request announces one";
        assert_eq!(refused(&request_with(&[line])), (400, expected), "{line}");
    }
    for line in [
        "Content-Length:",
        "Content-Length: +0",
        "Content-Length: 0, 5",
    ] {
        let expected = "the Content-Length header is not one number";
        assert_eq!(refused(&request_with(&[line])), (400, expected), "{line}");
    }
    let none = request_with(&["Content-Length: 0"]);
    assert_eq!(
        served(&none),
        Outcome::Opening {
            head_bytes: none.len()
        }
    );
}

#[test]
fn line_tricks_are_400() {
    for (from, to) in [
        ("\r\nHost", "\nHost"),
        ("\r\nHost", "\rHost"),
        ("\r\nAccept", "\r\n Accept"),
        ("\r\nAccept", "\r\n\tAccept"),
        ("Host:", "Host :"),
        ("Host:", ":"),
        ("Host:", "Host\0:"),
        ("Accept: */*", "Accept: \0"),
        ("Accept: */*", "Accept: a\rb"),
        ("Accept: */*", "Accept: a\nUpgrade: b"),
        ("Accept: */*", "Accept: \u{1b}[2J"),
        ("\r\n\r\n", "\n\n"),
        ("\r\n\r\n", "\r\n\n"),
        ("GET /", "GET  /"),
        ("GET /", "GET\t/"),
        ("GET /", "GET /\0"),
        ("HTTP/1.1\r\n", "HTTP/1.1 \r\n"),
        ("HTTP/1.1\r\n", "HTTP/11\r\n"),
        ("HTTP/1.1\r\n", "\r\n"),
        ("HTTP/1.1\r\n", "ICAP/1.0\r\n"),
    ] {
        assert_eq!(
            refused(&CURL.replacen(from, to, 1)).0,
            400,
            "{from:?} -> {to:?}"
        );
    }
}

#[test]
fn tls_to_a_plain_port_is_400_at_its_first_byte() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let tls = Refusal::new(
        StatusCode::BAD_REQUEST,
        "this port speaks plain HTTP and the client began TLS: connect with ws:// instead of wss://",
    );
    assert_eq!(
        served_with(hello, &Limits::default()),
        Outcome::Refused(tls)
    );
    assert_eq!(
        served_with(&hello[..1], &Limits::default()),
        Outcome::Refused(tls)
    );
}

#[test]
fn what_is_too_large_has_a_status_that_says_so() {
    let limits = Limits {
        head_bytes_max: 300,
        headers_max: 8,
    };
    let with = |bytes: &str| match served_with(bytes.as_bytes(), &limits) {
        Outcome::Refused(refusal) => refusal.status().0,
        Outcome::Opening { head_bytes } if head_bytes == bytes.len() => 101,
        other => panic!("{other:?}"),
    };
    assert!(RFC_REQUEST.len() < 300);
    let padded = |n: usize| request_with(&[&format!("X: {}", "x".repeat(n))]);
    let room = 300 - padded(0).len();
    assert_eq!(with(&padded(room)), 101);
    assert_eq!(with(&padded(room + 1)), 431);
    assert_eq!(with(&padded(1000)), 431);
    assert_eq!(with(&padded(1000)[..300]), 431);
    assert_eq!(
        with(&RFC_REQUEST.replacen("/chat", &format!("/{}", "c".repeat(300)), 1)),
        414
    );
    assert_eq!(with(&"A".repeat(300)), 501);
    // An error past the limit is not seen, however the bytes arrive.
    assert_eq!(with(&padded(1000).replace("xx\r\n", "xx\n")), 431);
    // Eight headers are as many as may be: the seven of the request and one.
    assert_eq!(with(&request_with(&["A:"])), 101);
    assert_eq!(with(&request_with(&["A:", "B:"])), 431);
}

#[test]
fn a_head_of_browsers_with_many_cookies_is_no_problem() {
    let limits = Limits::default();
    assert_eq!((limits.head_bytes_max, limits.headers_max), (32_768, 128));
    for line in [
        format!("Cookie: {}", "c".repeat(30_000)),
        vec!["Cookie: a=b"; 128 - 7].join("\r\n"),
    ] {
        let text = request_with(&[&line]);
        let head_bytes = text.len();
        assert_eq!(
            request(&text).http().headers().count(),
            text.lines().count() - 2
        );
        let whole = outcome(parse_request(text.as_bytes(), &limits)).0;
        assert_eq!(whole, Outcome::Opening { head_bytes });
    }
    let one_more = request_with(&[&vec!["Cookie: a=b"; 128 - 6].join("\r\n")]);
    assert_eq!(
        refused(&one_more),
        (431, "the request has too many headers")
    );
}

// --- Answers ---------------------------------------------------------------------------------------------------

#[test]
fn a_refusal_is_a_whole_response() {
    assert_eq!(
        refusal_text(&Refusal::TIMEOUT),
        "HTTP/1.1 408 Request Timeout\r\nServer: ringway/0.1.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Connection: close\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: 36\r\n\r\nthe opening handshake took too long\n"
    );
}

#[test]
fn a_426_says_what_to_upgrade_to() {
    assert_eq!(
        refusal_text(&Refusal::new(StatusCode::UPGRADE_REQUIRED, "no")),
        "HTTP/1.1 426 Upgrade Required\r\nServer: ringway/0.1.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nno\n"
    );
}

#[test]
fn an_application_may_add_headers_and_refuse_with_any_error_status() {
    let accept = Verdict::Accept {
        deflate: None,
        subprotocol: None,
        headers: &[("Set-Cookie", "a=b"), ("X-Empty", "")],
    };
    assert_eq!(
        verdict_text(RFC_REQUEST, &accept).as_deref(),
        Ok(
            "HTTP/1.1 101 Switching Protocols\r\nServer: ringway/0.1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSet-Cookie: a=b\r\nX-Empty: \r\n\r\n"
        )
    );
    let refuse = Verdict::Refuse {
        status: StatusCode(307),
        reason: "over there",
        headers: &[("Location", "/b")],
    };
    assert_eq!(
        verdict_text(RFC_REQUEST, &refuse).as_deref(),
        Ok(
            "HTTP/1.1 307 Temporary Redirect\r\nServer: ringway/0.1.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Connection: close\r\nLocation: /b\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Length: 11\r\n\r\nover there\n"
        )
    );
}

#[test]
fn a_405_of_the_application_says_what_is_allowed() {
    let not_allowed = |headers| Verdict::Refuse {
        status: StatusCode::METHOD_NOT_ALLOWED,
        reason: "no",
        headers,
    };
    // RFC 9110 §15.5.6: "The origin server MUST generate an Allow header field in a 405 response"
    assert_eq!(
        verdict_text(RFC_REQUEST, &not_allowed(&[])),
        Err(Misuse::Http(http::Misuse::AllowMissing))
    );
    assert!(verdict_text(RFC_REQUEST, &not_allowed(&[("allow", "POST")])).is_ok());
}

#[test]
fn a_verdict_that_breaks_the_response_is_a_misuse() {
    let accept = |subprotocol, headers| {
        verdict_text(
            RFC_REQUEST,
            &Verdict::Accept {
                deflate: None,
                subprotocol,
                headers,
            },
        )
    };
    assert_eq!(
        accept(Some("mqtt"), &[]),
        Err(Misuse::SubprotocolNotOffered)
    );
    assert_eq!(
        accept(Some("Chat"), &[]),
        Err(Misuse::SubprotocolNotOffered)
    );
    assert_eq!(accept(Some(""), &[]), Err(Misuse::SubprotocolNotOffered));
    assert_eq!(
        accept(None, &[("A b", "c")]),
        Err(Misuse::Http(http::Misuse::HeaderName))
    );
    assert_eq!(
        accept(None, &[("", "c")]),
        Err(Misuse::Http(http::Misuse::HeaderName))
    );
    assert_eq!(
        accept(None, &[("A:b\r\nC", "c")]),
        Err(Misuse::Http(http::Misuse::HeaderName))
    );
    assert_eq!(
        accept(None, &[("A", "b\r\nSet-Cookie: c")]),
        Err(Misuse::Http(http::Misuse::HeaderValue))
    );
    assert_eq!(
        accept(None, &[("A", "b\0")]),
        Err(Misuse::Http(http::Misuse::HeaderValue))
    );
    for name in [
        "upgrade",
        "CONNECTION",
        "Content-Length",
        "Transfer-Encoding",
        "sec-websocket-accept",
    ] {
        let reserved = [(name, "a")];
        let verdict = Verdict::Accept {
            deflate: None,
            subprotocol: None,
            headers: &reserved,
        };
        assert_eq!(
            verdict_text(RFC_REQUEST, &verdict),
            Err(Misuse::Http(http::Misuse::ReservedHeader)),
            "{name}"
        );
    }
    for status in [0, 101, 200, 299, 600, 1000] {
        let refuse = Verdict::Refuse {
            status: StatusCode(status),
            reason: "no",
            headers: &[],
        };
        assert_eq!(
            verdict_text(RFC_REQUEST, &refuse),
            Err(Misuse::Http(http::Misuse::Status)),
            "{status}"
        );
    }
}

// --- The client ------------------------------------------------------------------------------------------------

const NONCE: [u8; 16] = *b"the sample nonce";

const RFC_RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/// What a response says, in a form that outlives its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Accepted(Option<String>),
    Refused(u16, Option<String>),
}

fn said(kind: ResponseKind<'_>) -> Said {
    match kind {
        ResponseKind::Accepted { subprotocol, .. } => {
            Said::Accepted(subprotocol.map(str::to_owned))
        }
        ResponseKind::Refused { status, location } => Said::Refused(
            status.0,
            location.map(|location| String::from_utf8_lossy(location).into_owned()),
        ),
    }
}

fn accepted(subprotocol: &str) -> Said {
    Said::Accepted(Some(subprotocol.to_owned()))
}

/// What `bytes` say to a client that offered `chat` and `superchat`, however they are cut.
fn answered(bytes: &[u8]) -> Result<Option<(Said, usize)>, Fault> {
    let limits = Limits {
        head_bytes_max: 400,
        headers_max: 6,
    };
    let parse = |end: usize, resume| {
        let mut bytes = bytes[..end].to_vec();
        let result = parse_response_from(
            &mut bytes,
            resume,
            &NONCE,
            &offered(&["chat", "superchat"]),
            &limits,
        );
        match result {
            Err(fault) => (Err(fault), Resume::default()),
            Ok(Progress::Incomplete { resume }) => (Ok(None), resume),
            Ok(Progress::Complete { head, head_bytes }) => {
                (Ok(Some((said(head.kind()), head_bytes))), Resume::default())
            }
        }
    };
    let (whole, _) = parse(bytes.len(), Resume::default());
    let mut byte_by_byte = (Ok(None), Resume::default());
    for end in 0..=bytes.len() {
        if byte_by_byte.0 == Ok(None) {
            byte_by_byte = parse(end, byte_by_byte.1);
        }
        let (first, resume) = parse(end, Resume::default());
        let settled = if first == Ok(None) {
            parse(bytes.len(), resume).0
        } else {
            first
        };
        assert_eq!(settled, whole, "cut at {end}");
    }
    assert_eq!(byte_by_byte.0, whole, "byte by byte");
    whole
}

fn fault(from: &str, to: &str) -> Option<Fault> {
    assert!(RFC_RESPONSE.contains(from));
    answered(RFC_RESPONSE.replacen(from, to, 1).as_bytes()).err()
}

#[test]
fn a_client_request_has_all_its_parts_in_order() {
    let mut out = Vec::new();
    encode_request(&ClientRequest::new("localhost:9000", "/", NONCE), &mut out)
        .expect("a good request");
    assert_eq!(
        String::from_utf8(out).as_deref(),
        Ok(
            "GET / HTTP/1.1\r\nHost: localhost:9000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    );
    let mut out = Vec::new();
    let request = ClientRequest {
        origin: Some("http://example.com"),
        offered: offered(&["chat", "superchat"]),
        headers: &[("User-Agent", "wsperf")],
        ..ClientRequest::new("server.example.com", "/chat?a=b", NONCE)
    };
    encode_request(&request, &mut out).expect("a good request");
    assert_eq!(
        String::from_utf8(out).as_deref(),
        Ok(
            "GET /chat?a=b HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\nUser-Agent: wsperf\r\n\r\n"
        )
    );
}

#[test]
fn a_client_request_that_is_not_http_is_a_misuse() {
    let good = ClientRequest::new("a", "/", NONCE);
    let misuse = |request: ClientRequest<'_>| {
        let mut out = Vec::new();
        let result = encode_request(&request, &mut out);
        assert!(out.is_empty());
        result.err()
    };
    assert_eq!(
        misuse(ClientRequest {
            host: "a\r\nB: c",
            ..good
        }),
        Some(Misuse::Http(http::Misuse::Host))
    );
    assert_eq!(
        misuse(ClientRequest { host: "", ..good }),
        Some(Misuse::Http(http::Misuse::Host))
    );
    for target in ["", "a", "/a b", "/a\r\n", "/#a", "/ä"] {
        assert_eq!(
            misuse(ClientRequest { target, ..good }),
            Some(Misuse::Http(http::Misuse::Target)),
            "{target}"
        );
    }
    assert_eq!(
        misuse(ClientRequest {
            origin: Some("a\n"),
            ..good
        }),
        Some(Misuse::Origin)
    );
    for subprotocols in [&["a", "a"][..], &[""], &["a,b"]] {
        assert_eq!(
            misuse(ClientRequest {
                offered: offered(subprotocols),
                ..good
            }),
            Some(Misuse::Subprotocol)
        );
    }
    assert_eq!(
        misuse(ClientRequest {
            headers: &[("Host", "b")],
            ..good
        }),
        Some(Misuse::Http(http::Misuse::ReservedHeader))
    );
    assert_eq!(
        misuse(ClientRequest {
            headers: &[("A", "\r\n")],
            ..good
        }),
        Some(Misuse::Http(http::Misuse::HeaderValue))
    );
}

#[test]
fn the_response_of_the_rfc_opens_the_websocket_and_leaves_the_frames() {
    assert_eq!(
        answered(RFC_RESPONSE.as_bytes()),
        Ok(Some((accepted("chat"), RFC_RESPONSE.len())))
    );
    let mut bytes = RFC_RESPONSE.as_bytes().to_vec();
    bytes.extend_from_slice(b"\x81\x05Hello\r\n\r\n");
    assert_eq!(
        answered(&bytes),
        Ok(Some((accepted("chat"), RFC_RESPONSE.len())))
    );
    assert_eq!(answered(&RFC_RESPONSE.as_bytes()[..100]), Ok(None));
}

#[test]
fn a_response_ignores_case_and_needs_neither_subprotocol_nor_reason_phrase() {
    let text = "HTTP/1.1 101\r\nUPGRADE:WebSocket\r\nconnection: keep-alive, upgrade\r\nsec-websocket-accept: \ts3pPLMBiTxaQ9kYGzzhZRbK+xOo= \r\nX: y\r\n\r\n";
    assert_eq!(
        answered(text.as_bytes()),
        Ok(Some((Said::Accepted(None), text.len())))
    );
}

#[test]
fn a_101_without_the_headers_that_prove_it_is_a_fault() {
    // RFC 6455 §4.1, the list of what a client validates.
    assert_eq!(
        fault("Upgrade: websocket\r\n", ""),
        Some(Fault::UpgradeNotWebSocket)
    );
    assert_eq!(
        fault("Upgrade: websocket", "Upgrade: websocket, h2c"),
        Some(Fault::UpgradeNotWebSocket)
    );
    assert_eq!(
        fault(
            "Upgrade: websocket",
            "Upgrade: websocket\r\nUpgrade: websocket"
        ),
        Some(Fault::UpgradeNotWebSocket)
    );
    assert_eq!(
        fault("Connection: Upgrade\r\n", ""),
        Some(Fault::ConnectionWithoutUpgrade)
    );
    assert_eq!(
        fault("Connection: Upgrade", "Connection: close"),
        Some(Fault::ConnectionWithoutUpgrade)
    );
    assert_eq!(
        fault("Sec-WebSocket-Accept", "X"),
        Some(Fault::AcceptMissing)
    );
    assert_eq!(
        fault(
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        ),
        Some(Fault::AcceptWrong)
    );
    assert_eq!(
        fault("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", ""),
        Some(Fault::AcceptWrong)
    );
    let twice = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Accept";
    assert_eq!(
        fault("Sec-WebSocket-Accept", twice),
        Some(Fault::AcceptRepeated)
    );
}

#[test]
fn an_extension_or_a_subprotocol_that_was_not_offered_is_a_fault() {
    // RFC 6455 §4.1, the same list.
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol";
    assert_eq!(
        fault("Sec-WebSocket-Protocol", extension),
        Some(Fault::ExtensionNotOffered)
    );
    for subprotocol in ["mqtt", "Chat", "", "chat, superchat"] {
        let to = format!("Protocol: {subprotocol}");
        assert_eq!(
            fault("Protocol: chat", &to),
            Some(Fault::SubprotocolNotOffered),
            "{subprotocol}"
        );
    }
    let twice = "Protocol: chat\r\nSec-WebSocket-Protocol: chat";
    assert_eq!(
        fault("Protocol: chat", twice),
        Some(Fault::SubprotocolRepeated)
    );
}

#[test]
fn a_response_that_is_no_http_or_too_large_is_a_fault() {
    let head = |fault| Some(Fault::Head(fault));
    // A 101 is of HTTP/1.1, or of a later minor version.
    assert_eq!(fault("HTTP/1.1", "HTTP/1.0"), Some(Fault::HttpVersion));
    assert_eq!(fault("HTTP/1.1", "HTTP/2.0"), Some(Fault::HttpVersion));
    assert_eq!(fault("HTTP/1.1", "HTTP/1.2"), None);
    assert_eq!(
        fault("\r\nUpgrade", "\r\nA:\r\nB:\r\nC:\r\nUpgrade"),
        head(http::Fault::TooManyHeaders)
    );
    assert_eq!(
        fault("Switching", &"Switching".repeat(50)),
        head(http::Fault::HeadTooLarge)
    );
    for (from, to) in [
        ("\r\nUpgrade", "\nUpgrade"),
        // RFC 9112 §2.2: white space between the start line and the first field.
        ("\r\nUpgrade", "\r\n Upgrade"),
        ("Upgrade:", "Upgrade :"),
        ("HTTP", "ICAP"),
        ("Protocols", "Proto\0cols"),
        ("chat", "ch\0at"),
    ] {
        assert!(
            matches!(
                fault(from, to),
                Some(Fault::Head(http::Fault::Malformed(_)))
            ),
            "{from:?} -> {to:?}"
        );
    }
}

#[test]
fn another_status_is_reported_with_its_location_in_any_version() {
    let refused =
        |status, location: Option<&str>| Said::Refused(status, location.map(str::to_owned));
    for (text, status, location) in [
        (
            "HTTP/1.1 302 Found\r\nLocation: https://example.com/ws\r\nContent-Length: 2\r\n\r\nno",
            302,
            Some("https://example.com/ws"),
        ),
        ("HTTP/1.0 503 Service Unavailable\r\n\r\nno", 503, None),
        ("HTTP/2.0 403\r\n\r\nno", 403, None),
        // RFC 9110 §15: "A client that receives a response with an invalid status code SHOULD process the response as
        // if it had a 5xx (Server Error) status code."
        ("HTTP/1.1 999 Nice try\r\n\r\nno", 999, None),
        ("HTTP/1.1 099 x\r\n\r\nno", 99, None),
    ] {
        let said = answered(text.as_bytes());
        let expected = Ok(Some((refused(status, location), text.len() - 2)));
        assert_eq!(said, expected, "{text}");
    }
    let mut text = *b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n";
    let Ok(Progress::Complete { head, .. }) =
        parse_response(&mut text, &NONCE, &Offered::NOTHING, &Limits::default())
    else {
        panic!("not complete");
    };
    assert_eq!(head.header("www-authenticate"), Some(&b"Basic"[..]));
}

#[test]
fn interim_answers_are_passed_over() {
    // RFC 9110 §15.2, RFC 8297 (103).
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nUpgrade: no\r\n\r\n",
        "HTTP/1.1 199\r\nA:\r\n b\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 103 \r\n\r\n",
    ] {
        let bytes = [interim, RFC_RESPONSE, "\x01\x05Hello"].concat();
        let head_bytes = interim.len() + RFC_RESPONSE.len();
        assert_eq!(
            answered(bytes.as_bytes()),
            Ok(Some((accepted("chat"), head_bytes))),
            "{interim}"
        );
    }
    let no = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n";
    let refused = Said::Refused(404, None);
    assert_eq!(answered(no.as_bytes()), Ok(Some((refused, no.len()))));
    // In all 400 bytes here, and 16 of them.
    let endless = "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n".repeat(20);
    let large = Err(Fault::Head(http::Fault::HeadTooLarge));
    assert_eq!(answered(endless.as_bytes()), large);
    let short = "HTTP/1.1 100\r\n\r\n";
    let mut bytes = short.repeat(16).into_bytes();
    bytes.extend_from_slice(b"HTTP/1.1 404\r\n\r\n");
    assert_eq!(
        answered(&bytes),
        Ok(Some((Said::Refused(404, None), bytes.len())))
    );
    let many = Err(Fault::Head(http::Fault::TooManyInterim));
    assert_eq!(answered(short.repeat(17).as_bytes()), many);
}

#[test]
fn lines_that_continue_others_are_read() {
    // RFC 9112 §5.2
    for (from, to) in [
        ("Upgrade: websocket", "Upgrade:\r\n websocket"),
        ("Upgrade: websocket", "Upgrade: websocket\r\n\t\r\n "),
        (
            "Connection: Upgrade",
            "Connection: keep-alive,\r\n\tUpgrade",
        ),
        ("Accept: ", "Accept:\r\n \r\n  "),
    ] {
        let bytes = RFC_RESPONSE.replacen(from, to, 1);
        assert_eq!(
            answered(bytes.as_bytes()),
            Ok(Some((accepted("chat"), bytes.len()))),
            "{to:?}"
        );
    }
    let split = RFC_RESPONSE.replacen("Protocol: chat", "Protocol: ch\r\n at", 1);
    assert_eq!(
        answered(split.as_bytes()),
        Err(Fault::SubprotocolNotOffered),
        "a space is a space"
    );
    let text = "HTTP/1.1 302 Found\r\nLocation: /a\r\n b\r\nX: y\r\n\r\n";
    let refused = Said::Refused(302, Some("/a   b".to_owned()));
    assert_eq!(answered(text.as_bytes()), Ok(Some((refused, text.len()))));
}

// --- Both roles ------------------------------------------------------------------------------------------------

/// Our client's request through our server under `verdict`, and its response back to the client.
fn round_trip(subprotocols: &[&str], verdict: &Verdict<'_>, then: impl FnOnce(ResponseKind<'_>)) {
    let limits = Limits::default();
    let mut up = Vec::new();
    let request = ClientRequest {
        offered: offered(subprotocols),
        ..ClientRequest::new("[::1]:9000", "/echo?x=y", [7; 16])
    };
    encode_request(&request, &mut up).expect("a good request");
    let request_bytes = up.len();
    up.extend_from_slice(b"\x81\x80\0\0\0\0");
    let Ok(Progress::Complete {
        head: Asked::WebSocket(head),
        head_bytes,
    }) = parse_request(&up, &limits)
    else {
        panic!("the server does not understand our client");
    };
    assert_eq!(head_bytes, request_bytes);
    assert_eq!(
        (head.host(), head.target(), head.origin()),
        ("[::1]:9000", "/echo?x=y", None)
    );
    let mut down = Vec::new();
    encode_verdict(&head, verdict, &date(), &mut down).expect("a good verdict");
    match parse_response(&mut down, &request.key, &offered(subprotocols), &limits) {
        Ok(Progress::Complete { head, .. }) => then(head.kind()),
        other => panic!("the client does not understand our server: {other:?}"),
    }
}

#[test]
fn our_client_and_our_server_agree() {
    let accept = |subprotocol| Verdict::Accept {
        deflate: None,
        subprotocol,
        headers: &[("X-A", "b")],
    };
    round_trip(&[], &accept(None), |kind| {
        assert_eq!(
            kind,
            ResponseKind::Accepted {
                subprotocol: None,
                deflate: None
            }
        )
    });
    round_trip(&["a", "b"], &accept(Some("b")), |kind| {
        assert_eq!(
            kind,
            ResponseKind::Accepted {
                subprotocol: Some("b"),
                deflate: None,
            }
        );
    });
    let refuse = Verdict::Refuse {
        status: StatusCode::FORBIDDEN,
        reason: "this origin may not",
        headers: &[],
    };
    round_trip(&[], &refuse, |kind| {
        assert_eq!(
            kind,
            ResponseKind::Refused {
                status: StatusCode::FORBIDDEN,
                location: None
            }
        );
    });
}

#[test]
fn every_refusal_is_a_response_our_client_understands() {
    for status in [400, 405, 408, 414, 426, 431, 501, 503, 505] {
        let mut text = refusal_text(&Refusal::new(StatusCode(status), "no")).into_bytes();
        let kind = ResponseKind::Refused {
            status: StatusCode(status),
            location: None,
        };
        let body = "no\n".len();
        let limits = Limits::default();
        let Ok(Progress::Complete { head, head_bytes }) =
            parse_response(&mut text, &NONCE, &Offered::NOTHING, &limits)
        else {
            panic!("{}", text.escape_ascii());
        };
        assert_eq!(head.kind(), kind);
        assert_eq!(head_bytes, text.len() - body);
    }
}

/// Neither parser may panic or change its mind, whatever one byte of a good head is replaced by.
#[test]
fn one_wrong_byte_anywhere_has_one_outcome() {
    for at in 0..CURL.len() {
        for wrong in [
            0, b'\t', b'\n', b'\r', b' ', b',', b':', b'A', b'"', 0x7f, 0x80, 0xff,
        ] {
            let mut bytes = CURL.as_bytes().to_vec();
            bytes[at] = wrong;
            let whole = outcome(parse_request(&bytes, &Limits::default())).0;
            let mut state = (Outcome::Incomplete, Resume::default());
            for end in 0..=bytes.len() {
                if state.0 == Outcome::Incomplete {
                    state = outcome(parse_request_from(
                        &bytes[..end],
                        state.1,
                        &Limits::default(),
                    ));
                }
            }
            assert_eq!(state.0, whole, "byte {at} is {wrong:#x}");
        }
    }
}
