//! Both halves of one endpoint, and the connection state of RFC 6455 that follows from them.

use super::frame::Role;
use super::receiver::{Limits, Receiver};
use super::sender::Sender;

/// The life of a connection after its opening handshake (RFC 6455 §4.1, §7.1.3, §7.1.4).
///
/// ```text
///        Close sent or received, or the peer at fault          both done
///  Open ────────────────────────────────────────────▶ Closing ──────────▶ Closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Data flows.
    Open,
    /// One side has sent a Close or broken the protocol.
    Closing,
    /// Both sides have sent a Close. The caller may drop the TCP connection.
    Closed,
}

/// One endpoint after the opening handshake. The halves are separate fields, so that the caller can answer an event,
/// which borrows from the receiver, through the sender.
#[derive(Debug)]
pub struct WebSocket {
    /// What the peer sends.
    pub receiver: Receiver,
    /// What this endpoint sends.
    pub sender: Sender,
}

impl WebSocket {
    /// An endpoint on the side of `role`, [`State::Open`].
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self {
            receiver: Receiver::new(role, limits),
            sender: Sender::new(role),
        }
    }

    /// The same, with permessage-deflate agreed on ([`Receiver::with_compression`]).
    #[must_use]
    pub fn with_compression(mut self) -> Self {
        self.receiver = self.receiver.with_compression();
        self
    }

    /// Where the connection is in its life.
    pub fn state(&self) -> State {
        match (self.receiver.is_done(), self.sender.is_closed()) {
            (false, false) => State::Open,
            (true, true) => State::Closed,
            _ => State::Closing,
        }
    }
}
