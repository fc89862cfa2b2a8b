//! The log of frames.

use crate::common::client::{Client, TEXT, noise};
use crate::common::{Server, on_both_tiers, until};

on_both_tiers!(the_frames_of_one_connection_in_two_are_logged);

const BINARY: u8 = 0x82;

/// The lines about frames, from the word "frame" on, without the connection.
fn lines(server: &Server) -> Vec<String> {
    let told = server.stderr();
    let frames = told.lines().filter_map(|line| line.split_once("frame "));
    frames
        .map(|(_, rest)| {
            let words = rest
                .split(' ')
                .filter(|word| !word.starts_with("connection="));
            words.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn the_frames_of_one_connection_in_two_are_logged(io: &str) {
    let options = [
        "--workers=1",
        "--port=0",
        "--log-frames=2",
        "--log-bytes=5",
        io,
    ];
    let server = Server::start(&options);
    let mut logged = Client::connect(&server.address());
    let mut other = Client::connect(&server.address());
    logged.echo(TEXT, b"hello, world");
    other.echo(TEXT, b"a secret");
    // It is received straight into the memory of the message.
    let long = noise(1, 300_000);
    logged.echo(BINARY, &long);
    let start = long[..5].escape_ascii();
    logged.close();
    other.close();
    let expected = [
        "received opcode=1 fin=1 rsv1=0 masked=1 payload_bytes=12 payload=hello…".to_owned(),
        "sent opcode=1 fin=1 rsv1=0 masked=0 payload_bytes=12 payload=hello…".to_owned(),
        format!("received opcode=2 fin=1 rsv1=0 masked=1 payload_bytes=300000 payload={start}…"),
        format!("sent opcode=2 fin=1 rsv1=0 masked=0 payload_bytes=300000 payload={start}…"),
        r"received opcode=8 fin=1 rsv1=0 masked=1 payload_bytes=2 payload=\x03\xe8".to_owned(),
        r"sent opcode=8 fin=1 rsv1=0 masked=0 payload_bytes=2 payload=\x03\xe8".to_owned(),
    ];
    until("the frames are logged", || {
        lines(&server).len() >= expected.len()
    });
    assert_eq!(lines(&server), expected);
}
