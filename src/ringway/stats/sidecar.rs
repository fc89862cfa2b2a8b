//! The counters of processes beside the workers (the bridge to a broker, the web process), and how they cross the pipe to the supervisor.
//!
//! Owns: the form of a record: all counters, 8 bytes each, little-endian, in one write: shorter than what a pipe takes whole. They are
//! totals, so a record that does not fit into the pipe is left out and nothing is lost.

use super::counters::CounterKind;

/// The counters of such a process.
pub trait Totals: Copy + Default {
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Their kinds, in the same order.
    const KINDS: &'static [CounterKind];

    /// Their descriptions, in the same order: one line each, without a full stop.
    const HELP: &'static [&'static str];

    /// Every figure, in the same order.
    fn figures(&self) -> Vec<u64>;

    /// The inverse: missing figures are 0.
    fn of(figures: impl Iterator<Item = u64>) -> Self;

    /// The record.
    fn encode(&self) -> Vec<u8> {
        self.figures()
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    /// Bytes of a record.
    fn record_bytes() -> usize {
        Self::NAMES.len() * 8
    }

    /// The last whole record of these bytes.
    fn decode_last(bytes: &[u8]) -> Option<Self> {
        let record = bytes.chunks_exact(Self::record_bytes()).last()?;
        let (words, _) = record.as_chunks();
        Some(Self::of(words.iter().map(|word| u64::from_le_bytes(*word))))
    }

    /// Adds the counts of a process that is gone. Gauges are those of `self`.
    #[must_use]
    fn after(&self, gone: &Self) -> Self {
        let gone = gone.figures();
        let figures = self.figures().into_iter().enumerate();
        Self::of(figures.map(|(index, figure)| match Self::KINDS[index] {
            CounterKind::Gauge => figure,
            _ => figure.saturating_add(gone[index]),
        }))
    }
}

/// Counters with what [`Totals`] needs of them.
macro_rules! totals {
    ($($list:tt)*) => {
        use crate::stats::counters::{CounterKind, counters};
        use crate::stats::sidecar::Totals;

        counters! { $($list)* }

        impl Totals for Counters {
            const NAMES: &'static [&'static str] = Self::NAMES;
            const KINDS: &'static [CounterKind] = &Self::KINDS;
            const HELP: &'static [&'static str] = &Self::HELP;

            fn figures(&self) -> Vec<u64> {
                self.to_array().to_vec()
            }

            fn of(figures: impl Iterator<Item = u64>) -> Self {
                let mut all = [0; Self::COUNT];
                all.iter_mut().zip(figures).for_each(|(figure, read)| *figure = read);
                Self::from_array(all)
            }
        }
    };
}

pub(super) use totals;

#[cfg(test)]
mod tests {
    use super::Totals as _;
    use crate::stats::bridge::Counters;

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
