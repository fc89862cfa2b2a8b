//! Durations of the turns of a worker's loop: an HdrHistogram per interval.
//!
//! Owns: the bounds of that histogram and its wire form (HdrHistogram V2). Never: allocates after it was made;
//! [`TurnTimes::record`] is two additions and a store.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

/// Longest turn that the histogram distinguishes, nanoseconds (60 s). Longer turns count as this.
pub const TURN_NS_MAX: u64 = 60_000_000_000;

/// Two significant digits: an error of at most 1 %, in 15 KiB.
const SIGNIFICANT_DIGITS: u8 = 2;

/// Bytes of the V2 header: cookie, payload length, offset, digits, lowest, highest, ratio.
const V2_HEADER_LEN: usize = 40;

/// The turn times of one interval, in nanoseconds.
#[derive(Clone, Debug)]
pub struct TurnTimes {
    // u32 counts: half the cache of u64, and 4 billion turns per interval before they saturate.
    histogram: Histogram<u32>,
}

impl TurnTimes {
    /// An empty interval.
    pub fn new() -> Self {
        Self {
            histogram: bounded(),
        }
    }

    /// Counts one turn of `ns` nanoseconds.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    /// Turns counted so far.
    pub fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether no turn was counted.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// Empties the histogram for the next interval.
    pub fn reset(&mut self) {
        self.histogram.reset();
    }

    /// Appends the histogram in HdrHistogram's V2 encoding.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        V2Serializer::new().serialize(&self.histogram, out).expect(
            "a Vec takes every write, and a histogram of two digits fits 32 bits of length",
        );
    }
}

impl Default for TurnTimes {
    fn default() -> Self {
        Self::new()
    }
}

/// An empty histogram, to add up the turn times of many intervals or workers.
pub fn accumulator() -> Histogram<u64> {
    bounded()
}

/// Reads the encoding of [`TurnTimes`]. Returns `None` for anything else: the header is compared first, so that a
/// damaged length or bound never leads to an allocation.
pub(super) fn decode(bytes: &[u8]) -> Option<Histogram<u64>> {
    let mut expected = Vec::with_capacity(V2_HEADER_LEN);
    TurnTimes::new().encode(&mut expected);
    let header = bytes.get(..V2_HEADER_LEN)?;
    let payload_len = u32::try_from(bytes.len() - V2_HEADER_LEN).ok()?;
    let same = header[..4] == expected[..4]
        && header[4..8] == payload_len.to_be_bytes()
        && header[8..] == expected[8..V2_HEADER_LEN];
    if !same {
        return None;
    }
    Deserializer::new().deserialize(&mut &bytes[..]).ok()
}

fn bounded<T: hdrhistogram::Counter>() -> Histogram<T> {
    Histogram::new_with_bounds(1, TURN_NS_MAX, SIGNIFICANT_DIGITS)
        .expect("the bounds are constants that fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_comes_back_within_one_percent() {
        let mut turns = TurnTimes::new();
        for ns in [0, 900, 10_000, 1_000_000, 90_000_000_000] {
            turns.record(ns);
        }
        let mut bytes = Vec::new();
        turns.encode(&mut bytes);
        let back = decode(&bytes).expect("our own encoding");
        assert_eq!(back.len(), 5);
        assert!((9_900..=10_100).contains(&back.value_at_quantile(0.5)));
        assert!(
            (59_000_000_000..=61_000_000_000).contains(&back.max()),
            "{}",
            back.max()
        );
    }

    #[test]
    fn a_reset_interval_is_empty() {
        let mut turns = TurnTimes::new();
        turns.record(5);
        turns.reset();
        assert!(turns.is_empty());
        assert_eq!(turns.len(), 0);
    }

    #[test]
    fn a_damaged_histogram_is_none_and_never_a_panic() {
        let mut turns = TurnTimes::new();
        (1..2000).for_each(|i| turns.record(i * 37));
        let mut bytes = Vec::new();
        turns.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none());
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let _ = decode(&damaged); // counts may differ; it must return
            }
        }
    }
}
