//! What all connections of a worker share: the ring, the memory, the lists of a turn.

use std::time::Duration;

use super::blocks::Blocks;
use super::buffers::Buffers;
use super::link::{Backlog, Ending, Link, Pauses, Phase};
use super::outbox::Outbox;
use super::send::Batch;
use crate::io::{BufferId, ConnId, Io};
use crate::stats::Counters;
use crate::time::Instant;

/// Room of the lists of a turn: what they keep, however few entries they had lately.
pub(crate) const LIST_LEN: usize = 1024;

/// A peer that takes nothing is looked at so many times within its write timeout: it ends up to a quarter of it late.
const WRITE_LOOKS: u32 = 4;

/// What holds for a connection whatever it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Reading from a peer that began the connection stops while more than this is queued for it.
    pub(crate) queue_bytes_max: usize,
    /// A peer that takes nothing of what is queued for it for so long is dropped.
    pub(crate) write_timeout: Option<Duration>,
    /// What a peer has to end its side once the conversation is over.
    pub(crate) close_timeout: Duration,
}

/// What the connections of a worker share, apart from the ring. `P` is what the protocols share.
#[derive(Debug)]
pub(crate) struct Shared<P> {
    /// Those of each service, and the worker's own at the end.
    pub(crate) limits: Vec<Limits>,
    pub(crate) counters: Counters,
    pub(crate) outbox: Outbox,
    pub(crate) buffers: Buffers,
    /// Memory that the ring sends from.
    pub(crate) blocks: Blocks,
    /// Connections with output in this turn.
    pub(crate) dirty: Vec<ConnId>,
    /// Connections whose deadline has moved towards now.
    pub(crate) rescheduled: Vec<ConnId>,
    /// Connections to be reset when everything that arrived is handled.
    pub(crate) condemned: Vec<ConnId>,
    pub(crate) now: Instant,
    pub(crate) protocol: P,
}

/// The ring and what belongs to it, apart from the connections themselves.
#[derive(Debug)]
pub(crate) struct Core<I, P> {
    pub(crate) io: I,
    pub(crate) shared: Shared<P>,
    /// The segments of the send that is being made.
    pub(crate) batch: Batch,
    /// Receive buffers of this turn.
    pub(crate) held: Vec<BufferId>,
    /// A receive found the pool empty.
    pub(crate) ran_dry: bool,
    /// Connections whose receive found the pool empty.
    pub(crate) starved: Vec<ConnId>,
    /// Connections with more to read than their share of a turn.
    pub(crate) ready: Vec<ConnId>,
    /// System calls that sent and did nothing else.
    pub(crate) lone_sends: u64,
    /// Connections whose queue was full, and left without having to wait for room.
    pub(crate) relieved: Vec<ConnId>,
    /// Connections that ended and have nothing armed.
    pub(crate) released: Vec<ConnId>,
}

impl<P> Shared<P> {
    /// `limits`: see the field.
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

    /// Has the wheel look at the connection at `deadline`.
    pub(crate) fn reschedule(&mut self, link: &mut Link, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        link.deadline = deadline;
        self.rescheduled.push(link.id);
    }

    /// When to look again whether a peer takes what is queued for it.
    pub(crate) fn next_look(&self, link: &Link) -> Option<Instant> {
        let timeout = self.limits_of(link.service).write_timeout;
        timeout.map(|timeout| self.now + timeout / WRITE_LOOKS)
    }

    /// The socket is full: has the wheel look at the connection in time for the write timeout.
    pub(crate) fn watch_queue(&mut self, link: &mut Link) {
        let now = self.now;
        if let Some(queue) = &mut link.out.queue {
            queue.stuck_since.get_or_insert(now);
        }
        let look = match link.phase {
            // An earlier deadline leads to the next one, but for one that is over: nothing was to follow it.
            Phase::Open => self
                .next_look(link)
                .filter(|look| link.deadline > *look || link.deadline <= now),
            _ => None,
        };
        self.reschedule(link, look);
    }

    /// The conversation is over: what is queued still leaves, then our direction ends as `ending` says; what the peer still
    /// says is discarded.
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

    /// The connection is read in the next turn.
    pub(crate) fn list_ready(&mut self, link: &mut Link) {
        if link.backlog != Backlog::Listed {
            link.backlog = Backlog::Listed;
            self.ready.push(link.id);
        }
    }

    /// Frees the slot in this turn, when nothing is armed any more.
    pub(crate) fn release_when_idle(&mut self, link: &Link) {
        if link.phase == Phase::Ended && link.armed.is_empty() {
            self.released.push(link.id);
        }
    }
}
