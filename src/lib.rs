//! Ringway: a multicore WebSocket server suite on io_uring.

pub mod exit;
pub mod proto;
pub mod stats;
pub mod time;
