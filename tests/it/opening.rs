//! What an operator can ask of opening handshakes, and put on every answer.

use std::io::Write as _;

use crate::common::client::{Client, REQUEST, TEXT, dial, exchange, read_head};
use crate::common::{Server, on_both_tiers, run, until};

on_both_tiers!(
    pages_of_other_origins_get_403_and_a_log_line,
    the_null_origin_and_a_missing_one_have_options,
    version_8_opens_when_it_is_served,
    the_address_of_the_client_is_the_one_that_trusted_proxies_tell,
    every_answer_has_the_headers_and_the_name_of_the_operator,
    a_health_check_says_whether_the_worker_is_to_end,
    a_proxy_header_names_the_client_however_it_is_cut,
    what_is_no_proxy_header_is_reset_and_from_others_it_is_a_bad_request,
);

fn started(more: &[&str]) -> Server {
    Server::start(&[&["--workers=1", "--port=auto"], more].concat())
}

/// The opening handshake with lines added.
fn with(lines: &str) -> String {
    REQUEST.replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"))
}

/// The status of the answer to an opening handshake.
fn status(server: &Server, request: &str) -> String {
    let head = answer(server, request);
    head.split(' ').nth(1).expect("a status").to_owned()
}

fn answer(server: &Server, request: &str) -> String {
    let mut stream = dial(&server.address()).expect("the server listens");
    stream.write_all(request.as_bytes()).expect("connected");
    read_head(&mut stream).expect("an answer").0
}

fn pages_of_other_origins_get_403_and_a_log_line(io: &str) {
    let server = started(&[
        "--allow-origin=https://*.example.com",
        "--allow-origin=http://localhost:*",
        io,
    ]);
    for (origin, expected) in [
        ("https://a.example.com", "101"),
        ("http://localhost:3000", "101"),
        ("https://example.com", "403"),
        ("https://a.example.com.evil.org", "403"),
        ("https://aXexample.com", "403"),
        ("null", "403"),
        ("file://", "403"),
    ] {
        let origin_line = with(&format!("Origin: {origin}"));
        assert_eq!(status(&server, &origin_line), expected, "{origin}");
    }
    assert_eq!(status(&server, REQUEST), "101");
    until("the refusal is logged", || {
        server
            .stderr()
            .contains("\"https://example.com\" of 127.0.0.1:")
    });
    // One warning for all five: anybody can cause them.
    assert_eq!(server.stderr().matches("refused: 403").count(), 1);
    assert_eq!(server.counter_reaching("handshakes_failed", 5), [5]);
}

fn the_null_origin_and_a_missing_one_have_options(io: &str) {
    let server = started(&[
        "--allow-origin=https://example.com",
        "--allow-null-origin",
        "--require-origin",
        io,
    ]);
    assert_eq!(status(&server, &with("Origin: null")), "101");
    assert_eq!(status(&server, &with("Origin: file://")), "101");
    assert_eq!(status(&server, &with("Origin: https://example.com")), "101");
    assert_eq!(status(&server, &with("Origin: https://example.org")), "403");
    assert_eq!(status(&server, REQUEST), "403");
    // A page is no opening handshake.
    let page = exchange(&server.address(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
}

fn version_8_opens_when_it_is_served(io: &str) {
    let draft = REQUEST.replace("Version: 13", "Version: 8");
    let newer = REQUEST.replace("Version: 13", "Version: 14");
    for (versions, of_13, of_8, listed) in [
        ("13", "101", "426", "13"),
        ("13,8", "101", "101", "13, 8"),
        ("8", "426", "101", "8"),
    ] {
        let server = started(&[&format!("--versions={versions}"), io]);
        assert_eq!(status(&server, REQUEST), of_13, "{versions}");
        assert_eq!(status(&server, &draft), of_8, "{versions}");
        let head = answer(&server, &newer);
        assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
        let line = format!("\r\nSec-WebSocket-Version: {listed}\r\n");
        assert!(head.contains(&line), "{head}");
    }
    let server = started(&["--versions=8,13", "--allow-origin=https://example.com", io]);
    let of = |origin: &str| {
        let lines = format!("\r\nSec-WebSocket-Origin: {origin}\r\n\r\n");
        draft.replace("\r\n\r\n", &lines)
    };
    assert_eq!(status(&server, &of("https://example.org")), "403");
    let mut stream = dial(&server.address()).expect("the server listens");
    let opening = of("https://example.com");
    stream.write_all(opening.as_bytes()).expect("connected");
    let mut client = Client::opened(stream).expect("it opens");
    client.echo(TEXT, b"the frames are the same");
    client.close();
}

fn the_address_of_the_client_is_the_one_that_trusted_proxies_tell(io: &str) {
    let lines = "Origin: https://b.org\r\nX-Forwarded-For: 192.0.2.1, 203.0.113.7\r\n\
                 X-Forwarded-For: 198.51.100.9";
    for (options, logged) in [
        (&[][..], "of 127.0.0.1:"),
        (&["--trust-forwarded-for=1"], "of 198.51.100.9:0 "),
        (&["--trust-forwarded-for=2"], "of 203.0.113.7:0 "),
        (
            &["--trust-forwarded-for=2", "--trust-proxies=127.0.0.0/8"],
            "of 203.0.113.7:0 ",
        ),
        (
            &["--trust-forwarded-for=2", "--trust-proxies=10.0.0.0/8"],
            "of 127.0.0.1:",
        ),
    ] {
        let server = started(&[&["--allow-origin=https://a.org", io], options].concat());
        assert_eq!(status(&server, &with(lines)), "403");
        until(logged, || server.stderr().contains(logged));
    }
}

fn every_answer_has_the_headers_and_the_name_of_the_operator(io: &str) {
    let server = started(&[
        "--header=X-Frame-Options: DENY",
        "--header=X-List: a, b",
        "--server-name=gate",
        io,
    ]);
    let page = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let old = REQUEST.replace("Version: 13", "Version: 7");
    let lines = "\r\nServer: gate\r\nX-Frame-Options: DENY\r\nX-List: a, b\r\n";
    for (request, begin) in [
        (REQUEST, "HTTP/1.1 101 "),
        (page, "HTTP/1.1 200 "),
        (&old, "HTTP/1.1 426 "),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let head = answer(&server, request);
        assert!(head.starts_with(begin) && head.contains(lines), "{head}");
        assert_eq!(head.matches("Server:").count(), 1, "{head}");
    }
    let mut client = Client::connect(&server.address());
    client.echo(TEXT, b"behind such an answer");
    client.close();
    let server = started(&["--server-name=", io]);
    assert!(!answer(&server, REQUEST).contains("Server:"));
    for (option, why) in [
        ("--header=Date: now", "is written by the protocol itself"),
        (
            "--header=Sec-WebSocket-Accept: x",
            "is written by the protocol itself",
        ),
        ("--header=no colon", "has no colon"),
        (
            "--trust-proxies=10.0.0.0/8",
            "without --trust-forwarded-for",
        ),
        ("--allow-null-origin", "without --allow-origin"),
        ("--health-path=health", "/health"),
    ] {
        let output = run("ringway", &["server", option, "--print-config"]);
        let said = &output.stderr;
        assert_eq!(output.code, 2, "{option}: {said}");
        assert!(said.contains(why), "{option}: {said}");
    }
}

fn a_health_check_says_whether_the_worker_is_to_end(io: &str) {
    let server = started(&["--health-path=/health", "--service=/echo=echo", io]);
    let check = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    let ok = exchange(&server.address(), check.as_bytes());
    assert!(ok.starts_with("HTTP/1.1 200 "), "{ok}");
    assert!(ok.ends_with("\r\n\r\nok\n"), "{ok}");
    let head = exchange(&server.address(), b"HEAD /health HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"));
    let other = exchange(
        &server.address(),
        b"GET /healthy HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert!(other.contains("Ringway"), "{other}");
    // A check whose connection was accepted before the worker was told to end is answered when it is told.
    let mut stream = dial(&server.address()).expect("the server listens");
    stream.write_all(b"GET /health HTTP/1.1\r\n").expect("sent");
    server.counter_reaching("accepted", 4);
    server.signal("TERM");
    let (head, _) = read_head(&mut stream).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
}

/// A PROXY header of version 2 for 192.0.2.77:8080, with an extension.
fn binary_header() -> Vec<u8> {
    let addresses = [192, 0, 2, 77, 192, 0, 2, 1, 0x1f, 0x90, 0, 80];
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10";
    [&fixed[..], &addresses, &[4, 0, 1, 9]].concat()
}

fn a_proxy_header_names_the_client_however_it_is_cut(io: &str) {
    let server = started(&[
        "--proxy-protocol=127.0.0.0/8",
        "--allow-origin=https://a.org",
        io,
    ]);
    let line = b"PROXY TCP4 192.0.2.9 127.0.0.1 50000 9000\r\n".to_vec();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec();
    for header in [line, b"PROXY UNKNOWN\r\n".to_vec(), binary_header(), local] {
        let whole = [&header[..], REQUEST.as_bytes()].concat();
        for cut in [
            0,
            1,
            5,
            13,
            header.len() - 1,
            header.len(),
            header.len() + 9,
        ] {
            let mut stream = dial(&server.address()).expect("the server listens");
            stream.set_nodelay(true).expect("a socket");
            stream.write_all(&whole[..cut]).expect("connected");
            if cut > 0 {
                // Each part shall be a receive of its own. The outcome is the same if it is not.
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            stream.write_all(&whole[cut..]).expect("connected");
            let mut client = Client::opened(stream).expect("it opens");
            client.echo(TEXT, b"behind the header");
            client.close();
        }
    }
    let bad_origin = with("Origin: https://b.org");
    let head = answer_behind(&server, &binary_header(), &bad_origin);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    until("the client of the header is logged", || {
        server.stderr().contains("of 192.0.2.77:8080 refused")
    });
    assert_eq!(server.counter("proxy_headers_bad"), [0]);
}

fn answer_behind(server: &Server, header: &[u8], request: &str) -> String {
    let mut stream = dial(&server.address()).expect("the server listens");
    let whole = [header, request.as_bytes()].concat();
    stream.write_all(&whole).expect("connected");
    read_head(&mut stream).expect("an answer").0
}

fn what_is_no_proxy_header_is_reset_and_from_others_it_is_a_bad_request(io: &str) {
    let server = started(&["--proxy-protocol=127.0.0.1", io]);
    for bytes in [
        REQUEST.as_bytes(),
        b"PROXY TCP4 nonsense\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        let mut stream = dial(&server.address()).expect("the server listens");
        stream.write_all(bytes).expect("connected");
        let mut rest = Vec::new();
        // No byte of an answer: the end, or the reset.
        let ended = std::io::Read::read_to_end(&mut stream, &mut rest);
        assert!(rest.is_empty(), "{:?} {ended:?}", rest.escape_ascii());
    }
    assert_eq!(server.counter_reaching("proxy_headers_bad", 3), [3]);
    assert_eq!(server.counter_reaching("handshakes_failed", 3), [3]);
    until("it is logged", || {
        server.stderr().contains("no PROXY header comes first")
    });
    let server = started(&["--proxy-protocol=10.0.0.0/8", io]);
    assert_eq!(status(&server, REQUEST), "101");
    let head = answer_behind(&server, b"PROXY UNKNOWN\r\n", REQUEST);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}
