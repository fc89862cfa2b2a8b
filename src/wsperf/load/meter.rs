//! Figures of one driver thread, in slices of 250 ms that it sends to the conductor through a channel.
//!
//! ```text
//!   go          begin                                   end
//!   │  warm-up   │  slice 0 │ slice 1 │ …   │ slice n-1  │  the last answers
//! ```
//!
//! A message counts in the slice in which it is completed. Its latency counts if it was *due* inside the window (open
//! loop, so that a stall at the end of the window is not cut off), or completed inside it (closed loop).

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::outcome::Errors;
use crate::time::Instant;
use crate::worker::Closed;

/// Length of a slice, and so the time between two reports of a thread.
pub(super) const SLICE: Duration = Duration::from_millis(250);

/// The longest latency that the histogram distinguishes, in ns: one hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// A histogram of nanoseconds with three significant digits: 0.1 %.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are constant and valid")
}

/// The instants that bound the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// From here on messages are sent.
    pub(super) go: Instant,
    /// The measured window.
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

impl Window {
    /// Length of the window in slices.
    pub(super) fn slices(&self) -> i64 {
        let slices = self
            .end
            .since(self.begin)
            .as_nanos()
            .div_ceil(SLICE.as_nanos());
        i64::try_from(slices).unwrap_or(i64::MAX)
    }

    /// The slice in which `now` lies: negative in the warm-up, [`Self::slices`] or more after the window.
    fn slice_at(&self, now: Instant) -> i64 {
        let ns = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let slice = ns(SLICE);
        if now < self.begin {
            return -1 - (ns(self.begin.since(now)) - 1) / slice;
        }
        if now >= self.end {
            return self.slices() + ns(now.since(self.end)) / slice;
        }
        ns(now.since(self.begin)) / slice
    }

    /// When a slice ends.
    fn slice_end(&self, index: i64) -> Instant {
        let slices = self.slices();
        let after =
            |from: Instant, count: i64| from + SLICE * u32::try_from(count).unwrap_or(u32::MAX);
        if index < 0 {
            let before = SLICE * u32::try_from(-1 - index).unwrap_or(0);
            return Instant::from_nanos(
                self.begin
                    .nanos()
                    .saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(0)),
            );
        }
        if index < slices {
            return after(self.begin, index + 1).min(self.end);
        }
        after(self.end, index - slices + 1)
    }
}

/// The figures of one thread in 250 ms.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) thread: usize,
    /// Number of the slice; negative in the warm-up.
    pub(super) index: i64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) errors: Errors,
    /// Open connections at its end.
    pub(super) connections: u64,
    /// CPU time of the thread in it, in ns.
    pub(super) cpu_ns: u64,
    pub(super) latency: Histogram<u64>,
}

/// A report of a thread to the conductor.
#[derive(Debug)]
pub(super) enum Note {
    /// All connections of the thread are open or given up; how many are open.
    Ready {
        thread: usize,
        open: u64,
        errors: Errors,
    },
    /// How many connections are open so far.
    Opening {
        thread: usize,
        open: u64,
        errors: Errors,
    },
    /// A slice is complete.
    Slice(Box<Slice>),
}

/// The counters and histograms of one thread.
#[derive(Debug)]
pub(super) struct Meter {
    notes: Sender<Note>,
    window: Option<Window>,
    slice: Slice,
    slice_end: Instant,
    /// CPU time of the thread at the beginning of the slice, in ns.
    cpu_ns: u64,
    /// A latency and how often it came in a row. Answers of one receive have equal latencies, and one entry records them
    /// all.
    run: (u64, u64),
    /// Faults so far.
    pub(super) errors: Errors,
    /// The first failure, as a sentence.
    pub(super) first_failure: Option<String>,
    /// Connections that are open now.
    pub(super) connections: u64,
    /// Connections that were opened since the start.
    pub(super) opened: u64,
    missed: Missed,
}

/// Messages that were due in the window and never answered: how many, by the time at which they were due. The window is
/// divided into at most [`MISSED_MAX`] entries of equal width, so a run of days needs no more memory than one of minutes.
#[derive(Debug, Default)]
struct Missed(BTreeMap<u64, u64>);

/// Most entries of [`Missed`]: 64 KiB of memory.
const MISSED_MAX: u64 = 4096;

impl Missed {
    fn width_ns(window: &Window) -> u64 {
        let ns = u64::try_from(window.end.since(window.begin).as_nanos()).unwrap_or(u64::MAX);
        ns.div_ceil(MISSED_MAX).max(1)
    }

    fn add(&mut self, due: Instant, window: &Window) {
        let since = due.nanos().saturating_sub(window.begin.nanos());
        *self.0.entry(since / Self::width_ns(window)).or_default() += 1;
    }

    /// Records each missed message with the time from its entry's beginning, which is when it was due or a little
    /// earlier, to `until`.
    fn record(&mut self, latency: &mut Histogram<u64>, window: &Window, until: Instant) {
        for (place, count) in std::mem::take(&mut self.0) {
            let due = window.begin.nanos() + place * Self::width_ns(window);
            latency.saturating_record_n(until.nanos().saturating_sub(due).max(1), count);
        }
    }
}

impl Meter {
    pub(super) fn new(thread: usize, notes: Sender<Note>) -> Self {
        Self {
            notes,
            window: None,
            slice: Slice {
                thread,
                index: i64::MIN,
                messages: 0,
                bytes: 0,
                errors: Errors::default(),
                connections: 0,
                cpu_ns: 0,
                latency: histogram(),
            },
            slice_end: Instant::from_nanos(u64::MAX),
            cpu_ns: 0,
            run: (0, 0),
            errors: Errors::default(),
            first_failure: None,
            connections: 0,
            opened: 0,
            missed: Missed::default(),
        }
    }

    /// A connection is open.
    pub(super) const fn note_open(&mut self) {
        self.connections += 1;
        self.opened += 1;
    }

    /// Starts the clock.
    pub(super) fn start(&mut self, window: Window) {
        self.window = Some(window);
        self.slice.index = window.slice_at(window.go);
        self.cpu_ns = crate::io::sys::thread_cpu_ns();
        self.slice_end = window.slice_end(self.slice.index);
    }

    /// The window, once it is known.
    pub(super) const fn window(&self) -> Option<Window> {
        self.window
    }

    /// Whether the clock has started.
    pub(super) fn has_begun(&self, now: Instant) -> bool {
        self.window.is_some_and(|window| now >= window.go)
    }

    /// Whether a message due at `at` is due inside the measured window.
    pub(super) fn is_measured(&self, at: Instant) -> bool {
        self.window
            .is_some_and(|window| at >= window.begin && at < window.end)
    }

    /// Whether new messages are still to be sent.
    pub(super) fn is_running(&self, now: Instant) -> bool {
        self.window
            .is_some_and(|window| now >= window.go && now < window.end)
    }

    /// Counts a message that was due at `from` and is completed at `now`, and records its latency.
    #[inline]
    pub(super) fn complete(&mut self, now: Instant, from: Instant, bytes: usize, due: Due) {
        self.message(now, bytes);
        self.latency(now, from, due);
    }

    /// Counts a message without recording its latency.
    #[inline]
    pub(super) fn message(&mut self, now: Instant, bytes: usize) {
        self.pass(now);
        self.slice.messages += 1;
        self.slice.bytes += bytes as u64;
    }

    /// Records the latency of something that was due at `from`.
    #[inline]
    pub(super) fn latency(&mut self, now: Instant, from: Instant, due: Due) {
        let Some(window) = &self.window else { return };
        let counts = match due {
            Due::Scheduled => now < window.begin || (from >= window.begin && from < window.end),
            Due::Whenever => now < window.end,
        };
        if !counts {
            return;
        }
        let latency = now.nanos().saturating_sub(from.nanos()).max(1);
        if latency == self.run.0 {
            self.run.1 += 1;
        } else {
            self.end_run();
            self.run = (latency, 1);
        }
    }

    fn end_run(&mut self) {
        let (latency, count) = std::mem::take(&mut self.run);
        if count > 0 {
            self.slice.latency.saturating_record_n(latency, count);
        }
    }

    /// Counts a scheduled message, due at `due`, that was never sent or will never be answered.
    pub(super) fn miss(&mut self, due: Instant) {
        self.errors.missing += 1;
        if let Some(window) = &self.window
            && self.is_measured(due)
        {
            self.missed.add(due, window);
        }
    }

    /// Counts a fault. `what` describes it; only the first description is kept.
    pub(super) fn fault(&mut self, add: impl FnOnce(&mut Errors), what: impl FnOnce() -> String) {
        add(&mut self.errors);
        self.first_failure.get_or_insert_with(what);
    }

    /// Counts a connection that ended although this driver had not asked for it.
    pub(super) fn lost(&mut self, closed: &Closed) {
        match closed.violation {
            Some(violation) => self.fault(
                |errors| errors.protocol += 1,
                || format!("the server broke the protocol: {violation}"),
            ),
            None => self.fault(
                |errors| errors.closed += 1,
                || format!("the server ended a connection ({})", closed.code.number()),
            ),
        }
    }

    /// Counts a connection that ended because this driver closed it at the end of the run.
    pub(super) fn left(&mut self, closed: &Closed) {
        if !closed.clean {
            self.fault(
                |errors| errors.close += 1,
                || "a closing handshake was not completed".to_owned(),
            );
        }
    }

    /// Sends the slices that are complete at `now`.
    #[inline]
    pub(super) fn pass(&mut self, now: Instant) {
        if now >= self.slice_end {
            self.roll(now);
        }
    }

    #[cold]
    fn roll(&mut self, now: Instant) {
        let Some(window) = self.window else { return };
        self.end_run();
        let index = window.slice_at(now);
        let fresh = Slice {
            index,
            messages: 0,
            bytes: 0,
            latency: histogram(),
            ..self.slice.clone_figures()
        };
        let mut over = std::mem::replace(&mut self.slice, fresh);
        over.errors = self.errors;
        over.connections = self.connections;
        let cpu_ns = crate::io::sys::thread_cpu_ns();
        over.cpu_ns = cpu_ns - std::mem::replace(&mut self.cpu_ns, cpu_ns);
        self.slice_end = window.slice_end(index);
        // The receiver is gone only when the run is being abandoned.
        let _ = self.notes.send(Note::Slice(Box::new(over)));
    }

    /// Sends the last slices. A message that was due and never answered counts as if the driver had waited for it until
    /// `patience` after the window: losing messages must not improve a percentile of an open loop.
    pub(super) fn finish(&mut self, now: Instant, patience: Duration) {
        if let Some(window) = &self.window {
            let until = now.min(window.end) + patience;
            self.missed.record(&mut self.slice.latency, window, until);
        }
        self.roll(now);
    }

    /// Reports how many connections are open.
    pub(super) fn tell_opening(&self, ready: bool) {
        let (thread, open, errors) = (self.slice.thread, self.connections, self.errors);
        let _ = self.notes.send(if ready {
            Note::Ready {
                thread,
                open,
                errors,
            }
        } else {
            Note::Opening {
                thread,
                open,
                errors,
            }
        });
    }
}

impl Slice {
    /// The figures without the histogram, which the caller replaces.
    fn clone_figures(&self) -> Self {
        Self {
            latency: Histogram::new(1).expect("one digit is valid"),
            ..*self
        }
    }
}

/// Which latencies count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Those of messages that were due inside the window, by a schedule.
    Scheduled,
    /// Those of messages that were completed inside the window.
    Whenever,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn window() -> Window {
        Window {
            go: at(1000),
            begin: at(1600),
            end: at(2700),
        }
    }

    #[test]
    fn slices_of_warm_up_window_and_rest_follow_each_other() {
        let window = window();
        assert_eq!(window.slices(), 5);
        let expected = [
            (1000, -3, 1100),
            (1099, -3, 1100),
            (1100, -2, 1350),
            (1599, -1, 1600),
            (1600, 0, 1850),
            (2599, 3, 2600),
            (2600, 4, 2700),
            (2700, 5, 2950),
            (2950, 6, 3200),
        ];
        for (now, index, end) in expected {
            assert_eq!(window.slice_at(at(now)), index, "at {now}");
            assert_eq!(window.slice_end(index), at(end), "of {index}");
        }
    }

    #[test]
    fn a_scheduled_latency_counts_by_when_it_was_due_and_an_unscheduled_one_by_when_it_was_complete()
     {
        let (notes, told) = std::sync::mpsc::channel();
        let mut meter = Meter::new(0, notes);
        meter.start(window());
        meter.complete(at(1650), at(1599), 1, Due::Scheduled);
        meter.complete(at(1660), at(1600), 1, Due::Scheduled);
        meter.complete(at(9000), at(2699), 1, Due::Scheduled);
        meter.complete(at(9001), at(2700), 1, Due::Scheduled);
        meter.complete(at(9002), at(2699), 1, Due::Whenever);
        meter.finish(at(9500), Duration::ZERO);
        let slices: Vec<_> = told
            .try_iter()
            .filter_map(|note| match note {
                Note::Slice(slice) => Some((slice.index, slice.messages, slice.latency.len())),
                _ => None,
            })
            .collect();
        assert_eq!(slices, [(-3, 0, 0), (0, 2, 1), (30, 3, 1)]);
    }

    #[test]
    fn what_was_never_answered_counts_as_long_as_it_would_have_been_waited_for() {
        let (notes, told) = std::sync::mpsc::channel();
        let mut meter = Meter::new(0, notes);
        meter.start(window());
        meter.complete(at(1700), at(1699), 1, Due::Scheduled);
        // In the warm-up, at the beginning of the window, and at its end.
        for due in [1599, 1600, 2699] {
            meter.miss(at(due));
        }
        meter.finish(at(2700), Duration::from_secs(10));
        assert_eq!(meter.errors.missing, 3);
        let mut latency = histogram();
        for note in told.try_iter() {
            if let Note::Slice(slice) = note
                && slice.index >= 0
            {
                latency.add(slice.latency).expect("the same bounds");
            }
        }
        assert_eq!(latency.len(), 3);
        // 10 s after the end of the window, in milliseconds.
        let near = |ns: u64, ms: u64| latency.equivalent(ns, ms * 1_000_000);
        assert!(near(latency.max(), 11_100), "{}", latency.max());
        let median = latency.value_at_quantile(0.5);
        assert!(
            (10_001_000_000..10_020_000_000).contains(&median),
            "{median}"
        );
        assert!(near(latency.min(), 1), "{}", latency.min());
    }
}
