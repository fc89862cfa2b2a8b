//! A log of records in shared memory: one writer, any number of readers, none of which can hold another up.
//!
//! Owns: the layout of the memory, the order of every load and store, and the checks of what is read.
//! Never: maps memory, waits, or allocates after the start. A reader stores nothing, so its mapping can be read-only.
//!
//! # The memory
//!
//! ```text
//!  word  0  magic · version · capacity · record_words_max · number of the log     written once, by `format`
//!  word  8  epoch                                                                 raised by each new writer
//!  word 16  claimed · published                                                   stored for each record
//!  word 24  marks, one per eighth of the data                                     positions of records
//!  word 32  data: `capacity` words, a power of two
//! ```
//!
//! A *position* counts words since the log was made and never wraps; its place in the data is `position % capacity`. Positions of
//! records are even.
//!
//! # A record
//!
//! ```text
//!  word 0   kind: 8 bits │ topic bytes: 16 │ 0: 8 │ body bytes: 32        the commit word; all zero = no record here yet
//!  word 1   sequence number, counted from 0 over all epochs
//!  word 2   origin
//!  word 3   topic, filled with zeroes to a whole word
//!  word …   body, filled with zeroes to a whole word; then one more word if the record would end at an odd position
//!  ─────────────────────────────────────────────────────────────
//!  word 0   0                   the end: where the next record will be
//!  word 1   its sequence number
//! ```
//!
//! A record never crosses the end of the data: a record of kind `PADDING` fills what is left, without a number of its own.
//!
//! # How a record is written
//!
//! 1. Store `claimed`, the position up to which words may be overwritten from now on; a release fence.
//! 2. Store the new end behind the record, then everything of the record but its commit word.
//! 3. Store the commit word (release). From here on readers see the record.
//! 4. Store `published` (release), where new readers begin.
//!
//! # How a record is read
//!
//! 1. Load the commit word (acquire) and copy the record with relaxed loads into memory of one's own.
//! 2. An acquire fence, then load `claimed`. If it is more than `capacity` beyond the record, the writer has begun to overwrite it: the
//!    copy is thrown away, the reader jumps to a mark within the newer half of the data, and the difference of the sequence numbers
//!    is what it has missed.
//!
//! Why that is enough: a copy that holds one word of a newer record has read a store behind the writer's release fence. So the reader's
//! acquire fence makes the store of `claimed` before that fence visible to the load behind it.
//!
//! # When a process is killed
//!
//! - A writer between any two stores: without its commit word a record does not exist. The next writer begins at the same
//!   position with the same sequence number, and writes `BEGAN` first, with the new epoch.
//! - A reader: nothing, because it has stored nothing.

mod layout;
#[cfg(all(test, loom))]
mod loom_tests;
mod reader;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod writer;

pub use layout::{Fault, Layout, epoch, format, format_again};
pub use reader::{Corrupt, Event, Reader, Record, RecordBuffer};
pub use writer::{Outgoing, Refusal, Writer};

/// What a record is. The log itself knows the first three; the others are agreed between its writers and readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// There is no record here yet.
    pub(crate) const NONE: Self = Self(0);
    /// Nothing up to the end of the data.
    pub(crate) const PADDING: Self = Self(1);
    /// A writer has begun; its epoch is the body.
    pub(crate) const BEGAN: Self = Self(2);
    /// The finished frame of a server, for all subscribers of its topic.
    pub const FRAME: Self = Self(16);
    /// The same, for all subscribers but the connection that it comes from.
    pub const FRAME_FOR_OTHERS: Self = Self(17);
    /// Bytes from one application to those of all workers.
    pub const NOTE: Self = Self(18);
    /// Which topics a worker has subscribers for, to the bridge to a broker.
    pub const INTEREST: Self = Self(19);
    /// The bridge asks a worker for all of them.
    pub const ASK: Self = Self(20);

    /// The smallest kind that [`Writer::publish`] takes.
    pub const FIRST: Self = Self(16);
}
