//! Large buffers of one worker: the hot one that bulk receives go through, and those in which messages are assembled.

use crate::proto::frame::HEADER_OCTETS_MAX;

/// Octets kept free in front of an assembled message, so that a header can be written before it in place.
pub(super) const HEADROOM: usize = HEADER_OCTETS_MAX;

/// Octets of the hot buffer. It stays in the L2 cache because every bulk receive reuses it.
pub(super) const HOT_OCTETS: usize = 512 << 10;

/// First size of an assembly.
const ASSEMBLY_OCTETS_MIN: usize = 16 << 10;

/// Idle assemblies are kept up to this many octets in all; the rest goes back to the system.
const IDLE_OCTETS_MAX: usize = 8 << 20;

/// A message as it arrives: `data[HEADROOM..filled]` is there, all of `data` is initialised memory.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) data: Vec<u8>,
    pub(super) filled: usize,
}

impl Assembly {
    /// Makes room for `more` octets. Grows by what arrived, never by what was announced: to at most twice what is
    /// there.
    pub(super) fn reserve(&mut self, more: usize) {
        let needed = self.filled + more;
        if needed > self.data.len() {
            let len = needed.next_power_of_two().max(ASSEMBLY_OCTETS_MIN);
            self.data.resize(len, 0);
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.reserve(piece.len());
        self.data[self.filled..self.filled + piece.len()].copy_from_slice(piece);
        self.filled += piece.len();
    }

    /// Where the next octets go, at most `limit` of them.
    pub(super) fn tail(&mut self, limit: usize) -> &mut [u8] {
        let end = self.data.len().min(self.filled.saturating_add(limit));
        &mut self.data[self.filled..end]
    }

    /// Octets assembled so far.
    pub(super) const fn len(&self) -> usize {
        self.filled - HEADROOM
    }
}

/// Assemblies at rest, the last used first: its memory is the warmest.
#[derive(Debug, Default)]
pub(super) struct Assemblies {
    idle: Vec<Vec<u8>>,
    idle_octets: usize,
}

impl Assemblies {
    pub(super) fn take(&mut self) -> Assembly {
        let data = self.idle.pop().unwrap_or_default();
        self.idle_octets -= data.len();
        let mut assembly = Assembly { data, filled: HEADROOM };
        assembly.reserve(1);
        assembly
    }

    pub(super) fn give_back(&mut self, data: Vec<u8>) {
        if self.idle_octets + data.len() <= IDLE_OCTETS_MAX {
            self.idle_octets += data.len();
            self.idle.push(data);
        }
    }
}
