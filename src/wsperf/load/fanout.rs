//! What `broadcast` and `pubsub` share: messages that reach many connections.
//!
//! Owns: what such a message carries, how a receiver sees from it what is missing, and the sums over all threads.
//! Never: sends or receives itself.
//!
//! A message carries its source, its number among the messages of that source, and the time at which it was due. So each receiver can
//! compute the latency (all connections share one clock) and check the order:
//!
//! ```text
//!   "rwb1" source: 8 hex digits, number: 8, nanoseconds: 16, then filler up to the size
//! ```

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::STAMP_BYTES;
use crate::time::Instant;

const MAGIC: &[u8] = b"rwb1";

/// The fields of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// In a broadcast the connection that sent the message, in a pubsub its topic.
    pub(super) source: u32,
    /// Counted from 0 for each source. Begins again after 2^32 messages.
    pub(super) number: u32,
    pub(super) due: Instant,
}

impl Stamp {
    /// Writes it into the beginning of a message.
    pub(super) fn write(&self, payload: &mut [u8]) {
        let (source, number, due) = (self.source, self.number, self.due.nanos());
        let (magic, rest) = payload.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        write!(
            &mut rest[..STAMP_BYTES - MAGIC.len()],
            "{source:08x}{number:08x}{due:016x}"
        )
        .expect("the digits are as many as there is room for");
    }

    /// Reads it from a message. `None`: the message has none.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let digits = payload.strip_prefix(MAGIC)?.get(..32)?;
        let digits = str::from_utf8(digits).ok()?;
        let number = |range| u64::from_str_radix(digits.get(range)?, 16).ok();
        Some(Self {
            source: u32::try_from(number(0..8)?).ok()?,
            number: u32::try_from(number(8..16)?).ok()?,
            due: Instant::from_nanos(number(16..32)?),
        })
    }
}

/// Which messages of one source have come to one receiver.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequence {
    /// The number behind the highest one that has come.
    next: u32,
    /// Which of the 32 numbers before `next` have come; the lowest bit is the last of them.
    seen: u32,
}

/// What the number of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the next one.
    Next,
    /// So many before it have not come.
    Ahead(u32),
    /// One behind it came first.
    Late,
    /// It has come before. So it is called as well if it is more than 32 late, where nobody knows.
    Again,
}

impl Sequence {
    /// Notes that a message has come.
    #[inline]
    pub(super) const fn note(&mut self, number: u32) -> Arrival {
        let ahead = number.wrapping_sub(self.next);
        if ahead < 1 << 31 {
            let shifted = self.seen.checked_shl(ahead.saturating_add(1));
            self.seen = match shifted {
                Some(seen) => seen | 1,
                None => 1,
            };
            self.next = number.wrapping_add(1);
            return match ahead {
                0 => Arrival::Next,
                _ => Arrival::Ahead(ahead),
            };
        }
        let behind = self.next.wrapping_sub(number) - 1;
        match 1_u32.checked_shl(behind) {
            Some(bit) if self.seen & bit == 0 => {
                self.seen |= bit;
                Arrival::Late
            }
            _ => Arrival::Again,
        }
    }
}

/// How many messages came otherwise than one after another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Disorder {
    /// Messages before which others are missing.
    pub(super) ahead: u64,
    pub(super) overtaken: u64,
    pub(super) duplicates: u64,
}

impl Disorder {
    /// Counts what `arrival` says. Returns the sentence for a fault: a message that is missing may still come, so it is none.
    pub(super) const fn note(&mut self, arrival: Arrival) -> Option<&'static str> {
        match arrival {
            Arrival::Next => None,
            Arrival::Ahead(_) => {
                self.ahead += 1;
                None
            }
            Arrival::Late => {
                self.overtaken += 1;
                Some("a message came behind a later one of the same source")
            }
            Arrival::Again => {
                self.duplicates += 1;
                Some("a message came twice")
            }
        }
    }
}

/// Deliveries of all threads. A message is complete once every receiver has it.
#[derive(Debug)]
pub(super) struct Fanout {
    /// Deliveries that are due: each message counts the receivers that there were when it was sent.
    expected: AtomicU64,
    /// Deliveries that came, duplicates left out.
    delivered: AtomicU64,
    /// Receivers: open connections of a broadcast, subscribers of a pubsub that are ready.
    open: AtomicU64,
    /// Threads that have not sent all of their messages yet.
    sending: AtomicU64,
}

impl Fanout {
    /// For so many threads that send.
    pub(super) const fn new(threads: usize) -> Self {
        Self {
            expected: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            open: AtomicU64::new(0),
            sending: AtomicU64::new(threads as u64),
        }
    }

    pub(super) fn expect(&self, deliveries: u64) {
        self.expected.fetch_add(deliveries, Ordering::Relaxed);
    }

    /// Deliveries are not due after all.
    pub(super) fn withdraw(&self, deliveries: u64) {
        self.expected.fetch_sub(deliveries, Ordering::Relaxed);
    }

    pub(super) fn deliver(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_open(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_close(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// One thread has sent all of its messages.
    pub(super) fn end_sending(&self) {
        // Whoever reads this sees all that the thread expects.
        self.sending.fetch_sub(1, Ordering::Release);
    }

    /// Whether all messages were sent, and all deliveries came.
    pub(super) fn is_complete(&self) -> bool {
        if self.sending.load(Ordering::Acquire) > 0 {
            return false;
        }
        let (expected, delivered) = self.totals();
        delivered >= expected
    }

    /// Deliveries that were due, and deliveries that came.
    pub(super) fn totals(&self) -> (u64, u64) {
        (
            self.expected.load(Ordering::Relaxed),
            self.delivered.load(Ordering::Relaxed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_and_nothing_else_is_one() {
        let mut payload = vec![b'.'; 40];
        let stamp = Stamp {
            source: 7,
            number: 0xABCD,
            due: Instant::from_nanos(1_234_567_890_123),
        };
        stamp.write(&mut payload);
        assert_eq!(&payload, b"rwb1000000070000abcd0000011f71fb04cb....");
        assert_eq!(Stamp::read(&payload), Some(stamp));
        for wrong in [&b""[..], b"rwb1", &payload[..35], &payload[1..]] {
            assert!(Stamp::read(wrong).is_none());
        }
    }

    #[test]
    fn what_is_missing_doubled_or_overtaken_is_told_apart() {
        use Arrival::{Again, Ahead, Late, Next};
        let mut sequence = Sequence::default();
        for (number, arrival) in [
            (0, Next),
            (1, Next),
            (1, Again),
            (4, Ahead(2)),
            (3, Late),
            (3, Again),
            (5, Next),
            (2, Late),
            (0, Again),
            (36, Ahead(30)),
            (5, Again),
            (6, Late),
            (100, Ahead(63)),
            (69, Late),
            (68, Again),
            (101, Next),
        ] {
            assert_eq!(sequence.note(number), arrival, "{number}");
        }
    }

    #[test]
    fn numbers_begin_again_behind_the_last_one() {
        let mut sequence = Sequence {
            next: u32::MAX,
            seen: 0b11,
        };
        assert_eq!(sequence.note(u32::MAX), Arrival::Next);
        assert_eq!(sequence.note(0), Arrival::Next);
        assert_eq!(sequence.note(u32::MAX), Arrival::Again);
        assert_eq!(sequence.note(2), Arrival::Ahead(1));
        assert_eq!(sequence.note(1), Arrival::Late);
    }

    #[test]
    fn nothing_is_complete_before_all_threads_have_sent() {
        let fanout = Fanout::new(2);
        fanout.expect(1);
        fanout.deliver();
        fanout.end_sending();
        assert!(!fanout.is_complete());
        fanout.expect(1);
        fanout.end_sending();
        assert!(!fanout.is_complete());
        fanout.deliver();
        assert!(fanout.is_complete());
    }
}
