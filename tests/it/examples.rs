//! The examples as their users run them: each is built in a crate of its own, started with a URI, and spoken to.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::client::{CLOSE, Client, REQUEST, TEXT, dial, exchange, read_head};
use crate::library::{Running, address, start};

/// Starts an example on any port; it ends with what is returned.
fn serve(name: &str) -> (Running, String) {
    let mut server = start(name, &["ws://127.0.0.1:0"], Stdio::piped());
    let address = address(&mut server);
    (server, address)
}

/// The opening handshake for `path`, with more header lines.
fn request(path: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    REQUEST
        .replace("GET /echo ", &format!("GET {path} "))
        .replace("\r\n\r\n", &format!("\r\n{headers}\r\n"))
}

fn ask(address: &str, request: &str) -> TcpStream {
    let mut stream = dial(address).expect("the example listens");
    stream.write_all(request.as_bytes()).expect("a request");
    stream
}

fn open(address: &str, path: &str, headers: &[&str]) -> Client {
    Client::opened(ask(address, &request(path, headers))).expect("a WebSocket opens")
}

#[test]
fn echo_server_echoes() {
    let (_server, address) = serve("echo_server");
    let mut client = Client::connect(&address);
    client.echo(TEXT, "κόσμε".as_bytes());
    client.close();
}

#[test]
fn echo_client_tells_what_comes_back_and_how_it_closed() {
    let (_server, address) = serve("echo_server");
    let url = format!("ws://{address}/");
    let mut client = start("echo_client", &[&url, "hello"], Stdio::piped());
    let mut told = String::new();
    let stdout = client.0.stdout.as_mut().expect("piped");
    std::io::Read::read_to_string(stdout, &mut told).expect("UTF-8");
    assert!(client.0.wait().expect("a child").success());
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[..2],
        [format!("connected to {url}").as_str(), "sent     \"hello\""]
    );
    assert!(lines[2].starts_with("received \"hello\" after "), "{told}");
    assert!(
        lines[3].starts_with("closed with ") && lines[3].contains("1000"),
        "{told}"
    );
    assert_eq!(lines.len(), 4);
}

#[test]
fn chat_serves_its_page_and_tells_everybody_who_says_what() {
    let (_server, address) = serve("chat");
    let page = exchange(
        &address,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("<title>Chat</title>"), "{page}");
    let refused = exchange(&address, request("/", &[]).as_bytes());
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(refused.contains("connect with ?name="), "{refused}");

    let mut anna = open(&address, "/?name=anna", &[]);
    anna.expect(TEXT, b"* anna came");
    let mut bert = open(&address, "/?name=bert", &[]);
    for client in [&mut anna, &mut bert] {
        client.expect(TEXT, b"* bert came");
    }
    anna.send(TEXT, b"hello");
    for client in [&mut anna, &mut bert] {
        client.expect(TEXT, b"anna: hello");
    }
    bert.send(TEXT, b"good morning");
    for client in [&mut anna, &mut bert] {
        client.expect(TEXT, b"bert: good morning");
    }
    bert.close();
    anna.expect(TEXT, b"* bert left");
}

#[test]
fn custom_headers_reads_and_adds_headers() {
    let (_server, address) = serve("custom_headers");
    let refused = exchange(&address, request("/", &[]).as_bytes());
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let has = |head: &str, line: &str| head.lines().any(|seen| seen.eq_ignore_ascii_case(line));
    assert!(
        has(&refused, "WWW-Authenticate: Basic realm=\"greeter\""),
        "{refused}"
    );

    let authorization = "Authorization: Basic anna";
    let offers = "Sec-WebSocket-Protocol: v1, v2";
    let mut stream = ask(&address, &request("/", &[authorization, offers]));
    let (head, _) = read_head(&mut stream).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(has(&head, "Set-Cookie: visit=1"), "{head}");
    assert!(has(&head, "Sec-WebSocket-Protocol: v2"), "{head}");

    let mut client = open(&address, "/", &[authorization]);
    client.send(TEXT, b"hello");
    client.expect(TEXT, b"Basic anna said: hello");
    client.close();
}

#[test]
fn several_services_have_limits_of_their_own_and_404_beside_them() {
    let (_server, address) = serve("several_services");
    let long = vec![b'x'; 2000];
    let mut echo = open(&address, "/echo", &[]);
    echo.echo(TEXT, &long);
    let mut count = open(&address, "/count/bytes", &[]);
    count.send(TEXT, b"12345");
    count.expect(TEXT, b"5 bytes");
    count.send(TEXT, b"678");
    count.expect(TEXT, b"8 bytes");
    count.send(TEXT, &long);
    let close = count.recv();
    assert_eq!(
        (close.first, &close.payload[..2]),
        (CLOSE, &1009_u16.to_be_bytes()[..])
    );
    let mut messages = open(&address, "/count/messages", &[]);
    messages.send(TEXT, b"one");
    messages.expect(TEXT, b"1 messages");
    for path in ["/nowhere", "/", "/count/apples"] {
        let answer = exchange(&address, request(path, &[]).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    echo.echo(TEXT, b"still there");
}

#[test]
fn slow_square_squares_in_order_and_lets_nobody_wait_for_another() {
    let (_server, address) = serve("slow_square");
    // More than a second each for one after another.
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(&address)).collect();
    let began = Instant::now();
    for client in &mut clients {
        client.send(TEXT, b"1.5");
        client.send(TEXT, b"-3");
    }
    for client in &mut clients {
        client.expect(TEXT, b"2.25");
        client.expect(TEXT, b"9");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(40), "{took:?}");
    clients[0].send(TEXT, b"6");
    let closed = clients[0].recv();
    assert_eq!(
        (closed.first, &closed.payload[2..]),
        (CLOSE, &b"the number is too large"[..])
    );
}
