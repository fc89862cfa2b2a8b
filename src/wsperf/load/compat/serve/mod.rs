//! The control server: `ringway wsperf serve`.
//!
//! Owns: the control WebSocket, its clients, the queue of tests, the threads that run them, and the page.
//! Never: listens anywhere but where its options say, or tests another machine without permission.
//!
//! 1. One loop, on the calling thread, serves the control WebSocket: Ringway's own, in the server's role.
//! 2. A command becomes a job in one queue; `threads` threads take jobs from it.
//! 3. A job's replies come back through a channel, and a socket pair wakes the loop.
//! 4. When a client disconnects, its tests are cancelled.
//!
//! With a master it does not listen: it connects to the master, offers the subprotocol `wsperf`, and gets its commands
//! there.

mod control;
mod jobs;
mod master;
mod pages;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::command::COMMAND_BYTES_MAX;
use super::reply;
use super::run::{Destination, HANDSHAKE_TIMEOUT};
use super::uri::Uri;
use crate::io::{Error, Fd, Io, sys};
use crate::load::options::IoTier;
use crate::load::tier::{Task, on};
use crate::proto::Limits;
use crate::signals;
use crate::worker::{Config, Listener, Worker};
use control::{Control, Origins, SUBPROTOCOL};
use jobs::{Jobs, Runner};
use master::Master;

/// Most control connections. Chosen, untested.
const CLIENTS_MAX: usize = 64;

/// Most bytes of replies that wait for a client. One that is slower is disconnected. The result of a `stress_test` with a
/// million messages takes about 40 MB.
const RESULTS_BYTES_MAX: usize = 128 << 20;

/// Number of the watch for signals.
const SIGNALS: u32 = 0;

/// Number of the watch for replies.
const REPLIES: u32 = 1;

/// Limit of the closing handshakes at the end.
const DRAIN: Duration = Duration::from_secs(2);

/// Options of the control server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Where commands come from.
    pub place: Place,
    /// Threads that run tests, one test at a time each. 0 means 1.
    pub threads: usize,
    /// The name that it sends to clients.
    pub ident: String,
    /// Allows tests of other machines.
    pub allow_remote: bool,
    /// io_uring or epoll.
    pub io: IoTier,
}

/// Where commands come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Clients that connect to this server.
    Here {
        /// Where to listen: a name or an address.
        host: String,
        /// Port of the control WebSocket. 0: any free port.
        port: u16,
        /// Port of the page. 0: any free port. None: no page.
        page_port: Option<u16>,
        /// Origins of pages that may connect, besides those of its own host.
        origins: Vec<String>,
    },
    /// A master to which this server connects.
    Master {
        /// The master's URI.
        uri: Uri,
        /// Time before a lost or refused connection is retried. None: no retry.
        reconnect: Option<Duration>,
    },
}

/// Serves until SIGINT or SIGTERM, or until the master is lost for good. `ready` is called once, with the place where
/// commands come from.
///
/// # Errors
/// A sentence: the system refused something, or there is no master.
pub fn serve(options: &ServeOptions, ready: impl FnOnce(&str)) -> Result<String, String> {
    // Before any thread is there, so that all of them leave the signals to this one.
    let signals = take_signals().map_err(|error| format!("signalfd: {error}"))?;
    let threads = options.threads.max(1);
    let (said_to, said) = mpsc::channel();
    let pair = UnixStream::pair().and_then(|(wake, woken)| {
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok((wake, woken))
    });
    let (wake, woken) = pair.map_err(|error| format!("socketpair: {error}"))?;
    let mut control = Control {
        origins: Origins::default(),
        welcome: reply::welcome(&options.ident, threads),
        jobs: Arc::new(Jobs::default()),
        said,
        wake: woken,
        clients: HashMap::new(),
        master: None,
    };
    let mut listener = None;
    let place = match &options.place {
        Place::Here {
            host,
            port,
            page_port,
            origins,
        } => {
            control.origins.own_host.clone_from(host);
            control.origins.allowed.clone_from(origins);
            let bound = bind(host, *port)?;
            let shown = open_here(host, local(&bound)?, *page_port)?;
            listener = Some(bound);
            shown
        }
        Place::Master { uri, reconnect } => {
            let destination = Destination::resolve(uri, true, &[SUBPROTOCOL.to_owned()])?;
            control.master = Some(Master::new(&destination, *reconnect));
            format!("the master {uri}")
        }
    };
    let runner = Runner {
        tier: options.io,
        allow_remote: options.allow_remote,
        said: said_to,
        wake: Arc::new(wake),
    };
    for id in 0..threads {
        let spawned = runner.spawn(&control.jobs, id);
        spawned.map_err(|error| format!("a job thread: {error}"))?;
    }
    ready(&place);
    on(
        options.io,
        ControlTask {
            control,
            listener,
            signals,
        },
    )?
}

/// The signals that end serving, as a descriptor. SIGHUP is one of them unless whoever started the program ignores it.
fn take_signals() -> std::io::Result<Fd> {
    let mut stop = signals::STOP.to_vec();
    if !sys::is_ignored(libc::SIGHUP) {
        stop.push(libc::SIGHUP);
    }
    sys::ignore_signals(signals::meaningless().filter(|signal| !stop.contains(signal)));
    sys::signal_fd(&stop)
}

/// Opens the page, and returns the text that names both addresses.
fn open_here(host: &str, control: SocketAddr, page_port: Option<u16>) -> Result<String, String> {
    if !control.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "{control} can be reached from other machines, and whoever reaches it can run tests here"
        );
    }
    let Some(port) = page_port else {
        return Ok(format!("ws://{control}"));
    };
    let listener = bind(host, port)?;
    let page = local(&listener)?;
    pages::spawn(listener, control.port()).map_err(|error| format!("the page: {error}"))?;
    Ok(format!("ws://{control}, page on http://{page}"))
}

fn bind(host: &str, port: u16) -> Result<TcpListener, String> {
    let refused = |error| format!("cannot listen on {host} port {port}: {error}");
    let addresses = (host, port).to_socket_addrs().map_err(refused)?;
    TcpListener::bind(addresses.collect::<Vec<_>>().as_slice()).map_err(refused)
}

fn local(listener: &TcpListener) -> Result<SocketAddr, String> {
    let address = listener.local_addr();
    address.map_err(|error| format!("getsockname: {error}"))
}

struct ControlTask {
    control: Control,
    /// None: commands come from a master.
    listener: Option<TcpListener>,
    signals: Fd,
}

impl Task for ControlTask {
    /// The error says why it ended without a signal.
    type Output = Result<String, String>;

    fn run<I: Io>(self, io: I) -> Result<Self::Output, Error> {
        let wake = Fd(self.control.wake.as_raw_fd());
        let mut worker = match self.listener {
            None => Worker::client(io, self.control, config()),
            Some(listener) => {
                let set = listener.set_nonblocking(true);
                set.map_err(|source| Error {
                    operation: "listener",
                    source,
                })?;
                let listener = Listener::new(Fd(listener.into_raw_fd()), None);
                Worker::new(io, self.control, config(), listener)
            }
        };
        worker.watch(self.signals, SIGNALS);
        worker.watch(wake, REPLIES);
        loop {
            let patience = worker.app().master.as_ref().and_then(Master::patience);
            worker.turn(patience)?;
            let signals = worker.take_watched() & (1 << SIGNALS) != 0;
            if signals && let Some(signal) = sys::read_signal(self.signals) {
                let sentence = format!("stopped by {}", signals::name(signal.number));
                return drain(worker).map(|()| Ok(sentence));
            }
            if worker.app().master.as_ref().is_some_and(Master::is_over) {
                let why = "the master cannot be reached any more; --reconnect tries again";
                return Ok(Err(why.to_owned()));
            }
        }
    }
}

fn config() -> Config {
    // A command above its own limit is answered with an error; one above this limit ends the connection.
    let bytes_max = 8 * COMMAND_BYTES_MAX as u64;
    Config {
        connections_max: CLIENTS_MAX,
        message_limits: Limits {
            frame_bytes_max: bytes_max,
            message_bytes_max: bytes_max,
        },
        // Limit for a master that does not answer the opening handshake.
        handshake_timeout: HANDSHAKE_TIMEOUT,
        send_queue_bytes_max: RESULTS_BYTES_MAX,
        ..Config::default()
    }
}

fn drain<I: Io>(mut worker: Worker<I, Control>) -> Result<(), Error> {
    let deadline = crate::time::now() + DRAIN;
    worker.app_mut().master = None;
    worker.drain();
    loop {
        let left = deadline.since(crate::time::now());
        worker.turn(Some(left))?;
        if worker.connections() == 0 || left.is_zero() {
            return Ok(());
        }
    }
}
