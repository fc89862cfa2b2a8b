//! `ringway gateway` as real processes, between clients and targets that share no code with it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::client::{
    BINARY, BINARY_BEGINS, CLOSE, CONTINUES, CONTINUES_LAST, Client, Frame, PING, PONG, REQUEST,
    TEXT, dial, exchange, frame, noise, read_head,
};
use crate::common::{PATIENCE, Server, on_both_tiers, run, scratch, until};
use crate::tls;

on_both_tiers!(
    a_stream_is_exact_however_it_is_cut,
    large_streams_cross_in_both_directions_while_one_side_reads_slowly,
    the_tail_of_a_target_that_closes_reaches_a_slow_client,
    a_target_that_stalls_takes_no_memory_and_loses_nothing,
    a_client_that_stalls_takes_no_memory_and_loses_nothing,
    bytes_that_come_with_the_request_reach_the_target,
    a_target_that_cannot_be_reached_is_told_with_1011,
    a_unix_target_and_the_next_address_of_a_name,
    an_end_of_the_target_is_a_close_and_with_half_close_the_client_may_go_on,
    a_close_of_the_client_ends_the_targets_stream_behind_the_last_byte,
    base64_both_ways_and_what_is_none,
    subprotocols_are_chosen_in_the_order_of_the_client,
    the_target_is_told_whose_stream_it_is,
    a_client_under_tls_has_the_same_stream,
    a_drain_lets_sessions_end,
    two_workers_share_the_sessions,
    a_silent_pair_is_closed,
);

/// A target that accepts one connection after the other, and hands each to a thread of `serve`.
pub(crate) struct Target {
    pub(crate) address: String,
}

pub(crate) fn target(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            thread::spawn(move || serve(stream));
        }
    });
    Target { address }
}

/// Sends back whatever comes, then ends.
pub(crate) fn echo(mut stream: TcpStream) {
    let mut piece = vec![0; 100_000];
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        if stream.write_all(&piece[..len]).is_err() {
            return;
        }
    }
}

/// A target whose one connection the test holds.
fn held() -> (Target, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let accepted = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    });
    (Target { address }, accepted)
}

/// Reads binary messages until there are so many bytes.
pub(crate) fn receive(client: &mut Client, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let Frame { first, payload } = client.recv();
        assert_eq!(first, BINARY, "{:?}", payload.get(..100));
        assert!(!payload.is_empty() && payload.len() <= 64 << 10);
        bytes.extend(payload);
    }
    assert_eq!(bytes.len(), len);
    bytes
}

/// Resident memory of the workers, bytes.
fn resident(server: &Server) -> usize {
    let of = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<usize>().ok()).expect("KiB") * 1024
    };
    server.workers().into_iter().map(of).sum()
}

fn a_stream_is_exact_however_it_is_cut(io: &str) {
    let target = target(echo);
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    let sizes = [
        &[1, 2, 3, 125, 126, 127][..],
        &[1000, 4096, 5000, 8192, 8193],
        &[70_000, 1, 300_000, 65_535, 65_536],
    ];
    for (seed, sizes) in sizes.into_iter().enumerate() {
        let mut client = Client::connect(&server.address());
        let stream = noise(seed as u64 + 1, 3 * sizes.iter().sum::<usize>());
        let mut rest = &stream[..];
        for len in sizes.iter().cycle().take(3 * sizes.len()) {
            let (now, later) = rest.split_at(*len);
            rest = later;
            match len % 2 {
                0 => client.send(BINARY, now),
                _ => {
                    let (head, tail) = now.split_at(len / 2);
                    client.send(BINARY_BEGINS, head);
                    client.send(PING, b"");
                    client.send(CONTINUES, b"");
                    client.send(CONTINUES_LAST, tail);
                }
            }
        }
        let mut echoed = Vec::new();
        while echoed.len() < stream.len() {
            match client.recv() {
                Frame {
                    first: BINARY,
                    payload,
                } => echoed.extend(payload),
                Frame { first, payload } => assert_eq!((first, &payload[..]), (PONG, &b""[..])),
            }
        }
        assert!(echoed == stream);
    }
    assert_eq!(server.counter_reaching("streams_opened", 3), [3]);
    assert_eq!(server.counter("drops"), [0]);
}

fn large_streams_cross_in_both_directions_while_one_side_reads_slowly(io: &str) {
    const LEN: usize = 64 << 20;
    let up = noise(1, LEN);
    let down = noise(2, LEN);
    let expected = up.clone();
    let (send_down, from) = (down.clone(), held());
    let server = Server::start_gateway(&from.0.address, &[io, "--workers=1"]);
    let client = Client::connect(&server.address());
    let stream = from.1.join().expect("a connection");
    let mut writes = stream.try_clone().expect("a descriptor");
    let target_writes = thread::spawn(move || writes.write_all(&send_down).expect("it is read"));
    let target_reads = thread::spawn(move || {
        let mut stream = stream;
        let mut got = vec![0; LEN];
        for piece in got.chunks_mut(1 << 20) {
            stream.read_exact(piece).expect("all of it");
            thread::sleep(Duration::from_millis(2));
        }
        assert!(got == expected, "what went up");
        stream
    });
    let mut writes = client.stream().try_clone().expect("a descriptor");
    let client_writes = thread::spawn(move || {
        for piece in up.chunks(1 << 20) {
            writes.write_all(&frame(BINARY, piece)).expect("it is read");
        }
    });
    let mut client = client;
    assert!(receive(&mut client, LEN) == down, "what went down");
    client_writes.join().expect("written");
    target_writes.join().expect("written");
    let _stream = target_reads.join().expect("read");
    let figures = ["stream_bytes_in", "stream_bytes_out"];
    for name in figures {
        assert_eq!(server.counter_reaching(name, LEN as u64), [LEN as u64]);
    }
}

fn the_tail_of_a_target_that_closes_reaches_a_slow_client(io: &str) {
    let burst = noise(3, 8_000_000);
    let sent = burst.clone();
    let target = target(move |mut stream| {
        let _ = stream.write_all(&sent);
    });
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    let mut client = Client::connect(&server.address());
    // The target is long gone when the client begins to read.
    thread::sleep(Duration::from_millis(300));
    let mut got = Vec::new();
    while got.len() < burst.len() {
        got.extend(client.recv().payload);
        if got.len() % 7 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(got == burst);
    client.expect(CLOSE, &[0x03, 0xe8]);
    client.send(CLOSE, &[0x03, 0xe8]);
    assert!(client.try_recv().is_err());
}

fn a_target_that_stalls_takes_no_memory_and_loses_nothing(io: &str) {
    const LEN: usize = 48 << 20;
    let (target, accepted) = held();
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    let client = Client::connect(&server.address());
    let mut stream = accepted.join().expect("a connection");
    let before = resident(&server);
    let up = noise(4, LEN);
    let sent = up.clone();
    let mut writes = client.stream().try_clone().expect("a descriptor");
    let writer = thread::spawn(move || writes.write_all(&frame(BINARY, &sent)).expect("read"));
    let counter = |server: &Server| server.counter("stream_bytes_out")[0];
    let mut last = 0;
    until("the gateway stops reading", || {
        thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut last, counter(&server)) == counter(&server) && last > 0
    });
    assert!(last < 16 << 20, "{last} bytes were accepted");
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 12 << 20, "{grown} bytes more");
    let mut got = vec![0; LEN];
    stream.read_exact(&mut got).expect("all of it");
    assert!(got == up);
    writer.join().expect("written");
}

fn a_client_that_stalls_takes_no_memory_and_loses_nothing(io: &str) {
    const LEN: usize = 48 << 20;
    let (target, accepted) = held();
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    let mut client = Client::connect(&server.address());
    let mut stream = accepted.join().expect("a connection");
    let before = resident(&server);
    let down = noise(5, LEN);
    let sent = down.clone();
    let writer = thread::spawn(move || {
        stream.write_all(&sent).expect("read");
        stream
    });
    let counter = |server: &Server| server.counter("stream_bytes_in")[0];
    let mut last = 0;
    until("the gateway stops reading", || {
        thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut last, counter(&server)) == counter(&server) && last > 0
    });
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 12 << 20, "{grown} bytes more");
    // A client that does not read can still send.
    client.send(BINARY, b"up");
    assert!(receive(&mut client, LEN) == down);
    let mut stream = writer.join().expect("written");
    let mut got = [0; 2];
    stream.read_exact(&mut got).expect("two bytes");
    assert_eq!(&got, b"up");
}

fn bytes_that_come_with_the_request_reach_the_target(io: &str) {
    let target = target(echo);
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    for _ in 0..20 {
        let mut stream = dial(&server.address()).expect("it listens");
        let mut bytes = REQUEST.as_bytes().to_vec();
        bytes.extend(frame(BINARY, b"early "));
        bytes.extend(frame(BINARY, b"bird"));
        stream.write_all(&bytes).expect("it reads");
        let mut client = Client::opened(stream).expect("a WebSocket");
        assert_eq!(receive(&mut client, 10), b"early bird");
    }
}

fn a_target_that_cannot_be_reached_is_told_with_1011(io: &str) {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = gone.local_addr().expect("an address").to_string();
    drop(gone);
    let folder = scratch("gateway-gone");
    let path = format!("unix:{}", folder.path("none.sock"));
    for (target, why) in [(&address, "Connection refused"), (&path, "No such file")] {
        let server = Server::start_gateway(target, &[io, "--workers=1"]);
        let began = Instant::now();
        let mut client = Client::connect(&server.address());
        let Frame { first, payload } = client.recv();
        assert_eq!((first, &payload[..2]), (CLOSE, &1011_u16.to_be_bytes()[..]));
        let reason = std::str::from_utf8(&payload[2..]).expect("text");
        assert!(reason.contains(why), "{reason}");
        assert!(began.elapsed() < PATIENCE, "at once, not by a timeout");
        client.send(CLOSE, &payload[..2]);
        assert!(client.try_recv().is_err());
        assert_eq!(server.counter_reaching("streams_failed", 1), [1]);
    }
}

fn a_unix_target_and_the_next_address_of_a_name(io: &str) {
    let folder = scratch("gateway-unix");
    let path = folder.path("target.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || echo(TcpStream::from(OwnedFd::from(stream))));
        }
    });
    let target_path = format!("unix:{path}");
    let server = Server::start_gateway(&target_path, &[io, "--workers=1"]);
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"through a Unix socket");
    // On most systems localhost is ::1 as well, where nobody listens.
    let tcp = target(echo);
    let port = tcp.address.rsplit_once(':').expect("a port").1;
    let server = Server::start_gateway(&format!("localhost:{port}"), &[io, "--workers=1"]);
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"by name");
}

fn an_end_of_the_target_is_a_close_and_with_half_close_the_client_may_go_on(io: &str) {
    let (target, accepted) = held();
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    let mut client = Client::connect(&server.address());
    let mut stream = accepted.join().expect("a connection");
    stream.write_all(b"last words").expect("read");
    stream.shutdown(Shutdown::Write).expect("connected");
    client.expect(BINARY, b"last words");
    client.expect(CLOSE, &[0x03, 0xe8]);
    // What the client sends before its Close still arrives.
    client.send(BINARY, b"and mine");
    client.send(CLOSE, &[0x03, 0xe8]);
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("an end");
    assert_eq!(got, b"and mine");

    let (target, accepted) = held();
    let server = Server::start_gateway(&target.address, &[io, "--workers=1", "--half-close"]);
    let mut client = Client::connect(&server.address());
    let mut stream = accepted.join().expect("a connection");
    stream.shutdown(Shutdown::Write).expect("connected");
    for _ in 0..3 {
        client.send(BINARY, b"more");
        let mut got = [0; 4];
        stream.read_exact(&mut got).expect("it still arrives");
        assert_eq!(&got, b"more");
    }
    client.close();
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
}

fn a_close_of_the_client_ends_the_targets_stream_behind_the_last_byte(io: &str) {
    let (target, accepted) = held();
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    let mut client = Client::connect(&server.address());
    let mut stream = accepted.join().expect("a connection");
    let up = noise(6, 3 << 20);
    let mut bytes = frame(BINARY, &up);
    bytes.extend(frame(CLOSE, &[0x03, 0xe8]));
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("an end");
        got
    });
    client.write(&bytes);
    client.expect(CLOSE, &[0x03, 0xe8]);
    assert!(reader.join().expect("read") == up);
    // The same without a Close: the bytes were accepted.
    let (target, accepted) = held();
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    let mut client = Client::connect(&server.address());
    let mut stream = accepted.join().expect("a connection");
    client.send(BINARY, &up[..100_000]);
    client.end();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("an end");
    assert!(got == up[..100_000]);
}

/// A request that offers subprotocols.
fn offering(offer: &str) -> String {
    let line = format!("Sec-WebSocket-Protocol: {offer}\r\n\r\n");
    REQUEST.replacen("\r\n\r\n", &format!("\r\n{line}"), 1)
}

fn connect_with(server: &Server, offer: &str) -> (Client, String) {
    let mut stream = dial(&server.address()).expect("it listens");
    stream
        .write_all(offering(offer).as_bytes())
        .expect("it reads");
    let (head, early) = read_head(&mut stream).expect("a response");
    (Client::of(stream, early), head)
}

fn base64_both_ways_and_what_is_none(io: &str) {
    let target = target(echo);
    let server = Server::start_gateway(&target.address, &[io, "--workers=1"]);
    let (mut client, head) = connect_with(&server, "base64");
    assert!(
        head.contains("\r\nSec-WebSocket-Protocol: base64\r\n"),
        "{head}"
    );
    let stream = noise(7, 200_000);
    for piece in stream.chunks(7_001) {
        client.send(TEXT, STANDARD.encode(piece).as_bytes());
    }
    let mut echoed = Vec::new();
    while echoed.len() < stream.len() {
        let Frame { first, payload } = client.recv();
        assert_eq!(first, TEXT);
        assert!(payload.len() <= 64 << 10);
        echoed.extend(STANDARD.decode(payload).expect("base64"));
    }
    assert!(echoed == stream);
    client.send(TEXT, b"QQ=");
    client.expect_failed_with(1007);
    let (mut client, _) = connect_with(&server, "base64");
    client.send(BINARY, b"bytes");
    client.expect_failed_with(1003);
    let (mut client, _) = connect_with(&server, "binary");
    client.send(TEXT, b"text");
    client.expect_failed_with(1003);
}

/// The table of what the two originals choose, with what is chosen here.
fn subprotocols_are_chosen_in_the_order_of_the_client(io: &str) {
    let target = target(echo);
    let more = [io, "--workers=1", "--subprotocol=mqtt,mqttv3.1"];
    let server = Server::start_gateway(&target.address, &more);
    for (offer, chosen) in [
        ("binary", "binary"),
        ("base64", "base64"),
        ("base64, binary", "base64"),
        ("binary,base64", "binary"),
        ("mqtt", "mqtt"),
        ("foo, mqtt, binary", "mqtt"),
    ] {
        let (_client, head) = connect_with(&server, offer);
        let line = format!("\r\nSec-WebSocket-Protocol: {chosen}\r\n");
        assert!(head.contains(&line), "{offer}: {head}");
    }
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"no offer");
    let refused = exchange(&server.address(), offering("foo").as_bytes());
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(
        refused.contains("binary, base64, mqtt, mqttv3.1"),
        "{refused}"
    );

    let strict = [io, "--workers=1", "--require-subprotocol", "--base64=false"];
    let server = Server::start_gateway(&target.address, &strict);
    let refused = exchange(&server.address(), REQUEST.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 406 "), "{refused}");
    let refused = exchange(&server.address(), offering("base64").as_bytes());
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

fn the_target_is_told_whose_stream_it_is(io: &str) {
    let (target, accepted) = held();
    let server = Server::start_gateway(&target.address, &[io, "--workers=1", "--send-proxy=v1"]);
    let mut client = Client::connect(&server.address());
    client.send(BINARY, b"hello");
    let own = client.stream().local_addr().expect("an address");
    let at = client.stream().peer_addr().expect("an address");
    let expected = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhello",
        own.port(),
        at.port()
    );
    let mut stream = accepted.join().expect("a connection");
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("all of it");
    assert_eq!(String::from_utf8_lossy(&got), expected);

    let (target, accepted) = held();
    let server = Server::start_gateway(&target.address, &[io, "--workers=1", "--send-proxy=v2"]);
    let client = Client::connect(&server.address());
    let own = client.stream().local_addr().expect("an address");
    let mut stream = accepted.join().expect("a connection");
    let mut got = [0; 28];
    stream.read_exact(&mut got).expect("all of it");
    assert_eq!(got[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(got[24..26], own.port().to_be_bytes());
}

/// Reads one frame of a server.
fn read_frame(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a header");
    let len = match head[1] {
        126 => {
            let mut len = [0; 2];
            stream.read_exact(&mut len).expect("a length");
            u64::from(u16::from_be_bytes(len))
        }
        127 => {
            let mut len = [0; 8];
            stream.read_exact(&mut len).expect("a length");
            u64::from_be_bytes(len)
        }
        len => u64::from(len),
    };
    let mut payload = vec![0; usize::try_from(len).expect("64 bits")];
    stream.read_exact(&mut payload).expect("a payload");
    (head[0], payload)
}

fn a_client_under_tls_has_the_same_stream(io: &str) {
    let target = target(echo);
    let folder = scratch("gateway-tls");
    let (cert, key) = tls::certificate(&folder, "localhost");
    let (cert, key) = (format!("--cert={cert}"), format!("--key={key}"));
    let more = [io, "--workers=1", &cert, &key];
    let server = Server::start_gateway(&target.address, &more);
    let mut client = tls::open(&server, &folder, "localhost");
    for len in [1, 125, 600, 5_000, 16_384, 70_000, 200_000, 300_001] {
        let stream = noise(len as u64, len);
        for piece in stream.chunks(len.div_ceil(3)) {
            client.write_all(&frame(BINARY, piece)).expect("sent");
        }
        let mut echoed = Vec::new();
        while echoed.len() < len {
            let (first, payload) = read_frame(&mut client);
            assert_eq!(first, BINARY);
            echoed.extend(payload);
        }
        assert!(echoed == stream, "{len} bytes");
    }
    client
        .write_all(&frame(CLOSE, &[0x03, 0xe8]))
        .expect("sent");
    assert_eq!(read_frame(&mut client), (CLOSE, vec![0x03, 0xe8]));
}

fn a_drain_lets_sessions_end(io: &str) {
    let target = target(echo);
    let mut server = Server::start_gateway(&target.address, &[io, "--workers=2"]);
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"before");
    server.signal("TERM");
    until("no more connections are accepted", || {
        dial(&server.address()).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    client.echo(BINARY, b"while it drains");
    client.close();
    assert_eq!(server.wait(), Some(0));
}

fn two_workers_share_the_sessions(io: &str) {
    let target = target(echo);
    let server = Server::start_gateway(&target.address, &[io, "--workers=2"]);
    let mut clients: Vec<_> = (0..40)
        .map(|_| Client::connect(&server.address()))
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.echo(BINARY, format!("session {number}").as_bytes());
    }
    let streams = server.counter_reaching("streams", 40);
    assert!(streams.iter().all(|held| *held >= 10), "{streams:?}");
    drop(clients);
    until("all streams have ended", || {
        server.counter("streams") == [0, 0]
    });
    assert_eq!(server.counter("sockets"), [0, 0]);
}

/// That a talking pair stays is shown over the simulation, where no scheduler makes a pause.
fn a_silent_pair_is_closed(io: &str) {
    let (target, accepted) = held();
    let more = [io, "--workers=1", "--idle-timeout=1s"];
    let server = Server::start_gateway(&target.address, &more);
    let mut client = Client::connect(&server.address());
    let mut stream = accepted.join().expect("a connection");
    let Frame { first, payload } = client.recv();
    assert_eq!((first, &payload[..2]), (CLOSE, &1001_u16.to_be_bytes()[..]));
    client.send(CLOSE, &payload[..2]);
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
}

#[test]
fn what_cannot_be_a_gateway_is_refused_with_a_sentence() {
    for (arguments, code, sentence) in [
        (&["gateway"][..], 2, "a gateway needs a TARGET"),
        (&["gateway", "5900"], 2, "--target 5900 is not a target"),
        (&["gateway", "1", "a:1", "c:2"], 2, "unexpected value"),
        (
            &["gateway", "a:1", "--target=b:1"],
            2,
            "--target says again",
        ),
        (&["gateway", "a:1", "--app=echo"], 2, "--app"),
    ] {
        let output = run("ringway", arguments);
        assert_eq!(output.code, code, "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.contains(sentence), "{}", output.stderr);
    }
}

#[test]
fn the_effective_options_are_printed_and_read_again() {
    let printed = run(
        "ringway",
        &[
            "gateway",
            "[::1]:6080",
            "unix:/run/t.sock",
            "--print-config",
        ],
    );
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    for line in [
        "wsuri = \"ws://[::1]:6080\"",
        "target = \"unix:/run/t.sock\"",
    ] {
        assert!(printed.stdout.contains(line), "{}", printed.stdout);
    }
}
