//! How much of a turn one connection may take.

use std::time::Duration;

use crate::io::ConnId;
use crate::time::Instant;

/// Frames handled in one go: then the clock is looked at.
const STRETCH_FRAMES: u32 = 512;

/// Frames of one connection handled in one turn: as many of the cheapest ones take a few hundred microseconds.
const TURN_FRAMES_MAX: u32 = 8 * STRETCH_FRAMES;

/// Time that one connection may take of a turn, give or take one stretch. What an application does with a message is within
/// it.
const TURN_TIME_MAX: Duration = Duration::from_millis(2);

/// How much of a turn the connection that was fed last has used. All that one turn receives of a connection comes in one
/// row, so that this is one value and not one for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    of: Option<ConnId>,
    pub(crate) frames: u32,
    /// When its first stretch ended.
    began: Option<Instant>,
}

impl Share {
    /// `conn` is fed: how many frames it may handle now.
    pub(crate) const fn stretch(&mut self, id: ConnId) -> u32 {
        if !matches!(self.of, Some(of) if of.slot == id.slot) {
            *self = Self {
                of: Some(id),
                frames: 0,
                began: None,
            };
        }
        let left = TURN_FRAMES_MAX - self.frames;
        if left < STRETCH_FRAMES {
            left
        } else {
            STRETCH_FRAMES
        }
    }

    /// Whether the connection whose stretch has ended may go on at once.
    pub(crate) fn goes_on(&mut self, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        self.frames < TURN_FRAMES_MAX && now.since(began) < TURN_TIME_MAX
    }
}
