//! The options of a run, after all checks: plain values in the units of the code.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringway_command::recording::Recording;

use super::tls::TlsTrust;
pub use crate::io::Address;
pub use crate::proto::deflate::{Deflate, Direction};
pub use crate::proto::handshake::{basic_credentials, is_secret, redirect};
pub use crate::proto::http::{is_field_value, percent_decoded};
use crate::worker::OpeningRequest;
pub use crate::worker::Tunnel;

/// Most connections of a driver thread that are closing while others open. They need descriptors too.
pub const CLOSING_MAX: usize = 4096;

/// Fewest payload bytes of a message of `broadcast` and `pubsub`: its source, its number, and when it was due.
pub const STAMP_BYTES: usize = 36;

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// The server to measure.
    pub target: Target,
    /// What the driver does.
    pub scenario: Scenario,
    /// Connections over all threads.
    pub connections: usize,
    /// Driver threads, each with a ring of its own.
    pub threads: usize,
    /// CPUs to which the threads are pinned, in turn. Empty: not pinned.
    pub cpus: Vec<usize>,
    /// Length of the measured window.
    pub duration: Duration,
    /// Time before the window in which messages are sent and not measured.
    pub warmup: Duration,
    /// Messages per second over all connections, on a fixed schedule (open loop). None: a closed loop.
    pub rate: Option<f64>,
    /// Messages of each connection that are under way in a closed loop.
    pub in_flight: usize,
    /// Seed of everything random: payloads, masking keys, sizes, order.
    pub seed: u64,
    /// Local addresses, used in turn: each has its own 64 k ports. Empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// Sizes and kind of messages.
    pub payload: Payload,
    /// permessage-deflate as it is offered. None: it is not.
    pub deflate: Option<Deflate>,
    /// TLS to a server of `wss://`.
    pub tls: TlsTrust,
    /// How answers are compared.
    pub verify: Verify,
    /// io_uring or epoll.
    pub io: IoTier,
    /// Connects and opening handshakes in progress at once, over all threads.
    pub connecting_max: usize,
    /// Limit of each connect, opening handshake and closing handshake, and of the wait for the last answers after the
    /// window.
    pub timeout: Duration,
    /// Most bytes of a response's head, interim responses included.
    pub max_head: usize,
    /// Most header fields of a response.
    pub max_headers: usize,
    /// TCP_CONGESTION of the driver's sockets. None: the system's default.
    pub congestion: Option<String>,
    /// The server's process; its CPU time and that of its children is measured. None: the process is found by its
    /// listening socket.
    pub server_pid: Option<i32>,
    /// Address where a Ringway server serves `/stats.json`. None: it is looked for among the server's listeners.
    pub server_stats: Option<SocketAddr>,
    /// Sends every message with a system call of its own, as independent clients would. Otherwise a thread submits the
    /// due messages of all its connections with one.
    pub unbatched: bool,
    /// Files written besides the printed result.
    pub outputs: Outputs,
}

impl LoadOptions {
    /// The defaults of a scenario.
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
                content: Content::Random,
            },
            deflate: None,
            tls: TlsTrust::default(),
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
    /// The URI as it was typed.
    pub uri: String,
    /// Addresses of the server. They are tried in this order until one takes a connection; only the first
    /// [`ADDRESSES_MAX`](super::route::ADDRESSES_MAX) are tried. Empty only behind a proxy, which looks the name up itself.
    pub addresses: Vec<Address>,
    /// For the Host header: host and, unless it is 80, port.
    pub host: String,
    /// Resource name: path and query.
    pub resource: String,
    /// Subprotocols to ask for.
    pub subprotocols: Vec<String>,
    /// The host that the server's certificate must name, if it speaks TLS.
    pub tls_name: Option<String>,
    /// What else a request says, and whom it goes through.
    pub asking: Asking,
}

impl Target {
    /// Where connections are made to: the proxy's addresses if there is one.
    pub fn destinations(&self) -> &[Address] {
        match &self.asking.proxy {
            Some(proxy) => &proxy.addresses,
            None => &self.addresses,
        }
    }
}

/// How a server is asked, apart from host and resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// `Origin`, as a browser would send it.
    pub origin: Option<String>,
    /// Further headers, name and value.
    pub headers: Vec<(String, String)>,
    /// The HTTP proxy that is asked for a tunnel.
    pub proxy: Option<Proxy>,
}

/// Whether a request may have this header: a sentence says why not.
///
/// # Errors
/// The header cannot be sent, or the protocol writes it itself.
pub fn check_header(header: &(String, String)) -> Result<(), String> {
    let request = OpeningRequest::new("host", "/", &[]);
    let request = request.and_then(|request| request.headers(std::slice::from_ref(header)));
    request.map(drop).map_err(|misuse| misuse.to_string())
}

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its host and port.
    pub authority: String,
    /// Its addresses, tried as those of a server are.
    pub addresses: Vec<Address>,
    /// The tunnel that it is asked for.
    pub tunnel: Tunnel,
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Scenario {
    /// The server sends every message back to its sender.
    Echo,
    /// Opens and closes WebSockets, without messages. `low` and `high` bound the opening handshakes in progress over all
    /// threads.
    Handshake {
        /// Begins new handshakes once fewer than this many are in progress.
        low: usize,
        /// Most handshakes in progress.
        high: usize,
        /// Ends after this many handshakes. None: after the duration.
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
        /// Time between two Pings on each held connection. None: no Pings.
        ping_interval: Option<Duration>,
    },
    /// `senders` of the connections send, and the server passes each message on to all connections.
    Broadcast {
        /// How many connections send, at least one.
        senders: usize,
        /// The server sends a message to all but its sender.
        others_only: bool,
    },
    /// Clients subscribe to the topics of a server that speaks `docs/pubsub.md`, and one of the connections publishes. `rate` of
    /// the options is that of published messages.
    Pubsub(Pubsub),
    /// Echo with several message sizes, where only some connections are active.
    Mixed {
        /// Share of connections that never send, from 0 to 1.
        idle: f64,
    },
    /// Echo with misbehaving clients: they reconnect, reset, or read slowly.
    Stress(Churn),
    /// Like `Stress`, for hours: the figures per interval matter.
    Soak(Churn),
    /// Each connection plays a recorded session, and what comes back is compared with the recording. The run ends when all have
    /// played, or at the end of the window. It has no warm-up.
    Replay(Replay),
}

/// A recording, and how it is played.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The file, for the result.
    pub file: PathBuf,
    /// What is in it.
    pub recording: Arc<Recording>,
    /// How many times as fast as it was recorded. `None`: each message as soon as the one before is sent.
    pub speed: Option<f64>,
    /// What is compared.
    pub check: Check,
    /// Sessions of each connection, one after another. Each has a WebSocket of its own.
    pub repeat: u32,
    /// Connections that begin per second. `None`: as fast as `connecting_max` allows.
    pub connects_per_second: Option<f64>,
}

impl Replay {
    /// When something that was recorded at `at` is due at this speed, since the WebSocket opened.
    pub fn at(&self, at: Duration) -> Duration {
        let scaled = |speed| Duration::try_from_secs_f64(at.as_secs_f64() / speed);
        self.speed.map_or(Duration::ZERO, |speed| {
            scaled(speed).unwrap_or(Duration::MAX)
        })
    }

    /// How long a session is at this speed.
    pub fn length(&self) -> Duration {
        let last = self.recording.entries.last();
        last.map_or(Duration::ZERO, |last| self.at(last.at))
    }
}

/// What a replay compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Kind and payload of each message of the server, in order; of a stream its bytes, in whatever messages they come.
    Exact,
    /// How many messages came, or bytes of a stream.
    Count,
    /// Nothing.
    None,
}

/// The topics of a run, and how it comes in.
#[derive(Clone, Debug, PartialEq)]
pub struct Pubsub {
    /// Topics are this name, a slash and a number from 0 on.
    pub topic: String,
    /// How many topics: every client subscribes to all.
    pub topics: usize,
    /// Messages that are published at the same instant, at least one.
    pub batch: u64,
    /// Connects begun per second. `None`: as fast as `connecting_max` allows.
    pub connects_per_second: Option<f64>,
}

/// How clients misbehave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// Connections per second that close properly and connect again.
    pub reconnects_per_second: f64,
    /// Connections per second that reset and connect again.
    pub resets_per_second: f64,
    /// Share of connections that read slowly, from 0 to 1.
    pub slow_readers: f64,
    /// Bytes per second that a slow reader reads.
    pub slow_bytes_per_second: f64,
}

/// The contents of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// Sizes in bytes with their weights. One entry: all messages have this size.
    pub sizes: Vec<(usize, f64)>,
    /// Binary messages instead of text.
    pub binary: bool,
    /// What the messages say.
    pub content: Content,
}

/// What messages say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes, or printable characters, drawn at random.
    Random,
    /// JSON whose values are drawn at random.
    Json,
}

/// How an answer is compared with its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Every byte.
    Exact,
    /// Kind and length.
    Length,
}

/// The I/O tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoTier {
    /// io_uring, or epoll where it is forbidden.
    Auto,
    /// io_uring; the run fails where it is forbidden.
    Uring,
    /// epoll.
    Epoll,
}

/// Files written besides the printed result. `-` is stdout.
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
    /// The files that were asked for.
    pub fn files(&self) -> Vec<&PathBuf> {
        let files = [&self.json, &self.hdr, &self.html];
        files.into_iter().flatten().collect()
    }

    /// Whether one of the files is stdout. Then nothing else is printed there.
    pub fn use_stdout(&self) -> bool {
        self.files().iter().any(|path| is_stdout(path))
    }
}

/// Whether the path is `-`, which means stdout.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}
