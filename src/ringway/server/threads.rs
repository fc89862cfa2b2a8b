//! Workers as threads of this process. Each has its own ring and application, and all share one listener.
//!
//! ```text
//!  Running ──┬─ pipe ──▶ thread 0   Worker ── App         a byte in the pipe: look at `Control`
//!            └─ pipe ──▶ thread 1   Worker ── App
//! ```
//!
//! Threads get the same orders as worker processes (`crate::control`).

use std::fs::File;
use std::io::{PipeWriter, Write as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::process;
use crate::bus::{Bus, Plan, Segments};
use crate::control::Order;
use crate::exit::{Exit, Fatal};
use crate::io::board::Board;
use crate::io::{Error, Fd, Io, memory, sys};
use crate::options::ServerOptions;
use crate::signals;
use crate::stats::Counters;
use crate::supervise::{self, Listeners};
use crate::time::{self, Instant};
use crate::tls::{TlsServer, TlsSupply};
use crate::worker::App;

/// The bit under which a worker watches its pipe.
const ORDERS: u32 = 0;

/// The orders to a thread, and its answers.
#[derive(Debug)]
struct Control {
    /// The last order.
    order: Mutex<Option<Order>>,
    /// A copy of the counters, made on request. `None` until the thread has answered.
    counters: Mutex<Option<Counters>>,
    answered: Condvar,
    /// New TLS for connections to come, which the worker has not taken.
    renewed: Mutex<Option<TlsServer>>,
    /// A byte in this pipe makes the worker look at this value.
    pipe: PipeWriter,
}

impl Control {
    const fn new(pipe: PipeWriter) -> Self {
        Self {
            order: Mutex::new(None),
            counters: Mutex::new(None),
            answered: Condvar::new(),
            renewed: Mutex::new(None),
            pipe,
        }
    }

    fn tell(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        self.poke();
    }

    fn renewed(&self) -> MutexGuard<'_, Option<TlsServer>> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self) -> Option<Order> {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the worker look at this value. If the pipe is full, it holds a byte already.
    fn poke(&self) {
        let _ = (&self.pipe).write(&[0]);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Counters>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Thread {
    control: Arc<Control>,
    handle: Option<JoinHandle<Result<(), String>>>,
}

/// A server that runs on threads of this process. Dropping it stops it, as [`Running::shutdown`] does.
#[derive(Debug)]
pub struct Running {
    urls: Vec<String>,
    address: Option<std::net::SocketAddr>,
    /// `None` after the server has stopped.
    listeners: Option<Listeners>,
    threads: Vec<Thread>,
    options: Arc<ServerOptions>,
    tls: Option<TlsSupply>,
}

impl Running {
    /// The URL of the server: `ws://127.0.0.1:9000` with the port that the kernel chose for port 0, or `ws+unix:/path`. If
    /// it listens at several places, the first one's.
    pub fn url(&self) -> &str {
        &self.urls[0]
    }

    /// The URLs of all places where the server listens.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The first TCP address of the server; `None` if it listens on Unix sockets only.
    pub const fn address(&self) -> Option<std::net::SocketAddr> {
        self.address
    }

    /// The sum of all workers' counters. Waits for their current turns.
    pub fn counters(&self) -> Counters {
        for thread in &self.threads {
            *thread.control.lock() = None;
            thread.control.poke();
        }
        let mut total = Counters::default();
        for thread in &self.threads {
            let mut counters = thread.control.lock();
            let over = || thread.handle.as_ref().is_none_or(JoinHandle::is_finished);
            while counters.is_none() && !over() {
                // A thread answers before it ends. The timeout is for a thread that panicked.
                let waited = thread
                    .control
                    .answered
                    .wait_timeout(counters, Duration::from_millis(100));
                counters = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            total = total.plus(&counters.unwrap_or_default());
        }
        total
    }

    /// Reads the files of certificates and keys again. New connections get them; open ones go on as they are.
    ///
    /// # Errors
    /// A file cannot be used: the old certificates stay.
    pub fn renew_certificates(&mut self) -> Result<(), Fatal> {
        let Some(supply) = &mut self.tls else {
            return Ok(());
        };
        supply.reread()?;
        let tls = TlsServer::new(&self.options.tls, supply.secrets())?;
        for thread in &self.threads {
            *thread.control.renewed() = Some(tls.clone());
            thread.control.poke();
        }
        Ok(())
    }

    /// Stops accepting, closes every WebSocket with 1001, and waits until all have ended or the drain timeout is over.
    /// Connections that are still open then are cut off.
    ///
    /// # Errors
    /// A worker failed: the reason as a sentence.
    pub fn shutdown(mut self) -> Result<(), String> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), String> {
        // Drops the listeners first, so that the kernel refuses connects at once.
        drop(self.listeners.take());
        for thread in &self.threads {
            thread.control.tell(Order::Drain);
        }
        let ended = self.threads.iter_mut().filter_map(|t| t.handle.take());
        let results: Vec<_> = ended.map(JoinHandle::join).collect();
        results
            .into_iter()
            .try_for_each(|result| result.unwrap_or_else(|_| Err("a worker panicked".to_owned())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(sentence) = self.stop() {
            tracing::error!("{sentence}");
        }
    }
}

/// Starts the threads. Each of them calls `make`.
pub(super) fn start<A: App + 'static>(
    options: &Arc<ServerOptions>,
    listeners: Listeners,
    supply: Option<TlsSupply>,
    make: Arc<dyn Fn(&process::Place) -> A + Send + Sync>,
) -> Result<Running, Fatal> {
    let tls = supply
        .as_ref()
        .map(|supply| TlsServer::new(&options.tls, supply.secrets()))
        .transpose()?;
    let ring = process::open_ring(options.io)?;
    let tier = match ring {
        Ok(_) => Tier::Uring,
        Err(_) => Tier::Epoll,
    };
    drop(ring);
    let board = new_board(options.workers)?;
    let plan = options.bus().map(|bus| Plan::new(options.workers, &bus));
    let bus = plan.as_ref().map(Segments::new).transpose();
    let bus = bus.map_err(|error| Fatal::environment(format!("cannot {error}")))?;
    let mut running = Running {
        urls: listeners.urls().collect(),
        address: listeners.address(),
        listeners: Some(listeners),
        threads: Vec::new(),
        options: options.clone(),
        tls: supply,
    };
    for index in 0..options.workers {
        let own = running
            .listeners
            .as_ref()
            .expect("it listens until it stops")
            .duplicates_for(index)
            .map_err(|error| Fatal::environment(format!("cannot start a worker: {error}")))?;
        let thread = Start {
            options: options.clone(),
            place: process::Place {
                index,
                workers: options.workers,
            },
            listeners: own,
            board: board
                .try_clone()
                .map_err(|error| Fatal::environment(format!("cannot start a worker: {error}")))?,
            bus: bus
                .as_ref()
                .map(Segments::try_clone)
                .transpose()
                .map_err(|error| Fatal::environment(format!("cannot start a worker: {error}")))?,
            tier,
            tls: tls.clone(),
        };
        running.threads.push(thread.spawn(make.clone())?);
    }
    Ok(running)
}

/// The shared memory in which each worker publishes how many connections it holds.
fn new_board(workers: usize) -> Result<File, Fatal> {
    supervise::board(workers)
        .map_err(|error| Fatal::environment(format!("cannot make the workers' board: {error}")))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Epoll,
    Uring,
}

/// What a thread needs to start.
struct Start {
    options: Arc<ServerOptions>,
    place: process::Place,
    listeners: Vec<OwnedFd>,
    board: File,
    bus: Option<Segments>,
    tier: Tier,
    tls: Option<TlsServer>,
}

impl Start {
    fn spawn<A: App + 'static>(
        self,
        make: Arc<dyn Fn(&process::Place) -> A + Send + Sync>,
    ) -> Result<Thread, Fatal> {
        let failed = |what: &str, error: &dyn std::error::Error| {
            Fatal::environment(format!(
                "cannot start worker {}: {what}: {error}",
                self.place.index
            ))
        };
        let (inbox, orders) = std::io::pipe().map_err(|error| failed("a pipe", &error))?;
        for fd in [inbox.as_raw_fd(), orders.as_raw_fd()] {
            sys::set_nonblocking(Fd(fd), true).map_err(|error| failed("a pipe", &error))?;
        }
        let control = Arc::new(Control::new(orders));
        let (theirs, index) = (control.clone(), self.place.index);
        let body = move || {
            let result = self.work(&*make, &inbox, &theirs);
            let mut counters = theirs.lock();
            counters.get_or_insert_default();
            theirs.answered.notify_all();
            result
        };
        let handle = std::thread::Builder::new()
            .name(format!("ringway-w{index}"))
            .spawn(body)
            .map_err(|error| Fatal::environment(format!("cannot start a thread: {error}")))?;
        Ok(Thread {
            control,
            handle: Some(handle),
        })
    }

    fn work<A: App>(
        self,
        make: &dyn Fn(&process::Place) -> A,
        inbox: &std::io::PipeReader,
        control: &Control,
    ) -> Result<(), String> {
        let app = make(&self.place);
        let index = self.place.index;
        let failed = |error: Error| format!("worker {index}: {error}");
        match self.tier {
            Tier::Uring => {
                let io = crate::io::uring::Uring::new(&crate::io::uring::Options::default());
                let io = io.map_err(|error| format!("worker {index}: {error}"))?;
                self.serve(io, app, inbox, control).map_err(failed)
            }
            Tier::Epoll => {
                let io = crate::io::epoll::Epoll::new().map_err(failed)?;
                self.serve(io, app, inbox, control).map_err(failed)
            }
        }
    }

    /// Runs the loop until the worker has drained or is stopped.
    fn serve<I: Io, A: App>(
        self,
        io: I,
        app: A,
        mut inbox: &std::io::PipeReader,
        control: &Control,
    ) -> Result<(), Error> {
        use std::io::Read as _;
        let board = Board::map(&self.board, self.place.workers, self.place.index)?;
        let config = process::config(&self.options, self.tls);
        let join = |(segments, options): (Segments, _)| {
            let plan = Plan::new(self.place.workers, &options);
            Bus::join(segments, &plan, self.place.index)
        };
        let bus = self.bus.zip(self.options.bus()).map(join).transpose()?;
        // The worker closes them.
        let listeners: Vec<_> = self
            .listeners
            .into_iter()
            .map(|fd| Fd(fd.into_raw_fd()))
            .collect();
        let given = (&*self.options, Some(board), bus);
        let mut worker = process::worker(io, app, config, &listeners, given);
        worker.watch(Fd(inbox.as_raw_fd()), ORDERS);
        let mut deadline: Option<Instant> = None;
        loop {
            worker.turn_until(deadline.unwrap_or(Instant::NEVER))?;
            if worker.take_trim() {
                memory::trim();
            }
            let mut order = None;
            if worker.take_watched() != 0 {
                let _ = inbox.read(&mut [0; 64]);
                order = control.order();
                if let Some(tls) = control.renewed().take() {
                    worker.renew_tls(tls);
                }
                let mut counters = control.lock();
                if counters.is_none() {
                    *counters = Some(*worker.counters());
                    control.answered.notify_all();
                }
            }
            if deadline.is_none() && order.is_some() {
                worker.drain();
                deadline = Some(time::now() + self.options.drain_timeout);
            }
            let is_over = |at| worker.connections() == 0 || time::now() >= at;
            if order == Some(Order::Stop) || deadline.is_some_and(is_over) {
                process::abort(&mut worker)?;
                *control.lock() = Some(*worker.counters());
                return Ok(());
            }
        }
    }
}

/// Runs a server until a signal stops it. As for a supervisor, the first signal drains it and the second one stops it
/// at once. Signals without a meaning have no effect unless the program handles them.
pub(super) fn run_until_signalled(
    start: impl FnOnce() -> Result<Running, Fatal>,
) -> Result<Exit, Fatal> {
    let mut stops = Signals::watch()?;
    sys::ignore_unhandled(signals::meaningless());
    let running = start()?;
    stops.wait();
    let controls: Vec<_> = running
        .threads
        .iter()
        .map(|thread| thread.control.clone())
        .collect();
    let hard = Arc::new(AtomicBool::new(false));
    let told = hard.clone();
    let second = move || {
        stops.wait();
        told.store(true, Ordering::Relaxed);
        controls
            .iter()
            .for_each(|control| control.tell(Order::Stop));
    };
    // If no thread can be started, the drain timeout ends the server.
    let _ = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(second);
    running.shutdown().map_err(Fatal::environment)?;
    Ok(match hard.load(Ordering::Relaxed) {
        true => Exit::Interrupted,
        false => Exit::Ok,
    })
}

/// Signals that stop a server. They are blocked before the first thread is started.
struct Signals {
    runtime: tokio::runtime::Runtime,
    streams: Vec<tokio::signal::unix::Signal>,
}

impl Signals {
    fn watch() -> Result<Self, Fatal> {
        use tokio::signal::unix::{SignalKind, signal};
        let watch = || -> std::io::Result<Self> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let guard = runtime.enter();
            let kinds = signals::STOP.into_iter().map(SignalKind::from_raw);
            let streams = kinds.map(signal).collect::<Result<_, _>>()?;
            drop(guard);
            Ok(Self { runtime, streams })
        };
        watch().map_err(|error| Fatal::environment(format!("cannot watch signals: {error}")))
    }

    /// Waits for the next signal.
    fn wait(&mut self) {
        let streams = &mut self.streams;
        let any = std::future::poll_fn(|context| {
            let has_come =
                |stream: &mut tokio::signal::unix::Signal| stream.poll_recv(context).is_ready();
            match streams
                .iter_mut()
                .map(has_come)
                .fold(false, |any, one| any | one)
            {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        });
        self.runtime.block_on(any);
    }
}
