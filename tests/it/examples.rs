//! The examples as their users run them: each is built in a crate of its own, started with a URI, and spoken to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::client::{
    BINARY, CLOSE, Client, PING, PONG, REQUEST, TEXT, dial, exchange, read_head,
};
use crate::common::{scratch, until};
use crate::library::{Running, address, start};
use crate::tls;

#[path = "../../examples/login_lookup.rs"]
#[expect(dead_code, reason = "an example has a main function")]
mod login_lookup;

#[path = "../../examples/tls_server.rs"]
#[expect(dead_code, reason = "an example has a main function")]
mod tls_server;

/// Starts an example on any port; it ends with what is returned.
fn serve(name: &str) -> (Running, String) {
    let mut server = start(name, &["ws://127.0.0.1:0"], Stdio::piped());
    let address = address(&mut server);
    (server, address)
}

/// Whether a head has this line.
fn has(head: &str, line: &str) -> bool {
    head.lines().any(|seen| seen.eq_ignore_ascii_case(line))
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
fn echo_variants_listens_in_several_places_and_has_limits() {
    let folder = scratch("echo-variants");
    let places = ["a.sock", "b.sock"].map(|name| format!("ws+unix:{}", folder.path(name)));
    let arguments = places.each_ref().map(String::as_str);
    let _server = start("echo_variants", &arguments, Stdio::null());
    for place in &places {
        until("it serves", || dial(place).is_ok());
        let mut client = Client::connect(place);
        client.echo(BINARY, &vec![7; 64 << 10]);
        client.send(BINARY, &vec![7; (64 << 10) + 1]);
        client.expect_failed_with(1009);
    }
}

#[test]
fn ping_server_tells_the_round_trip_of_its_own_pings_only() {
    let (_server, address) = serve("ping_server");
    let mut client = Client::connect(&address);
    for _ in 0..2 {
        let ping = client.recv();
        assert_eq!((ping.first, ping.payload.len()), (PING, 8));
        client.send(PONG, b"nobody asked");
        client.send(PONG, &ping.payload);
        let told = client.recv();
        let text = String::from_utf8(told.payload).expect("text");
        assert!(
            told.first == TEXT && text.starts_with("round trip "),
            "{text}"
        );
    }
    client.close();
}

#[test]
fn subprotocols_takes_the_first_that_it_knows_and_speaks_it() {
    let (_server, address) = serve("subprotocols");
    for offer in ["Origin: null", "Sec-WebSocket-Protocol: chat, soap"] {
        let refused = exchange(&address, request("/", &[offer]).as_bytes());
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
        assert!(refused.contains("offer the subprotocol "), "{refused}");
    }
    for (offer, chosen, first, answer) in [
        ("count.text", "count.text", TEXT, &b"5 bytes"[..]),
        (
            "soap, count.json, count.text",
            "count.json",
            TEXT,
            b"{\"bytes\":5}",
        ),
        (
            "count.binary",
            "count.binary",
            BINARY,
            &[0, 0, 0, 0, 0, 0, 0, 5],
        ),
    ] {
        let offer = format!("Sec-WebSocket-Protocol: {offer}");
        let mut stream = ask(&address, &request("/", &[&offer]));
        let (head, early) = read_head(&mut stream).expect("an answer");
        assert!(
            has(&head, &format!("Sec-WebSocket-Protocol: {chosen}")),
            "{head}"
        );
        let mut client = Client::of(stream, early);
        client.send(TEXT, b"hello");
        client.expect(first, answer);
        client.close();
    }
}

#[test]
fn compressed_server_compresses_as_each_path_says() {
    let (_server, address) = serve("compressed_server");
    let short = [b'x'; 100];
    let long = [b'x'; 1000];
    let offer = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"];
    for (path, is_short_compressed) in [("/simple", false), ("/advanced", true)] {
        let mut stream = ask(&address, &request(path, &offer));
        let (head, early) = read_head(&mut stream).expect("an answer");
        let agreed = "\r\nSec-WebSocket-Extensions: permessage-deflate";
        assert!(head.contains(agreed), "{head}");
        let mut client = Client::of(stream, early);
        for (message, is_compressed) in [(&short[..], is_short_compressed), (&long, true)] {
            client.send(TEXT, message);
            let answer = client.recv();
            // RSV1, RFC 7692 §6.
            assert_eq!(answer.first, if is_compressed { 0xC1 } else { TEXT });
            assert_eq!(answer.payload.len() < 50, is_compressed);
        }
        client.close();
        let mut plain = open(&address, path, &[]);
        plain.echo(TEXT, &long);
        plain.close();
    }
}

#[test]
fn broadcast_server_tells_all_of_a_path_and_ticks() {
    let (_server, address) = serve("broadcast_server");
    let is_tick = |payload: &[u8]| payload.starts_with(b"tick ");
    let mut room = [0; 3].map(|_| open(&address, "/room", &[]));
    let mut other = open(&address, "/other", &[]);
    let tick = other.recv();
    assert!(tick.first == TEXT && is_tick(&tick.payload), "{tick:?}");
    room[0].send(TEXT, b"hello");
    for client in &mut room {
        let mut heard = client.recv();
        while is_tick(&heard.payload) {
            heard = client.recv();
        }
        assert_eq!(heard.payload, b"hello");
    }
    assert!(is_tick(&other.recv().payload), "not what the room says");
}

#[test]
fn login_cookie_lets_in_who_has_logged_in_and_pages_of_its_own() {
    let folder = scratch("login-cookie");
    let address = format!("ws+unix:{}", folder.path("login.sock"));
    let _server = start("login_cookie", &[&address], Stdio::null());
    until("it serves", || dial(&address).is_ok());
    let page = exchange(&address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(page.contains("<title>Login</title>"), "{page}");
    // Returns the cookie, and the connection after name and password were sent.
    let log_in = |words: &str| {
        let mut stream = ask(&address, &request("/login", &[]));
        let (head, early) = read_head(&mut stream).expect("an answer");
        let (_, cookie) = head.split_once("Set-Cookie: ").expect("a cookie");
        let (cookie, attributes) = cookie.split_once("; ").expect("attributes");
        assert!(
            attributes.starts_with("HttpOnly; SameSite=Strict; "),
            "{head}"
        );
        let mut client = Client::of(stream, early);
        client.send(TEXT, words.as_bytes());
        (format!("Cookie: a=b; {cookie}"), client)
    };
    let status = |headers: &[&str]| exchange(&address, request("/", headers).as_bytes());
    let (wrong, client) = log_in("anna:open");
    client.expect_failed_with(1008);
    let (right, mut client) = log_in("anna:open sesame");
    client.expect(TEXT, b"welcome, anna");
    client.close();
    for headers in [&[][..], &["Cookie: session="], &[&wrong]] {
        let refused = status(headers);
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    }
    for origin in ["Origin: http://elsewhere.example", "Origin: null"] {
        let refused = status(&[&right, origin]);
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    }
    // On whichever worker.
    for _ in 0..4 {
        let mut client = open(&address, "/", &[&right, "Origin: http://localhost"]);
        client.send(TEXT, b"hello");
        client.expect(TEXT, b"anna said: hello");
        client.close();
    }
}

#[test]
fn login_lookup_asks_a_directory_and_lets_nobody_wait_for_another() {
    let directory = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = directory.local_addr().expect("it is bound").to_string();
    let server = ringway::Server::new("ws://127.0.0.1:0").workers(1);
    let server = server.start(login_lookup::greeters(place.into()));
    let server = server.expect("a port");
    let address = server.url().trim_start_matches("ws://").to_owned();
    // Asks for a WebSocket with a token, and returns the question that reaches the directory.
    let question = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        let client = ask(&address, &request("/", &[&header]));
        let (stream, _) = directory.accept().expect("somebody asks");
        let mut asked = String::new();
        BufReader::new(&stream)
            .read_line(&mut asked)
            .expect("a line");
        assert_eq!(asked, format!("{token}\n"));
        (client, stream)
    };
    // The first is answered last.
    let mut waiting: Vec<_> = (0..20).map(|at| question(&format!("token-{at}"))).collect();
    for (at, (mut client, directory)) in waiting.drain(..).enumerate().rev() {
        let name = if at == 3 {
            String::new()
        } else {
            format!("guest-{at}")
        };
        (&directory)
            .write_all(format!("{name}\n").as_bytes())
            .expect("it listens");
        drop(directory);
        let (head, early) = read_head(&mut client).expect("an answer");
        if name.is_empty() {
            assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
            continue;
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut client = Client::of(client, early);
        client.send(TEXT, b"hello");
        client.expect(TEXT, format!("{name} said: hello").as_bytes());
        client.close();
    }
    let none = exchange(&address, request("/", &[]).as_bytes());
    assert!(none.starts_with("HTTP/1.1 401 "), "{none}");
    // A directory that breaks off, and one that is gone.
    let (mut client, stream) = question("token");
    drop(stream);
    let (head, _) = read_head(&mut client).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    drop(directory);
    let gone = exchange(
        &address,
        request("/", &["Authorization: Bearer a"]).as_bytes(),
    );
    assert!(gone.starts_with("HTTP/1.1 503 "), "{gone}");
    server.shutdown().expect("an orderly end");
}

#[test]
fn tls_server_speaks_tls_and_plain() {
    let folder = scratch("tls-server");
    let (certificate, key) = tls::certificate(&folder, "localhost");
    let server = tls_server::server("ws://127.0.0.1:0", &certificate, &key);
    let server = server.start(|_| ringway::Echo::default()).expect("a port");
    let address = server.url().trim_start_matches("ws://").to_owned();
    let config = tls::trusting(&certificate, rustls::DEFAULT_VERSIONS).with_no_client_auth();
    let mut secured = tls::begin(std::sync::Arc::new(config), &address, "localhost");
    tls::upgrade(&mut secured);
    let hello = crate::common::client::frame(TEXT, b"hello");
    secured.write_all(&hello).expect("open");
    tls::expect(&mut secured, TEXT, b"hello");
    Client::connect(&address).echo(TEXT, b"hello");
    drop(secured);
    server.shutdown().expect("an orderly end");
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
