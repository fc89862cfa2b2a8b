//! The schedule of an open loop: when each message is due, by the clock alone. A server that stalls does not slow the
//! schedule down, so the stall shows as latency of every message that became due meanwhile (no coordinated omission).

use crate::time::Instant;

/// Due times at equal distances, for one thread.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Nanoseconds between two messages.
    period_ns: f64,
    /// Nanoseconds by which this thread begins later, so that the threads send in turn.
    offset_ns: f64,
    /// The start of the schedule and its end: messages are due from the first to before the second.
    span: Option<(Instant, Instant)>,
    next: u64,
}

impl Schedule {
    /// `rate`: messages per second of this thread. It begins `phase` of a period after the clock starts.
    pub(super) fn new(rate: f64, phase: f64) -> Self {
        let period_ns = 1e9 / rate;
        Self {
            period_ns,
            offset_ns: period_ns * phase,
            span: None,
            next: 0,
        }
    }

    pub(super) const fn start(&mut self, go: Instant, end: Instant) {
        self.span = Some((go, end));
    }

    /// When message `number` is due.
    fn due(&self, go: Instant, number: u64) -> Instant {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "nanoseconds of a run, which are positive and below 2^53"
        )]
        let ns = (self.offset_ns + number as f64 * self.period_ns) as u64;
        Instant::from_nanos(go.nanos() + ns)
    }

    /// When the next message is due. A late thread still gets every message that was due before the end.
    pub(super) fn next(&self) -> Option<Instant> {
        let (go, end) = self.span?;
        Some(self.due(go, self.next)).filter(|due| *due < end)
    }

    /// Appends the number and due time of the messages that are due by `now`, at most `max`.
    pub(super) fn take(&mut self, now: Instant, max: u64, due: &mut Vec<(u64, Instant)>) {
        let Some((go, end)) = self.span else { return };
        for number in self.next..self.next + max {
            let at = self.due(go, number);
            if at > now || at >= end {
                break;
            }
            due.push((number, at));
            self.next = number + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }

    #[test]
    fn threads_take_turns_and_a_late_one_keeps_the_due_times() {
        let [mut first, mut second] = [0.0, 0.5].map(|phase| Schedule::new(500.0, phase));
        first.start(at(5000), at(12_000));
        second.start(at(5000), at(12_000));
        let mut due = Vec::new();
        first.take(at(9500), 100, &mut due);
        assert_eq!(due, [(0, at(5000)), (1, at(7000)), (2, at(9000))]);
        assert_eq!(first.next(), Some(at(11_000)));
        due.clear();
        second.take(at(9500), 1, &mut due);
        second.take(at(9500), 1, &mut due);
        assert_eq!(due, [(0, at(6000)), (1, at(8000))]);
        second.take(at(9500), 1, &mut due);
        assert_eq!(due.len(), 2, "the next is due at 10 ms");
        due.clear();
        second.take(at(90_000), 100, &mut due);
        assert_eq!(due, [(2, at(10_000))], "the one after is due at the end");
        assert_eq!(second.next(), None);
    }
}
