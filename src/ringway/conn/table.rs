//! The connections of one worker by slot, in chunks that never move.

use super::link::Connection;
use crate::io::ConnId;

/// Connections in one chunk, which has 5 KiB and is the only allocation per connection. Few, because a chunk is kept
/// while one of its connections is open, and connections that outlive a burst are spread over all chunks.
const CHUNK: u32 = 16;

/// A slot. A free one remembers the generation of its next connection.
#[derive(Debug)]
enum Slot<S> {
    Free { generation: u32, next: Option<u32> },
    Taken(Connection<S>),
}

/// Slots, with a list of the free ones through them. A chunk without slots has given its memory back.
#[derive(Debug)]
struct Chunk<S> {
    slots: Box<[Slot<S>]>,
    free: Option<u32>,
    taken: u32,
}

/// Connections by slot. A new connection goes to the first chunk with room, so that the last chunks become empty.
#[derive(Debug)]
pub(crate) struct Table<S> {
    chunks: Vec<Chunk<S>>,
    /// One bit per chunk: it has a free slot or no memory.
    vacant: Vec<u64>,
    taken: usize,
    /// Chunks with memory and no connection.
    empty: usize,
    /// First generation of a new chunk's slots. It is at least as high as any in a chunk that was freed, so that a late
    /// completion with an old id finds no connection.
    generation: u32,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            vacant: Vec::new(),
            taken: 0,
            empty: 0,
            generation: 0,
        }
    }
}

impl<S> Default for Chunk<S> {
    fn default() -> Self {
        Self {
            slots: Box::default(),
            free: None,
            taken: 0,
        }
    }
}

impl<S> Table<S> {
    /// Connections in the table.
    pub(crate) const fn len(&self) -> usize {
        self.taken
    }

    /// Puts a new connection into a free slot.
    pub(crate) fn insert(&mut self, connection: impl FnOnce(ConnId) -> Connection<S>) -> ConnId {
        let number = self.first_vacant();
        let chunk = &mut self.chunks[number];
        if chunk.slots.is_empty() {
            *chunk = Chunk::new(number, self.generation);
        } else if chunk.taken == 0 {
            self.empty -= 1;
        }
        let slot = chunk.free.expect("a vacant chunk has a free slot");
        let entry = &mut chunk.slots[(slot % CHUNK) as usize];
        let Slot::Free { generation, next } = *entry else {
            unreachable!("a slot on the free list is free")
        };
        let id = ConnId { slot, generation };
        *entry = Slot::Taken(connection(id));
        chunk.free = next;
        chunk.taken += 1;
        if next.is_none() {
            self.vacant[number / 64] &= !(1 << (number % 64));
        }
        self.taken += 1;
        id
    }

    /// The connection `id`. `None` if it has ended, even if its slot has a new one.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<S>> {
        match self.slot_mut(id.slot)? {
            Slot::Taken(connection) if connection.link.id == id => Some(connection),
            _ => None,
        }
    }

    /// The connection that has the slot now.
    pub(crate) fn in_slot_mut(&mut self, slot: u32) -> Option<&mut Connection<S>> {
        match self.slot_mut(slot)? {
            Slot::Taken(connection) => Some(connection),
            Slot::Free { .. } => None,
        }
    }

    /// Removes a connection, and raises the generation of its slot.
    pub(crate) fn remove(&mut self, id: ConnId) {
        let number = (id.slot / CHUNK) as usize;
        let Some(chunk) = self.chunks.get_mut(number) else {
            return;
        };
        let Some(entry) = chunk.slots.get_mut((id.slot % CHUNK) as usize) else {
            return;
        };
        if matches!(entry, Slot::Taken(connection) if connection.link.id == id) {
            *entry = Slot::Free {
                generation: id.next_generation().generation,
                next: chunk.free.replace(id.slot),
            };
            chunk.taken -= 1;
            self.empty += usize::from(chunk.taken == 0);
            self.vacant[number / 64] |= 1 << (number % 64);
            self.taken -= 1;
        }
    }

    /// The ids of all connections.
    pub(crate) fn ids(&self) -> Vec<ConnId> {
        let taken = |slot: &Slot<S>| match slot {
            Slot::Taken(connection) => Some(connection.link.id),
            Slot::Free { .. } => None,
        };
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.slots.iter().filter_map(taken))
            .collect()
    }

    /// Bytes of chunks without a connection, except one chunk.
    pub(crate) const fn surplus(&self) -> usize {
        self.empty.saturating_sub(1) * Chunk::<S>::BYTES
    }

    /// Gives at most `bytes_max` bytes of empty chunks back to the allocator, the last chunks first. Returns how many
    /// bytes were freed.
    pub(crate) fn release(&mut self, bytes_max: usize) -> usize {
        let mut released = 0;
        let mut generation = self.generation;
        for chunk in self.chunks.iter_mut().rev() {
            if self.empty <= 1 || released >= bytes_max {
                break;
            }
            if chunk.taken == 0 && !chunk.slots.is_empty() {
                generation = generation.max(chunk.generation());
                *chunk = Chunk::default();
                self.empty -= 1;
                released += Chunk::<S>::BYTES;
            }
        }
        self.generation = generation;
        while self.chunks.pop_if(|chunk| chunk.slots.is_empty()).is_some() {
            let number = self.chunks.len();
            self.vacant[number / 64] &= !(1 << (number % 64));
        }
        self.vacant.truncate(self.chunks.len().div_ceil(64));
        if released > 0 {
            self.vacant.shrink_to(self.vacant.len() * 2);
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
        released
    }

    #[inline]
    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot<S>> {
        self.chunks
            .get_mut((slot / CHUNK) as usize)?
            .slots
            .get_mut((slot % CHUNK) as usize)
    }

    /// The first chunk with a free slot, made if there is none.
    fn first_vacant(&mut self) -> usize {
        let found = self.vacant.iter().position(|word| *word != 0);
        if let Some(word) = found {
            return word * 64 + self.vacant[word].trailing_zeros() as usize;
        }
        let number = self.chunks.len();
        self.chunks.push(Chunk::default());
        if number.is_multiple_of(64) {
            self.vacant.push(0);
        }
        self.vacant[number / 64] |= 1 << (number % 64);
        number
    }
}

impl<S> Chunk<S> {
    const BYTES: usize = CHUNK as usize * size_of::<Slot<S>>();

    fn new(number: usize, generation: u32) -> Self {
        let number = u32::try_from(number).expect("descriptors run out before slots do");
        let first = number * CHUNK;
        let last = first + CHUNK - 1;
        let slot = |slot| Slot::Free {
            generation,
            next: (slot < last).then_some(slot + 1),
        };
        Self {
            slots: (first..=last).map(slot).collect(),
            free: Some(first),
            taken: 0,
        }
    }

    /// The highest generation among the slots.
    fn generation(&self) -> u32 {
        let generation = |slot: &Slot<S>| match slot {
            Slot::Free { generation, .. } => *generation,
            Slot::Taken(connection) => connection.link.id.generation,
        };
        self.slots.iter().map(generation).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::{Link, Receive, Side};
    use super::*;
    use crate::io::Fd;
    use crate::time::Instant;

    fn insert(table: &mut Table<()>) -> ConnId {
        let now = Instant::ZERO;
        table.insert(|id| Connection {
            link: Link::new(id, Fd(-1), Side::Accepted, Receive::Bulk, now),
            speaks: (),
        })
    }

    #[test]
    fn empty_chunks_give_their_memory_back_and_old_names_stay_old() {
        let mut table = Table::default();
        let ids: Vec<_> = (0..1000).map(|_| insert(&mut table)).collect();
        assert_eq!(table.surplus(), 0);
        for id in &ids {
            table.remove(*id);
        }
        assert_eq!(table.surplus(), 62 * Chunk::<()>::BYTES, "one of 63 stays");
        assert_eq!(
            table.release(10 * Chunk::<()>::BYTES),
            10 * Chunk::<()>::BYTES
        );
        assert_eq!(table.release(usize::MAX), 52 * Chunk::<()>::BYTES);
        assert_eq!((table.surplus(), table.chunks.len()), (0, 1));
        let again: Vec<_> = (0..1000).map(|_| insert(&mut table)).collect();
        assert!(again.iter().all(|id| id.slot < 1000));
        assert!(again.iter().all(|id| table.get_mut(*id).is_some()));
        assert!(ids.iter().all(|id| table.get_mut(*id).is_none()));
    }

    #[test]
    fn chunks_between_others_are_used_again_first() {
        let mut table = Table::default();
        let ids: Vec<_> = (0..160).map(|_| insert(&mut table)).collect();
        for id in &ids[16..144] {
            table.remove(*id);
        }
        table.release(usize::MAX);
        assert_eq!((table.len(), table.surplus()), (32, 0));
        assert!(table.in_slot_mut(100).is_none());
        assert_eq!(table.ids().len(), 32);
        let slots: Vec<_> = (0..128).map(|_| insert(&mut table).slot).collect();
        assert!(slots.iter().all(|slot| (16..144).contains(slot)));
        assert_eq!(insert(&mut table).slot, 160);
    }

    #[test]
    fn one_connection_that_comes_and_goes_takes_no_memory_twice() {
        let mut table = Table::default();
        for _ in 0..100 {
            let id = insert(&mut table);
            assert_eq!(id.slot, 0);
            table.remove(id);
            assert_eq!(table.release(usize::MAX), 0);
        }
    }
}
