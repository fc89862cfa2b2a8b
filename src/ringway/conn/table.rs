//! The connections of one worker by slot, in chunks that never move.

use super::connection::Connection;
use crate::io::ConnId;

/// Connections in one chunk. A chunk is the only allocation per connection, and it is never given back.
const CHUNK: u32 = 64;

/// A slot that is free remembers the generation of its next life.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a free slot is the place of the next connection"
)]
enum Slot {
    Free { generation: u32, next: Option<u32> },
    Taken(Connection),
}

/// Slots with a free list through them.
#[derive(Debug, Default)]
pub(super) struct Table {
    chunks: Vec<Box<[Slot]>>,
    free: Option<u32>,
    taken: usize,
}

impl Table {
    /// Connections in the table.
    pub(super) const fn len(&self) -> usize {
        self.taken
    }

    /// Puts a new connection into a free slot.
    pub(super) fn insert(&mut self, connection: impl FnOnce(ConnId) -> Connection) -> ConnId {
        let slot = match self.free {
            Some(slot) => slot,
            None => self.add_chunk(),
        };
        let entry = self.slot_mut(slot).expect("a slot on the free list exists");
        let Slot::Free { generation, next } = *entry else {
            unreachable!("a slot on the free list is free")
        };
        let id = ConnId { slot, generation };
        *entry = Slot::Taken(connection(id));
        self.free = next;
        self.taken += 1;
        id
    }

    /// The connection, unless that life of the slot is over.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        match self.slot_mut(id.slot)? {
            Slot::Taken(connection) if connection.id == id => Some(connection),
            _ => None,
        }
    }

    /// The connection that lives in a slot now.
    pub(super) fn in_slot_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        match self.slot_mut(slot)? {
            Slot::Taken(connection) => Some(connection),
            Slot::Free { .. } => None,
        }
    }

    /// Takes a connection out and raises the generation of its slot.
    pub(super) fn remove(&mut self, id: ConnId) {
        let next = self.free;
        let Some(entry) = self.slot_mut(id.slot) else {
            return;
        };
        if matches!(entry, Slot::Taken(connection) if connection.id == id) {
            *entry = Slot::Free {
                generation: id.next_generation().generation,
                next,
            };
            self.free = Some(id.slot);
            self.taken -= 1;
        }
    }

    /// Every connection there is now.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        let taken = |slot: &Slot| match slot {
            Slot::Taken(connection) => Some(connection.id),
            Slot::Free { .. } => None,
        };
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.iter().filter_map(taken))
            .collect()
    }

    #[inline]
    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.chunks
            .get_mut((slot / CHUNK) as usize)?
            .get_mut((slot % CHUNK) as usize)
    }

    fn add_chunk(&mut self) -> u32 {
        let chunks = u32::try_from(self.chunks.len()).expect("descriptors run out before slots do");
        let first = chunks * CHUNK;
        let last = first + CHUNK - 1;
        let slot = |slot| Slot::Free {
            generation: 0,
            next: (slot < last).then_some(slot + 1),
        };
        self.chunks.push((first..=last).map(slot).collect());
        first
    }
}
