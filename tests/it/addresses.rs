//! Limits of one address: connections, connections per second, and whose address counts behind proxies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::common::client::{Client, REQUEST, exchange};
use crate::common::{PATIENCE, Server, on_both_tiers, until};

on_both_tiers!(
    an_address_has_so_many_connections_and_the_others_are_served,
    an_address_opens_so_many_connections_per_second,
    the_client_that_a_proxy_names_counts_and_not_the_proxy,
);

fn serve(io: &str, more: &[&str]) -> Server {
    Server::start(&[&["--workers=1", "--port=auto", io], more].concat())
}

/// A WebSocket from a local address, if the server opens it.
fn open(server: &Server, from: &str) -> Option<Client> {
    let to = server.address();
    let to: SocketAddr = to.trim_start_matches("ws://").parse().expect("an address");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a descriptor");
    let from: SocketAddr = format!("{from}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("a loopback address");
    socket.connect(&to.into()).ok()?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.write_all(REQUEST.as_bytes()).ok()?;
    Client::opened(stream).ok()
}

fn an_address_has_so_many_connections_and_the_others_are_served(io: &str) {
    let server = serve(io, &["--connections-per-address=3"]);
    let mut clients: Vec<_> = (0..3)
        .map(|_| open(&server, "127.0.0.1").expect("it has three"))
        .collect();
    for _ in 0..5 {
        assert!(open(&server, "127.0.0.1").is_none());
    }
    assert_eq!(server.counter_reaching("address_limited", 5), [5]);
    open(&server, "127.0.0.2")
        .expect("another address")
        .echo(0x81, b"hello");
    clients.pop().expect("one of three").close();
    until("another may connect", || {
        open(&server, "127.0.0.1").is_some()
    });
    for mut client in clients {
        client.echo(0x81, b"still there");
    }
}

fn an_address_opens_so_many_connections_per_second(io: &str) {
    let server = serve(io, &["--handshakes-per-address=5"]);
    let began = Instant::now();
    let opened = (0..40)
        .filter(|_| open(&server, "127.0.0.1").is_some())
        .count();
    let most = 5.0 + 5.0 * began.elapsed().as_secs_f64() + 1.0;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let is_held = (5.0..=most).contains(&(opened as f64));
    assert!(is_held, "{opened} of 40 opened, and {most} may");
    let refused = 40 - opened as u64;
    assert_eq!(
        server.counter_reaching("address_limited", refused),
        [refused]
    );
    open(&server, "127.0.0.2").expect("another address");
    until("the second has passed", || {
        open(&server, "127.0.0.1").is_some()
    });
}

/// The request without the empty line at its end.
fn head() -> &'static str {
    REQUEST.strip_suffix("\r\n").expect("a head")
}

/// The connection and the first line of the answer to a request behind `before`, with further header lines.
fn ask(server: &Server, before: &str, lines: &str) -> (TcpStream, String) {
    let address = server.address();
    let mut stream = TcpStream::connect(address.trim_start_matches("ws://")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let request = format!("{before}{}{lines}\r\n", head());
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        line.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&line).trim_end().to_owned())
}

const OPENED: &str = "HTTP/1.1 101 Switching Protocols";
const LIMITED: &str = "HTTP/1.1 429 Too Many Requests";

fn the_client_that_a_proxy_names_counts_and_not_the_proxy(io: &str) {
    let server = serve(
        io,
        &[
            "--connections-per-address=1",
            "--proxy-protocol=127.0.0.0/8",
        ],
    );
    let header = |client: &str| format!("PROXY TCP4 {client} 192.0.2.200 1234 80\r\n");
    let (first, line) = ask(&server, &header("192.0.2.1"), "");
    assert_eq!(line, OPENED);
    assert_eq!(ask(&server, &header("192.0.2.1"), "").1, LIMITED);
    let (_second, line) = ask(&server, &header("192.0.2.2"), "");
    assert_eq!(line, OPENED);
    let unknown: Vec<_> = (0..3)
        .map(|_| ask(&server, "PROXY UNKNOWN\r\n", ""))
        .collect();
    // Without a name it is the proxy that counts.
    let lines: Vec<_> = unknown.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines, [OPENED, LIMITED, LIMITED]);
    drop(first);
    until("the first has ended", || {
        ask(&server, &header("192.0.2.1"), "").1 == OPENED
    });

    let server = serve(
        io,
        &["--connections-per-address=1", "--trust-forwarded-for=1"],
    );
    let forwarded = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let (_first, line) = ask(&server, "", &forwarded("2001:db8::1"));
    assert_eq!(line, OPENED);
    assert_eq!(
        ask(&server, "", &forwarded("2001:db8::2")).1,
        LIMITED,
        "the same /64"
    );
    let (_second, line) = ask(&server, "", &forwarded("2001:db8:0:1::2"));
    assert_eq!(line, OPENED);
    let answer = exchange(
        &server.address(),
        format!("{}{}\r\n", head(), forwarded("2001:db8::3")).as_bytes(),
    );
    assert!(
        answer.contains("this address has too many connections"),
        "{answer}"
    );
}
