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
//!            octets  turn     frames, in place   your code     reply in place   headers         one send
//! ```
//!
//! - [`time`]: one monotonic instant, always an argument. [`random`]: numbers that a seed decides.
//! - [`proto`]: RFC 6455 without I/O: HTTP heads, opening handshake, framing, masking, UTF-8, closing handshake; both roles.
//! - [`io`]: the [`Io`](io::Io) trait and what implements it: [`io::uring`], [`io::epoll`]; the data path's only `unsafe`.
//! - [`conn`]: connections, timers, send queues, accepting; the [`Worker`](conn::Worker) and its turn; the
//!   [`App`](conn::App) interface.
//! - [`app`]: applications that come with Ringway: [`Echo`](app::Echo).
//! - [`load`]: the load driver, clients on the same worker: scenarios, pacing, latency, what the server costs, reports.
//! - [`stats`]: counters, turn-time histograms, the record that crosses the pipe.
//! - [`supervise`]: binds, spawns, respawns, prints, serves the pages.
//! - [`options`], [`cli`], [`exit`]: what was typed, what it means, how a process ends.
//! - [`tune`]: the kernel's knobs as data (`tuning/`), a check of this machine, changes with a way back, measurements.
//! - [`worker`]: the worker process: pin, adopt what was inherited, choose the I/O tier, turn the loop, report.
//!
//! Dependencies point one way; `tests/it/tidy.rs` holds the table of who may name whom.

// The ring's structures, file offsets and lengths are used as `usize` throughout.
const _: () = assert!(usize::BITS == 64, "Ringway is for 64-bit Linux");

pub mod app;
pub mod cli;
pub mod conn;
pub mod exit;
pub mod io;
pub mod load;
pub mod options;
pub mod proto;
pub mod random;
pub mod stats;
pub mod supervise;
pub mod time;
pub mod tune;
pub mod worker;
