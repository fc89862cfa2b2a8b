//! The data path allocates nothing: a worker runs on a thread of this process, under an allocator that counts what each
//! thread asks for.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::client::{BINARY, Client, PING, PONG, TEXT, frame, noise};
use ringway::app::Echo;
use ringway::conn::{Config, Listener, Worker};
use ringway::io::epoll::Epoll;
use ringway::io::uring::{Options, Uring};
use ringway::io::{Fd, Io, sys};

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
    /// `ring` is called on the worker's thread, and says whether the listener has to be non-blocking.
    fn start<I: Io + 'static>(ring: fn() -> (I, bool)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
        let address = format!("ws://{}", listener.local_addr().expect("bound"));
        let fd = Fd(listener.into_raw_fd());
        let progress = Arc::new(Progress::default());
        let told = Arc::clone(&progress);
        let run = move || {
            let (io, nonblocking) = ring();
            sys::set_nonblocking(fd, nonblocking).expect("a socket");
            let mut worker = Worker::new(io, Echo, Config::default(), Listener::new(fd, None));
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
    let octets = frame(first, &payload).repeat(pipelined);
    // A thread of its own writes, so that neither side waits for the other's buffers.
    let writer = client.stream().try_clone().expect("a descriptor");
    let rounds = count / pipelined;
    std::thread::scope(|scope| {
        let (go, next) = std::sync::mpsc::channel::<()>();
        let octets = &octets;
        scope.spawn(move || {
            for () in next {
                (&writer).write_all(octets).expect("the server reads");
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

const LOADS: [(&str, Load); 8] = [
    ("10,000 of 20 octets", |client| {
        echo(client, BINARY, 20, 10_000, 1)
    }),
    ("10,000 of 20 octets, 100 in flight", |client| {
        echo(client, BINARY, 20, 10_000, 100)
    }),
    ("10,000 texts of 300 octets, 10 in flight", |client| {
        echo(client, TEXT, 300, 10_000, 10)
    }),
    ("500 of 6000 octets", |client| {
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
    ("1000 pings", |client| {
        for _ in 0..1000 {
            client.send(PING, b"ping");
            client.expect(PONG, b"ping");
        }
    }),
];

/// Runs each load twice, the first time for warming up, and returns what the second time allocated.
fn allocations_of_each_load(running: &Running) -> Vec<(&'static str, u64)> {
    let mut client = Client::connect(&running.address);
    let measure = |(name, load): &(&'static str, Load)| {
        load(&mut client);
        let before = running.allocations();
        load(&mut client);
        (*name, running.allocations() - before)
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
    let ring = || {
        (
            Uring::new(&Options::default()).expect("io_uring serves here"),
            false,
        )
    };
    assert_none(&allocations_of_each_load(&Running::start(ring)));
}

#[test]
fn echoing_allocates_nothing_on_epoll() {
    let ring = || (Epoll::new().expect("epoll serves everywhere"), true);
    assert_none(&allocations_of_each_load(&Running::start(ring)));
}

/// The counter counts: an opening handshake allocates, if only once and for the place in the table.
#[test]
fn the_first_connection_of_a_worker_is_seen_by_the_counter() {
    let running = Running::start(|| (Epoll::new().expect("epoll serves everywhere"), true));
    let before = running.allocations();
    let client = Client::connect(&running.address);
    assert!(running.allocations() > before);
    drop(client);
}
