//! What is to be done to connections other than the one that a callback is about: one list, carried out once per turn.
//!
//! ```text
//!  any callback ──▶ Commands ──▶ drained by the worker ──▶ outbox, queues, closing ──▶ the sends of this turn
//! ```
//!
//! The list is the one door to the connections of a worker. It is drained after the events of a turn, so no callback ever
//! runs inside another one, and what it asks for leaves with this turn. What a command itself leads to (a `close` callback
//! that gives a command) waits for the next turn, which then does not wait for the kernel.
//!
//! A payload is copied once, into memory that is used again turn after turn; a prepared message is not copied.

use std::ops::Range;

use super::prepared::Prepared;
use super::verdict::Verdict;
use crate::io::ConnId;
use crate::proto::{CloseCode, Kind};

/// What is to happen to one connection. One that has ended in the meantime is passed over; a message for it counts as a
/// drop.
#[derive(Debug)]
pub(crate) enum Command {
    /// `bytes` of [`Commands::bytes`].
    Send {
        kind: Kind,
        bytes: Range<usize>,
    },
    SendPrepared {
        prepared: Prepared,
        run: Range<usize>,
    },
    Close {
        code: CloseCode,
        reason: String,
    },
    Reset,
    Pause,
    Resume,
    Decide(Box<Verdict>),
}

/// Payload bytes, and commands, for which memory is kept from turn to turn: together about 1.4 MiB.
const KEPT_BYTES: usize = 1 << 20;
const KEPT_COMMANDS: usize = 4096;

/// Commands of a turn, in the order in which they were given.
#[derive(Debug, Default)]
pub struct Commands {
    pub(crate) list: Vec<(ConnId, Command)>,
    /// Payloads of [`Command::Send`].
    pub(crate) bytes: Vec<u8>,
    /// The next turn is not to wait.
    pub(crate) wake: bool,
}

impl Commands {
    /// Sends a message. A full queue drops it and counts the drop; [`App::writable`](super::App::writable) follows when the
    /// queue is empty again.
    pub fn send(&mut self, to: ConnId, kind: Kind, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let bytes = start..self.bytes.len();
        self.list.push((to, Command::Send { kind, bytes }));
    }

    /// Sends message `index` of `prepared`, encoded before; the same for any number of connections. Nothing is copied.
    pub fn send_prepared(&mut self, to: ConnId, prepared: &Prepared, index: usize) {
        let (prepared, run) = (prepared.clone(), index..index + 1);
        self.list
            .push((to, Command::SendPrepared { prepared, run }));
    }

    /// Begins the closing handshake; `reason` is at most 123 bytes.
    pub fn close(&mut self, connection: ConnId, code: CloseCode, reason: &str) {
        let reason = reason.to_owned();
        self.list
            .push((connection, Command::Close { code, reason }));
    }

    /// Ends a connection in any phase with RST. What is queued for its peer is dropped.
    pub fn reset(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Reset));
    }

    /// Stops reading from a connection: what its peer sends fills the socket, then the peer waits. What has arrived already
    /// is still delivered.
    pub fn pause(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Pause));
    }

    /// Goes on reading after [`Self::pause`].
    pub fn resume(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Resume));
    }

    /// Gives the verdict that [`App::connect`](super::App::connect) left for later. Without effect when the client has left
    /// or its time for the handshake is over; [`App::failed`](super::App::failed) has told then.
    pub fn decide(&mut self, connection: ConnId, verdict: Verdict) {
        self.list
            .push((connection, Command::Decide(Box::new(verdict))));
    }

    /// Asks for another turn at once, with its call of [`App::turn`](super::App::turn).
    pub const fn wake(&mut self) {
        self.wake = true;
    }

    /// Empties the lists, and keeps their memory but for what a burst needed.
    pub(crate) fn recycle(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.list.clear();
        self.list.shrink_to(KEPT_COMMANDS);
    }

    /// Whether the next turn has something to do before it waits.
    pub(crate) const fn is_pending(&self) -> bool {
        self.wake || !self.list.is_empty()
    }
}
