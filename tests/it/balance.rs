//! How connections spread over the workers of one server.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::client::{Client, REQUEST, TEXT, dial};
use crate::common::process::raise_descriptor_limit;
use crate::common::{Server, on_both_tiers};

on_both_tiers!(
    of_400_connections_opened_one_after_another_each_of_4_workers_holds_80_to_120,
    of_4000_connections_opened_at_once_each_of_4_workers_holds_800_to_1200,
    with_a_listener_of_its_own_every_worker_serves,
);

const OPTIONS: [&str; 3] = ["--workers=4", "--port=auto", "--interval=200ms"];

/// Once, workers that had their share waited for 100 ms each time, and both bursts took five seconds and more. They take
/// some tenths of a second.
const BURST_TIME_MAX: Duration = Duration::from_secs(4);

fn of_400_connections_opened_one_after_another_each_of_4_workers_holds_80_to_120(io: &str) {
    raise_descriptor_limit(1000);
    let server = Server::start(&[&OPTIONS[..], &[io]].concat());
    let address = server.address();
    let clients: Vec<_> = (0..400).map(|_| Client::connect(&address)).collect();
    let held = server.counter_reaching("clients", 400);
    println!("400 one after another, {io}: {held:?}");
    assert_eq!(held.iter().sum::<u64>(), 400);
    assert!(
        held.iter().all(|held| (80..=120).contains(held)),
        "{held:?}"
    );
    drop(clients);
}

/// A worker that gets no time while they come gets fewer, as it should: a machine that is busy elsewhere spoils one attempt,
/// not all of them.
fn of_4000_connections_opened_at_once_each_of_4_workers_holds_800_to_1200(io: &str) {
    let mut seen = Vec::new();
    for _ in 0..5 {
        let held = burst_of_4000(io);
        if held.iter().all(|held| (800..=1200).contains(held)) {
            return;
        }
        seen.push(held);
    }
    panic!("{seen:?}");
}

/// What each worker holds of 4000 connections that are opened at once.
fn burst_of_4000(io: &str) -> Vec<u64> {
    raise_descriptor_limit(6000);
    let server = Server::start(&[&OPTIONS[..], &["--handshake-timeout=30s", io]].concat());
    let address = server.address();
    let began = Instant::now();
    // Every thread opens all of its connections before it waits for the first answer.
    let open = || {
        let streams: Vec<TcpStream> = (0..250)
            .map(|_| {
                let mut stream = dial(&address).expect("never refused");
                stream.write_all(REQUEST.as_bytes()).expect("connected");
                stream
            })
            .collect();
        let opened = streams.into_iter().map(Client::opened);
        opened.map(|client| client.expect("accepted")).collect()
    };
    let clients: Vec<Vec<Client>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(open)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads.into_iter().map(join).collect()
    });
    let took = began.elapsed();
    assert!(took < BURST_TIME_MAX, "{took:?}");
    let held = server.counter_reaching("clients", 4000);
    println!("4000 at once, {io}: {held:?}");
    assert_eq!(held.iter().sum::<u64>(), 4000);
    drop(clients);
    held
}

/// The kernel deals connections out by their addresses, so no shares are promised.
fn with_a_listener_of_its_own_every_worker_serves(io: &str) {
    let server = Server::start(&[&OPTIONS[..], &["--reuseport", io]].concat());
    let address = server.address();
    let began = Instant::now();
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(&address)).collect();
    for client in &mut clients {
        client.echo(TEXT, b"hello");
    }
    let took = began.elapsed();
    assert!(took < BURST_TIME_MAX, "{took:?}");
    let held = server.counter_reaching("clients", 200);
    println!("200 with --reuseport, {io}: {held:?}");
    assert_eq!(held.iter().sum::<u64>(), 200);
    assert!(held.iter().all(|held| *held > 0), "{held:?}");
}
