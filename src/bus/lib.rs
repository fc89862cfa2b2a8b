//! Publish and subscribe across workers, without I/O.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

// Positions in shared memory are used as `usize`.
const _: () = assert!(usize::BITS == 64, "Ringway is for 64-bit Linux");

mod atomic;
pub mod doorbell;
pub mod history;
pub mod log;
pub mod pubsub;
pub mod queue;
#[cfg(all(test, not(any(loom, shuttle))))]
mod random;
pub mod rights;
#[cfg(feature = "token")]
pub mod token;
pub mod topics;

pub use atomic::{AtomicU64, Words};
