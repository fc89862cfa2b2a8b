//! The receive buffers of one worker: page-aligned memory that the kernel writes and the worker reads.

use std::ptr::NonNull;

use super::Error;

/// Anonymous memory from mmap: page-aligned, zeroed, unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    pub(super) fn new(len: usize) -> Result<Self, Error> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: asks for new memory at an address of the kernel's choice; touches no existing mapping.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::last("mmap of receive buffers"));
        }
        let start =
            NonNull::new(start.cast()).ok_or_else(|| Error::last("mmap of receive buffers"))?;
        Ok(Self { start, len })
    }

    pub(super) const fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// A range of the mapping that the kernel does not write at present.
    pub(super) fn slice(&self, range: std::ops::Range<usize>) -> &[u8] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "a range of the mapping"
        );
        // SAFETY: within the mapping (asserted above), which is initialised and lives as long as `self`.
        let start = unsafe { self.as_ptr().add(range.start) };
        // SAFETY: as above; the kernel writes to a receive buffer only between `replenish` and its completion, when no
        // one asks for it, and never to other mappings. The result borrows `self`, so no `&mut` exists beside it.
        unsafe { std::slice::from_raw_parts(start, range.len()) }
    }

    /// Returns the memory to the kernel, but keeps the addresses: it reads as zero until it is written again. For receive
    /// buffers without content, while the kernel completes no receive (see `Uring::release_idle`).
    fn discard(&mut self) {
        let len = self.len;
        super::memory::discard(self.slice_mut(0..len));
    }

    /// Like [`Self::slice`], for writing.
    pub(super) fn slice_mut(&mut self, range: std::ops::Range<usize>) -> &mut [u8] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "a range of the mapping"
        );
        // SAFETY: within the mapping (asserted above), which is initialised and lives as long as `self`.
        let start = unsafe { self.as_ptr().add(range.start) };
        // SAFETY: as in `slice`; `&mut self` makes this the only reference into the mapping.
        unsafe { std::slice::from_raw_parts_mut(start, range.len()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of one mmap that only this value owns; the ring that the kernel writes
        // through was closed before (field order of `Uring`).
        unsafe { libc::munmap(self.as_ptr().cast(), self.len) };
    }
}

/// Bytes of one receive buffer (4 KiB): a small message, or a few of them. Larger frames are received in bulk, without
/// these buffers.
pub const BUFFER_BYTES: usize = BUFFER_LEN as usize;

/// The same in the kernel's type.
pub(super) const BUFFER_LEN: u32 = 4096;

/// Bytes from one buffer to the next: a cache line more than a page. At a distance of exactly one page, equal offsets of
/// all buffers would compete for the same cache sets.
const STRIDE: usize = BUFFER_BYTES + 64;

/// Buffers in one chunk, the step by which the pool grows: 1 MiB and a little, about the L2 cache of a core.
pub const CHUNK_BUFFERS: u16 = 256;

/// Buffers by number. Chunks of them are added when the pool runs dry, and taken out of use when the worker needs few.
#[derive(Debug)]
pub(super) struct Pool {
    chunks: Vec<Mapping>,
    chunks_max: usize,
    /// The pool uses only its first chunk: buffers of other chunks that come back are parked.
    shrunk: bool,
    /// Numbers of buffers that are out of use.
    parked: Vec<u16>,
}

impl Pool {
    pub(super) fn new(chunks_max: usize) -> Result<Self, Error> {
        assert!(
            chunks_max <= 128,
            "numbers of receive buffers end where those of shared blocks begin"
        );
        let mut pool = Self {
            chunks: Vec::with_capacity(chunks_max),
            chunks_max,
            shrunk: false,
            parked: Vec::new(),
        };
        pool.add_chunk()?;
        Ok(pool)
    }

    /// Takes the parked buffers into use again, or adds a chunk. Returns the numbers of these buffers; none when the
    /// limit is reached.
    pub(super) fn grow(&mut self) -> Result<Vec<u16>, Error> {
        if std::mem::take(&mut self.shrunk) && !self.parked.is_empty() {
            return Ok(std::mem::take(&mut self.parked));
        }
        if self.chunks.len() == self.chunks_max {
            return Ok(Vec::new());
        }
        let first = self.len();
        self.add_chunk()?;
        Ok((first..self.len()).collect())
    }

    fn add_chunk(&mut self) -> Result<(), Error> {
        self.chunks
            .push(Mapping::new(usize::from(CHUNK_BUFFERS) * STRIDE)?);
        Ok(())
    }

    /// Takes all chunks but the first out of use. A chunk of which the worker holds no buffer (`held`) returns its
    /// memory. Buffers that the kernel still has come back one by one and are then [parked](Self::park).
    pub(super) fn shrink(&mut self, held: impl Iterator<Item = u16>) {
        self.shrunk = self.chunks.len() > 1;
        if !self.shrunk {
            return;
        }
        // One bit for each chunk: this runs once a second, and allocates nothing.
        let in_use = held.fold(1_u128, |bits, number| bits | 1 << (number / CHUNK_BUFFERS));
        for (at, chunk) in self.chunks.iter_mut().enumerate() {
            if in_use >> at & 1 == 0 {
                chunk.discard();
            }
        }
    }

    /// Parks a buffer that came back, if it is out of use. Returns whether it did.
    #[inline]
    pub(super) fn park(&mut self, number: u16) -> bool {
        let parks = self.shrunk && number >= CHUNK_BUFFERS;
        if parks {
            self.parked.push(number);
        }
        parks
    }

    pub(super) fn len(&self) -> u16 {
        u16::try_from(self.chunks.len()).unwrap_or(u16::MAX) * CHUNK_BUFFERS
    }

    /// The address of buffer `number`, valid for [`BUFFER_BYTES`].
    pub(super) fn address(&mut self, number: u16) -> *mut u8 {
        self.buffer_mut(number).as_mut_ptr()
    }

    #[inline]
    pub(super) fn buffer(&self, number: u16) -> &[u8] {
        self.chunks[usize::from(number / CHUNK_BUFFERS)].slice(range_of(number))
    }

    #[inline]
    pub(super) fn buffer_mut(&mut self, number: u16) -> &mut [u8] {
        self.chunks[usize::from(number / CHUNK_BUFFERS)].slice_mut(range_of(number))
    }
}

/// The range of a buffer in its chunk.
#[inline]
fn range_of(number: u16) -> std::ops::Range<usize> {
    let start = usize::from(number % CHUNK_BUFFERS) * STRIDE;
    start..start + BUFFER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last byte of a buffer, to see that buffers do not overlap.
    fn ends(pool: &Pool, number: u16) -> [u8; 2] {
        let buffer = pool.buffer(number);
        [buffer[0], buffer[BUFFER_BYTES - 1]]
    }

    #[test]
    fn a_pool_that_shrinks_gives_back_what_nobody_holds_and_parks_the_rest() {
        let mut pool = Pool::new(4).expect("memory");
        while !pool.grow().expect("memory").is_empty() {}
        assert_eq!(pool.len(), 1024);
        for number in 0..1024 {
            pool.buffer_mut(number).fill(7);
        }
        assert!(!pool.park(600), "all of it is in use");
        pool.shrink([600].into_iter());
        assert_eq!(ends(&pool, 3), [7, 7], "the first chunk stays");
        assert_eq!(ends(&pool, 300), [0, 0]);
        assert_eq!(ends(&pool, 600), [7, 7], "somebody holds it");
        assert_eq!(ends(&pool, 601), [7, 7], "it is in the same chunk");
        assert_eq!(ends(&pool, 1000), [0, 0]);
        assert!(!pool.park(255));
        assert!(pool.park(600) && pool.park(256));
        assert_eq!(
            pool.grow().expect("memory"),
            [600, 256],
            "parked ones first"
        );
        assert!(!pool.park(600), "all of it is in use again");
        assert!(pool.grow().expect("memory").is_empty(), "at the limit");
    }
}
