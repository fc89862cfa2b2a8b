//! Peers that opened a WebSocket and then break the protocol, vanish, fall silent or do not read.

use std::io::ErrorKind;
use std::time::Duration;

use crate::common::client::{
    BINARY, BINARY_BEGINS, CLOSE, CONTINUES, CONTINUES_LAST, Client, PING, PONG, TEXT, TEXT_BEGINS,
    expect_end, frame, header, noise,
};
use crate::common::process::rss;
use crate::common::{Server, on_both_tiers, until};

on_both_tiers!(
    every_violation_is_answered_with_its_close_code_and_the_end_of_the_stream,
    text_that_is_no_utf_8_fails_with_1007_before_its_frame_is_complete,
    an_announced_tebibyte_is_1009_and_costs_no_memory,
    a_message_above_max_message_is_1009_and_one_at_it_is_echoed,
    peers_that_vanish_in_any_state_leave_nothing_behind,
    a_half_open_peer_gets_the_echo_of_what_it_had_sent,
    memory_stays_bounded_while_peers_never_read_and_others_are_served,
    memory_stays_bounded_while_a_peer_sends_pings_and_never_reads,
    silent_peers_are_pinged_then_dropped_and_idle_ones_closed_with_1001,
    a_pinged_peer_has_the_time_that_it_was_given,
);

fn every_violation_is_answered_with_its_close_code_and_the_end_of_the_stream(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", io]);
    let long = [b'x'; 126];
    let cases: [(&str, Vec<u8>, u16); 20] = [
        ("an unmasked frame", b"\x81\x05Hello".to_vec(), 1002),
        ("RSV1", frame(TEXT | 0x40, b"a"), 1002),
        ("RSV2", frame(TEXT | 0x20, b"a"), 1002),
        ("RSV3", frame(TEXT | 0x10, b"a"), 1002),
        ("opcode 3", frame(0x83, b"a"), 1002),
        ("opcode 7", frame(0x87, b""), 1002),
        ("opcode 11", frame(0x8b, b""), 1002),
        ("opcode 15", frame(0x8f, b""), 1002),
        ("a ping of 126 bytes", frame(PING, &long), 1002),
        ("a fragmented ping", frame(0x09, b"a"), 1002),
        (
            "a continuation of nothing",
            frame(CONTINUES_LAST, b"a"),
            1002,
        ),
        (
            "a message inside a message",
            [frame(TEXT_BEGINS, b"a"), frame(TEXT, b"b")].concat(),
            1002,
        ),
        (
            "a length that is not minimal",
            b"\x82\xfe\x00\x7d\0\0\0\0".to_vec(),
            1002,
        ),
        (
            "a long length that is not minimal",
            b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0".to_vec(),
            1002,
        ),
        (
            "a length of 2^63",
            b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            1002,
        ),
        ("a close of one byte", frame(CLOSE, b"\x03"), 1002),
        ("close code 1005", frame(CLOSE, b"\x03\xed"), 1002),
        ("close code 999", frame(CLOSE, b"\x03\xe7"), 1002),
        (
            "a close reason that is no UTF-8",
            frame(CLOSE, b"\x03\xe8\xff"),
            1007,
        ),
        ("text that is no UTF-8", frame(TEXT, b"\xed\xa0\x80"), 1007),
    ];
    for (what, bytes, code) in cases {
        // As it is, and after a message that is echoed all the same.
        for before in [false, true] {
            println!("{what}");
            let mut client = Client::connect(&server.address());
            if before {
                client.write(&[frame(TEXT, b"before"), bytes.clone()].concat());
                client.expect(TEXT, b"before");
            } else {
                client.write(&bytes);
            }
            client.expect_failed_with(code);
        }
    }
    Client::connect(&server.address()).echo(TEXT, b"none of it matters to others");
}

fn text_that_is_no_utf_8_fails_with_1007_before_its_frame_is_complete(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", io]);
    for (len, valid) in [(100, 10), (100_000, 20_000), (10_000_000, 300_000)] {
        let mut client = Client::connect(&server.address());
        // As much of one frame of `len` bytes as it takes to see that it is no text; the rest never comes.
        let mut bytes = frame(TEXT, &[&vec![b'v'; valid][..], b"\xc0\xaf"].concat());
        let mut head = header(TEXT, len);
        let short = header(TEXT, valid as u64 + 2).len();
        head.extend(bytes.drain(short..));
        client.write(&head);
        client.expect_failed_with(1007);
    }
    // Cut inside a code point, in a fragment of its own: that alone is no fault, the next byte is.
    let mut client = Client::connect(&server.address());
    client.send(TEXT_BEGINS, b"\xe2\x82");
    client.send(PING, b"still there?");
    client.expect(PONG, b"still there?");
    client.send(CONTINUES, b"\x28");
    client.expect_failed_with(1007);
}

fn an_announced_tebibyte_is_1009_and_costs_no_memory(io: &str) {
    let server = Server::start(&["--workers=1", "--port=auto", io]);
    let worker = server.seats()[0];
    Client::connect(&server.address()).echo(BINARY, &[0; 1000]);
    let before = rss(worker);
    for len in [1_u64 << 40, (1 << 63) - 1, (16 << 20) + 1] {
        for _ in 0..20 {
            let mut client = Client::connect(&server.address());
            client.write(&header(BINARY, len));
            client.expect_failed_with(1009);
        }
    }
    // What is allowed is not believed either: memory follows what arrives.
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let mut client = Client::connect(&server.address());
            client.write(&header(BINARY, 16 << 20));
            client.write(&[0; 100]);
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let grown = rss(worker).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    drop(waiting);
}

fn a_message_above_max_message_is_1009_and_one_at_it_is_echoed(io: &str) {
    let server = Server::start(&[
        "--workers=1",
        "--port=0",
        "--max-message=100000",
        "--max-frame=60000",
        io,
    ]);
    let connect = || Client::connect(&server.address());
    let (half, rest) = (noise(1, 60_000), noise(2, 40_000));
    let mut client = connect();
    client.echo(BINARY, &half);
    client.send(BINARY_BEGINS, &half);
    client.send(CONTINUES_LAST, &rest);
    client.expect(BINARY, &[&half[..], &rest].concat());

    client.write(&header(BINARY, 60_001));
    client.expect_failed_with(1009);

    let mut client = connect();
    client.send(BINARY_BEGINS, &half);
    client.write(&header(CONTINUES_LAST, 40_001));
    client.expect_failed_with(1009);

    // In many fragments, none of which is long.
    let mut client = connect();
    client.send(TEXT_BEGINS, &[b'a'; 1000]);
    for _ in 0..99 {
        client.send(CONTINUES, &[b'a'; 1000]);
    }
    client.send(CONTINUES, b"one more");
    client.expect_failed_with(1009);
}

/// The states in which a peer vanishes, each with the bytes that lead there.
fn states() -> Vec<(&'static str, Vec<u8>)> {
    let small = frame(TEXT, b"hello");
    let (middle, bulk) = (frame(BINARY, &[1; 3000]), frame(BINARY, &[2; 1 << 20]));
    vec![
        ("after the opening handshake", Vec::new()),
        ("after a message", small.clone()),
        ("inside a header", small[..1].to_vec()),
        ("inside a long header", bulk[..9].to_vec()),
        ("inside the masking key", small[..4].to_vec()),
        ("inside a payload", middle[..1000].to_vec()),
        ("inside a bulk payload", bulk[..300_000].to_vec()),
        ("after a bulk payload", bulk.clone()),
        (
            "between two bulk payloads",
            [&bulk[..], &bulk[..20]].concat(),
        ),
        ("between fragments", frame(TEXT_BEGINS, b"one")),
        (
            "between bulk fragments",
            [
                frame(BINARY_BEGINS, &[3; 200_000]),
                header(CONTINUES, 200_000),
            ]
            .concat(),
        ),
        ("inside a ping", frame(PING, b"0123456789")[..9].to_vec()),
        ("after a close was sent", frame(CLOSE, b"\x03\xe8")),
        ("after a violation", frame(0x83, b"")),
        (
            "inside what follows a close",
            [frame(CLOSE, b"\x03\xe8"), bulk[..100_000].to_vec()].concat(),
        ),
    ]
}

fn no_client_is_left(server: &Server) {
    until("no socket is left", || {
        server.counter("sockets").iter().sum::<u64>() == 0
    });
    assert_eq!(server.counter("clients").iter().sum::<u64>(), 0);
}

fn peers_that_vanish_in_any_state_leave_nothing_behind(io: &str) {
    let server = Server::start(&["--workers=1", "--port=auto", "--interval=100ms", io]);
    let address = server.address();
    let mut others = Client::connect(&address);
    for (state, bytes) in states() {
        for wait in [false, true] {
            for by_reset in [false, true] {
                let mut client = Client::connect(&address);
                // A server that has failed the connection may have ended it while bytes still come.
                let _ = client.try_write(&bytes);
                if wait {
                    std::thread::sleep(Duration::from_millis(20));
                }
                if by_reset {
                    client.reset();
                }
                others.echo(TEXT, state.as_bytes());
            }
        }
    }
    let all = 4 * states().len() as u64 + 1;
    assert_eq!(server.counter_reaching("handshakes", all), [all]);
    others.close();
    no_client_is_left(&server);
    assert_eq!(
        server.seats(),
        server.workers(),
        "the worker did not die of it"
    );
    assert_eq!(server.stats()["workers"][0]["restarts"], 0);
}

fn a_half_open_peer_gets_the_echo_of_what_it_had_sent(io: &str) {
    let server = Server::start(&["--workers=1", "--port=auto", "--interval=100ms", io]);
    for len in [5, 3000, 20_000, 500_000] {
        let mut client = Client::connect(&server.address());
        let payload = noise(len, usize::try_from(len).expect("small"));
        let mut bytes = frame(BINARY, &payload);
        bytes.extend_from_slice(&[0x82]); // and never the rest of the next frame
        client.write(&bytes);
        client.end();
        client.expect(BINARY, &payload);
        expect_end(&mut client.into_stream());
    }
    let client = Client::connect(&server.address());
    client.end();
    expect_end(&mut client.into_stream());
    no_client_is_left(&server);
}

/// Writes messages until nothing moves for a while, or `most` bytes are written. Returns how many were.
fn push(client: &mut Client, bytes: &[u8], most: usize) -> usize {
    client.set_patience(Duration::from_secs(1));
    let mut written = 0;
    while written < most {
        match client.try_write(bytes) {
            Ok(()) => written += bytes.len(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "still open: {error}");
                break;
            }
        }
    }
    written
}

const NEVER_READING: usize = 20;

fn memory_stays_bounded_while_peers_never_read_and_others_are_served(io: &str) {
    for len in [125, 4000, 100_000, 1 << 20] {
        let server = Server::start(&[
            "--workers=1",
            "--port=auto",
            "--interval=200ms",
            "--send-queue=1MiB",
            io,
        ]);
        let address = server.address();
        let worker = server.seats()[0];
        let mut others = Client::connect(&address);
        others.echo(BINARY, &noise(1, 1000));
        let before = rss(worker);
        let message = frame(BINARY, &noise(2, len));
        let bytes = message.repeat((100_000 / len).max(1));
        let pushed = || {
            let mut client = Client::connect(&address);
            let written = push(&mut client, &bytes, 100_000_000);
            (client, written)
        };
        let mut most = 0;
        let clients: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..NEVER_READING).map(|_| scope.spawn(pushed)).collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                others.echo(BINARY, &noise(3, 10_000));
                most = most.max(rss(worker));
                std::thread::sleep(Duration::from_millis(10));
            }
            let join =
                |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
            threads.into_iter().map(join).collect()
        });
        let grown = most.max(rss(worker)).saturating_sub(before);
        let taken: usize = clients.iter().map(|(_, written)| written).sum();
        println!(
            "{io}, {NEVER_READING} peers, messages of {len}: {taken} bytes taken, memory + {grown}"
        );
        assert!(clients.iter().all(|(_, written)| *written < 100_000_000));
        assert!(grown < 64 << 20, "{grown} bytes more");
        assert!(server.counter_reaching("pauses", NEVER_READING as u64)[0] >= 20);

        // A peer that reads at last gets everything, in order.
        let (mut client, written) = clients.into_iter().next().expect("twenty");
        client.set_patience(Duration::from_secs(30));
        let payload = noise(2, len);
        for _ in 0..written / message.len() {
            client.expect(BINARY, &payload);
        }
        others.close();
    }
}

fn memory_stays_bounded_while_a_peer_sends_pings_and_never_reads(io: &str) {
    let server = Server::start(&["--workers=1", "--port=auto", "--interval=200ms", io]);
    let worker = server.seats()[0];
    let before = rss(worker);
    let mut client = Client::connect(&server.address());
    let written = push(
        &mut client,
        &frame(PING, &[b'p'; 125]).repeat(1000),
        100_000_000,
    );
    let grown = rss(worker).saturating_sub(before);
    println!("{io}: {written} bytes of pings taken, memory + {grown}");
    assert!(written < 100_000_000);
    assert!(grown < 8 << 20, "{grown} bytes more");
}

fn a_pinged_peer_has_the_time_that_it_was_given(io: &str) {
    let options = ["--workers=1", "--port=0", "--ping-interval=200ms", io];
    let patient = Server::start(&[&options[..], &["--ping-timeout=1h"]].concat());
    let mut silent = Client::connect(&patient.address());
    assert_eq!(silent.recv().first, PING);
    std::thread::sleep(Duration::from_secs(1));
    // Without the option it would be gone by now. It gets no second Ping before it has said something.
    silent.echo(TEXT, b"still here");
    assert_eq!(silent.recv().first, PING);

    let options = ["--workers=1", "--port=0", "--ping-interval=1s", io];
    let strict = Server::start(&[&options[..], &["--ping-timeout=1ms"]].concat());
    let mut silent = Client::connect(&strict.address());
    assert_eq!(silent.recv().first, PING);
    assert!(silent.try_recv().is_err(), "dropped");
}

fn silent_peers_are_pinged_then_dropped_and_idle_ones_closed_with_1001(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", "--ping-interval=700ms", io]);
    let mut answers = Client::connect(&server.address());
    let mut silent = Client::connect(&server.address());
    for _ in 0..3 {
        let ping = answers.recv();
        assert_eq!(ping.first, PING);
        answers.send(PONG, &ping.payload);
    }
    answers.close();
    assert_eq!(silent.recv().first, PING);
    assert!(silent.try_recv().is_err(), "dropped");

    let server = Server::start(&["--workers=1", "--port=0", "--idle-timeout=500ms", io]);
    let mut idle = Client::connect(&server.address());
    let close = idle.recv();
    assert_eq!(
        (close.first, &close.payload[..2]),
        (CLOSE, &[0x03, 0xe9][..])
    );
    idle.send(CLOSE, &close.payload[..2]);
    expect_end(&mut idle.into_stream());
}
