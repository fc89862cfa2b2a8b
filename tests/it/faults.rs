//! Workers that die and servers that stop while clients are busy.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::client::{BINARY, CLOSE, Client, TEXT, expect_end, frame, noise};
use crate::common::{Server, kill, on_both_tiers, until};

on_both_tiers!(
    the_death_of_a_worker_is_seen_by_its_own_clients_only_and_no_connect_is_refused,
    a_stopping_server_closes_echoing_clients_with_1001_and_exits_with_0,
    a_client_that_never_answers_the_close_does_not_stop_the_exit,
    a_client_that_does_not_read_does_not_stop_the_exit,
    a_stopping_server_refuses_new_connections_and_ends_half_open_ones,
);

/// Messages that a client has in flight at once.
const PIPELINED: usize = 4;

/// Echoes rounds of messages, each of them another, until `done`. Returns the rounds, and whether the connection broke;
/// anything else that is wrong is a panic.
fn echo_until(mut client: Client, seed: u64, rounds: &AtomicUsize, done: &AtomicBool) -> bool {
    let lens = [20, 1000, 5000, 40_000];
    for round in 0.. {
        if done.load(Ordering::Relaxed) {
            client.close();
            return false;
        }
        let messages: [Vec<u8>; PIPELINED] = std::array::from_fn(|at| {
            noise(
                seed << 32 | round << 2 | at as u64,
                lens[at] + usize::try_from(round % 64).expect("small"),
            )
        });
        let bytes = messages.each_ref().map(|message| frame(BINARY, message));
        if is_broken(client.try_write(&bytes.concat())) {
            return true;
        }
        for message in &messages {
            match client.try_recv() {
                Ok(echo) => assert!(echo.first == BINARY && echo.payload == *message),
                Err(error) => return is_broken(Err(error)),
            }
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("the rounds do not end")
}

/// Whether the connection is gone; any other error is a panic.
fn is_broken(result: std::io::Result<()>) -> bool {
    let gone = [
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
        ErrorKind::UnexpectedEof,
    ];
    match result {
        Ok(()) => false,
        Err(error) if gone.contains(&error.kind()) => true,
        Err(error) => panic!("not the end of a connection: {error}"),
    }
}

/// Connects again and again until `done`. No connect may be refused; one that was just accepted by the dying worker may
/// break, and there is one at a time. Returns how many were served and how many broke.
fn connect_until(address: &str, done: &AtomicBool) -> (usize, usize) {
    let (mut served, mut broke) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        match Client::try_connect(address) {
            Ok(mut client) => {
                if client.try_write(&frame(TEXT, b"still there?")).is_ok()
                    && client
                        .try_recv()
                        .is_ok_and(|echo| echo.payload == b"still there?")
                {
                    served += 1;
                } else {
                    broke += 1;
                }
            }
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::ConnectionRefused);
                assert!(is_broken(Err(error)));
                broke += 1;
            }
        }
    }
    (served, broke)
}

fn the_death_of_a_worker_is_seen_by_its_own_clients_only_and_no_connect_is_refused(io: &str) {
    let server = Server::start(&["--workers=4", "--port=auto", "--interval=200ms", io]);
    let address = server.address();
    let clients: Vec<_> = (0..40).map(|_| Client::connect(&address)).collect();
    let held = server.counter_reaching("clients", 40);
    let before = server.seats();
    let (rounds, done): (Vec<_>, _) = (
        (0..40).map(|_| AtomicUsize::new(0)).collect(),
        AtomicBool::new(false),
    );
    std::thread::scope(|scope| {
        let connector = scope.spawn(|| connect_until(&address, &done));
        let echoes: Vec<_> = std::iter::zip(clients, &rounds)
            .enumerate()
            .map(|(seed, (client, rounds))| {
                let done = &done;
                scope.spawn(move || echo_until(client, seed as u64, rounds, done))
            })
            .collect();
        let busy = |least: usize| {
            let enough = |rounds: &&AtomicUsize| rounds.load(Ordering::Relaxed) >= least;
            rounds.iter().filter(enough).count()
        };
        until("every client echoes", || busy(3) == 40);
        kill(before[1]);
        until("a new worker serves in its place", || {
            let stats = server.stats();
            let seat = &stats["workers"][1];
            seat["restarts"] == 1 && seat["state"] == "ready"
        });
        let survivors = 40 - usize::try_from(held[1]).expect("few");
        let so_far = rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed));
        let goal = so_far.max().expect("40") + 3;
        until("the other clients echo on", || busy(goal) >= survivors);
        until("the new worker is given clients", || {
            server.counter("handshakes")[1] > held[1]
        });
        done.store(true, Ordering::Relaxed);
        let broken = echoes
            .into_iter()
            .filter_map(|thread| thread.join().expect("no echo was wrong").then_some(()));
        assert_eq!(broken.count() as u64, held[1]);
        let (served, broke) = connector.join().expect("no connect was refused");
        println!("{io}: while worker 1 of {held:?} died, {served} were served and {broke} broke");
        assert!(served > 0 && broke <= 2, "{served} {broke}");
    });
    let after = server.seats();
    assert_ne!(after[1], before[1]);
    for seat in [0, 2, 3] {
        assert_eq!(after[seat], before[seat]);
    }
}

/// Echoes in lockstep until the server closes; answers the Close.
fn echo_until_closed(mut client: Client) -> u64 {
    for rounds in 0.. {
        // A server that has closed reads what is left, so that this is never an error.
        client.send(TEXT, b"a message of 20 oct.");
        let answer = client.recv();
        if answer.first == CLOSE {
            assert_eq!(answer.payload[..2], [0x03, 0xe9], "1001");
            client.send(CLOSE, &answer.payload[..2]);
            expect_end(&mut client.into_stream());
            return rounds;
        }
        assert_eq!(
            (answer.first, &answer.payload[..]),
            (TEXT, &b"a message of 20 oct."[..])
        );
    }
    unreachable!("the rounds do not end")
}

fn a_stopping_server_closes_echoing_clients_with_1001_and_exits_with_0(io: &str) {
    let mut server = Server::start(&["--workers=2", "--port=0", "--drain-timeout=20s", io]);
    let address = server.address();
    let clients: Vec<_> = (0..32).map(|_| Client::connect(&address)).collect();
    let began = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|client| scope.spawn(move || echo_until_closed(client)))
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        server.signal("TERM");
        let began = Instant::now();
        for thread in threads {
            let rounds = thread.join().expect("closed in order");
            assert!(rounds > 0);
        }
        began
    });
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    assert!(began.elapsed() < Duration::from_secs(15));
}

fn a_client_that_never_answers_the_close_does_not_stop_the_exit(io: &str) {
    for limits in [
        // Either limit is enough, however long the other is.
        ["--drain-timeout=1m", "--close-timeout=300ms"],
        ["--drain-timeout=500ms", "--close-timeout=1m"],
    ] {
        let mut server = Server::start(&["--workers=2", "--port=0", limits[0], limits[1], io]);
        let mut clients = [(); 4].map(|()| Client::connect(&server.address()));
        server.signal("TERM");
        for client in &mut clients {
            let close = client.recv();
            assert_eq!(
                (close.first, &close.payload[..2]),
                (CLOSE, &[0x03, 0xe9][..])
            );
        }
        assert_eq!(server.wait(), Some(0), "{limits:?}: {}", server.stderr());
        assert!(!server.stderr().contains("killing"), "{}", server.stderr());
        for client in clients {
            expect_end(&mut client.into_stream());
        }
    }
}

/// Its Close never reaches the socket: megabytes are before it.
fn a_client_that_does_not_read_does_not_stop_the_exit(io: &str) {
    // What is queued may be read until the drain is over, so that is when the server leaves.
    let mut server = Server::start(&["--workers=1", "--port=0", "--drain-timeout=3s", io]);
    let mut client = Client::connect(&server.address());
    client.set_patience(Duration::from_millis(500));
    let message = frame(BINARY, &noise(1, 100_000));
    while client.try_write(&message).is_ok() {}
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    assert!(!server.stderr().contains("killing"), "{}", server.stderr());
}

fn a_stopping_server_refuses_new_connections_and_ends_half_open_ones(io: &str) {
    let mut server = Server::start(&[
        "--workers=1",
        "--port=0",
        "--drain-timeout=1m",
        "--close-timeout=2s",
        io,
    ]);
    let address = server.address();
    let mut mute = Client::connect(&address); // keeps the server draining for 2 s
    let mut half_open = crate::common::client::dial(&address).expect("the server listens");
    std::thread::sleep(Duration::from_millis(300));
    server.signal("TERM");
    assert_eq!(mute.recv().first, CLOSE);
    std::io::Write::write_all(&mut half_open, crate::common::client::REQUEST.as_bytes())
        .expect("connected");
    let (head, _) = crate::common::client::read_head(&mut half_open).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    assert!(crate::common::client::dial(&address).is_err());
}
