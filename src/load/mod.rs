//! The load driver: WebSocket clients on the same loop as the server, and what they measure.
//!
//! Owns: scenarios, pacing, latency, the accounting of driver and server, reports.
//! Never: parses a frame or makes a data-path system call itself (that is [`conn`](crate::conn), in the client's role).
#![forbid(unsafe_code)]

pub mod options;
pub mod original;
pub mod outcome;
