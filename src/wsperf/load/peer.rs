//! The state of one connection in an echo.

use std::collections::VecDeque;

use crate::io::ConnId;
use crate::time::Instant;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) id: Option<ConnId>,
    /// When each unanswered message was due. The first of them has the number `received`.
    pub(super) due: VecDeque<Instant>,
    /// Messages sent so far, and answers received so far.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// The driver is closing or resetting the connection.
    pub(super) leaving: bool,
    /// The connection is not open, because the driver ended it.
    pub(super) ended_by_us: bool,
    /// How often the server has ended the connection since its last answer.
    pub(super) losses: u32,
    /// The connection never sends.
    pub(super) idle: bool,
    /// The connection reads slowly on purpose, so its latency says nothing about the server.
    pub(super) slow: bool,
    /// The connection is in the list of those that may have something to send.
    pub(super) touched: bool,
}

impl Peer {
    /// Prepares for a new connection with the same tag.
    pub(super) fn reset(&mut self) {
        self.due.clear();
        (self.id, self.sent, self.received, self.leaving) = (None, 0, 0, false);
    }
}
