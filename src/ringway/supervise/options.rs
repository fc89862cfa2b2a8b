//! What the supervisor is told: plain data, resolved by its caller.
//!
//! Owns: the types. Never: parses, resolves names, opens anything.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::options::{Backlog, Format, SocketOptions};

/// Everything the supervisor needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub address: Address,
    /// Length of the accept queue.
    pub backlog: Backlog,
    /// Who chose that: only the user is told when the kernel grants less.
    pub backlog_origin: Origin,
    /// One listener per worker with SO_REUSEPORT.
    pub reuseport: bool,
    /// What the listener hands on to accepted sockets.
    pub socket: SocketOptions,
    /// Workers to run, at least one.
    pub workers: usize,
    /// Whether each worker is pinned to one CPU.
    pub affinity: bool,
    /// Connections that one worker must be able to hold, if that is known: checked against RLIMIT_NOFILE.
    pub worker_connections: Option<usize>,
    /// How a worker is started.
    pub command: WorkerCommand,
    /// Which deaths of workers are answered with a new one.
    pub respawn: RespawnPolicy,
    /// Time that workers have to drain after SIGTERM.
    pub drain_timeout: Duration,
    /// How often statistics are printed.
    pub interval: Duration,
    /// How things are printed.
    pub format: Format,
    /// Print nothing on stdout.
    pub silence: bool,
    /// Print statistics on stdout, not only where the server listens.
    pub statistics: bool,
    /// Where the web pages are, and on which address; `None` = no pages.
    pub web: Option<SocketAddr>,
    /// Who chose that: without the user's word the server runs without pages when the port is taken.
    pub web_origin: Origin,
    /// The effective configuration as the web page shows it: one pair per option.
    pub settings: Vec<(String, String)>,
}

/// Who chose a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is the default.
    Default,
    /// Whoever wrote the command line or the configuration file.
    User,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP; the first of these that this machine has. More than one when a name has several addresses.
    Tcp(Vec<SocketAddr>),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// How a worker is started: `program arguments… --fd N …`.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The program, as `argv[0]` names it; what is executed is this very binary (`/proc/self/exe`).
    pub name: OsString,
    /// The original arguments, with which the supervisor was started.
    pub arguments: Vec<OsString>,
    /// The effective configuration as a file's text: workers read it instead of the configuration file, so that one
    /// that is replaced later runs with the options of its siblings although the file was edited since.
    pub config: String,
}

/// Which deaths of workers are answered with a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespawnPolicy {
    /// None: the first death ends the server.
    Never,
    /// Back-off from `delay_min`, doubled at each death up to `delay_max`, and back to the start after a worker that
    /// lived for `stable_after`. `deaths_max` deaths of one seat within `window` end the server.
    Limited {
        /// First delay.
        delay_min: Duration,
        /// Longest delay.
        delay_max: Duration,
        /// A life that counts as success.
        stable_after: Duration,
        /// Deaths of one seat that are too many.
        deaths_max: usize,
        /// The time within which they are counted.
        window: Duration,
    },
}

impl Default for RespawnPolicy {
    /// Chosen, untested: quick enough that a client's first retry finds a worker, slow enough not to burn a core.
    fn default() -> Self {
        Self::Limited {
            delay_min: Duration::from_millis(100),
            delay_max: Duration::from_secs(5),
            stable_after: Duration::from_secs(10),
            deaths_max: 5,
            window: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two workers on any port of 127.0.0.1, without pages.
    pub(in crate::supervise) fn options() -> Options {
        Options {
            address: Address::Tcp(vec![SocketAddr::from(([127, 0, 0, 1], 0))]),
            backlog: Backlog::Depth(16),
            backlog_origin: Origin::Default,
            reuseport: false,
            socket: SocketOptions::default(),
            workers: 2,
            affinity: true,
            worker_connections: None,
            command: WorkerCommand {
                name: "worker".into(),
                arguments: Vec::new(),
                config: String::new(),
            },
            respawn: RespawnPolicy::Never,
            drain_timeout: Duration::ZERO,
            interval: Duration::from_secs(5),
            format: Format::Table,
            statistics: true,
            silence: false,
            web: None,
            web_origin: Origin::Default,
            settings: Vec::new(),
        }
    }
}
