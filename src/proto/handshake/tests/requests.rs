//! Requests that open a WebSocket, and those that ask for something else.

use super::*;

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
        compression: None,
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
    let key = chrome.key().expect("a key");
    assert_eq!(key.as_bytes(), b"1DdRyAKGcLiLwVdRSpWeiQ==");
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
