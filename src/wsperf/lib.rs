//! wsperf: a load driver for WebSocket servers. It is an application in the client's role on Ringway's own worker.
//!
//! - [`load`]: scenarios, pacing, latency, what the server costs, reports.
//! - [`cli`]: the command line of `ringway wsperf`, and of `wsperf` as its own program.
//!
//! Dependencies point one way; `tests/it/tidy.rs` holds the table of who may name whom.
#![forbid(unsafe_code)]

pub mod cli;
pub mod load;

use ringway::{exit, io, options, proto, random, signals, time, worker};
