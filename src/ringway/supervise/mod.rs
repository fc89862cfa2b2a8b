//! The supervisor: binds the listener once, starts the workers on it, reads what they report, replaces what dies.
//!
//! Owns: the listening sockets, the worker processes, the statistics on stdout and the web pages.
//! Never: sees an octet of a client, maps the board, knows WebSocket. Of the crate it sees `stats`, `time` and `exit`.
//!
//! ```text
//!             listen ── environment ── board          before any worker
//!                              │
//!  signals ─┐                  ▼
//!  ticks  ──┼─ Event ──►  run (one loop)  ── fleet (figures) ── table · json ──► output (stdout)
//!  seats  ──┘                  │  policy                     └─ json · metrics ─► web
//!    └ one task per worker: reads its pipe, reaps it, signals it
//! ```
#![deny(unsafe_code)] // sys.rs alone is excepted

mod board;
mod environment;
mod error;
mod fleet;
mod json;
mod listen;
mod metrics;
mod options;
mod output;
mod policy;
mod run;
mod seat;
mod sys;
mod table;
mod web;

pub use board::{SLOT_LEN, VACANT, board};
pub use error::{error, note, warning};
pub use listen::Listeners;
pub use options::{
    Address, Backlog, Format, Options, RespawnPolicy, SocketOptions, WebPort, WorkerCommand,
};
pub use run::run;
