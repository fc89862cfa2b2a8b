//! The supervisor: binds the listeners, starts the workers on them, reads their reports, and replaces workers that die.
//!
//! **The rule behind everything here**: the other workers serve on whatever happens to one worker, to the output
//! (stdout, stderr, a paused pager), to the web port, or during a passing shortage (descriptors, memory, processes,
//! ENOMEM of io_uring_setup, EAGAIN of fork). From it follow:
//!
//! - A failed start is no death. It is tried again, with back-off and without end, while the other workers serve. Only
//!   before a seat has ever served may a refusal end the server, because then the user must act.
//! - A seat whose workers keep dying does not end the others. The server gives up only when all seats are like that.
//! - Descriptors for a start are kept in reserve (`reserve`). Visitors of the pages have a limit, timeouts, and their
//!   own thread (`web`).
//! - Output goes through `crate::lines`, which drops and counts lines when nobody reads them. The supervisor never
//!   waits for its reader.
//! - The loop waits at one place: for the next event, or the next instant at which something is due (`run`).
//!
//! - Orders to workers go through a channel of messages (`crate::control`). If the channel is full, closed or not
//!   answered, a signal is sent. Signals are for people and init systems: they mean the same to a supervisor and to a
//!   worker.
//!
//! Owns: the listening sockets, the worker processes, the statistics on stdout and the web pages.
//! Never: sees a byte of a client, maps the board, speaks WebSocket. It depends only on the lowest modules of the crate
//! (`stats`, `time`, `exit`, `lines`, `signals`, `control`, `bus`).
//!
//! ```text
//!             listen ── environment ── board          before any worker
//!                              │
//!  signals ─┐                  ▼                      ┌ policy
//!  workers ─┼─►  run (one loop) ── events ──► supervisor (decides; no process, descriptor or clock)
//!  children ┤     │      ▲                            │
//!  instants ┘     │      └────── actions ─────────────┘
//!                 ├─ wrapped (a program behind the workers) · guard (its port)
//!                 ├─ seat (one worker process each) · beside (bridge to a broker, web process) ── sidecar (each of them) · reserve
//!                 └─ fleet (figures) ── table · json ──► crate::lines (stdout)
//!                              └─ json · metrics ─► web (a thread of its own) ◄─► api ◄─► the workers' bus
//! ```
//!
//! The pages, `/metrics` and JSON lines are the feature `pages`. Without it, a program with an embedded server compiles
//! no web framework.
#![deny(unsafe_code)] // sys.rs alone is excepted

#[cfg(feature = "pages")]
mod api;
mod beside;
mod board;
mod environment;
mod error;
#[cfg_attr(
    not(feature = "pages"),
    expect(dead_code, reason = "some figures are for the pages alone")
)]
mod fleet;
mod guard;
#[cfg(feature = "pages")]
mod json;
mod listen;
#[cfg(feature = "pages")]
mod metrics;
mod options;
#[cfg(feature = "pages")]
mod page;
mod policy;
mod reserve;
mod run;
mod seat;
mod secrets;
mod sidecar;
mod supervisor;
mod sys;
mod table;
#[cfg(feature = "pages")]
mod web;
mod wrapped;

pub use board::{SLOT_LEN, VACANT, board};
pub use error::{error, note, warning};
pub use listen::Listeners;
pub use options::{
    Address, ApiOptions, Options, Origin, RespawnPolicy, WorkerCommand, WrapOptions,
};
pub use run::{Ended, run};
pub use wrapped::is_listened_to;
