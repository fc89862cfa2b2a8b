//! RFC 6455 as a state machine: received bytes go in; events and bytes to send come out. One machine serves both roles.
//!
//! Owns: HTTP heads ([`http`]), the opening handshake on top of them ([`handshake`]), framing, masking, fragmentation,
//! UTF-8, the closing handshake, and every limit on them.
//! Never: reads a clock, touches a socket, logs, draws a random number, or allocates per frame.
//!
//! To drive a [`WebSocket`] once the opening handshake is done:
//! 1. Wrap the received bytes in an [`Input`].
//! 2. Call [`Receiver::poll_event`] until it returns `None`. Events borrow from the input; payloads are unmasked in
//!    place.
//! 3. On `Err` the peer broke the protocol: send a Close with [`Violation::close_code`], then drop the connection
//!    (RFC 6455 §7.1.7 *fail the connection*).
//! 4. Encode what the application wants to send with [`Sender::header`], [`Sender::control`] and [`Sender::close`]. The
//!    caller sends those bytes, and owns every queue and deadline.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod base64_stream;
pub mod bzip2;
mod close;
pub mod compression;
pub mod deflate;
mod event;
pub mod flash_policy;
pub mod frame;
pub mod handshake;
#[cfg(feature = "legacy")]
pub mod hixie;
pub mod http;
pub mod mask;
mod network;
#[cfg(any(feature = "bzip2", feature = "deflate", feature = "snappy"))]
mod progress;
pub mod proxy_protocol;
mod receiver;
mod sender;
pub mod snappy;
pub mod tap;
pub mod utf8;
mod violation;
mod websocket;

#[cfg(test)]
mod tests;

pub use close::CloseCode;
pub use event::{Chunk, Close, Event, Input, Message};
pub use frame::{Kind, Opcode, Role};
pub use network::{BadNetwork, Network, forwarded_for};
pub use receiver::{Limits, Receiver};
pub use sender::{CONTROL_FRAME_BYTES_MAX, Misuse, Sender};
pub use violation::Violation;
pub use websocket::{State, WebSocket};
