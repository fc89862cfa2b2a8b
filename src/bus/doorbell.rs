//! Wakes readers of logs that sleep, and nobody else: a worker under load is never rung for.
//!
//! Owns: the memory in which each reader says that it sleeps, and the order of loads and stores that makes sure that no record waits
//! for a sleeper who was not rung for. Never: makes a system call; the caller rings, for example by writing to an eventfd.
//!
//! ```text
//!  word 0  magic · version · readers                    written once, by `format`
//!  word 8  reader 0: its word, alone on its cache line
//!  word 16 reader 1 …
//!
//!                    fall_asleep, n-th time
//!       ┌─────────┐ ───────────────────────▶ ┌──────────────┐
//!       │ awake   │         2n − 1           │ asleep       │
//!       │ even    │ ◀─────────────────────── │ odd          │
//!       └─────────┘   wake, or a writer that └──────────────┘
//!                     has rung:     2n
//! ```
//!
//! The reader stores that it sleeps, makes a sequentially consistent fence, looks once more, and only then sleeps. A writer stores its
//! records, makes the same fence, and looks who sleeps. Whichever fence comes first, one of the two sees the other's store.
//!
//! A writer rings first and then marks the sleeper as rung for, so that the others need not ring again; killed in between, it
//! leaves a sleeper that somebody rings for twice. The count of sleeps keeps a late mark from ending a newer sleep. A writer that is
//! killed between its record and its look leaves a reader asleep; its successor calls [`Bells::ring_all`].

use std::fmt;

use crate::atomic::{Ordering, Words, fence, index, number};

const MAGIC: u64 = u64::from_be_bytes(*b"RINGBELL");
const VERSION: u64 = 1;
/// Words of a cache line: a reader's store does not slow the others down.
const LINE_WORDS: usize = 8;

/// Readers of one memory. 64 bytes each; 1024 workers, and some processes beside them.
pub const READERS_MAX: usize = 1088;

/// Bytes of shared memory for `readers` bells.
pub const fn memory_bytes(readers: usize) -> usize {
    (1 + readers) * LINE_WORDS * 8
}

/// Makes the bells of `readers` readers, all awake, in memory that is all zeroes.
///
/// # Errors
/// The memory has another size or is not fresh, or there are no readers or more than [`READERS_MAX`].
pub fn format<W: Words>(words: &W, readers: usize) -> Result<(), Fault> {
    check_size(words.len(), readers)?;
    if words.iter().any(|word| word.load(Ordering::Acquire) != 0) {
        return Err(Fault::NotFresh);
    }
    words[1].store(VERSION, Ordering::Relaxed);
    words[2].store(number(readers), Ordering::Relaxed);
    words[0].store(MAGIC, Ordering::Release);
    Ok(())
}

const fn check_size(words: usize, readers: usize) -> Result<(), Fault> {
    if readers == 0 || readers > READERS_MAX {
        return Err(Fault::ReadersInvalid(number(readers)));
    }
    let expected = (1 + readers) * LINE_WORDS;
    if words != expected {
        return Err(Fault::SizeWrong { words, expected });
    }
    Ok(())
}

/// The bells, as a writer sees them.
#[derive(Clone, Debug)]
pub struct Bells<W> {
    words: W,
    readers: usize,
}

/// What [`Bells::ring`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Readers that were rung for.
    pub rung: usize,
    /// Readers that sleep on because ringing failed. The next call tries again.
    pub failed: usize,
}

impl<W: Words> Bells<W> {
    /// The bells in this memory.
    ///
    /// # Errors
    /// The memory holds something else.
    pub fn attach(words: W) -> Result<Self, Fault> {
        let word = |at: usize| words.get(at).map(|word| word.load(Ordering::Acquire));
        if word(0) != Some(MAGIC) || word(1) != Some(VERSION) {
            return Err(Fault::NoBells);
        }
        let readers = index(word(2).unwrap_or(0));
        check_size(words.len(), readers)?;
        Ok(Self { words, readers })
    }

    /// How many readers there may be.
    pub const fn readers(&self) -> usize {
        self.readers
    }

    /// Rings for every reader but `own` that sleeps. To be called once after all records of a turn.
    ///
    /// `ring` wakes a reader for good: also one that is about to sleep. An eventfd does.
    pub fn ring<E>(
        &self,
        own: Option<usize>,
        mut ring: impl FnMut(usize) -> Result<(), E>,
    ) -> Rings {
        let mut rings = Rings::default();
        fence(Ordering::SeqCst);
        for reader in (0..self.readers).filter(|reader| Some(*reader) != own) {
            let word = &self.words[at(reader)];
            let state = word.load(Ordering::Relaxed);
            if !is_asleep(state) {
                continue;
            }
            if ring(reader).is_err() {
                rings.failed += 1;
                continue;
            }
            rings.rung += 1;
            // Fails if the reader has woken up meanwhile, or another writer has rung as well: both are as good.
            let awake = state.wrapping_add(1);
            let _ = word.compare_exchange(state, awake, Ordering::AcqRel, Ordering::Relaxed);
        }
        rings
    }

    /// Rings for every reader but `own`, asleep or not: what a writer does that has taken a log over.
    pub fn ring_all<E>(
        &self,
        own: Option<usize>,
        mut ring: impl FnMut(usize) -> Result<(), E>,
    ) -> Rings {
        let mut rings = Rings::default();
        for reader in (0..self.readers).filter(|reader| Some(*reader) != own) {
            match ring(reader) {
                Ok(()) => rings.rung += 1,
                Err(_) => rings.failed += 1,
            }
        }
        rings
    }
}

/// What [`Sleeper::fall_asleep`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// There is something to read; the reader counts as awake.
    Awake,
    /// Whoever publishes from now on rings.
    Asleep,
}

/// A reader's own bell.
#[derive(Debug)]
pub struct Sleeper<W> {
    words: W,
    own: usize,
    /// What stands in the word, unless a writer has rung.
    state: u64,
}

impl<W: Words> Sleeper<W> {
    /// The bell number `own`. The reader is awake, whatever a reader before it has left.
    ///
    /// # Errors
    /// There is no such bell.
    pub fn new(bells: Bells<W>, own: usize) -> Result<Self, Fault> {
        if own >= bells.readers {
            return Err(Fault::ReadersInvalid(number(own)));
        }
        let left = bells.words[at(own)].load(Ordering::Acquire);
        let mut sleeper = Self {
            words: bells.words,
            own,
            state: left,
        };
        sleeper.wake();
        Ok(sleeper)
    }

    /// Announces that the reader sleeps, then looks with `has_news` once more. After [`Sleep::Asleep`] the reader waits until it
    /// is rung for, or until something else wakes it; then it calls [`Self::wake`].
    pub fn fall_asleep(&mut self, has_news: impl FnOnce() -> bool) -> Sleep {
        debug_assert!(!is_asleep(self.state));
        self.state = self.state.wrapping_add(1);
        self.announce();
        fence(Ordering::SeqCst);
        if has_news() {
            self.wake();
            return Sleep::Awake;
        }
        Sleep::Asleep
    }

    /// The reader is awake, and will look at everything before it sleeps again. Nobody rings until then.
    pub fn wake(&mut self) {
        if is_asleep(self.state) {
            self.state = self.state.wrapping_add(1);
            self.announce();
        }
    }

    /// A swap, so that a mark of a writer counts as older than this, also for loom: of two stores that nothing else orders, loom
    /// lets the writer see its own as the later one. It costs nothing beside the system call of a sleep.
    fn announce(&self) {
        self.words[at(self.own)].swap(self.state, Ordering::AcqRel);
    }
}

const fn is_asleep(state: u64) -> bool {
    state % 2 == 1
}

const fn at(reader: usize) -> usize {
    (1 + reader) * LINE_WORDS
}

/// Why memory holds no bells that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Something else lies in this memory, or another version.
    NoBells,
    /// [`format()`] wants memory that is all zeroes.
    NotFresh,
    /// None, more than [`READERS_MAX`], or a number that no reader has.
    ReadersInvalid(u64),
    /// The memory is not as large as its readers need.
    SizeWrong {
        /// Words of the memory.
        words: usize,
        /// Words that the bells take.
        expected: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBells => write!(f, "this memory holds no doorbells of this version"),
            Self::NotFresh => write!(f, "this memory is in use already"),
            Self::ReadersInvalid(readers) => {
                write!(f, "there is no doorbell for {readers} readers")
            }
            Self::SizeWrong { words, expected } => {
                write!(
                    f,
                    "the doorbells take {expected} words and their memory has {words}"
                )
            }
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::AtomicU64;

    fn fresh(readers: usize) -> Arc<[AtomicU64]> {
        let words = memory_bytes(readers) / 8;
        std::iter::repeat_with(AtomicU64::default)
            .take(words)
            .collect()
    }

    fn bells(readers: usize) -> Bells<Arc<[AtomicU64]>> {
        let words = fresh(readers);
        format(&words, readers).expect("fresh");
        Bells::attach(words).expect("bells")
    }

    fn rung(bells: &Bells<Arc<[AtomicU64]>>, own: Option<usize>) -> Vec<usize> {
        let mut rung = vec![];
        let ring = |reader| {
            rung.push(reader);
            Ok::<(), ()>(())
        };
        let rings = bells.ring(own, ring);
        assert_eq!(
            rings,
            Rings {
                rung: rung.len(),
                failed: 0
            }
        );
        rung
    }

    #[test]
    fn only_sleepers_are_rung_for_and_each_once_per_sleep() {
        let bells = bells(3);
        let mut one = Sleeper::new(bells.clone(), 1).expect("a bell");
        let mut two = Sleeper::new(bells.clone(), 2).expect("a bell");
        assert_eq!(rung(&bells, None), [0; 0]);
        assert_eq!(one.fall_asleep(|| false), Sleep::Asleep);
        assert_eq!(two.fall_asleep(|| true), Sleep::Awake);
        assert_eq!(rung(&bells, None), [1]);
        assert_eq!(rung(&bells, None), [0; 0]);
        one.wake();
        assert_eq!(one.fall_asleep(|| false), Sleep::Asleep);
        assert_eq!(two.fall_asleep(|| false), Sleep::Asleep);
        assert_eq!(rung(&bells, Some(1)), [2]);
        assert_eq!(rung(&bells, None), [1]);
    }

    #[test]
    fn a_mark_that_comes_late_does_not_end_the_next_sleep() {
        let bells = bells(1);
        let mut sleeper = Sleeper::new(bells.clone(), 0).expect("a bell");
        assert_eq!(sleeper.fall_asleep(|| false), Sleep::Asleep);
        // While the writer rings, the reader wakes up and sleeps again.
        bells.ring(None, |_| {
            sleeper.wake();
            assert_eq!(sleeper.fall_asleep(|| false), Sleep::Asleep);
            Ok::<(), ()>(())
        });
        assert_eq!(rung(&bells, None), [0]);
    }

    #[test]
    fn a_bell_that_could_not_be_rung_is_rung_again() {
        let bells = bells(1);
        let mut sleeper = Sleeper::new(bells.clone(), 0).expect("a bell");
        assert_eq!(sleeper.fall_asleep(|| false), Sleep::Asleep);
        assert_eq!(bells.ring(None, |_| Err(())), Rings { rung: 0, failed: 1 });
        assert_eq!(rung(&bells, None), [0]);
    }

    #[test]
    fn a_reader_that_was_killed_asleep_is_followed_by_one_that_is_awake() {
        let bells = bells(1);
        let mut sleeper = Sleeper::new(bells.clone(), 0).expect("a bell");
        assert_eq!(sleeper.fall_asleep(|| false), Sleep::Asleep);
        drop(sleeper);
        let mut next = Sleeper::new(bells.clone(), 0).expect("a bell");
        assert_eq!(rung(&bells, None), [0; 0]);
        assert_eq!(next.fall_asleep(|| false), Sleep::Asleep);
        assert_eq!(rung(&bells, None), [0]);
        assert_eq!(
            bells.ring_all(None, |_| Ok::<(), ()>(())),
            Rings { rung: 1, failed: 0 }
        );
    }

    #[test]
    fn memory_without_bells_is_refused() {
        let words = fresh(2);
        assert_eq!(Bells::attach(words.clone()).map(drop), Err(Fault::NoBells));
        assert_eq!(format(&words, 0), Err(Fault::ReadersInvalid(0)));
        assert_eq!(
            format(&words, READERS_MAX + 1),
            Err(Fault::ReadersInvalid(1089))
        );
        let wrong = Err(Fault::SizeWrong {
            words: 24,
            expected: 32,
        });
        assert_eq!(format(&words, 3), wrong);
        assert_eq!(format(&words, 2), Ok(()));
        assert_eq!(format(&words, 2), Err(Fault::NotFresh));
        words[2].store(3, Ordering::Relaxed);
        assert_eq!(Bells::attach(words.clone()).map(drop), wrong);
        words[2].store(2, Ordering::Relaxed);
        let bells = Bells::attach(words).expect("bells");
        assert_eq!(
            Sleeper::new(bells, 2).map(drop),
            Err(Fault::ReadersInvalid(2))
        );
    }
}
