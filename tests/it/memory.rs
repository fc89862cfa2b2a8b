//! What an idle open connection costs a worker, and what a burst leaves behind: user memory by its proportional share
//! (PSS), not by `size_of`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::common::client::{BINARY, Client, PING, PONG, REQUEST, TEXT, dial, frame, noise, reset};
use crate::common::process::{pss, raise_descriptor_limit};
use crate::common::{Server, go_on, on_both_tiers, stop, until};

on_both_tiers!(
    an_idle_open_connection_costs_at_most_512_bytes,
    after_many_parts_of_messages_memory_goes_back,
    after_large_messages_memory_goes_back,
    after_large_messages_at_once_memory_goes_back,
    after_slow_readers_memory_goes_back,
    after_long_heads_memory_goes_back,
    after_many_connections_memory_goes_back,
    after_a_dry_receive_pool_memory_goes_back,
);

/// The bar of the design.
const BYTES_MAX: u64 = 512;

/// Over two workers, and from two processes: each of the four has descriptors for half of them.
const CONNECTIONS: u64 = 20_000;

/// The tests of this file share the descriptors of this process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Descriptors that a process needs for other things.
const DESCRIPTORS_ELSE: u64 = 2_000;

fn an_idle_open_connection_costs_at_most_512_bytes(io: &str) {
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
    until("they are gone", || server.counter("sockets") == [0, 0]);
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
    println!("{io}: {connections} idle connections, workers hold {held:?}: {cost} bytes each");
    assert!(cost <= BYTES_MAX, "{cost} bytes for each connection");

    // What a message needed goes back: an open connection that has echoed costs no more.
    for client in &mut clients {
        client.echo(BINARY, &noise(1, 6000));
    }
    let echoed = measure();
    let cost = echoed.saturating_sub(before) / connections;
    println!("{io}: the same after {each} of them have echoed 6000 bytes: {cost} bytes each");
    assert!(cost <= BYTES_MAX, "{cost} bytes for each connection");

    drop(holder);
    for client in clients {
        reset(client.stream()); // spares the system twenty thousand sockets in TIME_WAIT
    }
}

/// What a worker may hold above its idle figure once a burst is over, as `docs/scale.md` states it.
const LEFT_BYTES_MAX: u64 = 8 << 20;

/// A server of one worker, and one client that goes on with small messages while memory is looked at: memory has to go
/// back though the worker is not quite quiet.
struct Burst {
    server: Server,
    worker: u32,
    other: Client,
    idle: u64,
}

impl Burst {
    fn start(io: &str) -> Self {
        raise_descriptor_limit(5_000);
        let server = Server::start(&[
            "--workers=1",
            "--port=auto",
            "--interval=200ms",
            "--handshake-timeout=60s",
            io,
        ]);
        let mut other = Client::connect(&server.address());
        other.echo(TEXT, b"one message");
        let worker = server.seats()[0];
        let mut burst = Self {
            server,
            worker,
            other,
            idle: 0,
        };
        burst.settle();
        burst
    }

    /// What the worker holds now is its idle figure.
    fn settle(&mut self) {
        self.idle = pss(self.worker);
    }

    fn connect(&self, count: usize) -> Vec<Client> {
        let address = self.server.address();
        (0..count).map(|_| Client::connect(&address)).collect()
    }

    /// The burst has reached `least` bytes more than the idle figure: else nothing is shown by their going back.
    fn has_grown_by(&self, least: u64) {
        until("the burst takes memory", || {
            pss(self.worker) >= self.idle + least
        });
    }

    fn goes_back(&mut self, io: &str, left_bytes_max: u64) {
        let began = std::time::Instant::now();
        let mut left = 0;
        let patience = std::time::Duration::from_secs(60);
        while began.elapsed() < patience {
            self.other.echo(TEXT, b"life goes on");
            left = pss(self.worker).saturating_sub(self.idle);
            if left <= left_bytes_max {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        println!("{io}: {left} bytes left after {:?}", began.elapsed());
        assert!(left <= left_bytes_max, "{left} bytes stay");
    }
}

fn after_many_parts_of_messages_memory_goes_back(io: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut burst = Burst::start(io);
    let mut clients = burst.connect(2_000);
    burst.settle();
    let payload = noise(1, 65_536);
    let framed = frame(BINARY, &payload);
    for client in &mut clients {
        client.write(&framed[..60_000]);
    }
    burst.has_grown_by(100 << 20);
    for client in &mut clients {
        client.write(&framed[60_000..]);
        client.expect(BINARY, &payload);
    }
    burst.goes_back(io, LEFT_BYTES_MAX);
}

fn after_large_messages_memory_goes_back(io: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut burst = Burst::start(io);
    let mut client = burst.connect(1).remove(0);
    let payload = noise(2, 15 << 20);
    let framed = frame(BINARY, &payload);
    let mut writer = client.stream().try_clone().expect("a descriptor");
    // Twelve at once: written while the answers are not read, as far as the server takes them.
    let writing = std::thread::spawn(move || {
        for _ in 0..12 {
            writer.write_all(&framed).expect("the server reads");
        }
    });
    burst.has_grown_by(15 << 20);
    for _ in 0..12 {
        client.expect(BINARY, &payload);
    }
    writing.join().expect("all is written");
    burst.goes_back(io, LEFT_BYTES_MAX);
}

fn after_large_messages_at_once_memory_goes_back(io: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut burst = Burst::start(io);
    let mut clients = burst.connect(10);
    let payload = noise(3, 16 << 20);
    let framed = frame(BINARY, &payload);
    let (most, rest) = framed.split_at(15 << 20);
    for client in &mut clients {
        client.write(most);
    }
    burst.has_grown_by(140 << 20);
    for client in &mut clients {
        client.write(rest);
        client.expect(BINARY, &payload);
    }
    burst.goes_back(io, LEFT_BYTES_MAX);
}

fn after_slow_readers_memory_goes_back(io: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut burst = Burst::start(io);
    let clients = burst.connect(50);
    let payload = noise(4, 100_000);
    let framed = frame(BINARY, &payload);
    // Each says so much that the server's queue for it is full whatever the sockets take, and reads nothing yet.
    let writing: Vec<_> = clients
        .iter()
        .map(|client| {
            let (mut writer, framed) = (client.stream().try_clone().expect("it"), framed.clone());
            std::thread::spawn(move || {
                for _ in 0..200 {
                    writer.write_all(&framed).expect("the server reads at last");
                }
            })
        })
        .collect();
    burst.has_grown_by(40 << 20);
    for mut client in clients {
        for _ in 0..200 {
            client.expect(BINARY, &payload);
        }
    }
    for thread in writing {
        thread.join().expect("all is written");
    }
    burst.goes_back(io, LEFT_BYTES_MAX);
}

fn after_long_heads_memory_goes_back(io: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut burst = Burst::start(io);
    let address = burst.server.address();
    let cookie = format!("Cookie: {}\r\n\r\n", "c".repeat(7000));
    let head = format!("{}{cookie}", REQUEST.strip_suffix("\r\n").expect("its end"));
    let (begins, ends) = head.split_at(head.len() - 2);
    let streams: Vec<_> = (0..3_000)
        .map(|_| {
            let mut stream = dial(&address).expect("it listens");
            stream.write_all(begins.as_bytes()).expect("it reads");
            stream
        })
        .collect();
    burst.has_grown_by(16 << 20);
    let _open: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            stream.write_all(ends.as_bytes()).expect("it reads");
            Client::opened(stream).expect("a WebSocket opens")
        })
        .collect();
    burst.goes_back(io, LEFT_BYTES_MAX);
}

/// Connections of which one in a hundred stays: what they leave behind is spread.
fn after_many_connections_memory_goes_back(io: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut burst = Burst::start(io);
    let limit = raise_descriptor_limit(5_000);
    let count = usize::try_from(limit - DESCRIPTORS_ELSE).map_or(5_000, |most| most.min(45_000));
    let mut clients = burst.connect(count);
    // A control frame in two pieces costs memory while it is collected, and none when it is read.
    let ping = frame(PING, &[7; 125]);
    for client in &mut clients {
        client.write(&ping[..50]);
    }
    burst.has_grown_by(count as u64 * 300);
    for client in &mut clients {
        client.write(&ping[50..]);
        client.expect(PONG, &[7; 125]);
    }
    let mut stay = Vec::new();
    for (nth, client) in clients.into_iter().enumerate() {
        if nth % 100 == 0 {
            stay.push(client);
        } else {
            client.reset();
        }
    }
    let open = stay.len() as u64 + 1;
    until("the others are gone", || {
        burst.server.counter("sockets") == [open]
    });
    burst.idle += open * BYTES_MAX;
    burst.goes_back(io, LEFT_BYTES_MAX / 2); // the table of so many is not much more than the bound
}

/// Many small messages on many connections at once: the receive pool grows.
fn after_a_dry_receive_pool_memory_goes_back(io: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut burst = Burst::start(io);
    let mut clients = burst.connect(1_000);
    burst.settle();
    let payload = noise(5, 4_000);
    let framed = frame(BINARY, &payload).repeat(15);
    // Twice: buffers whose memory went back serve again.
    for _ in 0..2 {
        for _ in 0..3 {
            stop(burst.worker);
            for client in &mut clients {
                client.write(&framed);
            }
            go_on(burst.worker);
            for client in &mut clients {
                (0..15).for_each(|_| client.expect(BINARY, &payload));
            }
        }
        if io == "--io=uring" {
            let dry = burst.server.counter_reaching("enobufs", 1);
            println!("{io}: {dry:?} receives found the pool empty");
        }
        // With the pool at its limit it would be 3 MiB more than the rest of the bound.
        burst.goes_back(io, LEFT_BYTES_MAX / 8 * 5);
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
