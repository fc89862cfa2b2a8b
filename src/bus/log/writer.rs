//! The one writer of a log.

use std::fmt;

use super::Kind;
use super::layout::{
    CLAIMED_AT, Commit, END_WORDS, EPOCH_AT, Fault, Geometry, Layout, PUBLISHED_AT,
    RECORD_HEADER_WORDS,
};
use crate::atomic::{AtomicU64, Ordering, WORD_BYTES, Words, fence, index};

/// A record to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// From [`Kind::FIRST`] on.
    pub kind: Kind,
    /// Who it comes from: a number that the bus passes on.
    pub origin: u64,
    /// At most 65,535 bytes.
    pub topic: &'a [u8],
    /// For a message: the finished frame.
    pub body: &'a [u8],
}

/// Writes records. There is one per log at a time: whoever starts a new one has seen the old one end.
#[derive(Debug)]
pub struct Writer<W> {
    words: W,
    layout: Layout,
    geometry: Geometry,
    epoch: u64,
    /// Where the next record begins.
    position: u64,
    /// The number of the next record.
    sequence: u64,
    /// The word `claimed`, which no reader stores.
    claimed: u64,
    /// The eighth of the data that was marked last.
    marked: Option<u64>,
}

impl<W: Words> Writer<W> {
    /// Becomes the writer of a log: finds the end that the writer before has left, raises the epoch, and tells the readers.
    ///
    /// # Errors
    /// The memory is no log, or one that contradicts itself.
    pub fn take_over(words: W) -> Result<Self, Fault> {
        let layout = Layout::read(&words)?;
        let geometry = Geometry::of(&layout);
        let (position, sequence) = end(&words, geometry)?;
        let claimed = words[CLAIMED_AT].load(Ordering::Acquire);
        let ahead = claimed.saturating_sub(position);
        let epoch = words[EPOCH_AT].load(Ordering::Acquire).checked_add(1);
        let (Some(epoch), true) = (epoch, ahead <= geometry.capacity) else {
            return Err(Fault::Corrupt);
        };
        words[EPOCH_AT].store(epoch, Ordering::Release);
        let mut writer = Self {
            words,
            layout,
            geometry,
            epoch,
            position,
            sequence,
            claimed,
            marked: None,
        };
        writer.write(Kind::BEGAN, 0, &[], &epoch.to_ne_bytes());
        Ok(writer)
    }

    /// The sizes of the log.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How many writers the log has had, this one included.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Publishes a record and returns its sequence number. Costs one copy and no system call; who sleeps is the doorbell's matter.
    ///
    /// # Errors
    /// Nothing is published: the record is too large, or its kind is the log's own, or another writer has taken over.
    pub fn publish(&mut self, record: &Outgoing<'_>) -> Result<u64, Refusal> {
        let Outgoing {
            kind,
            origin,
            topic,
            body,
        } = *record;
        if kind.0 < Kind::FIRST.0 {
            return Err(Refusal::KindReserved(kind));
        }
        if topic.len() > usize::from(u16::MAX) {
            return Err(Refusal::TopicTooLong { bytes: topic.len() });
        }
        let body_bytes_max = self.layout.body_bytes_max(topic.len());
        if body.len() > body_bytes_max
            || commit(kind, topic, body).words() > self.geometry.record_words_max
        {
            return Err(Refusal::TooBig {
                bytes: body.len(),
                bytes_max: body_bytes_max,
            });
        }
        // A supervisor that was wrong about this writer's end must not lead to two writers for longer than one record.
        if self.words[EPOCH_AT].load(Ordering::Relaxed) != self.epoch {
            return Err(Refusal::Deposed);
        }
        let sequence = self.sequence;
        self.write(kind, origin, topic, body);
        Ok(sequence)
    }

    fn write(&mut self, kind: Kind, origin: u64, topic: &[u8], body: &[u8]) {
        let commit = commit(kind, topic, body);
        let words = commit.words();
        let left = self.geometry.left(self.position);
        if words > left {
            self.claim(left);
            self.commit(left, Kind::PADDING_WORD, self.sequence);
        }
        self.claim(words);
        let data = &self.words[self.geometry.at(self.position)..][..index(words)];
        // Word 1 is there since the end was stored here.
        data[2].store(origin, Ordering::Relaxed);
        let (for_topic, for_body) = data[RECORD_HEADER_WORDS..].split_at(commit.topic_words());
        store_bytes(for_topic, topic);
        store_bytes(for_body, body);
        self.commit(words, commit.encode(), self.sequence + 1);
        self.sequence += 1;
    }

    /// Says that the next `words` and the end behind them may be overwritten from now on.
    fn claim(&mut self, words: u64) {
        let until = self.position + words + END_WORDS;
        // A writer before may have claimed more, and begun to overwrite it.
        if until > self.claimed {
            self.claimed = until;
            self.words[CLAIMED_AT].store(until, Ordering::Relaxed);
        }
        fence(Ordering::Release);
    }

    /// Stores the new end, then makes the record of `words` before it visible.
    fn commit(&mut self, words: u64, commit_word: u64, sequence_next: u64) {
        let Self { geometry, .. } = *self;
        let end = self.position + words;
        self.words[geometry.at(end)].store(0, Ordering::Relaxed);
        self.words[geometry.at(end) + 1].store(sequence_next, Ordering::Relaxed);
        let eighth = geometry.eighth(self.position);
        if self.marked != Some(eighth) {
            self.marked = Some(eighth);
            self.words[Geometry::mark_at(eighth)].store(self.position, Ordering::Relaxed);
        }
        self.words[geometry.at(self.position)].store(commit_word, Ordering::Release);
        self.words[PUBLISHED_AT].store(end, Ordering::Release);
        self.position = end;
    }
}

impl Kind {
    /// The commit word of a padding record, whose length is what is left of the data.
    const PADDING_WORD: u64 = Self::PADDING.0 as u64;
}

/// Lengths were checked by the caller: a topic of 16 bits, a body below [`Layout::record_bytes_max`].
fn commit(kind: Kind, topic: &[u8], body: &[u8]) -> Commit {
    Commit {
        kind,
        topic_bytes: u16::try_from(topic.len()).expect("checked: a topic of 16 bits"),
        body_bytes: u32::try_from(body.len()).expect("checked: below record_bytes_max"),
    }
}

fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<WORD_BYTES>();
    let (first, last) = words.split_at(whole.len());
    for (word, bytes) in first.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    let mut filled = [0; WORD_BYTES];
    filled[..rest.len()].copy_from_slice(rest);
    for word in last {
        word.store(u64::from_ne_bytes(filled), Ordering::Relaxed);
        filled = [0; WORD_BYTES];
    }
}

/// Where the next record belongs, and its number. The writer before may have been killed between a commit word and `published`, and
/// before that between the same two of a padding record.
fn end(words: &[AtomicU64], geometry: Geometry) -> Result<(u64, u64), Fault> {
    let mut position = words[PUBLISHED_AT].load(Ordering::Acquire);
    let sequence_at = |position| words[geometry.at(position) + 1].load(Ordering::Acquire);
    if !position.is_multiple_of(2) || position > u64::MAX / 2 {
        return Err(Fault::Corrupt);
    }
    let mut sequence = sequence_at(position);
    let word = words[geometry.at(position)].load(Ordering::Acquire);
    if word != 0 {
        let commit = Commit::decode(word);
        let step = commit.step(geometry, position).ok_or(Fault::Corrupt)?;
        position += step;
        if commit.kind != Kind::PADDING {
            sequence = sequence.checked_add(1).ok_or(Fault::Corrupt)?;
        }
    }
    let is_end = words[geometry.at(position)].load(Ordering::Acquire) == 0;
    if !is_end || sequence_at(position) != sequence || sequence > u64::MAX / 2 {
        return Err(Fault::Corrupt);
    }
    Ok((position, sequence))
}

/// Why a record was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Another writer has taken this log over.
    Deposed,
    /// A kind below [`Kind::FIRST`].
    KindReserved(Kind),
    /// The body does not fit into a record beside its topic.
    TooBig {
        /// Bytes of the body.
        bytes: usize,
        /// Bytes that fit.
        bytes_max: usize,
    },
    /// The topic has more than 65,535 bytes.
    TopicTooLong {
        /// Bytes of the topic.
        bytes: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deposed => write!(f, "another writer has taken this log over"),
            Self::KindReserved(kind) => write!(f, "records of kind {} are the log's own", kind.0),
            Self::TooBig { bytes, bytes_max } => {
                write!(
                    f,
                    "the bus takes messages of {bytes_max} bytes, not of {bytes}"
                )
            }
            Self::TopicTooLong { bytes } => write!(f, "a topic of {bytes} bytes is too long"),
        }
    }
}

impl std::error::Error for Refusal {}
