//! Memory that every implementation of [`Io`](super::Io) has besides its receive buffers: scratch space for output, the
//! hot buffer, and shared blocks.

use std::sync::Arc;

use super::pool::Mapping;
use super::{BufferId, Error, HOT_BYTES, SCRATCH_BYTES, Segment};

#[derive(Debug)]
pub(super) struct Areas {
    scratch: Mapping,
    hot: Mapping,
    /// Shared blocks by index. An empty slice stands for no block.
    blocks: Vec<Arc<[u8]>>,
}

impl Areas {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            scratch: Mapping::new(SCRATCH_BYTES)?,
            hot: Mapping::new(HOT_BYTES)?,
            blocks: Vec::new(),
        })
    }

    pub(super) fn buffer(&self, buffer: BufferId) -> &[u8] {
        match buffer {
            BufferId::SCRATCH => self.scratch.slice(0..SCRATCH_BYTES),
            BufferId::HOT => self.hot.slice(0..HOT_BYTES),
            _ => match buffer.shared_index() {
                Some(index) => &self.blocks[index],
                None => panic!("there is no receive buffer {buffer:?} here"),
            },
        }
    }

    pub(super) fn share(&mut self, buffer: BufferId, bytes: Arc<[u8]>) {
        let index = buffer.shared_index().expect("a block's own number");
        if index >= self.blocks.len() {
            self.blocks.resize_with(index + 1, Arc::default);
        }
        self.blocks[index] = bytes;
    }

    pub(super) fn unshare(&mut self, buffer: BufferId) {
        // Nothing is allocated for an empty slice.
        self.share(buffer, Arc::default());
    }

    pub(super) fn buffer_and_scratch(&mut self, buffer: BufferId) -> (&mut [u8], &mut [u8]) {
        let hot = match buffer {
            BufferId::SCRATCH => 0..0,
            BufferId::HOT => 0..HOT_BYTES,
            BufferId(number) => panic!("there is no receive buffer {number} here"),
        };
        (
            self.hot.slice_mut(hot),
            self.scratch.slice_mut(0..SCRATCH_BYTES),
        )
    }

    pub(super) fn scratch_mut(&mut self) -> &mut [u8] {
        self.scratch.slice_mut(0..SCRATCH_BYTES)
    }

    pub(super) fn hot_mut(&mut self) -> &mut [u8] {
        self.hot.slice_mut(0..HOT_BYTES)
    }
}

/// The bytes of `segment`, which lies in `buffer`.
#[inline]
pub(super) fn slice_of<'a>(buffer: &'a [u8], segment: &Segment) -> &'a [u8] {
    &buffer[segment.start as usize..][..segment.len as usize]
}
