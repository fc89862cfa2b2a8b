//! Ringway: a multicore WebSocket server suite on io_uring.

pub mod cli;
pub mod exit;
pub mod options;
pub mod proto;
pub mod stats;
pub mod supervise;
pub mod time;
pub mod worker;
