//! What a run is to do, decided: plain values in the units of the code.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections of a driver thread at most that are closing while others open: they take descriptors as well.
pub const CLOSING_MAX: usize = 4096;

/// Bytes that a message of a broadcast needs: who sent it, its number, and when it was due.
pub const BROADCAST_BYTES_MIN: usize = 36;

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// Who is measured.
    pub target: Target,
    /// What is done to it.
    pub scenario: Scenario,
    /// Connections over all threads.
    pub connections: usize,
    /// Driver threads, each with a ring of its own.
    pub threads: usize,
    /// CPUs that the threads are pinned to, in turn; empty: not pinned.
    pub cpus: Vec<usize>,
    /// Length of the measured window.
    pub duration: Duration,
    /// Run before it and not measured.
    pub warmup: Duration,
    /// Messages per second over all connections, sent on a fixed schedule (open loop); none: a closed loop.
    pub rate: Option<f64>,
    /// Messages per connection that wait for their answers in a closed loop.
    pub in_flight: usize,
    /// Of everything that is drawn: payloads, keys, sizes, order.
    pub seed: u64,
    /// Local addresses, in turn: each has its own 64 k ports. Empty: the system's choice.
    pub sources: Vec<IpAddr>,
    /// Sizes and kind of messages.
    pub payload: Payload,
    /// How answers are compared.
    pub verify: Verify,
    /// The ring, or epoll.
    pub io: IoTier,
    /// Connects and opening handshakes in progress at once, over all threads.
    pub connecting_max: usize,
    /// For each connect, opening and closing handshake, and for the last answers after the window.
    pub timeout: Duration,
    /// Longest head of a response, bytes, interim answers included.
    pub max_head: usize,
    /// Header fields of a response.
    pub max_headers: usize,
    /// TCP_CONGESTION of the driver's sockets; none: the system's.
    pub congestion: Option<String>,
    /// The process whose CPU time is the server's, with its children; none: found by its listening socket.
    pub server_pid: Option<i32>,
    /// Where a Ringway server serves `/stats.json` (host:port); none: looked for among the server's listeners.
    pub server_stats: Option<SocketAddr>,
    /// Every message leaves with a system call of its own, as from independent clients; else a thread hands over what is
    /// due on all its connections at once.
    pub unbatched: bool,
    /// Files that are written beside the result.
    pub outputs: Outputs,
}

impl LoadOptions {
    /// The defaults.
    pub fn new(target: Target, scenario: Scenario) -> Self {
        Self {
            target,
            scenario,
            connections: 100,
            threads: 1,
            cpus: Vec::new(),
            duration: Duration::from_secs(10),
            warmup: Duration::from_secs(1),
            rate: None,
            in_flight: 1,
            seed: 1,
            sources: Vec::new(),
            payload: Payload {
                sizes: vec![(20, 1.0)],
                binary: false,
            },
            verify: Verify::Exact,
            io: IoTier::Auto,
            connecting_max: 256,
            timeout: Duration::from_secs(10),
            max_head: 64 << 10,
            max_headers: 256,
            congestion: None,
            server_pid: None,
            server_stats: None,
            unbatched: false,
            outputs: Outputs::default(),
        }
    }
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was typed.
    pub uri: String,
    /// What to connect to: the addresses that the name stands for, tried in this order until one takes a connection. Not
    /// none; those behind the first [`ADDRESSES_MAX`](super::route::ADDRESSES_MAX) are not tried.
    pub addresses: Vec<SocketAddr>,
    /// For the Host header: host and, unless it is 80, port.
    pub host: String,
    /// Resource name: path and query.
    pub resource: String,
    /// Subprotocols to ask for.
    pub subprotocols: Vec<String>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Scenario {
    /// Every message comes back to its sender.
    Echo,
    /// WebSockets are opened and closed, nothing else. `low`..`high`: opening handshakes in progress over all threads; when
    /// they fall to `low` more are begun, up to `high`.
    Handshake {
        /// Begin more when fewer than this many are in progress.
        low: usize,
        /// At most so many in progress.
        high: usize,
        /// Stop after so many handshakes; none: after the duration.
        count: Option<u64>,
    },
    /// Opens all connections in batches and holds them for the duration.
    Massconnect {
        /// Connects begun at once.
        batch: usize,
        /// Time between batches.
        batch_delay: Duration,
        /// Time before a failed connect is tried again.
        retry_delay: Duration,
        /// A Ping on each held connection this often; none: silence.
        ping_interval: Option<Duration>,
    },
    /// `senders` of the connections send, the server passes each message to all connections.
    Broadcast {
        /// Connections that send: 1, or all of them.
        senders: usize,
        /// The server sends a message to all but its sender.
        others_only: bool,
    },
    /// Echo with sizes by distribution, where only some connections are active.
    Mixed {
        /// Share of connections that never send, from 0 to 1.
        idle: f64,
    },
    /// Echo with peers that misbehave: churn, slow readers, resets.
    Stress(Churn),
    /// The same as `Stress`, for hours: interval figures are what matters.
    Soak(Churn),
}

/// How peers misbehave, each as events per second over all connections or a share of connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// Connections closed properly and opened again, per second.
    pub reconnects_per_second: f64,
    /// Connections reset and opened again, per second.
    pub resets_per_second: f64,
    /// Share of connections that read slowly, from 0 to 1.
    pub slow_readers: f64,
    /// Bytes per second that a slow reader reads.
    pub slow_bytes_per_second: f64,
}

/// What messages carry.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// Sizes in bytes with their weights; one entry: all the same.
    pub sizes: Vec<(usize, f64)>,
    /// Binary in place of text.
    pub binary: bool,
}

/// What is compared of each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Every byte.
    Exact,
    /// Kind and length.
    Length,
}

/// The way of I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoTier {
    /// io_uring, or epoll where it is forbidden.
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// Files beside the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The JSON object.
    pub json: Option<PathBuf>,
    /// An interval log of HdrHistogram (V2).
    pub hdr: Option<PathBuf>,
    /// The HTML report.
    pub html: Option<PathBuf>,
}

impl Outputs {
    /// Those which are asked for.
    pub fn files(&self) -> Vec<&PathBuf> {
        let files = [&self.json, &self.hdr, &self.html];
        files.into_iter().flatten().collect()
    }

    /// Whether one of them is stdout, which is then theirs alone.
    pub fn use_stdout(&self) -> bool {
        self.files().iter().any(|path| is_stdout(path))
    }
}

/// `-`, as it is written for stdout everywhere.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}
