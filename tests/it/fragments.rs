//! Messages that leave in several frames.

use crate::common::client::{Client, TEXT, noise};
use crate::common::{Server, on_both_tiers, run};

on_both_tiers!(
    messages_leave_in_frames_of_the_size_that_was_asked_for,
    compressed_messages_leave_in_fragments_too,
);

const BINARY: u8 = 0x82;

/// The frames that a message of `payload` comes back in: first byte and payload.
fn frames(first: u8, payload: &[u8], size: usize) -> Vec<(u8, Vec<u8>)> {
    let mut frames: Vec<_> = payload
        .chunks(size)
        .map(|part| (0, part.to_vec()))
        .collect();
    frames[0].0 = first & 0x0f;
    frames.last_mut().expect("at least one").0 |= 0x80;
    frames
}

fn messages_leave_in_frames_of_the_size_that_was_asked_for(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", "--fragment-size=1000", io]);
    let mut client = Client::connect(&server.address());
    // At the limit, one byte above, several fragments from one receive, and one that is assembled first.
    for (first, len) in [
        (TEXT, 1000),
        (TEXT, 1001),
        (BINARY, 3000),
        (BINARY, 300_001),
    ] {
        let payload = match first {
            TEXT => vec![b'x'; len],
            _ => noise(len as u64, len),
        };
        client.send(first, &payload);
        for (first, part) in frames(first, &payload, 1000) {
            client.expect(first, &part);
        }
    }
    client.close();
}

fn compressed_messages_leave_in_fragments_too(io: &str) {
    let server = Server::start(&[
        "--workers=1",
        "--port=auto",
        "--deflate",
        "--fragment-size=16",
        io,
    ]);
    let output = run(
        "wsperf",
        &[
            "echo",
            &server.address(),
            "--deflate",
            "--payload=json",
            "--size=2KiB",
            "--connections=4",
            "--duration=300ms",
            "--warmup=0",
        ],
    );
    assert_eq!(output.code, 0, "{}", output.stderr);
    server.counter_reaching("deflated", 1);
}
