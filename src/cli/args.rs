//! What was typed: one definition per option, for the command line and the configuration file alike.
//!
//! Owns: names, help, and which options take a value. Never: judges a value (that is `resolve`), makes a system call.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

use ringway_command::Text;
use wsperf::cli as wsperf;

/// `ringway …`
#[derive(Debug, Parser)]
#[command(name = "ringway", version, about, max_term_width = 80, before_help = EXAMPLE, after_help = super::help_codes())]
pub(super) struct RingwayArgs {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What `ringway` can do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a multicore WebSocket echo server
    #[command(max_term_width = 80, before_help = EXAMPLE, after_help = super::help_codes())]
    Server(Box<ServerArgs>),
    /// Compare this machine with what Ringway wants of it, change it, measure it
    #[command(max_term_width = 80, before_help = super::tune::EXAMPLE, after_help = super::tune::CODES)]
    Tune(Box<super::tune::TuneArgs>),
    /// Load a WebSocket server and measure it
    #[command(max_term_width = 80, before_help = wsperf::EXAMPLE, after_help = wsperf::ALL_CODES)]
    Wsperf(Box<wsperf::WsperfArgs>),
}

/// `server …`: the same options without the subcommand.
#[derive(Debug, Parser)]
#[command(
    name = "server",
    version,
    about = "Run a multicore WebSocket echo server",
    max_term_width = 80,
    before_help = EXAMPLE,
    after_help = super::help_codes()
)]
pub(super) struct StandaloneArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

const EXAMPLE: &str = "\
Example:
  server --workers 4 --backlog
  ringway server --wsuri ws://0.0.0.0:9000 --port 8080 --interval 10s

Durations: 250ms, 10s, 1m; a bare number is seconds.
Sizes: 1000, 5k, 64KiB, 16MiB.";

/// Options of one process, and those of the server.
#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    #[command(flatten)]
    pub(super) process: ProcessArgs,
}

/// Options of the server, as the command line and the configuration file name them.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[rustfmt::skip] // one option per block, help first
pub(super) struct ConfigArgs {
    /// Where to listen: ws://host:port, or ws+unix:/path. Port 0 is any free
    /// port [default: ws://127.0.0.1:9000]
    #[arg(long, value_name = "URI")]
    pub(super) wsuri: Option<Text>,
    /// Web pages of the supervisor: status, /stats.json, /metrics. A port,
    /// `auto` for any free one, 0 = off. On loopback only, unless an address is
    /// in front, as 0.0.0.0:8080 [default: 8080, or off if that is taken]
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(super) port: Option<Text>,
    /// Worker processes [default: the CPUs this process may use]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<Text>,
    /// Do not pin workers to CPUs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) noaffinity: Option<Text>,
    /// Length of the accept queue; without a value as long as the kernel
    /// allows (net.core.somaxconn) [default: 8192]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "somaxconn")]
    pub(super) backlog: Option<Text>,
    /// Print neither the start-up line nor statistics
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) silence: Option<Text>,
    /// Log debug messages on stderr
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) debug: Option<Text>,
    /// Time between statistics [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub(super) interval: Option<Text>,
    /// How statistics are printed: table, or json for one object per line
    /// [default: table]
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<Text>,
    /// I/O of the workers: auto, uring or epoll [default: auto]
    #[arg(long, value_name = "TIER")]
    pub(super) io: Option<Text>,
    /// Applications by path, as /echo=echo,/again=echo; other paths are
    /// answered 404. Kinds: echo [default: an echo on every path]
    #[arg(long, value_name = "PATH=KIND,...")]
    pub(super) service: Option<Text>,
    /// One listener per worker (SO_REUSEPORT) instead of one that all share
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) reuseport: Option<Text>,

    /// Subprotocols to choose from, as a,b: the first one that the client
    /// offers is chosen, and none if none of them is offered. `any`: its first
    /// one, whatever it is; `none`: never one, and then browsers that offer
    /// some fail the connection [default: any]
    #[arg(long, value_name = "LIST")]
    pub(super) subprotocol: Option<Text>,

    /// Open WebSockets of the whole server: one more is answered 503.
    /// 0 = no limit [default: 0]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(super) max_connections: Option<Text>,
    /// Longest message accepted [default: 16MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(super) max_message: Option<Text>,
    /// Longest frame accepted [default: as --max-message]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(super) max_frame: Option<Text>,
    /// Bytes queued for a peer above which reading from it pauses
    /// [default: 1MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(super) send_queue: Option<Text>,
    /// Longest head of a request, cookies and all (431 above, 414 when it is
    /// the target); held only while a head is incomplete [default: 32KiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(super) max_head: Option<Text>,
    /// Header fields of a request (431 above) [default: 128]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(super) max_headers: Option<Text>,
    /// Time for the opening handshake [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub(super) handshake_timeout: Option<Text>,
    /// Drop a peer that takes nothing of what is queued for it for this
    /// long; a slow reader stays; 0 = never [default: 1m]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub(super) write_timeout: Option<Text>,
    /// Close a connection with 1001 on which nothing arrived for this long
    /// (Pongs count); 0 = never [default: 0]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub(super) idle_timeout: Option<Text>,
    /// Ping a peer that was silent for this long, drop it after as long
    /// again; finds out peers behind proxies, which --keepalive does not,
    /// at about 6 us of CPU each time; 0 = never [default: 0]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub(super) ping_interval: Option<Text>,
    /// Time for the closing handshake, anew whenever the peer takes some of
    /// what is left for it [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub(super) close_timeout: Option<Text>,
    /// Time for connections to end after SIGINT or SIGTERM [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub(super) drain_timeout: Option<Text>,

    /// Send small frames at once: TCP_NODELAY [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = SOCKET)]
    pub(super) nodelay: Option<Text>,
    /// Congestion control: TCP_CONGESTION, e.g. bbr
    #[arg(long, value_name = "NAME", help_heading = SOCKET)]
    pub(super) congestion: Option<Text>,
    /// Receive buffer: SO_RCVBUF
    #[arg(long, value_name = "SIZE", help_heading = SOCKET)]
    pub(super) rcvbuf: Option<Text>,
    /// Send buffer: SO_SNDBUF
    #[arg(long, value_name = "SIZE", help_heading = SOCKET)]
    pub(super) sndbuf: Option<Text>,
    /// Probe a silent peer after this long: SO_KEEPALIVE, TCP_KEEPIDLE. The
    /// kernel does it, and no worker wakes up: a million idle connections
    /// cost 8,000 small packets per second; 0 = off [default: 2m]
    #[arg(long, value_name = "TIME", help_heading = SOCKET)]
    pub(super) keepalive: Option<Text>,
    /// Time between probes: TCP_KEEPINTVL [default: 15s]
    #[arg(long, value_name = "TIME", help_heading = SOCKET)]
    pub(super) keepalive_interval: Option<Text>,
    /// Unanswered probes until the peer is gone: TCP_KEEPCNT [default: 4]
    #[arg(long, value_name = "N", help_heading = SOCKET)]
    pub(super) keepalive_count: Option<Text>,
    /// Give up on unacknowledged data after this long: TCP_USER_TIMEOUT;
    /// 0 = off [default: as long as --keepalive takes in all, 3m, and no
    /// less than --write-timeout; off when one of them is]
    #[arg(long, value_name = "TIME", help_heading = SOCKET)]
    pub(super) user_timeout: Option<Text>,
    /// Accept only once the peer has sent something: TCP_DEFER_ACCEPT
    #[arg(long, value_name = "TIME", help_heading = SOCKET)]
    pub(super) defer_accept: Option<Text>,
    /// Unsent bytes above which a socket is not writable:
    /// TCP_NOTSENT_LOWAT
    #[arg(long, value_name = "SIZE", help_heading = SOCKET)]
    pub(super) notsent_lowat: Option<Text>,
    /// Pending fast-open connections: TCP_FASTOPEN
    #[arg(long, value_name = "N", help_heading = SOCKET)]
    pub(super) fastopen: Option<Text>,
    /// Largest segment: TCP_MAXSEG
    #[arg(long, value_name = "SIZE", help_heading = SOCKET)]
    pub(super) maxseg: Option<Text>,
    /// Busy-poll the device queue this long: SO_BUSY_POLL
    #[arg(long, value_name = "TIME", help_heading = SOCKET)]
    pub(super) busy_poll: Option<Text>,
}

const SOCKET: &str = "Sockets (set on the listener, inherited by connections)";

/// Options of one process: they have no place in a configuration file.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[rustfmt::skip] // one option per block, help first
pub(super) struct ProcessArgs {
    /// Read options from a TOML file, same names; the command line wins
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print the effective options as TOML that --config accepts, and exit
    #[arg(long)]
    pub(super) print_config: bool,
    /// Be a worker on this inherited listener
    #[arg(long, value_name = "N", help_heading = "Worker processes (set by the supervisor)")]
    pub(super) fd: Option<Text>,
    /// Pin this worker to a CPU
    #[arg(long, value_name = "N", help_heading = "Worker processes (set by the supervisor)")]
    pub(super) cpuid: Option<Text>,
}

/// The arguments of this process, without its name.
pub(super) fn original() -> Vec<OsString> {
    std::env::args_os().skip(1).collect()
}
