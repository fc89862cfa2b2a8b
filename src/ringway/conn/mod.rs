//! Connections: the one place where bytes from [`io`](crate::io) and frames of [`proto`](crate::proto) meet.
//!
//! Owns: the table of connections, their timers, their send queues, accepting, connecting, and the turn of the loop.
//! Never: makes a system call itself, or knows how a frame is encoded.
//!
//! How often a payload byte of an echoed message is touched in user space:
//!
//! | message | receive | unmask and validate | send |
//! |---|---|---|---|
//! | whole in a receive buffer | kernel writes it | once, in place; from the second message of a receive on (up to 64 KiB each) moved left as well: in the same pass up to 32 bytes, in one more above | from the same buffer, all answers in one piece |
//! | whole in the hot buffer (bulk) | kernel writes it | the same | from the same buffer |
//! | larger than what one receive brings | kernel writes it to the message's own memory; what came with the header is copied there once | once, in place | from there |
//! | prepared ([`Context::send_prepared`]) | – | encoded and masked once, when it is prepared | from the block it lies in |
//! | to a peer that does not keep up | as above | as above | copied once, to that peer's queue; prepared ones of more than 64 KiB, and of more than 4 KiB behind a queue, never |
#![forbid(unsafe_code)]

mod app;
mod blocks;
mod buffers;
mod clock;
mod commands;
mod config;
mod connect;
mod connection;
mod context;
mod feed;
mod handle;
mod keys;
mod lifecycle;
mod listener;
mod opening;
mod outbox;
mod page;
mod prepared;
mod queue;
mod receive;
mod refusal;
mod spill;
mod table;
#[cfg(test)]
mod tests;
mod tidy;
mod timers;
mod transmit;
mod worker;

pub use app::{App, Closed, Scope};
pub use commands::Commands;
pub use config::Config;
pub use connect::{Failure, OpeningRequest};
pub use context::{Context, SendError};
pub use handle::Handle;
pub use keys::Masking;
pub use listener::Listener;
pub use opening::{Opening, Verdict};
pub use prepared::{Prepared, TooMuch};
pub use refusal::Refused;
pub use worker::Worker;
