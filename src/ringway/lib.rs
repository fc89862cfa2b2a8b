//! Ringway: a multicore WebSocket server suite on io_uring.
//!
//! ```text
//!              supervisor  (no client byte ever passes through it)
//!              │  binds the listener once, spawns workers that inherit it, reads one stats pipe per worker
//!   ┌──────────┼───────────────┐
//!  worker 0  worker 1   …   worker N-1     one process = one thread = one ring = one pinned core
//!   └─ accept ─ recv ─ parse ─ app ─ send
//! ```
//!
//! What a message meets on its way, and which module that is:
//!
//! ```text
//!  socket ─▶ io ─▶ worker ─▶ proto::Receiver ─▶ App ─▶ Context ─▶ proto::Sender ─▶ conn ─▶ io ─▶ socket
//!            bytes  turn       frames, in place   your code        headers, in place  one send
//! ```
//!
//! - [`time`]: one monotonic instant, always an argument. [`random`]: numbers that a seed decides.
//! - [`proto`]: RFC 6455 without I/O: HTTP heads, opening handshake, framing, masking, UTF-8, closing handshake; both roles.
//! - [`io`]: the [`Io`](io::Io) trait and what implements it: [`io::uring`], [`io::epoll`]; the data path's only `unsafe`.
//! - `conn`: what a connection is bound to: descriptor, what is armed, send queue, flow control, deadline, ending.
//! - `protocol`: what it speaks, and what an application is told of it: opening handshake, WebSocket, [`App`], [`Context`].
//! - [`worker`]: the loop: the turn of a [`Worker`](worker::Worker), accepting, timeouts, the one place where connections end.
//! - [`services`]: applications that come with Ringway: [`Echo`], and several of them on one port.
//! - [`stats`]: counters, turn-time histograms, the record that crosses the pipe.
//! - [`supervise`]: binds, spawns, respawns, prints, serves the pages.
//! - [`options`], [`exit`]: what a server was told, how a process ends. [`signals`]: what each one means.
//! - [`lines`]: what a server says on stdout and stderr, without waiting for whoever reads it.
//! - [`server`]: a server of one's own, on processes or threads, and the worker process; [`seat`]: what makes a process a worker.
//!
//! Dependencies point one way; `tests/it/tidy.rs` holds the table of who may name whom.

// The ring's structures, file offsets and lengths are used as `usize` throughout.
const _: () = assert!(usize::BITS == 64, "Ringway is for 64-bit Linux");

mod conn;
#[doc(hidden)]
pub mod control;
pub mod exit;
#[doc(hidden)]
pub mod io;
#[doc(hidden)]
pub mod lines;
pub mod options;
mod protocol;
#[doc(hidden)]
pub mod random;
#[doc(hidden)]
pub mod seat;
pub mod server;
pub mod services;
#[doc(hidden)]
pub mod signals;
pub mod stats;
#[doc(hidden)]
pub mod supervise;
pub mod time;
#[doc(hidden)]
pub mod worker;

pub use ringway_proto as proto;

pub use exit::{Exit, Fatal};
pub use io::{ConnId, ConnectOptions};
pub use options::{Backlog, IoChoice, Limits, ServerOptions, SocketOptions};
pub use proto::{CloseCode, Kind, Message, Misuse, Role, Violation};
pub use protocol::{
    App, Closed, Commands, Context, Failure, Handle, Masking, Opening, OpeningRequest, Prepared,
    Scope, SendError, TooMuch, Verdict,
};
pub use server::{Place, Running, Server, ServerOfServices};
pub use services::{Echo, Services};
pub use stats::Counters;
