//! Applications that come with Ringway.
#![forbid(unsafe_code)]

mod echo;

pub use echo::{Echo, Subprotocols};
