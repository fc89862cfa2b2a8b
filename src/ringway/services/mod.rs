//! Applications that come with Ringway, and how several of them share one port.
//!
//! - [`Echo`]: every message goes back to its sender.
//! - [`Services`]: picks an application by the path of the request. A server with one application does without it.
#![forbid(unsafe_code)]

mod echo;
mod path;
mod router;

pub use echo::{Echo, Subprotocols};
pub use path::{BadPattern, Pattern};
pub use router::Services;
