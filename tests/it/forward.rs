//! Streams in every direction as real processes: targets under TLS, and raw connections that reach a WebSocket server.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::common::client::{BINARY, CLOSE, Client, Frame, frame, noise};
use crate::common::{PATIENCE, Server, on_both_tiers, run, scratch, until};
use crate::gateway::{echo, receive, target};
use crate::tls;

on_both_tiers!(
    a_stream_to_a_target_under_tls_is_exact_and_its_tail_arrives,
    a_target_with_the_wrong_certificate_is_told_with_1011_and_gets_nothing,
    openssl_is_a_target_under_tls,
    a_stream_crosses_a_websocket_and_comes_back_exactly,
    a_server_that_refuses_resets_the_stream_and_a_line_says_why,
    a_server_under_tls_is_verified,
    the_standard_input_and_output_are_a_stream,
    endpoint_strings_mean_what_they_mean_to_twisted_and_autobahn,
);

/// A target under TLS that has the certificate in these files, and hands each connection to `serve`.
fn tls_target(
    (cert, key): &(String, String),
    serve: impl Fn(StreamOwned<ServerConnection, TcpStream>) + Send + Clone + 'static,
) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(cert).expect("PEM")],
            PrivateKeyDer::from_pem_file(key).expect("PEM"),
        )
        .expect("a certificate with its key");
    let config = Arc::new(config);
    target(move |stream| {
        let session = ServerConnection::new(config.clone()).expect("a session");
        serve(StreamOwned::new(session, stream));
    })
    .address
    .replace("127.0.0.1", "localhost")
}

fn a_stream_to_a_target_under_tls_is_exact_and_its_tail_arrives(io: &str) {
    let folder = scratch("forward-tls");
    let pair = tls::certificate(&folder, "localhost");
    // Sends back what comes, then 3 MB more behind the client's end.
    let tail = noise(9, 3_000_000);
    let sent = tail.clone();
    let address = tls_target(&pair, move |mut stream| {
        let mut piece = vec![0; 100_000];
        let mut got = 0;
        while let Ok(len @ 1..) = stream.read(&mut piece) {
            stream.write_all(&piece[..len]).expect("it is read");
            got += len;
            if got == 500_009 {
                break;
            }
        }
        let _ = stream.write_all(&sent);
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let ca = format!("--ssl-target-ca={}", pair.0);
    let more = [io, "--workers=1", "--ssl-target", &ca];
    let server = Server::start_gateway(&address, &more);
    let mut client = Client::connect(&server.address());
    let up = noise(8, 500_009);
    let mut writes = client.stream().try_clone().expect("a descriptor");
    let sent = up.clone();
    let writer = thread::spawn(move || {
        for piece in sent.chunks(33_333) {
            writes.write_all(&frame(BINARY, piece)).expect("it is read");
        }
    });
    assert!(receive(&mut client, up.len() + tail.len()) == [up, tail].concat());
    client.expect(CLOSE, &[0x03, 0xe8]);
    client.send(CLOSE, &[0x03, 0xe8]);
    writer.join().expect("written");
    assert_eq!(server.counter_reaching("streams_opened", 1), [1]);
    assert_eq!(server.counter("drops"), [0]);
}

fn a_target_with_the_wrong_certificate_is_told_with_1011_and_gets_nothing(io: &str) {
    let folder = scratch("forward-tls-wrong");
    let other = tls::certificate(&folder, "other.example");
    let stranger = tls::certificate(&folder, "localhost");
    let address = tls_target(&other, |mut stream| {
        let mut piece = [0; 1000];
        while let Ok(len @ 1..) = stream.read(&mut piece) {
            stream.write_all(&piece[..len]).expect("it is read");
        }
    });
    let plain = target(echo).address;
    let trusted = format!("--ssl-target-ca={}", other.0);
    let untrusted = format!("--ssl-target-ca={}", stranger.0);
    for (target, more, why) in [
        (&address, &[trusted.as_str()][..], "it is for another name"),
        (
            &address,
            &[&untrusted, "--ssl-target-name=other.example"],
            "nobody who is trusted",
        ),
        (&plain, &["--ssl-target-insecure"], "TLS with the target"),
        (&address, &[&trusted, "--ssl-target-name=other.example"], ""),
        (&address, &["--ssl-target-insecure"], ""),
    ] {
        let all = [&[io, "--workers=1", "--ssl-target"], more].concat();
        let server = Server::start_gateway(target, &all);
        let mut client = Client::connect(&server.address());
        client.send(BINARY, b"hello");
        let Frame { first, payload } = client.recv();
        if why.is_empty() {
            assert_eq!((first, &payload[..]), (BINARY, &b"hello"[..]), "{more:?}");
            continue;
        }
        assert_eq!((first, &payload[..2]), (CLOSE, &1011_u16.to_be_bytes()[..]));
        let reason = std::str::from_utf8(&payload[2..]).expect("text");
        assert!(reason.contains(why), "{more:?}: {reason}");
        client.send(CLOSE, &payload[..2]);
        assert_eq!(server.counter_reaching("streams_failed", 1), [1]);
    }
}

fn openssl_is_a_target_under_tls(io: &str) {
    let folder = scratch("forward-openssl");
    let (cert, key) = tls::certificate(&folder, "localhost");
    for version in ["-tls1_2", "-tls1_3"] {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut openssl = Command::new("openssl")
            .args(["s_server", "-accept", &address, "-rev", "-quiet", version])
            .args(["-cert", &cert, "-key", &key])
            .stdin(Stdio::null())
            .spawn()
            .expect("openssl runs");
        until("openssl listens", || TcpStream::connect(&address).is_ok());
        let ca = format!("--ssl-target-ca={cert}");
        let more = [io, "--workers=1", "--ssl-target", &ca];
        let server = Server::start_gateway(&address.replace("127.0.0.1", "localhost"), &more);
        let mut client = Client::connect(&server.address());
        client.send(BINARY, b"reversed\n");
        assert_eq!(receive(&mut client, 9), b"desrever\n");
        client.close();
        openssl.kill().expect("it runs");
        openssl.wait().expect("it ends");
    }
}

#[test]
fn options_for_tls_to_the_target_are_refused_where_they_have_no_effect() {
    for (arguments, sentence) in [
        (
            &["--ssl-target-ca=ca.pem"][..],
            "--ssl-target-ca has no effect without --ssl-target",
        ),
        (
            &["--ssl-target-insecure"],
            "--ssl-target-insecure has no effect",
        ),
        (&["--ssl-target-name=a"], "--ssl-target-name has no effect"),
        (
            &["--ssl-target", "--ssl-target-name=a b"],
            "is no name that a certificate could have",
        ),
        (
            &["--ssl-target", "--ssl-target-ca=/none.pem"],
            "--ssl-target-ca /none.pem: No such file",
        ),
    ] {
        let all = [&["gateway", "127.0.0.1:0", "127.0.0.1:1"], arguments].concat();
        let output = run("ringway", &all);
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.contains(sentence), "{}", output.stderr);
    }
}

/// A gateway from this program to `target`, and where it listens without its scheme.
fn gateway_to(target: &str, more: &[&str]) -> (Server, String) {
    let server = Server::start_gateway(target, &[&["--workers=1"], more].concat());
    let at = server.address().replace("ws://", "");
    (server, at)
}

/// A forwarder that accepts streams for a WebSocket server, and a connection to it.
fn uplink(io: &str, uri: &str, more: &[&str]) -> (Server, TcpStream) {
    let to = format!("--to={uri}");
    let server = Server::start_gateway(&to, &[&[io, "--workers=1"], more].concat());
    let stream = connect(&server);
    (server, stream)
}

fn connect(server: &Server) -> TcpStream {
    let address = server.address();
    let at = address
        .strip_prefix("tcp://")
        .expect("a TCP port of streams");
    let stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Writes all of `up` while as many bytes are read, then says what came.
fn exchanged(stream: &TcpStream, up: &[u8]) -> Vec<u8> {
    let mut writes = stream.try_clone().expect("a descriptor");
    let sent = up.to_vec();
    let writer = thread::spawn(move || {
        for piece in sent.chunks(77_777) {
            writes.write_all(piece).expect("it is read");
        }
    });
    let mut got = vec![0; up.len()];
    let mut reads = stream;
    reads.read_exact(&mut got).expect("all of it");
    writer.join().expect("written");
    got
}

fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an end");
    rest
}

fn a_stream_crosses_a_websocket_and_comes_back_exactly(io: &str) {
    let tail = noise(11, 2_000_000);
    let sent = tail.clone();
    // Sends back what comes until a newline ends it, then the tail.
    let target = target(move |mut stream| {
        let mut piece = vec![0; 100_000];
        while let Ok(len @ 1..) = stream.read(&mut piece) {
            stream.write_all(&piece[..len]).expect("it is read");
            if piece[len - 1] == b'\n' {
                break;
            }
        }
        let _ = stream.write_all(&sent);
    });
    let (gateway, at) = gateway_to(&target.address, &[io]);
    let (server, stream) = uplink(io, &format!("ws://{at}/"), &[]);
    let mut up = noise(12, 5_000_000);
    up.retain(|byte| *byte != b'\n');
    assert!(exchanged(&stream, &up) == up);
    (&stream).write_all(b"\n").expect("it is read");
    assert!(rest(&stream) == [b"\n", &tail[..]].concat());
    for server in [&server, &gateway] {
        assert_eq!(server.counter_reaching("streams_opened", 1), [1]);
        until("the stream has ended", || server.counter("sockets") == [0]);
        assert_eq!(server.counter("drops"), [0]);
    }
    // What comes with the connect waits for the WebSocket.
    for number in 0..20_u8 {
        let stream = connect(&server);
        assert_eq!(exchanged(&stream, &[number; 1000]), [number; 1000]);
    }
}

fn a_server_that_refuses_resets_the_stream_and_a_line_says_why(io: &str) {
    let (heads, head) = std::sync::mpsc::channel();
    let server = target(move |mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        heads
            .send(String::from_utf8(head).expect("text"))
            .expect("heard");
        let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\nno way";
        stream.write_all(answer).expect("it is read");
    });
    let uri = format!("ws://{}/path?a=b", server.address);
    let more = [
        "--subprotocol=mqtt",
        "--basic-auth=me:secret",
        "--header=X-Id: 7",
    ];
    let (server, mut stream) = uplink(io, &uri, &more);
    stream.write_all(b"early").expect("it is read");
    let error = stream.read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let head = head.recv_timeout(PATIENCE).expect("a request");
    for line in [
        "GET /path?a=b HTTP/1.1\r\n",
        "Sec-WebSocket-Protocol: binary, mqtt, base64\r\n",
        "Authorization: Basic bWU6c2VjcmV0\r\n",
        "X-Id: 7\r\n",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert_eq!(server.counter_reaching("streams_failed", 1), [1]);
    until("a line says why", || {
        server
            .stderr()
            .contains("the server answered 401 Unauthorized: no way")
    });
}

fn a_server_under_tls_is_verified(io: &str) {
    let folder = scratch("forward-wss");
    let (cert, key) = tls::certificate(&folder, "localhost");
    let stranger = tls::certificate(&folder, "other").0;
    let echo = target(echo);
    let (cert_option, key) = (format!("--cert={cert}"), format!("--key={key}"));
    let (_gateway, at) = gateway_to(&echo.address, &[io, &cert_option, &key]);
    let uri = format!("wss://{}/", at.replace("127.0.0.1", "localhost"));
    let (_server, stream) = uplink(io, &uri, &[&format!("--cacert={cert}")]);
    let up = noise(13, 700_000);
    assert!(exchanged(&stream, &up) == up);
    let (server, mut stream) = uplink(io, &uri, &[&format!("--cacert={stranger}")]);
    stream.read(&mut [0]).expect_err("a reset");
    assert_eq!(server.counter_reaching("streams_failed", 1), [1]);
    until("a line says why", || {
        server.stderr().contains("invalid peer certificate")
    });
}

/// One run of a program with its standard input and output as a stream: what it printed, and its exit code.
fn piped(arguments: &[&str], input: &[u8]) -> (Vec<u8>, Option<i32>) {
    let mut child = Command::new(crate::common::program("ringway"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let sent = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&sent).map(|()| stdin));
    let mut printed = Vec::new();
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_to_end(&mut printed).expect("an end");
    let code = child.wait().expect("it ends").code();
    let _stdin = writer.join().expect("no panic");
    (printed, code)
}

fn the_standard_input_and_output_are_a_stream(io: &str) {
    // Sends back so many bytes, and ends: the program ends with it, although its input does not.
    let target = target(|mut stream| {
        let mut got = vec![0; 300_000];
        stream.read_exact(&mut got).expect("all of it");
        stream.write_all(&got).expect("it is read");
    });
    let (_gateway, at) = gateway_to(&target.address, &[io]);
    let input = noise(14, 300_000);
    let to = format!("--to=ws://{at}/");
    let (printed, code) = piped(&["gateway", "stdio", &to, io], &input);
    assert_eq!((printed == input, code), (true, Some(0)));
    let to = format!("--to={}", target.address);
    let (printed, code) = piped(&["forward", "stdio", &to, io], &input);
    assert_eq!((printed == input, code), (true, Some(0)));
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = format!("--to=ws://{}/", gone.local_addr().expect("an address"));
    drop(gone);
    let (printed, code) = piped(&["gateway", "stdio", &to, io], &input[..100]);
    assert_eq!((printed.len(), code), (0, Some(3)));
}

/// A forwarder between two endpoint strings.
fn forwarder(io: &str, from: &str, to: &str) -> Server {
    let more = ["-e", from, "--dest_endpoint", to, "--workers=1", io];
    Server::start_program(
        "ringway",
        &[&["forward", "--port=auto", "--interval=50ms"], &more[..]].concat(),
    )
}

fn endpoint_strings_mean_what_they_mean_to_twisted_and_autobahn(io: &str) {
    let folder = scratch("forward-strings");
    let echo = target(echo);
    let (host, port) = echo.address.split_once(':').expect("a port");
    let to_echo = format!("tcp:{host}:{port}");
    let wrapped = r"autobahn:tcp\:0\:interface\=127.0.0.1:url=ws\://localhost\:9000:compress=false:subprotocol=mqtt";
    let server = forwarder(io, wrapped, &to_echo);
    let uri = server.address();
    let (_, at) = uri.split_once("//").expect("a scheme");
    let inner = format!(r"tcp\:{}", at.replace(':', r"\:"));

    // In both directions, and from one WebSocket to another.
    let to_server = format!(r"autobahn:{inner}:url=ws\://localhost\:9000:autofrag=1000");
    let up = noise(15, 400_000);
    let streams = forwarder(io, "tcp:0:interface=127.0.0.1", &to_server);
    assert!(exchanged(&connect(&streams), &up) == up);
    let websockets = forwarder(io, wrapped, &to_server);
    let uri = websockets.address();
    let between = forwarder(
        io,
        "tcp:0:interface=127.0.0.1",
        &format!(
            r"autobahn:tcp\:{}:url=ws\://localhost",
            uri.replace("ws://", "").replace(':', r"\:")
        ),
    );
    assert!(exchanged(&connect(&between), &up) == up);

    // `compression=true` on both sides.
    let deflates = forwarder(
        io,
        &wrapped.replace("compress=false", "compression=true"),
        &to_echo,
    );
    let at = deflates.address().replace("ws://", "").replace(':', r"\:");
    let to_it = format!(r"autobahn:tcp\:{at}:url=ws\://localhost:compression=true");
    let streams = forwarder(io, "tcp:0:interface=127.0.0.1", &to_it);
    let repeats = b"to and fro, ".repeat(10_000);
    assert!(exchanged(&connect(&streams), &repeats) == repeats);
    for server in [&deflates, &streams] {
        assert!(server.counter_reaching("deflated", 1)[0] > 0);
        assert!(server.counter_reaching("inflated", 1)[0] > 0);
    }

    // From one stream to another: an end goes both ways.
    let plain = forwarder(io, "tcp:0:interface=127.0.0.1", &to_echo);
    let stream = connect(&plain);
    assert!(exchanged(&stream, &up) == up);
    stream.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(rest(&stream), b"");

    // Unix sockets, and TLS on either side.
    let path = folder.path("in.sock");
    let (cert, key) = tls::certificate(&folder, "localhost");
    let secured = format!("ssl:0:privateKey={key}:certKey={cert}:interface=127.0.0.1");
    let secured = forwarder(io, &secured, &to_echo);
    let at = secured.address().replace("tcp://127.0.0.1:", "");
    let to_secured = format!("ssl:localhost:{at}:caFile={cert}");
    let unix = forwarder(io, &format!("unix:{path}:mode=600"), &to_secured);
    assert_eq!(unix.address(), format!("unix:{path}"));
    let stream = std::os::unix::net::UnixStream::connect(&path).expect("it listens");
    let stream = TcpStream::from(std::os::fd::OwnedFd::from(stream));
    assert!(exchanged(&stream, &up) == up);
    stream.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(rest(&stream), b"");

    // As Autobahn, it serves no client that offers no subprotocol.
    let refused = crate::common::client::exchange(
        &server.address(),
        crate::common::client::REQUEST.as_bytes(),
    );
    assert!(refused.starts_with("HTTP/1.1 406 "), "{refused}");
}

#[test]
fn what_cannot_be_forwarded_is_refused_with_a_sentence() {
    for (arguments, code, sentence) in [
        (&["forward", "1"][..], 2, "a forwarder needs a destination"),
        (&["forward", "1", "--to=x"], 2, "--to x is not a target"),
        (&["gateway", "1", "--to=ws:/a"], 2, "--to ws:/a"),
        (&["gateway", "1", "--to=ws://a/#b"], 2, "it has a fragment"),
        (
            &["forward", "-e", "tcp:x", "-d", "tcp:a:1"],
            2,
            "--endpoint tcp:x: tcp: needs a port",
        ),
        (
            &["forward", "-e", "tcp:1", "-d", "stdio:"],
            2,
            "stdio: is one stream",
        ),
        (
            &["forward", "-e", "tcp:1", "-d", r"autobahn:tcp\:a\:1"],
            2,
            "needs a url",
        ),
        (
            &["forward", "1", "-e", "tcp:1", "-d", "tcp:a:1"],
            2,
            "--wsuri is given twice",
        ),
        (
            &["forward", "1", "--to=a:1", "--cacert=x"],
            2,
            "are for TLS",
        ),
        (
            &["forward", "1", "--to=a:1", "--header=A: b"],
            2,
            "are for WebSocket servers",
        ),
        (
            &["forward", "1", "--to=a:1", "--proxy-protocol=10.0.0.0/8"],
            2,
            "have no effect on streams",
        ),
        (
            &["forward", "1", "--to=a:1", "--deflate"],
            2,
            "there is none on either side",
        ),
        (
            &["forward", "127.0.0.1:0", "--to=ws://no-such-name.invalid/"],
            3,
            "has no address",
        ),
    ] {
        let output = run("ringway", arguments);
        assert_eq!(output.code, code, "{arguments:?}: {}", output.stderr);
        assert!(
            output.stderr.contains(sentence),
            "{arguments:?}: {}",
            output.stderr
        );
    }
}
