//! Heap memory that connections take while they need it and give back: for messages in pieces, and for what sockets did
//! not take. The last given back is taken first: it is the warmest.

use super::queue::SendQueue;
use crate::proto::frame::HEADER_OCTETS_MAX;

/// Octets kept free in front of an assembled message, so that a header can be written before it in place.
pub(super) const HEADROOM: usize = HEADER_OCTETS_MAX;

/// Smallest piece of memory handed out.
const OCTETS_MIN: usize = 4 << 10;

/// Idle memory is kept up to this many octets in all; the rest goes back to the system.
const IDLE_OCTETS_MAX: usize = 8 << 20;

/// Idle queues kept; each is a few hundred octets.
const IDLE_QUEUES_MAX: usize = 64;

/// Memory at rest. Every piece is initialised to its whole length.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    idle: Vec<Vec<u8>>,
    idle_octets: usize,
    #[expect(
        clippy::vec_box,
        reason = "connections hold them boxed: moving the box moves no queue"
    )]
    queues: Vec<Box<SendQueue>>,
}

impl Buffers {
    /// Memory of at least `octets`.
    pub(super) fn take(&mut self, octets: usize) -> Vec<u8> {
        let mut data = self.idle.pop().unwrap_or_default();
        self.idle_octets -= data.len();
        grow(&mut data, octets);
        data
    }

    pub(super) fn give_back(&mut self, data: Vec<u8>) {
        if self.idle_octets + data.len() <= IDLE_OCTETS_MAX {
            self.idle_octets += data.len();
            self.idle.push(data);
        }
    }

    pub(super) fn take_queue(&mut self) -> Box<SendQueue> {
        self.queues.pop().unwrap_or_default()
    }

    /// Takes a queue apart and keeps its memory.
    pub(super) fn give_back_queue(&mut self, mut queue: Box<SendQueue>) {
        queue.drain(self);
        if self.queues.len() < IDLE_QUEUES_MAX {
            self.queues.push(queue);
        }
    }
}

/// Lengthens `data` to at least `octets`, in powers of two and the headroom: the length of many a message is a power of
/// two, and twice its memory would be for 14 octets.
pub(super) fn grow(data: &mut Vec<u8>, octets: usize) {
    if data.len() < octets {
        let payload = octets.saturating_sub(HEADROOM).next_power_of_two();
        data.resize(payload.max(OCTETS_MIN) + HEADROOM, 0);
    }
}

/// Octets that arrived and wait for a later turn: `data[at..filled]`. At most what one turn receives of a connection.
#[derive(Debug)]
pub(super) struct Spill {
    data: Vec<u8>,
    at: usize,
    filled: usize,
}

impl Spill {
    pub(super) fn new(buffers: &mut Buffers) -> Box<Self> {
        Box::new(Self {
            data: buffers.take(0),
            at: 0,
            filled: 0,
        })
    }

    pub(super) fn push(&mut self, octets: &[u8]) {
        let end = self.filled + octets.len();
        grow(&mut self.data, end);
        self.data[self.filled..end].copy_from_slice(octets);
        self.filled = end;
    }

    /// What waits.
    pub(super) fn rest(&self) -> &[u8] {
        &self.data[self.at..self.filled]
    }

    /// The first `octets` of it are done with.
    pub(super) const fn advance(&mut self, octets: usize) {
        self.at += octets;
    }

    pub(super) fn into_memory(self) -> Vec<u8> {
        self.data
    }
}

/// A message as it arrives: `data[HEADROOM..filled]` is there.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) data: Vec<u8>,
    pub(super) filled: usize,
}

impl Assembly {
    pub(super) fn new(buffers: &mut Buffers) -> Self {
        Self {
            data: buffers.take(HEADROOM + 1),
            filled: HEADROOM,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        grow(&mut self.data, self.filled + piece.len());
        self.data[self.filled..self.filled + piece.len()].copy_from_slice(piece);
        self.filled += piece.len();
    }

    /// Where the next octets of a frame go, of which `remaining` are missing. Grows by what arrived, never by what was
    /// announced: to at most twice what is there, or to `octets_min` more.
    pub(super) fn tail(
        &mut self,
        remaining: u64,
        octets_min: usize,
        octets_max: usize,
    ) -> &mut [u8] {
        let remaining = usize::try_from(remaining).unwrap_or(usize::MAX);
        grow(
            &mut self.data,
            self.filled + remaining.min(octets_min.max(self.filled)),
        );
        let end = self
            .data
            .len()
            .min(self.filled.saturating_add(remaining.min(octets_max)));
        &mut self.data[self.filled..end]
    }
}
