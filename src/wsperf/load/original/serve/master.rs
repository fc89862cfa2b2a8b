//! The client's role: the control server connects to a master, which commands it over the subprotocol `wsperf`.
//!
//! Owns: when to connect, and whether to do so again. Never: reads a command; [`Control`](super::control::Control) does, in
//! either role.

use std::time::Duration;

use super::super::run::Destination;
use crate::conn::Handle;
use crate::time::{self, Instant};

/// The connection to a master.
#[derive(Debug)]
pub(super) struct Master {
    destination: Destination,
    /// Time before it is tried again; none: not at all.
    reconnect: Option<Duration>,
    /// When to connect; none: it is connected, or over.
    due: Option<Instant>,
    over: bool,
}

impl Master {
    /// To be connected to at once.
    pub(super) const fn new(destination: Destination, reconnect: Option<Duration>) -> Self {
        Self {
            destination,
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
        let Destination { dial, request } = &self.destination;
        if let Err(errno) = reach.connect(dial, request, 0) {
            self.lost(&errno.to_string());
        }
    }

    /// There is no connection any more, or never was.
    pub(super) fn lost(&mut self, why: &str) {
        tracing::warn!("no master: {why}");
        match self.reconnect {
            Some(pause) => self.due = Some(time::now() + pause),
            None => self.over = true,
        }
    }

    /// It will not be tried again.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Until it is to be tried again.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.since(time::now()))
    }
}
