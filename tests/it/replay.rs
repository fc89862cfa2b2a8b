//! `wsperf replay`: what real programs record is played on many connections, and what is different is told.

use std::net::TcpListener;

use serde_json::Value;

use ringway_command::recording;

use crate::common::client::{BINARY, read_head};
use crate::common::testee::{Behaviour, Testee};
use crate::common::{Output, Scratch, Server, on_both_tiers, run, scratch, until};
use crate::console::open;
use crate::targets::{gateway, named, open_with};

on_both_tiers!(
    a_clients_session_is_played_by_many_at_once,
    a_gateways_session_is_its_bytes_in_either_form,
);

/// A run on CPUs that the tests share, and its result.
fn replay(file: &str, url: &str, more: &[&str]) -> (Output, Value) {
    let mut arguments = vec!["replay", file, url, "--cpus=none", "--format=json"];
    arguments.extend(more);
    let output = run("wsperf", &arguments);
    let result = serde_json::from_str(&output.stdout).unwrap_or_default();
    (output, result)
}

fn figure(result: &Value, name: &str) -> u64 {
    let figure = &result["figures"][name];
    let figure = figure
        .as_f64()
        .unwrap_or_else(|| panic!("{name}: {result}"));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let whole = figure as u64;
    whole
}

fn notes(result: &Value) -> String {
    result["notes"].to_string()
}

/// A recording of messages, each with its mark and the milliseconds since the one before.
fn recorded(folder: &Scratch, name: &str, entries: &[(u8, u64, &[u8])]) -> String {
    let mut bytes = [recording::MESSAGES, b"{}\n"].concat();
    for (mark, milliseconds, payload) in entries {
        let since = std::time::Duration::from_millis(*milliseconds);
        recording::write(*mark, since, payload, &mut bytes);
    }
    bytes.push(b'.');
    let path = folder.path(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// Two messages that an echo sends back.
const ECHOED: [(u8, u64, &[u8]); 4] = [
    (b'T', 0, b"one"),
    (b't', 0, b"one"),
    (b'B', 0, b"two"),
    (b'b', 0, b"two"),
];

fn a_clients_session_is_played_by_many_at_once(io: &str) {
    let server = Server::start(&["--workers=2", "--port=0", io]);
    let url = server.address();
    let folder = scratch("replay");
    let file = folder.path("session");
    let record = format!("--record={file}");
    let words = [
        "client",
        &url,
        &record,
        "--execute=hello",
        "--execute=/expect hello",
        "--execute=/ping",
        "--execute=/binary 00ff0a",
        "--execute=again",
        "--execute=/expect again",
    ];
    let output = run("ringway", &words);
    assert_eq!(output.code, 0, "{}", output.stderr);
    for speed in ["--speed=10x", "--speed=max"] {
        let more = [speed, "--connections=20", "--threads=2", "--repeat=3", io];
        let (output, result) = replay(&file, &url, &more);
        assert_eq!(
            (output.code, &result["errors"]),
            (0, &0.into()),
            "{}",
            output.stderr
        );
        assert_eq!(result["scenario"], "replay");
        assert_eq!(figure(&result, "replay_sessions"), 60);
        assert_eq!(figure(&result, "replay_whole"), 60);
        assert_eq!(figure(&result, "replay_unlike"), 0);
        assert_eq!(figure(&result, "replay_pings"), 60);
        assert_eq!(figure(&result, "replay_sent_messages"), 180);
        assert_eq!(figure(&result, "replay_sent_bytes"), 60 * (5 + 3 + 5));
        assert_eq!(figure(&result, "replay_received_messages"), 180);
        assert_eq!(figure(&result, "replay_received_bytes"), 60 * (5 + 3 + 5));
        assert_eq!(result["messages"], 360, "those sent and those that came");
        let samples = if speed == "--speed=max" { 0 } else { 180 };
        assert_eq!(result["latency_us"]["samples"], samples, "{speed}");
    }
    let output = run(
        "wsperf",
        &["replay", &file, &url, "--cpus=none", "--connections=2"],
    );
    let table = output.stdout;
    assert_eq!(output.code, 0, "{}", output.stderr);
    for words in ["recorded sessions at speed 1x", "lateness", "replay_whole"] {
        assert!(table.contains(words), "{words}: {table}");
    }
}

fn a_gateways_session_is_its_bytes_in_either_form(io: &str) {
    let folder = scratch("replay-gateway");
    let target = format!("--target={}", named("hi"));
    let (old, new) = (folder.path("old"), folder.path("new"));
    for (format, path) in [("websockify", &old), ("ringway", &new)] {
        let record = format!("--record={path}");
        let format = format!("--record-format={format}");
        let server = gateway(&[io, "--workers=1", &target, &record, &format]);
        let (mut client, _) = open_with(&server, "/", "");
        for said in [&b"it's\\\n\x00\xff"[..], &[7; 5000]] {
            client.send(BINARY, said);
        }
        let mut came = 0;
        while came < 8 + 5000 {
            came += client.recv().payload.len();
        }
        client.close();
        until("the session has ended", || server.counter("clients") == [0]);
    }
    let ends: [(String, &[u8]); 2] = [
        (format!("{old}.1"), b"'EOF'];\n"),
        (format!("{new}.1"), b"."),
    ];
    let like = gateway(&[io, "--workers=1", &target]);
    let unlike = gateway(&[io, "--workers=1", &format!("--target={}", named("ho"))]);
    for (file, end) in ends {
        until("the recording is whole", || {
            std::fs::read(&file).unwrap_or_default().ends_with(end)
        });
        let (output, result) = replay(&file, &like.address(), &["--connections=10", io]);
        assert_eq!(
            output.code,
            0,
            "{file}: {} {}",
            output.stderr,
            notes(&result)
        );
        assert_eq!(
            figure(&result, "replay_received_bytes"),
            10 * (2 + 8 + 5000)
        );
        let (output, result) = replay(&file, &unlike.address(), &["--connections=3", io]);
        assert_eq!(output.code, 7, "{}", output.stderr);
        assert_eq!(result["errors_by_kind"]["content"], 3);
        assert_eq!(figure(&result, "replay_unlike"), 3);
        let place = "session 1: byte 1 of the stream, which is byte 1 of message 1, differs: 6f";
        assert!(notes(&result).contains(place), "{}", notes(&result));
    }
}

#[test]
fn the_first_difference_is_told_with_its_place_and_the_exit_code_is_7() {
    let folder = scratch("replay-unlike");
    let file = recorded(&folder, "session", &ECHOED);
    let other = Testee::start(Behaviour::Corrupt(2));
    let url = format!("ws://{}", other.address);
    let (output, result) = replay(&file, &url, &["--connections=1"]);
    assert_eq!(output.code, 7, "{}", output.stderr);
    assert_eq!(result["errors_by_kind"]["content"], 1);
    let place = "connection 1, session 1: message 2 (3 bytes, recorded 3) differs at byte 2: ";
    let told = notes(&result);
    assert!(
        told.contains(place) && told.contains("recorded 6f"),
        "{told}"
    );
    let (output, result) = replay(&file, &url, &["--connections=3", "--check=count"]);
    assert_eq!((output.code, figure(&result, "replay_whole")), (0, 3));

    let leaving = Testee::start(Behaviour::Hang(2));
    let url = format!("ws://{}", leaving.address);
    let (output, result) = replay(&file, &url, &["--connections=4", "--repeat=2"]);
    assert_eq!(output.code, 7, "{}", output.stderr);
    assert_eq!(
        figure(&result, "replay_unlike"),
        8,
        "each session has its own end"
    );
    assert_eq!(result["errors_by_kind"]["closed"], 8);

    let silent = Testee::start(Behaviour::Others);
    let url = format!("ws://{}", silent.address);
    let alone = ["--connections=1", "--timeout=300ms"];
    let (output, result) = replay(&file, &url, &[&alone[..], &["--check=count"]].concat());
    assert_eq!(output.code, 7, "{}", output.stderr);
    assert_eq!(result["errors_by_kind"]["missing"], 2);
    let place = "connection 1, session 1: 0 messages came, and the recording has 2";
    assert!(notes(&result).contains(place), "{}", notes(&result));
    let (output, result) = replay(&file, &url, &[&alone[..], &["--check=none"]].concat());
    assert_eq!((output.code, &result["errors"]), (0, &0.into()));
    assert_eq!(result["figures"].get("replay_unlike"), None);
}

#[test]
fn a_server_that_stops_reading_is_given_up() {
    let folder = scratch("replay-unread");
    let megabyte = vec![7; 1 << 20];
    // More than a send queue takes.
    let entries: Vec<(u8, u64, &[u8])> = (0..80).map(|_| (b'B', 0, &megabyte[..])).collect();
    let file = recorded(&folder, "session", &entries);
    let (over, may_end) = std::sync::mpsc::channel::<()>();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        let mut streams = listener.incoming().map_while(Result::ok);
        let first = streams.find_map(|mut stream| {
            let (head, _) = read_head(&mut stream).ok()?;
            // The driver looks for statistics, too.
            head.contains("Sec-WebSocket-Key").then_some((stream, head))
        });
        let (mut stream, head) = first.expect("a WebSocket");
        open(&mut stream, &head);
        let _ = may_end.recv(); // and reads nothing
    });
    let more = ["--connections=1", "--speed=max", "--timeout=500ms"];
    let (output, result) = replay(&file, &url, &more);
    drop(over);
    assert_eq!(output.code, 7, "{}", output.stderr);
    let told = notes(&result);
    let place = "connection 1, session 1: the server has stopped reading";
    assert!(told.contains(place), "{told}");
    let (sent, missing) = (
        figure(&result, "replay_sent_messages"),
        result["errors_by_kind"]["missing"].as_u64(),
    );
    assert!(sent < 80, "{sent} of 80 were sent");
    assert_eq!(missing, Some(80 - sent), "{told}");
}

#[test]
fn times_are_divided_by_the_speed_and_the_clients_close_is_played() {
    let server = Server::start(&["--workers=1", "--port=0"]);
    let folder = scratch("replay-times");
    let entries: [(u8, u64, &[u8]); 5] = [
        (b'T', 200, b"one"),
        (b't', 0, b"one"),
        (b'O', 0, b"a Pong"),
        (b'T', 400, b"two"),
        (b'C', 200, b"\x0b\xb8bye"),
    ];
    let file = recorded(&folder, "session", &entries);
    let session = |more: &[&str]| {
        let (output, result) = replay(&file, &server.address(), more);
        assert_eq!(output.code, 0, "{} {}", output.stderr, notes(&result));
        (figure(&result, "replay_session_max_us"), result)
    };
    let (slow, result) = session(&["--connections=2", "--check=none"]);
    assert!(slow >= 800_000, "{slow} µs");
    assert_eq!(figure(&result, "replay_pongs_left_out"), 2);
    let (fast, _) = session(&["--connections=2", "--check=none", "--speed=4x"]);
    assert!(fast >= 200_000, "{fast} µs");
    // The second message has an answer here, and none in the recording.
    let (output, result) = replay(&file, &server.address(), &["--connections=1", "--speed=4x"]);
    assert_eq!(output.code, 7, "{}", output.stderr);
    let place = "message 2 came, and the recording has 1";
    assert!(notes(&result).contains(place), "{}", notes(&result));
}

#[test]
fn what_cannot_be_played_is_refused_with_a_sentence() {
    let folder = scratch("replay-refused");
    let whole = recorded(&folder, "whole", &ECHOED);
    let bytes = std::fs::read(&whole).expect("it is there");
    let cut = folder.path("cut");
    std::fs::write(&cut, &bytes[..bytes.len() - 2]).expect("a file");
    let server = Server::start(&["--workers=1", "--port=0"]);
    let open = folder.path("open");
    std::fs::write(&open, &bytes[..bytes.len() - 1]).expect("a file");
    let (output, result) = replay(&open, &server.address(), &["--connections=1"]);
    assert_eq!(output.code, 0, "it was cut off between two entries");
    assert!(notes(&result).contains("the recording has no end"));
    let late = recorded(&folder, "late", &[(b'T', 7_200_000, b"")]);
    let empty = recorded(&folder, "empty", &[]);
    let text = folder.write("text", "hello\n");
    let missing = folder.path("missing");
    for (file, why) in [
        (&cut, "cut: entry 4 is cut off"),
        (&text, "text: this is no recording"),
        (&empty, "empty: there is nothing in this recording to play"),
        (
            &late,
            "late: it takes 7200.0s at this --speed, and --duration is 3600s",
        ),
        (&missing, "missing: No such file"),
    ] {
        let (output, _) = replay(file, "ws://127.0.0.1:9", &[]);
        assert_eq!(output.code, 2, "{why}");
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
    let (output, _) = replay(&whole, "ws://127.0.0.1:9", &["--connections=2"]);
    assert_eq!(output.code, 3, "nobody listens there: {}", output.stderr);
    let output = run("wsperf", &["replay"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("give the FILE"), "{}", output.stderr);
}
