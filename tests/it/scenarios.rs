//! What well-behaved clients do, over real sockets of every kind and on both tiers: every byte comes back.

use std::time::Duration;

use crate::common::client::{
    BINARY, BINARY_BEGINS, CONTINUES, CONTINUES_LAST, Client, PING, PONG, TEXT, TEXT_BEGINS, dial,
    frame, noise,
};
use crate::common::{Server, on_both_tiers, scratch};

on_both_tiers!(
    messages_of_every_length_class_come_back,
    fragments_with_pings_between_them_come_back_as_one_message,
    a_message_in_ten_thousand_fragments_comes_back,
    messages_up_to_300_kib_in_any_order_come_back_in_order,
    a_thousand_pipelined_messages_come_back_in_order,
    frames_cut_anywhere_come_back,
    megabytes_come_back_to_a_slow_reader,
    large_and_small_clients_share_a_worker,
    a_message_with_the_opening_handshake_in_one_packet_comes_back,
    a_unix_socket_serves,
    ipv6_serves,
);

fn server(io: &str) -> Server {
    Server::start(&["--workers=1", "--port=0", io])
}

fn connect(server: &Server) -> Client {
    Client::connect(&server.address())
}

fn messages_of_every_length_class_come_back(io: &str) {
    let server = server(io);
    let mut client = connect(&server);
    let around = |len: usize| len - 16..=len + 16;
    let lens = (0..=300)
        .chain(around(4096))
        .chain(around(8192))
        .chain(around(16_384))
        .chain(around(65_536))
        .chain(around(128 << 10))
        .chain(around(512 << 10))
        .chain(around(1 << 20).step_by(8))
        .chain([3_000_000, 16 << 20]);
    for (seed, len) in lens.enumerate() {
        client.echo(BINARY, &noise(seed as u64, len));
    }
    for text in ["", "a", "κόσμε", "\u{10ffff}", &"ü€😀".repeat(5000)] {
        client.echo(TEXT, text.as_bytes());
    }
    client.close();
}

fn fragments_with_pings_between_them_come_back_as_one_message(io: &str) {
    let server = server(io);
    let mut client = connect(&server);
    for len in [0, 1, 125, 1000, 5000, 40_000, 200_000] {
        // All at once, and each fragment for itself.
        for at_once in [true, false] {
            let pieces = [1, 2, 3, 4].map(|seed| noise(seed, len));
            let mut bytes = Vec::new();
            for (at, piece) in pieces.iter().enumerate() {
                let first = [BINARY_BEGINS, CONTINUES, CONTINUES, CONTINUES_LAST][at];
                bytes.push(frame(PING, &[b'0' + at.to_le_bytes()[0]]));
                bytes.push(frame(first, piece));
            }
            if at_once {
                client.write(&bytes.concat());
            } else {
                for piece in &bytes {
                    client.write(piece);
                    std::thread::sleep(Duration::from_millis(3));
                }
            }
            for number in [b"0", b"1", b"2", b"3"] {
                client.expect(PONG, number);
            }
            client.expect(BINARY, &pieces.concat());
        }
    }
    // A code point cut by a fragment and a ping.
    client.send(TEXT_BEGINS, b"\xe2\x82");
    client.send(PING, b"");
    client.send(CONTINUES_LAST, b"\xac");
    client.expect(PONG, b"");
    client.expect(TEXT, "€".as_bytes());
    client.close();
}

fn a_message_in_ten_thousand_fragments_comes_back(io: &str) {
    let server = server(io);
    let mut client = connect(&server);
    let payload = noise(1, 70_000);
    let mut bytes = frame(BINARY_BEGINS, &payload[..7]);
    for piece in payload[7..69_993].chunks(7) {
        bytes.extend(frame(CONTINUES, piece));
    }
    bytes.extend(frame(CONTINUES_LAST, &payload[69_993..]));
    client.write(&bytes);
    client.expect(BINARY, &payload);
    client.close();
}

/// Writes from a thread of its own, so that neither side waits for the other's buffers.
fn pipeline(client: Client, messages: &[Vec<u8>], pause: Duration) {
    let writer = client.stream().try_clone().expect("a descriptor");
    let mut client = client;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for message in messages {
                std::io::Write::write_all(&mut &writer, &frame(BINARY, message))
                    .expect("the server reads");
            }
        });
        for message in messages {
            client.expect(BINARY, message);
            std::thread::sleep(pause);
        }
    });
    client.close();
}

fn messages_up_to_300_kib_in_any_order_come_back_in_order(io: &str) {
    let server = server(io);
    // Multiplied by a generator of the residues of a prime: every size comes, and no two neighbours are alike.
    let len = |at: usize| (at * at * 7919 + at * 104_729) % (300 << 10);
    let sizes = |at: usize| match at % 5 {
        0..3 => len(at) % 200,
        3 => len(at) % 9000,
        _ => len(at),
    };
    let messages: Vec<_> = (0..600).map(|at| noise(at as u64, sizes(at))).collect();
    pipeline(connect(&server), &messages, Duration::ZERO);
    let address = server.address();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| pipeline(Client::connect(&address), &messages[..200], Duration::ZERO));
        }
    });
}

fn a_thousand_pipelined_messages_come_back_in_order(io: &str) {
    let server = server(io);
    for len in [0, 4, 20, 125, 126, 1000] {
        let mut client = connect(&server);
        let messages: Vec<_> = (0..1000).map(|seed| noise(seed, len)).collect();
        let bytes: Vec<_> = messages
            .iter()
            .flat_map(|message| frame(BINARY, message))
            .collect();
        client.write(&bytes);
        for message in &messages {
            client.expect(BINARY, message);
        }
        client.close();
    }
}

/// One stream of frames, cut at another place each time.
fn frames_cut_anywhere_come_back(io: &str) {
    let server = server(io);
    let payloads = [
        noise(1, 3),
        noise(2, 130),
        noise(3, 20),
        Vec::new(),
        noise(4, 300),
    ];
    let bytes: Vec<_> = payloads
        .iter()
        .flat_map(|payload| frame(BINARY, payload))
        .collect();
    let mut client = connect(&server);
    client.stream().set_nodelay(true).expect("a TCP socket");
    for cut in 1..bytes.len() {
        client.write(&bytes[..cut]);
        if cut % 7 == 0 {
            std::thread::sleep(Duration::from_millis(1)); // so that the server sees the cut
        }
        client.write(&bytes[cut..]);
        for payload in &payloads {
            client.expect(BINARY, payload);
        }
    }
    for byte in &bytes {
        client.write(&[*byte]);
    }
    for payload in &payloads {
        client.expect(BINARY, payload);
    }
    client.close();
}

fn megabytes_come_back_to_a_slow_reader(io: &str) {
    let server = server(io);
    let messages: Vec<_> = (0..40).map(|seed| noise(seed, 1 << 20)).collect();
    pipeline(connect(&server), &messages, Duration::from_millis(20));
}

fn large_and_small_clients_share_a_worker(io: &str) {
    let server = server(io);
    let address = server.address();
    std::thread::scope(|scope| {
        for large in 0..3_u64 {
            let address = &address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..20 {
                    client.echo(
                        BINARY,
                        &noise(
                            large + round,
                            700_000 + usize::try_from(round).expect("small"),
                        ),
                    );
                }
                client.close();
            });
        }
        for small in 0..10_u64 {
            let address = &address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..300 {
                    client.echo(BINARY, &noise(small * 1000 + round, 50));
                }
                client.close();
            });
        }
    });
}

/// RFC 6455 lets a client send only after the response, but what comes early must not be lost or misread.
fn a_message_with_the_opening_handshake_in_one_packet_comes_back(io: &str) {
    let server = server(io);
    for len in [0, 5, 3000, 100_000] {
        let payload = noise(9, len);
        let mut stream = dial(&server.address()).expect("the server listens");
        let bytes = [
            crate::common::client::REQUEST.as_bytes(),
            &frame(BINARY, &payload),
        ]
        .concat();
        std::io::Write::write_all(&mut stream, &bytes).expect("connected");
        let mut client = Client::opened(stream).expect("accepted");
        client.expect(BINARY, &payload);
        client.close();
    }
}

fn a_unix_socket_serves(io: &str) {
    let directory = scratch(&io.replace("--io=", "serves-"));
    let path = directory.path("echo.sock");
    let server = Server::start(&[
        "--workers=2",
        "--port=0",
        &format!("--wsuri=ws+unix:{path}"),
        io,
    ]);
    assert_eq!(server.address(), format!("ws+unix:{path}"));
    let mut clients = [(); 8].map(|()| connect(&server));
    for (seed, client) in clients.iter_mut().enumerate() {
        for len in [0, 20, 5000, 100_000, 1 << 20] {
            client.echo(BINARY, &noise(seed as u64, len));
        }
    }
    let messages: Vec<_> = (0..10).map(|seed| noise(seed, 1 << 20)).collect();
    pipeline(connect(&server), &messages, Duration::ZERO);
    let [client, ..] = clients;
    client.close();
}

fn ipv6_serves(io: &str) {
    let server = Server::start(&["--workers=2", "--port=0", "--wsuri=ws://[::1]:0", io]);
    assert!(
        server.address().starts_with("ws://[::1]:"),
        "{}",
        server.ready
    );
    let mut client = connect(&server);
    for len in [0, 20, 5000, 100_000] {
        client.echo(BINARY, &noise(6, len));
    }
    client.close();
}
