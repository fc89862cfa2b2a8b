//! Gives memory back to the system after a burst.
//!
//! ```text
//!  a turn with completions ──▶ period of 1 s ──▶ memory unused in all of it is surplus ──▶ given back in steps
//!                               ▲      │                                                    of 20 ms each
//!                               └──────┴── until a period has neither completions nor surplus: then the timer stops
//! ```
//!
//! Giving a page back costs half a microsecond, and using it again three. So memory that was needed within the last
//! second is kept, and the rest goes back in steps, each short enough for a turn. A worker that falls quiet has given
//! everything back after three seconds: at most one until the period ends, one in which nothing is needed, one for the
//! steps.

use std::time::Duration;

use super::turn::Worker;
use crate::conn::core::LIST_LEN;
use crate::io::Io;
use crate::protocol::App;
use crate::time::Instant;

/// Time for which memory must be unused before it is surplus.
const PERIOD: Duration = Duration::from_secs(1);

/// Time between two steps: 50 of them fit a period.
const STEP: Duration = Duration::from_millis(20);
const STEPS: usize = 50;

/// Bytes that a step gives back at least, if there is so much surplus: half a millisecond of work.
const STEP_BYTES_MIN: usize = 2 << 20;

/// Bytes freed in the allocator's heap from which on its free pages go back before the period ends.
const TRIM_BYTES: usize = 2 << 20;

/// What the worker has to give back, and when it looks again.
#[derive(Debug)]
pub(crate) struct Tidy {
    /// The next look. [`Instant::NEVER`]: everything was given back, and nothing has completed since.
    due: Instant,
    period_ends: Instant,
    /// A completion arrived in this period.
    busy: bool,
    /// Bytes that each step gives back.
    step_bytes: usize,
    /// Bytes freed in the allocator's heap that the allocator has not given back to the system.
    freed_bytes: usize,
    /// Handshakes, complete or failed, when the heap was last trimmed. Long heads are allocated and freed there.
    handshakes: u64,
    /// The allocator should give its free pages back.
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

    /// The instant of the worker's next look.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }
}

impl<I: Io, A: App> Worker<I, A> {
    /// Whether the allocator's heap has free pages worth giving back ([`memory::trim`](crate::io::memory::trim)). The
    /// heap belongs to the whole process, so the caller trims it.
    pub const fn take_trim(&mut self) -> bool {
        std::mem::replace(&mut self.tidy.trim, false)
    }

    /// Runs at the end of each turn. `busy`: the turn had completions.
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
        } else if busy || untidy || self.tidy.freed_bytes > 0 {
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
        // However little was freed: it may be what kept whole free neighbours from going back.
        if self.tidy.freed_bytes > 0 || handshakes != self.tidy.handshakes {
            self.tidy.handshakes = handshakes;
            self.trim();
        }
    }

    const fn trim(&mut self) {
        self.tidy.freed_bytes = 0;
        self.tidy.trim = true;
    }

    /// Shrinks the lists of a turn, which have grown to the widest turn so far. Returns how many bytes were freed.
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
            &mut shared.pair_news,
            &mut self.expired,
            &mut self.spare,
        ];
        ids.into_iter().map(shrink).sum::<usize>()
            + shrink(&mut core.held)
            + shrink(&mut self.done)
            + shared.outbox.shrink(LIST_LEN)
            + shared.protocol.pairs.shrink(LIST_LEN)
    }
}

/// Shrinks a list to the room that every list keeps. Returns how many bytes were freed.
pub(crate) fn shrink<T>(list: &mut Vec<T>) -> usize {
    let before = list.capacity();
    list.shrink_to(LIST_LEN);
    (before - list.capacity()) * size_of::<T>()
}
