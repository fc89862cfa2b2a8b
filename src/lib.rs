//! Ringway: a multicore WebSocket server suite on io_uring.

pub mod app;
pub mod cli;
pub mod conn;
pub mod exit;
pub mod io;
pub mod options;
pub mod proto;
pub mod stats;
pub mod supervise;
pub mod time;
pub mod worker;
