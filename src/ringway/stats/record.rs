//! The record that a worker sends up its pipe once per interval, and the decoder that reads it.
//!
//! Owns: the layout. Never: does I/O, trusts a length before it has checked it, panics on input.
//!
//! ```text
//!  0        4        8        10       12       16       24        32       40
//!  ├─ magic ┼─ length┼ version┼ worker ┼─ pid ──┼sequence┼interval_ns┼ at_ns ┤   little-endian, length = what follows
//!  ├ tier_len u8 ┼ note_len u16 ┼ figures u8 ┼ tier ┼ note ┼ figures × u64 ┼ turn times, HdrHistogram V2, to the end
//! ```
//!
//! A reader that loses its place searches for the next magic: [`Decoder::poll_record`] reports the fault once and goes
//! on from there.

use hdrhistogram::Histogram;

use super::counters::Counters;
use super::turns::{self, TurnTimes};
use crate::time::Instant;

/// First bytes of every record.
const MAGIC: [u8; 4] = *b"RWst";

/// Version of the layout. Supervisor and workers are the same binary, so any other version is a fault.
const VERSION: u16 = 2;

/// Magic and length.
const PREFIX_LEN: usize = 8;

/// The fixed part after the prefix.
const FIXED_LEN: usize = 2 + 2 + 4 + 8 + 8 + 8 + 1 + 2 + 1;

/// Most bytes of a record. Figures, texts and a histogram of two digits take a few KiB.
pub const RECORD_LEN_MAX: usize = 64 * 1024;

/// A worker's report on one interval.
#[derive(Clone, Debug)]
pub struct Record {
    /// Index of the worker, from 0.
    pub worker: u16,
    /// Pid of the worker.
    pub pid: u32,
    /// 0 for the first record, sent as soon as the worker accepts.
    pub sequence: u64,
    /// Measured length of the interval: the time since the previous record.
    pub interval_ns: u64,
    /// When the record was made, on the worker's clock.
    pub at: Instant,
    /// I/O tier in use: `uring` or `epoll`.
    pub tier: String,
    /// The reason for that tier, in a few words; may be empty.
    pub tier_note: String,
    /// Totals since the worker started.
    pub counters: Counters,
    /// Turn times of the interval, nanoseconds.
    pub turns: Histogram<u64>,
}

/// A fault in the bytes of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// Bytes that are not the start of a record. They were skipped.
    OutOfStep {
        /// Bytes that were skipped to find the next record.
        skipped: usize,
    },
    /// A record of another version of the layout.
    Version(u16),
    /// A record whose parts do not fit its length, or that is longer than [`RECORD_LEN_MAX`].
    Malformed,
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfStep { skipped } => {
                write!(f, "stats pipe out of step, {skipped} bytes skipped")
            }
            Self::Version(version) => {
                write!(f, "stats record of version {version}, {VERSION} expected")
            }
            Self::Malformed => f.write_str("malformed stats record"),
        }
    }
}

impl std::error::Error for RecordError {}

/// The parts of a record that do not change during the life of a worker.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) worker: u16,
    pub(super) pid: u32,
    pub(super) tier: String,
    pub(super) tier_note: String,
}

/// The parts that change from one record to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) sequence: u64,
    pub(super) interval_ns: u64,
    pub(super) at: Instant,
}

/// Appends one record.
pub(super) fn encode(
    identity: &Identity,
    moment: Moment,
    counters: &Counters,
    turn_times: &TurnTimes,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let tier = clip(&identity.tier, usize::from(u8::MAX));
    let note = clip(&identity.tier_note, 1024);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]); // the length, below
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&identity.worker.to_le_bytes());
    out.extend_from_slice(&identity.pid.to_le_bytes());
    out.extend_from_slice(&moment.sequence.to_le_bytes());
    out.extend_from_slice(&moment.interval_ns.to_le_bytes());
    out.extend_from_slice(&moment.at.nanos().to_le_bytes());
    out.push(u8::try_from(tier.len()).expect("clipped to 255"));
    out.extend_from_slice(
        &u16::try_from(note.len())
            .expect("clipped to 1024")
            .to_le_bytes(),
    );
    out.push(const { u8_count(Counters::COUNT) });
    out.extend_from_slice(tier.as_bytes());
    out.extend_from_slice(note.as_bytes());
    for figure in counters.to_array() {
        out.extend_from_slice(&figure.to_le_bytes());
    }
    turn_times.encode(out);
    let len =
        u32::try_from(out.len() - start - PREFIX_LEN).expect("a record is below RECORD_LEN_MAX");
    out[start + 4..start + PREFIX_LEN].copy_from_slice(&len.to_le_bytes());
}

/// Finds records in a stream of bytes, which may arrive in pieces of any size.
///
/// To drive it: [`Decoder::handle_input`], then [`Decoder::poll_record`] until `None`.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the pipe.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole record, or the fault in the next bytes. `None`: more input is needed.
    pub fn poll_record(&mut self) -> Option<Result<Record, RecordError>> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            return Some(Err(RecordError::OutOfStep {
                skipped: self.skip_to_magic(),
            }));
        }
        let len = u32::from_le_bytes(*self.buffer.get(4..)?.first_chunk()?);
        let total = usize::try_from(len)
            .ok()
            .and_then(|len| len.checked_add(PREFIX_LEN));
        let Some(total) = total.filter(|total| *total <= RECORD_LEN_MAX) else {
            self.skip_to_magic();
            return Some(Err(RecordError::Malformed));
        };
        let parsed = parse(self.buffer.get(PREFIX_LEN..total)?);
        match parsed {
            Ok(_) => drop(self.buffer.drain(..total)),
            // The length itself may be damaged, so it must not decide how much is skipped.
            Err(_) => drop(self.skip_to_magic()),
        }
        Some(parsed)
    }

    /// Skips at least one byte, up to the next possible magic. Returns how many were skipped.
    fn skip_to_magic(&mut self) -> usize {
        let may_start = |at: usize| {
            let rest = &self.buffer[at..];
            let known = rest.len().min(MAGIC.len());
            rest[..known] == MAGIC[..known]
        };
        let skipped = (1..self.buffer.len())
            .find(|at| may_start(*at))
            .unwrap_or(self.buffer.len());
        self.buffer.drain(..skipped);
        skipped
    }
}

/// Parses a record behind its prefix.
fn parse(body: &[u8]) -> Result<Record, RecordError> {
    let mut reader = Reader { rest: body };
    let version = u16::from_le_bytes(reader.array()?);
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let worker = u16::from_le_bytes(reader.array()?);
    let pid = u32::from_le_bytes(reader.array()?);
    let sequence = u64::from_le_bytes(reader.array()?);
    let interval_ns = u64::from_le_bytes(reader.array()?);
    let at = Instant::from_nanos(u64::from_le_bytes(reader.array()?));
    let [tier_len] = reader.array()?;
    let note_len = u16::from_le_bytes(reader.array()?);
    let [figures] = reader.array()?;
    if usize::from(figures) != Counters::COUNT {
        return Err(RecordError::Malformed);
    }
    let tier = reader.text(usize::from(tier_len))?;
    let tier_note = reader.text(usize::from(note_len))?;
    let mut counters = [0; Counters::COUNT];
    for figure in &mut counters {
        *figure = u64::from_le_bytes(reader.array()?);
    }
    let turns = turns::decode(reader.rest).ok_or(RecordError::Malformed)?;
    let counters = Counters::from_array(counters);
    Ok(Record {
        worker,
        pid,
        sequence,
        interval_ns,
        at,
        tier,
        tier_note,
        counters,
        turns,
    })
}

/// Takes pieces off the front of a slice. A missing piece is the error `Malformed`.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(RecordError::Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    fn text(&mut self, len: usize) -> Result<String, RecordError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(RecordError::Malformed)?;
        self.rest = rest;
        String::from_utf8(head.to_vec()).map_err(|_| RecordError::Malformed)
    }
}

/// At most `len` bytes of `text`, cut between characters.
fn clip(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}

const fn u8_count(count: usize) -> u8 {
    assert!(count <= 255, "the count of figures is one byte on the wire");
    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
    let count = count as u8;
    count
}

const _: () = assert!(FIXED_LEN + 255 + 1024 + Counters::COUNT * 8 + 32 * 1024 < RECORD_LEN_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sequence: u64) -> Vec<u8> {
        let identity = Identity {
            worker: 3,
            pid: 4711,
            tier: "uring".into(),
            tier_note: "self-test passed".into(),
        };
        let moment = Moment {
            sequence,
            interval_ns: 1_000_000_007,
            at: Instant::from_nanos(77),
        };
        let counters = Counters {
            clients: 5,
            messages_out: 1 << 40,
            cpu_ns: 9,
            ..Counters::default()
        };
        let mut turn_times = TurnTimes::new();
        (1..500).for_each(|i| turn_times.record(i * 1000));
        let mut out = Vec::new();
        encode(&identity, moment, &counters, &turn_times, &mut out);
        out
    }

    fn drain(decoder: &mut Decoder) -> Vec<Result<u64, RecordError>> {
        std::iter::from_fn(|| decoder.poll_record())
            .map(|item| item.map(|record| record.sequence))
            .collect()
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let mut decoder = Decoder::new();
        decoder.handle_input(&sample(9));
        let record = decoder.poll_record().expect("whole").expect("well formed");
        assert_eq!((record.worker, record.pid, record.sequence), (3, 4711, 9));
        assert_eq!((record.interval_ns, record.at.nanos()), (1_000_000_007, 77));
        assert_eq!(
            (record.tier.as_str(), record.tier_note.as_str()),
            ("uring", "self-test passed")
        );
        assert_eq!(
            (record.counters.clients, record.counters.messages_out),
            (5, 1 << 40)
        );
        assert_eq!(record.turns.len(), 499);
        assert!(decoder.poll_record().is_none());
    }

    #[test]
    fn two_records_cut_at_every_offset_are_two_records() {
        let stream = [sample(1), sample(2)].concat();
        for cut in 0..=stream.len() {
            let mut decoder = Decoder::new();
            decoder.handle_input(&stream[..cut]);
            let mut seen = drain(&mut decoder);
            decoder.handle_input(&stream[cut..]);
            seen.extend(drain(&mut decoder));
            assert_eq!(seen, [Ok(1), Ok(2)], "cut at {cut}");
        }
    }

    #[test]
    fn two_records_byte_by_byte_are_two_records() {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        for byte in [sample(1), sample(2)].concat() {
            decoder.handle_input(&[byte]);
            seen.extend(drain(&mut decoder));
        }
        assert_eq!(seen, [Ok(1), Ok(2)]);
    }

    #[test]
    fn after_a_record_torn_at_any_offset_the_next_ones_are_found() {
        let (torn, whole) = (sample(1), [sample(2), sample(3)].concat());
        for cut in 1..torn.len() {
            let mut decoder = Decoder::new();
            decoder.handle_input(&torn[..cut]);
            decoder.handle_input(&whole);
            // A torn record takes with it what completes its length. The record after that must be found.
            let seen = drain(&mut decoder);
            assert!(seen.contains(&Ok(3)), "cut at {cut}: {seen:?}");
        }
    }

    #[test]
    fn noise_is_skipped_and_counted() {
        let mut decoder = Decoder::new();
        decoder.handle_input(b"worker says hello\nRW");
        assert_eq!(
            drain(&mut decoder),
            [Err(RecordError::OutOfStep { skipped: 18 })]
        );
        decoder.handle_input(&sample(4)[2..]);
        assert_eq!(drain(&mut decoder), [Ok(4)]);
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = sample(1);
        bytes[8] = 9;
        let mut decoder = Decoder::new();
        decoder.handle_input(&bytes);
        assert_eq!(
            decoder.poll_record().map(Result::unwrap_err),
            Some(RecordError::Version(9))
        );
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused_at_once() {
        let mut decoder = Decoder::new();
        decoder.handle_input(&[b'R', b'W', b's', b't', 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(
            decoder.poll_record().map(Result::unwrap_err),
            Some(RecordError::Malformed)
        );
        assert!(decoder.poll_record().is_none());
    }

    #[test]
    fn a_damaged_byte_anywhere_never_panics() {
        let bytes = sample(1);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x40, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let mut decoder = Decoder::new();
                decoder.handle_input(&damaged);
                while decoder.poll_record().is_some() {}
            }
        }
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        assert_eq!(clip("aé", 2), "a");
        assert_eq!(clip("aé", 3), "aé");
        assert_eq!(clip("", 3), "");
    }
}
