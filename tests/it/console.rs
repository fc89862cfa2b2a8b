//! `ringway client` as its users run it: in a pipe, by a script, on a pseudo-terminal, and as a server.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use sha1::{Digest as _, Sha1};

use crate::common::client::{CLOSE, Client, TEXT, noise, read_head};
use crate::common::{Output, PATIENCE, Server, program, scratch, until};

mod reach;

/// Runs the client with an input, and waits for its end.
fn client(arguments: &[&str], input: &[u8]) -> (Output, Vec<u8>) {
    finish(start(arguments), input)
}

fn start(arguments: &[&str]) -> Child {
    Command::new(program("ringway"))
        .arg("client")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is built")
}

fn finish(mut child: Child, input: &[u8]) -> (Output, Vec<u8>) {
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A client that ends early reads no more.
    thread::spawn(move || stdin.write_all(&input).unwrap_or_default());
    let mut stderr = child.stderr.take().expect("piped");
    let errors = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).expect("text");
        text
    });
    let mut stdout = Vec::new();
    let mut out = child.stdout.take().expect("piped");
    out.read_to_end(&mut stdout).expect("readable");
    let code = child.wait().expect("a child").code().unwrap_or(-1);
    let output = Output {
        code,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: errors.join().expect("text"),
    };
    (output, stdout)
}

/// A server of one connection, which does with it what `serve` says. Returned is its URL.
fn fake(serve: impl FnOnce(TcpStream, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (head, _) = read_head(&mut stream).expect("a request");
        serve(stream, head);
    });
    url
}

/// The same with an open WebSocket, which sends these bytes and reads until its end.
fn fake_websocket(bytes: &'static [u8]) -> String {
    fake(move |mut stream, head| {
        open(&mut stream, &head);
        stream.write_all(bytes).expect("it reads");
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

pub(crate) fn open(stream: &mut TcpStream, head: &str) {
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .expect("a key");
    // RFC 6455 §4.2.2
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = BASE64_STANDARD.encode(digest);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).expect("it reads");
}

fn answer(text: &'static str) -> String {
    fake(move |mut stream, _| {
        stream.write_all(text.as_bytes()).expect("it reads");
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

#[test]
fn a_pipe_carries_lines_and_whole_messages_both_ways() {
    let server = Server::start(&["--workers=1"]);
    let url = server.address();
    let (output, _) = client(
        &[&url, "--count=3", "--linger=forever"],
        "a\n\nκόσμε\n".as_bytes(),
    );
    assert_eq!(
        (output.code, &*output.stdout),
        (0, "a\n\nκόσμε\n"),
        "{}",
        output.stderr
    );
    let bytes = noise(3, 3_000_000);
    let (output, stdout) = client(
        &[
            &url,
            "--messages=whole",
            "--send-as=binary",
            "--count=1",
            "--linger=forever",
        ],
        &bytes,
    );
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(stdout == bytes);
    // More than the buffers of both sides hold at once.
    let bytes = noise(4, 5_000_000);
    let (output, stdout) = client(&[&url, "--messages=chunks", "--linger=5s"], &bytes);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(stdout == bytes);
    let (output, _) = client(
        &[
            &url,
            "--send-as=binary",
            "--binary=base64",
            "--count=1",
            "--linger=forever",
        ],
        b"hi\n",
    );
    assert_eq!(output.stdout, "aGk=\n");
    let (output, _) = client(
        &[&url, "--json", "--count=1", "--linger=forever"],
        b"{\"a\":[1]}\n",
    );
    assert_eq!(output.stdout, "{\n  \"a\": [\n    1\n  ]\n}\n");
}

#[test]
fn each_end_has_its_exit_code_and_its_sentence() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = format!("ws://{}", free.local_addr().expect("bound"));
    drop(free);
    let forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 13\r\n\r\nnot from here";
    let wrong_key = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    let silent = fake(|mut stream, _| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let ends = fake(|mut stream, head| open(&mut stream, &head));
    for (url, code, sentence) in [
        (fake_websocket(b"\x88\x02\x03\xe8"), 0, ""),
        (
            "127.0.0.1:1".to_owned(),
            2,
            "write it as ws://host:port/path",
        ),
        (closed, 3, "is the port right?"),
        (
            "ws://no-such-host.invalid".to_owned(),
            3,
            "no address is known for no-such-host.invalid",
        ),
        (
            answer(forbidden),
            8,
            "status 403 (Forbidden): not from here",
        ),
        (answer(wrong_key), 8, "--show-handshake shows what it sent"),
        (
            fake_websocket(b"\x88\x06\x03\xf3oops"),
            9,
            "the peer closed with 1011 internal error: oops",
        ),
        (ends, 10, "without a close frame (1006)"),
        (
            fake_websocket(b"\xf1\x00"),
            11,
            "closed with 1002 protocol error",
        ),
        (silent, 12, "--connect-timeout gives it longer"),
    ] {
        let timeout = if code == 12 { "200ms" } else { "30s" };
        let (output, _) = client(
            &[&url, "--linger=forever", "--connect-timeout", timeout],
            b"",
        );
        assert_eq!(output.code, code, "{url}: {}", output.stderr);
        assert!(output.stderr.contains(sentence), "{url}: {}", output.stderr);
    }
}

#[test]
fn a_signal_closes_with_1001_and_ends_with_5() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let child = start(&[
        &format!("ws://{}", listener.local_addr().expect("bound")),
        "--linger=forever",
    ]);
    let (mut stream, _) = listener.accept().expect("a client");
    let (head, _) = read_head(&mut stream).expect("a request");
    open(&mut stream, &head);
    // Shown: from then on signals close the WebSocket.
    stream.write_all(b"\x81\x01x").expect("it reads");
    let pid = child.id();
    let mut child = child;
    let mut shown = [0; 2];
    child
        .stdout
        .as_mut()
        .expect("piped")
        .read_exact(&mut shown)
        .expect("a line");
    crate::common::interrupt(pid);
    let mut frame = [0; 8];
    stream.read_exact(&mut frame).expect("a Close");
    assert_eq!(frame[..2], [0x88, 0x82]);
    assert_eq!(
        [frame[6] ^ frame[2], frame[7] ^ frame[3]],
        1001_u16.to_be_bytes()
    );
    stream.write_all(b"\x88\x02\x03\xe9").expect("it reads");
    drop(stream);
    assert_eq!(finish(child, b"").0.code, 5);
}

#[test]
fn a_script_passes_or_tells_its_line() {
    let server = Server::start(&["--workers=1"]);
    let url = server.address();
    let folder = scratch("console-script");
    let good = "# an echo\nhello\n/expect hello\n/binary 00ff\n/wait 30s\n/ping x\n/sleep 1ms\n//x\n/expect /x\n/close 4000 bye\n/expect-close 4000\n";
    let good = folder.write("good", good);
    let (output, _) = client(&[&url, "--script", &good, "--timeout=30s"], b"");
    assert_eq!(
        (output.code, &*output.stdout),
        (0, "hello\n00ff\n/x\n"),
        "{}",
        output.stderr
    );
    for (lines, code, why) in [
        (
            &["a", "/expect b"][..],
            12,
            "line 2 of the script (/expect b): no such message came in time, but 1 others",
        ),
        (
            &["/wait 1ms"],
            12,
            "line 1 of the script (/wait 1ms): no message came in time",
        ),
        (
            &["/close", "/expect-close 1011"],
            13,
            "line 2 of the script (/expect-close 1011): the peer closed with 1000",
        ),
        (&["/nope"], 2, "line 1 of the script: /nope is no command"),
        (
            &["/send-file /nowhere"],
            2,
            "line 1 of the script (/send-file /nowhere)",
        ),
    ] {
        let lines: Vec<_> = lines.iter().flat_map(|line| ["--execute", *line]).collect();
        let (output, _) = client(&[&[&*url, "--timeout=500ms"], &lines[..]].concat(), b"");
        assert_eq!(output.code, code, "{}", output.stderr);
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
}

#[test]
fn a_recording_is_played_back_and_compared() {
    let server = Server::start(&["--workers=1"]);
    let url = server.address();
    let folder = scratch("console-record");
    let file = folder.path("recording");
    let (output, _) = client(
        &[&url, "--record", &file, "--count=2", "--linger=forever"],
        b"one\ntwo\n",
    );
    assert_eq!(output.code, 0, "{}", output.stderr);
    let replay = [
        "--replay",
        &file,
        "--check=exact",
        "--speed=100x",
        "--timeout=30s",
    ];
    let (output, _) = client(&[&[&*url], &replay[..]].concat(), b"");
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stdout, "one\ntwo\n");
    assert!(
        output.stderr.contains("2 messages sent") && output.stderr.contains("2 of 2 came back"),
        "{}",
        output.stderr
    );
    let other = fake_websocket(b"\x81\x03one\x81\x03six\x88\x02\x03\xe8");
    let (output, _) = client(&[&[&*other], &replay[..]].concat(), b"");
    assert_eq!(output.code, 13, "{}", output.stderr);
    assert!(
        output
            .stderr
            .contains("message 2 is another than in the recording"),
        "{}",
        output.stderr
    );
    let fewer = fake_websocket(b"\x81\x03one\x88\x02\x03\xe8");
    let (output, _) = client(&[&*fewer, "--replay", &file, "--check=count"], b"");
    assert_eq!(output.code, 13, "{}", output.stderr);
    assert!(
        output
            .stderr
            .contains("1 messages came back, and 2 in the recording"),
        "{}",
        output.stderr
    );
}

#[test]
fn it_listens_and_lets_one_type_to_its_client() {
    let mut child = start(&[
        "--listen=127.0.0.1:0",
        "--subprotocol=chat",
        "--linger=forever",
    ]);
    let mut stdin: ChildStdin = child.stdin.take().expect("piped");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    let address = line
        .trim()
        .strip_prefix("* listening on ")
        .expect("where it listens");
    let mut client = Client::connect(address);
    client.send(TEXT, b"from the client");
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "from the client\n");
    stdin.write_all(b"to the client\n").expect("it reads");
    client.expect(TEXT, b"to the client");
    client.send(CLOSE, &1000_u16.to_be_bytes());
    client.expect(CLOSE, &1000_u16.to_be_bytes());
    drop(client);
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}

/// A client on a pseudo-terminal.
struct Typing {
    child: Child,
    ours: File,
    seen: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Typing {
    fn start(arguments: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&ours).expect("ours");
        unlockpt(&ours).expect("ours");
        let name = ptsname(&ours, Vec::new())
            .expect("a name")
            .into_string()
            .expect("text");
        let theirs = || {
            File::options()
                .read(true)
                .write(true)
                .open(&name)
                .expect("the other end")
        };
        let child = Command::new(program("ringway"))
            .arg("client")
            .args(arguments)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(theirs())
            .stdout(theirs())
            .stderr(theirs())
            .spawn()
            .expect("the program is built");
        let ours = File::from(ours);
        let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (mut reads, sees) = (ours.try_clone().expect("a descriptor"), seen.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The other end is gone: EIO.
            while let Ok(len @ 1..) = reads.read(&mut bytes) {
                sees.lock()
                    .expect("no panic")
                    .push_str(&String::from_utf8_lossy(&bytes[..len]));
            }
        });
        Self { child, ours, seen }
    }

    fn types(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).expect("it reads");
    }

    /// Waits until the screen has got these texts, one behind the other, and forgets what came before their end.
    fn sees(&self, texts: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut seen = self.seen.lock().expect("no panic");
            let end = texts.iter().try_fold(0, |from, text| {
                seen[from..].find(text).map(|at| from + at + text.len())
            });
            if let Some(end) = end {
                seen.drain(..end);
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{texts:?} did not come: {:?}",
                *seen
            );
            drop(seen);
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn on_a_terminal_a_message_leaves_the_line_that_is_being_typed() {
    let server = Server::start(&["--workers=1", "--app=broadcast", "--echo-self=false"]);
    let url = server.address();
    let mut other = Client::connect(&url);
    let folder = scratch("console-terminal");
    let history = folder.path("deep/history");
    let mut typing = Typing::start(&[&format!("{url}/echo"), "--history", &history]);
    typing.sees(&["connected to ", "> "]);
    typing.types("half a li");
    typing.sees(&["half a li"]);
    other.send(TEXT, b"news\x1b[2J");
    typing.sees(&["< ", "news\\u{1b}[2J", "> half a li"]);
    typing.types("ne\r");
    other.expect(TEXT, b"half a line");
    typing.types("/ping\r");
    typing.sees(&["Pong \"1\" after "]);
    typing.types("/nope\r");
    typing.sees(&["//nope sends the text"]);
    typing.types("/quit\r");
    typing.sees(&["closed, with 1000 normal closure"]);
    until("it has ended", || {
        typing.child.try_wait().expect("a child").is_some()
    });
    assert_eq!(typing.child.wait().expect("a child").code(), Some(0));
    let modes = tcgetattr(&typing.ours).expect("a terminal").local_modes;
    assert!(
        modes.contains(LocalModes::ECHO | LocalModes::ICANON),
        "the terminal is as it was"
    );
    let kept = std::fs::read_to_string(&history).expect("a history");
    assert!(kept.contains("half a line"), "{kept}");
}

#[test]
fn the_last_message_of_a_server_is_shown_and_the_terminal_is_given_back() {
    let mut typing = Typing::start(&[
        &fake_websocket(b"\x81\x04last\x88\x05\x03\xf3why"),
        "--history=none",
    ]);
    typing.sees(&["last", "the peer closed with 1011 internal error: why"]);
    until("it has ended", || {
        typing.child.try_wait().expect("a child").is_some()
    });
    assert_eq!(typing.child.wait().expect("a child").code(), Some(9));
    let modes = tcgetattr(&typing.ours).expect("a terminal").local_modes;
    assert!(
        modes.contains(LocalModes::ECHO | LocalModes::ICANON),
        "the terminal is as it was"
    );
}
