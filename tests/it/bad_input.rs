//! What is not the opening handshake of a WebSocket, and how it is answered.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::common::client::{Client, REQUEST, TEXT, dial, exchange, read_head, reset};
use crate::common::process::rss;
use crate::common::{Server, on_both_tiers};

on_both_tiers!(
    every_bad_request_gets_its_status_and_the_end_of_the_stream,
    refusals_say_what_would_be_right,
    a_head_of_32_kib_and_128_headers_opens_and_one_more_is_431,
    a_head_that_comes_too_slowly_gets_408,
    a_client_that_says_nothing_gets_408,
    a_head_in_single_bytes_opens,
    peers_that_vanish_before_the_websocket_is_open_leave_nothing_behind,
    ten_thousand_bad_requests_leave_no_memory_and_no_sockets_behind,
    above_max_connections_the_answer_is_503_and_room_is_made_again,
);

/// A request with one line replaced, or added when `line` is empty.
fn with(line: &str, replacement: &str) -> String {
    if line.is_empty() {
        return REQUEST.replace("\r\n\r\n", &format!("\r\n{replacement}\r\n\r\n"));
    }
    let changed = REQUEST.replace(line, replacement);
    assert_ne!(changed, REQUEST);
    changed
}

/// Requests of which one line is wrong, and the status of the answer.
fn changed_requests() -> Vec<(String, &'static str)> {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let key_line = format!("Sec-WebSocket-Key: {key}");
    vec![
        (with("GET ", "POST "), "405 "),
        (with("HTTP/1.1", "HTTP/1.0"), "505 "),
        (with("HTTP/1.1", "HTTP/2.0"), "505 "),
        (with("Version: 13", "Version: 8"), "426 "),
        (with("Version: 13", "Version: 14"), "426 "),
        (with("Sec-WebSocket-Version: 13\r\n", ""), "426 "),
        (with(&format!("{key_line}\r\n"), ""), "400 "),
        (with(key, "dGhlIHNhbXBsZQ=="), "400 "),
        (with(key, "!!!!!!!!!!!!!!!!!!!!!!=="), "400 "),
        (with("", &key_line), "400 "),
        (with("Connection: Upgrade", "Connection: close"), "400 "),
        (with("Host: localhost\r\n", ""), "400 "),
        (with("", "Host: another"), "400 "),
    ]
}

/// Requests that never meant to open a WebSocket, and the status of the answer.
fn foreign_requests() -> Vec<(String, &'static str)> {
    let long = |count| "A".repeat(count);
    let page = "HTTP/1.1\r\nHost: a\r\n";
    vec![
        (format!("GET / {page}\r\n"), "200 OK"),
        (format!("GET /any/where?x=1 {page}\r\n"), "200 OK"),
        (format!("POST / {page}Content-Length: 3\r\n\r\nabc"), "405 "),
        (format!("DELETE / {page}\r\n"), "405 "),
        // The preface of HTTP/2 (RFC 9113 §3.4).
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0".to_owned(),
            "505 ",
        ),
        ("\r\n\r\nhello\r\n\r\n".to_owned(), "400 "),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "400 "),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), "400 "),
        (format!("GET / {page}Na me: b\r\n\r\n"), "400 "),
        (format!("GET / {page} folded\r\n\r\n"), "400 "),
        (format!("GET / {page}X: \x01\r\n\r\n"), "400 "),
        (format!("GET /{} {page}\r\n", long(33_000)), "414 "),
        (format!("{} / {page}\r\n", long(300)), "501 "),
    ]
}

fn every_bad_request_gets_its_status_and_the_end_of_the_stream(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", io]);
    let address = server.address();
    let mut wrong = Vec::new();
    for (request, status) in [changed_requests(), foreign_requests()].concat() {
        let response = exchange(&address, request.as_bytes());
        if !response.starts_with(&format!("HTTP/1.1 {status}")) {
            wrong.push(format!("{request:.300} -> {response:.300}"));
        }
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        let length = format!("\r\ncontent-length: {}\r\n", body.len());
        assert!(
            format!("{head}\r\n").to_lowercase().contains(&length),
            "{response}"
        );
        assert!(!body.is_empty(), "a reason for humans: {response}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Client::connect(&address).echo(TEXT, b"none of it matters to others");
}

fn refusals_say_what_would_be_right(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", io]);
    let address = server.address();
    let page = exchange(&address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(page.contains("Ringway"), "{page}");
    let upgrade = exchange(&address, with("Version: 13", "Version: 8").as_bytes());
    assert!(
        upgrade
            .to_lowercase()
            .contains("\r\nsec-websocket-version: 13\r\n"),
        "{upgrade}"
    );
    let allow = exchange(&address, with("GET ", "PUT ").as_bytes());
    assert!(
        allow.to_lowercase().contains("\r\nallow: get, head\r\n"),
        "{allow}"
    );

    // The beginning of a TLS ClientHello, and plain noise.
    let hello = [
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
    ];
    let answer = exchange(&address, &hello);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("TLS"), "{answer}");
    let answer = exchange(&address, &[0xff; 64]);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

fn a_head_of_32_kib_and_128_headers_opens_and_one_more_is_431(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", io]);
    let address = server.address();
    let opens = |request: &str| {
        let mut stream = dial(&address).expect("the server listens");
        stream.write_all(request.as_bytes()).expect("connected");
        Client::opened(stream)
            .expect("accepted")
            .echo(TEXT, b"open");
    };
    // "X: " and CR LF are 5 bytes.
    let filler = "a".repeat(32_768 - REQUEST.len() - 5);
    let largest = with("", &format!("X: {filler}"));
    assert_eq!(largest.len(), 32_768);
    opens(&largest);
    let answer = exchange(&address, with("", &format!("X: {filler}a")).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");

    // REQUEST has five headers.
    let headers = |count: usize| with("", &vec!["X: y"; count - 5].join("\r\n"));
    opens(&headers(128));
    let answer = exchange(&address, headers(129).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");

    // What never ends is not waited for.
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "b".repeat(100_000));
    let answer = exchange(&address, endless.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(),
        "{answer}"
    );
}

fn a_head_that_comes_too_slowly_gets_408(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", "--handshake-timeout=1s", io]);
    let mut stream = dial(&server.address()).expect("the server listens");
    let began = Instant::now();
    // Each byte is in time; the head as a whole is not.
    for byte in REQUEST.as_bytes().iter().take(60) {
        if stream.write_all(&[*byte]).is_err() || began.elapsed() > Duration::from_secs(3) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Bytes that came after the answer may cost it its place in the buffer; the end of the stream comes either way.
    match read_head(&mut stream) {
        Ok((head, _)) => assert!(head.starts_with("HTTP/1.1 408 "), "{head}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert!(began.elapsed() >= Duration::from_secs(1));

    let mut stream = dial(&server.address()).expect("the server listens");
    stream
        .write_all(&REQUEST.as_bytes()[..40])
        .expect("connected");
    let (head, _) = read_head(&mut stream).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
}

fn a_client_that_says_nothing_gets_408(io: &str) {
    let server = Server::start(&[
        "--workers=1",
        "--port=auto",
        "--handshake-timeout=500ms",
        "--interval=200ms",
        io,
    ]);
    let mut streams = [(); 20].map(|()| dial(&server.address()).expect("the server listens"));
    for stream in &mut streams {
        let (head, _) = read_head(stream).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    }
    drop(streams);
    server.counter_reaching("handshakes_failed", 20);
    no_socket_is_left(&server);
}

fn a_head_in_single_bytes_opens(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", io]);
    let mut stream = dial(&server.address()).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    for byte in REQUEST.as_bytes() {
        stream.write_all(&[*byte]).expect("connected");
    }
    Client::opened(stream)
        .expect("accepted")
        .echo(TEXT, b"open");
}

fn no_socket_is_left(server: &Server) {
    crate::common::until("no socket is left", || {
        server.counter("sockets").iter().sum::<u64>() == 0
    });
}

fn peers_that_vanish_before_the_websocket_is_open_leave_nothing_behind(io: &str) {
    let server = Server::start(&["--workers=1", "--port=auto", "--interval=100ms", io]);
    let address = server.address();
    for sent in [0, 1, 40, REQUEST.len() - 1, REQUEST.len()] {
        for by_reset in [false, true] {
            let mut stream = dial(&address).expect("the server listens");
            stream
                .write_all(&REQUEST.as_bytes()[..sent])
                .expect("connected");
            if by_reset {
                reset(&stream);
            }
        }
        // A half-open one: it has said all it will ever say, and still listens.
        let mut stream = dial(&address).expect("the server listens");
        stream
            .write_all(&REQUEST.as_bytes()[..sent])
            .expect("connected");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("connected");
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .expect("the end of the stream");
        let opened = answer.starts_with(b"HTTP/1.1 101 ");
        assert_eq!(
            opened,
            sent == REQUEST.len(),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    server.counter_reaching("accepted", 15);
    no_socket_is_left(&server);
    assert_eq!(server.counter("clients"), [0]);
    Client::connect(&address).echo(TEXT, b"none of it matters to others");
}

fn ten_thousand_bad_requests_leave_no_memory_and_no_sockets_behind(io: &str) {
    let server = Server::start(&["--workers=1", "--port=auto", "--interval=200ms", io]);
    let address = server.address();
    let worker = server.seats()[0];
    let storm = |count| {
        for _ in 0..count {
            let mut stream = dial(&address).expect("the server listens");
            let _ = stream.write_all(&[b'a'; 3000]);
            reset(&stream);
        }
    };
    storm(1000);
    no_socket_is_left(&server);
    let before = rss(worker);
    storm(9000);
    no_socket_is_left(&server);
    let grown = rss(worker).saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more");
}

fn above_max_connections_the_answer_is_503_and_room_is_made_again(io: &str) {
    let server = Server::start(&["--workers=2", "--port=0", "--max-connections=4", io]);
    let address = server.address();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let mut stream = dial(&address).expect("the server listens");
        stream.write_all(REQUEST.as_bytes()).expect("connected");
        let (head, _) = read_head(&mut stream).expect("an answer");
        if head.starts_with("HTTP/1.1 503 ") {
            assert!(head.to_lowercase().contains("connection: close"), "{head}");
            stream
                .read_to_end(&mut Vec::new())
                .expect("the end of the stream");
            refused += 1;
        } else {
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            open.push(stream);
        }
    }
    // Two for each of the two workers, whichever is asked.
    assert!((2..=4).contains(&open.len()), "{}", open.len());
    assert_eq!(open.len() + refused, 20);
    drop(open);
    crate::common::until("there is room again", || {
        Client::try_connect(&address).is_ok()
    });
}
