//! The control server: `ringway wsperf serve`.
//!
//! Owns: the control WebSocket, its clients, the queue of tests and the threads that run them, the page. Never: listens
//! beyond what it was told to, and tests no other machine unless it was allowed to.
//!
//! 1. One loop, on the calling thread, serves the control WebSocket: Ringway's own, in the server's role.
//! 2. A command becomes a job in one queue; `threads` threads take jobs from it. With 0 threads the loop itself runs them,
//!    one after another, and hears nothing meanwhile.
//! 3. A job's replies come back through a channel, and a socket pair wakes the loop.
//! 4. A client that goes away takes its tests with it.

mod control;
mod jobs;
mod pages;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::command::COMMAND_OCTETS_MAX;
use super::reply;
use super::run::{Task, on};
use crate::conn::{Config, Listener, Worker};
use crate::io::{Error, Fd, Io, sys};
use crate::load::options::IoTier;
use crate::proto::Limits;
use control::{Control, Origins};
use jobs::{Jobs, Runner};

/// Control connections at once. Chosen, untested.
const CLIENTS_MAX: usize = 64;

/// A reader of results that is behind by so much is dropped: a `stress_test` with a million messages takes about 40 MB.
const RESULTS_OCTETS_MAX: usize = 128 << 20;

/// The bit under which signals are watched.
const SIGNALS: u32 = 0;

/// The bit under which replies are watched.
const REPLIES: u32 = 1;

/// For the closing handshakes at the end.
const DRAIN: Duration = Duration::from_secs(2);

/// What the control server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Where to listen: a name or an address.
    pub host: String,
    /// Of the control WebSocket; 0: any that is free.
    pub port: u16,
    /// Of the page; 0: any that is free; none: no page.
    pub page_port: Option<u16>,
    /// Threads that run tests; 0: the loop runs them itself.
    pub threads: usize,
    /// What it calls itself.
    pub ident: String,
    /// Pages that may drive it besides those of its own host.
    pub origins: Vec<String>,
    /// Tests may go to other machines.
    pub allow_remote: bool,
    /// The ring, or epoll.
    pub io: IoTier,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The control WebSocket.
    pub control: SocketAddr,
    /// The page.
    pub page: Option<SocketAddr>,
}

/// Serves until SIGINT or SIGTERM; `ready` is told where, once.
///
/// # Errors
/// The system refuses, in a sentence.
pub fn serve(options: &ServeOptions, ready: impl FnOnce(Addresses)) -> Result<(), String> {
    // Before any thread is there, so that all of them leave the signals to this one.
    let signals = sys::signal_fd().map_err(|error| format!("signalfd: {error}"))?;
    let listener = bind(&options.host, options.port)?;
    let control = local(&listener)?;
    if !control.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "{control} can be reached from other machines, and whoever reaches it can run tests here"
        );
    }
    let page = options
        .page_port
        .map(|port| bind(&options.host, port))
        .transpose()?;
    let addresses = Addresses {
        control,
        page: page.as_ref().map(local).transpose()?,
    };
    if let Some(page) = page {
        pages::spawn(page, control.port()).map_err(|error| format!("the page: {error}"))?;
    }
    let (said_to, said) = mpsc::channel();
    let pair = UnixStream::pair().and_then(|(wake, woken)| {
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok((wake, woken))
    });
    let (wake, woken) = pair.map_err(|error| format!("socketpair: {error}"))?;
    let jobs = Arc::new(Jobs::default());
    let runner = Runner {
        tier: options.io,
        allow_remote: options.allow_remote,
        said: said_to,
        wake: Arc::new(wake),
    };
    for id in 0..options.threads {
        let spawned = runner.spawn(&jobs, id);
        spawned.map_err(|error| format!("a job thread: {error}"))?;
    }
    let control = Control {
        origins: Origins {
            allowed: options.origins.clone(),
            own_host: options.host.clone(),
        },
        welcome: reply::welcome(&options.ident, options.threads),
        jobs,
        said,
        wake: woken,
        clients: HashMap::new(),
    };
    let inline = (options.threads == 0).then_some(runner);
    ready(addresses);
    on(
        options.io,
        ControlTask {
            control,
            listener,
            signals,
            inline,
        },
    )
}

fn bind(host: &str, port: u16) -> Result<TcpListener, String> {
    let refused = |error| format!("cannot listen on {host} port {port}: {error}");
    let addresses = (host, port).to_socket_addrs().map_err(refused)?;
    TcpListener::bind(addresses.collect::<Vec<_>>().as_slice()).map_err(refused)
}

fn local(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener
        .local_addr()
        .map_err(|error| format!("getsockname: {error}"))
}

struct ControlTask {
    control: Control,
    listener: TcpListener,
    signals: Fd,
    /// Without threads.
    inline: Option<Runner>,
}

impl Task for ControlTask {
    type Output = ();

    fn run<I: Io>(self, io: I) -> Result<(), Error> {
        let refused = |source| Error {
            operation: "listener",
            source,
        };
        // Readiness wants a descriptor that does not wait, the ring one that does.
        let waits = io.receive_mode() == crate::io::ReceiveMode::Buffers;
        self.listener.set_nonblocking(!waits).map_err(refused)?;
        let config = Config {
            connections_max: CLIENTS_MAX,
            message_limits: Limits {
                // A command that is too long is answered; one that is far too long ends the connection.
                frame_octets_max: 8 * COMMAND_OCTETS_MAX as u64,
                message_octets_max: 8 * COMMAND_OCTETS_MAX as u64,
            },
            send_queue_octets_max: RESULTS_OCTETS_MAX,
            ..Config::default()
        };
        let (jobs, wake) = (self.control.jobs.clone(), Fd(self.control.wake.as_raw_fd()));
        let listener = Listener::new(Fd(self.listener.into_raw_fd()), None);
        let mut worker = Worker::new(io, self.control, config, listener);
        worker.watch(self.signals, SIGNALS);
        worker.watch(wake, REPLIES);
        loop {
            worker.turn(None)?;
            if worker.take_watched() & (1 << SIGNALS) != 0
                && sys::read_signal(self.signals).is_some()
            {
                return drain(worker);
            }
            while let Some(runner) = &self.inline
                && let Some(job) = jobs.take()
            {
                runner.begin(&job, 0);
                // One turn to take it up, one to have it sent.
                worker.turn(Some(Duration::ZERO))?;
                worker.turn(Some(Duration::ZERO))?;
                runner.run(&job);
            }
        }
    }
}

fn drain<I: Io>(mut worker: Worker<I, Control>) -> Result<(), Error> {
    let deadline = crate::time::now() + DRAIN;
    worker.drain();
    loop {
        let left = deadline.since(crate::time::now());
        worker.turn(Some(left))?;
        if worker.connections() == 0 || left.is_zero() {
            return Ok(());
        }
    }
}
