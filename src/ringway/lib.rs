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
//!  socket ─▶ io ─▶ conn ─▶ proto::Receiver ─▶ conn::App ─▶ conn::Context ─▶ proto::Sender ─▶ io ─▶ socket
//!            bytes  turn     frames, in place   your code     reply in place   headers         one send
//! ```
//!
//! - [`time`]: one monotonic instant, always an argument. [`random`]: numbers that a seed decides.
//! - [`proto`]: RFC 6455 without I/O: HTTP heads, opening handshake, framing, masking, UTF-8, closing handshake; both roles.
//! - [`io`]: the [`Io`](io::Io) trait and what implements it: [`io::uring`], [`io::epoll`]; the data path's only `unsafe`.
//! - [`conn`]: connections, timers, send queues, accepting; the [`Worker`](conn::Worker) and its turn; the
//!   [`App`] interface.
//! - [`services`]: applications that come with Ringway: [`Echo`], and several of them on one port.
//! - [`stats`]: counters, turn-time histograms, the record that crosses the pipe.
//! - [`supervise`]: binds, spawns, respawns, prints, serves the pages.
//! - [`options`], [`exit`]: what a server was told, how a process ends. [`signals`]: what each one means.
//! - [`lines`]: what a server says on stdout and stderr, without waiting for whoever reads it.
//! - [`server`]: a server of one's own, on processes or threads; [`seat`]: what makes a process a worker.
//! - [`worker`]: the worker process: pin, adopt what was inherited, choose the I/O tier, turn the loop, report.
//!
//! Dependencies point one way; `tests/it/tidy.rs` holds the table of who may name whom.

// The ring's structures, file offsets and lengths are used as `usize` throughout.
const _: () = assert!(usize::BITS == 64, "Ringway is for 64-bit Linux");

#[doc(hidden)]
pub mod conn;
#[doc(hidden)]
pub mod control;
pub mod exit;
#[doc(hidden)]
pub mod io;
#[doc(hidden)]
pub mod lines;
pub mod options;
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

pub use conn::{
    App, Closed, Commands, Context, Failure, Handle, Masking, Opening, OpeningRequest, Prepared,
    Scope, SendError, TooMuch, Verdict,
};
pub use exit::{Exit, Fatal};
pub use io::{ConnId, Dial};
pub use options::{Backlog, IoChoice, Limits, ServerOptions, SocketOptions};
pub use proto::{CloseCode, Kind, Message, Misuse, Role, Violation};
pub use server::{Running, Server, ServerOfServices};
pub use services::{Echo, Services};
pub use stats::Counters;
pub use worker::Place;
