//! The program `websockify`, and what websockify 0.13 does at the edges beside what happens here (`docs/websockify.md` has the table).

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::common::client::{
    BINARY, BINARY_BEGINS, CLOSE, CONTINUES_LAST, Client, Frame, PING, PONG, REQUEST, TEXT, dial,
    exchange, frame, read_head,
};
use crate::common::{PATIENCE, Server, is_alive, on_both_tiers, run, scratch, terminate, until};

on_both_tiers!(
    frames_at_the_edges_are_answered_as_the_table_says,
    requests_at_the_edges_are_answered_as_the_table_says,
);

fn echo_target() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut piece) {
                    if stream.write_all(&piece[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn websockify(arguments: &[&str]) -> Server {
    Server::start_program("websockify", arguments)
}

/// Sends bytes behind the opening of a session, and returns the Close that comes back.
fn closed_by(server: &Server, bytes: &[u8]) -> Frame {
    let mut client = Client::connect(&server.address());
    client.write(bytes);
    loop {
        let frame = client.recv();
        if frame.first == CLOSE {
            return frame;
        }
        // What came before the fault was good, and went to the target.
        assert_eq!(frame.first, BINARY);
    }
}

fn close_code(frame: &Frame) -> Option<u16> {
    let code = frame.payload.first_chunk::<2>()?;
    (frame.first == CLOSE).then(|| u16::from_be_bytes(*code))
}

/// §1.5 of what was measured: in the comments, what 0.13 does where that is something else.
fn frames_at_the_edges_are_answered_as_the_table_says(io: &str) {
    let server = Server::start_gateway(&echo_target(), &[io, "--workers=1"]);
    let mut unmasked = vec![BINARY, 3];
    unmasked.extend(b"abc");
    let mut reserved = frame(BINARY, b"abc");
    reserved[0] |= 0x40;
    let mut data_in_fragments = frame(BINARY_BEGINS, b"a");
    data_in_fragments.extend(frame(BINARY, b"b"));
    for (what, bytes, code) in [
        ("a text frame", frame(TEXT, b"abc"), 1003),
        ("an unmasked frame", unmasked, 1002),
        ("a stray continuation", frame(CONTINUES_LAST, b"abc"), 1002),
        ("a new message inside fragments", data_in_fragments, 1002),
        // 1003.
        ("an unknown opcode", frame(0x83, b"abc"), 1002),
        // 1003.
        ("a fragmented Ping", frame(PING & 0x0f, b"abc"), 1002),
        // It is accepted.
        ("a reserved bit", reserved, 1002),
        // It is accepted.
        ("a Ping of 126 bytes", frame(PING, &[b'x'; 126]), 1002),
        // It is echoed.
        (
            "a Close with 999",
            frame(CLOSE, &999_u16.to_be_bytes()),
            1002,
        ),
        (
            "a Close with 1000 and a reason",
            frame(CLOSE, b"\x03\xe8bye"),
            1000,
        ),
    ] {
        assert_eq!(
            close_code(&closed_by(&server, &bytes)),
            Some(code),
            "{what}"
        );
    }
    // An empty Close is answered with an empty one.
    let answer = closed_by(&server, &frame(CLOSE, b""));
    assert_eq!((answer.first, answer.payload.len()), (CLOSE, 0));
    // An empty message is nothing; a Ping between fragments is answered at once.
    let mut client = Client::connect(&server.address());
    client.send(BINARY, b"");
    client.send(BINARY_BEGINS, b"a");
    client.send(PING, b"p");
    client.send(CONTINUES_LAST, b"b");
    let (mut ponged, mut came) = (false, Vec::new());
    while !ponged || came.len() < 2 {
        match client.recv() {
            Frame {
                first: PONG,
                payload,
            } => ponged = payload == b"p",
            Frame { first, payload } => {
                assert_eq!((first, payload.is_empty()), (BINARY, false));
                came.extend(payload);
            }
        }
    }
    assert_eq!(came, b"ab");
}

/// §1.3 and §1.4.
fn requests_at_the_edges_are_answered_as_the_table_says(io: &str) {
    let server = Server::start_gateway(&echo_target(), &[io, "--workers=1"]);
    let with = |old: &str, new: &str| REQUEST.replacen(old, new, 1);
    let offer = |names: &str| {
        with(
            "\r\n\r\n",
            &format!("\r\nSec-WebSocket-Protocol: {names}\r\n\r\n"),
        )
    };
    for (what, request, status) in [
        // 405.
        (
            "GET without an upgrade",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "200",
        ),
        // 501.
        (
            "POST",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "405",
        ),
        (
            "no key",
            with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            "400",
        ),
        // 400.
        ("version 9", with("Version: 13", "Version: 9"), "426"),
        // 400 for both, because of the blank.
        ("base64, binary", offer("base64, binary"), "101"),
        ("mqtt, binary", offer("mqtt, binary"), "101"),
        ("mqtt", offer("mqtt"), "400"),
        ("any path", with("GET /echo", "GET /some/where?x"), "101"),
        (
            "a policy file",
            "<policy-file-request/>\0".to_owned(),
            "400",
        ),
    ] {
        let answer = match status {
            "101" => {
                let mut stream = dial(&server.address()).expect("it listens");
                stream.write_all(request.as_bytes()).expect("it reads");
                read_head(&mut stream).expect("an answer").0
            }
            _ => exchange(&server.address(), request.as_bytes()),
        };
        assert_eq!(answer.get(9..12), Some(status), "{what}: {answer}");
    }
    // A client that says nothing is waited for as any other: here it gets an answer, 408.
    let more = [io, "--workers=1", "--handshake-timeout=100ms"];
    let server = Server::start_gateway(&echo_target(), &more);
    assert!(exchange(&server.address(), b"").starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_session_crosses_with_the_old_command_line() {
    let target = echo_target();
    let folder = scratch("websockify");
    let (log, record) = (folder.path("log"), folder.path("rec"));
    let arguments = [
        "127.0.0.1:0",
        &target,
        "--traffic",
        &format!("--log-file={log}"),
        "--record",
        &record,
        "--auth-plugin=BasicHTTPAuth",
        "--auth-source=ada:se:cret",
        "--run-once",
    ];
    let mut server = websockify(&arguments);
    let refused = exchange(&server.address(), REQUEST.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let mut stream = dial(&server.address()).expect("it listens");
    // `ada:se:cret`
    let login = "\r\nAuthorization: Basic YWRhOnNlOmNyZXQ=\r\n\r\n";
    let request = REQUEST.replacen("\r\n\r\n", login, 1);
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut client = Client::opened(stream).expect("a session");
    client.send(BINARY, b"abc");
    client.expect(BINARY, b"abc");
    client.close();
    assert_eq!(server.wait(), Some(0));
    let stderr = server.stderr();
    assert!(stderr.contains("}>\n{<\n"), "{stderr}");
    let log = fs::read_to_string(log).expect("a log");
    assert!(
        log.contains("status=401") && log.contains("user=ada"),
        "{log}"
    );
    let recorded = fs::read_to_string(format!("{record}.1")).expect("a recording");
    assert!(
        recorded.starts_with("var VNC_frame_data = [\n'}0}abc',\n"),
        "{recorded}"
    );
}

#[test]
fn tokens_of_the_old_command_line_lead_to_targets() {
    let target = echo_target();
    let folder = scratch("websockify-tokens");
    let file = folder.write("t", &format!("vnc.example: {target}\n"));
    let source = format!("--token-source={file}");
    let arguments = [
        "127.0.0.1:0",
        "--token-plugin",
        "TokenFile",
        &source,
        "--host-token",
    ];
    let server = websockify(&arguments);
    // 0.13 ends the connection without a word.
    let refused = exchange(&server.address(), REQUEST.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
    let mut stream = dial(&server.address()).expect("it listens");
    let request = REQUEST.replacen("Host: localhost", "Host: vnc.example:6080", 1);
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut client = Client::opened(stream).expect("a session");
    client.echo(BINARY, b"abc");
}

#[test]
fn a_daemon_leaves_the_terminal_when_it_serves() {
    let target = echo_target();
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port")
        .port();
    let listen = format!("127.0.0.1:{port}");
    let output = run("websockify", &["-D", &listen, &target]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let pid = output
        .stdout
        .rsplit_once("pid ")
        .expect("the line that says where it listens")
        .1;
    let pid: u32 = pid.trim().parse().expect("a pid");
    let mut client = Client::connect(&format!("ws://{listen}"));
    client.echo(BINARY, b"abc");
    client.close();
    let session = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<_> = session
        .rsplit_once(") ")
        .expect("a name")
        .1
        .split(' ')
        .collect();
    assert_eq!(fields[3], pid.to_string(), "it leads a session of its own");
    terminate(pid);
    until("it has ended", || !is_alive(pid));
    // A port that is taken is told on the terminal.
    let _taken = TcpListener::bind(&listen).expect("the port is free again");
    let output = run("websockify", &["-D", &listen, &target]);
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(
        output.stderr.contains("another process has it"),
        "{}",
        output.stderr
    );
}

#[test]
fn an_idle_timeout_ends_it_and_a_session_holds_it() {
    let target = echo_target();
    let mut server = websockify(&["127.0.0.1:0", &target, "--idle-timeout=1"]);
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"abc");
    thread::sleep(std::time::Duration::from_millis(1500));
    client.echo(BINARY, b"abc");
    client.close();
    assert_eq!(server.wait(), Some(0));
    // --timeout stops the listener and lets sessions end.
    let mut server = websockify(&["127.0.0.1:0", &target, "--timeout=1"]);
    let mut client = Client::connect(&server.address());
    let address = server.address();
    until("nobody listens any more", || {
        TcpStream::connect(address.trim_start_matches("ws://")).is_err()
    });
    client.echo(BINARY, b"abc");
    client.set_patience(PATIENCE);
    client.close();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn what_is_wrong_ends_it_with_2_and_a_sentence() {
    for (arguments, sentence) in [
        (&["6080"][..], "Too few arguments"),
        (&["6080", "a"], "Error parsing target"),
        (&["6080", "a:1", "--", "vncserver"], "Too many arguments"),
        (&["a:1", "--inetd"], "the standard input is neither"),
        (&["6080", "a:1", "--nonsense"], "no such option"),
    ] {
        let output = run("websockify", arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.contains(sentence), "{}", output.stderr);
    }
    let help = run("websockify", &["--help"]);
    assert_eq!(
        (help.code, help.stdout.contains("--token-plugin")),
        (0, true)
    );
}

/// Starts a program on a connection that is its standard input, and also its standard error, as inetd does.
fn accepted_by_inetd(program: &str, arguments: &[&str], connection: OwnedFd) -> Child {
    let error = connection.try_clone().expect("a descriptor");
    Command::new(crate::common::program(program))
        .args(arguments)
        .stdin(Stdio::from(connection))
        .stdout(Stdio::null())
        .stderr(Stdio::from(error))
        .spawn()
        .expect("it starts")
}

#[test]
fn inetd_hands_one_session_over() {
    let target = echo_target();
    for arguments in [
        &["websockify", "--inetd", &target][..],
        // A line of the log would break the stream.
        &["websockify", "-v", "--inetd", &target],
        &["ringway", "gateway", "inetd", &target],
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("an address");
        let client = TcpStream::connect(at).expect("it listens");
        let (accepted, _) = listener.accept().expect("the client");
        let mut server = accepted_by_inetd(arguments[0], &arguments[1..], accepted.into());
        drop(listener);
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        (&client).write_all(REQUEST.as_bytes()).expect("it reads");
        let mut client = Client::opened(client).expect("a session");
        client.echo(BINARY, b"abc");
        client.close();
        let status = server.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    // A Unix socket, and a client that leaves without a word.
    let (client, accepted) = UnixStream::pair().expect("two sockets");
    let mut server = accepted_by_inetd("websockify", &["--inetd", &target], accepted.into());
    drop(client);
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
}

/// Starts a program whose standard input is a listening socket, and also its output if `all`, as inetd does with `wait`.
fn waited_for_by_inetd(program: &str, arguments: &[&str], listener: &OwnedFd, all: bool) -> Child {
    let stream = || Stdio::from(listener.try_clone().expect("a descriptor"));
    let output = || if all { stream() } else { Stdio::null() };
    Command::new(crate::common::program(program))
        .args(arguments)
        .stdin(stream())
        .stdout(output())
        .stderr(output())
        .spawn()
        .expect("it starts")
}

#[test]
fn a_listener_that_inetd_hands_over_serves_many_and_is_left_as_it_was() {
    let target = echo_target();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("ws://{}", listener.local_addr().expect("bound"));
    let listener = OwnedFd::from(listener);
    // One after another on the same socket: each leaves it open.
    for (arguments, all) in [
        (&["websockify", "--inetd", &target][..], false),
        (&["websockify", "--inetd", &target], true),
        (
            &[
                "ringway",
                "gateway",
                "inetd",
                &target,
                "--workers=2",
                "--port=0",
            ],
            true,
        ),
    ] {
        let mut server = waited_for_by_inetd(arguments[0], &arguments[1..], &listener, all);
        let mut clients: Vec<_> = (0..5).map(|_| Client::connect(&address)).collect();
        for client in &mut clients {
            client.echo(BINARY, b"abc");
        }
        clients.into_iter().for_each(Client::close);
        terminate(server.id());
        assert_eq!(
            server.wait().expect("it ends").code(),
            Some(0),
            "{arguments:?}"
        );
        assert!(TcpStream::connect(address.trim_start_matches("ws://")).is_ok());
    }
    // A Unix socket, and an end by itself.
    let scratch = scratch("inetd");
    let path = scratch.path("listener");
    let listener = OwnedFd::from(UnixListener::bind(&path).expect("a socket"));
    let arguments = ["--inetd", "--run-once", &target];
    let mut server = waited_for_by_inetd("websockify", &arguments, &listener, true);
    let mut client = Client::connect(&format!("ws+unix:{path}"));
    client.echo(BINARY, b"abc");
    client.close();
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
    assert!(fs::exists(&path).expect("a directory"));
    // Where to listen is said already.
    let output = Command::new(crate::common::program("ringway"))
        .args([
            "gateway",
            "inetd",
            &target,
            "--port=0",
            "--wsuri=ws://127.0.0.1:0",
        ])
        .stdin(Stdio::from(listener))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--wsuri has no effect"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_key_with_a_password_and_chosen_ciphers_serve_as_in_the_original() {
    let target = echo_target();
    let folder = scratch("websockify-tls");
    let (cert, key) = crate::tls::certificate(&folder, "localhost");
    let key = crate::tls::encrypted(&folder, &key, "sesame");
    let (cert, key) = (format!("--cert={cert}"), format!("--key={key}"));
    let server = websockify(&[
        "127.0.0.1:0",
        &target,
        &cert,
        &key,
        "--key-password=sesame",
        "--ssl-only",
        "--ssl-ciphers=ECDHE-ECDSA-AES128-GCM-SHA256:RC4:!aNULL",
    ]);
    let mut client = crate::tls::open(&server, &folder, "localhost");
    client.write_all(&frame(BINARY, b"abc")).expect("it reads");
    let mut echoed = [0; 5];
    client.read_exact(&mut echoed).expect("an echo");
    assert_eq!(echoed, [BINARY, 3, b'a', b'b', b'c']);
}
