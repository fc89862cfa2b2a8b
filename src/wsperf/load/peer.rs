//! One connection of an echo, as its script and its misbehaviour see it.

use std::collections::VecDeque;

use crate::io::ConnId;
use crate::time::Instant;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) id: Option<ConnId>,
    /// When each message that is not answered was due; the first of them `received`.
    pub(super) due: VecDeque<Instant>,
    /// Messages handed to the socket, and answers.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// We are closing or resetting it ourselves.
    pub(super) leaving: bool,
    /// It is not open because we ended it ourselves.
    pub(super) ended_by_us: bool,
    /// Times that the server ended it since it last answered.
    pub(super) losses: u32,
    /// It never sends.
    pub(super) idle: bool,
    /// It reads slowly, on purpose: its latency is not the server's.
    pub(super) slow: bool,
    /// In the list of those that may have something to send.
    pub(super) touched: bool,
}

impl Peer {
    /// A new connection in its place.
    pub(super) fn reset(&mut self) {
        self.due.clear();
        (self.id, self.sent, self.received, self.leaving) = (None, 0, 0, false);
    }
}
