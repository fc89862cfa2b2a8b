//! Received bytes beyond a connection's share of a turn, kept for the next one.

use super::buffers::Buffers;

/// Bytes that wait for a later turn: `data[at..filled]`. At most the bytes that one turn receives of a connection.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    data: Vec<u8>,
    at: usize,
    filled: usize,
}

impl Spill {
    pub(crate) fn new(buffers: &mut Buffers) -> Box<Self> {
        Box::new(Self {
            data: buffers.take(0),
            at: 0,
            filled: 0,
        })
    }

    pub(crate) fn push(&mut self, bytes: &[u8], buffers: &mut Buffers) {
        let end = self.filled + bytes.len();
        buffers.grow(&mut self.data, self.filled, end);
        self.data[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
    }

    /// The bytes that wait.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.data[self.at..self.filled]
    }

    /// Removes the first `bytes`, which have been handled.
    pub(crate) const fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.data
    }
}
