//! The supervisor's options: plain data, which its caller has resolved.
//!
//! Owns: the types. Never: parses, resolves names, opens anything.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::bus::Plan;
use crate::exit::Fatal;
use crate::options::{Application, Backlog, Format, ServerOptions, SocketOptions, WrapMode};
use crate::tls::TlsSupply;

/// The supervisor's options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, at least one place.
    pub addresses: Vec<Address>,
    /// Whether what is accepted there is no WebSocket but a stream: the start-up line says tcp: and unix: then.
    pub accepts_streams: bool,
    /// Length of the accept queue, connections.
    pub backlog: Backlog,
    /// Who chose the backlog. If the kernel grants less, only a user's choice is worth a warning.
    pub backlog_origin: Origin,
    /// Whether each worker has its own listener (SO_REUSEPORT).
    pub reuseport: bool,
    /// Options of the listener, which accepted sockets inherit.
    pub socket: SocketOptions,
    /// Workers to run, at least one.
    pub workers: usize,
    /// Whether each worker is pinned to one CPU.
    pub affinity: bool,
    /// Connections that one worker must be able to hold, checked against RLIMIT_NOFILE. `None`: unknown, not checked.
    pub worker_connections: Option<usize>,
    /// The command that starts a worker.
    pub command: WorkerCommand,
    /// Which deaths of workers lead to a replacement.
    pub respawn: RespawnPolicy,
    /// Time that workers have to drain after SIGTERM. The supervisor kills a worker five seconds later.
    pub drain_timeout: Duration,
    /// Time between two prints of the statistics.
    pub interval: Duration,
    /// Form of the start-up line and of the statistics.
    pub format: Format,
    /// Print nothing on stdout.
    pub silence: bool,
    /// Whether to print statistics on stdout. The start-up line is printed in any case.
    pub statistics: bool,
    /// Address of the web pages; `None`: no pages.
    pub web: Option<SocketAddr>,
    /// Who chose the pages' address. If its port is taken and the user did not choose it, the server runs without
    /// pages.
    pub web_origin: Origin,
    /// What workers need for TLS. `None`: there is none.
    pub tls: Option<TlsSupply>,
    /// The bus of the workers, if they have one.
    pub bus: Option<Plan>,
    /// Connections that the web process serves at a time, if there is one: as many again wait in its queue.
    pub web_process: Option<usize>,
    /// The HTTP API on the port of the pages, if there is one.
    pub api: Option<ApiOptions>,
    /// The services that come with Ringway, by their paths as they are found on the bus: empty for one on every path. No entry for an
    /// application of somebody's own.
    pub services: Vec<(String, Application)>,
    /// The effective configuration as the web page shows it: one pair per option.
    pub settings: Vec<(String, String)>,
    /// The program that runs beside the workers, if there is one.
    pub wrapped: Option<WrapOptions>,
}

/// A program that runs beside the workers, and listens where they connect to (`docs/wrap.md`).
#[derive(Clone, Debug)]
pub struct WrapOptions {
    /// The program and its arguments, at least one word.
    pub command: Vec<OsString>,
    /// Variables that it gets beside ours.
    pub environment: Vec<(OsString, OsString)>,
    /// What its end means.
    pub mode: WrapMode,
    /// The port of the loopback on which it comes to listen.
    pub port: u16,
    /// Whether what it writes is dropped. Otherwise it is written to our standard error.
    pub is_quiet: bool,
}

/// The HTTP API.
#[derive(Clone)]
pub struct ApiOptions {
    /// What those who ask have to show.
    pub key: String,
}

impl std::fmt::Debug for ApiOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        f.debug_struct("ApiOptions").finish_non_exhaustive()
    }
}

impl ApiOptions {
    /// Fewest bytes of the key.
    pub const KEY_BYTES_MIN: usize = 16;

    /// The API of a server, with the key from its file.
    ///
    /// # Errors
    /// [`Fatal`]: there is no key in the file.
    pub fn load(options: &ServerOptions) -> Result<Option<Self>, Fatal> {
        let Some(file) = &options.api_key else {
            return Ok(None);
        };
        let wrong = |why: String| Fatal::usage(format!("--api-key {}: {why}", file.display()));
        let text = std::fs::read_to_string(file)
            .map_err(|error| wrong(format!("{error}; give a file that this user can read")))?;
        let key = text.lines().next().unwrap_or_default().trim();
        if key.len() < Self::KEY_BYTES_MIN || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let least = Self::KEY_BYTES_MIN;
            return Err(wrong(format!(
                "its first line is no key of at least {least} ASCII characters; `openssl rand -hex 32` makes one"
            )));
        }
        Ok(Some(Self {
            key: key.to_owned(),
        }))
    }
}

/// Who chose a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the default.
    Default,
    /// The user, on the command line or in the configuration file.
    User,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP, on the first of these addresses that this machine has. A name may have several.
    Tcp(Vec<SocketAddr>),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// The listening socket that is the standard input: it belongs to who has started this program, and stays open at the end.
    Input,
}

/// The command that starts a worker: `program arguments… --fd N …`.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The program's name for `argv[0]`. The executed file is this binary (`/proc/self/exe`).
    pub name: OsString,
    /// The original arguments, with which the supervisor was started.
    pub arguments: Vec<OsString>,
    /// The effective configuration, as the text of a file. Workers read it instead of the configuration file. So a
    /// later replacement has the same options as the other workers, even if the file has changed.
    pub config: String,
}

/// Which deaths of workers lead to a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespawnPolicy {
    /// None. The first death ends the server.
    Never,
    /// All, with back-off. The delay begins at `delay_min`, doubles with each death up to `delay_max`, and is reset by
    /// a worker that lived for `stable_after`. A seat with `deaths_max` deaths within `window` has failed. One failed
    /// seat ends a server that is still starting; later, the server ends when all seats have failed.
    Limited {
        /// First delay.
        delay_min: Duration,
        /// Longest delay.
        delay_max: Duration,
        /// Life of a worker that counts as success.
        stable_after: Duration,
        /// Deaths of one seat within `window` that count as failure.
        deaths_max: usize,
        /// Time in which these deaths are counted.
        window: Duration,
    },
}

impl Default for RespawnPolicy {
    /// Chosen, untested. Short enough that a client's first retry finds a worker, long enough not to burn a core.
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
            addresses: vec![Address::Tcp(vec![SocketAddr::from(([127, 0, 0, 1], 0))])],
            accepts_streams: false,
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
            tls: None,
            bus: None,
            web_process: None,
            api: None,
            services: Vec::new(),
            settings: Vec::new(),
            wrapped: None,
        }
    }
}
