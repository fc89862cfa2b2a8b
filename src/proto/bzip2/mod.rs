//! permessage-bzip2, as Autobahn negotiates it: each message is a bzip2 stream of its own.
//!
//! It makes the smallest messages of all and costs the most. A stream has blocks of up to 100 kB times its level: level 9
//! takes up to 3.7 MB to inflate and up to 7.6 MB to compress, while a message is in work. Nothing is kept between messages.
//! A block is inflated in one piece, which takes up to 20 ms at level 9; between blocks the inflater stops when it is told to.

#[cfg(feature = "bzip2")]
mod engine;
mod negotiate;

#[cfg(all(test, feature = "bzip2"))]
mod tests;

#[cfg(feature = "bzip2")]
pub use engine::{Inflater, compress, compressed_bytes_max};
pub use negotiate::{Agreed, Answer, Terms, answered};
pub(crate) use negotiate::{accept_one, push_answer, push_offer};

/// The name that Autobahn has for it. It is not registered.
pub const NAME: &str = "permessage-bzip2";

/// The largest level: blocks of 900 kB.
pub const LEVEL_MAX: u8 = 9;

/// How an endpoint compresses messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bzip2 {
    /// Blocks of what we send, from 1 (100 kB) to 9. Default 9, as Autobahn's. A short message takes no larger one than it
    /// needs.
    pub sends_level: u8,
    /// Blocks of what the peer may send, from 1 to 9: 0.4 MB of memory each while a message is inflated. Default 9. A
    /// client that cannot be told a level gets no compression below 9.
    pub receives_level: u8,
    /// Bytes of the smallest message that is compressed. Default 256.
    pub bytes_min: usize,
}

impl Default for Bzip2 {
    fn default() -> Self {
        Self {
            sends_level: LEVEL_MAX,
            receives_level: LEVEL_MAX,
            bytes_min: 256,
        }
    }
}

impl Bzip2 {
    /// What is offered, or accepted.
    pub const fn terms(&self) -> Terms {
        Terms {
            sends_level: self.sends_level,
            receives_level: self.receives_level,
        }
    }

    /// Whether the levels are within their range.
    pub fn is_possible(&self) -> bool {
        let range = 1..=LEVEL_MAX;
        range.contains(&self.sends_level) && range.contains(&self.receives_level)
    }
}
