//! Figures that the conductor of a run collects from its threads, until it makes a result of them.
//!
//! The slices of a thread are added up and then dropped: a histogram takes 256 KiB, and a run may last days. What stays
//! is one distribution of the whole window, and a row per interval with its distribution as text.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::meter::{SLICE, Slice, histogram};
use super::outcome::Latency;
use super::report::hdr;
use super::thread;
use crate::time::Instant;

/// Most intervals of a run: a few MiB of rows. An interval is 1 s, or as many whole seconds as keep a long run below
/// this.
const INTERVALS_MAX: u64 = 3600;

/// Slices per second.
const SLICES: i64 = 4;

/// What is collected from the threads.
#[derive(Debug)]
pub(super) struct Collected {
    /// Length of the window, and of an interval, in slices.
    window: i64,
    per_interval: i64,
    /// Latency of every message that counts, also of those answered after the window.
    pub(super) latency: Histogram<u64>,
    /// Messages of each thread in the window, and bytes of all threads.
    pub(super) messages: Vec<u64>,
    pub(super) bytes: u64,
    /// Complete intervals, in order.
    pub(super) rows: Vec<Row>,
    open: BTreeMap<i64, Span>,
    /// Number of the last slice, and faults so far, of each thread.
    newest: Vec<i64>,
    errors: Vec<u64>,
    /// The latest slices, for the progress line.
    pub(super) recent: VecDeque<Slice>,
    pub(super) threads: Vec<thread::Result>,
    pub(super) fanout: Option<(u64, u64)>,
    /// When the clock started, and the wall-clock time at which the window began.
    pub(super) go: Option<Instant>,
    pub(super) began_unix_ms: u64,
    /// Connections open when the clock started.
    pub(super) connections: u64,
    pub(super) interrupted: bool,
}

/// A complete interval.
#[derive(Debug)]
pub(super) struct Row {
    /// When it began, from the beginning of the window, and its length.
    pub(super) start: Duration,
    pub(super) length: Duration,
    pub(super) messages: u64,
    pub(super) errors: u64,
    pub(super) connections: u64,
    /// CPU time of all threads in it, in ns.
    pub(super) cpu_ns: u64,
    pub(super) latency: Latency,
    /// The same distribution as text ([`hdr::encode`]).
    pub(super) encoded: String,
}

/// An interval to which slices are still added.
#[derive(Debug)]
struct Span {
    messages: u64,
    errors: u64,
    cpu_ns: u64,
    /// Open connections by thread, from its last slice.
    connections: BTreeMap<usize, u64>,
    latency: Histogram<u64>,
}

impl Collected {
    pub(super) fn new(threads: usize, window: Duration) -> Self {
        let slices = window.as_nanos().div_ceil(SLICE.as_nanos());
        let seconds = window.as_secs().div_ceil(INTERVALS_MAX).max(1);
        Self {
            window: i64::try_from(slices).unwrap_or(i64::MAX),
            per_interval: i64::try_from(seconds).unwrap_or(i64::MAX) * SLICES,
            latency: histogram(),
            messages: vec![0; threads],
            bytes: 0,
            rows: Vec::new(),
            open: BTreeMap::new(),
            newest: vec![i64::MIN; threads],
            errors: vec![0; threads],
            recent: VecDeque::new(),
            threads: Vec::new(),
            fanout: None,
            go: None,
            began_unix_ms: 0,
            connections: 0,
            interrupted: false,
        }
    }

    /// Length of an interval.
    pub(super) fn interval(&self) -> Duration {
        SLICE * u32::try_from(self.per_interval).unwrap_or(u32::MAX)
    }

    /// Adds a thread's slice. The slices of one thread come in order.
    pub(super) fn add(&mut self, slice: Slice) {
        let thread = slice.thread;
        let errors = slice.errors.total();
        let before = std::mem::replace(&mut self.errors[thread], errors);
        let more = errors.saturating_sub(before);
        self.newest[thread] = slice.index;
        if slice.index >= 0 {
            merge(&mut self.latency, &slice.latency);
        }
        if (0..self.window).contains(&slice.index) {
            self.messages[thread] += slice.messages;
            self.bytes += slice.bytes;
            let span = self.open.entry(slice.index / self.per_interval);
            span.or_insert_with(Span::new).add(&slice, more);
        }
        self.close_up_to(self.newest.iter().copied().min().unwrap_or(i64::MIN));
        self.recent.push_back(slice);
        if self.recent.len() > self.newest.len() * 4 {
            self.recent.pop_front();
        }
    }

    /// Completes the open intervals: no further slice will come.
    pub(super) fn finish(&mut self) {
        self.close_up_to(i64::MAX);
    }

    /// Turns the intervals that end at or before slice `newest` into rows.
    fn close_up_to(&mut self, newest: i64) {
        while let Some((&number, _)) = self.open.first_key_value() {
            let last = ((number + 1) * self.per_interval).min(self.window) - 1;
            if last > newest {
                return;
            }
            if let Some(span) = self.open.remove(&number) {
                let length = self.interval();
                let start = length * u32::try_from(number).unwrap_or(u32::MAX);
                self.rows.push(span.close(start, length));
            }
        }
    }
}

/// Adds one histogram of a run to another.
pub(super) fn merge(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    to.add(from)
        .expect("all histograms of a run have the same bounds");
}

impl Span {
    fn new() -> Self {
        Self {
            messages: 0,
            errors: 0,
            cpu_ns: 0,
            connections: BTreeMap::new(),
            latency: histogram(),
        }
    }

    fn add(&mut self, slice: &Slice, errors: u64) {
        self.messages += slice.messages;
        self.errors += errors;
        self.cpu_ns += slice.cpu_ns;
        self.connections.insert(slice.thread, slice.connections);
        merge(&mut self.latency, &slice.latency);
    }

    fn close(self, start: Duration, length: Duration) -> Row {
        Row {
            start,
            length,
            messages: self.messages,
            errors: self.errors,
            connections: self.connections.values().sum(),
            cpu_ns: self.cpu_ns,
            latency: Latency::of(&self.latency),
            encoded: hdr::encode(&self.latency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::Errors;

    fn slice(thread: usize, index: i64, messages: u64) -> Slice {
        let mut latency = histogram();
        latency.record_n(1000, messages).expect("within the bounds");
        Slice {
            thread,
            index,
            messages,
            bytes: messages,
            errors: Errors::default(),
            connections: 10,
            cpu_ns: 1_000_000,
            latency,
        }
    }

    #[test]
    fn two_hours_of_slices_leave_3600_rows_and_hardly_a_histogram() {
        let mut collected = Collected::new(1, Duration::from_secs(2 * 3600));
        for index in -4..2 * 3600 * 4 {
            collected.add(slice(0, index, 1));
            assert!(collected.open.len() <= 1 && collected.recent.len() <= 4);
        }
        collected.finish();
        assert_eq!(collected.rows.len(), 3600);
        assert!(collected.rows.iter().all(|row| row.messages == 2 * 4));
        assert_eq!(collected.messages, [2 * 3600 * 4]);
        assert_eq!(collected.latency.len(), 2 * 3600 * 4);
    }

    #[test]
    fn an_interval_is_over_when_every_thread_is_past_it() {
        let mut collected = Collected::new(2, Duration::from_millis(1500));
        (0..6).for_each(|index| collected.add(slice(0, index, 1)));
        assert_eq!(collected.rows.len(), 0);
        // The other thread was delayed, and has sent no slice for a while.
        collected.add(slice(1, 0, 2));
        collected.add(slice(1, 5, 3));
        collected.add(slice(1, 7, 5));
        let rows: Vec<_> = collected
            .rows
            .iter()
            .map(|row| (row.messages, row.connections))
            .collect();
        assert_eq!(rows, [(6, 20), (5, 20)]);
        assert_eq!(
            collected.messages,
            [6, 5],
            "what is complete behind the window is not in it"
        );
        assert_eq!(
            collected.latency.len(),
            16,
            "but what was due in it has its latency"
        );
    }
}
