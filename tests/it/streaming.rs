//! Messages in frames and in pieces, and messages that are made as they leave: the example, and a client that shares no code.

use ring::digest::{SHA256, digest};

use crate::common::client::{
    BINARY, BINARY_BEGINS, CONTINUES, CONTINUES_LAST, Client, Frame, PING, PONG, TEXT, noise,
};

#[path = "../../examples/streaming_hash.rs"]
#[expect(dead_code, reason = "an example has a main function")]
mod streaming_hash;

fn start() -> (ringway::Running, String) {
    let server = streaming_hash::server("ws://127.0.0.1:0").start();
    let running = server.expect("a free port");
    let address = running.url().trim_start_matches("ws://").to_owned();
    (running, address.trim_end_matches('/').to_owned())
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digest = digest(&SHA256, bytes);
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    hex.collect::<String>().into_bytes()
}

/// Sends a message in frames of these lengths, with a Ping before each.
fn send(client: &mut Client, message: &[u8], lengths: &[usize]) {
    let mut rest = message;
    for (at, len) in lengths.iter().enumerate() {
        client.send(PING, b"?");
        let (payload, later) = rest.split_at(*len);
        rest = later;
        let first = match (at == 0, rest.is_empty() && at + 1 == lengths.len()) {
            (true, true) => BINARY,
            (true, false) => BINARY_BEGINS,
            (false, false) => CONTINUES,
            (false, true) => CONTINUES_LAST,
        };
        client.send(first, payload);
    }
    assert!(rest.is_empty());
}

const LENGTHS: [&[usize]; 5] = [
    &[100],
    &[0, 0, 5],
    &[1, 70_000, 0],
    &[900_000, 3, 9_000],
    &[20_000, 1_000_000],
];

#[test]
fn digests_of_messages_of_frames_and_of_pieces_are_right() {
    let (server, address) = start();
    for path in ["message", "frame", "streaming"] {
        let mut client = Client::connect_to(&address, &format!("/{path}"));
        for (seed, lengths) in LENGTHS.iter().enumerate() {
            let message = noise(seed as u64, lengths.iter().sum());
            send(&mut client, &message, lengths);
            let mut start = 0;
            for len in *lengths {
                client.expect(PONG, b"?");
                if path == "frame" {
                    client.expect(TEXT, &hex(&message[start..start + len]));
                }
                start += len;
            }
            client.expect(TEXT, &hex(&message));
        }
        client.close();
    }
    let messages = 3 * LENGTHS.len() as u64;
    assert_eq!(server.counters().messages_in, messages);
    server.shutdown().expect("an orderly end");
}

#[test]
fn a_frame_above_the_limit_of_frames_ends_the_connection_with_1009() {
    let (server, address) = start();
    let mut client = Client::connect_to(&address, "/frame");
    client.send(BINARY, &[7; (1 << 20) + 1]);
    client.expect_failed_with(1009);
    server.shutdown().expect("an orderly end");
}

#[test]
fn a_produced_message_comes_in_parts_and_is_whole() {
    let (server, address) = start();
    for bytes in [0_usize, 1, 65_536, 5_000_001] {
        let mut client = Client::connect_to(&address, &format!("/producer/{bytes}"));
        client.send(TEXT, b"please");
        let mut message = Vec::new();
        loop {
            let Frame { first, payload } = client.recv();
            let begins = if message.is_empty() { 2 } else { 0 };
            assert_eq!(first & 0x7F, begins);
            message.extend_from_slice(&payload);
            if first & 0x80 != 0 {
                break;
            }
        }
        assert_eq!(message.len(), bytes);
        client.expect(TEXT, &hex(&message));
        client.close();
    }
    server.shutdown().expect("an orderly end");
}
