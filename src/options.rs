//! What a server was told to do: plain, validated data.
//!
//! Owns: the types and the defaults of every option of `ringway server`. Never: parses text (that is `cli`), opens
//! anything, changes after start. `Option` means "no limit" or "off" where it is `None`; no number has a hidden meaning.
#![forbid(unsafe_code)]

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::supervise::{Backlog, Format, SocketOptions, WebPort};

/// Everything that `ringway server` can be told, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Where to listen.
    pub endpoint: Endpoint,
    /// The supervisor's web pages.
    pub web_port: WebPort,
    /// Worker processes, at least one.
    pub workers: usize,
    /// Whether each worker is pinned to one CPU.
    pub affinity: bool,
    /// Length of the accept queue.
    pub backlog: Backlog,
    /// No start-up line and no statistics on stdout.
    pub silence: bool,
    /// Debug logging on stderr.
    pub debug: bool,
    /// How often statistics are printed.
    pub interval: Duration,
    /// How statistics and the start-up line are printed.
    pub format: Format,
    /// Which I/O tier the workers use.
    pub io: IoChoice,
    /// One listener per worker with SO_REUSEPORT instead of one shared listener.
    pub reuseport: bool,
    /// Open WebSockets of the whole server: exact, because the workers count them together.
    pub max_connections: Option<usize>,
    /// Longest message accepted, octets of payload.
    pub max_message: usize,
    /// Longest frame accepted, octets of payload; never above `max_message`.
    pub max_frame: usize,
    /// Octets queued for a peer above which reading from it pauses.
    pub send_queue: usize,
    /// Time a peer has for its opening handshake.
    pub handshake_timeout: Duration,
    /// A peer that takes nothing of what is queued for it for this long is dropped.
    pub write_timeout: Option<Duration>,
    /// A connection on which nothing arrives for this long is closed.
    pub idle_timeout: Option<Duration>,
    /// How often a quiet peer is pinged.
    pub ping_interval: Option<Duration>,
    /// Time a peer has to answer a Close, and then to close its side; anew whenever it takes some of what is left for it.
    pub close_timeout: Duration,
    /// Time the connections have to end after SIGINT/SIGTERM.
    pub drain_timeout: Duration,
    /// What the listener hands on to every accepted socket.
    pub socket: SocketOptions,
}

impl ServerOptions {
    /// The defaults, for a machine on which `workers` CPUs may be used.
    pub fn new(workers: usize) -> Self {
        Self {
            endpoint: Endpoint::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 9000,
            },
            web_port: WebPort::Fixed(8080),
            workers,
            affinity: true,
            backlog: Backlog::Depth(8192),
            silence: false,
            debug: false,
            interval: Duration::from_secs(5),
            format: Format::Table,
            io: IoChoice::Auto,
            reuseport: false,
            max_connections: None,
            max_message: 16 << 20,
            max_frame: 16 << 20,
            send_queue: 1 << 20,
            handshake_timeout: Duration::from_secs(5),
            write_timeout: Some(Duration::from_secs(60)),
            idle_timeout: None,
            ping_interval: None,
            close_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            socket: SocketOptions {
                keepalive: Some(KEEPALIVE),
                keepalive_interval: Some(KEEPALIVE_INTERVAL),
                keepalive_count: Some(KEEPALIVE_COUNT),
                user_timeout: Some(KEEPALIVE + KEEPALIVE_INTERVAL * KEEPALIVE_COUNT),
                ..SocketOptions::default()
            },
        }
    }

    /// The share of `max_connections` that one worker will hold about, as the accept balance deals them out: an equal part,
    /// rounded up. A worker may hold more, up to all of them.
    pub fn worker_connections_max(&self) -> Option<usize> {
        self.max_connections
            .map(|total| total.div_ceil(self.workers.max(1)))
    }

    /// How often a worker sends its record: the interval itself, or an equal part of it of at most one second, so
    /// that the live page moves.
    pub fn record_interval(&self) -> Duration {
        let parts = self
            .interval
            .as_nanos()
            .div_ceil(RECORD_INTERVAL_MAX.as_nanos())
            .max(1);
        self.interval / u32::try_from(parts).unwrap_or(u32::MAX)
    }
}

/// A peer that vanished is found out after three minutes of silence, by the kernel, without a wake-up of the worker and
/// without an octet of memory: a million idle connections cost some 8,000 probes per second. Below what routers and load
/// balancers forget a silent connection after (AWS: 350 s), so that those stay alive as well.
pub const KEEPALIVE: Duration = Duration::from_secs(120);
/// Between probes that are not answered.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Probes that are not answered, until the peer is gone.
pub const KEEPALIVE_COUNT: u32 = 4;

/// No worker is silent for longer: the live page shows this rhythm.
const RECORD_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// A place to listen, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `ws://host:port`; the host is a name or an address (IPv6 without its brackets), port 0 is any free port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port, 0 = any free one.
        port: u16,
    },
    /// `ws+unix:/path`.
    Unix {
        /// Path of the socket file.
        path: PathBuf,
    },
}

/// Which I/O tier the workers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring where it works, else epoll.
    Auto,
    /// epoll.
    Epoll,
    /// io_uring, or refuse to start.
    Uring,
}

/// What makes a process a worker: the place it was given by whoever started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSeat {
    /// The inherited listener.
    pub fd: RawFd,
    /// The CPU to pin to, if any.
    pub cpuid: Option<usize>,
    /// Index of the worker, from 0. A worker without a supervisor is 0.
    pub index: usize,
    /// Write end of the stats pipe, non-blocking. `None` without a supervisor: then the worker prints its own block
    /// (`stats::block`).
    pub stats_fd: Option<RawFd>,
    /// The memfd in which all workers publish their open connections. `None` without a supervisor.
    pub board_fd: Option<RawFd>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_divided_evenly_and_rounded_up() {
        let mut options = ServerOptions::new(4);
        assert_eq!(options.worker_connections_max(), None);
        options.max_connections = Some(10);
        assert_eq!(options.worker_connections_max(), Some(3));
        options.max_connections = Some(8);
        assert_eq!(options.worker_connections_max(), Some(2));
    }

    #[test]
    fn records_come_at_least_every_second_and_divide_the_interval() {
        let mut options = ServerOptions::new(1);
        assert_eq!(options.record_interval(), Duration::from_secs(1));
        options.interval = Duration::from_millis(2500);
        assert_eq!(options.record_interval(), Duration::from_nanos(833_333_333));
        options.interval = Duration::from_millis(200);
        assert_eq!(options.record_interval(), Duration::from_millis(200));
    }
}
