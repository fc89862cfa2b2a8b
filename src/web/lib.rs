//! The web process: HTTP for requests that open no WebSocket, on connections that workers relay to a Unix socket.
//!
//! Owns: HTTP/1.1 on these connections, files below a directory, the way to an application. Never: speaks TLS or WebSocket, which the
//! workers do; opens the socket, starts a process, prints.
//!
//! ```text
//!  client ══ worker ── Unix socket ──▶ connection ──▶ answer ─┬─▶ files ──▶ a directory
//!            (TLS)     PROXY header,                          └─▶ proxy ──▶ an application
//!                      then the client's bytes
//! ```
//!
//! - `connection`: accepts, serves requests one after another. Its limits are in [`Options`]. `peer`: the PROXY header.
//! - `answer`: which of the two answers a request, and what every answer carries.
//! - `files`, `listing`: files and directories, none of them outside of the directory.
//! - `proxy`, `upstream`, `forward`: requests to an application and its answers, streamed both ways; what it is told of the client.
//! - `counts`: what was served and what failed.
//!
//! A connection takes about 20 KiB while it waits for a request, and at most [`Options::head_bytes_max`] (no less than 64 KiB) each way
//! while a body passes. Whoever is slow is waited for: bodies are read no faster than they are taken.
#![forbid(unsafe_code)]

mod answer;
mod body;
mod connection;
mod counts;
mod files;
mod forward;
mod listing;
mod options;
mod peer;
mod proxy;
mod upstream;

pub use connection::serve;
pub use counts::Counts;
pub use options::{FileOptions, Options, Page, Trust, Upstream};
