//! How much of a turn one connection may take.

use std::time::Duration;

use crate::io::ConnId;
use crate::time::Instant;

/// Frames that are handled before the clock is read.
const STRETCH_FRAMES: u32 = 512;

/// Frames of one connection handled in one turn at most. So many of the cheapest ones take a few hundred microseconds.
const TURN_FRAMES_MAX: u32 = 8 * STRETCH_FRAMES;

/// Bytes that one connection inflates in one turn (1 MiB, about a millisecond). Tests have less, so that the simulated
/// connections come to it.
pub(crate) const TURN_INFLATED_BYTES_MAX: usize = if cfg!(test) { 20_000 } else { 1 << 20 };

/// Time that one connection may take of a turn, up to one stretch more or less. It includes the application's
/// callbacks.
const TURN_TIME_MAX: Duration = Duration::from_millis(2);

/// What the connection that was fed last has used of its share. One value serves all connections, because a turn
/// handles everything received on one connection before it turns to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    of: Option<ConnId>,
    pub(crate) frames: u32,
    inflated_bytes: usize,
    /// The instant at which its first stretch ended.
    began: Option<Instant>,
}

impl Share {
    /// How many frames connection `id` may handle now.
    pub(crate) const fn stretch(&mut self, id: ConnId) -> u32 {
        self.belong_to(id);
        let left = TURN_FRAMES_MAX - self.frames;
        if left < STRETCH_FRAMES {
            left
        } else {
            STRETCH_FRAMES
        }
    }

    #[inline(always)]
    const fn belong_to(&mut self, id: ConnId) {
        if !matches!(self.of, Some(of) if of.slot == id.slot) {
            *self = Self {
                of: Some(id),
                frames: 0,
                inflated_bytes: 0,
                began: None,
            };
        }
    }

    /// How many bytes connection `id` may inflate now.
    pub(crate) const fn inflate_left(&mut self, id: ConnId) -> usize {
        self.belong_to(id);
        TURN_INFLATED_BYTES_MAX.saturating_sub(self.inflated_bytes)
    }

    /// Notes that the connection inflated so many bytes.
    pub(crate) const fn inflated(&mut self, bytes: usize) {
        self.inflated_bytes = self.inflated_bytes.saturating_add(bytes);
    }

    /// The connection handles nothing more in this turn.
    pub(crate) const fn use_up(&mut self) {
        self.frames = TURN_FRAMES_MAX;
    }

    /// Whether the connection may begin another stretch in this turn.
    pub(crate) fn goes_on(&mut self, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        self.frames < TURN_FRAMES_MAX && now.since(began) < TURN_TIME_MAX
    }
}
