//! The `user_data` of an operation: what it does, to which slot, and for which generation of that slot.
//!
//! ```text
//!   63      56 55              32 31                      0
//!  +----------+------------------+-------------------------+
//!  |    op    |    generation    |           slot          |
//!  +----------+------------------+-------------------------+
//! ```

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// Readiness of a listener to accept; the slot is the listener's number.
    Accept = 1,
    /// Multishot receive of a connection.
    Recv = 2,
    /// Multishot readiness to read of a connection.
    PollIn = 3,
    /// Readiness to write of a connection.
    PollOut = 4,
    /// Send of a connection.
    Send = 5,
    /// The cancellation itself, not the operation it cancels.
    Cancel = 6,
    /// Readiness of a descriptor that the worker watches besides its connections; the slot is the watch's number.
    Watch = 7,
    /// Readiness of the timer that ends a wait; known to the implementations of [`Io`](super::Io) alone.
    Alarm = 8,
}

/// A connection: its slot in the worker's table, and the slot's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// Index in the table.
    pub slot: u32,
    /// Raised each time the slot is freed, so that a late completion cannot reach the next connection in the slot; 24
    /// bits.
    pub generation: u32,
}

const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

impl ConnId {
    /// The same slot for the next connection.
    #[must_use]
    pub const fn next_generation(self) -> Self {
        Self {
            slot: self.slot,
            generation: (self.generation + 1) & GENERATION_MASK,
        }
    }
}

/// The value that travels through the ring as `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

const _: () = assert!(size_of::<Token>() == 8);

impl Token {
    /// Operation `op` on the connection, listener or watch `id`.
    #[inline]
    pub const fn new(op: Op, id: ConnId) -> Self {
        let generation = (id.generation & GENERATION_MASK) as u64;
        Self((op as u64) << 56 | generation << 32 | id.slot as u64)
    }

    /// Operation `op` on a listener or watch, whose slots are never reused.
    #[inline]
    pub const fn fixed(op: Op, slot: u32) -> Self {
        Self::new(
            op,
            ConnId {
                slot,
                generation: 0,
            },
        )
    }

    /// The operation.
    ///
    /// # Panics
    /// When the token was not made by [`Token::new`].
    #[inline]
    pub const fn op(self) -> Op {
        match self.0 >> 56 {
            1 => Op::Accept,
            2 => Op::Recv,
            3 => Op::PollIn,
            4 => Op::PollOut,
            5 => Op::Send,
            6 => Op::Cancel,
            7 => Op::Watch,
            8 => Op::Alarm,
            _ => panic!("the kernel returns the user_data that was submitted"),
        }
    }

    /// Whether the operation is `op`.
    #[inline]
    pub const fn is(self, op: Op) -> bool {
        self.0 >> 56 == op as u64
    }

    /// The connection, listener or watch of the operation.
    #[inline]
    pub const fn id(self) -> ConnId {
        ConnId {
            slot: (self.0 & 0xFFFF_FFFF) as u32,
            generation: (self.0 >> 32) as u32 & GENERATION_MASK,
        }
    }

    /// The raw value.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From a raw value that [`Self::to_bits`] gave.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for op in [
            Op::Accept,
            Op::Recv,
            Op::PollIn,
            Op::PollOut,
            Op::Send,
            Op::Cancel,
            Op::Watch,
            Op::Alarm,
        ] {
            for id in [
                ConnId {
                    slot: 0,
                    generation: 0,
                },
                ConnId {
                    slot: u32::MAX,
                    generation: 0xFF_FFFF,
                },
                ConnId {
                    slot: 7,
                    generation: 0x12_3456,
                },
            ] {
                let token = Token::from_bits(Token::new(op, id).to_bits());
                assert_eq!((token.op(), token.id()), (op, id));
            }
        }
    }

    #[test]
    fn a_generation_wraps_at_24_bits() {
        let last = ConnId {
            slot: 3,
            generation: 0xFF_FFFF,
        };
        assert_eq!(
            last.next_generation(),
            ConnId {
                slot: 3,
                generation: 0
            }
        );
    }
}
