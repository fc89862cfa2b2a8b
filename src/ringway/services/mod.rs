//! Applications that come with Ringway, and a router for several applications on one port.
//!
//! - [`Echo`]: sends every message back to its sender.
//! - [`Broadcast`]: passes every message on to all clients of its path.
//! - [`Services`]: picks an application by the path of the request. A server with one application needs no router.
#![forbid(unsafe_code)]

mod broadcast;
mod echo;
mod path;
mod router;

pub use broadcast::Broadcast;
pub use echo::{Echo, Subprotocols};
pub use path::{BadPattern, Pattern};
pub use router::Services;
