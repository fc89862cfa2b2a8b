//! Applications that come with Ringway, and a router for several applications on one port.
//!
//! - [`Echo`]: sends every message back to its sender.
//! - [`Broadcast`]: passes every message on to all clients of its path.
//! - [`Forward`]: leads every stream or WebSocket that it accepts to one place (`docs/forward.md`).
//! - [`Gateway`]: joins each WebSocket with a stream to a target (`docs/gateway.md`).
//! - [`PubSub`]: topics with history for clients that speak JSON or a binary layout (`docs/pubsub.md`).
//! - [`Services`]: picks an application by the path of the request. A server with one application needs no router.
#![forbid(unsafe_code)]

mod admission;
mod ask;
mod broadcast;
mod carriers;
mod echo;
mod forward;
pub mod gateway;
mod members;
mod path;
mod pubsub;
mod router;

pub use admission::{Admission, Right};
pub use broadcast::Broadcast;
pub use echo::{Echo, Subprotocols};
pub use forward::Forward;
pub use gateway::Gateway;
pub use path::{BadPattern, Pattern};
pub use pubsub::PubSub;
pub use ringway_bus::history::Limits as HistoryLimits;
pub use ringway_bus::rights::{BadRights, Rights};
pub use ringway_bus::station::Options as StationOptions;
#[cfg(feature = "token")]
pub use ringway_bus::token::{BadKey, Verifier};
pub use router::Services;
