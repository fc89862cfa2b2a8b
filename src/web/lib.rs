//! The web process: HTTP for requests that open no WebSocket, on connections that workers relay to a Unix socket.
//!
//! Owns: HTTP/1.1 on these connections, who may have an answer, CGI programs, files below a directory, the way to an application. Never:
//! speaks TLS or WebSocket, which the workers do; opens the socket, prints.
//!
//! ```text
//!  client ══ worker ── Unix socket ──▶ connection ──▶ auth ──▶ answer ─┬─▶ cgi ────▶ a process
//!            (TLS)     PROXY header,                                   ├─▶ files ──▶ a directory
//!                      then the client's bytes                         └─▶ proxy ──▶ an application
//! ```
//!
//! - `connection`: accepts, serves requests one after another. Its limits are in [`Options`]. `peer`: the PROXY header.
//! - `answer`: which of the three answers a request, and what every answer carries.
//! - `auth`, [`passwords`]: users and their hashed passwords, which a gateway's WebSockets have, too.
//! - [`cgi`]: processes, and the heads that they answer with. [`scripts`], [`environment`]: which program a path names and what it is told,
//!   which programs of a gateway's WebSockets share; and [`stderr`], which goes to the log.
//! - `files`, `listing`: files and directories, none of them outside of the directory.
//! - `proxy`, `upstream`, `forward`: requests to an application and its answers, streamed both ways; what it is told of the client.
//! - `counts`: what was served and what failed.
//!
//! A connection takes about 20 KiB while it waits for a request, and at most [`Options::head_bytes_max`] (no less than 64 KiB) each way
//! while a body passes. Whoever is slow is waited for: bodies are read no faster than they are taken.
#![forbid(unsafe_code)]

mod answer;
mod auth;
mod body;
#[doc(hidden)]
pub mod cgi;
mod connection;
mod counts;
#[doc(hidden)]
pub mod environment;
mod files;
mod forward;
mod listing;
mod options;
#[doc(hidden)]
pub mod passwords;
mod peer;
mod proxy;
#[doc(hidden)]
pub mod scripts;
#[doc(hidden)]
pub mod stderr;
mod upstream;

pub use connection::serve;
pub use counts::Counts;
pub use options::{CgiOptions, FileOptions, Options, Page, Trust, Upstream};
pub use passwords::Passwords;
