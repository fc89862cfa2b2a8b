//! `--deflate` on gateways and forwarders: what crosses a WebSocket compressed is the same stream.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::common::client::{BINARY, Client, REQUEST, TEXT, dial, noise, read_head};
use crate::common::{PATIENCE, Server, on_both_tiers};
use crate::gateway::{echo, target};

on_both_tiers!(
    a_stream_crosses_two_processes_compressed,
    a_client_that_compresses_has_its_stream_in_either_scheme,
);

/// FIN, RSV1, opcode.
const COMPRESSED: u8 = 0x40;

/// A text that repeats itself, with some noise.
fn text(bytes: usize) -> Vec<u8> {
    let lines = (0..).map(|n| format!("line {n} of a log that says {} again\n", n * 7919 % 1009));
    let text = lines.flat_map(String::into_bytes);
    text.take(bytes).collect()
}

fn a_stream_crosses_two_processes_compressed(io: &str) {
    let target = target(echo);
    let gateway = Server::start_gateway(&target.address, &[io, "--workers=1", "--deflate"]);
    let to = format!("--to={}", gateway.address());
    let forwarder = Server::start_gateway(&to, &[io, "--workers=1", "--deflate"]);
    let up = [text(1_000_000), noise(5, 100_000), text(100_000)].concat();
    let address = forwarder.address();
    let at = address.strip_prefix("tcp://").expect("a TCP port");
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let mut writes = stream.try_clone().expect("a descriptor");
    let sent = up.clone();
    let writer = thread::spawn(move || writes.write_all(&sent).expect("it is read"));
    let mut got = vec![0; up.len()];
    stream.read_exact(&mut got).expect("all of it");
    writer.join().expect("written");
    assert!(got == up, "the bytes are the same");
    for server in [&gateway, &forwarder] {
        // What is noise did not become smaller, and left as it is.
        let bytes = up.len() as u64;
        server.counter_reaching("inflated_bytes", 1_000_000);
        let count = |name| server.counter(name).iter().sum::<u64>();
        assert!(count("inflated_from_bytes") < bytes / 2);
        assert!(count("deflated_to_bytes") < bytes / 2);
        assert!(count("wire_bytes_in") < bytes * 3 / 2);
        assert_eq!((count("violations"), count("drops")), (0, 0));
    }
}

/// A compressor and an inflater that are not Ringway's.
fn a_client_that_compresses_has_its_stream_in_either_scheme(io: &str) {
    let target = target(echo);
    let server = Server::start_gateway(
        &target.address,
        &[io, "--workers=1", "--deflate", "--deflate-client-takeover"],
    );
    let stream = text(300_000);
    for (subprotocol, opcode) in [("binary", BINARY), ("base64", TEXT)] {
        let mut socket = dial(&server.address()).expect("it listens");
        let offers = format!(
            "\r\nSec-WebSocket-Protocol: {subprotocol}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        );
        let request = REQUEST.replacen("\r\n\r\n", &offers, 1);
        socket.write_all(request.as_bytes()).expect("it reads");
        let (head, early) = read_head(&mut socket).expect("a response");
        assert!(head.contains("permessage-deflate"), "{head}");
        let mut client = Client::of(socket, early);
        let mut compress = Compress::new(Compression::new(6), false);
        let mut decompress = Decompress::new(false);
        let mut got = Vec::new();
        for piece in stream.chunks(70_001) {
            let message = match opcode {
                TEXT => STANDARD.encode(piece).into_bytes(),
                _ => piece.to_vec(),
            };
            let mut out = Vec::with_capacity(message.len() * 2 + 100);
            compress
                .compress_vec(&message, &mut out, FlushCompress::Sync)
                .expect("there is room");
            out.truncate(out.len() - 4);
            client.send(opcode | COMPRESSED, &out);
        }
        while got.len() < stream.len() {
            let frame = client.recv();
            let mut message = frame.payload;
            if frame.first == opcode | COMPRESSED {
                message.extend([0, 0, 0xff, 0xff]);
                let mut out = Vec::with_capacity(1 << 20);
                decompress
                    .decompress_vec(&message, &mut out, FlushDecompress::Sync)
                    .expect("valid deflate");
                message = out;
            } else {
                assert_eq!(frame.first, opcode);
            }
            assert!(message.len() <= 64 << 10);
            match opcode {
                TEXT => got.extend(STANDARD.decode(message).expect("base64")),
                _ => got.extend(message),
            }
        }
        assert!(got == stream, "{subprotocol}");
        // What is no deflate ends the session.
        client.send(opcode | COMPRESSED, b"\xff\xff");
        client.expect_failed_with(1007);
    }
}

/// A client that does not offer it has its stream as it is, and one that was told nothing of it may not compress.
#[test]
fn without_the_option_or_the_offer_nothing_is_compressed() {
    let target = target(echo);
    let plain = Server::start_gateway(&target.address, &["--workers=1"]);
    let (mut client, extension) = Client::offering(&plain.address(), "permessage-deflate");
    assert_eq!(extension, None);
    client.send(BINARY | COMPRESSED, b"\xf2\x48\x04\x00");
    client.expect_failed_with(1002);
    let deflates = Server::start_gateway(&target.address, &["--workers=1", "--deflate"]);
    let mut client = Client::connect(&deflates.address());
    let stream = text(10_000);
    client.send(BINARY, &stream);
    assert!(crate::gateway::receive(&mut client, stream.len()) == stream);
}
