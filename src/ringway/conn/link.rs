//! The link of a connection: its descriptor, what is armed in the kernel for it, what it sends, its deadline, and how
//! it ends. What the connection speaks is another module's matter.
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
//! *Lingering*: all output is sent or queued, our direction ends with FIN, and further bytes from the peer are
//! discarded until its FIN. A client waits for the server's FIN first, unless the server violated the protocol. A
//! client whose handshake failed lingers until the end of the turn, and ends with RST. *Ended*: the link waits for the
//! last completion of what is armed; then its descriptor is closed and its slot freed.

use super::outbox::List;
use super::queue::SendQueue;
use super::spill::Spill;
use super::timers::Links;
use super::tls::Tls;
use crate::io::{ConnId, Fd, ReceiveMode};
use crate::time::Instant;

/// Who began the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The peer: we accepted the connection.
    Accepted,
    /// This worker, in the client's role.
    Begun,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The kernel has not decided our TCP connect.
    Connecting,
    /// The opening handshake is not complete.
    Opening,
    /// The WebSocket is open: messages may be sent and received.
    Open,
    /// We sent a Close and wait for the peer's.
    Closing,
    /// The conversation is over. Our FIN or the peer's is missing.
    Lingering,
    /// Nothing more is sent or read. Completions of armed operations are missing.
    Ended,
}

/// How a connection receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// By multishot receive into buffers of the pool: for small messages.
    Buffers,
    /// By our own receives after readiness: for bulk, and for tiers without buffers.
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

/// Operations that are armed in the kernel. At most one of `recv` and `poll_in`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Armed {
    pub(crate) recv: bool,
    pub(crate) poll_in: bool,
    pub(crate) poll_out: bool,
    /// The cancel of `recv` or `poll_in` was submitted.
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
    /// The send queue is above its limit. Ends when half of that is left.
    pub(crate) const QUEUE: Self = Self(1 << 0);
    /// The application paused the connection. Ends when the application resumes it.
    pub(crate) const APPLICATION: Self = Self(1 << 1);
    /// The application has not given its verdict on the opening handshake.
    pub(crate) const VERDICT: Self = Self(1 << 2);
    /// The connection that it is paired with is not there yet, or has a send queue above its limit. Ends when that queue
    /// is half empty.
    pub(crate) const PAIR: Self = Self(1 << 3);

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

/// Whose reading stops while a connection's send queue is above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Throttles {
    /// Nobody's: the peer is a server. It may stop reading until we read, and both sides would wait for ever. Messages to it
    /// are refused where the application sends them.
    Nobody,
    /// The connection's own.
    Itself,
    /// That of the connection which it is paired with.
    Pair(Pair),
}

/// The other end of a pair, as a connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// `None`: it is not begun yet, or has ended.
    pub(crate) with: Option<ConnId>,
    /// It takes nothing yet: what is received for it waits in the spill, and no more is read.
    pub(crate) waits: bool,
    /// Our send queue is above its limit, so it is not read.
    pub(crate) holds: bool,
}

/// Whether a connection has bytes that we still have to read from its socket or its spill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Backlog {
    /// The kernel has reported none.
    #[default]
    None,
    /// The kernel reported readiness while reading was paused.
    Readable,
    /// The connection used up its share of a turn before it was read to the end. The next turn reads it from the list,
    /// and nothing else reads it meanwhile.
    Listed,
}

/// The peer's direction of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Inbound {
    #[default]
    Open,
    /// The kernel reported the peer's FIN or an error. Bytes before it may be unread.
    HungUp,
    /// Read to its end. Nothing more is received. Queued bytes are still sent.
    Closed,
}

/// How our direction ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not yet, or our FIN is sent.
    #[default]
    None,
    /// FIN follows the last queued byte.
    FinAfterQueue,
    /// RST, because the peer broke the rules of closing, or the connection failed. Queued bytes are dropped.
    Reset,
}

/// What must follow a step. The step returns it, and one function (`settle`) carries it out: the step's caller may
/// still need the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// The connection goes on.
    Continue,
    /// The connection goes on. Its receive found no buffer, and is armed again in a later turn.
    Park,
    /// The connection goes on. It is paired, so the worker reads it: what is received goes to the other end.
    Carry,
    /// End the connection: nothing more is sent or read.
    End,
    /// End the connection with RST.
    Reset,
}

/// Whether a peer still takes bytes after the conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// Bytes that waited for the peer at the last check.
    pub(crate) left_bytes: u32,
    /// The peer has taken none since this instant.
    pub(crate) since: Instant,
}

/// What a connection sends.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// This turn's segments in shared buffers. They precede the queue.
    pub(crate) list: List,
    /// Bytes that the socket has not taken. While there is a queue, further output goes to its end.
    pub(crate) queue: Option<Box<SendQueue>>,
    /// With TLS, the list is plaintext until the turn's output is sealed, and the queue is ciphertext.
    pub(crate) tls: Option<Box<Tls>>,
    /// A message was refused because the queue is full. The application must be told when it is empty.
    pub(crate) refused: bool,
}

impl Outgoing {
    /// Where output waits that is in no shared buffer: the send queue, or with TLS what is sealed at the end of the turn.
    #[inline]
    pub(crate) fn entry(&self) -> Option<&SendQueue> {
        match &self.tls {
            None => self.queue.as_deref(),
            Some(tls) => tls.plain.as_deref(),
        }
    }

    /// As [`Self::entry`], to fill or to make it.
    #[inline]
    pub(crate) const fn entry_mut(&mut self) -> &mut Option<Box<SendQueue>> {
        match &mut self.tls {
            None => &mut self.queue,
            Some(tls) => &mut tls.plain,
        }
    }

    /// Bytes in the send queue, those that wait to be sealed included.
    pub(crate) fn queued_bytes(&self) -> usize {
        let queued = self.queue.as_ref().map_or(0, |queue| queue.bytes());
        let plain = self.tls.as_ref().and_then(|tls| tls.plain.as_ref());
        queued + plain.map_or(0, |plain| plain.bytes())
    }
}

/// The `service` of a connection that has no service: the limits of the worker hold.
pub(crate) const NO_SERVICE: u16 = u16::MAX;

/// A connection, without what it speaks.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnId,
    pub(crate) fd: Fd,
    pub(crate) side: Side,
    /// The number that the application gave to the connect; 0 for an accepted connection.
    pub(crate) tag: u32,
    /// The service whose limits hold: an index into `Shared::limits`, or [`NO_SERVICE`].
    pub(crate) service: u16,
    pub(crate) phase: Phase,
    pub(crate) receive: Receive,
    pub(crate) armed: Armed,
    /// Reasons why reading has stopped. It goes on when there are none.
    pub(crate) pauses: Pauses,
    pub(crate) backlog: Backlog,
    pub(crate) inbound: Inbound,
    pub(crate) ending: Ending,
    /// Whose reading its send queue stops.
    pub(crate) throttles: Throttles,
    /// What it receives is not simply handed to the protocol: it speaks TLS, or may, its frames may be logged, or it is
    /// paired. One flag for all, so that a receive is looked at once.
    pub(crate) is_apart: bool,
    /// Receives in a row that would have suited the other way of receiving: see `conn::receive`.
    pub(crate) misfits: u8,
    pub(crate) out: Outgoing,
    /// Received bytes beyond the connection's share of a turn.
    pub(crate) spill: Option<Box<Spill>>,
    /// Its place in the wheel of deadlines.
    pub(crate) links: Links,
    /// The instant at which the wheel must check it.
    pub(crate) deadline: Instant,
    /// When the last bytes of the peer arrived.
    pub(crate) heard: Instant,
    /// Set at the first check after the conversation is over. Boxed, because few connections last so long.
    pub(crate) leaving: Option<Box<Leaving>>,
}

/// A connection: its link, and what it speaks.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) link: Link,
    pub(crate) speaks: S,
}

impl Link {
    /// A new link, before its opening handshake. If we began the connection, the kernel is still connecting.
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
            throttles: match side {
                Side::Begun => Throttles::Nobody,
                Side::Accepted => Throttles::Itself,
            },
            is_apart: false,
            misfits: 0,
            out: Outgoing::default(),
            spill: None,
            links: Links::default(),
            deadline: now,
            heard: now,
            leaving: None,
        }
    }

    /// Bytes in the send queue.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.out.queued_bytes()
    }

    /// The other end, if it is paired.
    pub(crate) const fn pair(&self) -> Option<Pair> {
        match self.throttles {
            Throttles::Pair(pair) => Some(pair),
            Throttles::Nobody | Throttles::Itself => None,
        }
    }

    /// Pairs it with `with`. If it `waits`, nothing is read from it before that connection is there.
    pub(crate) const fn pair_with(&mut self, with: Option<ConnId>, waits: bool) {
        let holds = matches!(self.pair(), Some(Pair { holds: true, .. }));
        self.throttles = Throttles::Pair(Pair { with, waits, holds });
        self.is_apart = true;
        if waits {
            self.pauses.insert(Pauses::PAIR);
        }
    }

    /// Notes that the kernel reported the end of the peer's direction, or an error.
    pub(crate) fn hang_up(&mut self) {
        if self.inbound == Inbound::Open {
            self.inbound = Inbound::HungUp;
        }
    }
}
