//! Messages in frames and in pieces, and messages that are made as they leave: the example, and a client that shares no code.

use flate2::{Compress, Compression, FlushCompress};
use ring::digest::{SHA256, digest};

use crate::common::client::{
    BINARY, BINARY_BEGINS, CONTINUES, CONTINUES_LAST, Client, Frame, PING, PONG, TEXT, TEXT_BEGINS,
    noise,
};

#[path = "../../examples/streaming_hash.rs"]
#[expect(dead_code, reason = "an example has a main function")]
mod streaming_hash;

/// RSV1: the message is compressed (RFC 7692 §6).
const COMPRESSED: u8 = 0x40;

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
fn what_comes_compressed_is_inflated_piece_by_piece() {
    // A long text of few bytes on the wire, in two frames; then a message that refers to it.
    let text = b"what repeats itself is short. ".repeat(400_000);
    let (server, address) = start();
    for path in ["message", "frame", "streaming"] {
        let offer = "permessage-deflate";
        let (mut client, agreed) = Client::offering_at(&address, &format!("/{path}"), offer);
        assert!(agreed.is_some(), "{path}");
        let mut compressor = Compress::new(Compression::new(6), false);
        for message in [&text[..], &text[..30]] {
            let mut out = Vec::with_capacity(message.len() + 100);
            let flush = FlushCompress::Sync;
            let done = compressor.compress_vec(message, &mut out, flush);
            done.expect("there is room");
            let (first, last) = out[..out.len() - 4].split_at(9);
            client.send(TEXT_BEGINS | COMPRESSED, first);
            client.send(CONTINUES_LAST, last);
            let mut digests = Vec::new();
            while digests.last() != Some(&hex(message)) {
                let Frame { first, payload } = client.recv();
                assert_eq!(first, TEXT);
                digests.push(payload);
            }
            let pieces = message.len().div_ceil(64 << 10);
            assert!(digests.len() == 1 || path == "frame" && digests.len() > pieces);
            if agreed
                .as_deref()
                .is_some_and(|agreed| agreed.contains("client_no"))
            {
                compressor.reset();
            }
        }
        client.close();
    }
    assert_eq!(server.counters().inflated, 6);
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
