//! Requests as HTTP has them, whatever they ask for, and the answers to them.

use super::*;

#[track_caller]
fn request(text: &str) -> Request<'_> {
    match parse_request(text.as_bytes(), &Limits::default()) {
        Ok(Progress::Complete { head, head_bytes }) => {
            assert_eq!(head_bytes, text.len());
            head
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

/// The status that refuses a request, however it is cut.
#[track_caller]
fn refused(text: &str) -> u16 {
    let limits = Limits::default();
    let whole = parse_request(text.as_bytes(), &limits).expect_err(text);
    let mut resume = Resume::default();
    for end in 0..=text.len() {
        match parse_request_from(&text.as_bytes()[..end], resume, &limits) {
            Ok(Progress::Incomplete { resume: next }) => resume = next,
            Ok(progress) => panic!("{text:?} at {end}: {progress:?}"),
            Err(refusal) => {
                assert_eq!(refusal, whole, "{text:?} at {end}");
                return whole.status().0;
            }
        }
    }
    panic!("{text:?} is good in pieces");
}

#[test]
fn any_method_and_any_minor_version_of_1_is_a_request() {
    let get = request("GET /a?b HTTP/1.0\r\n\r\n");
    assert_eq!(
        (get.method(), get.path(), get.query()),
        ("GET", "/a", Some("b"))
    );
    assert_eq!(get.version(), Version { major: 1, minor: 0 });
    assert_eq!(
        (get.host(), get.body(), get.keeps_alive()),
        ("", Body::None, false)
    );
    let post = request("POST / HTTP/1.9\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    assert_eq!((post.method(), post.body()), ("POST", Body::Length(3)));
    assert!(post.keeps_alive());
    assert_eq!(refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
    assert_eq!(refused("GET / HTTP/0.9\r\n\r\n"), 505);
}

#[test]
fn the_preface_of_http_2_is_named() {
    // RFC 9113 §3.4
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let refusal = parse_request(preface, &Limits::default()).expect_err("no HTTP/1");
    assert_eq!(refusal, Refusal::HTTP_2);
}

#[test]
fn a_connection_lasts_as_its_version_and_its_options_say() {
    let keeps = |version: &str, lines: &str| {
        request(&format!("GET / {version}\r\nHost: a\r\n{lines}\r\n")).keeps_alive()
    };
    assert!(keeps("HTTP/1.1", ""));
    assert!(!keeps("HTTP/1.1", "Connection: Close\r\n"));
    assert!(!keeps(
        "HTTP/1.1",
        "Connection: keep-alive\r\nConnection: x, close\r\n"
    ));
    assert!(!keeps("HTTP/1.0", ""));
    assert!(keeps("HTTP/1.0", "Connection: Keep-Alive\r\n"));
}

#[test]
fn a_target_has_one_of_four_forms() {
    let with = |line: &str| format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
    for (line, host, path) in [
        ("GET /a", "h", "/a"),
        ("GET //a://b", "h", "//a://b"),
        ("GET http://example.com:80/a?b", "example.com:80", "/a"),
        ("GET HTTPS://[::1]", "[::1]", "/"),
        ("OPTIONS *", "h", "*"),
        ("OPTIONS /", "h", "/"),
        ("CONNECT a.example:443", "a.example:443", "a.example:443"),
    ] {
        let text = with(line);
        let request = request(&text);
        assert_eq!((request.host(), request.path()), (host, path), "{line}");
    }
    for line in [
        "GET *",
        "POST *",
        "GET a:80",
        "CONNECT /",
        "CONNECT http://a/",
        "GET a",
        "GET /a#b",
        "GET http://a/#b",
        "GET ftp://a/",
        "GET http:///a",
        "GET http://u:p@h/",
    ] {
        assert_eq!(refused(&with(line)), 400, "{line}");
    }
}

#[test]
fn a_host_is_needed_from_1_1_on_and_never_comes_twice() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.2\r\n\r\n"), 400);
    assert_eq!(request("GET / HTTP/1.1\r\nHost:\r\n\r\n").host(), "");
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        for lines in ["Host: a\r\nHost: a", "Host: a b", "Host: u@h", "Host: a, b"] {
            let text = format!("GET / {version}\r\n{lines}\r\n\r\n");
            assert_eq!(refused(&text), 400, "{text}");
        }
    }
}

#[test]
fn a_body_with_two_ends_is_refused() {
    let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
    let chunked = with("Transfer-Encoding: chunked");
    assert_eq!(request(&chunked).body(), Body::Chunked);
    for lines in [
        "Content-Length: 1\r\nContent-Length: 1",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Content-Length: 1,1",
    ] {
        assert_eq!(refused(&with(lines)), 400, "{lines}");
    }
    assert_eq!(refused(&with("Transfer-Encoding: gzip, chunked")), 501);
}

#[test]
fn values_may_have_any_byte_but_controls() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nX: J\xfcrg\tB \x80\xff\r\nY: \xc3\xa4\r\n\r\n";
    let Ok(Progress::Complete { head, .. }) = parse_request(text, &Limits::default()) else {
        panic!("not complete");
    };
    assert_eq!(head.header("x"), Some(&b"J\xfcrg\tB \x80\xff"[..]));
    assert_eq!(head.header("y"), Some(&b"\xc3\xa4"[..]));
    for control in (0..0x20).chain([0x7f]).filter(|c| *c != b'\t') {
        let text = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: a{}b\r\n\r\n",
            char::from(control)
        );
        assert_eq!(refused(&text), 400, "{control:#x}");
    }
}

#[test]
fn a_target_of_8000_bytes_is_read() {
    // RFC 9110 §4.1: "It is RECOMMENDED that all senders and recipients support, at a minimum, URIs with lengths of 8000
    // bytes in protocol elements."
    let text = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(7999));
    assert_eq!(request(&text).target().len(), 8000);
    assert_eq!(refused(&format!("GET /{}", "x".repeat(32_768))), 414);
}

#[test]
fn too_many_headers_fail_where_they_are_too_many() {
    let limits = Limits {
        headers_max: 3,
        ..Limits::default()
    };
    let three = b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\n";
    let Ok(Progress::Incomplete { resume }) = parse_request(three, &limits) else {
        panic!("three are as many as may be");
    };
    let four = [&three[..], b"C"].concat();
    let refusal = parse_request_from(&four, resume, &limits).expect_err("one too many");
    assert_eq!(
        refusal.status(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    assert_eq!(parse_request(&four, &limits).expect_err("whole"), refusal);
}

/// Our reader is the only one at run time; a widely used one judges it here, and in the fuzz target.
#[test]
fn httparse_reads_the_same() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nPOST /a?b=c HTTP/1.0\r\nA:\r\nB: \t b c\t \r\nHost:a:1\r\nurl:http://x:1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: h\r\nX-Y_z!#$%&'*+-.^`|~0: \u{e4}\u{20ac}\r\n\r\n",
    ] {
        let ours = request(text);
        let mut array = [httparse::EMPTY_HEADER; 32];
        let mut theirs = httparse::Request::new(&mut array);
        theirs.parse(text.as_bytes()).expect("a valid request");
        assert_eq!(theirs.method, Some(ours.method()));
        assert_eq!(theirs.path, Some(ours.target()));
        assert_eq!(theirs.version, Some(ours.version().minor));
        let fields: Vec<_> = theirs.headers.iter().map(|h| (h.name, h.value)).collect();
        assert_eq!(ours.headers().collect::<Vec<_>>(), fields);
    }
}

// --- Answers ---------------------------------------------------------------------------------------------------

fn answered(line: &str, answer: &Answer<'_>) -> Result<String, Misuse> {
    let mut out = Vec::new();
    let date = Date::from_unix_s(784_111_777);
    let request = format!("{line}\r\n\r\n");
    let result = encode_answer(&self::request(&request), answer, &date, &mut out);
    assert_eq!(result.is_err(), out.is_empty(), "a misuse writes nothing");
    result.map(|()| String::from_utf8(out).expect("text"))
}

#[test]
fn an_answer_has_a_date_and_a_length_and_head_gets_no_content() {
    let page = Answer {
        status: StatusCode::OK,
        content_type: "text/html",
        headers: &[("Cache-Control", "no-store")],
        body: b"<p>",
    };
    let head = "HTTP/1.1 200 OK\r\nServer: ringway/0.1.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                Connection: close\r\nCache-Control: no-store\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(answered("GET / HTTP/1.0", &page), Ok(format!("{head}<p>")));
    assert_eq!(answered("HEAD / HTTP/1.0", &page), Ok(head.to_owned()));
    let empty = Answer {
        status: StatusCode(204),
        content_type: "",
        headers: &[],
        body: b"never sent",
    };
    assert_eq!(
        answered("GET / HTTP/1.0", &empty).as_deref(),
        Ok(
            "HTTP/1.1 204 No Content\r\nServer: ringway/0.1.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Connection: close\r\n\r\n"
        )
    );
}

#[test]
fn an_answer_that_breaks_the_message_is_a_misuse() {
    let good = Answer {
        status: StatusCode::OK,
        content_type: "",
        headers: &[],
        body: b"",
    };
    let misuse = |answer: Answer<'_>| answered("GET / HTTP/1.0", &answer).err();
    assert_eq!(misuse(good), None);
    for status in [0, 100, 101, 199, 600] {
        let status = StatusCode(status);
        assert_eq!(misuse(Answer { status, ..good }), Some(Misuse::Status));
    }
    let with = |headers| misuse(Answer { headers, ..good });
    assert_eq!(with(&[("A", "b\r\nC: d")]), Some(Misuse::HeaderValue));
    assert_eq!(with(&[("A b", "c")]), Some(Misuse::HeaderName));
    assert_eq!(with(&[("date", "c")]), Some(Misuse::ReservedHeader));
    assert_eq!(
        with(&[("content-length", "3")]),
        Some(Misuse::ReservedHeader)
    );
    let content_type = "text/html\r\nA: b";
    let answer = Answer {
        content_type,
        ..good
    };
    assert_eq!(misuse(answer), Some(Misuse::HeaderValue));
    let status = StatusCode::METHOD_NOT_ALLOWED;
    assert_eq!(
        misuse(Answer { status, ..good }),
        Some(Misuse::AllowMissing)
    );
}
