//! Commands: what callbacks want done to other connections than their own. One list, carried out once per turn.
//!
//! ```text
//!  any callback ──▶ Commands ──▶ drained by the worker ──▶ outbox, queues, closing ──▶ the sends of this turn
//! ```
//!
//! Every command to a connection of a worker goes through this list. It is drained after the events of a turn, so no
//! callback ever runs inside another one, and the sends that it leads to leave with this turn. A command given while
//! the list is drained (by a `close` callback, for example) waits for the next turn. That turn then does not wait for
//! the kernel.
//!
//! A payload is copied once, into memory that every turn reuses. A prepared message is not copied.

use std::ops::Range;

use super::prepared::Prepared;
use super::verdict::Verdict;
use crate::io::ConnId;
use crate::proto::{CloseCode, Kind};
use crate::time::Instant;

/// What to do to one connection. Skipped if the connection has ended meanwhile; a message to it counts as a drop.
#[derive(Debug)]
pub(crate) enum Command {
    /// Sends the range `bytes` of [`Commands::bytes`].
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
    /// Ends a connection whose protocol has no closing handshake.
    HangUp,
    Reset,
    Pause,
    Resume,
    Decide(Box<Verdict>),
    /// A message that was sent in parts has ended: messages of topics may follow it.
    SendLate,
}

/// Payload bytes, and commands, whose memory is kept from turn to turn: together about 1.4 MiB.
const KEPT_BYTES: usize = 1 << 20;
const KEPT_COMMANDS: usize = 4096;

/// Commands, in the order in which the application gave them.
#[derive(Debug)]
pub struct Commands {
    pub(crate) list: Vec<(ConnId, Command)>,
    /// Payloads of [`Command::Send`].
    pub(crate) bytes: Vec<u8>,
    /// The next turn must come at this instant at the latest. [`Instant::ZERO`]: at once.
    pub(crate) wake_at: Instant,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            bytes: Vec::new(),
            wake_at: Instant::NEVER,
        }
    }
}

impl Commands {
    /// Sends a message. If the send queue is full, the message is dropped and counted; the worker calls
    /// [`App::writable`](super::App::writable) when the queue is empty again.
    pub fn send(&mut self, to: ConnId, kind: Kind, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let bytes = start..self.bytes.len();
        self.list.push((to, Command::Send { kind, bytes }));
    }

    /// Sends message `index` of `prepared`, without copying it. The same `prepared` may go to any number of
    /// connections.
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

    /// Ends a connection in any phase with RST. Bytes queued for its peer are dropped.
    pub fn reset(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Reset));
    }

    /// Stops reading from a connection. What its peer sends fills the socket, then the peer waits. Bytes that have
    /// arrived already are still delivered.
    pub fn pause(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Pause));
    }

    /// Goes on reading after [`Self::pause`].
    pub fn resume(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Resume));
    }

    /// Gives the verdict that [`App::connect`](super::App::connect) left for later. Has no effect if the client has
    /// left or `handshake_timeout` is over: the worker has then called [`App::failed`](super::App::failed).
    pub fn decide(&mut self, connection: ConnId, verdict: Verdict) {
        self.list
            .push((connection, Command::Decide(Box::new(verdict))));
    }

    /// Requests another turn at once, and so another call of [`App::turn`](super::App::turn).
    pub const fn wake(&mut self) {
        self.wake_at = Instant::ZERO;
    }

    /// Requests that the next turn, and so the next call of [`App::turn`](super::App::turn), comes at `at` at the latest. The next turn
    /// forgets that, whatever brought it: request again there. Of several requests the earliest counts.
    pub fn wake_at(&mut self, at: Instant) {
        self.wake_at = self.wake_at.min(at);
    }

    /// Empties the lists and keeps their memory, up to the limits above.
    pub(crate) fn recycle(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.list.clear();
        self.list.shrink_to(KEPT_COMMANDS);
    }

    /// Whether the next turn has commands to carry out before it waits.
    pub(crate) const fn is_pending(&self) -> bool {
        !self.list.is_empty()
    }
}
