//! The board: memory that all workers of a server map. Each worker publishes there how many connections it holds, and
//! that it runs.
//!
//! ```text
//!   offset 0              64        128
//!          │ seat 0       │ seat 1  │ …      one cache line per worker
//!          │ connections: u32  u32::MAX = the seat is vacant
//!          │ clients: u32      open WebSockets, counted only where their number is limited
//!          │ beat: u32         raised with every turn
//!          │ resting: u32      1 = takes no connections: it drains, or has no descriptors
//! ```
//!
//! The supervisor creates it, all zeroes, and marks the seat of a dead worker vacant. A worker writes only its own seat.

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;
use super::words::{Access, WORD_BYTES, Words};

/// Bytes from one seat to the next: a cache line, so that a store of one worker does not slow the others down.
pub const SEAT_BYTES: usize = 64;

/// Value of `connections` in a seat without a worker.
const VACANT: u32 = u32::MAX;

/// Attempts of [`Board::admit`]. Two workers that try to take the last place at the same time both see the limit exceeded
/// and both step back, so they have to try again.
const ADMIT_ATTEMPTS: usize = 100;

/// A number of a seat; the value is its offset in bytes.
#[derive(Clone, Copy, Debug)]
enum Field {
    Connections = 0,
    Clients = 4,
    Beat = 8,
    Resting = 12,
}

/// What a worker reads of another worker's seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Connections in any phase, those in their opening handshake included.
    pub connections: u32,
    /// A counter of turns. The worker has run since the last look if the number differs.
    pub beat: u32,
    /// The worker accepts no connections: it drains, or has no descriptors.
    pub resting: bool,
}

/// A worker's view of the board.
#[derive(Clone, Debug)]
pub struct Board {
    words: Words,
    seats: usize,
    own: usize,
}

impl Board {
    /// Maps the board of `seats` workers and takes the seat `own`.
    ///
    /// # Errors
    /// The file is too small for them, or cannot be mapped.
    pub fn map(file: &File, seats: usize, own: usize) -> Result<Self, Error> {
        if own >= seats {
            return Err(Error {
                operation: "take a seat of the board",
                source: std::io::ErrorKind::InvalidInput.into(),
            });
        }
        let words = Words::map(file, 0, seats * SEAT_BYTES, Access::Write)?;
        let board = Self { words, seats, own };
        // Clears the numbers of a dead predecessor. The seat counts as vacant until `connections` is stored, the last.
        board
            .number(own, Field::Clients)
            .store(0, Ordering::Relaxed);
        board.set_resting(false);
        board.beat();
        board
            .number(own, Field::Connections)
            .store(0, Ordering::Release);
        Ok(board)
    }

    /// Tells the others how many connections this worker holds.
    pub fn publish(&self, connections: u32) {
        self.number(self.own, Field::Connections)
            .store(connections, Ordering::Relaxed);
    }

    /// Tells the others that this worker runs.
    pub fn beat(&self) {
        let beat = self.number(self.own, Field::Beat);
        // Only this worker writes the number, so no atomic read-modify-write is needed.
        beat.store(
            beat.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
    }

    /// Tells the others whether this worker takes no connections.
    pub fn set_resting(&self, resting: bool) {
        self.number(self.own, Field::Resting)
            .store(resting.into(), Ordering::Relaxed);
    }

    /// The other workers by seat. `None` for a vacant seat.
    pub fn others(&self) -> impl Iterator<Item = (usize, Option<Seat>)> {
        (0..self.seats)
            .filter(|seat| *seat != self.own)
            .map(|seat| {
                let read = |field| self.number(seat, field).load(Ordering::Relaxed);
                let connections = read(Field::Connections);
                let taken = (connections != VACANT).then(|| Seat {
                    connections,
                    beat: read(Field::Beat),
                    resting: read(Field::Resting) != 0,
                });
                (seat, taken)
            })
    }

    /// Number of seats, the vacant ones and this worker's included.
    pub const fn seats(&self) -> usize {
        self.seats
    }

    /// Counts one more client of this worker, if all workers together hold fewer than `max`. They never hold more.
    /// Returns false if the limit is reached.
    pub fn admit(&self, max: u64) -> bool {
        for attempt in 0..ADMIT_ATTEMPTS {
            // Raises the own number first and reads the sum after it, sequentially consistent: of two workers that do so
            // at the same time, at least one sees the other's.
            self.number(self.own, Field::Clients)
                .fetch_add(1, Ordering::SeqCst);
            if self.clients() <= max {
                return true;
            }
            self.leave();
            if self.clients() >= max {
                return false;
            }
            // Another worker has stepped back too. Each waits for a time that grows with its seat, so that the lowest
            // seat goes first.
            for _ in 0..attempt * (self.own + 1) {
                std::hint::spin_loop();
            }
        }
        false
    }

    /// Counts one client less of this worker.
    pub fn leave(&self) {
        self.number(self.own, Field::Clients)
            .fetch_sub(1, Ordering::SeqCst);
    }

    /// Clients of all workers that are alive.
    fn clients(&self) -> u64 {
        (0..self.seats)
            .filter(|seat| {
                self.number(*seat, Field::Connections)
                    .load(Ordering::SeqCst)
                    != VACANT
            })
            .map(|seat| u64::from(self.number(seat, Field::Clients).load(Ordering::SeqCst)))
            .sum()
    }

    fn number(&self, seat: usize, field: Field) -> &AtomicU32 {
        assert!(seat < self.seats, "a seat of the board");
        let offset = seat * SEAT_BYTES + field as usize;
        let word = self.words[offset / WORD_BYTES].as_ptr().cast::<AtomicU32>();
        // SAFETY: a word has two numbers, and the remainder picks one of them.
        let number = unsafe { word.add(offset % WORD_BYTES / size_of::<AtomicU32>()) };
        // SAFETY: aligned within its word, mapped as long as `self` lives, and all processes touch numbers of the board atomically only,
        // 4 bytes at a time.
        unsafe { &*number }
    }
}

/// A board that a test makes for its workers.
#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// The file of a board with `seats` seats.
    pub(crate) fn file(seats: usize) -> File {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringway-board-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .expect("a temporary file");
        std::fs::remove_file(&path).expect("it is there");
        file.write_all(&vec![0; seats * SEAT_BYTES])
            .expect("room for a board");
        file
    }

    /// One board for each of `seats` workers, all on the same memory.
    pub(crate) fn boards(seats: usize) -> Vec<Board> {
        let file = file(seats);
        let map = |own| Board::map(&file, seats, own).expect("a board");
        (0..seats).map(map).collect()
    }

    #[test]
    fn each_worker_sees_the_others_and_not_itself() {
        let boards = boards(3);
        boards[0].publish(7);
        boards[2].set_resting(true);
        let seen: Vec<_> = boards[1].others().collect();
        assert_eq!(
            (seen[0].0, seen[0].1.map(|seat| seat.connections)),
            (0, Some(7))
        );
        assert_eq!(
            (seen[1].0, seen[1].1.map(|seat| seat.resting)),
            (2, Some(true))
        );
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_beat_is_seen() {
        let boards = boards(2);
        let beat = || {
            boards[0]
                .others()
                .next()
                .and_then(|(_, seat)| seat)
                .map(|seat| seat.beat)
        };
        let before = beat();
        boards[1].beat();
        assert_ne!(beat(), before);
    }

    #[test]
    fn clients_are_admitted_up_to_the_limit_of_all_workers_together() {
        let boards = boards(2);
        assert!(boards[0].admit(3) && boards[0].admit(3) && boards[1].admit(3));
        assert!(!boards[0].admit(3) && !boards[1].admit(3));
        boards[0].leave();
        assert!(boards[1].admit(3));
        assert!(!boards[1].admit(3));
    }

    #[test]
    fn the_clients_of_a_dead_worker_do_not_count() {
        use std::os::unix::fs::FileExt as _;
        let file = file(2);
        let (living, dead) = (Board::map(&file, 2, 0), Board::map(&file, 2, 1));
        let (living, dead) = (living.expect("a board"), dead.expect("a board"));
        assert!(dead.admit(1) && !living.admit(1));
        file.write_all_at(&VACANT.to_le_bytes(), SEAT_BYTES as u64)
            .expect("as the supervisor does");
        assert_eq!(living.others().next(), Some((1, None)));
        assert!(living.admit(1));
        let successor = Board::map(&file, 2, 1).expect("a board");
        assert!(!successor.admit(1));
    }

    /// Four threads take and leave places. There are never more clients than the limit; and no thread is refused while
    /// fewer than that can be inside.
    #[test]
    fn the_limit_is_exact_however_many_reach_for_the_last_place() {
        const MAX: u64 = 3;
        let file = file(4);
        let inside = AtomicU32::new(0);
        let turned_away = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for own in 0..4 {
                let (file, inside, turned_away) = (&file, &inside, &turned_away);
                scope.spawn(move || {
                    let board = Board::map(file, 4, own).expect("a board");
                    for _ in 0..20_000 {
                        if board.admit(MAX) {
                            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                            assert!(u64::from(now) <= MAX, "{now} are inside");
                            inside.fetch_sub(1, Ordering::SeqCst);
                            board.leave();
                        } else {
                            turned_away.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        // All four threads at once may find three clients inside; three threads alone never do.
        std::thread::scope(|scope| {
            for own in 0..3 {
                let file = &file;
                scope.spawn(move || {
                    let board = Board::map(file, 4, own).expect("a board");
                    for _ in 0..20_000 {
                        assert!(board.admit(MAX), "three never meet a fourth");
                        board.leave();
                    }
                });
            }
        });
    }
}
