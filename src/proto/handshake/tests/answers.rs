//! The server's answers, and what an application may add to them.

use super::*;

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
        compression: None,
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
                compression: None,
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
            compression: None,
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
