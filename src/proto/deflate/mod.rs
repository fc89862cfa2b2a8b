//! permessage-deflate (RFC 7692): which terms two endpoints agree on, and messages in and out of their compressed form.
//!
//! ```text
//!  client: offer ──▶ server: accept ──▶ client: answered       both then hold the same `Agreed`
//!
//!  payload ──▶ Deflater ──▶ RSV1 │ compressed ──▶ Inflater ──▶ payload
//!                 ▲                                   ▲
//!                 └── History of what was sent        └── History of what was received      (context takeover)
//! ```
//!
//! A compressor takes up to 94 KiB or more, and an inflater 46 KiB. So neither belongs to a connection: a few of them serve all
//! connections of a thread. What a connection keeps between its messages is a [`History`] per direction: the last bytes
//! of its plain text, at most as many as the window that was agreed on. From it any engine can go on where another one
//! stopped.
//!
//! The compressor is our own, because it begins anew for almost every message: what it clears and what it reads again is as small
//! as the window allows. The inflater is zlib-rs'.
//!
//! Whoever drives this decides whether to compress before the compressor sees a byte: a message that entered the
//! compressor's window must be sent compressed, or the two windows differ from then on.

#[cfg(feature = "deflate")]
mod block;
#[cfg(feature = "deflate")]
mod engine;
#[cfg(feature = "deflate")]
mod huffman;
mod negotiate;
mod options;
#[cfg(feature = "deflate")]
mod window;

#[cfg(all(test, feature = "deflate"))]
mod tests;

#[cfg(feature = "deflate")]
pub use crate::progress::{Hooks, Progress};
#[cfg(feature = "deflate")]
pub use engine::{Deflater, History, Inflater, Part, Place, Stop};
pub use negotiate::{Agreed, Answer, Direction, Terms, answered};
pub(crate) use negotiate::{accept_one, push_answer, push_offers};
pub use options::{Deflate, Setup};

/// The registered name (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";
