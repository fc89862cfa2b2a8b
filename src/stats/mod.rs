//! What a worker counts, and how it tells the supervisor.

pub mod counters;

pub use counters::Counters;
