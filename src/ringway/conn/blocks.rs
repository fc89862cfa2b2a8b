//! Memory of prepared messages. It is registered with the ring, which sends from it without a copy, and is freed after
//! its last use.
//!
//! ```text
//!  add ──▶ fresh ── register ──▶ the ring knows it ── last reference dropped ──▶ dropped ── retire ──▶ free
//!          (before the sends of the turn)                                (once the kernel has decided those sends)
//! ```
//!
//! If the kernel takes only a part of a send, the rest is copied from the block before `retire`. A send queue has its
//! own reference to a block.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::io::{BufferId, Io, SHARED_MAX};

/// Numbers of blocks whose last reference is gone.
type Dropped = Rc<RefCell<Vec<BufferId>>>;

/// A block in use.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Arc<[u8]>,
    buffer: BufferId,
    dropped: Dropped,
}

impl Block {
    pub(crate) const fn buffer(&self) -> BufferId {
        self.buffer
    }

    pub(crate) const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.buffer);
    }
}

/// The blocks of one worker.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// Block numbers that were in use at least once.
    used: usize,
    free: Vec<BufferId>,
    /// Blocks that are not registered with the ring yet.
    fresh: Vec<(BufferId, Arc<[u8]>)>,
    dropped: Dropped,
}

impl Blocks {
    /// Takes a free block. `None` when [`SHARED_MAX`] are in use.
    pub(crate) fn add(&mut self, bytes: Arc<[u8]>) -> Option<Block> {
        let buffer = match self.free.pop() {
            Some(buffer) => buffer,
            None if self.used < SHARED_MAX => {
                self.used += 1;
                BufferId::shared(self.used - 1)
            }
            None => return None,
        };
        self.fresh.push((buffer, bytes.clone()));
        Some(Block {
            bytes,
            buffer,
            dropped: self.dropped.clone(),
        })
    }

    /// Registers new blocks with the ring. Must run before anything is sent from them.
    #[inline]
    pub(crate) fn register<I: Io>(&mut self, io: &mut I) {
        if !self.fresh.is_empty() {
            for (buffer, bytes) in self.fresh.drain(..) {
                io.share(buffer, bytes);
            }
        }
    }

    /// Frees blocks whose last reference is gone. Must run after the kernel has decided the sends of the last turn, and
    /// before the first send of this turn.
    pub(crate) fn retire<I: Io>(&mut self, io: &mut I) {
        if self.dropped.borrow().is_empty() {
            return;
        }
        self.register(io);
        for buffer in self.dropped.borrow_mut().drain(..) {
            io.unshare(buffer);
            self.free.push(buffer);
        }
    }

    /// Blocks that are in use or not yet freed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.used - self.free.len()
    }
}
