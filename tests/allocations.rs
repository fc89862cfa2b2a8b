//! The data path allocates nothing: a worker runs on a thread of this process, under an allocator that counts what each
//! thread asks for.

#[path = "it/common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::client::{BINARY, Client, PING, PONG, REQUEST, TEXT, dial, frame, noise};
use ringway::bus::{Bus, BusOptions, Plan, Segments};
use ringway::io::epoll::Epoll;
use ringway::io::uring::{Options, Uring};
use ringway::io::{ConnId, ConnectOptions, Fd, Io, sys};
use ringway::proto::deflate::Direction;
use ringway::proto::{Kind, Message, Role};
use ringway::services::{Broadcast, Echo};
use ringway::tls::{TlsOptions, TlsSecrets, TlsServer};
use ringway::worker::{
    App, Closed, Config, Context, Deflate, Failure, Handle, Listener, OpeningRequest, Prepared,
    Scope, Worker,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

thread_local! {
    /// Calls of the allocator on this thread that may hand out memory.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // Fails while a thread ends, which is of no interest here.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is the system allocator's doing; counting touches a thread-local integer that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the worker's thread tells after each turn.
#[derive(Debug, Default)]
struct Progress {
    turns: AtomicU64,
    allocations: AtomicU64,
    stop: AtomicBool,
}

/// A worker on a thread of its own.
struct Running {
    address: String,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// `ring` is called on the worker's thread.
    fn start<I: Io + 'static>(ring: fn() -> I) -> Self {
        Self::start_with(ring, Config::default())
    }

    fn start_with<I: Io + 'static>(ring: fn() -> I, config: Config) -> Self {
        let make = move |listener| Worker::new(ring(), Echo::default(), config, listener);
        Self::start_worker(make)
    }

    /// `make` is called on the worker's thread.
    fn start_worker<I: Io, A: App>(
        make: impl FnOnce(Listener) -> Worker<I, A> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
        let address = format!("ws://{}", listener.local_addr().expect("bound"));
        let fd = Fd(listener.into_raw_fd());
        let progress = Arc::new(Progress::default());
        let told = Arc::clone(&progress);
        let run = move || {
            sys::set_nonblocking(fd, true).expect("a socket");
            let mut worker = make(Listener::new(fd, None));
            while !told.stop.load(Ordering::Relaxed) {
                worker
                    .turn(Some(Duration::from_millis(5)))
                    .expect("the ring works");
                told.allocations.store(ALLOCATIONS.get(), Ordering::Relaxed);
                told.turns.fetch_add(1, Ordering::Release);
            }
        };
        let thread = Some(std::thread::spawn(run));
        Self {
            address,
            progress,
            thread,
        }
    }

    /// The allocations of everything that was answered so far.
    fn allocations(&self) -> u64 {
        let turn = self.progress.turns.load(Ordering::Acquire);
        common::until("the worker turns", || {
            self.progress.turns.load(Ordering::Acquire) >= turn + 3
        });
        self.progress.allocations.load(Ordering::Relaxed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Messages of one size, `pipelined` of them in flight.
fn echo(client: &mut Client, first: u8, len: usize, count: usize, pipelined: usize) {
    let payload = match first {
        TEXT => "blue€".repeat(len / 7).into_bytes(),
        _ => noise(1, len),
    };
    let bytes = frame(first, &payload).repeat(pipelined);
    // A thread of its own writes, so that neither side waits for the other's buffers.
    let writer = client.stream().try_clone().expect("a descriptor");
    let rounds = count / pipelined;
    std::thread::scope(|scope| {
        let (go, next) = std::sync::mpsc::channel::<()>();
        let bytes = &bytes;
        scope.spawn(move || {
            for () in next {
                (&writer).write_all(bytes).expect("the server reads");
            }
        });
        for _ in 0..rounds {
            go.send(()).expect("it runs");
            for _ in 0..pipelined {
                client.expect(first, &payload);
            }
        }
        drop(go);
    });
}

type Load = fn(&mut Client);

const LOADS: [(&str, Load); 9] = [
    ("10,000 of 20 bytes", |client| {
        echo(client, BINARY, 20, 10_000, 1)
    }),
    ("10,000 of 20 bytes, 100 in flight", |client| {
        echo(client, BINARY, 20, 10_000, 100)
    }),
    ("10,000 texts of 300 bytes, 10 in flight", |client| {
        echo(client, TEXT, 300, 10_000, 10)
    }),
    ("500 of 6000 bytes", |client| {
        echo(client, BINARY, 6000, 500, 1)
    }),
    ("100 of 16 KiB", |client| {
        echo(client, BINARY, 16 << 10, 100, 1)
    }),
    ("100 of 16 KiB, 4 in flight", |client| {
        echo(client, BINARY, 16 << 10, 100, 4)
    }),
    ("20 of 1 MiB", |client| echo(client, BINARY, 1 << 20, 20, 1)),
    // Not several of 1 MiB in flight: how many wait in the send queue at once, each in memory of its own, is up to the
    // scheduler, so that no warming up reaches the most.
    // Longer than the worker's periods of giving memory back, which a round of the others may fit between.
    ("25 of 20 bytes in 2.5 s", |client| {
        for _ in 0..25 {
            echo(client, BINARY, 20, 1, 1);
            std::thread::sleep(Duration::from_millis(100));
        }
    }),
    ("1000 pings", |client| {
        for _ in 0..1000 {
            client.send(PING, b"ping");
            client.expect(PONG, b"ping");
        }
    }),
];

/// How often a load runs at most until it allocates nothing.
const ROUNDS_MAX: usize = 10;

/// What the best round allocated. The first rounds warm up: how much waits at once, each piece in memory of its own, is up
/// to the scheduler. A path that allocates does so in every round.
fn fewest(mut round: impl FnMut() -> u64) -> u64 {
    let mut fewest = u64::MAX;
    for _ in 0..ROUNDS_MAX {
        fewest = fewest.min(round());
        if fewest == 0 {
            break;
        }
    }
    fewest
}

/// Runs each load until it allocates nothing, and returns what it allocated at last.
fn allocations_of_each_load(running: &Running) -> Vec<(&'static str, u64)> {
    let mut client = Client::connect(&running.address);
    let measure = |(name, load): &(&'static str, Load)| {
        let round = || {
            let before = running.allocations();
            load(&mut client);
            running.allocations() - before
        };
        (*name, fewest(round))
    };
    LOADS.iter().map(measure).collect()
}

fn assert_none(allocated: &[(&str, u64)]) {
    println!("{allocated:?}");
    let some: Vec<_> = allocated.iter().filter(|(_, count)| *count > 0).collect();
    assert!(some.is_empty(), "{some:?}");
}

#[test]
fn echoing_allocates_nothing_on_io_uring() {
    let ring = || Uring::new(&Options::default()).expect("io_uring serves here");
    assert_none(&allocations_of_each_load(&Running::start(ring)));
}

#[test]
fn echoing_allocates_nothing_on_epoll() {
    let ring = || Epoll::new().expect("epoll serves everywhere");
    assert_none(&allocations_of_each_load(&Running::start(ring)));
}

/// What a turn with messages of topics allocates: the block, the places of the messages in it, and what both share.
const FAN_OUT_ALLOCATIONS_MAX: u64 = 3;

#[test]
fn a_delivery_allocates_nothing_however_many_subscribers_there_are() {
    const MESSAGES: u64 = 200;
    let make = |listener| {
        let io = Uring::new(&Options::default()).expect("io_uring serves here");
        let app = Broadcast::new("all", 0);
        let mut worker = Worker::new(io, app, Config::default(), listener);
        let options = BusOptions::default();
        let plan = Plan::new(1, &options);
        let segments = Segments::new(&plan).expect("memory");
        worker.join_bus(Bus::join(segments, &plan, 0).expect("a seat"), options);
        worker
    };
    let running = Running::start_worker(make);
    let mut clients = Vec::new();
    for subscribers in [1, 50] {
        clients.resize_with(subscribers, || Client::connect(&running.address));
        for len in [20, 1000, 50_000] {
            let payload = noise(1, len);
            let round = || {
                let before = running.allocations();
                for _ in 0..MESSAGES {
                    clients[0].send(BINARY, &payload);
                    clients
                        .iter_mut()
                        .for_each(|client| client.expect(BINARY, &payload));
                }
                let allocated = running.allocations() - before;
                allocated.saturating_sub(MESSAGES * FAN_OUT_ALLOCATIONS_MAX)
            };
            assert_none(&[("200 messages to their subscribers", fewest(round))]);
        }
    }
}

/// A server's TLS with a certificate of its own, and clients of one version that trust it.
fn tls(version: &'static SupportedProtocolVersion) -> (TlsServer, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let folder = std::env::temp_dir().join(format!(
        "ringway-allocations-{}-{version:?}",
        std::process::id()
    ));
    std::fs::create_dir_all(&folder).expect("a folder");
    let files = [folder.join("cert.pem"), folder.join("key.pem")];
    std::fs::write(&files[0], made.cert.pem()).expect("a file");
    std::fs::write(&files[1], made.signing_key.serialize_pem()).expect("a file");
    let [certificate, key] = files;
    let options = TlsOptions {
        certificates: vec![certificate],
        keys: vec![key],
        ..TlsOptions::default()
    };
    let secrets = TlsSecrets::read(&options).expect("good files");
    let server = TlsServer::new(&options, &secrets.expect("TLS is asked for")).expect("good files");
    let _ = std::fs::remove_dir_all(&folder);
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version of the provider")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, Arc::new(client))
}

/// Records are opened and sealed where they lie, also those that arrive in pieces.
#[test]
fn records_of_tls_allocate_nothing() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (server, client) = tls(version);
        let config = Config {
            tls: Some(server),
            ..Config::default()
        };
        let ring = || Uring::new(&Options::default()).expect("io_uring serves here");
        let running = Running::start_with(ring, config);
        let address = running.address.trim_start_matches("ws://");
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let name = "localhost".try_into().expect("a name");
        let session = ClientConnection::new(client, name).expect("a session");
        let mut stream = StreamOwned::new(session, stream);
        stream
            .write_all(REQUEST.as_ref())
            .expect("the server reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the server answers");
            head.push(byte[0]);
        }
        let sizes = [20, 1000, 6000, 16 << 10, 100_000];
        let allocated: Vec<_> = sizes
            .map(|len| {
                let message = frame(BINARY, &noise(1, len));
                let mut answer = vec![0; message.len() - 4];
                let round = || {
                    let before = running.allocations();
                    for _ in 0..200 {
                        stream.write_all(&message).expect("the server reads");
                        stream.flush().expect("the server reads");
                        stream.read_exact(&mut answer).expect("the server answers");
                        assert!(answer.ends_with(&noise(1, len)));
                    }
                    running.allocations() - before
                };
                ("200 under TLS", fewest(round))
            })
            .into();
        assert_none(&allocated);
    }
}

/// The counter counts: an opening handshake allocates, if only once and for the place in the table.
/// Both directions with context takeover, more connections than engines, and the same twice.
#[test]
fn compressing_allocates_nothing() {
    let both = Direction {
        takeover: true,
        window_bits: 12,
    };
    let deflate = Deflate {
        sends: both,
        receives: Direction {
            window_bits: 15,
            ..both
        },
        bytes_min: 1,
        ..Deflate::default()
    };
    let config = Config {
        deflate: Some(deflate),
        ..Config::default()
    };
    let running = Running::start_with(|| Epoll::new().expect("epoll serves everywhere"), config);
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let request = REQUEST.replacen("\r\n\r\n", offer, 1);
    let mut clients: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = dial(&running.address).expect("it listens");
            stream.write_all(request.as_bytes()).expect("it reads");
            Client::opened(stream).expect("a WebSocket opens")
        })
        .collect();
    let text = br#"{"id":1,"side":"buy"},"#.repeat(60);
    let mut out = Vec::with_capacity(4 * text.len());
    flate2::Compress::new(flate2::Compression::new(6), false)
        .compress_vec(&text, &mut out, flate2::FlushCompress::Sync)
        .expect("there is room");
    out.truncate(out.len() - 4);
    let mut round = || {
        let before = running.allocations();
        for client in &mut clients {
            for _ in 0..10 {
                client.send(0xC1, &out);
                let answer = client.recv();
                assert_eq!(answer.first, 0xC1);
                assert!(answer.payload.len() < text.len() / 3);
            }
        }
        running.allocations() - before
    };
    // Histories grow until they hold their window.
    for _ in 0..4 {
        round();
    }
    assert_eq!(fewest(round), 0);
}

#[test]
fn the_first_connection_of_a_worker_is_seen_by_the_counter() {
    let running = Running::start(|| Epoll::new().expect("epoll serves everywhere"));
    let before = running.allocations();
    let client = Client::connect(&running.address);
    assert!(running.allocations() > before);
    drop(client);
}

/// Connections of the client under test.
const CONNECTIONS: u32 = 4;

/// Payload bytes, how many are in flight on each connection, and how many are echoed on all of them.
const CLIENT_LOADS: [(usize, usize, usize); 8] = [
    (20, 1, 10_000),
    // More than one send has segments for: the same message again and again, which is never one run of bytes.
    (20, 100, 20_000),
    (1 << 10, 16, 10_000),
    (6_000, 1, 500),
    (16 << 10, 4, 1_000),
    (100 << 10, 1, 200),
    (300 << 10, 2, 100),
    (1 << 20, 1, 40),
];

/// Sends a prepared message for each answer.
struct ClosedLoop {
    dial: ConnectOptions,
    request: Arc<OpeningRequest>,
    begun: u32,
    open: Vec<ConnId>,
    prepared: Option<Prepared>,
    /// The load that runs, by number, and what is left of it.
    load: usize,
    to_send: usize,
    to_hear: usize,
    starts: bool,
}

impl ClosedLoop {
    fn send(&mut self, context: &mut Context<'_>) {
        if let (Some(prepared), 1..) = (&self.prepared, self.to_send) {
            self.to_send -= 1;
            context
                .send_prepared(prepared, self.load)
                .expect("less than the queue holds");
        }
    }
}

impl App for ClosedLoop {
    type Session = ();

    fn failed(&mut self, _scope: &mut Scope<'_>, (): (), failed: Failure) {
        panic!("{failed:?}");
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.open.push(context.id());
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        assert_eq!(message.len(), CLIENT_LOADS[self.load].0);
        self.to_hear -= 1;
        self.send(context);
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        while self.begun < CONNECTIONS {
            reach
                .connect(&self.dial, &self.request, self.begun)
                .expect("descriptors and ports");
            self.begun += 1;
        }
        if std::mem::take(&mut self.starts) {
            for at in 0..self.open.len() {
                let mut context = reach.context(self.open[at]).expect("it is open");
                (0..CLIENT_LOADS[self.load].1).for_each(|_| self.send(&mut context));
            }
        }
    }

    fn close(&mut self, _scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        panic!("{closed:?}");
    }
}

/// Runs each load on a worker in the client's role, on this thread, and asserts that it comes to allocate nothing.
fn assert_client_allocates_nothing(io: impl Io) {
    let server = Running::start(|| Epoll::new().expect("epoll serves everywhere"));
    let to = server
        .address
        .trim_start_matches("ws://")
        .parse::<std::net::SocketAddr>();
    let app = ClosedLoop {
        dial: ConnectOptions::new(to.expect("an address")),
        request: Arc::new(OpeningRequest::new("localhost", "/", &[]).expect("a good request")),
        begun: 0,
        open: Vec::new(),
        prepared: None,
        load: 0,
        to_send: 0,
        to_hear: 0,
        starts: false,
    };
    let mut worker = Worker::client(io, app, Config::default());
    let payloads = CLIENT_LOADS.map(|(len, ..)| noise(1, len));
    let messages = payloads
        .each_ref()
        .map(|payload| (Kind::Binary, &payload[..]));
    let prepared = worker
        .prepare(Role::Client, &messages, None)
        .expect("little");
    worker.app_mut().prepared = Some(prepared);
    let deadline = std::time::Instant::now() + common::PATIENCE;
    let until = |worker: &mut Worker<_, ClosedLoop>, is_so: fn(&ClosedLoop) -> bool| {
        while !is_so(worker.app()) {
            assert!(std::time::Instant::now() < deadline, "it ends");
            worker
                .turn(Some(Duration::from_millis(5)))
                .expect("the ring works");
        }
    };
    until(&mut worker, |app| app.open.len() == CONNECTIONS as usize);
    let mut measure = |(load, (len, in_flight, count)): (usize, (usize, usize, usize))| {
        let round = || {
            let before = ALLOCATIONS.get();
            let app = worker.app_mut();
            (app.load, app.to_send, app.to_hear, app.starts) = (load, count, count, true);
            until(&mut worker, |app| app.to_hear == 0);
            ALLOCATIONS.get() - before
        };
        (len, in_flight, fewest(round))
    };
    let allocated: Vec<_> = (0..).zip(CLIENT_LOADS).map(&mut measure).collect();
    println!("{allocated:?}");
    assert!(
        allocated.iter().all(|(.., count)| *count == 0),
        "{allocated:?}"
    );
}

#[test]
fn a_client_allocates_nothing_on_io_uring() {
    let ring = Uring::new(&Options::default());
    assert_client_allocates_nothing(ring.expect("io_uring serves here"));
}

#[test]
fn a_client_allocates_nothing_on_epoll() {
    assert_client_allocates_nothing(Epoll::new().expect("epoll serves everywhere"));
}
