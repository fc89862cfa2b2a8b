//! What is served, and its limits: plain data.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ringway_proto::Network;

use crate::passwords::Passwords;

/// What is served, and its limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who gets an answer: everybody else gets 401. `None`: everybody does.
    pub users: Option<Passwords>,
    /// CGI programs, which come first. `None`: there are none.
    pub cgi: Option<CgiOptions>,
    /// Files, which come next. `None`: there are none.
    pub files: Option<FileOptions>,
    /// Pages that are in memory, behind the files.
    pub pages: Vec<Page>,
    /// The application that gets all other requests. `None`: they are answered 404.
    pub upstream: Option<Upstream>,
    /// Time for a connect to the application, and in which it must take or send something (504).
    pub upstream_timeout: Duration,
    /// Connections that are served at a time, at least one. Further ones wait until they are accepted.
    pub connections_max: usize,
    /// Time for the head of a request, between two requests, and in which a client must send something of a body (408).
    pub idle_timeout: Duration,
    /// Bytes of a request's head; beyond it, 431. hyper needs 8 KiB.
    pub head_bytes_max: usize,
    /// Fields of a request's head; beyond it, 431.
    pub headers_max: usize,
    /// Fields that every answer has, name and value. They replace those of the application.
    pub headers: Vec<(String, String)>,
    /// The `Server` field of every answer; empty for none.
    pub server_name: String,
    /// Whose word about the client counts.
    pub trust: Trust,
    /// Time that requests have to end once the process is told to.
    pub drain_timeout: Duration,
}

/// Files.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The directory. Nothing outside of it is served, wherever its symbolic links lead to.
    pub dir: PathBuf,
    /// Whether a directory without index.html is listed; else it is answered 404.
    pub listing: bool,
    /// The `Cache-Control` field of files; empty for none.
    pub cache_control: String,
}

/// CGI programs.
#[derive(Clone, Debug)]
pub struct CgiOptions {
    /// The directory. Nothing outside of it is run, wherever its symbolic links lead to.
    pub dir: PathBuf,
    /// Variables of our own environment that programs get beside those of CGI.
    pub pass_env: Vec<String>,
    /// Programs that run at a time; beyond it, 503.
    pub processes_max: usize,
    /// When nobody wants a program any more: times from the end of its input to SIGINT, from there to SIGTERM, and from there to SIGKILL,
    /// all of them to its process group.
    pub kill_after: [Duration; 3],
    /// Time in which a program must take or send something (504), and to exit after its answer.
    pub timeout: Duration,
}

/// A page that is in memory. It is served below every path, so that it works behind a proxy that adds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last segment of its paths; empty: that of a directory.
    pub name: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// What is in it.
    pub body: &'static [u8],
}

/// Where an application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// `host:port`; the host is a name or an address, IPv6 in brackets.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Whose `X-Forwarded-…` fields are passed on, as the workers trust them.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// How many proxies in front of the server write them. `None`: there are none.
    pub forwarded_by: Option<usize>,
    /// Their addresses. Empty: every peer is one.
    pub proxies: Vec<Network>,
}

impl Trust {
    /// Whether this peer is a proxy whose word counts. `None`: the peer of a Unix socket.
    pub(crate) fn holds(&self, peer: Option<IpAddr>) -> bool {
        let is_proxy = |peer| self.proxies.iter().any(|proxy| proxy.contains(peer));
        self.forwarded_by.is_some() && (self.proxies.is_empty() || peer.is_none_or(is_proxy))
    }
}
