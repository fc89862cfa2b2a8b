//! The options of a server: plain data, already checked.
//!
//! Owns: the types and defaults of all options of `ringway server`, which `supervise` and `worker` use. Never: parses
//! text, except that of an endpoint (`cli` parses the rest), opens anything, changes after start. `None` means "no
//! limit" or "off"; no number has a hidden meaning.
#![forbid(unsafe_code)]

mod backplane;
mod forward;
mod gateway;
mod limits;
mod opening;
mod serial;
pub mod strings;
mod web;

use std::path::PathBuf;
use std::time::Duration;

pub use crate::bus::BusOptions;
use crate::bus::Plan;
pub use crate::proto::Network;
use crate::proto::bzip2::Bzip2;
use crate::proto::deflate::Deflate;
pub use crate::proto::handshake::{OriginPattern, Versions};
pub use crate::proto::proxy_protocol::Version as ProxyVersion;
use crate::proto::snappy::Snappy;
pub use crate::proto::tap::SHOWN_BYTES_MAX as LOG_BYTES_MAX;
#[doc(hidden)]
pub use crate::seat::WorkerSeat;
pub use crate::services::Subprotocols;
use crate::services::{HistoryLimits, Pattern, Right};
pub use crate::tls::{ClientAuth, TlsMode, TlsOptions, TlsVersion};
pub use backplane::BackplaneOptions;
pub use forward::{Accepts, Destination, ForwardOptions, TargetTlsOptions};
pub use gateway::{GatewayOptions, WrapMode};
pub use limits::Limits;
pub use opening::OpeningOptions;
pub use serial::{FlowControl, Parity, SerialLine};
pub use web::{WebOptions, WebPage};

/// Most places where a server listens: each worker waits for all of them.
pub const ENDPOINTS_MAX: usize = 16;

/// Fewest bytes of a fragment. With less, headers would take more room than the message.
pub const FRAGMENT_BYTES_MIN: usize = 16;

/// All options of `ringway server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Where to listen: one to 16 places. Default `ws://127.0.0.1:9000`.
    pub endpoints: Vec<Endpoint>,
    /// The supervisor's web pages. Default: port 8080 of the loopback address.
    pub web_port: WebPort,
    /// Worker processes, at least one.
    pub workers: usize,
    /// Whether each worker is pinned to one CPU. Default: yes.
    pub affinity: bool,
    /// Length of the accept queue, connections. Default 8192.
    pub backlog: Backlog,
    /// Whether to print no start-up line and no statistics on stdout.
    pub silence: bool,
    /// Whether to print statistics on stdout, unless `silence` is set. Default: yes.
    pub statistics: bool,
    /// Whether to log at debug level on stderr.
    pub debug: bool,
    /// Whether the frames of one connection in so many are logged on stderr, as `protocol::FrameLogging` says. Default: no.
    pub log_frames: Option<u32>,
    /// Payload bytes that are logged of a frame, up to 64. Default 0.
    pub log_bytes: usize,
    /// Time between two prints of the statistics. Default 5 s.
    pub interval: Duration,
    /// Form of the start-up line and of the statistics. Default: tables.
    pub format: Format,
    /// The I/O tier of the workers. Default: io_uring where it works, else epoll.
    pub io: IoChoice,
    /// One listener per worker with SO_REUSEPORT instead of one shared listener.
    pub reuseport: bool,
    /// Open WebSockets of the whole server; a further client gets 503. Exact, because the workers count together.
    /// Default: no limit but descriptors.
    pub max_connections: Option<usize>,
    /// Sockets of one address (of one /64 for IPv6) in each worker; one more is reset, or answered 429 if a proxy names
    /// the client. Default: no limit.
    pub connections_per_address: Option<u32>,
    /// Connections per second of one address in each worker, as many at once at most; further ones are treated alike.
    /// Default: no limit.
    pub handshakes_per_address: Option<u32>,
    /// Payload bytes of the longest message accepted; beyond it, 1009. Default 16 MiB.
    pub max_message: usize,
    /// Payload bytes of the longest frame accepted; beyond it, 1009. At most `max_message`. Default 16 MiB.
    pub max_frame: usize,
    /// Bytes queued for a peer above which reading from it pauses, and messages to it are refused. Default 1 MiB.
    pub send_queue: usize,
    /// Bytes of the longest request head accepted; beyond it, 431. Default 32 KiB.
    pub max_head: usize,
    /// Header fields of a request at most; beyond it, 431. Default 128.
    pub max_headers: usize,
    /// Which subprotocol is chosen of those that a client offers. Default: the first one.
    pub subprotocols: Subprotocols,
    /// Origins, versions, forwarded addresses, and what every answer carries.
    pub opening: OpeningOptions,
    /// Time that a peer has for its opening handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// Time for which a peer may take none of the bytes queued for it; then its connection is reset. Default 1 min.
    pub write_timeout: Option<Duration>,
    /// Time without a byte from the peer after which its connection is closed with 1001. Default: never.
    pub idle_timeout: Option<Duration>,
    /// Time of a peer's silence after which it gets a Ping. Default: never.
    pub ping_interval: Option<Duration>,
    /// Time of silence after a Ping after which its connection is reset. Default: as long as `ping_interval`.
    pub ping_timeout: Option<Duration>,
    /// Payload bytes of the longest data frame that is sent; a longer message leaves in several, unless it was prepared.
    /// Default: no limit.
    pub fragment_size: Option<usize>,
    /// Time that a peer has to answer a Close, and then to close its side. It starts anew whenever the peer takes some
    /// of the bytes queued for it. Default 10 s.
    pub close_timeout: Duration,
    /// Whether a Close of the peer is answered with its reason too, and not with its code alone. Default: no.
    pub echo_close_reason: bool,
    /// Whether a peer that broke the protocol is reset instead of getting a Close. Default: no.
    pub fail_by_drop: bool,
    /// Time that connections have to end after SIGINT or SIGTERM. Then they are cut off. Default 10 s.
    pub drain_timeout: Duration,
    /// Whether messages are compressed for clients that offer permessage-deflate (RFC 7692). Default: no.
    pub deflate: bool,
    /// How they are compressed.
    pub compression: Deflate,
    /// Whether messages are compressed for clients that offer permessage-snappy. Default: no. It needs the feature `snappy`.
    pub snappy: bool,
    /// How they are compressed.
    pub snappy_compression: Snappy,
    /// Whether messages are compressed for clients that offer permessage-bzip2. Default: no. It needs the feature `bzip2`.
    pub bzip2: bool,
    /// How they are compressed.
    pub bzip2_compression: Bzip2,
    /// TLS of accepted connections. Default: none, because there is no certificate.
    pub tls: TlsOptions,
    /// Options of the listener, which every accepted socket inherits.
    pub socket: SocketOptions,
    /// Whether the workers have a bus, for topics. Default: no.
    pub bus: bool,
    /// How it works.
    pub bus_options: BusOptions,
    /// The backplane, through which several servers share their topics.
    pub backplane: BackplaneOptions,
    /// Topics and patterns that clients of a pubsub may publish to, and paths of a broadcast; only for the service at this path, if there is
    /// one. Default: all.
    pub may_publish: Vec<Right>,
    /// And subscribe to. Default: all.
    pub may_subscribe: Vec<Right>,
    /// Files with the keys that sign the tokens of clients of a broadcast, a pubsub or a gateway: a secret (HS256), or a public key in
    /// PEM, Ed25519 (EdDSA) or RSA (RS256). Default: none, clients need no token.
    pub token_keys: Vec<PathBuf>,
    /// The issuer that tokens must name. Default: any.
    pub token_issuer: Option<String>,
    /// The audience that tokens must name. Default: none, and a token that names one is refused.
    pub token_audience: Option<String>,
    /// Whether a client without a token is refused, where there are keys. Otherwise it has the configured rights. Default: yes.
    pub token_required: bool,
    /// The file whose first line opens the HTTP API on the port of the pages. Default: there is no API.
    pub api_key: Option<PathBuf>,
    /// What a pubsub keeps of earlier messages, in each worker.
    pub history: HistoryLimits,
    /// The application on every path, unless `applications` has some. Default: an echo.
    pub application: Application,
    /// Whether a broadcast goes to its sender too. Default: yes.
    pub echo_self: bool,
    /// Time between two ticks of a broadcast. Default: none come.
    pub tick: Option<Duration>,
    /// Applications that come with Ringway, by path. Empty: `application` on every path.
    pub applications: Vec<(Pattern, Application)>,
    /// What `ringway gateway` does with WebSockets. Without a target, tokens or routes it is no gateway.
    pub gateway: GatewayOptions,
    /// What answers requests that open no WebSocket, in a process of its own. Default: the workers answer them.
    pub web: WebOptions,
    /// Limits of each service, in the order in which the services are added.
    pub services: Vec<Limits>,
}

/// A dead peer is found without a word of the protocol.
fn kept_alive() -> SocketOptions {
    SocketOptions {
        keepalive: Some(KEEPALIVE),
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_count: Some(KEEPALIVE_COUNT),
        user_timeout: Some(KEEPALIVE + KEEPALIVE_INTERVAL * KEEPALIVE_COUNT),
        ..SocketOptions::default()
    }
}

impl ServerOptions {
    /// The defaults, for a machine on which this process may use `workers` CPUs.
    pub fn new(workers: usize) -> Self {
        Self {
            endpoints: vec![Endpoint::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 9000,
            }],
            web_port: WebPort::Fixed(WebHost::Loopback, 8080),
            workers,
            affinity: true,
            backlog: Backlog::Depth(8192),
            silence: false,
            statistics: true,
            debug: false,
            log_frames: None,
            log_bytes: 0,
            interval: Duration::from_secs(5),
            format: Format::Table,
            io: IoChoice::Auto,
            reuseport: false,
            max_connections: None,
            connections_per_address: None,
            handshakes_per_address: None,
            max_message: 16 << 20,
            max_frame: 16 << 20,
            send_queue: 1 << 20,
            max_head: 32 << 10,
            max_headers: 128,
            subprotocols: Subprotocols::Any,
            opening: OpeningOptions::default(),
            handshake_timeout: Duration::from_secs(5),
            write_timeout: Some(Duration::from_secs(60)),
            idle_timeout: None,
            ping_interval: None,
            ping_timeout: None,
            fragment_size: None,
            close_timeout: Duration::from_secs(10),
            echo_close_reason: false,
            fail_by_drop: false,
            drain_timeout: Duration::from_secs(10),
            deflate: false,
            compression: Deflate::default(),
            snappy: false,
            snappy_compression: Snappy::default(),
            bzip2: false,
            bzip2_compression: Bzip2::default(),
            tls: TlsOptions::default(),
            socket: kept_alive(),
            bus: false,
            bus_options: BusOptions::default(),
            backplane: BackplaneOptions::default(),
            may_publish: vec![Right::to_all()],
            may_subscribe: vec![Right::to_all()],
            token_keys: Vec::new(),
            token_issuer: None,
            token_audience: None,
            token_required: true,
            api_key: None,
            history: HistoryLimits::default(),
            application: Application::Echo,
            echo_self: true,
            tick: None,
            applications: Vec::new(),
            gateway: GatewayOptions::default(),
            web: WebOptions::default(),
            services: Vec::new(),
        }
    }

    /// The applications that are served, on whatever path.
    pub fn served(&self) -> impl Iterator<Item = Application> {
        let everywhere = self.applications.is_empty().then_some(self.application);
        let by_path = self
            .applications
            .iter()
            .map(|(_, application)| *application);
        everywhere.into_iter().chain(by_path)
    }

    /// The bus, if there is one.
    pub fn bus(&self) -> Option<BusOptions> {
        self.bus.then_some(self.bus_options)
    }

    /// The plan of the bus, if there is one.
    pub(crate) fn bus_plan(&self) -> Option<Plan> {
        let bus = self.bus()?;
        Some(Plan::new(self.workers, &bus).bridged(self.backplane.url.is_some()))
    }

    /// Connections of one worker, about, at `max_connections`: the accept balance gives each an equal part, rounded up.
    /// A worker may hold more, up to all of them.
    pub fn worker_connections_max(&self) -> Option<usize> {
        self.max_connections
            .map(|total| total.div_ceil(self.workers.max(1)))
    }

    /// Time between two records of a worker: the interval itself, or an equal part of it of at most one second, so that
    /// the live page moves.
    pub fn record_interval(&self) -> Duration {
        let parts = self
            .interval
            .as_nanos()
            .div_ceil(RECORD_INTERVAL_MAX.as_nanos())
            .max(1);
        self.interval / u32::try_from(parts).unwrap_or(u32::MAX)
    }
}

/// Time of silence after which the kernel probes a peer (TCP_KEEPIDLE). A peer that vanished is detected after three
/// minutes, without waking the worker and without memory: a million idle connections cost about 8,000 probes per
/// second. Routers and load balancers forget silent connections later than that (AWS: 350 s), so the probes also keep
/// those alive.
pub const KEEPALIVE: Duration = Duration::from_secs(120);
/// Time between probes without an answer (TCP_KEEPINTVL).
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Probes without an answer after which the kernel ends the connection (TCP_KEEPCNT).
pub const KEEPALIVE_COUNT: u32 = 4;

/// Longest time between two records: the live page updates once per second.
const RECORD_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// An application that comes with Ringway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// Sends every message back to its sender.
    Echo,
    /// Passes every message on to all clients of its path.
    Broadcast,
    /// Publish and subscribe for clients, see `docs/pubsub.md`.
    PubSub,
}

impl Application {
    /// Its name in the options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
            Self::PubSub => "pubsub",
        }
    }

    /// Whether it needs a bus between the workers.
    pub const fn needs_bus(self) -> bool {
        matches!(self, Self::Broadcast | Self::PubSub)
    }
}

/// A place to listen, as the user wrote it.
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

/// A place to listen that cannot be parsed: one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEndpoint(String);

impl std::fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadEndpoint {}

impl Endpoint {
    /// A Unix socket.
    ///
    /// # Errors
    /// Why there can be none with this path.
    pub fn unix(path: &str) -> Result<Self, &'static str> {
        // sockaddr_un.sun_path has 108 bytes, with the final NUL.
        match path.len() {
            _ if !path.starts_with('/') => Err("the path must begin with a slash"),
            108.. => Err("the path is longer than the 107 bytes a Unix socket can have"),
            _ => Ok(Self::Unix {
                path: PathBuf::from(path),
            }),
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = BadEndpoint;

    /// Parses `ws://host:port` or `ws+unix:/path`.
    fn from_str(uri: &str) -> Result<Self, BadEndpoint> {
        let wrong = |why: &str| {
            BadEndpoint(format!(
                "{uri}: {why}; give something like ws://127.0.0.1:9000"
            ))
        };
        if strip_scheme(uri, "wss:").is_some() {
            return Err(BadEndpoint(format!(
                "{uri}: wss:// has no meaning here; use ws://: a server speaks TLS on the same port when it has --cert and --key"
            )));
        }
        if let Some(path) = strip_scheme(uri, "ws+unix:") {
            // Both ws+unix:/path and ws+unix:///path are in use.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Self::unix(path).map_err(wrong);
        }
        let rest = strip_scheme(uri, "ws://")
            .ok_or_else(|| wrong("it does not begin with ws:// or ws+unix:"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !matches!(path, "" | "/") {
            return Err(wrong(
                "the server answers on every path, so it cannot be bound to one",
            ));
        }
        if authority.contains('@') {
            return Err(wrong("a user has no meaning here, and a password neither"));
        }
        let zoned;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("the bracket of the IPv6 address is open"))?;
                zoned = self::zoned(host).map_err(wrong)?;
                (zoned.as_str(), rest.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(wrong("an IPv6 address needs brackets, as ws://[::1]:9000"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = port.ok_or_else(|| wrong("the port is missing"))?;
        let port = port
            .parse::<u16>()
            .map_err(|_| wrong("the port is not a number from 0 to 65535"))?;
        match host {
            "" => Err(wrong("the host is missing (0.0.0.0 is every IPv4 address)")),
            _ => Ok(Self::Tcp {
                host: host.to_owned(),
                port,
            }),
        }
    }
}

/// An IPv6 address as it stands in brackets, with its zone if it has one: `fe80::1%25eth0` is `fe80::1%eth0` (RFC 6874 §2).
/// The error is the reason.
fn zoned(text: &str) -> Result<String, &'static str> {
    let (ip, zone) = match text.split_once('%') {
        None => (text, None),
        Some((ip, zone)) => (ip, Some(zone)),
    };
    if ip.parse::<std::net::Ipv6Addr>().is_err() {
        return Err("what is in brackets is no IPv6 address");
    }
    match zone.map(|zone| zone.strip_prefix("25").unwrap_or_default()) {
        None => Ok(ip.to_owned()),
        Some("") => Err("a zone is written behind %25, as in ws://[fe80::1%25eth0]:9000"),
        Some(zone) => Ok(format!("{ip}%{zone}")),
    }
}

/// The text behind a scheme, whose letters may have any case (RFC 3986 §3.1).
fn strip_scheme<'a>(uri: &'a str, scheme: &str) -> Option<&'a str> {
    let (begin, rest) = uri.split_at_checked(scheme.len())?;
    begin.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Length of the accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// This many, or the kernel's limit if that is less.
    Depth(u32),
    /// The kernel's limit, `net.core.somaxconn`.
    Somaxconn,
}

/// Form of the start-up line and of the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line; with the feature `pages`.
    Json,
    /// Tables that fit 80 columns.
    Table,
}

/// The supervisor's web pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebPort {
    /// On a free port. The start-up line names it.
    Auto(WebHost),
    /// On this port.
    Fixed(WebHost, u16),
    /// No pages.
    Off,
}

/// Who may see the pages. They reveal what runs here and how busy it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebHost {
    /// This machine only: the loopback address of the family on which the WebSockets are served.
    Loopback,
    /// Clients that reach this name or address (IPv6 without its brackets).
    Named(String),
}

/// Options of the listener that accepted sockets inherit (tcp(7), socket(7)). `None` leaves the kernel's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_CONGESTION.
    pub congestion: Option<String>,
    /// SO_RCVBUF, bytes (the kernel doubles it).
    pub rcvbuf: Option<u32>,
    /// SO_SNDBUF, bytes (the kernel doubles it).
    pub sndbuf: Option<u32>,
    /// SO_KEEPALIVE with TCP_KEEPIDLE.
    pub keepalive: Option<Duration>,
    /// TCP_KEEPINTVL.
    pub keepalive_interval: Option<Duration>,
    /// TCP_KEEPCNT.
    pub keepalive_count: Option<u32>,
    /// TCP_USER_TIMEOUT.
    pub user_timeout: Option<Duration>,
    /// TCP_DEFER_ACCEPT: for this time, the kernel hides a connection whose peer has sent nothing.
    pub defer_accept: Option<Duration>,
    /// TCP_NOTSENT_LOWAT, bytes.
    pub notsent_lowat: Option<u32>,
    /// TCP_FASTOPEN: most fast-open requests that wait.
    pub fastopen: Option<u32>,
    /// TCP_MAXSEG, bytes.
    pub maxseg: Option<u32>,
    /// SO_BUSY_POLL: time for which the kernel polls the device.
    pub busy_poll: Option<Duration>,
    /// Mode of the file of a Unix socket. None: as the umask leaves it.
    pub unix_mode: Option<u32>,
    /// Owner of the file of a Unix socket. None: this process's user and group.
    pub unix_owner: Option<Owner>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            congestion: None,
            rcvbuf: None,
            sndbuf: None,
            keepalive: None,
            keepalive_interval: None,
            keepalive_count: None,
            user_timeout: None,
            defer_accept: None,
            notsent_lowat: None,
            fastopen: None,
            maxseg: None,
            busy_poll: None,
            unix_mode: None,
            unix_owner: None,
        }
    }
}

/// The owner of a file: names or numbers. What is None stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: Option<String>,
    /// The group.
    pub group: Option<String>,
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
