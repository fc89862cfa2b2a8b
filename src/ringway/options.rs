//! What a server was told to do: plain, validated data.
//!
//! Owns: the types and the defaults of every option of `ringway server`; `supervise` and `worker` take them from here. Never:
//! parses text but that of an endpoint (the rest is `cli`), opens anything, changes after start. `Option` means "no limit" or "off" where it is `None`; no number has a hidden meaning.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

#[doc(hidden)]
pub use crate::seat::WorkerSeat;
use crate::services::Pattern;
pub use crate::services::Subprotocols;

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
    /// Statistics on stdout, if there is not silence.
    pub statistics: bool,
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
    /// Longest message accepted, bytes of payload.
    pub max_message: usize,
    /// Longest frame accepted, bytes of payload; never above `max_message`.
    pub max_frame: usize,
    /// Bytes queued for a peer above which reading from it pauses.
    pub send_queue: usize,
    /// Longest head of a request, bytes.
    pub max_head: usize,
    /// Header fields of a request.
    pub max_headers: usize,
    /// Which of the subprotocols that a client offers is chosen.
    pub subprotocols: Subprotocols,
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
    /// Applications that come with Ringway, by path; none means an echo on every path.
    pub applications: Vec<(Pattern, Application)>,
    /// Limits of each service, in the order in which the services are added.
    pub services: Vec<Limits>,
}

impl ServerOptions {
    /// The defaults, for a machine on which `workers` CPUs may be used.
    pub fn new(workers: usize) -> Self {
        Self {
            endpoint: Endpoint::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 9000,
            },
            web_port: WebPort::Fixed(WebHost::Loopback, 8080),
            workers,
            affinity: true,
            backlog: Backlog::Depth(8192),
            silence: false,
            statistics: true,
            debug: false,
            interval: Duration::from_secs(5),
            format: Format::Table,
            io: IoChoice::Auto,
            reuseport: false,
            max_connections: None,
            max_message: 16 << 20,
            max_frame: 16 << 20,
            send_queue: 1 << 20,
            max_head: 32 << 10,
            max_headers: 128,
            subprotocols: Subprotocols::Any,
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
            applications: Vec::new(),
            services: Vec::new(),
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
/// without a byte of memory: a million idle connections cost some 8,000 probes per second. Below what routers and load
/// balancers forget a silent connection after (AWS: 350 s), so that those stay alive as well.
pub const KEEPALIVE: Duration = Duration::from_secs(120);
/// Between probes that are not answered.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Probes that are not answered, until the peer is gone.
pub const KEEPALIVE_COUNT: u32 = 4;

/// No worker is silent for longer: the live page shows this rhythm.
const RECORD_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Limits of the connections of a server, or of one of its services: what is not set here is as the server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest message accepted, bytes of payload (1009 above). Default 16 MiB.
    pub message_bytes_max: Option<usize>,
    /// Longest frame accepted, bytes of payload (1009 above). Default: as the message.
    pub frame_bytes_max: Option<usize>,
    /// Bytes queued for a peer above which reading from it pauses, and above which no message is accepted for it. Default
    /// 1 MiB.
    pub send_queue_bytes_max: Option<usize>,
    /// A peer that takes nothing of what is queued for it for so long is dropped.
    pub write_timeout: Option<Duration>,
    /// A peer that is silent for so long is closed with 1001.
    pub idle_timeout: Option<Duration>,
    /// A peer that is silent for so long is pinged.
    pub ping_interval: Option<Duration>,
    /// Time a peer has to answer a Close, and then to close its side.
    pub close_timeout: Option<Duration>,
}

impl Limits {
    /// Lays these limits over those of a server.
    pub fn apply_to(&self, options: &mut ServerOptions) {
        if let Some(bytes) = self.message_bytes_max {
            options.max_message = bytes;
            options.max_frame = bytes;
        }
        if let Some(bytes) = self.frame_bytes_max {
            options.max_frame = bytes.min(options.max_message);
        }
        options.send_queue = self.send_queue_bytes_max.unwrap_or(options.send_queue);
        options.write_timeout = self.write_timeout.or(options.write_timeout);
        options.idle_timeout = self.idle_timeout.or(options.idle_timeout);
        options.ping_interval = self.ping_interval.or(options.ping_interval);
        options.close_timeout = self.close_timeout.unwrap_or(options.close_timeout);
    }
}

/// An application that comes with Ringway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// Every message goes back to its sender.
    Echo,
}

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

/// A place to listen that cannot be understood: one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEndpoint(String);

impl std::fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadEndpoint {}

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
                "{uri}: TLS is not there yet; use ws:// and let a TLS proxy stand in front"
            )));
        }
        if let Some(path) = strip_scheme(uri, "ws+unix:") {
            // Both ws+unix:/path and ws+unix:///path are in use.
            let path = path.strip_prefix("//").unwrap_or(path);
            // sockaddr_un.sun_path holds 108 bytes with its end.
            return match path.len() {
                _ if !path.starts_with('/') => Err(wrong("the path must begin with a slash")),
                108.. => Err(wrong(
                    "the path is longer than the 107 bytes a Unix socket can have",
                )),
                _ => Ok(Self::Unix {
                    path: PathBuf::from(path),
                }),
            };
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
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("the bracket of the IPv6 address is open"))?;
                host.parse::<std::net::Ipv6Addr>()
                    .map_err(|_| wrong("what is in brackets is no IPv6 address"))?;
                (host, rest.strip_prefix(':'))
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

/// What follows a scheme, which is written in any case (RFC 3986 §3.1).
fn strip_scheme<'a>(uri: &'a str, scheme: &str) -> Option<&'a str> {
    let (begin, rest) = uri.split_at_checked(scheme.len())?;
    begin.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Length of the accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// This many, or as many as the kernel allows.
    Depth(u32),
    /// As many as the kernel allows: `net.core.somaxconn`.
    Somaxconn,
}

/// How the start-up line and the statistics are printed.
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
    /// On a free port; the start-up line names it.
    Auto(WebHost),
    /// On this port.
    Fixed(WebHost, u16),
    /// None.
    Off,
}

/// Who may see the pages. They tell a stranger what runs here and how busy it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebHost {
    /// This machine only: the loopback address of the family on which the WebSockets are served.
    Loopback,
    /// Whoever reaches this name or address (IPv6 without its brackets).
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
    /// TCP_DEFER_ACCEPT: accept only once the peer has sent something, for this long.
    pub defer_accept: Option<Duration>,
    /// TCP_NOTSENT_LOWAT, bytes.
    pub notsent_lowat: Option<u32>,
    /// TCP_FASTOPEN: pending fast-open requests.
    pub fastopen: Option<u32>,
    /// TCP_MAXSEG, bytes.
    pub maxseg: Option<u32>,
    /// SO_BUSY_POLL.
    pub busy_poll: Option<Duration>,
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
        }
    }
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
