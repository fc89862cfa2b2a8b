//! permessage-snappy, as Autobahn negotiates it: a message is a row of chunks in snappy's framing format.
//!
//! A chunk has at most 64 KiB and refers to no other one. So *context takeover* is about ten bytes: the stream's identifier
//! stands before the first message only, or before each.

#[cfg(feature = "snappy")]
mod engine;
mod negotiate;

#[cfg(all(test, feature = "snappy"))]
mod tests;

#[cfg(feature = "snappy")]
pub use engine::{Compressor, Inflater, compressed_bytes_max};
pub use negotiate::{Agreed, Answer, Terms, answered};
pub(crate) use negotiate::{accept_one, push_answer, push_offer};

/// The name that Autobahn has for it. It is not registered.
pub const NAME: &str = "permessage-snappy";

/// How an endpoint compresses messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snappy {
    /// Bytes of the smallest message that is compressed. Default 256.
    pub bytes_min: usize,
}

impl Default for Snappy {
    fn default() -> Self {
        Self { bytes_min: 256 }
    }
}
