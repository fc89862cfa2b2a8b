//! Programs as targets of a gateway, and the program `websocketd`: what happens at the edges (`docs/websocketd.md` has the table), and that
//! nothing of a session stays behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Instant;

use crate::common::client::{
    BINARY, CLOSE, CONTINUES_LAST, Client, Frame, REQUEST, TEXT, TEXT_BEGINS, dial, exchange,
    frame, noise, read_head,
};
use crate::common::{Server, is_alive, on_both_tiers, run, scratch, until};

on_both_tiers!(
    lines_are_text_messages_and_text_messages_are_lines,
    the_close_says_how_the_program_has_ended,
    a_hundred_megabytes_cross_each_way_at_once,
    a_thousand_sessions_leave_nothing_behind,
    a_program_that_ends_while_its_client_sends_is_heard_to_its_last_byte,
);

/// A gateway with one worker that runs a program.
fn gateway(options: &[&str], program: &[&str]) -> Server {
    let mut arguments = vec![
        "gateway",
        "127.0.0.1:0",
        "--port=auto",
        "--interval=50ms",
        "--workers=1",
        "--exec",
    ];
    arguments.extend(options);
    arguments.push("--");
    arguments.extend(program);
    Server::start_program("ringway", &arguments)
}

fn shell(options: &[&str], script: &str) -> Server {
    gateway(options, &["sh", "-c", script])
}

/// All messages up to the Close, in one frame each, and the code and reason of that.
fn all(client: &mut Client) -> (Vec<Vec<u8>>, u16, String) {
    let mut messages = Vec::new();
    loop {
        let Frame { first, payload } = client.recv();
        if first != CLOSE {
            assert!(first == TEXT || first == BINARY, "{first:#x}");
            messages.push(payload);
            continue;
        }
        let code = payload
            .first_chunk()
            .copied()
            .map_or(1005, u16::from_be_bytes);
        let reason = payload.get(2..).unwrap_or_default().to_vec();
        client.send(CLOSE, &code.to_be_bytes());
        return (messages, code, String::from_utf8(reason).expect("text"));
    }
}

/// The same of text, as one string with a bar behind each message.
fn told(address: &str, path: &str) -> (String, u16, String) {
    let (messages, code, reason) = all(&mut Client::connect_to(address, path));
    let text = messages
        .iter()
        .map(|message| String::from_utf8_lossy(message) + "|");
    (text.collect(), code, reason)
}

/// Reads what a server sends, apart from what this client sends meanwhile. Returns the payload of its Close.
fn read_frames(reads: &mut impl Read, mut take: impl FnMut(Vec<u8>)) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    loop {
        let mut header = [0; 10];
        let (head, len) = header.split_at_mut(2);
        reads.read_exact(head).expect("a header");
        let more = match head[1] {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        reads.read_exact(&mut len[..more]).expect("a length");
        let len = if more > 0 {
            number(&len[..more])
        } else {
            usize::from(head[1])
        };
        let mut payload = vec![0; len];
        reads.read_exact(&mut payload).expect("a payload");
        match head[0] {
            CLOSE => return payload,
            _ => take(payload),
        }
    }
}

fn lines_are_text_messages_and_text_messages_are_lines(io: &str) {
    let server = gateway(&[io], &["cat"]);
    let mut client = Client::connect(&server.address());
    for text in ["hello", "", "h\u{e9}llo \u{1f600}", &"x".repeat(40_000)] {
        client.send(TEXT, text.as_bytes());
        client.expect(TEXT, text.as_bytes());
    }
    // A line feed inside a message makes two lines, as with websocketd.
    client.send(TEXT, b"a\nb");
    client.expect(TEXT, b"a");
    client.expect(TEXT, b"b");
    // A message in fragments is one line.
    client.write(&frame(TEXT_BEGINS, b"be"));
    client.write(&frame(CONTINUES_LAST, b"gin"));
    client.expect(TEXT, b"begin");
    // A binary message has no line feed added: three of them are one line here.
    for part in [&b"one "[..], b"two ", b"three\n"] {
        client.send(BINARY, part);
    }
    client.expect(TEXT, b"one two three");
    client.close();
    // CRLF, an empty line, bytes that are no UTF-8, and a last line without an end.
    let server = shell(&[io], r"printf 'a\r\n\n\351t\351\nb\rc\nlast'");
    let expected = "a||\u{fffd}t\u{fffd}|b\rc|last|".to_owned();
    let (text, code, _) = told(&server.address(), "/");
    assert_eq!((text, code), (expected, 1000));
    // A line of any length is one message, in several frames.
    let server = shell(
        &[io],
        "head -c 300000 /dev/zero | tr '\\0' x; echo; echo end",
    );
    let mut client = Client::connect(&server.address());
    let mut line = Vec::new();
    loop {
        let Frame { first, payload } = client.recv();
        line.extend(payload);
        if first & 0x80 != 0 {
            break;
        }
    }
    assert_eq!(line, vec![b'x'; 300_000]);
    client.expect(TEXT, b"end");
}

fn the_close_says_how_the_program_has_ended(io: &str) {
    for (script, code, reason) in [
        ("exit 0", 1000, "exit status 0"),
        ("exit 3", 1011, "exit status 3"),
        ("kill -9 $$", 1011, "killed by signal 9"),
        // What it leaves running in the background ends with it: the session does not wait for that.
        ("sleep 600 & exit 4", 1011, "exit status 4"),
    ] {
        let server = shell(&[io], script);
        let (text, got, said) = told(&server.address(), "/");
        assert_eq!(
            (text.as_str(), got, said.as_str()),
            ("", code, reason),
            "{script}"
        );
        until("its group is empty", || children(&server).is_empty());
    }
    // A program that closes its output and goes on is no end: the input still reaches it.
    let scratch = scratch("programs-closed-output");
    let file = scratch.path("got");
    let server = shell(&[io], &format!("exec >&-; head -n 1 > {file}; exit 7"));
    let mut client = Client::connect(&server.address());
    client.send(TEXT, b"still here");
    let (_, code, reason) = all(&mut client);
    assert_eq!((code, reason.as_str()), (1011, "exit status 7"));
    assert_eq!(fs::read_to_string(file).expect("a file"), "still here\n");
}

/// With websocketd 0.4.1 this stands still.
fn a_hundred_megabytes_cross_each_way_at_once(io: &str) {
    const LEN: usize = 100_000_000;
    // As cat, but that it ends.
    let program = ["head", "-c", &LEN.to_string()];
    let server = gateway(&[io, "--exec-messages=binary"], &program);
    let client = Client::connect(&server.address());
    let mut writes = client.into_stream();
    let mut reads = writes.try_clone().expect("a descriptor");
    let sender = thread::spawn(move || {
        let piece = frame(BINARY, &noise(1, 1 << 20));
        for _ in 0..LEN.div_ceil(1 << 20) {
            writes.write_all(&piece).expect("it takes all");
        }
    });
    let mut came = 0;
    let close = read_frames(&mut reads, |payload| came += payload.len());
    assert_eq!(&close[2..], b"exit status 0");
    assert_eq!(came, LEN);
    sender.join().expect("it has sent all");
}

/// The client never stops to send, and the program reads one line of that.
fn a_program_that_ends_while_its_client_sends_is_heard_to_its_last_byte(io: &str) {
    let server = shell(
        &[io],
        "head -n 1; head -c 1000000 /dev/zero | tr '\\0' '\\n'; echo last",
    );
    let client = Client::connect(&server.address());
    let mut writes = client.into_stream();
    let reads = writes.try_clone().expect("a descriptor");
    thread::spawn(move || {
        let piece = frame(TEXT, &[b'x'; 1000]);
        while writes.write_all(&piece).is_ok() {}
    });
    let (mut lines, mut last) = (0, Vec::new());
    let close = read_frames(&mut BufReader::new(reads), |payload| {
        lines += 1;
        last = payload;
    });
    assert_eq!(&close[2..], b"exit status 0");
    assert_eq!((lines, &last[..]), (1_000_002, &b"last"[..]));
}

fn a_thousand_sessions_leave_nothing_behind(io: &str) {
    let server = gateway(&[io], &["cat"]);
    let worker = server.workers()[0];
    let descriptors = || {
        fs::read_dir(format!("/proc/{worker}/fd"))
            .expect("a process")
            .count()
    };
    Client::connect(&server.address()).echo(TEXT, b"the first one");
    until("it has ended", || children(&server).is_empty());
    let before = descriptors();
    for round in 0..1000 {
        let mut client = Client::connect(&server.address());
        client.echo(TEXT, b"hello");
        match round % 3 {
            0 => client.close(),
            1 => client.reset(),
            _ => drop(client),
        }
    }
    until("no process is left, and no zombie", || {
        children(&server).is_empty()
    });
    until("no descriptor is left", || descriptors() <= before);
    server.counter_reaching("streams_opened", 1001);
}

/// Processes of a server's workers, dead ones that nobody has waited for included.
fn children(server: &Server) -> Vec<u32> {
    let workers = server.workers();
    let all = fs::read_dir("/proc").expect("it is there").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let parent = behind_name
            .split(' ')
            .nth(2)
            .and_then(|parent| parent.parse().ok());
        parent.is_some_and(|parent| workers.contains(&parent))
    })
    .collect()
}

/// A shell and its child that both ignore SIGINT and SIGTERM. It says the child's pid.
const STUBBORN: &str = "trap '' INT TERM; sh -c 'echo $$; while :; do sleep 1; done' & wait; while :; do sleep 1; done";

fn pid_of(client: &mut Client) -> u32 {
    let frame = client.recv();
    let pid = String::from_utf8(frame.payload).expect("text");
    pid.parse().expect("a pid")
}

#[test]
fn a_stubborn_grandchild_is_killed_when_its_client_has_left() {
    let server = shell(&["--kill-after=50ms,50ms,100ms"], STUBBORN);
    for round in 0..3 {
        let mut client = Client::connect(&server.address());
        let grandchild = pid_of(&mut client);
        assert!(is_alive(grandchild));
        match round {
            0 => client.close(),
            1 => client.reset(),
            _ => drop(client),
        }
        until("the grandchild is gone", || !is_alive(grandchild));
        until("the group is gone", || children(&server).is_empty());
    }
}

#[test]
fn each_step_of_the_ladder_has_its_time() {
    let scratch = scratch("programs-ladder");
    let got = scratch.path("got");
    let script = format!(
        "trap 'echo INT >> {got}' INT; trap 'echo TERM >> {got}; exit' TERM; echo ready; while :; do sleep 0.05; done"
    );
    let server = shell(&["--kill-after=100ms,300ms,1h"], &script);
    let mut client = Client::connect(&server.address());
    client.expect(TEXT, b"ready");
    let began = Instant::now();
    client.close();
    until("it has ended", || children(&server).is_empty());
    assert!(
        began.elapsed().as_millis() >= 400,
        "both steps were waited for"
    );
    assert_eq!(fs::read_to_string(got).expect("a file"), "INT\nTERM\n");
    // A program that ends when its input does gets no signal.
    let server = shell(&["--kill-after=1h,1h,1h"], "cat > /dev/null");
    Client::connect(&server.address()).close();
    until("it has ended", || children(&server).is_empty());
}

#[test]
fn a_gateway_that_stops_leaves_no_program() {
    let mut server = shell(
        &["--kill-after=50ms,50ms,100ms", "--drain-timeout=20s"],
        STUBBORN,
    );
    let mut client = Client::connect(&server.address());
    let grandchild = pid_of(&mut client);
    let program = children(&server);
    server.signal("TERM");
    assert_eq!(
        client.recv(),
        Frame {
            first: CLOSE,
            payload: b"\x03\xe9the server is stopping".into()
        }
    );
    client.send(CLOSE, b"\x03\xe9");
    drop(client);
    assert_eq!(server.wait(), Some(0));
    assert!(!is_alive(grandchild));
    assert!(program.iter().all(|pid| !is_alive(*pid)));
    // Without time to drain, too.
    let mut server = shell(
        &["--kill-after=10s,10s,10s", "--drain-timeout=100ms"],
        STUBBORN,
    );
    let mut client = Client::connect(&server.address());
    let grandchild = pid_of(&mut client);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    until("it is killed", || !is_alive(grandchild));
}

#[test]
fn one_program_more_than_may_run_is_503() {
    let server = gateway(&["--max-forks=2"], &["cat"]);
    let address = server.address();
    let mut clients = [Client::connect(&address), Client::connect(&address)];
    let refused = exchange(&address, REQUEST.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    server.counter_reaching("refused_limits", 1);
    clients[0].echo(TEXT, b"still there");
    drop(clients);
    until("there is room again", || {
        Client::try_connect(&address).is_ok()
    });
}

#[test]
fn a_program_knows_its_client_and_nothing_else_of_ours() {
    let server = gateway(
        &["--pass-env=CARGO_PKG_NAME,NONE_OF_THIS_NAME"],
        &["/usr/bin/env"],
    );
    let mut stream = dial(&server.address()).expect("it listens");
    let more = "Cookie: a=1\r\nCookie: b=2\r\nProxy: http://evil/\r\nAuthorization: Basic eA==\r\nX_Y: no\r\n\r\n";
    let request = REQUEST.replacen("GET /echo ", "GET /a%20b/c?d=%20e ", 1);
    let request = request.trim_end().to_owned() + "\r\n" + more;
    let port = stream.local_addr().expect("an address").port().to_string();
    stream.write_all(request.as_bytes()).expect("it reads");
    let (messages, ..) = all(&mut Client::opened(stream).expect("a WebSocket"));
    let mut got: BTreeMap<String, String> = messages
        .iter()
        .map(|message| String::from_utf8(message.clone()).expect("text"))
        .filter_map(|line| {
            line.split_once('=')
                .map(|(name, value)| (name.into(), value.into()))
        })
        .collect();
    let unique = got.remove("UNIQUE_ID").expect("it is there");
    assert!(unique.parse::<u64>().is_ok(), "{unique}");
    let software = got.remove("SERVER_SOFTWARE").expect("it is there");
    assert!(software.starts_with("ringway/"), "{software}");
    let expected = [
        ("AUTH_TYPE", ""),
        ("CARGO_PKG_NAME", "ringway-cli"),
        ("CONTENT_LENGTH", ""),
        ("CONTENT_TYPE", ""),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_CONNECTION", "Upgrade"),
        ("HTTP_COOKIE", "a=1, b=2"),
        ("HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
        ("HTTP_UPGRADE", "websocket"),
        ("PATH_INFO", "/a b/c"),
        ("PATH_TRANSLATED", "/a b/c"),
        ("QUERY_STRING", "d=%20e"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_HOST", "127.0.0.1"),
        ("REMOTE_IDENT", ""),
        ("REMOTE_PORT", &port),
        ("REMOTE_USER", ""),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a%20b/c?d=%20e"),
        ("SCRIPT_NAME", "/"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ];
    let expected: BTreeMap<_, _> = expected
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(got, expected);
}

#[test]
fn a_program_has_three_descriptors_all_signals_and_all_cpus_of_the_server() {
    let server = shell(
        &[],
        "ls -l /proc/self/fd | grep -c socket:; grep -E '^(Cpus_allowed_list|SigBlk|SigIgn)' /proc/self/status; cut -d' ' -f5 /proc/$$/stat; echo $$",
    );
    let (text, ..) = told(&server.address(), "/");
    let lines: Vec<_> = text.split('|').map(str::trim).collect();
    let own = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let cpus = own
        .lines()
        .find(|line| line.starts_with("Cpus_allowed_list"))
        .expect("a line");
    // The standard input: the output of `ls` is a pipe, and the standard error is one to the log.
    assert_eq!([lines[0], lines[3]], ["1", cpus]);
    for line in &lines[1..3] {
        let signals = line
            .split_once(":\t")
            .map(|(_, hex)| u64::from_str_radix(hex, 16));
        let signals = signals.expect("a line").expect("a number");
        // The C library has 32 and 33 for itself, and ignores them in what it starts.
        assert_eq!(signals & !0x1_8000_0000, 0, "{line}");
    }
    assert_eq!(lines[4], lines[5], "it leads a process group of its own");
}

#[test]
fn the_path_names_a_program_of_the_directory_and_nothing_outside() {
    let scratch = scratch("programs-directory");
    let inside = scratch.path("in");
    fs::create_dir_all(format!("{inside}/deep")).expect("a directory");
    let program = |name: &str, mode| {
        let path = format!("{inside}/{name}");
        fs::write(&path, "#!/bin/sh\necho \"$SCRIPT_NAME $PATH_INFO\"\n").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    program("run", 0o755);
    program("deep/run", 0o755);
    program("text", 0o644);
    program("../outside", 0o755);
    let server = Server::start_program(
        "ringway",
        &[
            "gateway",
            "127.0.0.1:0",
            "--port=0",
            &format!("--exec-dir={inside}"),
        ],
    );
    let address = server.address();
    for (path, said) in [
        ("/run", "/run |"),
        ("/run/a/b?c", "/run /a/b|"),
        ("/deep/run/x", "/deep/run /x|"),
    ] {
        assert_eq!(told(&address, path).0, said, "{path}");
    }
    for (path, status) in [
        ("/", 404),
        ("/none", 404),
        ("/deep", 404),
        ("/../outside", 404),
        ("/%2e%2e/outside", 404),
        ("/text", 403),
    ] {
        let request = REQUEST.replacen("GET /echo ", &format!("GET {path} "), 1);
        let answer = exchange(&address, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
    }
}

#[test]
fn standard_error_goes_where_it_was_told_to_go() {
    let script = "echo out; printf 'a \\033 warning\\n' >&2";
    let server = shell(&["--exec-stderr=client"], script);
    assert_eq!(told(&server.address(), "/").0, "out|a \u{1b} warning|");
    let server = shell(&["--exec-stderr=discard"], script);
    assert_eq!(told(&server.address(), "/").0, "out|");
    assert!(
        !server.stderr().contains("a \\u{1b} warning"),
        "{}",
        server.stderr()
    );
    let server = shell(&[], script);
    assert_eq!(told(&server.address(), "/").0, "out|");
    // What a program says cannot draw on the operator's terminal.
    until("it is logged", || {
        server.stderr().contains("a \\u{1b} warning")
    });
}

#[test]
fn subprotocols_are_those_that_were_named_and_none_is_needed() {
    let server = gateway(&["--subprotocol=chat"], &["cat"]);
    for (offer, chosen) in [
        ("chat, binary", Some("chat")),
        ("binary", None),
        ("other", None),
    ] {
        let offer = format!("Sec-WebSocket-Protocol: {offer}\r\n\r\n");
        let request = REQUEST.trim_end().to_owned() + "\r\n" + &offer;
        let mut stream = dial(&server.address()).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let (head, _) = read_head(&mut stream).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let named = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(named, chosen, "{offer}");
    }
}

#[test]
fn options_that_lead_nowhere_are_refused() {
    for (arguments, why) in [
        (&["1", "--exec"][..], "needs a program"),
        (&["1", "h:1", "--", "cat"], "behind --exec"),
        (
            &["1", "h:1", "--exec", "--", "cat"],
            "leave --exec or the target off",
        ),
        (
            &["1", "--exec-dir=/", "--exec", "--", "cat"],
            "leave one off",
        ),
        (
            &["1", "h:1", "--max-forks=3"],
            "have no effect without a program",
        ),
        (
            &["1", "--half-close", "--exec", "--", "cat"],
            "--half-close and --send-proxy",
        ),
        (
            &["1", "--exec", "--", "/none/of/this"],
            "is no program here",
        ),
        (&["1", "--exec-dir=/none/of/this"], "--exec-dir"),
        (
            &["1", "--kill-after=1s", "--exec", "--", "cat"],
            "three times",
        ),
    ] {
        let arguments = [&["gateway"], arguments].concat();
        let output = run("ringway", &arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(
            output.stderr.contains(why),
            "{arguments:?}: {}",
            output.stderr
        );
    }
}

/// §3.3 of what was measured of websocketd 0.4.1: in the comments, what it does where that is something else.
#[test]
fn the_program_websocketd_runs_a_program_for_each_client() {
    let websocketd = |more: &[&str]| {
        let mut arguments = vec!["--port=0", "--address=127.0.0.1", "--loglevel=error"];
        arguments.extend(more);
        Server::start_program("websocketd", &arguments)
    };
    let server = websocketd(&["cat"]);
    let mut client = Client::connect(&server.address());
    client.echo(TEXT, b"hello");
    client.send(TEXT, b"a\nb");
    client.expect(TEXT, b"a");
    client.expect(TEXT, b"b");
    client.close();
    // The last line is lost, and there is no Close: browsers see 1006.
    let server = websocketd(&["sh", "-c", "printf 'a\\nlast'; exit 3"]);
    let expected = ("a|last|".to_owned(), 1011, "exit status 3".to_owned());
    assert_eq!(told(&server.address(), "/"), expected);
    // The bytes of text messages get a line feed here, too.
    let server = websocketd(&["--binary", "cat"]);
    let mut client = Client::connect(&server.address());
    client.send(BINARY, b"no line");
    client.expect(BINARY, b"no line");
    // 429.
    let server = websocketd(&["--maxforks=1", "cat"]);
    let _first = Client::connect(&server.address());
    let refused = exchange(&server.address(), REQUEST.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    // 403 as well, with another body.
    let server = websocketd(&["--origin=a.example", "cat"]);
    for (origin, status) in [
        ("Origin: http://a.example\r\n", 101),
        ("Origin: https://a.example:8443\r\n", 101),
        ("Origin: http://b.a.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("", 403),
    ] {
        let request = REQUEST.trim_end().to_owned() + "\r\n" + origin + "\r\n";
        let mut stream = dial(&server.address()).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let (head, _) = read_head(&mut stream).expect("an answer");
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {head}"
        );
    }
    assert_eq!(run("websocketd", &["--cgidir=/c", "cat"]).code, 2);
    let help = run("websocketd", &["--help"]);
    assert!(
        help.code == 0 && help.stdout.contains("COMMAND"),
        "{}",
        help.stdout
    );
}

#[test]
fn a_login_is_told_to_the_program() {
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let server = shell(
        &[&format!("--basic-auth=ada:{hash}")],
        "echo $REMOTE_USER $AUTH_TYPE",
    );
    let refused = exchange(&server.address(), REQUEST.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let mut stream = dial(&server.address()).expect("it listens");
    let login = "Authorization: Basic YWRhOnNlY3JldA==\r\n\r\n";
    let request = REQUEST.trim_end().to_owned() + "\r\n" + login;
    stream.write_all(request.as_bytes()).expect("it reads");
    let (messages, ..) = all(&mut Client::opened(stream).expect("a WebSocket"));
    assert_eq!(messages, [b"ada Basic"]);
}
