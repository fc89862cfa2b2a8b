//! What all connections of a worker share: the ring, memory, and the lists of a turn.

use std::time::Duration;

use super::blocks::Blocks;
use super::buffers::Buffers;
use super::link::{Backlog, Ending, Link, Pauses, Phase};
use super::outbox::Outbox;
use super::send::Batch;
use super::tls::Room;
use crate::io::{BufferId, ConnId, Io};
use crate::stats::Counters;
use crate::time::Instant;

/// Entries for which each list of a turn keeps memory.
pub(crate) const LIST_LEN: usize = 1024;

/// Checks of a peer that takes nothing, within its write timeout. With 4, the connection ends up to a quarter of the
/// timeout late.
const WRITE_LOOKS: u32 = 4;

/// Limits of a connection, whatever it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes in the send queue above which we stop reading from a peer that began the connection.
    pub(crate) queue_bytes_max: usize,
    /// Time for which a peer may take none of the bytes queued for it; then the connection is reset. `None`: no limit.
    pub(crate) write_timeout: Option<Duration>,
    /// Time that a peer has to end its side after the conversation is over.
    pub(crate) close_timeout: Duration,
}

/// What the connections of a worker share, without the ring. `P` is what their protocols share.
#[derive(Debug)]
pub(crate) struct Shared<P> {
    /// The limits of each service, then the worker's own.
    pub(crate) limits: Vec<Limits>,
    pub(crate) counters: Counters,
    pub(crate) outbox: Outbox,
    pub(crate) buffers: Buffers,
    /// Memory of prepared messages, from which the ring sends.
    pub(crate) blocks: Blocks,
    /// Connections with output in this turn.
    pub(crate) dirty: Vec<ConnId>,
    /// Connections whose deadline has moved closer.
    pub(crate) rescheduled: Vec<ConnId>,
    /// Connections to reset after everything that arrived is handled.
    pub(crate) condemned: Vec<ConnId>,
    /// Paired connections whose other end has news for them: its queue crossed a mark, or it began, opened or ended.
    pub(crate) pair_news: Vec<ConnId>,
    /// Memory for opening and sealing TLS records.
    pub(crate) room: Room,
    pub(crate) now: Instant,
    pub(crate) protocol: P,
}

/// The ring and what connections share, without the connections themselves.
#[derive(Debug)]
pub(crate) struct Core<I, P> {
    pub(crate) io: I,
    pub(crate) shared: Shared<P>,
    /// The segments of the current send.
    pub(crate) batch: Batch,
    /// Receive buffers of this turn.
    pub(crate) held: Vec<BufferId>,
    /// A receive of this turn found the pool empty.
    pub(crate) ran_dry: bool,
    /// Connections whose receive found the pool empty. The next turn arms it again.
    pub(crate) starved: Vec<ConnId>,
    /// Connections with more to read than their share of a turn allowed. The next turn reads on.
    pub(crate) ready: Vec<ConnId>,
    /// System calls that did nothing but send.
    pub(crate) lone_sends: u64,
    /// Connections whose queue refused a message, and was then sent without waiting for the socket.
    pub(crate) relieved: Vec<ConnId>,
    /// Connections that ended and have nothing armed. Their slots are freed in this turn.
    pub(crate) released: Vec<ConnId>,
}

impl<P> Shared<P> {
    /// `limits`: those of each service, then the worker's own.
    pub(crate) fn new(limits: Vec<Limits>, now: Instant, protocol: P) -> Self {
        assert!(!limits.is_empty(), "the worker has limits");
        Self {
            limits,
            counters: Counters::default(),
            outbox: Outbox::new(),
            buffers: Buffers::default(),
            blocks: Blocks::default(),
            dirty: Vec::with_capacity(LIST_LEN),
            rescheduled: Vec::with_capacity(LIST_LEN),
            condemned: Vec::new(),
            pair_news: Vec::new(),
            room: Room::default(),
            now,
            protocol,
        }
    }

    /// The limits that hold for a connection of a service.
    #[inline]
    pub(crate) fn limits_of(&self, service: u16) -> &Limits {
        let last = self.limits.len() - 1;
        &self.limits[usize::from(service).min(last)]
    }

    /// Makes the wheel check the connection at `deadline`.
    pub(crate) fn reschedule(&mut self, link: &mut Link, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        link.deadline = deadline;
        self.rescheduled.push(link.id);
    }

    /// When to check again whether a peer takes the bytes queued for it.
    pub(crate) fn next_look(&self, link: &Link) -> Option<Instant> {
        let timeout = self.limits_of(link.service).write_timeout;
        timeout.map(|timeout| self.now + timeout / WRITE_LOOKS)
    }

    /// The socket is full: makes the wheel check the connection within the write timeout.
    pub(crate) fn watch_queue(&mut self, link: &mut Link) {
        let now = self.now;
        if let Some(queue) = &mut link.out.queue {
            queue.stuck_since.get_or_insert(now);
        }
        let look = match link.phase {
            // An earlier deadline will set this one. A deadline that is over sets none, so it is set here.
            Phase::Open => self
                .next_look(link)
                .filter(|look| link.deadline > *look || link.deadline <= now),
            _ => None,
        };
        self.reschedule(link, look);
    }

    /// Ends the conversation. Queued bytes are sent, then our direction ends as `ending` says. Further bytes from the
    /// peer are discarded.
    pub(crate) fn linger(&mut self, link: &mut Link, ending: Ending) {
        link.phase = Phase::Lingering;
        link.ending = ending;
        link.pauses = Pauses::default();
        self.discard_spill(link);
        self.dirty.push(link.id);
        let deadline = self.now + self.limits_of(link.service).close_timeout;
        self.reschedule(link, Some(deadline));
    }

    pub(crate) fn discard_spill(&mut self, link: &mut Link) {
        if let Some(spill) = link.spill.take() {
            self.buffers.give_back(spill.into_memory());
        }
    }
}

impl<I: Io, P> Core<I, P> {
    pub(crate) fn new(io: I, shared: Shared<P>) -> Self {
        let [starved, ready, released] = [(); 3].map(|()| Vec::with_capacity(LIST_LEN));
        Self {
            io,
            shared,
            batch: Batch::default(),
            held: Vec::with_capacity(LIST_LEN),
            ran_dry: false,
            starved,
            ready,
            lone_sends: 0,
            relieved: Vec::new(),
            released,
        }
    }

    /// Puts the connection on the list of those that the next turn reads.
    pub(crate) fn list_ready(&mut self, link: &mut Link) {
        if link.backlog != Backlog::Listed {
            link.backlog = Backlog::Listed;
            self.ready.push(link.id);
        }
    }

    /// Frees the slot in this turn if the connection has ended and nothing is armed.
    pub(crate) fn release_when_idle(&mut self, link: &Link) {
        if link.phase == Phase::Ended && link.armed.is_empty() {
            self.released.push(link.id);
        }
    }
}
