//! The client's role against servers that answer in HTTP in all the ways they do: interim answers, refusals, large heads.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use sha1::Digest as _;

use crate::common::{PATIENCE, on_both_tiers, run};

#[expect(dead_code, reason = "its `main` is not called here")]
#[path = "../../examples/echo_client.rs"]
mod echo_client;

on_both_tiers!(
    interim_answers_are_passed_over,
    a_refusal_is_shown_with_its_reason,
    large_and_folded_heads_of_a_response_open,
    what_never_ends_is_given_up,
);

/// What `wsperf` says of a server that does not open the WebSocket. By the clock, because a handshake that fails does not
/// count.
fn tells(address: &impl std::fmt::Display, more: &[&str]) -> String {
    let uri = format!("ws://{address}/");
    let arguments = [
        "echo",
        &uri,
        "--connections=1",
        "--duration=100ms",
        "--warmup=0",
        "--cpus=none",
    ];
    let output = run("wsperf", &[&arguments, more].concat());
    format!("{}{}", output.stdout, output.stderr)
}

/// A server that hears one request, or as many as come, and answers each with what `answer` makes of it. The connection
/// ends when `answer` has returned.
fn serve(answer: impl Fn(&mut TcpStream, &str) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.set_write_timeout(Some(PATIENCE));
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head);
            // The driver also asks each listener of this process whether it is a statistics page.
            if head.contains("Sec-WebSocket-Key: ") {
                answer(&mut stream, &head);
            }
        }
    });
    address
}

/// RFC 6455 §4.2.2.
fn accept(request: &str) -> String {
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .expect("a key");
    let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// A 101 with lines between its first and the ones that make it one.
fn accepted(request: &str, lines: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\n{lines}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(request)
    )
}

/// Waits for the client's Close frame, and answers it.
fn close(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    // A masked Close with a code: 88 82, key, two bytes.
    while !bytes.windows(2).any(|two| two == [0x88, 0x82]) {
        match stream.read(&mut piece) {
            Ok(len) if len > 0 => bytes.extend_from_slice(&piece[..len]),
            _ => return,
        }
    }
    let _ = stream.write_all(&[0x88, 0x02, 0x03, 0xe8]);
}

/// One opening handshake, and what was printed.
fn handshake(address: SocketAddr, io: &str, more: &[&str]) -> (i32, String) {
    let uri = format!("ws://{address}/");
    let arguments = [
        "handshake",
        &uri,
        "--count=1",
        "--low=1",
        "--high=1",
        "--cpus=none",
        io,
    ];
    let output = run("wsperf", &[&arguments[..], more].concat());
    (output.code, format!("{}{}", output.stdout, output.stderr))
}

/// Asserts that a handshake opens and closes.
#[track_caller]
fn expect_open(address: SocketAddr, io: &str, more: &[&str]) {
    let more = [&["--format=json"], more].concat();
    let (code, text) = handshake(address, io, &more);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("opening handshake:"), "{text}");
}

fn interim_answers_are_passed_over(io: &str) {
    let address = serve(|stream, request| {
        // RFC 9110 §15.2: in pieces, as they come.
        for interim in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n",
        ] {
            let _ = stream.write_all(interim.as_bytes());
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = stream.write_all(accepted(request, "").as_bytes());
        close(stream);
    });
    expect_open(address, io, &[]);
}

fn a_refusal_is_shown_with_its_reason(io: &str) {
    for (answer, shown) in [
        (
            "HTTP/1.0 503 Service Unavailable\r\n\r\nno backend is up\n",
            "the server answered 503 Service Unavailable: no backend is up",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: wss://example.com/ws\r\nContent-Length: 0\r\n\r\n",
            "the server answered 302 Found, Location: wss://example.com/ws",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n7\r\norigin \r\n4\r\nhas\n\r\n5\r\nno \x1b[\r\n0\r\n\r\n",
            "the server answered 403 Forbidden: origin has no \\u{1b}[",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 799 Own\r\nContent-Length: 5\r\n\r\nfirst and more",
            "the server answered 799: first",
        ),
    ] {
        let address = serve(move |stream, _| {
            let _ = stream.write_all(answer.as_bytes());
        });
        let text = tells(&address, &[io]);
        assert!(text.contains(shown), "{shown}: {text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
}

fn large_and_folded_heads_of_a_response_open(io: &str) {
    let lines = |request: &str| {
        let cookies = "Set-Cookie: a=b; Path=/; HttpOnly\r\n".repeat(100);
        let long = format!("X-Long: {}\r\n", "x".repeat(16 << 10));
        // RFC 9112 §5.2
        let folded = "X-Folded: a\r\n b\r\n\t c\r\n";
        let answer = accepted(request, &format!("{folded}{long}{cookies}"));
        answer.replace("Upgrade: websocket", "Upgrade:\r\n websocket")
    };
    let address = serve(move |stream, request| {
        let answer = lines(request);
        // In pieces that cut the lines anywhere.
        for piece in answer.as_bytes().chunks(997) {
            let _ = stream.write_all(piece);
        }
        close(stream);
    });
    expect_open(address, io, &[]);
    expect_open(address, io, &["--max-head=32KiB", "--max-headers=105"]);
    for (limit, why) in [
        ("--max-head=4KiB", "the head of the response is too large"),
        ("--max-headers=50", "the response has too many headers"),
    ] {
        let text = tells(&address, &[limit, io]);
        assert!(text.contains(why), "{why}: {text}");
    }
}

fn what_never_ends_is_given_up(io: &str) {
    let interim = serve(|stream, _| {
        while stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            .is_ok()
        {}
    });
    let body = serve(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 500 No\r\n\r\n");
        while stream.write_all(&[b'y'; 4096]).is_ok() {}
    });
    let silent = serve(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 502 No\r\nContent-Length: 9\r\n\r\nhalf");
        // Until the client has left.
        let _ = stream.read(&mut [0; 16]);
    });
    for (address, why) in [
        (interim, "there are only interim ones (1xx)"),
        (body, "the server answered 500 Internal Server Error: yyyy"),
        (silent, "the server answered 502 Bad Gateway: half"),
    ] {
        let text = tells(&address, &[io]);
        assert!(text.contains(why), "{why}: {text}");
    }
}

// --- The example -----------------------------------------------------------------------------------------------

fn example(url: &str) -> Result<String, String> {
    let mut out = Vec::new();
    let result = echo_client::run(url, "hello", &mut out);
    let out = String::from_utf8(out).expect("text");
    result.map(|()| out).map_err(|error| error.to_string())
}

#[test]
fn the_example_answers_pings_and_reads_all_that_comes_at_once() {
    let address = serve(|stream, request| {
        let _ = stream.write_all(accepted(request, "").as_bytes());
        // hello: 2 bytes of header, 4 of key, 5 of payload.
        let mut hello = [0; 11];
        stream.read_exact(&mut hello).expect("a message");
        let key: [u8; 4] = hello[2..6].try_into().expect("four");
        let payload: Vec<u8> = hello[6..]
            .iter()
            .zip(key.iter().cycle())
            .map(|(o, k)| o ^ k)
            .collect();
        assert_eq!((hello[0], payload.as_slice()), (0x81, &b"hello"[..]));
        // A Ping before the echo, and one behind it in the same segment.
        let _ = stream.write_all(b"\x89\x02p1\x81\x05hello\x89\x02p2");
        for expected in [b"p1", b"p2"] {
            let mut pong = [0; 8];
            stream.read_exact(&mut pong).expect("a Pong");
            assert_eq!(pong[..2], [0x8a, 0x82]);
            assert_eq!([pong[6] ^ pong[2], pong[7] ^ pong[3]], *expected);
        }
        let mut close = [0; 11];
        stream
            .read_exact(&mut close)
            .expect("a Close with a reason");
        assert_eq!(close[..2], [0x88, 0x85]);
        let _ = stream.write_all(&[0x88, 0x02, 0x03, 0xe8]);
    });
    let out = example(&format!("WS://localhost:{}/?a=b", address.port()));
    let out = out.expect("an echo");
    assert!(out.contains("received \"hello\""), "{out}");
    assert!(out.contains("closed with 1000"), "{out}");
}

#[test]
fn the_example_fails_with_sentences() {
    let refuses = serve(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.0 404 Not Found\r\n\r\n");
    });
    let ends = serve(|_, _| {});
    for (url, why) in [
        (
            format!("ws://{refuses}"),
            "the server answered 404 Not Found",
        ),
        (
            format!("ws://{ends}/"),
            "the server ended the connection in place of an answer",
        ),
        (
            "127.0.0.1:9000".to_owned(),
            "127.0.0.1:9000: a URL begins with ws://",
        ),
        (
            "wss://a/".to_owned(),
            "wss://a/: this client speaks no TLS; use ws://",
        ),
        (
            "ws://u:p@a/".to_owned(),
            "ws://u:p@a/: a WebSocket URL has no user and no password",
        ),
        (
            "ws://a:99999/".to_owned(),
            "ws://a:99999/: the port is not a number from 0 to 65535",
        ),
        (
            "ws://[::1/".to_owned(),
            "ws://[::1/: the bracket of the IPv6 address is open",
        ),
        ("ws:///x".to_owned(), "ws:///x: the host is missing"),
    ] {
        assert_eq!(example(&url), Err(why.to_owned()));
    }
    // Without a port it is 80: nobody listens there, or somebody who is no WebSocket server.
    let error = example("ws://[::1]?x").expect_err("nobody");
    assert!(
        error.contains("port 80: ") || error.contains("the server") || error.contains("response"),
        "{error}"
    );
}
