//! The board: shared memory in which each worker publishes how many connections it holds. The accept balance and the
//! limit of connections read it.
//!
//! Owns: the memfd and its size, and the mark for a seat without a worker. The workers own the layout: 64 bytes each,
//! of which the first four hold the mark. Never: maps it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;

use super::sys;

/// Bytes from one worker's count to the next: one cache line.
pub const SLOT_LEN: u64 = 64;

/// The count of a seat without a worker: higher than any real one, so that no worker waits for that seat to catch up.
pub const VACANT: u32 = u32::MAX;

const PAGE_LEN: u64 = 4096;

/// The board's memory.
#[derive(Debug)]
pub(super) struct Board {
    file: File,
}

impl Board {
    /// A board for `workers` workers, filled with zeros.
    pub(super) fn new(workers: usize) -> io::Result<Self> {
        let file = sys::memfd(c"ringway-board")?;
        file.set_len(len(workers))?;
        Ok(Self { file })
    }

    /// The memfd, for workers in this process.
    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// The descriptor of the memfd, for a worker to inherit.
    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Marks the seat of a worker that is gone. The next worker of the seat writes 0 when it starts.
    pub(super) fn mark_vacant(&self, worker: usize) -> io::Result<()> {
        self.file
            .write_all_at(&VACANT.to_le_bytes(), worker as u64 * SLOT_LEN)
    }
}

/// A board for workers that are threads of this process, filled with zeros.
///
/// # Errors
/// The kernel has no memory or no descriptor.
pub fn board(workers: usize) -> io::Result<File> {
    Board::new(workers).map(Board::into_file)
}

fn len(workers: usize) -> u64 {
    (workers as u64 * SLOT_LEN)
        .next_multiple_of(PAGE_LEN)
        .max(PAGE_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_whole_pages() {
        assert_eq!((len(1), len(64), len(65)), (4096, 4096, 8192));
    }

    #[test]
    fn a_vacant_seat_is_marked_in_its_own_line() {
        let board = Board::new(3).expect("a memfd");
        board.mark_vacant(1).expect("a write");
        let mut bytes = [9; 132];
        board.file.read_exact_at(&mut bytes, 0).expect("a page");
        assert_eq!(bytes[..64], [0; 64]);
        assert_eq!(bytes[64..68], [0xff; 4]);
        assert_eq!(bytes[68..], [0; 64]);
    }
}
