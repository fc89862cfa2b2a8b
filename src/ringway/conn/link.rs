//! What a connection is bound to: a descriptor, what is armed in the kernel for it, what it sends, its deadline and how it
//! ends. What it speaks is another room's.
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

use super::outbox::List;
use super::queue::SendQueue;
use super::spill::Spill;
use super::timers::Links;
use crate::io::{ConnId, Fd, ReceiveMode};
use crate::time::Instant;

/// Who began the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A peer did, and we accepted it.
    Accepted,
    /// We did.
    Begun,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
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
pub(crate) enum Receive {
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
pub(crate) struct Armed {
    pub(crate) recv: bool,
    pub(crate) poll_in: bool,
    pub(crate) poll_out: bool,
    /// `recv` or `poll_in` was asked to end.
    pub(crate) cancelled: bool,
}

impl Armed {
    pub(crate) const fn is_empty(self) -> bool {
        !self.recv && !self.poll_in && !self.poll_out
    }
}

/// Reasons to stop reading from a connection, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pauses(u8);

impl Pauses {
    /// The send queue is above its mark; until it is half empty.
    pub(crate) const QUEUE: Self = Self(1 << 0);
    /// The application asked for it; until it asks to go on.
    pub(crate) const APPLICATION: Self = Self(1 << 1);
    /// The verdict on the opening handshake is not given yet.
    pub(crate) const VERDICT: Self = Self(1 << 2);

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn contains(self, reason: Self) -> bool {
        self.0 & reason.0 != 0
    }

    pub(crate) const fn insert(&mut self, reason: Self) {
        self.0 |= reason.0;
    }

    pub(crate) const fn remove(&mut self, reason: Self) {
        self.0 &= !reason.0;
    }
}

/// What of a connection waits to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Backlog {
    /// Nothing that the kernel told of.
    #[default]
    None,
    /// The kernel told readiness while reading was paused.
    Readable,
    /// It is in the list of connections that had more to read than their share of a turn: read there, and nowhere else.
    Listed,
}

/// The peer's direction of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Inbound {
    #[default]
    Open,
    /// The kernel told of the end, or of an error; bytes before it may be unread.
    HungUp,
    /// Read to its end. Nothing more is received; what is queued still leaves.
    Closed,
}

/// How our direction ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not yet, or its FIN is sent.
    #[default]
    None,
    /// FIN follows the last queued byte.
    FinAfterQueue,
    /// RST, because the peer did not keep to the rules of ending; what is queued is dropped.
    Reset,
}

/// What is to follow a step, for the one function that carries it out. A step never does so itself: whoever called it may
/// still need the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// The connection goes on.
    Continue,
    /// The connection goes on, but its receive is armed later: there was no buffer for it.
    Park,
    /// Nothing more is sent or read: close.
    End,
    /// The same with RST.
    Reset,
}

/// How a peer takes what is left for it once the conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// Bytes that were left at the last look.
    pub(crate) left_bytes: u32,
    /// Since this instant the peer has taken none of them.
    pub(crate) since: Instant,
}

/// What a connection sends.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Segments of this turn, in shared buffers. They precede the queue.
    pub(crate) list: List,
    /// What the socket did not take. While it exists, everything goes to its end.
    pub(crate) queue: Option<Box<SendQueue>>,
    /// The application was told that the queue is full.
    pub(crate) refused: bool,
}

/// Stands for the limits of the worker, where a connection has none of its own.
pub(crate) const NO_SERVICE: u16 = u16::MAX;

/// What a connection is bound to, whatever it speaks.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnId,
    pub(crate) fd: Fd,
    pub(crate) side: Side,
    /// What the application began it with.
    pub(crate) tag: u32,
    /// Whose limits hold: an index into `Shared::limits`, or [`NO_SERVICE`].
    pub(crate) service: u16,
    pub(crate) phase: Phase,
    pub(crate) receive: Receive,
    pub(crate) armed: Armed,
    /// Why reading has stopped; it goes on when there is no reason left.
    pub(crate) pauses: Pauses,
    pub(crate) backlog: Backlog,
    pub(crate) inbound: Inbound,
    pub(crate) ending: Ending,
    /// Receives in a row that would have suited the other way of receiving: see `receive`.
    pub(crate) misfits: u8,
    pub(crate) out: Outgoing,
    /// What arrived beyond the connection's share of a turn.
    pub(crate) spill: Option<Box<Spill>>,
    /// Its place in the wheel.
    pub(crate) links: Links,
    /// When the wheel is to look at it.
    pub(crate) deadline: Instant,
    /// When the peer was last heard.
    pub(crate) heard: Instant,
    /// Set once the conversation is over and the peer has been looked at.
    pub(crate) leaving: Option<Leaving>,
}

/// One connection: what it is bound to, and what it speaks.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) link: Link,
    pub(crate) speaks: S,
}

impl Link {
    /// A new one. The handshake of what it speaks is not complete; if it is begun here, the TCP connection is not there yet.
    pub(crate) fn new(id: ConnId, fd: Fd, side: Side, receive: Receive, now: Instant) -> Self {
        Self {
            id,
            fd,
            side,
            tag: 0,
            service: NO_SERVICE,
            phase: match side {
                Side::Begun => Phase::Connecting,
                Side::Accepted => Phase::Opening,
            },
            receive,
            armed: Armed::default(),
            pauses: Pauses::default(),
            backlog: Backlog::default(),
            inbound: Inbound::default(),
            ending: Ending::default(),
            misfits: 0,
            out: Outgoing::default(),
            spill: None,
            links: Links::default(),
            deadline: now,
            heard: now,
            leaving: None,
        }
    }

    /// Bytes that wait for the socket.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.out.queue.as_ref().map_or(0, |queue| queue.bytes())
    }

    /// The kernel told of the end of the peer's direction.
    pub(crate) fn hang_up(&mut self) {
        if self.inbound == Inbound::Open {
            self.inbound = Inbound::HungUp;
        }
    }
}
