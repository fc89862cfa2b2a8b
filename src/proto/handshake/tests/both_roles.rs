//! Our client and our server with each other.

use super::client::NONCE;
use super::*;
use crate::{compression, deflate};

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
        compression: None,
        subprotocol,
        headers: &[("X-A", "b")],
    };
    round_trip(&[], &accept(None), |kind| {
        assert_eq!(
            kind,
            ResponseKind::Accepted {
                subprotocol: None,
                compression: None
            }
        )
    });
    round_trip(&["a", "b"], &accept(Some("b")), |kind| {
        assert_eq!(
            kind,
            ResponseKind::Accepted {
                subprotocol: Some("b"),
                compression: None,
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

#[test]
fn both_sides_agree_to_compress_by_the_headers_alone() {
    let terms = compression::Terms {
        deflate: Some(deflate::Terms::ANY),
        ..compression::Terms::NONE
    };
    let offered = Offered {
        compression: terms,
        ..Offered::NOTHING
    };
    let request = ClientRequest {
        offered,
        ..ClientRequest::new("a", "/", NONCE)
    };
    let mut up = Vec::new();
    encode_request(&request, &mut up).expect("a good request");
    let Ok(Progress::Complete {
        head: Asked::WebSocket(head),
        ..
    }) = parse_request(&up, &Limits::default())
    else {
        panic!("the server does not understand our client");
    };
    let (agreed, answer) = compression::accept(&terms, head.extensions()).expect("a good offer");
    let verdict = Verdict::Accept {
        subprotocol: None,
        compression: Some(&answer),
        headers: &[],
    };
    let mut down = Vec::new();
    encode_verdict(&head, &verdict, &date(), &mut down).expect("a good verdict");
    let heard = |response: &str, offered: &Offered<'_>| {
        let mut bytes = response.as_bytes().to_vec();
        match parse_response(&mut bytes, &NONCE, offered, &Limits::default()) {
            Ok(Progress::Complete { head, .. }) => match head.kind() {
                ResponseKind::Accepted { compression, .. } => Ok(compression),
                refused => panic!("{refused:?}"),
            },
            Ok(incomplete) => panic!("{incomplete:?}"),
            Err(fault) => Err(fault),
        }
    };
    let response = String::from_utf8(down).expect("ASCII");
    assert_eq!(heard(&response, &offered), Ok(Some(agreed)));
    assert_eq!(
        heard(&response, &Offered::NOTHING),
        Err(Fault::ExtensionNotOffered)
    );
    for (extensions, fault) in [
        ("permessage-deflate; unknown", Fault::ExtensionParameters),
        ("permessage-deflate;", Fault::ExtensionParameters),
        (
            "permessage-deflate, permessage-deflate",
            Fault::ExtensionNotOffered,
        ),
        ("permessage-bzip2", Fault::ExtensionNotOffered),
    ] {
        let changed = response.replace(": permessage-deflate", &format!(": {extensions}"));
        assert_ne!(changed, response);
        assert_eq!(heard(&changed, &offered), Err(fault), "{extensions}");
    }
}
