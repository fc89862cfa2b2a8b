//! What an endpoint may be told about compression: plain data.

use super::{Direction, Terms};

/// How an endpoint compresses messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// From 1 (fast) to 9 (small). Default 1: with context takeover it makes less of JSON than level 6 without, in less
    /// than half of the time.
    pub level: u8,
    /// zlib's `memLevel`, from 1 to 9. Default 5. It costs the worker memory, not the connection.
    pub mem_level: u8,
    /// What we send: whether a message refers to the ones before it, and how far back, from 9 to 15 bits. With takeover a
    /// connection keeps so many bytes. Default: takeover, 12 bits (4 KiB).
    pub sends: Direction,
    /// What the peer may send, from 8 to 15 bits. With takeover a connection keeps so many bytes. Default: no takeover.
    pub receives: Direction,
    /// Bytes of the smallest message that is compressed. Default 256: below, the fixed cost is larger than the gain.
    pub bytes_min: usize,
}

impl Default for Deflate {
    fn default() -> Self {
        Self {
            level: 1,
            mem_level: 5,
            sends: Direction {
                takeover: true,
                window_bits: 12,
            },
            receives: Direction {
                takeover: false,
                window_bits: 15,
            },
            bytes_min: 256,
        }
    }
}

impl Deflate {
    /// What is offered, or accepted.
    pub const fn terms(&self) -> Terms {
        Terms {
            sends: self.sends,
            receives: self.receives,
        }
    }

    /// Whether zlib can do this: it compresses with no window of 8 bits.
    pub fn is_possible(&self) -> bool {
        (1..=9).contains(&self.level)
            && (1..=9).contains(&self.mem_level)
            && (9..=15).contains(&self.sends.window_bits)
            && (8..=15).contains(&self.receives.window_bits)
    }
}
