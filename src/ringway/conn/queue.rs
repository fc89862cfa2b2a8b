//! The send queue: bytes that a socket has not taken, in heap memory of the connection. So a peer that reads slowly
//! never holds shared memory.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use super::buffers::Buffers;
use super::outbox::Carries;
use crate::time::Instant;

/// Most chunks in one send.
const SLICES_MAX: usize = 16;

/// A piece of memory, of which a part waits for the socket.
#[derive(Debug)]
struct Chunk {
    memory: Memory,
    start: usize,
    end: usize,
}

#[derive(Debug)]
enum Memory {
    Own(Vec<u8>),
    /// Prepared messages, never changed.
    Shared(Arc<[u8]>),
    /// A reserved place, whose memory [`SendQueue::fill`] brings.
    Reserved,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Own(data) => &data[self.start..self.end],
            Memory::Shared(data) => &data[self.start..self.end],
            Memory::Reserved => unreachable!("a place is filled before anything is sent"),
        }
    }

    fn give_back(self, buffers: &mut Buffers) {
        if let Memory::Own(data) = self.memory {
            buffers.give_back(data);
        }
    }
}

/// Bytes in order. There is a queue only while it has bytes.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    pub(crate) carries: Carries,
    /// The peer has taken nothing since this instant, as far as we know.
    pub(crate) stuck_since: Option<Instant>,
    /// Bytes in the kernel's send buffer at the last check. `None` once the queue has moved since.
    pub(crate) unsent_bytes: Option<usize>,
}

impl SendQueue {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Copies `bytes` to the end, and returns the copy.
    pub(crate) fn push(&mut self, bytes: &[u8], buffers: &mut Buffers) -> &mut [u8] {
        let copy = self.extend(bytes.len(), buffers);
        copy.copy_from_slice(bytes);
        copy
    }

    /// Lengthens the queue by `len` bytes, and returns them. The caller writes them before anything is sent.
    #[inline]
    pub(crate) fn extend(&mut self, len: usize, buffers: &mut Buffers) -> &mut [u8] {
        self.bytes += len;
        let room = match self.chunks.back() {
            Some(Chunk {
                memory: Memory::Own(data),
                end,
                ..
            }) => data.len() - end,
            _ => 0,
        };
        if room < len || self.chunks.is_empty() {
            self.chunks.push_back(Chunk {
                memory: Memory::Own(buffers.take(len)),
                start: 0,
                end: 0,
            });
        }
        let Some(Chunk {
            memory: Memory::Own(data),
            end,
            ..
        }) = self.chunks.back_mut()
        else {
            unreachable!("the last chunk has memory of its own and room")
        };
        let start = std::mem::replace(end, *end + len);
        &mut data[start..*end]
    }

    /// Appends `data[range]` without a copy. If it continues the last piece, that piece grows.
    pub(crate) fn push_shared(&mut self, data: &Arc<[u8]>, range: Range<usize>) {
        self.bytes += range.len();
        match self.chunks.back_mut() {
            Some(Chunk {
                memory: Memory::Shared(last),
                end,
                ..
            }) if *end == range.start && Arc::ptr_eq(last, data) => *end = range.end,
            _ => self.chunks.push_back(Chunk {
                memory: Memory::Shared(data.clone()),
                start: range.start,
                end: range.end,
            }),
        }
    }

    /// Puts the first `len` bytes of `data` before everything else: they are the rest of a send of which the socket
    /// took the beginning.
    pub(crate) fn push_front(&mut self, data: Vec<u8>, len: usize) {
        self.bytes += len;
        self.chunks.push_front(Chunk {
            memory: Memory::Own(data),
            start: 0,
            end: len,
        });
    }

    /// Reserves a place for `data[start..end]`, which [`Self::fill`] brings. Its bytes count from now on.
    pub(crate) fn reserve(&mut self, start: usize, end: usize) {
        self.bytes += end - start;
        self.chunks.push_back(Chunk {
            memory: Memory::Reserved,
            start,
            end,
        });
    }

    /// Moves memory to the reserved place. Returns it if no place is reserved.
    pub(crate) fn fill(&mut self, data: Vec<u8>) -> Option<Vec<u8>> {
        match self
            .chunks
            .iter_mut()
            .rev()
            .find(|chunk| matches!(chunk.memory, Memory::Reserved))
        {
            Some(chunk) => {
                chunk.memory = Memory::Own(data);
                None
            }
            None => Some(data),
        }
    }

    /// The first bytes, as many as one send takes, and the number of slices.
    pub(crate) fn slices(&self) -> ([IoSlice<'_>; SLICES_MAX], usize) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk.bytes());
            count += 1;
        }
        (slices, count)
    }

    /// Removes `sent` bytes that the socket took.
    pub(crate) fn advance(&mut self, mut sent: usize, buffers: &mut Buffers) {
        self.bytes -= sent;
        while let Some(first) = self.chunks.front_mut() {
            let left = first.end - first.start;
            if sent < left {
                first.start += sent;
                return;
            }
            sent -= left;
            if let Some(chunk) = self.chunks.pop_front() {
                chunk.give_back(buffers);
            }
        }
    }

    /// Shrinks the memory to the room of `chunks`. Returns how many bytes were freed.
    pub(crate) fn shrink_to(&mut self, chunks: usize) -> usize {
        let before = self.chunks.capacity();
        self.chunks.shrink_to(chunks);
        (before - self.chunks.capacity()) * size_of::<Chunk>()
    }

    /// Gives the memory of all chunks back.
    pub(crate) fn drain(&mut self, buffers: &mut Buffers) {
        self.chunks
            .drain(..)
            .for_each(|chunk| chunk.give_back(buffers));
        *self = Self {
            chunks: std::mem::take(&mut self.chunks),
            ..Self::default()
        };
    }
}
