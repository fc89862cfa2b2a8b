//! What an endpoint may be told about compression: plain data.

use super::negotiate::COMPRESS_WINDOW_BITS_MIN;
use super::{Direction, Terms};

/// How an endpoint compresses messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// From 1 (fast) to 9 (small). Default 1. Level 1 makes of JSON what zlib makes at its level 4 to 6;
    /// level 6 makes 8 % less, in 1.5 times the time.
    pub level: u8,
    /// Memory, from 1 to 9, as zlib's `memLevel`: places in the index and length of a block. Default 5. It costs the worker
    /// memory, not the connection.
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

    /// How a compressor works that uses a window of so many bits.
    pub const fn setup(&self, window_bits: u8) -> Setup {
        Setup {
            level: self.level,
            window_bits,
            mem_level: self.mem_level,
        }
    }

    /// Whether all of it is within its range.
    pub fn is_possible(&self) -> bool {
        self.setup(self.sends.window_bits).is_possible()
            && (8..=15).contains(&self.receives.window_bits)
    }
}

/// How a compressor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// From 1 (fast) to 9 (small).
    pub level: u8,
    /// The window, from 9 to 15 bits.
    pub window_bits: u8,
    /// Memory, from 1 to 9.
    pub mem_level: u8,
}

impl Setup {
    /// Whether this is within its range. A window of 8 bits is not: it would hold 256 bytes.
    pub const fn is_possible(&self) -> bool {
        self.level >= 1
            && self.level <= 9
            && self.mem_level >= 1
            && self.mem_level <= 9
            && self.window_bits >= COMPRESS_WINDOW_BITS_MIN
            && self.window_bits <= 15
    }
}
