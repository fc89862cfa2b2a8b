//! Connections without what they speak: bytes in, bytes out, flow control, deadlines, ending.
//!
//! Owns: the table of connections, their [links](link::Link), the wheel of their deadlines, the outbox, the send queues
//! and TLS.
//! Never: knows what a connection speaks, or makes a system call itself.
#![forbid(unsafe_code)]

pub(crate) mod blocks;
pub(crate) mod buffers;
pub(crate) mod core;
pub(crate) mod link;
pub(crate) mod outbox;
pub(crate) mod output;
pub(crate) mod queue;
mod receive;
mod seal;
pub(crate) mod send;
pub(crate) mod spill;
pub(crate) mod table;
pub(crate) mod timers;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
pub(crate) mod tls;
#[cfg(feature = "tls")]
pub(crate) mod tls;
