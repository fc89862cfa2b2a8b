//! How connections spread over the workers of one server.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::client::{Client, REQUEST, TEXT, dial, exchange};
use crate::common::process::raise_descriptor_limit;
use crate::common::{Server, go_on, kill, on_both_tiers, run, scratch, stop, terminate, until};

on_both_tiers!(
    burst_after_burst_two_workers_share_evenly_while_the_driver_runs_beside_one_of_them,
    with_one_worker_stopped_every_connect_is_taken_by_the_other,
    a_server_takes_as_many_clients_as_it_may_and_refuses_one_more,
    of_400_connections_opened_one_after_another_each_of_4_workers_holds_80_to_120,
    of_4000_connections_opened_at_once_each_of_4_workers_holds_800_to_1200,
    with_a_listener_of_its_own_every_worker_serves,
    every_worker_serves_every_place_where_the_server_listens,
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

fn every_worker_serves_every_place_where_the_server_listens(io: &str) {
    let directory = scratch("places");
    let unix = format!("ws+unix:{}", directory.path("socket"));
    let mut server = Server::start(&[
        "--workers=2",
        "--port=auto",
        "--interval=200ms",
        "--wsuri=ws://127.0.0.1:0,ws://[::1]:0",
        "--wsuri",
        &unix,
        io,
    ]);
    let address = server.address();
    let places: Vec<_> = address.split(',').collect();
    assert_eq!(places.len(), 3, "{}", server.ready);
    let open = |clients_each: usize| -> Vec<_> {
        let places = places.iter().cycle().take(3 * clients_each);
        let mut clients: Vec<_> = places.map(|place| Client::connect(place)).collect();
        for client in &mut clients {
            client.echo(TEXT, b"there and back");
        }
        clients
    };
    let clients = open(40);
    let held = server.counter_reaching("clients", 120);
    assert!(held.iter().all(|held| (40..=80).contains(held)), "{held:?}");
    // A worker that replaces another one serves every place, too.
    let before = server.workers();
    kill(before[0]);
    until("the worker is replaced", || {
        let now = server.workers();
        now.len() == 2 && !now.contains(&before[0])
    });
    drop(clients);
    let clients = open(40);
    until("both workers hold some of them", || {
        server.counter("clients").iter().all(|held| *held >= 20)
    });
    drop(clients);
    terminate(server.pid());
    assert_eq!(server.wait(), Some(0));
    for place in places {
        let error = dial(place).expect_err("nobody listens");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::NotFound
            ),
            "{place}: {error}"
        );
    }
}

/// A worker that gets no time while they come gets fewer, as it should: a machine that is busy elsewhere spoils one attempt,
/// not all of them.
fn of_4000_connections_opened_at_once_each_of_4_workers_holds_800_to_1200(io: &str) {
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (took, held) = burst_of_4000(io);
        if took < BURST_TIME_MAX && held.iter().all(|held| (800..=1200).contains(held)) {
            return;
        }
        seen.push((took, held));
    }
    panic!("{seen:?}");
}

/// How long it takes to open 4000 connections at once, and what each worker holds of them.
fn burst_of_4000(io: &str) -> (Duration, Vec<u64>) {
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
    let held = server.counter_reaching("clients", 4000);
    println!("4000 at once, {io}: {held:?} in {took:?}");
    assert_eq!(held.iter().sum::<u64>(), 4000);
    drop(clients);
    (took, held)
}

/// Runs of the driver on one server: twenty take half a minute.
fn repetitions() -> usize {
    let variable = std::env::var("RINGWAY_BALANCE_RUNS").ok();
    variable.map_or(4, |runs| runs.parse().expect("a number"))
}

/// Once, what a worker had armed in one burst made it take itself for the only one alive in the next: 5/95 or 100/0 from the
/// second run on.
fn burst_after_burst_two_workers_share_evenly_while_the_driver_runs_beside_one_of_them(io: &str) {
    let server = Server::start(&["--workers=2", "--port=auto", "--interval=50ms", io]);
    let address = server.address();
    for (count, repetition) in [50, 100]
        .into_iter()
        .flat_map(|count| (0..repetitions()).map(move |repetition| (count, repetition)))
    {
        let connections = format!("--connections={count}");
        // Beside one worker and then the other, where there are two CPUs.
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = format!("--cpus={}", repetition % cpus.min(2));
        let arguments = ["echo", &address, &connections, &cpu, "--duration=1s"];
        let burst = || {
            let held = std::thread::scope(|scope| {
                let driver = scope.spawn(|| run("wsperf", &arguments));
                let held = server.counter_reaching("clients", count);
                let output = driver.join().expect("no panic");
                assert_eq!(output.code, 0, "{}", output.stderr);
                held
            });
            until("the driver's connections are gone", || {
                server.counter("clients").iter().sum::<u64>() == 0
            });
            println!("{count} from {cpu}, {io}: {held:?}");
            let allowed = count * 2 / 5..=count * 3 / 5;
            held.iter().all(|held| allowed.contains(held))
        };
        // A virtual CPU that stands still for a second spoils one burst, not two in a row.
        assert!(burst() || burst());
    }
}

/// Once, on io_uring, the kernel woke the stopped worker for a connect, which then waited for the next one.
fn with_one_worker_stopped_every_connect_is_taken_by_the_other(io: &str) {
    let server = Server::start(&["--workers=2", "--port=auto", "--interval=200ms", io]);
    let address = server.address();
    let before: Vec<_> = (0..4).map(|_| Client::connect(&address)).collect();
    let seats = server.seats();
    stop(seats[0]);
    // More than the other's share as well.
    let mut during: Vec<_> = (0..12).map(|_| Client::connect(&address)).collect();
    for client in &mut during {
        client.echo(TEXT, b"served");
    }
    go_on(seats[0]);
    for mut client in before {
        client.echo(TEXT, b"still there");
    }
}

/// Once, each of four workers had a quarter of the limit to itself, so that the kernel's choice decided who was refused.
fn a_server_takes_as_many_clients_as_it_may_and_refuses_one_more(io: &str) {
    let server = Server::start(&[
        "--workers=4",
        "--max-connections=12",
        "--port=auto",
        "--interval=200ms",
        io,
    ]);
    let address = server.address();
    let mut clients: Vec<_> = (0..12).map(|_| Client::connect(&address)).collect();
    for _ in 0..3 {
        for _ in 0..3 {
            let answer = exchange(&address, REQUEST.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
        // Whose place becomes free does not matter.
        for at in [0, 5, 9] {
            clients.remove(at).close();
            // The end that a client sees comes before the worker counts it.
            until("a place is free", || {
                Client::try_connect(&address).is_ok_and(|client| {
                    clients.push(client);
                    true
                })
            });
        }
    }
    for client in &mut clients {
        client.echo(TEXT, b"one of twelve");
    }
}

/// The kernel deals connections out by their addresses, so no shares are promised.
fn with_a_listener_of_its_own_every_worker_serves(io: &str) {
    let server = Server::start(&[&OPTIONS[..], &["--reuseport", io]].concat());
    let address = server.address();
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(&address)).collect();
    for client in &mut clients {
        client.echo(TEXT, b"hello");
    }
    let held = server.counter_reaching("clients", 200);
    println!("200 with --reuseport, {io}: {held:?}");
    assert_eq!(held.iter().sum::<u64>(), 200);
    assert!(held.iter().all(|held| *held > 0), "{held:?}");
}
