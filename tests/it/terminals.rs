//! Programs with terminals behind WebSockets (`docs/terminals.md`): sizes, both kinds of messages, the end, and that nothing stays behind.

use std::fs;
use std::io::Write as _;

use crate::common::client::{
    BINARY, CLOSE, CONTINUES_LAST, Client, REQUEST, TEXT, TEXT_BEGINS, dial, exchange, frame,
    read_head,
};
use crate::common::{Server, is_alive, on_both_tiers, run, until};

on_both_tiers!(
    a_terminal_has_the_size_that_its_client_says,
    text_and_binary_messages_are_what_is_typed,
    the_last_output_comes_before_the_close_that_says_the_status,
    two_hundred_sessions_leave_nothing_behind,
);

fn gateway(options: &[&str], program: &[&str]) -> Server {
    let mut arguments = vec![
        "gateway",
        "127.0.0.1:0",
        "--port=auto",
        "--interval=50ms",
        "--workers=1",
    ];
    arguments.extend(options);
    if !program.is_empty() {
        arguments.extend(["--pty", "--exec", "--"]);
        arguments.extend(program);
    }
    Server::start_program("ringway", &arguments)
}

fn shell(options: &[&str], script: &str) -> Server {
    gateway(options, &["sh", "-c", script])
}

/// A client of the subprotocol in which text messages are for the terminal.
fn controlling(address: &str, path: &str) -> Client {
    let mut stream = dial(address).expect("it listens");
    let offer = "\r\nSec-WebSocket-Protocol: terminal.ringway.v1\r\n\r\n";
    let request = REQUEST
        .replacen("GET /echo ", &format!("GET {path} "), 1)
        .replacen("\r\n\r\n", offer, 1);
    stream.write_all(request.as_bytes()).expect("it reads");
    let (head, early) = read_head(&mut stream).expect("a response");
    assert!(
        head.contains("Sec-WebSocket-Protocol: terminal.ringway.v1"),
        "{head}"
    );
    Client::of(stream, early)
}

/// Reads output until it has `text`. Returns all of it.
fn see(client: &mut Client, text: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let frame = client.recv();
        assert_eq!(frame.first, BINARY, "{:?}", String::from_utf8_lossy(&seen));
        seen.extend(frame.payload);
        let so_far = String::from_utf8_lossy(&seen);
        if so_far.contains(text) {
            return so_far.into_owned();
        }
    }
}

/// Reads everything up to the Close. Returns it, with the code and the reason.
fn end(client: &mut Client) -> (Vec<u8>, u16, String) {
    let mut seen = Vec::new();
    loop {
        let frame = client.recv();
        if frame.first == CLOSE {
            let (code, reason) = frame.payload.split_first_chunk().expect("a code");
            client.send(CLOSE, code);
            let reason = String::from_utf8(reason.to_vec()).expect("text");
            return (seen, u16::from_be_bytes(*code), reason);
        }
        assert_eq!(frame.first, BINARY);
        seen.extend(frame.payload);
    }
}

fn a_terminal_has_the_size_that_its_client_says(io: &str) {
    let server = shell(
        &[io],
        "echo $TERM; while read line; do echo \"is $(stty size)\"; done",
    );
    let mut client = controlling(&server.address(), "/?columns=132&rows=43&term=vt100");
    see(&mut client, "vt100");
    client.send(BINARY, b"\n");
    see(&mut client, "is 43 132");
    // What follows a size finds it, also where the message comes in two frames.
    client.send(TEXT, br#"{"columns":100,"rows":30}"#);
    client.send(BINARY, b"\n");
    see(&mut client, "is 30 100");
    client.write(&frame(TEXT_BEGINS, br#"{"columns":101,"#));
    client.write(&frame(CONTINUES_LAST, br#""rows":31}"#));
    client.send(BINARY, b"\n");
    see(&mut client, "is 31 101");
    client.close();
    let mut client = Client::connect_to(&server.address(), "/");
    see(&mut client, "xterm-256color");
    client.send(BINARY, b"\n");
    see(&mut client, "is 24 80");
    client.close();
    for (text, code) in [
        (&b"ls\n"[..], 1007),
        (br#"{"columns":0,"rows":1}"#, 1007),
        (&[b' '; 126], 1009),
    ] {
        let mut client = controlling(&server.address(), "/");
        see(&mut client, "xterm-256color");
        client.send(TEXT, text);
        let (_, got, reason) = end(&mut client);
        assert_eq!(got, code);
        assert!(reason.starts_with("a control message "), "{reason}");
    }
    let bad = REQUEST.replacen("/echo", "/?columns=0", 1);
    let refused = exchange(&server.address(), bad.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

fn text_and_binary_messages_are_what_is_typed(io: &str) {
    let server = shell(&[io], "stty -echo; echo ready; exec cat");
    let mut client = Client::connect(&server.address());
    see(&mut client, "ready");
    client.send(TEXT, "h\u{e9}llo ".as_bytes());
    client.send(BINARY, b"\xff there\n");
    let seen = loop {
        let frame = client.recv();
        if frame.payload.ends_with(b"\xff there\r\n") {
            break frame.payload;
        }
    };
    assert_eq!(seen, b"h\xc3\xa9llo \xff there\r\n");
    // ^D ends the input of a terminal.
    client.send(TEXT, b"\x04");
    assert_eq!(end(&mut client).2, "exit status 0");
}

fn the_last_output_comes_before_the_close_that_says_the_status(io: &str) {
    // More than the kernel keeps for a terminal, so that the program waits for its reader.
    let server = shell(
        &[io],
        "stty -opost; head -c 3000000 /dev/zero | tr '\\0' x; echo last; exit 3",
    );
    let (seen, code, reason) = end(&mut Client::connect(&server.address()));
    assert_eq!(seen.len(), 3_000_005);
    assert!(seen.ends_with(b"xlast\n"));
    assert_eq!((code, reason.as_str()), (1011, "exit status 3"));
    // What it leaves running has the terminal still, and gets the ladder.
    let server = shell(&[io], "sleep 600 & echo $!; exit 4");
    let (seen, code, reason) = end(&mut Client::connect(&server.address()));
    assert_eq!((code, reason.as_str()), (1011, "exit status 4"));
    let seen = String::from_utf8(seen).expect("a number");
    let left: u32 = seen.trim().parse().expect("a pid");
    until("it has ended", || !is_alive(left));
}

fn terminals_of(worker: u32) -> usize {
    let all = fs::read_dir(format!("/proc/{worker}/fd")).expect("a process");
    let links = all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links
        .filter(|link| link.starts_with("/dev/ptmx") || link.starts_with("/dev/pts"))
        .count()
}

fn two_hundred_sessions_leave_nothing_behind(io: &str) {
    let server = gateway(&[io], &["sh"]);
    let worker = server.workers()[0];
    let children = || {
        let path = format!("/proc/{worker}/task");
        let tasks = fs::read_dir(path).expect("a process").flatten();
        let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")));
        lists
            .map(|list| list.unwrap_or_default().split_whitespace().count())
            .sum::<usize>()
    };
    let descriptors = || {
        let all = fs::read_dir(format!("/proc/{worker}/fd"));
        all.expect("a process").count()
    };
    let mut client = Client::connect(&server.address());
    client.send(TEXT, b"exit\n");
    end(&mut client);
    drop(client);
    until("it has ended", || children() == 0);
    let before = descriptors();
    for round in 0..200 {
        let mut client = Client::connect(&server.address());
        client.send(TEXT, b"echo a''b\n");
        see(&mut client, "ab");
        match round % 4 {
            0 => {
                client.send(CLOSE, b"\x03\xe8");
                end(&mut client);
            }
            1 => client.reset(),
            2 => {
                client.send(BINARY, b"exit 0\n");
                assert_eq!(end(&mut client).1, 1000);
            }
            _ => drop(client),
        }
    }
    until("no process is left, and no zombie", || children() == 0);
    until("no terminal is left", || terminals_of(worker) == 0);
    until("no descriptor is left", || descriptors() <= before);
    server.counter_reaching("streams_opened", 201);
}

#[test]
fn a_client_that_leaves_hangs_up_and_the_stubborn_are_killed() {
    // The second one has a process group of its own, as a job of a shell.
    let server = gateway(
        &["--kill-after=50ms,50ms,100ms"],
        &[
            "bash",
            "-c",
            "set -m; sh -c 'trap \"\" HUP INT TERM; echo $$.; while :; do sleep 1; done' & wait",
        ],
    );
    for round in 0..3 {
        let mut client = Client::connect(&server.address());
        let seen = see(&mut client, ".");
        let (pid, _) = seen.split_once('.').expect("it says it");
        let pid: u32 = pid.trim().parse().expect("a pid");
        assert!(is_alive(pid));
        match round {
            0 => client.close(),
            1 => client.reset(),
            _ => drop(client),
        }
        until("the grandchild is gone", || !is_alive(pid));
    }
    // A shell that heeds neither the end of its input nor SIGTERM is hung up.
    let server = gateway(&["--kill-after=50ms,1h,1h"], &["bash", "-i"]);
    let mut client = Client::connect(&server.address());
    client.send(TEXT, b"echo pid:$$.\n");
    let seen = loop {
        let seen = see(&mut client, ".");
        if seen.contains("pid:") && !seen.contains("$$.") || seen.matches("pid:").count() > 1 {
            break seen;
        }
    };
    let (_, pid) = seen.rsplit_once("pid:").expect("it says it");
    let pid: u32 = pid
        .split('.')
        .next()
        .expect("a dot")
        .parse()
        .expect("a pid");
    client.close();
    until("it has ended", || !is_alive(pid));
}

#[test]
fn a_client_that_does_not_read_stops_the_program() {
    let server = shell(&["--send-queue=64KiB"], "echo $$.; exec yes");
    let mut client = Client::connect(&server.address());
    let seen = see(&mut client, ".");
    let pid = seen.split('.').next().expect("a dot").trim().to_owned();
    let written = || {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("it runs");
        let line = io
            .lines()
            .find(|line| line.starts_with("wchar"))
            .map(str::to_owned);
        line.expect("it is counted")
    };
    let mut last = written();
    until("it stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        std::mem::replace(&mut last, written()) == last
    });
    drop(client);
    let pid = pid.parse().expect("a pid");
    until("it has ended", || !is_alive(pid));
}

#[test]
fn pages_of_other_origins_get_no_terminal() {
    let server = shell(&[], "echo hello");
    for (origin, status) in [
        ("http://localhost", 101),
        ("https://evil.example", 403),
        ("null", 403),
    ] {
        let origin = format!("\r\nOrigin: {origin}\r\n\r\n");
        let request = REQUEST.replacen("\r\n\r\n", &origin, 1);
        let mut stream = dial(&server.address()).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let (head, _) = read_head(&mut stream).expect("an answer");
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {head}"
        );
    }
}

#[test]
fn the_page_and_its_parts_are_below_every_path() {
    let server = shell(&["--pty-page"], "echo hello");
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/a/b/", "text/html; charset=utf-8"),
        ("/a/terminal.mjs", "text/javascript; charset=utf-8"),
        ("/xterm.mjs", "text/javascript; charset=utf-8"),
        ("/addon-fit.mjs", "text/javascript; charset=utf-8"),
        ("/xterm.css", "text/css; charset=utf-8"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = exchange(&server.address(), request.as_bytes()).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200 "), "{path}: {answer}");
        assert!(
            answer.contains(&format!("content-type: {kind}\r\n")),
            "{path}"
        );
    }
    let request = b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(&server.address(), request);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    see(&mut Client::connect_to(&server.address(), "/a/"), "hello");
}

#[test]
fn a_login_shell_runs_and_its_danger_is_said() {
    let server = gateway(&["--pty-login", "--pty-term=vt100"], &[]);
    let mut client = Client::connect(&server.address());
    client.send(TEXT, b"echo \"<$TERM|$HOME|$0>\"; exit 5\n");
    let (seen, code, reason) = end(&mut client);
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("<vt100|/"), "{seen}");
    assert!(seen.contains("|-"), "{seen}");
    assert_eq!((code, reason.as_str()), (1011, "exit status 5"));
    let warned = server.stderr();
    assert!(
        warned.contains("every user of this machine gets a shell"),
        "{warned}"
    );
}

#[test]
fn options_that_lead_nowhere_are_refused() {
    for (arguments, why) in [
        (
            &["1", "h:1", "--pty"][..],
            "have no effect without a program",
        ),
        (
            &["1", "--pty-term=vt100", "--exec", "--", "sh"],
            "--pty-term has no effect without --pty",
        ),
        (
            &["1", "--pty-term=a/b", "--pty", "--exec", "--", "sh"],
            "the type of a terminal",
        ),
        (
            &["1", "--pty", "--exec-messages=binary", "--exec", "--", "sh"],
            "for programs that have pipes",
        ),
        (&["1", "--pty-login", "--exec", "--", "sh"], "leave one off"),
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
