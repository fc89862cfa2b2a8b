//! The counters of the bridge to a broker, and how they cross the pipe to the supervisor.
//!
//! Owns: the list of counters, at the end of this file. A record is all of them, 8 bytes each, little-endian, in one write: shorter than
//! what a pipe takes whole. They are totals, so a record that does not fit into the pipe is left out and nothing is lost.

use super::counters::{CounterKind, counters};

/// Bytes of a record.
pub const RECORD_BYTES: usize = Counters::COUNT * 8;

impl Counters {
    /// The record.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        let (words, _) = record.as_chunks_mut();
        for (word, figure) in words.iter_mut().zip(self.to_array()) {
            *word = figure.to_le_bytes();
        }
        record
    }

    /// The last whole record of these bytes.
    pub fn decode_last(bytes: &[u8]) -> Option<Self> {
        let record = bytes.chunks_exact(RECORD_BYTES).last()?;
        let (words, _) = record.as_chunks();
        let mut figures = [0; Self::COUNT];
        for (figure, word) in figures.iter_mut().zip(words) {
            *figure = u64::from_le_bytes(*word);
        }
        Some(Self::from_array(figures))
    }

    /// Adds the counts of a process that is gone. Gauges are those of `self`.
    #[must_use]
    pub fn after(&self, gone: &Self) -> Self {
        let (mut figures, gone) = (self.to_array(), gone.to_array());
        for (index, figure) in figures.iter_mut().enumerate() {
            if Self::KINDS[index] != CounterKind::Gauge {
                *figure = figure.saturating_add(gone[index]);
            }
        }
        Self::from_array(figures)
    }
}

// In `/metrics` each has `backplane_` in front.
counters! {
    connected: Gauge, "1 while there is a connection to the broker";
    published: Counter, "Messages handed to the broker";
    received: Counter, "Messages of other servers that were put on the bus";
    dropped_away: Counter, "Messages for the broker dropped because there was no connection, or because it was lost with them";
    dropped_full: Counter, "Messages for the broker dropped because too many waited for it";
    dropped_too_big: Counter, "Messages for the broker dropped because they are larger than it takes";
    dropped_by_bus: Counter, "Messages of other servers dropped because they are larger than the bus takes (--bus-log)";
    overflowed: Counter, "Messages of other servers dropped because the bridge was too slow";
    bus_missed: Counter, "Records of workers that were overwritten before the bridge read them";
    unwanted: Counter, "Messages of other servers that nobody here wants, or wants any more";
    repeated: Counter, "Messages of other servers that came twice, and were taken once";
    invalid: Counter, "Messages at the broker that are none of this version";
    interests_refused: Counter, "Topics that are not fetched because there are too many";
    reconnects: Counter, "Connections to the broker made after one was lost";
    gaps: Counter, "Times that messages of other servers may have been missed";
    cpu_ns: Nanoseconds, "CPU time of the bridge, user and system";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_record_counts_and_the_dead_leave_no_gauges() {
        let counters = |from: u64| Counters::from_array(std::array::from_fn(|at| from + at as u64));
        let mut bytes = Vec::new();
        assert_eq!(Counters::decode_last(&bytes), None);
        for from in [1, 100] {
            bytes.extend(counters(from).encode());
        }
        bytes.push(0);
        assert_eq!(Counters::decode_last(&bytes), Some(counters(100)));
        let sum = counters(100).after(&counters(1));
        assert_eq!(
            (sum.connected, sum.published, sum.received),
            (100, 103, 105)
        );
    }
}
