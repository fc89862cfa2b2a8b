//! One connection: a descriptor, the protocol's two halves, and what is armed in the kernel for it.
//!
//! ```text
//!  Connecting   only in the client's role
//!     │
//!     │ TCP connect done: the request is sent
//!     ▼      101 sent or received      Close sent          Close of both, or a violation
//!  Opening ───────────────────▶ Open ────────────▶ Closing ─────────────────────────────▶ Lingering
//!     │                          │  Close received, violation                               │ ▲
//!     │                          └──────────────────────────────────────────────────────────┼─┘
//!     │  refused (a server: status sent; a client: response read) ───────────────▶ Lingering │
//!     └─────────────── end of stream, error or timeout in any phase ──▶ Ended ◀─────────────┘
//! ```
//!
//! *Lingering*: everything is sent or being sent, our direction ends with FIN, what the peer still says is discarded until
//! its own FIN. A client leaves the first FIN to the server, unless the server broke the protocol; one whose handshake
//! failed lingers to the end of the turn, and ends with RST. *Ended*: waiting for the last completion of what is armed; then
//! the descriptor is closed and the slot freed.

use std::sync::Arc;

use super::buffers::Assembly;
use super::connect::OpeningRequest;
use super::outbox::List;
use super::queue::SendQueue;
use super::refusal::Reading;
use super::spill::Spill;
use super::timers::Links;
use crate::io::{ConnId, Fd, ReceiveMode};
use crate::proto::{Limits, Receiver, Role, Sender, handshake};
use crate::time::Instant;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The TCP connection that we begin is not there yet.
    Connecting,
    /// The opening handshake is not complete.
    Opening,
    /// Messages flow.
    Open,
    /// We sent a Close and wait for the peer's.
    Closing,
    /// Only our FIN and the peer's are missing.
    Lingering,
    /// Only completions are missing.
    Ended,
}

/// How bytes are to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// In buffers of the pool: small messages.
    Buffers,
    /// Read by us on readiness: bulk, and tiers without buffers.
    Bulk,
}

impl From<ReceiveMode> for Receive {
    fn from(mode: ReceiveMode) -> Self {
        match mode {
            ReceiveMode::Buffers => Self::Buffers,
            ReceiveMode::Readiness => Self::Bulk,
        }
    }
}

/// What is armed in the kernel. At most one of `recv` and `poll_in`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Armed {
    pub(super) recv: bool,
    pub(super) poll_in: bool,
    pub(super) poll_out: bool,
    /// `recv` or `poll_in` was asked to end.
    pub(super) cancelled: bool,
}

impl Armed {
    pub(super) const fn is_empty(self) -> bool {
        !self.recv && !self.poll_in && !self.poll_out
    }
}

/// Reasons to stop reading from a connection, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pauses(u8);

impl Pauses {
    /// The send queue is above its mark; until it is half empty.
    pub(super) const QUEUE: Self = Self(1 << 0);
    /// The application asked for it; until it asks to go on.
    pub(super) const APPLICATION: Self = Self(1 << 1);
    /// The verdict on the opening handshake is not given yet.
    pub(super) const VERDICT: Self = Self(1 << 2);

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn contains(self, reason: Self) -> bool {
        self.0 & reason.0 != 0
    }

    pub(super) const fn insert(&mut self, reason: Self) {
        self.0 |= reason.0;
    }

    pub(super) const fn remove(&mut self, reason: Self) {
        self.0 &= !reason.0;
    }
}

/// How the peer's silence is being tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// Nothing asked.
    Quiet,
    /// A Ping is out since this instant.
    Pinged(Instant),
    /// The conversation is over. At the last look so many bytes were left for the peer, and since that instant it has taken
    /// none of them.
    Leaving { left_bytes: u32, since: Instant },
}

/// What a connection sends: apart from the rest, so that a handler can fill it while an event borrows the receiver.
#[derive(Debug)]
pub(super) struct Transmit {
    pub(super) sender: Sender,
    /// Segments of this turn, in shared buffers. They precede the queue.
    pub(super) list: List,
    /// What the socket did not take. While it exists, everything goes to its end.
    pub(super) queue: Option<Box<SendQueue>>,
    /// The application was told that the queue is full.
    pub(super) refused: bool,
}

/// The limits of the worker hold.
pub(super) const NO_SERVICE: u16 = u16::MAX;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) fd: Fd,
    /// Our side: a client began it.
    pub(super) role: Role,
    /// What the application began it with.
    pub(super) tag: u32,
    /// Whose limits hold: an index into `Shared::services`, or [`NO_SERVICE`].
    pub(super) service: u16,
    pub(super) phase: Phase,
    pub(super) receive: Receive,
    pub(super) armed: Armed,
    /// Why reading has stopped; it goes on when there is no reason left.
    pub(super) pauses: Pauses,
    /// In the list of those that have more to read than their share of a turn: read there, and nowhere else.
    pub(super) listed: bool,
    /// Told readable while it was not read.
    pub(super) readable: bool,
    /// Readiness told of the end of the stream, or of an error.
    pub(super) hung_up: bool,
    /// The peer has ended its direction: nothing more is received, what is queued still leaves.
    pub(super) deaf: bool,
    /// FIN is to follow the last queued byte.
    pub(super) finish: bool,
    /// End with RST: the peer did not play by the rules of ending.
    pub(super) reset: bool,
    /// The opening handshake was completed, so the application knows of it.
    pub(super) opened: bool,
    /// Both Close frames were exchanged.
    pub(super) clean: bool,
    /// Which way of receiving would suit the last receives better: see `receive`.
    pub(super) misfit: u8,
    /// The last message was so large that what comes with the next header is not worth copying.
    pub(super) large: bool,
    pub(super) receiver: Receiver,
    pub(super) transmit: Transmit,
    /// What arrived beyond the connection's share of a turn.
    pub(super) spill: Option<Box<Spill>>,
    /// A message that did not arrive in one piece.
    pub(super) assembly: Option<Assembly>,
    /// An opening handshake that did not arrive in one piece.
    pub(super) head: Option<Box<Head>>,
    pub(super) links: Links,
    /// When the wheel is to look at it.
    pub(super) deadline: Instant,
    /// When the peer was last heard.
    pub(super) heard: Instant,
    pub(super) heartbeat: Heartbeat,
}

/// The beginning of an opening handshake, and how far it was searched.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) resume: handshake::Resume,
    /// What we asked for, in the client's role.
    pub(super) asked: Option<Asked>,
    /// The head is complete, and the application has not given its verdict yet.
    pub(super) undecided: bool,
    /// The server said no, and its reason is still coming.
    pub(super) refused: Option<Reading>,
}

impl Head {
    /// Takes what can belong to a head of at most `max` bytes; what is beyond is never looked at. Grows by doubling, and
    /// never above `max`.
    pub(super) fn push(&mut self, bytes: &[u8], max: usize) {
        let len = self.bytes.len();
        let room = max.saturating_sub(len);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if len + bytes.len() > self.bytes.capacity() {
            let doubled = (2 * self.bytes.capacity()).min(max);
            self.bytes
                .reserve_exact(doubled.saturating_sub(len).max(bytes.len()));
        }
        self.bytes.extend_from_slice(bytes);
    }
}

/// A request of ours.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Arc<OpeningRequest>,
    pub(super) key: [u8; 16],
}

impl Connection {
    pub(super) fn new(
        id: ConnId,
        fd: Fd,
        role: Role,
        receive: Receive,
        limits: Limits,
        now: Instant,
    ) -> Self {
        Self {
            id,
            fd,
            role,
            tag: 0,
            service: NO_SERVICE,
            phase: match role {
                Role::Client => Phase::Connecting,
                Role::Server => Phase::Opening,
            },
            receive,
            armed: Armed::default(),
            pauses: Pauses::default(),
            listed: false,
            readable: false,
            hung_up: false,
            deaf: false,
            finish: false,
            reset: false,
            opened: false,
            clean: false,
            misfit: 0,
            large: false,
            receiver: Receiver::new(role, limits),
            transmit: Transmit {
                sender: Sender::new(role),
                list: List::default(),
                queue: None,
                refused: false,
            },
            spill: None,
            assembly: None,
            head: None,
            links: Links::default(),
            deadline: now,
            heard: now,
            heartbeat: Heartbeat::Quiet,
        }
    }

    /// Bytes that wait for the socket.
    pub(super) fn queued_bytes(&self) -> usize {
        self.transmit
            .queue
            .as_ref()
            .map_or(0, |queue| queue.bytes())
    }
}

// An idle connection costs its slot and nothing else: the bar is 512 bytes of user memory in all.
const _: () = assert!(size_of::<Connection>() <= 320);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_holds_no_more_than_its_limit_and_grows_by_doubling() {
        let mut head = Head::default();
        let mut capacities = Vec::new();
        for _ in 0..1200 {
            head.push(&[b'x'; 30], 32_768);
            if capacities.last() != Some(&head.bytes.capacity()) {
                capacities.push(head.bytes.capacity());
            }
        }
        assert_eq!((head.bytes.len(), head.bytes.capacity()), (32_768, 32_768));
        assert!(capacities.len() < 15, "{capacities:?}");
        let mut head = Head::default();
        head.push(&[b'x'; 100_000], 1000);
        assert_eq!((head.bytes.len(), head.bytes.capacity()), (1000, 1000));
    }
}
