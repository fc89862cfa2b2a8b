//! The supervisor: binds the listener once, starts the workers on it, reads what they report, replaces what dies.
//!
//! **The rule behind everything here**: nothing that happens to one worker, to the output (stdout, stderr, a paused pager),
//! to the web port, or to a passing shortage (descriptors, memory, processes, ENOMEM of io_uring_setup, EAGAIN of fork) may
//! end or hold up what runs. From it follow:
//!
//! - A start that fails is no death: it is tried again, with back-off and without end, while the other workers serve. Only
//!   before a seat has ever served may a refusal end the server, because then it is the user's to mend.
//! - A seat whose workers keep dying is no reason to end the others. The server gives up when all seats are like that.
//! - Descriptors for a start are kept aside (`reserve`), and visitors of the pages have a cap, timeouts and a thread of
//!   their own (`web`).
//! - What is said goes through `crate::lines`: dropped and counted when nobody reads it, never waited for.
//! - The loop waits for one thing only: the next event, or the next instant at which something is due (`run`).
//!
//! - Workers are told through a channel of messages (`crate::control`), and by a signal where that is full, closed or not
//!   answered. Signals are for persons and init systems: they mean the same to a supervisor and to a worker.
//!
//! Owns: the listening sockets, the worker processes, the statistics on stdout and the web pages.
//! Never: sees a byte of a client, maps the board, knows WebSocket. Of the crate it sees the ground only (`stats`, `time`,
//! `exit`, `lines`, `signals`, `control`).
//!
//! ```text
//!             listen ── environment ── board          before any worker
//!                              │
//!  signals ─┐                  ▼                      ┌ policy
//!  workers ─┼─►  run (one loop) ── events ──► supervisor (decides; no process, descriptor or clock)
//!  children ┤     │      ▲                            │
//!  instants ┘     │      └────── actions ─────────────┘
//!                 ├─ seat (one worker process each) · reserve
//!                 └─ fleet (figures) ── table · json ──► crate::lines (stdout)
//!                              └─ json · metrics ─► web (a thread of its own)
//! ```
//!
//! The pages, `/metrics` and JSON lines are the feature `pages`: a program that embeds a server compiles no web framework.
#![deny(unsafe_code)] // sys.rs alone is excepted

mod board;
mod environment;
mod error;
#[cfg_attr(
    not(feature = "pages"),
    expect(dead_code, reason = "some figures are for the pages alone")
)]
mod fleet;
#[cfg(feature = "pages")]
mod json;
mod listen;
#[cfg(feature = "pages")]
mod metrics;
mod options;
mod policy;
mod reserve;
mod run;
mod seat;
mod supervisor;
mod sys;
mod table;
#[cfg(feature = "pages")]
mod web;

pub use board::{SLOT_LEN, VACANT, board};
pub use error::{error, note, warning};
pub use listen::Listeners;
pub use options::{Address, Options, Origin, RespawnPolicy, WorkerCommand};
pub use run::run;
