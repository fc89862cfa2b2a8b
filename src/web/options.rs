//! What is served, and its limits: plain data.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ringway_proto::Network;

/// What is served, and its limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files, which come first. `None`: there are none.
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
    /// Whether there are proxies in front of the server that write them.
    pub is_forwarded: bool,
    /// Their addresses. Empty: every peer is one.
    pub proxies: Vec<Network>,
}

impl Trust {
    /// Whether this peer is a proxy whose word counts. `None`: the peer of a Unix socket.
    pub(crate) fn holds(&self, peer: Option<IpAddr>) -> bool {
        let is_proxy = |peer| self.proxies.iter().any(|proxy| proxy.contains(peer));
        self.is_forwarded && (self.proxies.is_empty() || peer.is_none_or(is_proxy))
    }
}
