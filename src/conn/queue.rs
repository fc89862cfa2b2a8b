//! What a socket did not take yet, in heap memory of its connection. A slow reader never holds shared memory.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::buffers::Buffers;

/// Chunks handed to one send.
const SLICES_MAX: usize = 16;

/// A piece of memory of which a part waits to be sent.
#[derive(Debug)]
struct Chunk {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

/// Octets in order. Exists only while there are some.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    chunks: VecDeque<Chunk>,
    octets: usize,
}

impl SendQueue {
    pub(super) const fn octets(&self) -> usize {
        self.octets
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Copies `octets` to the end.
    pub(super) fn push(&mut self, octets: &[u8], buffers: &mut Buffers) {
        self.octets += octets.len();
        // A reserved place has no memory yet, hence no room.
        if let Some(last) = self.chunks.back_mut()
            && last.data.len() >= last.end + octets.len()
        {
            last.data[last.end..last.end + octets.len()].copy_from_slice(octets);
            last.end += octets.len();
            return;
        }
        self.chunks.push_back(copy(octets, buffers));
    }

    /// Puts octets before everything else: the socket took what was before them. `data` is as long as they are or
    /// longer.
    pub(super) fn push_front(&mut self, data: Vec<u8>, len: usize) {
        self.octets += len;
        self.chunks.push_front(Chunk {
            data,
            start: 0,
            end: len,
        });
    }

    /// Keeps the place of `data[start..end]` that [`Self::fill`] brings: its octets count from now.
    pub(super) fn reserve(&mut self, start: usize, end: usize) {
        self.octets += end - start;
        self.chunks.push_back(Chunk {
            data: Vec::new(),
            start,
            end,
        });
    }

    /// Moves memory to the place that was reserved for it; returns it when there is none.
    pub(super) fn fill(&mut self, data: Vec<u8>) -> Option<Vec<u8>> {
        match self
            .chunks
            .iter_mut()
            .rev()
            .find(|chunk| chunk.data.is_empty())
        {
            Some(chunk) => {
                chunk.data = data;
                None
            }
            None => Some(data),
        }
    }

    /// The first octets, as many as one send takes, and in how many slices.
    pub(super) fn slices(&self) -> ([IoSlice<'_>; SLICES_MAX], usize) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.data[chunk.start..chunk.end]);
            count += 1;
        }
        (slices, count)
    }

    /// The socket took so many octets.
    pub(super) fn advance(&mut self, mut sent: usize, buffers: &mut Buffers) {
        self.octets -= sent;
        while let Some(first) = self.chunks.front_mut() {
            let left = first.end - first.start;
            if sent < left {
                first.start += sent;
                return;
            }
            sent -= left;
            if let Some(chunk) = self.chunks.pop_front() {
                buffers.give_back(chunk.data);
            }
        }
    }

    /// Gives all memory back.
    pub(super) fn drain(&mut self, buffers: &mut Buffers) {
        self.octets = 0;
        self.chunks
            .drain(..)
            .for_each(|chunk| buffers.give_back(chunk.data));
    }
}

fn copy(octets: &[u8], buffers: &mut Buffers) -> Chunk {
    let mut data = buffers.take(octets.len());
    data[..octets.len()].copy_from_slice(octets);
    Chunk {
        data,
        start: 0,
        end: octets.len(),
    }
}
