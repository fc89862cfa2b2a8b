//! permessage-deflate (RFC 7692) by real programs: negotiated, in both directions, within its limits. The client's side is
//! this file's own, with a compressor and an inflater that are not Ringway's.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use ringway::{App, Context, Deflate, Kind, Limits, Message};

use crate::common::client::{Client, TEXT, noise};
use crate::common::process::pss;
use crate::common::{Server, on_both_tiers, run};

on_both_tiers!(
    messages_are_compressed_both_ways,
    what_the_driver_compresses_comes_back_exactly,
    a_bomb_ends_with_1009_and_leaves_no_memory,
    what_is_no_deflate_ends_with_1007,
    text_is_checked_when_it_is_inflated,
);

/// First byte of a compressed text message: FIN, RSV1, opcode.
const COMPRESSED_TEXT: u8 = 0xC1;

fn server(io: &str, more: &[&str]) -> Server {
    let common = [
        "--workers=1",
        "--port=auto",
        "--interval=50ms",
        "--deflate",
        io,
    ];
    Server::start(&[&common[..], more].concat())
}

fn deflate(compress: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() * 2 + 100);
    compress
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .expect("there is room");
    out.truncate(out.len() - 4);
    out
}

fn inflate(decompress: &mut Decompress, compressed: &[u8]) -> Vec<u8> {
    let input = [compressed, &[0, 0, 0xff, 0xff]].concat();
    let mut out = Vec::with_capacity(1 << 20);
    decompress
        .decompress_vec(&input, &mut out, FlushDecompress::Sync)
        .expect("valid deflate");
    out
}

fn fresh() -> (Compress, Decompress) {
    (
        Compress::new(Compression::new(6), false),
        Decompress::new(false),
    )
}

fn messages_are_compressed_both_ways(io: &str) {
    let server = server(io, &["--deflate-client-takeover"]);
    let (mut client, extension) = Client::offering(&server.address(), "permessage-deflate");
    assert_eq!(extension.as_deref(), Some("permessage-deflate"));
    let (mut compress, mut decompress) = fresh();
    let text = "a text that repeats itself ".repeat(20).into_bytes();
    let mut lengths = Vec::new();
    for _ in 0..50 {
        client.send(COMPRESSED_TEXT, &deflate(&mut compress, &text));
        let frame = client.recv();
        assert_eq!(frame.first, COMPRESSED_TEXT);
        lengths.push(frame.payload.len());
        assert_eq!(inflate(&mut decompress, &frame.payload), text);
    }
    assert!(
        lengths[1..].iter().all(|len| *len < lengths[0] / 2),
        "{lengths:?}"
    );
    // A short message is not worth it, and leaves as it is.
    client.send(COMPRESSED_TEXT, &deflate(&mut compress, b"short"));
    client.expect(TEXT, b"short");
    // Nor does a client that compresses have to.
    client.send(TEXT, &text);
    let frame = client.recv();
    assert_eq!(inflate(&mut decompress, &frame.payload), text);
    assert_eq!(server.counter_reaching("inflated", 51), [51]);
    assert_eq!(server.counter_reaching("deflated", 51), [51]);
    client.close();
}

#[test]
fn what_is_not_offered_or_not_wanted_is_not_answered() {
    let server = server("--io=epoll", &[]);
    for offer in [
        "x-webkit-deflate-frame",
        "permessage-deflate; server_max_window_bits=8",
    ] {
        let (mut client, extension) = Client::offering(&server.address(), offer);
        assert_eq!(extension, None, "{offer}");
        client.echo(TEXT, &b"plain ".repeat(1000));
    }
    let fallback = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10";
    let (_, extension) = Client::offering(&server.address(), fallback);
    assert_eq!(
        extension.as_deref(),
        Some("permessage-deflate; client_no_context_takeover; server_max_window_bits=10")
    );
    let off = Server::start(&["--workers=1", "--port=0"]);
    let (mut client, extension) = Client::offering(&off.address(), "permessage-deflate");
    assert_eq!(extension, None);
    client.send(COMPRESSED_TEXT, &[0]);
    client.expect_failed_with(1002);
}

fn what_the_driver_compresses_comes_back_exactly(io: &str) {
    for more in [
        &[][..],
        &["--deflate-takeover=false"],
        &["--deflate-window=9", "--deflate-level=6"],
    ] {
        let server = server(io, more);
        let output = run(
            "wsperf",
            &[
                "echo",
                &server.address(),
                "--deflate",
                "--payload=json",
                "--size=1KiB:5,64KiB:1,20:5",
                "--connections=20",
                "--in-flight=4",
                "--duration=300ms",
                "--warmup=0",
                "--cpus=none",
                "--format=json",
                io,
            ],
        );
        assert_eq!(output.code, 0, "{}", output.stderr);
        let [plain, wire] =
            ["deflated_bytes", "deflated_to_bytes"].map(|name| server.counter(name)[0]);
        assert!(wire > 0 && wire * 2 < plain, "{more:?}: {wire} of {plain}");
        assert!(server.counter("inflated")[0] > 0);
    }
}

fn a_bomb_ends_with_1009_and_leaves_no_memory(io: &str) {
    let server = server(io, &["--max-message=1MiB"]);
    let worker = server.seats()[0];
    let (mut first, _) = Client::offering(&server.address(), "permessage-deflate");
    let (mut compress, _) = fresh();
    first.send(
        COMPRESSED_TEXT,
        &deflate(&mut compress, &b"warm ".repeat(1000)),
    );
    first.recv();
    let idle = pss(worker);
    // 400 MiB in 400 KiB.
    let (mut compress, _) = fresh();
    let mut bomb = Vec::with_capacity(1 << 20);
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..400 {
        compress
            .compress_vec(&zeros, &mut bomb, FlushCompress::None)
            .expect("there is room");
    }
    compress
        .compress_vec(&[], &mut bomb, FlushCompress::Sync)
        .expect("there is room");
    bomb.truncate(bomb.len() - 4);
    for _ in 0..8 {
        let (mut client, _) = Client::offering(&server.address(), "permessage-deflate");
        client.send(COMPRESSED_TEXT, &bomb);
        client.expect_failed_with(1009);
    }
    let grown = pss(worker).saturating_sub(idle);
    assert!(grown < 8 << 20, "{grown} bytes more");
    // At the limit, and one byte beyond it.
    for (len, passes) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let (mut client, _) = Client::offering(&server.address(), "permessage-deflate");
        let (mut compress, mut decompress) = fresh();
        let message = vec![b'x'; len];
        client.send(COMPRESSED_TEXT, &deflate(&mut compress, &message));
        if passes {
            let mut read = Vec::with_capacity(2 << 20);
            let input = [&client.recv().payload[..], &[0, 0, 0xff, 0xff]].concat();
            decompress
                .decompress_vec(&input, &mut read, FlushDecompress::Sync)
                .expect("valid deflate");
            assert!(read == message, "{} bytes", read.len());
        } else {
            client.expect_failed_with(1009);
        }
    }
}

fn what_is_no_deflate_ends_with_1007(io: &str) {
    let server = server(io, &[]);
    for bad in [&[0x07][..], &[0xff; 300], &noise(1, 5000)] {
        let (mut client, _) = Client::offering(&server.address(), "permessage-deflate");
        client.send(COMPRESSED_TEXT, bad);
        client.expect_failed_with(1007);
    }
    // RSV1 on a continuation or a Ping.
    for first in [0xC0, 0xC9] {
        let (mut client, _) = Client::offering(&server.address(), "permessage-deflate");
        client.send(0x41, &[0]);
        client.send(first, &[0]);
        client.expect_failed_with(1002);
    }
}

fn text_is_checked_when_it_is_inflated(io: &str) {
    let server = server(io, &[]);
    for bad in [
        &b"\xff"[..],
        b"cut off \xe6\xb0",
        &[&b"x".repeat(70_000)[..], b"\xc3\x28"].concat(),
    ] {
        let (mut client, _) = Client::offering(&server.address(), "permessage-deflate");
        let (mut compress, _) = fresh();
        client.send(COMPRESSED_TEXT, &deflate(&mut compress, bad));
        client.expect_failed_with(1007);
    }
}

#[test]
fn what_says_how_to_compress_needs_deflate() {
    let sentence =
        "says how messages are compressed, and none are: give --deflate too, or leave it off";
    for (program, arguments) in [
        ("server", &["--deflate-level=3"][..]),
        ("server", &["--deflate-client-takeover"]),
        ("wsperf", &["echo", "--deflate-window=9"]),
    ] {
        let output = run(program, arguments);
        assert_eq!(output.code, 2, "{arguments:?}");
        assert!(output.stderr.contains(sentence), "{}", output.stderr);
    }
    let output = run("server", &["--deflate", "--deflate-window=8"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("9 to 15"), "{}", output.stderr);
}

/// Answers in the form that a message names.
struct Forms;

const TEXT_OF_FORMS: &[u8] = &[b'a'; 3000];

impl App for Forms {
    type Session = ();

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let sent = match message.payload() {
            b"plain" => context.send_uncompressed(Kind::Text, TEXT_OF_FORMS),
            b"prepared" => {
                let messages = [(Kind::Text, TEXT_OF_FORMS), (Kind::Text, b"short")];
                let prepared = context
                    .prepare_compressed(&messages, &Deflate::default())
                    .expect("little");
                context.send_prepared_run(&prepared, 0..2)
            }
            _ => context.send(Kind::Text, TEXT_OF_FORMS),
        };
        sent.expect("little is queued");
    }
}

#[test]
fn an_application_chooses_the_form_of_each_message_and_a_service_its_terms() {
    let mut limits = Limits::default();
    limits.deflate = Some(Deflate::default());
    let running = ringway::Server::new("ws://127.0.0.1:0")
        .workers(1)
        .service_with("/echo", limits, |_worker| Forms)
        .service("/plain", |_worker| Forms)
        .start()
        .expect("a free port");
    let url = running.url();
    let (mut client, extension) = Client::offering(url.trim_end_matches('/'), "permessage-deflate");
    let expected = "permessage-deflate; client_no_context_takeover";
    assert_eq!(extension.as_deref(), Some(expected));
    let (_, mut decompress) = fresh();
    // Any order: each message must leave the client's window as the server thinks that it is.
    for form in [
        "it", "prepared", "it", "plain", "it", "prepared", "prepared", "it",
    ] {
        client.send(TEXT, form.as_bytes());
        if form == "plain" {
            client.expect(TEXT, TEXT_OF_FORMS);
            continue;
        }
        let frame = client.recv();
        assert_eq!(frame.first, COMPRESSED_TEXT, "{form}");
        assert_eq!(inflate(&mut decompress, &frame.payload), TEXT_OF_FORMS);
        if form == "prepared" {
            client.expect(TEXT, b"short");
        }
    }
    client.close();
    running.shutdown().expect("an orderly end");

    let impossible = Deflate {
        level: 0,
        ..Deflate::default()
    };
    let mut limits = Limits::default();
    limits.deflate = Some(impossible);
    let refused = ringway::Server::new("ws://127.0.0.1:0")
        .limits(&limits)
        .start(|_worker| Forms);
    let sentence = refused.expect_err("level 0 is none").sentence;
    assert!(sentence.contains("levels go from 1 to 9"), "{sentence}");
}
