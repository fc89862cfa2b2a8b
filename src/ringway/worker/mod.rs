//! The loop of one worker: its turn, its listener, and the handling of completions.
//!
//! Owns: accepting, the order of a turn, timeouts, and the one place where connections end.
//! Never: makes a system call itself, or knows how a frame is encoded.
#![forbid(unsafe_code)]

mod commands;
mod fanout;
mod listener;
mod listeners;
mod pair;
mod reach;
mod read;
mod settle;
#[cfg(test)]
mod tests;
mod tidy;
mod timeouts;
mod tls;
mod turn;

pub use crate::protocol::*;
pub use listener::Listener;
pub use turn::Worker;
