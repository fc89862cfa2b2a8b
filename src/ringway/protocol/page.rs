//! The default answer of a server to a request that opens no WebSocket.

use crate::proto::http::{Answer, Request, StatusCode};

/// A page that says what this port is, for GET and HEAD; a refusal for other methods.
#[cold]
pub(crate) fn answer(request: &Request<'_>) -> Answer<'static> {
    let text = |status, body: &'static str| Answer {
        status,
        content_type: "text/plain; charset=utf-8",
        headers: &[],
        body: body.as_bytes(),
    };
    // RFC 9110 §9.1: "An origin server that receives a request method that is unrecognized or not implemented SHOULD
    // respond with the 501 (Not Implemented) status code. An origin server that receives a request method that is
    // recognized and implemented, but not allowed for the target resource, SHOULD respond with the 405".
    match request.method() {
        "GET" | "HEAD" => Answer {
            status: StatusCode::OK,
            content_type: "text/html; charset=utf-8",
            headers: &[],
            body: PAGE.as_bytes(),
        },
        "CONNECT" | "DELETE" | "OPTIONS" | "PATCH" | "POST" | "PUT" | "TRACE" => Answer {
            headers: &[("Allow", "GET, HEAD")],
            ..text(
                StatusCode::METHOD_NOT_ALLOWED,
                "a WebSocket opens with GET, and nothing else is served here\n",
            )
        },
        _ => text(
            StatusCode::NOT_IMPLEMENTED,
            "no such method is known here; methods are written in capitals\n",
        ),
    }
}

const PAGE: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<title>Ringway ",
    env!("CARGO_PKG_VERSION"),
    "</title>\n<h1>Ringway ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>This is a WebSocket endpoint, not a web server: connect with a WebSocket client.</p>\n</html>\n"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::{Date, Limits, Progress, encode_answer, parse_request};

    fn answered(line: &str) -> String {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Ok(Progress::Complete { head, .. }) =
            parse_request(text.as_bytes(), &Limits::default())
        else {
            panic!("not complete");
        };
        let (mut out, date) = (Vec::new(), Date::from_unix_s(784_111_777));
        encode_answer(&head, &answer(&head), &date, &mut out).expect("a good answer");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn get_gets_a_page_and_head_its_head() {
        let (fields, body) = (
            "HTTP/1.1 200 OK\r\nServer: ringway/0.1.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\
             Content-Type: text/html; charset=utf-8\r\nContent-Length: 181\r\n\r\n",
            "<!DOCTYPE html>\n<html lang=\"en\">\n<title>Ringway 0.1.0</title>\n<h1>Ringway 0.1.0</h1>\n\
             <p>This is a WebSocket endpoint, not a web server: connect with a WebSocket client.</p>\n</html>\n",
        );
        assert_eq!(answered("GET /"), format!("{fields}{body}"));
        assert_eq!(answered("HEAD /"), fields);
    }

    #[test]
    fn a_method_that_is_not_served_is_told_so() {
        let allow = "\r\nAllow: GET, HEAD\r\n";
        for line in ["POST /", "OPTIONS *", "CONNECT a:1", "PATCH /", "TRACE /"] {
            let answer = answered(line);
            assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
            assert!(answer.contains(allow), "{answer}");
        }
        for line in ["BREW /", "get /", "PROPFIND /"] {
            let answer = answered(line);
            assert!(answer.starts_with("HTTP/1.1 501 Not Implemented\r\n"));
        }
    }
}
