//! One ring of provided buffers: the kernel takes them in order, and the engine gives them back after reading them.

use std::alloc::{self, Layout};
use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

const BUFFER_BYTES_MIN: usize = 256;
/// Bytes of all buffers. The kernel goes through the whole ring, so it should stay near the size of the L2 cache.
const POOL_BYTES: usize = 1 << 20;
const ENTRIES_MAX: usize = 1024;
const ENTRIES_MIN: usize = 32;
const PAGE: usize = 4096;

/// Buffers shared with the kernel. Must outlive the ring they are registered with.
#[derive(Debug)]
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    pool: NonNull<u8>,
    buffer_bytes: usize,
    count: usize,
    tail: u16,
}

impl BufferRing {
    pub(super) const GROUP: u16 = 0;

    /// Buffers of at least `bytes`, at least twice as many as completions are waited for at once.
    pub(super) fn new(ring: &IoUring, bytes: usize, want: usize) -> io::Result<Self> {
        let buffer_bytes = bytes.next_power_of_two().max(BUFFER_BYTES_MIN);
        let count = (POOL_BYTES / buffer_bytes).clamp(ENTRIES_MIN, ENTRIES_MAX);
        let count = count.max((2 * want).next_power_of_two());
        let mut buffers = Self {
            entries: allocate(Self::entries_layout(count))?.cast(),
            pool: allocate(Self::pool_layout(count, buffer_bytes))?,
            buffer_bytes,
            count,
            tail: 0,
        };
        // SAFETY: `entries` is page-aligned memory for `count` entries that `Drop` frees, and the owner drops the ring
        // before this value.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(buffers.entries.as_ptr() as u64, count as u16, Self::GROUP, 0)
        }?;
        for buffer in 0..count {
            buffers.give_back(buffer as u16);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first `len` bytes of a buffer that the kernel has filled and that was not given back yet.
    pub(super) fn bytes(&self, buffer: u16, len: usize) -> &[u8] {
        assert!(usize::from(buffer) < self.count && len <= self.buffer_bytes);
        // SAFETY: within the pool, as asserted.
        let begin = unsafe { self.pool.add(usize::from(buffer) * self.buffer_bytes) };
        // SAFETY: zeroed at allocation, `len` bytes long, and the kernel does not touch a buffer between its completion
        // and `give_back`, which needs `&mut self`.
        unsafe { slice::from_raw_parts(begin.as_ptr(), len) }
    }

    /// Puts a buffer at the end of the ring; the kernel sees it after [`Self::publish`].
    pub(super) fn give_back(&mut self, buffer: u16) {
        let at = usize::from(self.tail) & (self.count - 1);
        // SAFETY: `at` is below `count`, the entries allocated.
        let mut entry = unsafe { self.entries.add(at) };
        // SAFETY: within the pool: buffer ids come from `0..count`.
        let address = unsafe { self.pool.add(usize::from(buffer) * self.buffer_bytes) };
        // SAFETY: entries from the published tail on belong to user space, and nothing else refers to this one.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address.as_ptr() as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes all buffers that were given back visible to the kernel, with one store.
    pub(super) fn publish(&self) {
        // SAFETY: `entries` is the base of a registered buffer ring.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is an aligned u16 in live memory that the kernel only reads.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn entries_layout(count: usize) -> Layout {
        Layout::from_size_align(count * size_of::<BufRingEntry>(), PAGE).expect("at most 512 KiB")
    }

    fn pool_layout(count: usize, buffer_bytes: usize) -> Layout {
        Layout::from_size_align(count * buffer_bytes, PAGE).expect("at most 2 GiB")
    }
}

fn allocate(layout: Layout) -> io::Result<NonNull<u8>> {
    // SAFETY: no layout here has size zero: count and buffer size are at least one.
    NonNull::new(unsafe { alloc::alloc_zeroed(layout) }).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the ring that used it is closed.
        unsafe { alloc::dealloc(self.entries.as_ptr().cast(), Self::entries_layout(self.count)) };
        // SAFETY: as above.
        unsafe { alloc::dealloc(self.pool.as_ptr(), Self::pool_layout(self.count, self.buffer_bytes)) };
    }
}
