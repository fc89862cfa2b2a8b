//! A closed-loop echo driver for one server: it keeps a fixed number of messages in flight on a fixed number of
//! connections, checks what comes back, and reports what a message cost the server in CPU time.
//!
//! It must be clearly cheaper per message than any server it measures, or it measures itself. Therefore:
//!
//! 1. Request frames are built and masked once; a batch of requests is one contiguous `send` from that memory.
//! 2. The reply bytes are known in advance, so checking a reply is a `memcmp`, not a parser.
//! 3. One ring: small messages arrive through one multishot receive per connection, sends are submitted in one batch per
//!    turn, and the wait asks for several completions at once, so that a reply does not wake the driver by itself.
//! 4. Large messages are received with plain calls on readiness; once the first have been verified on each connection,
//!    most of what follows is discarded in the kernel without a copy (see [`check`] for what is still looked at).
//!
//! Modules: [`options`] what was asked; [`frames`] the bytes sent and expected; [`check`] the verdict on what arrived;
//! [`setup`] connections and opening handshakes; [`engine`] the loop; [`cpu`] CPU clocks; [`report`] the JSON result;
//! [`sys`] the system calls, the only `unsafe` besides the ring's.

pub mod check;
pub mod cpu;
pub mod engine;
pub mod frames;
pub mod options;
pub mod report;
pub mod setup;
pub mod sys;

use options::Options;
use report::Report;

/// Runs one measurement. A fault of the server or of the environment ends it and is named in [`Report::error`].
pub fn run(options: &Options) -> Report {
    let mut report = Report::new(options);
    let outcome = setup::connect_all(options).and_then(|sockets| {
        report.congestion = sys::congestion(&sockets[0]).unwrap_or_default();
        engine::drive(options, sockets, &mut report)
    });
    if let Err(error) = outcome {
        report.error = Some(error);
    }
    report
}
