//! The board: one page-sized memfd that all workers of a server map, where each publishes how many connections it holds.
//!
//! ```text
//!   offset 0        64        128
//!          │ w0: u32 │ w1: u32 │ …      one cache line per worker; u32::MAX = the seat is vacant
//! ```
//!
//! The supervisor makes it and marks the seat of a dead worker vacant; a worker writes its own seat only.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;

/// Distance of two seats: a cache line, so that a store of one worker does not slow the others down.
pub const SEAT_OCTETS: usize = 64;

/// What a seat holds while nobody sits there.
const VACANT: u32 = u32::MAX;

/// A worker's view of the board.
#[derive(Debug)]
pub struct Board {
    start: NonNull<u8>,
    seats: usize,
    own: usize,
}

impl Board {
    /// Maps the board of `seats` workers and takes the seat `own`.
    ///
    /// # Errors
    /// The file is too small for them, or cannot be mapped.
    pub fn map(file: &File, seats: usize, own: usize) -> Result<Self, Error> {
        let operation = "map the board of connection counts";
        let len = file
            .metadata()
            .map_err(|source| Error { operation, source })?
            .len();
        let len = usize::try_from(len).unwrap_or(0);
        if own >= seats || seats > len / SEAT_OCTETS {
            return Err(Error {
                operation,
                source: std::io::ErrorKind::InvalidInput.into(),
            });
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, of a file that this process holds open.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::last(operation));
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| Error::last(operation))?;
        let board = Self { start, seats, own };
        board.publish(0);
        Ok(board)
    }

    /// Tells the others how many connections this worker holds.
    pub fn publish(&self, connections: u32) {
        self.seat(self.own).store(connections, Ordering::Relaxed);
    }

    /// The least that any other worker holds; `None` when there is no other.
    pub fn least_of_others(&self) -> Option<u32> {
        let held = |seat: usize| self.seat(seat).load(Ordering::Relaxed);
        (0..self.seats)
            .filter(|seat| *seat != self.own)
            .map(held)
            .filter(|held| *held != VACANT)
            .min()
    }

    fn seat(&self, seat: usize) -> &AtomicU32 {
        assert!(seat < self.seats, "a seat of the board");
        // SAFETY: `seat` is below `seats`, so the offset lies in the mapping.
        let pointer = unsafe { self.start.as_ptr().add(seat * SEAT_OCTETS) };
        // SAFETY: aligned (a page plus multiples of 64), mapped as long as `self` lives (it is never unmapped: a worker
        // keeps its board until it exits), and all processes touch it atomically only.
        unsafe { AtomicU32::from_ptr(pointer.cast()) }
    }
}
