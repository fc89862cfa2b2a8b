//! Requests that break a rule, and what each is told.

use super::*;

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
