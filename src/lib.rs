//! Ringway: a multicore WebSocket server suite on io_uring.

pub mod app;
pub mod conn;
pub mod io;
pub mod proto;
pub mod stats;
pub mod time;
