//! The load driver: WebSocket clients on the same event loop as the server, and the measurement of what they see.
//!
//! Owns: scenarios, pacing, latency, the accounting of driver and server, reports.
//! Never: parses a frame or makes a data-path system call itself (that is [`worker`](crate::worker), in the client's role).
#![forbid(unsafe_code)]

pub mod addresses;
mod broadcast;
mod cast;
mod churn;
mod collected;
pub mod compat;
pub mod descriptors;
mod echo;
mod fanout;
mod handshake;
mod machine;
mod massconnect;
mod meter;
mod notes;
pub mod observer;
pub mod options;
mod options_text;
pub mod outcome;
mod payloads;
mod peer;
pub mod preliminary;
mod pubsub;
mod ramp;
mod replay;
pub mod report;
pub mod route;
pub mod run;
mod schedule;
mod summary;
mod thread;
pub mod tier;
pub mod tls;
