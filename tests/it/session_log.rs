//! What is written about the sessions of a gateway: the access log and the recordings, of real processes.

use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::common::client::{BINARY, CLOSE, Client, Frame, dial};
use crate::common::{on_both_tiers, scratch, until};
use crate::targets::{gateway, named, open_with, refusal, request};

on_both_tiers!(
    sessions_are_logged_with_what_passed_and_how_they_ended,
    a_session_is_recorded_in_either_form,
);

/// The lines of a log, once there are so many.
fn log_lines(path: &str, least: usize) -> Vec<Value> {
    let mut lines = Vec::new();
    until("the log has its lines", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        lines = whole
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        lines.len() >= least
    });
    lines
}

fn sessions_are_logged_with_what_passed_and_how_they_ended(io: &str) {
    let folder = scratch("log");
    let target = named("hello");
    let file = folder.write("t", &format!("alice: {target}\n"));
    let log = folder.path("log");
    let options = [
        format!("--token-file={file}"),
        format!("--access-log={log}"),
    ];
    let more = [
        io,
        "--workers=1",
        &options[0],
        &options[1],
        "--access-log-format=json",
    ];
    let server = gateway(&more);
    let (mut client, _) = open_with(
        &server,
        "/a/b?token=alice",
        "Sec-WebSocket-Protocol: binary\r\n",
    );
    client.send(BINARY, b"abc");
    client.expect(BINARY, b"abc");
    client.send(CLOSE, b"\x03\xe8bye");
    client.expect(CLOSE, &1000_u16.to_be_bytes());
    drop(client);
    let line = &log_lines(&log, 1)[0];
    for (name, value) in [
        ("host", Value::from("localhost")),
        ("path", "/a/b".into()),
        ("subprotocol", "binary".into()),
        ("target", target.clone().into()),
        ("to_target", 3.into()),
        ("to_client", 8.into()),
        ("end", "client".into()),
        ("code", 1000.into()),
        ("reason", "bye".into()),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    let token = line["token"].as_str().expect("a label");
    assert_eq!((token.len(), token.contains("alice")), (8, false));
    assert_eq!(refusal(&server, "/?token=eve%0aX", "").0, 404);
    let line = &log_lines(&log, 2)[1];
    assert_eq!(
        (&line["end"], &line["status"]),
        (&"refused".into(), &404.into())
    );
    assert_eq!(server.counter("log_lines_dropped"), [0]);
}

#[test]
fn a_log_that_is_moved_away_is_followed_by_a_new_one() {
    let folder = scratch("log-moved");
    let file = folder.write("t", "nowhere: unix:/no/such.sock\n");
    let log = folder.path("log");
    let options = [
        format!("--token-file={file}"),
        format!("--access-log={log}"),
    ];
    let more = [
        "--workers=1",
        &options[0],
        &options[1],
        "--access-log-format=json",
    ];
    let server = gateway(&more);
    fs::rename(&log, folder.path("log.1")).expect("renamed");
    until("there is a new log", || {
        let mut stream = dial(&server.address()).expect("it listens");
        let request = request("/?token=nowhere", "");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut client = Client::opened(stream).expect("a session");
        let Frame { first, payload } = client.recv();
        assert_eq!((first, &payload[..2]), (CLOSE, &1011_u16.to_be_bytes()[..]));
        client.send(CLOSE, &payload[..2]);
        fs::metadata(&log).is_ok()
    });
    let line = &log_lines(&log, 1)[0];
    assert_eq!(
        (&line["end"], &line["code"]),
        (&"target".into(), &1011.into())
    );
    assert!(
        line["reason"]
            .as_str()
            .expect("text")
            .contains("No such file"),
        "{line}"
    );
    assert_eq!(server.counter("log_lines_dropped"), [0]);
}

fn a_session_is_recorded_in_either_form(io: &str) {
    let folder = scratch("record");
    let target = format!("--target={}", named("hi"));
    let talk = |format: &str, path: &str| {
        let record = format!("--record={path}");
        let format = format!("--record-format={format}");
        let server = gateway(&[io, "--workers=1", &target, &record, &format]);
        let (mut client, _) = open_with(&server, "/p", "");
        client.send(BINARY, b"it's\\\n\x00\xff");
        client.expect(BINARY, b"it's\\\n\x00\xff");
        client.close();
        until("the session has ended", || server.counter("clients") == [0]);
        assert_eq!(server.counter("recordings_incomplete"), [0]);
    };
    talk("websockify", &folder.path("old"));
    let mut text = String::new();
    until("the recording is whole", || {
        text = fs::read_to_string(folder.path("old.1")).unwrap_or_default();
        text.ends_with("'EOF'];\n")
    });
    let without_times: String = text
        .chars()
        .filter(|letter| !letter.is_ascii_digit())
        .collect();
    assert_eq!(
        without_times,
        "var VNC_frame_data = [\n'{{hi',\n'}}it\\'s\\\\\\n\\x\\xff',\n'{{it\\'s\\\\\\n\\x\\xff',\n'EOF'];\n"
    );
    fs::create_dir(folder.path("new")).expect("a directory");
    talk("ringway", &folder.path("new"));
    let mut bytes = Vec::new();
    until("the recording is whole", || {
        bytes = fs::read(folder.path("new/session.1")).unwrap_or_default();
        bytes.ends_with(b".")
    });
    let rest = bytes
        .strip_prefix(b"ringway-record 1\n")
        .expect("what it begins with");
    let end = rest.iter().position(|byte| *byte == b'\n').expect("a line");
    let about: Value = serde_json::from_slice(&rest[..end]).expect("JSON");
    assert_eq!(about["path"], "/p");
    let mut pieces = Vec::new();
    let mut rest = &rest[end + 1..];
    while let [way @ (b'<' | b'>'), after @ ..] = rest {
        let (_, after) = varint(after);
        let (len, after) = varint(after);
        let (piece, after) = after.split_at(len);
        pieces.push((*way, piece.to_vec()));
        rest = after;
    }
    let said = b"it's\\\n\x00\xff".to_vec();
    assert_eq!(
        pieces,
        [(b'<', b"hi".to_vec()), (b'>', said.clone()), (b'<', said)]
    );
    assert_eq!(rest, b".");
}

fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| byte & 0x80 == 0)
        .expect("an end");
    let number = bytes[..=end]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f));
    (number, &bytes[end + 1..])
}
