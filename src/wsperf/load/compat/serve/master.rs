//! The client's role: the control server connects to a master, which sends commands over the subprotocol `wsperf`.
//!
//! Owns: when to connect, and whether to retry. Never: parses a command; [`Control`](super::control::Control) does, in
//! either role.

use std::time::Duration;

use super::super::run::{Destination, HANDSHAKE_TIMEOUT, Way};
use crate::time::{self, Instant};
use crate::worker::{Failure, Handle};

/// The connection to a master.
#[derive(Debug)]
pub(super) struct Master {
    way: Way,
    /// The index of the address.
    place: usize,
    /// Time before a retry. None: no retry.
    reconnect: Option<Duration>,
    /// When to connect. None: it is connected, or given up.
    due: Option<Instant>,
    over: bool,
}

impl Master {
    /// A connection that is due at once.
    pub(super) fn new(destination: &Destination, reconnect: Option<Duration>) -> Self {
        Self {
            way: Way::new(destination),
            place: 0,
            reconnect,
            due: Some(Instant::ZERO),
            over: false,
        }
    }

    /// Begins the connection that is due.
    pub(super) fn connect(&mut self, reach: &mut Handle<'_>) {
        if self.due.is_none_or(|due| reach.now() < due) {
            return;
        }
        self.due = None;
        match self.way.connect(reach, self.place, 0) {
            Ok((_, place)) => self.place = place,
            Err(why) => self.lost(&why),
        }
    }

    /// The address took the connection.
    pub(super) fn connected(&mut self) {
        self.way.connected(self.place);
    }

    /// Handles a connection that did not open: the next address is tried at once.
    pub(super) fn failed(&mut self, failed: &Failure) {
        match self.way.failed(self.place, failed, HANDSHAKE_TIMEOUT) {
            Ok(next) => (self.place, self.due) = (next, Some(Instant::ZERO)),
            Err(why) => self.lost(&why),
        }
    }

    /// Handles the loss of the connection, or that none of the addresses could be reached.
    pub(super) fn lost(&mut self, why: &str) {
        tracing::warn!("no master: {why}");
        self.place = self.way.first();
        match self.reconnect {
            Some(pause) => self.due = Some(time::now() + pause),
            None => self.over = true,
        }
    }

    /// Whether it will not be retried.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// The time until the next attempt.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.since(time::now()))
    }
}
