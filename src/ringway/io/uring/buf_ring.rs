//! The provided-buffer ring: how the worker gives receive buffers to the kernel (io_uring_register_buf_ring(3), Linux
//! 5.19).
//!
//! ```text
//!   kernel takes at head ─▶ [ b7 | b2 | b9 | … ] ◀─ we add at tail, then publish the tail once
//! ```
//!
//! The ring is first in, first out, so the kernel goes through the whole pool. That is why the pool stays near the size
//! of the L2 cache.

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::super::Error;
use super::super::pool::{BUFFER_LEN, Mapping};

/// The ring's entries, a power of two of them, in page-aligned memory that the kernel reads.
#[derive(Debug)]
pub(super) struct BufRing {
    memory: Mapping,
    entries: u16,
    /// Position of the next buffer. The kernel sees it after [`Self::publish`].
    tail: u16,
}

impl BufRing {
    pub(super) fn new(entries: u16) -> Result<Self, Error> {
        assert!(
            entries.is_power_of_two() && entries <= 1 << 15,
            "what the kernel accepts"
        );
        let memory = Mapping::new(usize::from(entries) * size_of::<BufRingEntry>())?;
        Ok(Self {
            memory,
            entries,
            tail: 0,
        })
    }

    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    pub(super) const fn entries(&self) -> u16 {
        self.entries
    }

    /// Adds buffer `number` at `address`. The caller adds a buffer only once, after its receive has completed.
    pub(super) fn add(&mut self, number: u16, address: *mut u8) {
        let index = usize::from(self.tail & (self.entries - 1));
        // SAFETY: `index` is below `entries`, for which `memory` has room.
        let entry = unsafe { self.memory.as_ptr().cast::<BufRingEntry>().add(index) };
        // SAFETY: the kernel reads entries only between its head and the published tail; this one is not yet published,
        // and its fields (not the tail, which shares the first entry's reserved field) are only written here.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address as u64);
        entry.set_len(BUFFER_LEN);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes all added buffers visible to the kernel, with one store.
    pub(super) fn publish(&self) {
        // SAFETY: the ring's memory is mapped and large enough for one entry, which holds the tail.
        let tail = unsafe { BufRingEntry::tail(self.memory.as_ptr().cast()) };
        // SAFETY: the tail is an aligned u16 in memory that lives as long as `self`; kernel and worker touch it
        // atomically only.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
