//! The client's side: its request, and what it finds in responses.

use super::*;

pub(super) const NONCE: [u8; 16] = *b"the sample nonce";

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
