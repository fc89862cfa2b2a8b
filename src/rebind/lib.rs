//! A library for `LD_PRELOAD` that moves one TCP port of a program to the loopback: its bytes, and how it is told which.
//!
//! Owns: the library (`preload.rs`, which `build.rs` compiles for the target) and the form of its variable. Never: writes a file, starts
//! a program (`ringway-cli` does).
#![forbid(unsafe_code)]

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "part of the library; here for its tests")
)]
mod address;

/// The shared library, as the bytes of a file.
pub const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libringway_rebind.so"));

/// The variable that tells the library what to do.
///
/// # Panics
/// Never: the name is ASCII.
pub fn variable() -> &'static str {
    address::VARIABLE.to_str().expect("ASCII")
}

/// The value of [`variable`]: a TCP socket that asks for port `from`, on whatever address, gets port `to` of the loopback.
pub fn value(from: u16, to: u16) -> String {
    format!("{from}:{to}")
}
