//! What a socket did not take yet, in heap memory of its connection. A slow reader never holds shared memory.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::buffers::Assemblies;

/// Chunks handed to one send.
const SLICES: usize = 16;

/// Octets that are collected in one chunk before the next is begun.
const COALESCE_OCTETS: usize = 64 << 10;

#[derive(Debug)]
struct Chunk {
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// The chunk is an assembled message: its memory goes back to the worker's assemblies.
    assembled: bool,
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

    /// Copies `octets` to the end.
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.octets += octets.len();
        if let Some(last) = self.chunks.back_mut() {
            if !last.assembled && last.data.len() + octets.len() <= COALESCE_OCTETS {
                last.data.extend_from_slice(octets);
                last.end = last.data.len();
                return;
            }
        }
        self.chunks.push_back(Chunk { data: octets.to_vec(), start: 0, end: octets.len(), assembled: false });
    }

    /// Keeps the place of an assembled message that [`Self::fill`] brings: its octets count from now.
    pub(super) fn reserve(&mut self, start: usize, end: usize) {
        self.octets += end - start;
        self.chunks.push_back(Chunk { data: Vec::new(), start, end, assembled: true });
    }

    /// Moves the memory of an assembled message to its place.
    pub(super) fn fill(&mut self, data: Vec<u8>) {
        let reserved = |chunk: &&mut Chunk| chunk.assembled && chunk.data.is_empty();
        let chunk = self.chunks.iter_mut().rev().find(reserved).expect("a place was reserved in this callback");
        chunk.data = data;
    }

    /// The first octets, for one send after `before`.
    pub(super) fn slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>) {
        let slice = |chunk: &'a Chunk| IoSlice::new(&chunk.data[chunk.start..chunk.end]);
        slices.extend(self.chunks.iter().take(SLICES).map(slice));
    }

    /// Octets that [`Self::slices`] hands out.
    pub(super) fn slices_octets(&self) -> usize {
        self.chunks.iter().take(SLICES).map(|chunk| chunk.end - chunk.start).sum()
    }

    /// The socket took so many octets.
    pub(super) fn advance(&mut self, mut sent: usize, assemblies: &mut Assemblies) {
        self.octets -= sent;
        while let Some(first) = self.chunks.front_mut() {
            let left = first.end - first.start;
            if sent < left {
                first.start += sent;
                return;
            }
            sent -= left;
            if let Some(chunk) = self.chunks.pop_front() {
                if chunk.assembled {
                    assemblies.give_back(chunk.data);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}
