//! What an idle open connection costs a worker: user memory by its proportional share (PSS), not by `size_of`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::common::client::{BINARY, Client, TEXT, noise, reset};
use crate::common::process::{pss, raise_descriptor_limit};
use crate::common::{Server, on_both_tiers};

on_both_tiers!(an_idle_open_connection_costs_at_most_512_octets);

/// The bar of the design.
const OCTETS_MAX: u64 = 512;

/// Over two workers, and from two processes: each of the four has descriptors for half of them.
const CONNECTIONS: u64 = 20_000;

/// The tests of this file share the descriptors of this process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Descriptors that a process needs for other things.
const DESCRIPTORS_ELSE: u64 = 200;

fn an_idle_open_connection_costs_at_most_512_octets(io: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // The workers' share is uneven by a few per cent.
    let limit = raise_descriptor_limit(5_000);
    let each = (CONNECTIONS / 2).min((limit - DESCRIPTORS_ELSE) * 9 / 10);
    let connections = each * 2;
    let server = Server::start(&[
        "--workers=2",
        "--port=auto",
        "--interval=200ms",
        "--wsuri=ws://0.0.0.0:0",
        io,
    ]);
    let address = server.address();
    let (_, port) = address.rsplit_once(':').expect("a port");
    // Code and the first buffers are in memory once each worker has served: a handful of connections, so that next to
    // nothing is there already that the many need.
    let mut first = [(); 16].map(|()| Client::connect(&at(port, 0)));
    for client in &mut first {
        client.echo(TEXT, b"one message");
    }
    let served = server.counter_reaching("clients", 16);
    assert!(served.iter().all(|served| *served > 0), "{served:?}");
    first.into_iter().for_each(Client::close);
    crate::common::until("they are gone", || server.counter("sockets") == [0, 0]);
    let workers = server.seats();
    let measure = || workers.iter().map(|pid| pss(*pid)).sum::<u64>();

    let before = measure();
    let holder = Holder::start(port, each);
    let mut clients: Vec<_> = (0..each)
        .map(|nth| Client::connect(&at(port, nth)))
        .collect();
    let held = server.counter_reaching("clients", connections);
    let after = measure();
    let cost = after.saturating_sub(before) / connections;
    println!("{io}: {connections} idle connections, workers hold {held:?}: {cost} octets each");
    assert!(cost <= OCTETS_MAX, "{cost} octets for each connection");

    // What a message needed goes back: an open connection that has echoed costs no more.
    for client in &mut clients {
        client.echo(BINARY, &noise(1, 6000));
    }
    let echoed = measure();
    let cost = echoed.saturating_sub(before) / connections;
    println!("{io}: the same after {each} of them have echoed 6000 octets: {cost} octets each");
    assert!(cost <= OCTETS_MAX, "{cost} octets for each connection");

    drop(holder);
    for client in clients {
        reset(client.stream()); // spares the system twenty thousand sockets in TIME_WAIT
    }
}

/// One of eight addresses of this machine: the ports that lead to one of them run short above ten thousand connections, and
/// the search for a free one takes its time.
fn at(port: &str, nth: u64) -> String {
    format!("ws://127.0.0.{}:{port}", nth % 8 + 1)
}

/// This program again, as the holder of connections.
struct Holder {
    child: Child,
    /// Kept, because the helper has more to say.
    _stdout: BufReader<ChildStdout>,
}

impl Holder {
    /// Returns when `count` connections are open.
    fn start(port: &str, count: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "memory::holds_connections",
                "--ignored",
                "--nocapture",
            ])
            .env(HOLD, format!("{count} {port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = stdout.by_ref().lines().map_while(Result::ok);
        let open = lines.any(|line| line.ends_with("all open"));
        let holder = Self {
            child,
            _stdout: stdout,
        };
        assert!(open, "the helper ended early");
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// How many, and where.
const HOLD: &str = "RINGWAY_TEST_HOLD";

#[test]
#[ignore = "the part of another test that runs in a process of its own"]
fn holds_connections() {
    let Ok(task) = std::env::var(HOLD) else {
        return;
    };
    let (count, port) = task.split_once(' ').expect("two words");
    let count: u64 = count.parse().expect("a number");
    raise_descriptor_limit(count);
    let clients: Vec<_> = (0..count)
        .map(|nth| Client::connect(&at(port, nth)))
        .collect();
    println!("all open");
    std::io::stdout().flush().expect("a pipe");
    // Until the other process has measured, or is gone.
    let _ = std::io::stdin().lines().next();
    for client in &clients {
        reset(client.stream());
    }
}
