//! Memory back to the system after a burst.
//!
//! ```text
//!  a turn with completions ──▶ period of 1 s ──▶ what was not needed in all of it is surplus ──▶ given back in steps
//!                               ▲      │                                                          of 20 ms each
//!                               └──────┴── until a period has neither completions nor surplus: then no timer is left
//! ```
//!
//! A page given back costs half a microsecond, and three when it is needed again. So nothing goes back that was needed
//! within a second, and what goes back goes in steps that a turn can bear. A worker that is quiet from now on has given
//! everything back after three seconds: up to one to the end of this period, one in which nothing is needed, one for
//! the steps.

use std::time::Duration;

use super::turn::Worker;
use crate::conn::core::LIST_LEN;
use crate::io::Io;
use crate::protocol::App;
use crate::time::Instant;

/// Memory that was not needed for so long is not needed.
const PERIOD: Duration = Duration::from_secs(1);

/// Between two steps: 50 of them fit a period.
const STEP: Duration = Duration::from_millis(20);
const STEPS: usize = 50;

/// A step gives at least so much back, if there is so much: half a millisecond of work where nobody shares the core.
const STEP_BYTES_MIN: usize = 2 << 20;

/// With so much freed in the allocator's heap, its free pages go back even before the period ends.
const TRIM_BYTES: usize = 2 << 20;

/// With less than this freed in a period, they do not.
const TRIM_BYTES_MIN: usize = 128 << 10;

/// What is to be given back, and when the worker looks again.
#[derive(Debug)]
pub(crate) struct Tidy {
    /// [`Instant::NEVER`]: nothing happened since everything was given back.
    due: Instant,
    period_ends: Instant,
    /// Something completed in this period.
    busy: bool,
    /// How much each step gives back.
    step_bytes: usize,
    /// Freed in the allocator's heap, and not yet given back by it.
    freed_bytes: usize,
    /// Handshakes, of either outcome, that were counted when the heap was last trimmed: long heads come and go there.
    handshakes: u64,
    /// The allocator is to give its free pages back.
    trim: bool,
}

impl Tidy {
    pub(crate) const fn new() -> Self {
        Self {
            due: Instant::NEVER,
            period_ends: Instant::ZERO,
            busy: false,
            step_bytes: 0,
            freed_bytes: 0,
            handshakes: 0,
            trim: false,
        }
    }

    /// When the worker has to look.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }
}

impl<I: Io, A: App> Worker<I, A> {
    /// Whether the allocator's heap has free pages worth giving back ([`memory::trim`](crate::io::memory::trim)). That is a
    /// matter of the whole process, so whoever runs the worker does it.
    pub const fn take_trim(&mut self) -> bool {
        std::mem::replace(&mut self.tidy.trim, false)
    }

    /// At the end of each turn; `busy`: something completed in it.
    #[inline]
    pub(crate) fn tidy(&mut self, busy: bool) {
        self.tidy.busy |= busy;
        let now = self.core.shared.now;
        if now >= self.tidy.due {
            self.tidy_up(now);
        } else if busy && self.tidy.due == Instant::NEVER {
            self.tidy.period_ends = now + PERIOD;
            self.tidy.due = self.tidy.period_ends;
        }
    }

    #[cold]
    fn tidy_up(&mut self, now: Instant) {
        let mut busy = true;
        if now >= self.tidy.period_ends {
            busy = std::mem::take(&mut self.tidy.busy);
            self.end_period();
            self.tidy.period_ends = now + PERIOD;
        }
        let step = self.tidy.step_bytes;
        let more = self.core.shared.buffers.release(step);
        self.tidy.freed_bytes += self.table.release(step);
        self.tidy.freed_bytes += self.core.shared.buffers.take_freed();
        if self.tidy.freed_bytes >= TRIM_BYTES {
            self.trim();
        }
        let untidy = self.core.shared.buffers.is_untidy() || self.table.surplus() > 0;
        self.tidy.due = if more || self.table.surplus() > 0 {
            (now + STEP).min(self.tidy.period_ends)
        } else if busy || untidy {
            self.tidy.period_ends
        } else {
            Instant::NEVER
        };
    }

    fn end_period(&mut self) {
        let surplus = self.core.shared.buffers.end_period() + self.table.surplus();
        self.tidy.step_bytes = (surplus / STEPS).max(STEP_BYTES_MIN);
        self.core.io.release_idle(&self.core.held);
        self.tidy.freed_bytes += self.shrink_lists();
        let counters = &self.core.shared.counters;
        let handshakes = counters.handshakes + counters.handshakes_failed;
        if self.tidy.freed_bytes >= TRIM_BYTES_MIN || handshakes != self.tidy.handshakes {
            self.tidy.handshakes = handshakes;
            self.trim();
        }
    }

    const fn trim(&mut self) {
        self.tidy.freed_bytes = 0;
        self.tidy.trim = true;
    }

    /// The lists of a turn are as long as the widest turn was. Returns how many bytes were freed.
    fn shrink_lists(&mut self) -> usize {
        let core = &mut self.core;
        let shared = &mut core.shared;
        let ids = [
            &mut core.starved,
            &mut core.ready,
            &mut core.relieved,
            &mut core.released,
            &mut shared.dirty,
            &mut shared.rescheduled,
            &mut shared.condemned,
            &mut self.expired,
            &mut self.spare,
        ];
        ids.into_iter().map(shrink).sum::<usize>()
            + shrink(&mut core.held)
            + shrink(&mut self.done)
            + shared.outbox.shrink(LIST_LEN)
    }
}

/// Gives the room of a list back that it has not needed just now.
pub(crate) fn shrink<T>(list: &mut Vec<T>) -> usize {
    let before = list.capacity();
    list.shrink_to(LIST_LEN);
    (before - list.capacity()) * size_of::<T>()
}
