//! The load driver: WebSocket clients on the same loop as the server, and what they measure.
//!
//! Owns: scenarios, pacing, latency, the accounting of driver and server, reports.
//! Never: parses a frame or makes a data-path system call itself (that is [`conn`](crate::conn), in the client's role).
#![forbid(unsafe_code)]

mod broadcast;
mod churn;
mod collected;
mod deck;
pub mod descriptors;
mod echo;
mod handshake;
mod judge;
mod machine;
mod massconnect;
mod meter;
pub mod options;
pub mod original;
pub mod outcome;
mod peer;
mod ramp;
pub mod report;
pub mod route;
pub mod run;
mod schedule;
mod shown;
mod summary;
mod thread;
pub mod truth;
