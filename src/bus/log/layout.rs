//! Where everything lies in the memory of a log, and what must hold before anybody trusts it.

use std::fmt;

use super::Kind;
use crate::atomic::{AtomicU64, Ordering, WORD_BYTES, index, number};

/// The first word of a log: "RINGWLOG" as a big-endian number.
const MAGIC: u64 = u64::from_be_bytes(*b"RINGWLOG");
/// Raised when the layout changes.
const VERSION: u64 = 1;

/// Words before the data.
pub(super) const HEADER_WORDS: usize = 32;
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 1;
const CAPACITY_AT: usize = 2;
const RECORD_WORDS_MAX_AT: usize = 3;
const NUMBER_AT: usize = 4;
/// Each of these begins a cache line of its own, because they are stored at different times.
pub(super) const EPOCH_AT: usize = 8;
pub(super) const CLAIMED_AT: usize = 16;
pub(super) const PUBLISHED_AT: usize = 17;
pub(super) const MARKS_AT: usize = 24;

/// Parts of the data with a mark each: a reader that was overtaken finds a record in the newer half if records are shorter than an
/// eighth. Chosen, untested.
pub(super) const MARKS: u64 = 8;

/// Words of a record before its topic.
pub(super) const RECORD_HEADER_WORDS: usize = 3;
/// Words of the end behind the last record: no commit word, and the next sequence number.
pub(super) const END_WORDS: u64 = 2;

const _: () = assert!(MARKS_AT + index(MARKS) == HEADER_WORDS);

/// The sizes of a log, chosen when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the data: a power of two from 256. The memory is 256 bytes larger, see [`Self::memory_bytes`].
    pub capacity_bytes: usize,
    /// Bytes of the largest record with its header of 24 bytes and its filling. At most a quarter of the capacity, so that a reader of
    /// the newer half is not overtaken by a single record, and a multiple of 16 from 48.
    pub record_bytes_max: usize,
    /// The number of the log, for example the worker's. Readers check that they hold the one they meant.
    pub number: u32,
}

impl Layout {
    /// 4 MiB of data and records of at most 512 KiB: with messages of 1 KiB a reader may fall 4,000 of them behind.
    pub const fn new(number: u32) -> Self {
        Self {
            capacity_bytes: 4 << 20,
            record_bytes_max: 512 << 10,
            number,
        }
    }

    /// Bytes of shared memory that the log takes.
    pub const fn memory_bytes(&self) -> usize {
        HEADER_WORDS * WORD_BYTES + self.capacity_bytes
    }

    /// The largest body beside a topic of `topic_bytes`.
    pub const fn body_bytes_max(&self, topic_bytes: usize) -> usize {
        let taken = (RECORD_HEADER_WORDS + topic_bytes.div_ceil(WORD_BYTES)) * WORD_BYTES;
        self.record_bytes_max.saturating_sub(taken)
    }

    fn check(&self) -> Result<(), Fault> {
        let Self {
            capacity_bytes,
            record_bytes_max,
            ..
        } = *self;
        if !capacity_bytes.is_power_of_two() || !(256..=1 << 40).contains(&capacity_bytes) {
            return Err(Fault::CapacityInvalid(number(capacity_bytes)));
        }
        let fits = (48..=capacity_bytes / 4).contains(&record_bytes_max);
        if !fits || !record_bytes_max.is_multiple_of(16) || record_bytes_max > 1 << 31 {
            return Err(Fault::RecordMaxInvalid(number(record_bytes_max)));
        }
        Ok(())
    }

    /// Reads the sizes once. Nobody reads them again, so what is stored there later harms nobody.
    pub(super) fn read(words: &[AtomicU64]) -> Result<Self, Fault> {
        let header = words.get(..HEADER_WORDS).ok_or(Fault::TooSmall)?;
        let word = |at: usize| header[at].load(Ordering::Acquire);
        if word(MAGIC_AT) != MAGIC {
            return Err(Fault::MagicWrong(word(MAGIC_AT)));
        }
        if word(VERSION_AT) != VERSION {
            return Err(Fault::VersionUnknown(word(VERSION_AT)));
        }
        let bytes = |at: usize| word(at).checked_mul(number(WORD_BYTES));
        let capacity = bytes(CAPACITY_AT).ok_or(Fault::CapacityInvalid(u64::MAX))?;
        let record_max = bytes(RECORD_WORDS_MAX_AT).ok_or(Fault::RecordMaxInvalid(u64::MAX))?;
        let layout = Self {
            capacity_bytes: index(capacity),
            record_bytes_max: index(record_max),
            number: u32::try_from(word(NUMBER_AT)).map_err(|_| Fault::NumberInvalid)?,
        };
        layout.check()?;
        if words.len() != layout.memory_bytes() / WORD_BYTES {
            return Err(Fault::SizeWrong {
                words: words.len(),
                expected: layout.memory_bytes() / WORD_BYTES,
            });
        }
        Ok(layout)
    }
}

/// Makes a damaged log new. Nobody writes it meanwhile; readers see that it contradicts itself, and that it has another epoch once
/// this is done.
///
/// # Errors
/// The sizes are not possible, or the memory has another size.
pub fn format_again(words: &[AtomicU64], layout: Layout) -> Result<(), Fault> {
    let Some(header) = words.get(..HEADER_WORDS) else {
        return Err(Fault::TooSmall);
    };
    // No reader attaches from here on.
    header[MAGIC_AT].store(0, Ordering::Release);
    let epoch = epoch(words);
    for word in words {
        word.store(0, Ordering::Release);
    }
    format(words, layout)?;
    header[EPOCH_AT].store(epoch.wrapping_add(1) % (u64::MAX / 2), Ordering::Release);
    Ok(())
}

/// The epoch that stands in memory, which may be no log: whoever could not read it looks again when this has changed.
pub fn epoch(words: &[AtomicU64]) -> u64 {
    words
        .get(EPOCH_AT)
        .map_or(0, |word| word.load(Ordering::Acquire))
}

/// Makes a log in memory that is all zeroes. Whoever makes the memory does this before anybody else sees it; then each writer begins
/// with [`Writer::take_over`](super::Writer::take_over), the first one too.
///
/// # Errors
/// The sizes are not possible, the memory has another size, or it is not fresh.
pub fn format(words: &[AtomicU64], layout: Layout) -> Result<(), Fault> {
    layout.check()?;
    let expected = layout.memory_bytes() / WORD_BYTES;
    if words.len() != expected {
        return Err(Fault::SizeWrong {
            words: words.len(),
            expected,
        });
    }
    // The rest of fresh memory is zero, as is the end with sequence number 0 at position 0.
    let header = &words[..HEADER_WORDS];
    if header.iter().any(|word| word.load(Ordering::Acquire) != 0) {
        return Err(Fault::NotFresh);
    }
    let store = |at: usize, value| header[at].store(value, Ordering::Relaxed);
    store(VERSION_AT, VERSION);
    store(CAPACITY_AT, number(layout.capacity_bytes / WORD_BYTES));
    store(
        RECORD_WORDS_MAX_AT,
        number(layout.record_bytes_max / WORD_BYTES),
    );
    store(NUMBER_AT, u64::from(layout.number));
    header[MAGIC_AT].store(MAGIC, Ordering::Release);
    Ok(())
}

/// The data of a log, addressed by positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Words of the data; a power of two.
    pub(super) capacity: u64,
    pub(super) record_words_max: u64,
}

impl Geometry {
    pub(super) const fn of(layout: &Layout) -> Self {
        Self {
            capacity: number(layout.capacity_bytes / WORD_BYTES),
            record_words_max: number(layout.record_bytes_max / WORD_BYTES),
        }
    }

    /// The index of the word at a position; always inside the memory.
    pub(super) const fn at(self, position: u64) -> usize {
        HEADER_WORDS + index(position & (self.capacity - 1))
    }

    /// Words from a position to the end of the data.
    pub(super) const fn left(self, position: u64) -> u64 {
        self.capacity - (position & (self.capacity - 1))
    }

    /// Which eighth of the data a position is in, counted over all laps.
    pub(super) const fn eighth(self, position: u64) -> u64 {
        position / (self.capacity / MARKS)
    }

    /// The index of the mark of an eighth.
    pub(super) const fn mark_at(eighth: u64) -> usize {
        MARKS_AT + index(eighth % MARKS)
    }
}

/// A commit word taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) kind: Kind,
    pub(super) topic_bytes: u16,
    pub(super) body_bytes: u32,
}

impl Commit {
    pub(super) fn encode(self) -> u64 {
        u64::from(self.kind.0) | u64::from(self.topic_bytes) << 8 | u64::from(self.body_bytes) << 32
    }

    #[expect(clippy::cast_possible_truncation, reason = "each field is cut out")]
    pub(super) const fn decode(word: u64) -> Self {
        Self {
            kind: Kind(word as u8),
            topic_bytes: (word >> 8) as u16,
            body_bytes: (word >> 32) as u32,
        }
    }

    pub(super) fn topic_words(self) -> usize {
        usize::from(self.topic_bytes).div_ceil(WORD_BYTES)
    }

    pub(super) fn body_words(self) -> usize {
        index(u64::from(self.body_bytes)).div_ceil(WORD_BYTES)
    }

    /// Words of the whole record, an even number.
    pub(super) fn words(self) -> u64 {
        let words = RECORD_HEADER_WORDS + self.topic_words() + self.body_words();
        number(words.next_multiple_of(2))
    }

    /// Words from this record at `position` to the next one. `None` if no such record can be there.
    pub(super) fn step(self, geometry: Geometry, position: u64) -> Option<u64> {
        if self.kind == Kind::PADDING {
            // At the beginning of the data every record fits. So a reader that follows paddings comes to an end, whatever stands there.
            let left = geometry.left(position);
            return (left < geometry.capacity).then_some(left);
        }
        let words = self.words();
        let fits = words <= geometry.record_words_max && words <= geometry.left(position);
        (fits && self.kind != Kind::NONE).then_some(words)
    }
}

/// Why memory is no log that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No power of two from 256 bytes to 1 TiB.
    CapacityInvalid(u64),
    /// Positions, commit words and sequence numbers contradict each other: something else than a writer has stored here. A new
    /// memory has to take its place.
    Corrupt,
    /// Something else than a log's first word.
    MagicWrong(u64),
    /// [`format()`] wants memory that is all zeroes.
    NotFresh,
    /// The number of the log has more than 32 bits.
    NumberInvalid,
    /// Not from 48 bytes to a quarter of the capacity, or no multiple of 16.
    RecordMaxInvalid(u64),
    /// The memory is not as large as the log says.
    SizeWrong {
        /// Words of the memory.
        words: usize,
        /// Words that the log takes.
        expected: usize,
    },
    /// Not even the header fits.
    TooSmall,
    /// A layout of another version of the program.
    VersionUnknown(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapacityInvalid(bytes) => {
                write!(f, "a log cannot have a capacity of {bytes} bytes")
            }
            Self::Corrupt => write!(f, "the log contradicts itself"),
            Self::MagicWrong(word) => write!(f, "this memory is no log: it begins with {word:#x}"),
            Self::NotFresh => write!(f, "this memory is in use already"),
            Self::NumberInvalid => write!(f, "the number of the log has more than 32 bits"),
            Self::RecordMaxInvalid(bytes) => {
                write!(f, "records of the log cannot have {bytes} bytes")
            }
            Self::SizeWrong { words, expected } => {
                write!(
                    f,
                    "the log takes {expected} words and its memory has {words}"
                )
            }
            Self::TooSmall => write!(f, "this memory is smaller than the header of a log"),
            Self::VersionUnknown(version) => write!(f, "version {version} of the log is not known"),
        }
    }
}

impl std::error::Error for Fault {}
