//! Both halves of one endpoint, and the state of RFC 6455 that they add up to.

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
    /// One side has ended.
    Closing,
    /// Both sides have; the TCP connection may be dropped.
    Closed,
}

/// One endpoint after the opening handshake. The halves are separate fields so that an event that borrows from the
/// receiver can be answered through the sender.
#[derive(Debug)]
pub struct WebSocket {
    /// What the peer says.
    pub receiver: Receiver,
    /// What we say.
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

    /// Where the connection is in its life.
    pub fn state(&self) -> State {
        match (self.receiver.is_done(), self.sender.is_closed()) {
            (false, false) => State::Open,
            (true, true) => State::Closed,
            _ => State::Closing,
        }
    }
}
