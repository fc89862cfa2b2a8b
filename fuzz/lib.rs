//! The bodies of all targets, by the crate that they judge.

#[path = "targets.rs"]
mod engine;

pub mod bus;
pub use engine::*;
