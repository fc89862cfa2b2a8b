//! A reader of a log: as many as there are, each with a place of its own.

use std::fmt;
use std::num::NonZeroU64;

use super::Kind;
use super::layout::{
    CLAIMED_AT, Commit, EPOCH_AT, Fault, Geometry, Layout, MARKS, PUBLISHED_AT, RECORD_HEADER_WORDS,
};
use crate::atomic::{Ordering, WORD_BYTES, Words, fence, index};

/// Looks for a place in the newer half before the log counts as corrupt. A second look is needed only when the writer has
/// written half of the log since the first one.
const LOOKS_MAX: usize = 100;

/// Where a reader copies records to: one per worker serves all its readers. As large as the largest record.
#[derive(Debug)]
pub struct RecordBuffer(Box<[u8]>);

impl RecordBuffer {
    /// For records of logs with at most this `record_bytes_max`.
    pub fn new(record_bytes_max: usize) -> Self {
        Self(vec![0; record_bytes_max].into_boxed_slice())
    }
}

/// A record, copied out of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    /// What it is.
    pub kind: Kind,
    /// Counted from 0 over all epochs of the log.
    pub sequence: u64,
    /// Who it comes from.
    pub origin: u64,
    /// Whatever the writer gave; another process is not trusted to have given UTF-8.
    pub topic: &'b [u8],
    /// For a message: the finished frame.
    pub body: &'b [u8],
}

/// What a reader meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A new writer has begun. Nothing that its predecessor published is missing because of that.
    Began {
        /// Its epoch.
        epoch: u64,
    },
    /// The writer has overwritten records that this reader has not read.
    Gap {
        /// How many.
        records: NonZeroU64,
    },
    /// The next record.
    Record(Record<'b>),
}

/// Reads the records of a log, in order. Stores nothing, so its memory may be mapped read-only.
#[derive(Debug)]
pub struct Reader<W> {
    words: W,
    layout: Layout,
    geometry: Geometry,
    /// Of the next record.
    position: u64,
    /// The number that the next record must have.
    sequence: u64,
    corrupt: bool,
}

/// What stood at the reader's position. Worth nothing until it is certain that it was not being overwritten.
enum Seen {
    Corrupt,
    Nothing,
    Padding(u64),
    Record(Commit, u64),
}

impl<W: Words> Reader<W> {
    /// Begins behind the last record that is published now.
    ///
    /// # Errors
    /// The memory is no log, or one that contradicts itself.
    pub fn attach(words: W) -> Result<Self, Fault> {
        let layout = Layout::read(&words)?;
        let mut reader = Self {
            words,
            layout,
            geometry: Geometry::of(&layout),
            position: 0,
            sequence: 0,
            corrupt: false,
        };
        let found = reader.find(|_, head| head);
        (reader.position, reader.sequence) = found.ok_or(Fault::Corrupt)?;
        Ok(reader)
    }

    /// The sizes of the log.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The number that the next record will have.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many writers the log has had so far.
    pub fn epoch(&self) -> u64 {
        self.words[EPOCH_AT].load(Ordering::Acquire)
    }

    /// Whether [`Self::poll`] would find anything: the look between announcing one's sleep and sleeping.
    pub fn has_news(&self) -> bool {
        let commit = self.words[self.geometry.at(self.position)].load(Ordering::Acquire);
        !self.corrupt && (commit != 0 || self.is_overtaken(self.position))
    }

    /// The next event, or `None` if everything was read.
    ///
    /// # Errors
    /// The log contradicts itself. The reader stays where it is, and every further call fails as well: a new log, or a new reader once
    /// the log has a new writer, must take its place.
    ///
    /// # Panics
    /// If the buffer was made for smaller records.
    pub fn poll<'b>(&mut self, buffer: &'b mut RecordBuffer) -> Result<Option<Event<'b>>, Corrupt> {
        assert!(buffer.0.len() >= self.layout.record_bytes_max);
        loop {
            if self.corrupt {
                return Err(Corrupt);
            }
            let seen = self.look();
            let origin = match seen {
                Seen::Record(commit, _) => self.copy(commit, &mut buffer.0),
                _ => 0,
            };
            fence(Ordering::Acquire);
            if self.is_overtaken(self.position) {
                if let Some(records) = self.jump() {
                    return Ok(Some(Event::Gap { records }));
                }
                continue;
            }
            match seen {
                Seen::Nothing => return Ok(None),
                Seen::Corrupt => self.corrupt = true,
                Seen::Padding(words) => self.position += words,
                Seen::Record(commit, words) => {
                    let sequence = self.sequence;
                    self.position += words;
                    self.sequence += 1;
                    return Ok(Some(event(commit, sequence, origin, &buffer.0)));
                }
            }
        }
    }

    fn look(&self) -> Seen {
        let at = self.geometry.at(self.position);
        // Acquire: everything that the writer stored before the commit word.
        let word = self.words[at].load(Ordering::Acquire);
        let sequence = self.words[at + 1].load(Ordering::Relaxed);
        let commit = Commit::decode(word);
        if sequence != self.sequence {
            return Seen::Corrupt;
        }
        if word == 0 {
            return Seen::Nothing;
        }
        match commit.step(self.geometry, self.position) {
            None => Seen::Corrupt,
            Some(words) if commit.kind == Kind::PADDING => Seen::Padding(words),
            Some(words) => Seen::Record(commit, words),
        }
    }

    /// Copies topic and body, and returns the origin.
    fn copy(&self, commit: Commit, buffer: &mut [u8]) -> u64 {
        let words = commit.topic_words() + commit.body_words();
        let record = &self.words[self.geometry.at(self.position)..];
        let (header, rest) = record.split_at(RECORD_HEADER_WORDS);
        let (chunks, _) = buffer.as_chunks_mut::<WORD_BYTES>();
        for (bytes, word) in chunks.iter_mut().zip(&rest[..words]) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        header[2].load(Ordering::Relaxed)
    }

    /// Whether the writer may have begun to overwrite what is at `position`.
    fn is_overtaken(&self, position: u64) -> bool {
        let claimed = self.words[CLAIMED_AT].load(Ordering::Relaxed);
        claimed > position.saturating_add(self.geometry.capacity)
    }

    /// Goes on in the newer half of the log. `None` if only padding was overwritten, or if there is no such place.
    fn jump(&mut self) -> Option<NonZeroU64> {
        let Some((position, sequence)) = self.find(Self::oldest_in_newer_half) else {
            self.corrupt = true;
            return None;
        };
        let missed = sequence.checked_sub(self.sequence);
        // A place behind this one, or fewer records than were read already: no writer leaves that.
        self.corrupt = missed.is_none() || position <= self.position;
        (self.position, self.sequence) = (position, sequence);
        missed.and_then(NonZeroU64::new).filter(|_| !self.corrupt)
    }

    /// A place that `choose` takes, seen the last position that was published, with the number of the record there.
    fn find(&self, choose: impl Fn(&Self, u64) -> u64) -> Option<(u64, u64)> {
        for _ in 0..LOOKS_MAX {
            let head = self.words[PUBLISHED_AT].load(Ordering::Acquire);
            let position = choose(self, head);
            if !position.is_multiple_of(2) || position > u64::MAX / 2 {
                return None;
            }
            let sequence = self.words[self.geometry.at(position) + 1].load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if !self.is_overtaken(position) {
                return (sequence <= u64::MAX / 2).then_some((position, sequence));
            }
        }
        None
    }

    fn oldest_in_newer_half(&self, head: u64) -> u64 {
        let from = head.saturating_sub(self.geometry.capacity / 2);
        let marks =
            (0..MARKS).map(|eighth| self.words[Geometry::mark_at(eighth)].load(Ordering::Relaxed));
        // A mark beyond `head` belongs to a record that may not be published yet.
        marks
            .filter(|mark| (from..head).contains(mark))
            .min()
            .unwrap_or(head)
    }
}

fn event(commit: Commit, sequence: u64, origin: u64, buffer: &[u8]) -> Event<'_> {
    let (topic, rest) = buffer.split_at(commit.topic_words() * WORD_BYTES);
    let record = Record {
        kind: commit.kind,
        sequence,
        origin,
        topic: &topic[..usize::from(commit.topic_bytes)],
        body: &rest[..index(u64::from(commit.body_bytes))],
    };
    match record.body.try_into() {
        Ok(epoch) if record.kind == Kind::BEGAN => Event::Began {
            epoch: u64::from_ne_bytes(epoch),
        },
        _ => Event::Record(record),
    }
}

/// The log contradicts itself: something else than a writer has stored in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log contradicts itself")
    }
}

impl std::error::Error for Corrupt {}
